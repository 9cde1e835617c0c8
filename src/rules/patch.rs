//! Writes directives into `Cache-Control`, and names into `Vary`, of a response that may already
//! have some.

use super::cache_control::{is_directive, split};
use super::control::CacheControl;
use super::directive::{
    Argument, Directive, field_names_of, is_quoted, is_token, seconds, takes_seconds, union,
};
use super::list::field_elements;
use super::position_index::{MAX_LINEAR, PositionIndex};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE,
    DATE, ETAG, EXPIRES, HOST, LOCATION, SET_COOKIE, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::HashSet;

impl CacheControl {
    /// Reads all directives of a field, including extensions.
    ///
    /// Drops an element with a malformed name. Drops a malformed argument, but keeps its directive.
    /// If an open quote were kept, it would hide the directives that are written after it.
    pub(super) fn read(headers: &HeaderMap, field: &HeaderName) -> Self {
        let mut directives = Vec::new();
        for element in field_elements(headers, field) {
            let (name, argument) = split(element);
            if !is_directive(name, argument) {
                // The words `no-store`, `no-cache` and `private` restrict the response even in a
                // malformed element.
                directives.extend(restricting_directives(element));
            }
            if !is_token(name) {
                continue;
            }
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let argument = argument.filter(|argument| is_token(argument) || is_quoted(argument));
            let argument =
                argument.map(|argument| Argument::Other(String::from_utf8_lossy(argument).into_owned()));
            directives.push(Directive { name, argument: argument.unwrap_or(Argument::None) });
        }
        let mut control = Self::default();
        control.join(directives);
        control
    }

    /// Adds directives. If a directive is present already, the stricter of the two counts: the
    /// shorter duration, or the whole response instead of some fields. Two lists of fields are
    /// merged.
    pub(super) fn join(&mut self, directives: impl IntoIterator<Item = Directive>) {
        let mut positions = PositionIndex::<String>::default();
        let mut united = Vec::new();
        for new in directives {
            let known = positions.find(&self.0, new.name.as_str(), |directive| directive.name.as_str());
            let Some(at) = known else {
                self.0.push(new);
                continue;
            };
            let old = &mut self.0[at].argument;
            match new.name.as_str() {
                "no-cache" | "private" => {
                    *old = union(std::mem::replace(old, Argument::None), new.argument);
                    united.push(at);
                }
                name if takes_seconds(name) => {
                    *old = Argument::Seconds(seconds(old).min(seconds(&new.argument)));
                }
                _ => {}
            }
        }
        united.sort_unstable();
        united.dedup();
        for at in united {
            if let Argument::Fields(fields) = &mut self.0[at].argument {
                *fields = without_duplicates(std::mem::take(fields));
            }
        }
    }

    /// Returns the names of directives that contradict these directives.
    ///
    /// `public` and `s-maxage` contradict `private`. `must-understand` would let caches ignore
    /// `no-store` (RFC 9111 section 5.2.2.3).
    fn contradicting_names(&self) -> &'static [&'static str] {
        let is_private =
            self.argument("private").is_some_and(|argument| field_names_of(argument.clone()).is_none());
        let is_unstorable = self.argument("no-store").is_some() && self.argument("must-understand").is_none();
        match (is_private, is_unstorable) {
            (true, true) => &["public", "s-maxage", "must-understand"],
            (true, false) => &["public", "s-maxage"],
            (false, true) => &["must-understand"],
            (false, false) => &[],
        }
    }

    /// Adds these directives to a field. If a directive is present, the stricter one of the two
    /// counts.
    ///
    /// A `no-store` response gets only restricting directives.
    pub(crate) fn patch(&self, headers: &mut HeaderMap, field: &HeaderName) {
        // A targeted field is a structured field (RFC 9213 section 2.1). It stays unchanged if the
        // parser of `Cache-Control` would read another meaning.
        if self.is_empty() || (*field != CACHE_CONTROL && !parses_as_cache_control(headers, field)) {
            return;
        }
        let there = Self::read(headers, field);
        let forbidden = there.contradicting_names();
        let new = match there.argument("no-store") {
            Some(_) => &self.restrictions_only(),
            None => self,
        };
        let mut patched = there.without(self.contradicting_names());
        patched.join(new.0.iter().filter(|new| !forbidden.contains(&&*new.name)).cloned());
        patched.write(headers, field);
    }

    /// Replaces a field by these directives.
    pub(crate) fn write(&self, headers: &mut HeaderMap, field: &HeaderName) {
        set_field(headers, field, self.into());
    }
}

/// Sets a field. Makes room for the field if the header section is full and rejects insertions.
///
/// To make room, removes the old lines of the field. If there are none, removes a field that is not
/// [`DEFINED`]. If there is no such field either, the section stays unchanged.
pub(crate) fn set_field(headers: &mut HeaderMap, field: &HeaderName, value: HeaderValue) {
    if headers.try_insert(field, value.clone()).is_ok() {
        return;
    }
    if headers.remove(field).is_none() {
        let other = headers.keys().find(|name| !DEFINED.contains(name)).cloned();
        if let Some(other) = other {
            headers.remove(other);
        }
    }
    let _ = headers.try_insert(field, value);
}

/// The fields that [`set_field`] never removes to make room.
const DEFINED: [HeaderName; 15] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    ETAG,
    EXPIRES,
    HOST,
    LOCATION,
    SET_COOKIE,
    TRANSFER_ENCODING,
    VARY,
];

/// The directives that forbid a use of a response.
const RESTRICTING: [&str; 3] = ["no-store", "no-cache", "private"];

/// Returns the restricting directives that occur as words in a malformed element.
fn restricting_directives(element: &[u8]) -> impl Iterator<Item = Directive> {
    let has = |name: &str| {
        let mut words = element.split(|byte| !is_token(&[*byte]));
        words.any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let found = RESTRICTING.into_iter().filter(move |name| has(name));
    found.map(|name| Directive { name: name.to_owned(), argument: Argument::None })
}

/// Returns `true` if a structured field has the same meaning when it is parsed as `Cache-Control`.
fn parses_as_cache_control(headers: &HeaderMap, field: &HeaderName) -> bool {
    field_elements(headers, field).all(|element| {
        let (name, argument) = split(element);
        let is_number = |argument: &[u8]| argument.iter().all(u8::is_ascii_digit) && !argument.is_empty();
        let is_word =
            |argument: &[u8]| argument.first().is_some_and(u8::is_ascii_alphabetic) && is_token(argument);
        !name.iter().any(u8::is_ascii_uppercase)
            && is_token(name)
            && argument.is_none_or(|it| is_number(it) || is_word(it) || is_quoted(it))
    })
}

/// Returns the names in order, without duplicates. Ignores letter case.
pub(crate) fn without_duplicates(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let (mut all, mut lowercase_names) = (Vec::<String>::new(), HashSet::new());
    for name in names {
        let is_known = if all.len() < MAX_LINEAR {
            all.iter().any(|known| known.eq_ignore_ascii_case(&name))
        } else {
            if lowercase_names.is_empty() {
                lowercase_names.extend(all.iter().map(|known| known.to_ascii_lowercase()));
            }
            !lowercase_names.insert(name.to_ascii_lowercase())
        };
        if !is_known {
            all.push(name);
        }
    }
    all
}

/// Adds names to `Vary` in order, without duplicates. `*` replaces all names (RFC 9110 section
/// 12.5.5).
pub(crate) fn patch_vary(headers: &mut HeaderMap, names: &[String]) {
    let there = field_elements(headers, &VARY).map(|name| String::from_utf8_lossy(name).into_owned());
    let all = without_duplicates(there.chain(names.iter().cloned()));
    let text = if all.iter().any(|name| name == "*") { "*".to_owned() } else { all.join(", ") };
    if let Ok(value) = HeaderValue::from_str(&text) {
        set_field(headers, &VARY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache_control::{Qualified, ResponseDirectives};
    use super::super::samples::{field, headers};
    use super::{CacheControl, patch_vary};
    use http::header::{CACHE_CONTROL, HeaderName, VARY};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use std::time::Duration;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn stricter_of_present_and_written_directives_counts() {
        let x = |name: &'static str| HeaderName::from_static(name);
        let table = [
            ("", CacheControl::new().private(), "private"),
            ("private", CacheControl::new().private(), "private"),
            ("public", CacheControl::new().private(), "private"),
            ("private", CacheControl::new().public(), "private"),
            ("private", CacheControl::new().public().s_maxage(seconds(60)).immutable(), "private, immutable"),
            ("private=x", CacheControl::new().public(), "private=x"),
            ("public, s-maxage=60, max-age=9", CacheControl::new().private(), "max-age=9, private"),
            ("private=\"x-a\"", CacheControl::new().public(), "private=\"x-a\", public"),
            ("public", CacheControl::new().private_fields([x("x-a")]), "public, private=\"x-a\""),
            ("private", CacheControl::new().private_fields([x("x-a")]), "private"),
            ("PRIVATE", CacheControl::new().private_fields([x("x-a")]), "private"),
            ("private=\"X-B\"", CacheControl::new().private_fields([x("x-a")]), "private=\"x-b, x-a\""),
            ("private=\"x-a\"", CacheControl::new().private(), "private"),
            ("no-cache=\"x-b\"", CacheControl::new().no_cache_fields([x("x-a")]), "no-cache=\"x-b, x-a\""),
            ("stale-if-error=9", CacheControl::new().stale_if_error(seconds(60)), "stale-if-error=9"),
            (
                "stale-while-revalidate=90",
                CacheControl::new().stale_while_revalidate(seconds(60)),
                "stale-while-revalidate=60",
            ),
            ("private;no-store", CacheControl::new().public(), "no-store, private"),
            ("ext=\"x, No-Store", CacheControl::new().public(), "no-store, ext"),
            ("no-store", CacheControl::new().must_understand(), "no-store"),
            ("must-understand", CacheControl::new().no_store(), "no-store"),
            (
                "must-understand",
                CacheControl::new().no_store().must_understand(),
                "must-understand, no-store",
            ),
            ("max-age=60", CacheControl::new().max_age(seconds(30)), "max-age=30"),
            ("max-age=60", CacheControl::new().max_age(seconds(90)), "max-age=60"),
            ("max-age=soon", CacheControl::new().max_age(seconds(90)), "max-age=0"),
            ("\"", CacheControl::new().private(), "private"),
            ("no-cache=\"a", CacheControl::new().private(), "no-cache, private"),
            ("MAX-AGE=60, x=\"a, b\"", CacheControl::new().no_store(), "max-age=60, x=\"a, b\", no-store"),
            ("s-maxage=60", CacheControl::new().s_maxage(seconds(90)), "s-maxage=60"),
            ("no-cache=\"set-cookie\"", CacheControl::new().no_cache(), "no-cache"),
            ("no-cache", CacheControl::new().no_cache_fields([x("x-a")]), "no-cache"),
            (
                "no-cache=\"X-A\"",
                CacheControl::new().no_cache_fields([x("x-a"), x("x-b")]),
                "no-cache=\"x-a, x-b\"",
            ),
            (
                "private=\"X-A, X-B\"",
                CacheControl::new().no_transform(),
                "private=\"X-A, X-B\", no-transform",
            ),
            // A `no-store` response gets only restricting directives.
            ("no-store", CacheControl::new().public().max_age(seconds(60)).s_maxage(seconds(70)), "no-store"),
            ("No-Store=x", CacheControl::new().max_age(seconds(60)).immutable(), "no-store=x"),
            ("max-age=5, no-store", CacheControl::new().max_age(seconds(60)), "max-age=5, no-store"),
            (
                "no-store, must-understand",
                CacheControl::new().max_age(seconds(60)),
                "no-store, must-understand",
            ),
            ("no-store", CacheControl::new().private().max_age(seconds(0)), "no-store, private, max-age=0"),
            // If a present directive occurs twice, the stricter occurrence counts.
            (
                "private, public, max-age=60",
                CacheControl::new().no_transform(),
                "private, public, max-age=60, no-transform",
            ),
            ("private, private=\"x-a\"", CacheControl::new().no_transform(), "private, no-transform"),
            ("s-maxage=0, s-maxage=600", CacheControl::new().no_transform(), "s-maxage=0, no-transform"),
            ("no-cache=etag", CacheControl::new().no_cache_fields([x("x-b")]), "no-cache"),
            ("no-cache=\"\"", CacheControl::new().no_cache_fields([x("x-b")]), "no-cache"),
            ("max-age", CacheControl::new().max_age(seconds(60)), "max-age=0"),
            ("max-age=\"0", CacheControl::new().max_age(seconds(60)), "max-age=0"),
            ("max-age=0;", CacheControl::new().max_age(seconds(60)), "max-age=0"),
            ("max-age=+5", CacheControl::new().max_age(seconds(60)), "max-age=0"),
            ("max-age=\"30\"", CacheControl::new().max_age(seconds(60)), "max-age=30"),
            ("max-age=99999999999999999999", CacheControl::new().max_age(seconds(60)), "max-age=60"),
        ];
        for (there, new, merged) in table {
            let mut lines = headers(&[("cache-control", there)]);
            new.patch(&mut lines, &CACHE_CONTROL);
            assert_eq!(lines[CACHE_CONTROL], merged, "{there}");
        }
    }

    /// RFC 9110 section 12.5.5.
    #[test]
    fn names_are_added_to_vary_once_and_an_asterisk_replaces_all() {
        let table = [
            ("", &["Cookie"][..], "Cookie"),
            ("cookie", &["Cookie"], "cookie"),
            ("Accept", &["cookie", "COOKIE"], "Accept, cookie"),
            ("*", &["Cookie"], "*"),
            ("Accept", &["*"], "*"),
        ];
        for (there, names, expected) in table {
            let mut lines = headers(&[("vary", there)]);
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            patch_vary(&mut lines, &names);
            assert_eq!(lines[VARY], expected, "{there}");
        }
    }

    /// RFC 9213 section 2.1.
    #[test]
    fn structured_field_that_cannot_be_written_back_stays_unchanged() {
        let field = HeaderName::from_static("cdn-cache-control");
        for (there, merged) in [
            ("max-age=60", "max-age=60, no-transform"),
            ("max-age=60, x=abc", "max-age=60, x=abc, no-transform"),
            ("max-age=60;ext=1", "max-age=60;ext=1"),
            ("public=?0", "public=?0"),
            ("x=:YWJj:", "x=:YWJj:"),
            ("private=(\"a\" \"b\")", "private=(\"a\" \"b\")"),
            ("Max-Age=60", "Max-Age=60"),
        ] {
            let mut lines = headers(&[("cdn-cache-control", there)]);
            CacheControl::new().no_transform().patch(&mut lines, &field);
            assert_eq!(lines[&field], merged, "{there}");
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn patching_permits_nothing_new(lines in field("cache-control")) {
            let before = ResponseDirectives::from_headers(&lines);
            let mut patched = lines;
            CacheControl::new().no_transform().max_age(seconds(60)).patch(&mut patched, &CACHE_CONTROL);
            let after = ResponseDirectives::from_headers(&patched);
            prop_assert_eq!(after.no_store, before.no_store);
            prop_assert!(after.public <= before.public && after.must_revalidate == before.must_revalidate);
            prop_assert!(before.private != Qualified::All || after.private == Qualified::All);
            prop_assert!(before.no_cache != Qualified::All || after.no_cache == Qualified::All);
            let expected = match before.no_store {
                true => before.max_age,
                false => Some(before.max_age.unwrap_or(60).min(60)),
            };
            prop_assert_eq!(after.max_age, expected);
            prop_assert_eq!(after.s_maxage, before.s_maxage);
        }

        #[test]
        fn patching_never_panics_and_is_idempotent(lines in field("cache-control"), vary in field("vary")) {
            let mut once = lines;
            let control = CacheControl::new().private().no_cache().max_age(seconds(5));
            control.patch(&mut once, &CACHE_CONTROL);
            let mut twice = once.clone();
            control.patch(&mut twice, &CACHE_CONTROL);
            prop_assert_eq!(&once, &twice);
            let mut varied = vary;
            patch_vary(&mut varied, &["cookie".to_owned()]);
            prop_assert!(varied.contains_key(VARY));
        }
    }

    /// This test takes minutes if each name is compared with every other one.
    #[test]
    fn lists_as_long_as_a_header_section_are_merged_in_linear_time() {
        let names: Vec<_> = (0..20_000).map(|number| format!("x-field-{number}")).collect();
        let field = |name: &String| HeaderName::try_from(name.as_str()).expect("a name");
        let directive = |list: &str| format!("private=\"{list}\"");
        let list = names.join(", ");
        let each: Vec<_> = names.iter().map(|name| directive(name)).collect();
        for there in [directive(&list), each.join(", ")] {
            let mut lines = headers(&[("cache-control", &there)]);
            CacheControl::new().private_fields(names.iter().map(field)).patch(&mut lines, &CACHE_CONTROL);
            assert_eq!(lines[CACHE_CONTROL], directive(&list));
        }
        let mut lines = headers(&[("cache-control", &list), ("vary", &list)]);
        CacheControl::new().no_transform().patch(&mut lines, &CACHE_CONTROL);
        assert_eq!(lines[CACHE_CONTROL], format!("{list}, no-transform"));
        let upper: Vec<_> = names.iter().map(|name| name.to_uppercase()).collect();
        patch_vary(&mut lines, &upper);
        assert_eq!(lines[VARY], list);
    }
}
