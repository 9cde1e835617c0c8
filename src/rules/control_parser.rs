//! The strict parser of [`CacheControl`].

use super::cache_control::{delta_seconds, field_name, unquoted};
use super::control::{CacheControl, is_defined};
use super::directive::{Argument, Directive, is_quoted, is_token, takes_seconds};
use super::list::{elements, field_elements};
use super::position_index::PositionIndex;
use crate::error::CacheControlError;
use http::HeaderMap;
use http::header::CACHE_CONTROL;
use std::str::FromStr;

impl FromStr for CacheControl {
    type Err = CacheControlError;

    fn from_str(text: &str) -> Result<Self, CacheControlError> {
        parse(elements(text.as_bytes()))
    }
}

impl TryFrom<&HeaderMap> for CacheControl {
    type Error = CacheControlError;

    fn try_from(headers: &HeaderMap) -> Result<Self, CacheControlError> {
        parse(field_elements(headers, &CACHE_CONTROL))
    }
}

/// Parses the elements of `Cache-Control`.
fn parse<'a>(elements: impl Iterator<Item = &'a [u8]>) -> Result<CacheControl, CacheControlError> {
    let mut positions = PositionIndex::<String>::default();
    let (mut directives, mut extensions) = (Vec::new(), Vec::<Directive>::new());
    for element in elements {
        let read = directive(element).ok_or_else(|| CacheControlError::new(element))?;
        if !is_defined(&read.name) {
            match positions.find(&extensions, read.name.as_str(), |known| known.name.as_str()) {
                // Of two arguments of an extension, the stricter one is unknown.
                Some(at) if extensions[at].argument != read.argument => {
                    return Err(CacheControlError::new(element));
                }
                Some(_) => {}
                None => extensions.push(read.clone()),
            }
        }
        directives.push(read);
    }
    let mut control = CacheControl::new();
    control.join(directives);
    Ok(control)
}

/// Parses an element; `None` if it is not a directive, or its argument is not allowed.
fn directive(element: &[u8]) -> Option<Directive> {
    let (name, argument) = match element.iter().position(|&byte| byte == b'=') {
        Some(at) => (&element[..at], Some(&element[at + 1..])),
        None => (element, None),
    };
    let name = std::str::from_utf8(name).ok().filter(|name| is_token(name.as_bytes()))?.to_ascii_lowercase();
    let argument = match (name.as_str(), argument) {
        (lifetime, argument) if takes_seconds(lifetime) => {
            Argument::Seconds(delta_seconds(&unquoted(argument?)?)?.into())
        }
        ("no-cache" | "private", Some(list)) => Argument::Fields(field_names(list)?),
        (_, None) => Argument::None,
        (defined, Some(_)) if is_defined(defined) => return None,
        (_, Some(text)) if is_token(text) || is_quoted(text) => {
            Argument::Other(String::from_utf8_lossy(text).into_owned())
        }
        (_, Some(_)) => return None,
    };
    Some(Directive { name, argument })
}

/// Parses a quoted list of field names (RFC 9111 section 5.2.2.4); `None` if it is invalid or
/// empty.
///
/// An unquoted list is invalid, since it ends at its first comma.
fn field_names(list: &[u8]) -> Option<Vec<String>> {
    let list = unquoted(Some(list).filter(|list| is_quoted(list))?)?;
    let names = elements(&list).map(|name| Some(field_name(name)?.as_str().to_owned()));
    names.collect::<Option<Vec<_>>>().filter(|names| !names.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::cache_control::ResponseDirectives;
    use super::super::samples::{field, headers};
    use super::CacheControl;
    use http::header::CACHE_CONTROL;
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn parsed_directives_are_written_in_canonical_form() {
        let table = [
            ("", ""),
            (" , ,", ""),
            ("No-Store, MAX-AGE=060", "no-store, max-age=60"),
            ("max-age=\"60\",private=\"X-A ,x-b\"", "max-age=60, private=\"x-a, x-b\""),
            ("max-age=99999999999", "max-age=2147483648"),
            ("community=\"UCI\", x", "community=\"UCI\", x"),
            ("x=\"a, no-store\"", "x=\"a, no-store\""),
            // If a directive occurs twice, the stricter occurrence counts.
            ("max-age=60, max-age=30", "max-age=30"),
            ("private=\"x-a\", private", "private"),
            ("no-cache=\"x-a\", no-cache=\"X-A, x-b\"", "no-cache=\"x-a, x-b\""),
            ("x=1, X=1", "x=1"),
        ];
        for (text, written) in table {
            assert_eq!(text.parse::<CacheControl>().expect("valid").to_string(), written, "{text}");
        }
    }

    #[test]
    fn error_names_the_invalid_element() {
        let table = [
            "max-age",
            "max-age=",
            "max-age=soon",
            "max-age=-1",
            "max-age=\"60",
            "max-age = 60",
            "no-store=x",
            "public=\"\"",
            "private=x-a",
            "private=\"\"",
            "private=\"x a\"",
            "private=\"*\"",
            "no cache",
            "x=",
            "x=a b",
            "x=\"a\"b",
            "=",
            "=x",
            "\"no-store\"",
            "private;no-store",
            "\u{e9}",
            "no-store\n",
        ];
        for element in table {
            let error = format!("public, {element}").parse::<CacheControl>().expect_err(element);
            assert_eq!(error.element(), element);
            assert!(error.to_string().contains(&format!("{element:?}")), "{error}");
        }
        assert_eq!("x=1, x=2".parse::<CacheControl>().expect_err("two").element(), "x=2");
    }

    #[test]
    fn all_lines_of_the_field_are_read() {
        let read = |lines: &[(&'static str, &str)]| CacheControl::try_from(&headers(lines));
        let lines = [("cache-control", "public"), ("x-other", "no-store"), ("cache-control", "max-age=60")];
        assert_eq!(read(&lines).expect("valid").to_string(), "public, max-age=60");
        assert_eq!(read(&[]), Ok(CacheControl::new()));
        assert_eq!(
            read(&[lines[0], ("cache-control", "max-age")]).expect_err("invalid").element(),
            "max-age"
        );
        assert!(read(&[("cache-control", "x=\"\u{e9}\"")]).is_err());
    }

    fn directive(name: &'static str) -> impl Strategy<Value = Option<&'static str>> {
        proptest::option::of(Just(name))
    }

    /// Generates any set of directives.
    fn control() -> impl Strategy<Value = CacheControl> {
        let names = ["public", "no-store", "must-revalidate", "immutable", "private"].map(directive);
        let fields = || proptest::option::of(proptest::collection::vec("[A-Za-z*-]{1,9}", 0..4));
        let seconds = || proptest::option::of(any::<u64>());
        let extension = proptest::option::of(("x-[!-~]{0,4}", proptest::option::of("[ -~]{0,12}")));
        (names, fields(), fields(), [seconds(), seconds()], extension).prop_map(built)
    }

    type Drawn = (
        [Option<&'static str>; 5],
        Option<Vec<String>>,
        Option<Vec<String>>,
        [Option<u64>; 2],
        Option<(String, Option<String>)>,
    );

    fn built((names, private, no_cache, seconds, extension): Drawn) -> CacheControl {
        let fields = |names: Vec<String>| -> Vec<_> {
            names.iter().map(|name| HeaderName::try_from(name.as_str()).expect("a name")).collect()
        };
        let set = |control: CacheControl, name: &str| match name {
            "public" => control.public(),
            "no-store" => control.no_store(),
            "must-revalidate" => control.must_revalidate(),
            "immutable" => control.immutable(),
            _ => control.private(),
        };
        let mut control = names.into_iter().flatten().fold(CacheControl::new(), set);
        if let Some(names) = private {
            control = control.private_fields(fields(names));
        }
        if let Some(names) = no_cache {
            control = control.no_cache_fields(fields(names));
        }
        if let Some(seconds) = seconds[0] {
            control = control.max_age(Duration::from_secs(seconds));
        }
        if let Some(seconds) = seconds[1] {
            control = control.stale_if_error(Duration::from_secs(seconds));
        }
        match extension {
            Some((name, value)) => control.clone().extension(&name, value.as_deref()).unwrap_or(control),
            None => control,
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn written_directives_are_read_back(control in control()) {
            let text = control.to_string();
            prop_assert_eq!(text.parse::<CacheControl>(), Ok(control.clone()));
            let value = HeaderValue::from(&control);
            prop_assert_eq!(value.as_bytes(), text.as_bytes());
            let lines = HeaderMap::from_iter([(CACHE_CONTROL, value)]);
            prop_assert_eq!(CacheControl::try_from(&lines), Ok(control));
        }

        #[test]
        fn parsed_lines_keep_their_meaning_when_written(lines in field("cache-control")) {
            if let Ok(read) = CacheControl::try_from(&lines) {
                prop_assert_eq!(read.to_string().parse::<CacheControl>(), Ok(read.clone()));
                let written = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from(&read))]);
                let before = ResponseDirectives::from_headers(&lines);
                let after = ResponseDirectives::from_headers(&written);
                prop_assert_eq!((after.no_store, after.max_age), (before.no_store, before.max_age));
                prop_assert_eq!((after.private, after.no_cache), (before.private, before.no_cache));
            }
        }
    }
}
