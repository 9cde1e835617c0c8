//! What layers write into `Cache-Control` and `Vary` of a response, next to what is there.

use super::cache_control::split;
use super::list::{elements, field_elements};
use http::header::VARY;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt::Write;
use std::time::Duration;

/// Response directives to be written (RFC 9111 section 5.2.2, RFC 5861, RFC 8246), for a
/// `CacheControlLayer`.
///
/// Durations are written in whole seconds, at most 2^31 (RFC 9111 section 1.2.2).
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::CacheControl;
///
/// let control = CacheControl::new().public().max_age(Duration::from_secs(3600)).immutable();
/// assert_eq!(control.to_string(), "public, max-age=3600, immutable");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct CacheControl(Vec<Directive>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Directive {
    /// In lower case.
    name: String,
    argument: Argument,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    None,
    Seconds(u64),
    Fields(Vec<String>),
    /// As it was found.
    Other(String),
}

/// RFC 9111 section 1.2.2.
const MOST_SECONDS: u64 = 1 << 31;

impl CacheControl {
    /// Creates an empty set of directives.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, name: &str, argument: Argument) -> Self {
        self.0.retain(|directive| directive.name != name);
        self.0.push(Directive { name: name.to_owned(), argument });
        self
    }

    fn with_seconds(self, name: &str, duration: Duration) -> Self {
        self.with(name, Argument::Seconds(duration.as_secs().min(MOST_SECONDS)))
    }

    fn with_fields(self, name: &str, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        let fields = fields.into_iter().map(|field| field.as_str().to_owned()).collect();
        self.with(name, Argument::Fields(fields))
    }

    /// Any cache may store the response, even where it otherwise might not.
    pub fn public(self) -> Self {
        self.with("public", Argument::None)
    }

    /// Only the client's own cache may store the response.
    pub fn private(self) -> Self {
        self.with("private", Argument::None)
    }

    /// Only the client's own cache may store these fields.
    pub fn private_fields(self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with_fields("private", fields)
    }

    /// Every use has to be validated first.
    pub fn no_cache(self) -> Self {
        self.with("no-cache", Argument::None)
    }

    /// These fields must not be used without validation.
    pub fn no_cache_fields(self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with_fields("no-cache", fields)
    }

    /// Nothing of the exchange may be stored.
    pub fn no_store(self) -> Self {
        self.with("no-store", Argument::None)
    }

    /// The content must not be transformed on its way.
    pub fn no_transform(self) -> Self {
        self.with("no-transform", Argument::None)
    }

    /// Once stale, it must not be used without validation.
    pub fn must_revalidate(self) -> Self {
        self.with("must-revalidate", Argument::None)
    }

    /// The same, for shared caches.
    pub fn proxy_revalidate(self) -> Self {
        self.with("proxy-revalidate", Argument::None)
    }

    /// Only a cache that knows the requirements of the status may store it.
    pub fn must_understand(self) -> Self {
        self.with("must-understand", Argument::None)
    }

    /// It never changes while it is fresh (RFC 8246).
    pub fn immutable(self) -> Self {
        self.with("immutable", Argument::None)
    }

    /// How long it is fresh. Of this and what the response says itself, the shorter is written.
    pub fn max_age(self, lifetime: Duration) -> Self {
        self.with_seconds("max-age", lifetime)
    }

    /// How long it is fresh for shared caches.
    pub fn s_maxage(self, lifetime: Duration) -> Self {
        self.with_seconds("s-maxage", lifetime)
    }

    /// How long it may be used stale while it is revalidated (RFC 5861 section 3).
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.with_seconds("stale-while-revalidate", window)
    }

    /// How long it may be used stale where the origin fails (RFC 5861 section 4).
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.with_seconds("stale-if-error", window)
    }

    fn argument(&self, name: &str) -> Option<&Argument> {
        self.0.iter().find(|directive| directive.name == name).map(|directive| &directive.argument)
    }

    /// Returns two directives that contradict each other, if there are any.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let has =
            |name: &str| self.argument(name).is_some_and(|argument| !matches!(argument, Argument::Fields(_)));
        let lives = |name: &str| matches!(self.argument(name), Some(Argument::Seconds(1..)));
        let pairs = [
            ("public", has("public"), "private", has("private")),
            ("public", has("public"), "no-store", has("no-store")),
            ("no-store", has("no-store"), "max-age", lives("max-age")),
            ("no-store", has("no-store"), "s-maxage", lives("s-maxage")),
            ("no-store", has("no-store"), "immutable", has("immutable")),
        ];
        pairs.iter().find(|(_, a, _, b)| *a && *b).map(|(a, _, b, _)| format!("{a}, {b}"))
    }

    /// Reads all lines of a field, what is not known included. What is malformed would swallow what is
    /// written behind it: a name that is none goes, and so does an argument that is none.
    pub(super) fn read(headers: &HeaderMap, field: &HeaderName) -> Self {
        let mut control = Self::default();
        for element in field_elements(headers, field) {
            let (name, argument) = split(element);
            if !is_token(name) {
                continue;
            }
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let argument = argument.filter(|argument| is_token(argument) || is_quoted(argument));
            let argument =
                argument.map(|argument| Argument::Other(String::from_utf8_lossy(argument).into_owned()));
            control.add(Directive { name, argument: argument.unwrap_or(Argument::None) });
        }
        control
    }

    /// Adds a directive to those that are there, by the rules of Django's `patch_cache_control`: the
    /// shorter `max-age` counts, `public` and `private` exclude each other and the last one counts,
    /// names behind `no-cache` add up and none at all is stronger; all others are replaced.
    fn add(&mut self, new: Directive) {
        let excluded = match new.name.as_str() {
            "public" => "private",
            "private" => "public",
            _ => "",
        };
        self.0.retain(|directive| directive.name != excluded);
        let Some(old) = self.0.iter_mut().find(|directive| directive.name == new.name) else {
            return self.0.push(new);
        };
        old.argument = match (new.name.as_str(), seconds(&old.argument), seconds(&new.argument)) {
            ("max-age", Some(a), Some(b)) => Argument::Seconds(a.min(b)),
            ("no-cache", ..) => match (named(&old.argument), named(&new.argument)) {
                (Some(mut fields), Some(more)) => {
                    fields.extend(more.into_iter().filter(|name| !fields.contains(name)).collect::<Vec<_>>());
                    Argument::Fields(fields)
                }
                _ => Argument::None,
            },
            _ => new.argument,
        };
    }

    /// Writes these directives into a field, next to those that are there.
    pub(crate) fn patch(&self, headers: &mut HeaderMap, field: &HeaderName) {
        let mut patched = Self::read(headers, field);
        for directive in &self.0 {
            patched.add(directive.clone());
        }
        patched.write(headers, field);
    }

    /// Removes directives.
    pub(super) fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|directive| !names.contains(&directive.name.as_str()));
        self
    }

    /// Writes these directives, and no others, into a field.
    pub(super) fn write(&self, headers: &mut HeaderMap, field: &HeaderName) {
        // What can't be written (it was not text before) is left as it is.
        if let Ok(value) = HeaderValue::from_str(&self.to_string()) {
            let _ = headers.try_insert(field, value);
        }
    }
}

/// Field names are tokens (RFC 9110 section 5.1), and made of the same characters.
fn is_token(bytes: &[u8]) -> bool {
    HeaderName::from_bytes(bytes).is_ok()
}

/// Tells whether bytes are a quoted string of visible ASCII (RFC 9110 section 5.6.4), all of them.
fn is_quoted(bytes: &[u8]) -> bool {
    let Some(inner) = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return false;
    };
    let mut escaped = false;
    inner.iter().all(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        !ends && (byte == b' ' || byte.is_ascii_graphic())
    }) && !escaped
}

fn seconds(argument: &Argument) -> Option<u64> {
    match argument {
        Argument::Seconds(seconds) => Some(*seconds),
        // What can't be read counts as stale.
        Argument::Other(text) => Some(text.trim_matches('"').parse().unwrap_or(0)),
        Argument::None | Argument::Fields(_) => None,
    }
}

/// Returns the names in an argument; `None` if there is none.
fn named(argument: &Argument) -> Option<Vec<String>> {
    match argument {
        Argument::None | Argument::Seconds(_) => None,
        Argument::Fields(fields) => Some(fields.clone()),
        Argument::Other(text) => {
            let names = elements(text.trim_matches('"').as_bytes());
            Some(names.map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect())
        }
    }
}

impl std::fmt::Display for CacheControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, Directive { name, argument }) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
            match argument {
                Argument::None => {}
                Argument::Seconds(seconds) => write!(f, "={seconds}")?,
                Argument::Fields(fields) => write!(f, "=\"{}\"", fields.join(", "))?,
                Argument::Other(text) => {
                    f.write_char('=')?;
                    f.write_str(text)?;
                }
            }
        }
        Ok(())
    }
}

/// Adds names to `Vary`, each once, in their order; `*` stands for all of them (RFC 9110 section 12.5.5).
pub(crate) fn patch_vary(headers: &mut HeaderMap, names: &[String]) {
    let mut all: Vec<String> = Vec::new();
    let there = field_elements(headers, &VARY).map(|name| String::from_utf8_lossy(name).into_owned());
    for name in there.chain(names.iter().cloned()) {
        if !all.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            all.push(name);
        }
    }
    let text = if all.iter().any(|name| name == "*") { "*".to_owned() } else { all.join(", ") };
    if let Ok(value) = HeaderValue::from_str(&text) {
        let _ = headers.try_insert(VARY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{CacheControl, patch_vary};
    use http::header::{CACHE_CONTROL, COOKIE, HeaderName, VARY};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use std::time::Duration;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn directives_are_merged_as_djangos_patch_cache_control_does() {
        let x = |name: &'static str| HeaderName::from_static(name);
        let table = [
            ("", CacheControl::new().private(), "private"),
            ("private", CacheControl::new().private(), "private"),
            ("public", CacheControl::new().private(), "private"),
            ("private", CacheControl::new().public(), "public"),
            ("max-age=60", CacheControl::new().max_age(seconds(30)), "max-age=30"),
            ("max-age=60", CacheControl::new().max_age(seconds(90)), "max-age=60"),
            ("max-age=soon", CacheControl::new().max_age(seconds(90)), "max-age=0"),
            ("\"", CacheControl::new().private(), "private"),
            ("no-cache=\"a", CacheControl::new().private(), "no-cache, private"),
            ("MAX-AGE=60, x=\"a, b\"", CacheControl::new().no_store(), "max-age=60, x=\"a, b\", no-store"),
            ("s-maxage=60", CacheControl::new().s_maxage(seconds(90)), "s-maxage=90"),
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
            ("no-store", CacheControl::new().public().max_age(seconds(60)), "no-store, public, max-age=60"),
        ];
        for (there, new, merged) in table {
            let mut lines = headers(&[("cache-control", there)]);
            new.patch(&mut lines, &CACHE_CONTROL);
            assert_eq!(lines[CACHE_CONTROL], merged, "{there}");
        }
    }

    #[test]
    fn every_directive_is_written_as_its_rfc_names_it() {
        let all = CacheControl::new()
            .private_fields([COOKIE])
            .must_revalidate()
            .proxy_revalidate()
            .must_understand()
            .no_transform()
            .immutable()
            .max_age(Duration::MAX)
            .s_maxage(seconds(1))
            .stale_while_revalidate(seconds(2))
            .stale_if_error(seconds(3));
        assert_eq!(
            all.to_string(),
            "private=\"cookie\", must-revalidate, proxy-revalidate, must-understand, no-transform, immutable, \
             max-age=2147483648, s-maxage=1, stale-while-revalidate=2, stale-if-error=3"
        );
    }

    /// RFC 9110 section 12.5.5.
    #[test]
    fn names_are_added_to_vary_once_and_an_asterisk_stands_for_all() {
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

    #[test]
    fn contradictions_are_found() {
        let table = [
            (CacheControl::new().public().private(), Some("public, private")),
            (CacheControl::new().public().no_store(), Some("public, no-store")),
            (CacheControl::new().no_store().max_age(seconds(1)), Some("no-store, max-age")),
            (CacheControl::new().no_store().max_age(seconds(0)), None),
            (CacheControl::new().public().private_fields([COOKIE]), None),
        ];
        for (control, found) in table {
            assert_eq!(control.contradiction().as_deref(), found, "{control}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_patching_panic_and_it_is_idempotent(lines in field("cache-control"), vary in field("vary")) {
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
}
