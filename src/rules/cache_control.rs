//! The lenient parser of `Cache-Control` (RFC 9111 section 5.2), which the cache itself uses. It
//! returns no errors: a malformed directive counts as a restriction.

use super::list::{elements, field_elements, trim};
use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// The largest number of seconds (RFC 9111 section 1.2.2). This number replaces larger ones.
pub(super) const MAX_DELTA_SECONDS: u32 = 1 << 31;

/// A directive that may be limited to named fields (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Qualified {
    /// The directive is absent.
    #[default]
    Absent,
    /// The directive applies to these fields only.
    Fields(Vec<HeaderName>),
    /// The directive applies to the whole response.
    All,
}

impl Qualified {
    /// Adds an occurrence of the directive. `headers` are the header fields of the response.
    ///
    /// Without a field name, or with an invalid one, the directive applies to the whole response.
    fn add(&mut self, argument: Option<&[u8]>, headers: &HeaderMap) {
        let named: Option<Vec<_>> = argument.and_then(|argument| match argument.starts_with(b"\"") {
            true => elements(&unquoted(argument)?).map(field_name).collect(),
            false => Some(vec![name_without_quotes(argument, headers)?]),
        });
        *self = match (std::mem::take(self), named) {
            (Self::Absent, Some(fields)) if !fields.is_empty() => Self::Fields(fields),
            (Self::Fields(mut fields), Some(more)) if !more.is_empty() => {
                fields.extend(more);
                Self::Fields(fields)
            }
            _ => Self::All,
        };
    }
}

/// Parses a field name. Rejects `*`, which means all fields in `Vary` (RFC 9110 section 12.5.5).
pub(super) fn field_name(name: &[u8]) -> Option<HeaderName> {
    HeaderName::from_bytes(name).ok().filter(|name| name != "*")
}

/// Parses an unquoted argument as one field name (RFC 9111 section 5.2.2.4).
///
/// The word may mean something else, as in `private=1`. A word is a field name only if it contains
/// a hyphen, or names a field of the response. The name of a directive is never a field name.
fn name_without_quotes(word: &[u8], headers: &HeaderMap) -> Option<HeaderName> {
    let name = field_name(word)?;
    let text = name.as_str();
    let is_compound = text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.contains('-');
    let is_field = is_compound || headers.contains_key(&name);
    (is_field && !RESPONSE_DIRECTIVES.contains(&text)).then_some(name)
}

/// The response directives that this crate knows.
pub(super) const RESPONSE_DIRECTIVES: [&str; 13] = [
    "immutable",
    "max-age",
    "must-revalidate",
    "must-understand",
    "no-cache",
    "no-store",
    "no-transform",
    "private",
    "proxy-revalidate",
    "public",
    "s-maxage",
    "stale-if-error",
    "stale-while-revalidate",
];

/// Directives that restrict, and also permit something.
///
/// A directive with an invalid argument restricts, but permits nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Permissions {
    /// Permits sharing a response to a request with `Authorization` (RFC 9111 section 3.5).
    pub(crate) must_revalidate: bool,
    /// Permits ignoring `no-store` (RFC 9111 section 5.2.2.3).
    pub(crate) must_understand: bool,
    /// Permits sharing, like `public` (RFC 9111 section 5.2.2.10).
    pub(crate) s_maxage: bool,
}

/// The directives of a response (RFC 9111 section 5.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResponseDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: Qualified,
    pub(crate) private: Qualified,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) no_transform: bool,
    /// RFC 8246 section 2.
    pub(crate) immutable: bool,
    pub(crate) max_age: Option<u32>,
    pub(crate) s_maxage: Option<u32>,
    /// RFC 5861 section 3.
    pub(crate) stale_while_revalidate: Option<u32>,
    /// RFC 5861 section 4.
    pub(crate) stale_if_error: Option<u32>,
    pub(crate) permits: Permissions,
    /// Whether the directives come from a targeted field (RFC 9213), not from `Cache-Control`.
    pub(crate) targeted: bool,
    /// Whether an element is malformed. Such an element may have been meant as any directive.
    pub(crate) malformed: bool,
}

impl ResponseDirectives {
    /// Reads all lines of `Cache-Control`.
    ///
    /// If a directive occurs twice, the stricter occurrence counts. RFC 9111 section 4.2.1
    /// recommends the first occurrence, or treating the response as stale. The stricter occurrence
    /// permits no more than the first.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        // `Some` if the previous element was `private` (`true`) or `no-cache` (`false`) with an
        // unquoted argument. In `private=x-a, x-b`, the element `x-b` may belong to that argument.
        let mut before = None;
        for element in field_elements(headers, &CACHE_CONTROL) {
            let (name, argument) = split(element);
            if !is_directive(name, argument) {
                directives.restrict(element, headers);
            }
            let buffer = &mut [0; MAX_NAME_LENGTH];
            let name = lowercase_name(name, buffer);
            let opened = before.take();
            match name {
                b"no-store" => directives.no_store = true,
                b"no-cache" | b"private" => {
                    let is_private = name == b"private";
                    directives.qualified(is_private).add(argument, headers);
                    before = argument.filter(|text| !text.starts_with(b"\"")).map(|_| is_private);
                }
                // `public` has no argument (RFC 9111 section 5.2.2.9). With one, it permits
                // nothing.
                b"public" => directives.public |= argument.is_none(),
                b"must-revalidate" => {
                    directives.must_revalidate = true;
                    directives.permits.must_revalidate |= argument.is_none();
                }
                b"proxy-revalidate" => directives.proxy_revalidate = true,
                b"must-understand" => {
                    directives.must_understand = true;
                    directives.permits.must_understand |= argument.is_none();
                }
                b"no-transform" => directives.no_transform = true,
                b"immutable" => directives.immutable = true,
                b"max-age" => least(&mut directives.max_age, argument),
                b"s-maxage" => {
                    let may_permit = directives.s_maxage.is_none() || directives.permits.s_maxage;
                    directives.permits.s_maxage = may_permit && seconds(argument).is_some();
                    least(&mut directives.s_maxage, argument);
                }
                b"stale-while-revalidate" => {
                    least(&mut directives.stale_while_revalidate, argument);
                }
                b"stale-if-error" => least(&mut directives.stale_if_error, argument),
                // An element that may belong to an unquoted list of fields: the `private` or
                // `no-cache` before it applies to the whole response.
                _ => {
                    if let Some(is_private) = opened.filter(|_| argument.is_none()) {
                        directives.qualified(is_private).add(None, headers);
                    }
                }
            }
        }
        directives
    }

    /// Returns the fields that `private` and `no-cache` name, in no particular order.
    pub(crate) fn qualified_fields(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.private, &self.no_cache].into_iter().flat_map(|which| match which {
            Qualified::Fields(fields) => fields.as_slice(),
            Qualified::Absent | Qualified::All => &[],
        })
    }

    fn qualified(&mut self, is_private: bool) -> &mut Qualified {
        if is_private { &mut self.private } else { &mut self.no_cache }
    }

    /// Returns `true` if a response to a request with `Authorization` may be shared (RFC 9111
    /// section 3.5).
    pub(crate) fn shares_authorized(&self) -> bool {
        self.public || self.permits.s_maxage || self.permits.must_revalidate
    }

    /// Marks the directives as malformed. Applies the restricting directives that the malformed
    /// element contains as words.
    fn restrict(&mut self, element: &[u8], headers: &HeaderMap) {
        self.malformed = true;
        for word in element.split(|byte| !is_tchar(*byte)) {
            match lowercase_name(word, &mut [0; MAX_NAME_LENGTH]) {
                b"no-store" => self.no_store = true,
                b"no-cache" => self.no_cache.add(None, headers),
                b"private" => self.private.add(None, headers),
                _ => {}
            }
        }
    }
}

/// The directives of a request (RFC 9111 section 5.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RequestDirectives {
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) no_transform: bool,
    pub(crate) max_age: Option<u32>,
    pub(crate) min_fresh: Option<u32>,
    /// `u32::MAX` accepts any staleness (RFC 9111 section 5.2.1.2).
    pub(crate) max_stale: Option<u32>,
}

impl RequestDirectives {
    /// Reads all lines of `Cache-Control`. Reads `Pragma` if `Cache-Control` is absent (RFC 9111
    /// section 5.4).
    ///
    /// If a directive occurs twice, the stricter occurrence counts.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        let mut accepts_stale = true;
        for element in field_elements(headers, &CACHE_CONTROL) {
            let (name, argument) = split(element);
            match lowercase_name(name, &mut [0; MAX_NAME_LENGTH]) {
                b"no-cache" => directives.no_cache = true,
                b"no-store" => directives.no_store = true,
                b"only-if-cached" => directives.only_if_cached = true,
                b"no-transform" => directives.no_transform = true,
                b"max-age" => least(&mut directives.max_age, argument),
                b"max-stale" => {
                    let value = if argument.is_none() { Some(u32::MAX) } else { seconds(argument) };
                    accepts_stale &= value.is_some();
                    keep_least(&mut directives.max_stale, value);
                }
                b"min-fresh" => {
                    let value = seconds(argument).unwrap_or(MAX_DELTA_SECONDS);
                    directives.min_fresh = directives.min_fresh.max(Some(value));
                }
                _ => {}
            }
        }
        directives.max_stale = directives.max_stale.filter(|_| accepts_stale);
        // RFC 9111 section 5.4: clients that do not know `Cache-Control` send `Pragma`.
        if !headers.contains_key(CACHE_CONTROL) {
            directives.no_cache =
                field_elements(headers, &PRAGMA).any(|element| element.eq_ignore_ascii_case(b"no-cache"));
        }
        directives
    }
}

/// The length of the longest known name, `stale-while-revalidate`.
const MAX_NAME_LENGTH: usize = 22;

/// Converts a name to lower case (RFC 9111 section 5.2). A name longer than [`MAX_NAME_LENGTH`]
/// becomes empty.
fn lowercase_name<'a>(name: &[u8], buffer: &'a mut [u8; MAX_NAME_LENGTH]) -> &'a [u8] {
    let Some(buffer) = buffer.get_mut(..name.len()) else { return b"" };
    buffer.copy_from_slice(name);
    buffer.make_ascii_lowercase();
    buffer
}

/// Splits a directive into its name and its argument, if it has one.
pub(super) fn split(element: &[u8]) -> (&[u8], Option<&[u8]>) {
    match element.iter().position(|&byte| byte == b'=') {
        Some(at) => (trim(&element[..at]), Some(trim(&element[at + 1..]))),
        None => (element, None),
    }
}

/// Returns `true` if the name is a token, and the argument a token or a terminated quoted string
/// (RFC 9111 section 5.2).
///
/// White space around `=` and an empty argument are accepted: neither can hide a directive.
pub(super) fn is_directive(name: &[u8], argument: Option<&[u8]>) -> bool {
    let is_token = |text: &[u8]| text.iter().copied().all(is_tchar);
    let argument = argument.unwrap_or_default();
    let is_argument = match argument.first() {
        Some(b'"') => unquoted(argument).is_some(),
        _ => is_token(argument),
    };
    !name.is_empty() && is_token(name) && is_argument
}

/// Returns `true` for a character of a token (RFC 9110 section 5.6.2).
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Sets `place` to the smaller of its number and the argument. An argument that is not a number
/// counts as 0 (RFC 9111 section 4.2.1).
fn least(place: &mut Option<u32>, argument: Option<&[u8]>) {
    keep_least(place, Some(seconds(argument).unwrap_or(0)));
}

/// Sets `place` to the smaller of its number and `value`, if there is a `value`.
fn keep_least(place: &mut Option<u32>, value: Option<u32>) {
    if let Some(value) = value {
        *place = Some(place.map_or(value, |known| known.min(value)));
    }
}

/// Parses delta-seconds. Tokens and quoted strings are accepted (RFC 9111 section 5.2).
fn seconds(argument: Option<&[u8]>) -> Option<u32> {
    delta_seconds(&unquoted(argument?)?)
}

/// Parses delta-seconds. Numbers above 2^31 become 2^31 (RFC 9111 section 1.2.2).
pub(super) fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u32, digit: &u8| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    Some(text.iter().fold(0, add).min(MAX_DELTA_SECONDS))
}

/// Returns the text of a token or a quoted string. Returns `None` if a quoted string is not
/// terminated, or ends before the argument does.
pub(super) fn unquoted(argument: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(inside) = argument.strip_prefix(b"\"") else { return Some(Cow::Borrowed(argument)) };
    let mut text = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    loop {
        match *bytes.next()? {
            b'\\' => text.push(*bytes.next()?),
            b'"' => break,
            byte => text.push(byte),
        }
    }
    bytes.as_slice().is_empty().then_some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{
        MAX_DELTA_SECONDS, Permissions, Qualified, RequestDirectives, ResponseDirectives, delta_seconds,
    };
    use http::header::{HeaderName, SET_COOKIE};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn response(value: &str) -> ResponseDirectives {
        ResponseDirectives::from_headers(&headers(&[("cache-control", value)]))
    }

    fn request(value: &str) -> RequestDirectives {
        RequestDirectives::from_headers(&headers(&[("cache-control", value)]))
    }

    fn fields(names: &[&'static str]) -> Qualified {
        Qualified::Fields(names.iter().copied().map(HeaderName::from_static).collect())
    }

    /// RFC 9111 section 5.2: "to be compared case-insensitively", "both token and quoted-string
    /// syntax".
    #[test]
    fn directives_are_read_in_any_case_and_over_all_lines() {
        let lines = [
            ("cache-control", "No-Store, MAX-AGE=60"),
            ("cache-control", "Public, must-revalidate, proxy-revalidate, must-understand"),
            ("cache-control", "no-transform, immutable, S-MaxAge=\"10\", unknown=\"no-cache, private\""),
            ("cache-control", "stale-while-revalidate=5, Stale-If-Error=\"6\""),
        ];
        let expected = ResponseDirectives {
            no_store: true,
            public: true,
            must_revalidate: true,
            proxy_revalidate: true,
            must_understand: true,
            no_transform: true,
            immutable: true,
            max_age: Some(60),
            s_maxage: Some(10),
            stale_while_revalidate: Some(5),
            stale_if_error: Some(6),
            no_cache: Qualified::Absent,
            private: Qualified::Absent,
            permits: Permissions { must_revalidate: true, must_understand: true, s_maxage: true },
            targeted: false,
            malformed: false,
        };
        assert_eq!(ResponseDirectives::from_headers(&headers(&lines)), expected);
    }

    #[test]
    fn absent_field_has_no_directives() {
        assert_eq!(ResponseDirectives::from_headers(&headers(&[])), ResponseDirectives::default());
        assert_eq!(RequestDirectives::from_headers(&headers(&[])), RequestDirectives::default());
    }

    /// RFC 9111 sections 1.2.2 and 4.2.1.
    #[test]
    fn unreadable_lifetime_is_zero() {
        let cases = [
            ("60", 60),
            ("\"60\"", 60),
            ("\"6\\0\"", 60),
            ("0060", 60),
            ("0", 0),
            ("2147483648", MAX_DELTA_SECONDS),
            ("2147483649", MAX_DELTA_SECONDS),
            ("99999999999999999999999999", MAX_DELTA_SECONDS),
            ("abc", 0),
            ("-1", 0),
            ("+1", 0),
            ("", 0),
            ("\"\"", 0),
            ("1.5", 0),
            ("\" 60\"", 0),
            (" 60 x", 0),
            ("60;x", 0),
            ("\"60", 0),
            ("\"60\"1", 0),
        ];
        for (argument, expected) in cases {
            assert_eq!(response(&format!("max-age={argument}")).max_age, Some(expected), "{argument:?}");
            assert_eq!(response(&format!("s-maxage={argument}")).s_maxage, Some(expected), "{argument:?}");
            assert_eq!(request(&format!("max-age={argument}")).max_age, Some(expected), "{argument:?}");
        }
        assert_eq!(response("max-age").max_age, Some(0));
    }

    /// RFC 5861 sections 3 and 4.
    #[test]
    fn unreadable_stale_window_counts_as_zero() {
        for argument in ["", "=", "=abc", "=-1", "=1.5"] {
            let directives = response(&format!("stale-while-revalidate{argument}, stale-if-error{argument}"));
            let windows = (directives.stale_while_revalidate, directives.stale_if_error);
            assert_eq!(windows, (Some(0), Some(0)), "{argument:?}");
        }
    }

    /// RFC 9111 section 4.2.1: "caches are encouraged to consider responses that have invalid
    /// freshness information … to be stale". Restricting words in a malformed element still
    /// restrict.
    #[test]
    fn malformed_element_is_marked_and_keeps_its_restrictions() {
        let read = |value| {
            let read = response(value);
            (read.malformed, read.no_store, read.no_cache, read.private)
        };
        let (absent, all) = (Qualified::Absent, Qualified::All);
        for value in
            ["", "max-age=60", "max-age = 60", "ext", "ext=", "ext=\"a, no-store\"", "ext=a", "PRIVATE-ISH=1"]
        {
            assert_eq!(read(value), (false, false, absent.clone(), absent.clone()), "{value}");
        }
        for value in
            ["max-age=60; public", "max-age=6 0", "a b", "=", "\"private-ish\"", "ext=\"a", "ext=\"a\"b"]
        {
            assert_eq!(read(value), (true, false, absent.clone(), absent.clone()), "{value}");
        }
        for value in ["no-store; x", "x no-store", "ext=\"x, no-store", "ext=\"x\\\", No-Store"] {
            assert_eq!(read(value), (true, true, absent.clone(), absent.clone()), "{value}");
        }
        assert_eq!(read("private; max-age=60, no-cache=\"a"), (true, false, all.clone(), all.clone()));
        assert_eq!(read("\"private\""), (true, false, absent, all));
    }

    /// RFC 9111 section 4.2.1.
    #[test]
    fn smallest_value_of_a_repeated_duration_counts() {
        let lines = [
            ("cache-control", "max-age=60, max-age=10, s-maxage=7, stale-if-error=9"),
            ("cache-control", "max-age=30, s-maxage=x, stale-if-error=8, stale-if-error=x"),
        ];
        let directives = ResponseDirectives::from_headers(&headers(&lines));
        assert_eq!(directives.max_age, Some(10));
        assert_eq!(directives.s_maxage, Some(0));
        assert_eq!(directives.stale_if_error, Some(0));
    }

    /// RFC 9111 sections 5.2.2.4 and 5.2.2.7.
    #[test]
    fn field_list_with_an_invalid_name_means_the_whole_response() {
        // `D` stands for the name of the directive.
        let cases = [
            ("", Qualified::Absent),
            ("D", Qualified::All),
            ("D=Set-Cookie", fields(&["set-cookie"])),
            ("D=x-a, D=\"x-b\", max-age=60, ext", fields(&["x-a", "x-b"])),
            ("D=x-a, max-age=60", fields(&["x-a"])),
            ("D=x-a, x-b", Qualified::All),
            ("D=x-a, ext", Qualified::All),
            ("D=x-a, D=x-b, x-c", Qualified::All),
            ("D=x", Qualified::All),
            ("D=1", Qualified::All),
            ("D=*", Qualified::All),
            ("D=\"*\"", Qualified::All),
            ("D=\"x-a, *\"", Qualified::All),
            ("D=-1", Qualified::All),
            ("D=max-age", Qualified::All),
            ("D=\"Set-Cookie\"", fields(&["set-cookie"])),
            ("D=\"Set-Cookie, X-A\", D=\"x-b\"", fields(&["set-cookie", "x-a", "x-b"])),
            ("D=\"X-\\A\"", fields(&["x-a"])),
            ("D=", Qualified::All),
            ("D=\"\"", Qualified::All),
            ("D=\" , \"", Qualified::All),
            ("D=\"x-a, b c\"", Qualified::All),
            ("D=\"x-a", Qualified::All),
            ("D=\"x-a\", D", Qualified::All),
            ("D, D=\"x-a\"", Qualified::All),
            ("D=\"x-a\", D=\"\"", Qualified::All),
        ];
        for (template, expected) in cases {
            for name in ["private", "No-Cache"] {
                let directives = response(&template.replace('D', name));
                let found = if name == "private" { directives.private } else { directives.no_cache };
                assert_eq!(found, expected, "{template:?} of {name}");
            }
        }
    }

    /// RFC 9111 section 5.2.2.4: a word that names a field of the response is a field name.
    #[test]
    fn unquoted_word_may_name_a_field_of_the_response() {
        let lines = [("cache-control", "private=link, no-cache=vary"), ("link", "</a>")];
        let directives = ResponseDirectives::from_headers(&headers(&lines));
        assert_eq!((directives.private, directives.no_cache), (fields(&["link"]), Qualified::All));
    }

    /// RFC 9111 section 3.5.
    #[test]
    fn directive_with_an_invalid_argument_permits_nothing() {
        for (value, expected) in [
            ("must-revalidate", true),
            ("must-revalidate=1", false),
            ("must-revalidate=\"\"", false),
            ("must-revalidate=1, must-revalidate", true),
            ("s-maxage=1", true),
            ("s-maxage=\"1\"", true),
            ("s-maxage=0", true),
            ("s-maxage", false),
            ("s-maxage=x", false),
            ("s-maxage=1, s-maxage=x", false),
            ("s-maxage=x, s-maxage=1", false),
            ("public", true),
            ("public=1", false),
            ("proxy-revalidate", false),
        ] {
            assert_eq!(response(value).shares_authorized(), expected, "{value}");
        }
    }

    #[test]
    fn unexpected_argument_keeps_restrictions_but_disables_public() {
        assert!(response("no-store=1").no_store);
        assert!(response("no-store =1").no_store);
        assert!(response("must-revalidate=\"x\"").must_revalidate);
        assert!(!response("public=1").public);
        assert!(!response("public=").public);
        assert!(response("public=1, public").public);
    }

    #[test]
    fn quoted_string_contains_no_directives() {
        assert_eq!(response("x=\"a, public, s-maxage=60\""), ResponseDirectives::default());
    }

    /// RFC 9111 section 5.2.1.
    #[test]
    fn request_directives_are_read() {
        let expected = RequestDirectives {
            no_cache: true,
            no_store: true,
            only_if_cached: true,
            no_transform: true,
            max_age: Some(1),
            min_fresh: Some(2),
            max_stale: Some(3),
        };
        let value = "No-Cache, no-store, only-if-cached, no-transform, max-age=1, min-fresh=2, max-stale=3";
        assert_eq!(request(value), expected);
    }

    /// RFC 9111 section 5.2.1.2.
    #[test]
    fn max_stale_without_a_number_accepts_any_staleness() {
        let cases = [
            ("max-stale", Some(u32::MAX)),
            ("max-stale, max-stale=5", Some(5)),
            ("max-stale=99999999999", Some(MAX_DELTA_SECONDS)),
            ("max-stale=x", None),
            ("max-stale=5, max-stale=x", None),
            ("max-stale=x, max-stale", None),
            ("max-stale=", None),
        ];
        for (value, expected) in cases {
            assert_eq!(request(value).max_stale, expected, "{value:?}");
        }
    }

    /// RFC 9111 section 5.4.
    #[test]
    fn pragma_counts_only_without_cache_control() {
        let pragma = |lines| RequestDirectives::from_headers(&headers(lines)).no_cache;
        assert!(pragma(&[("pragma", "No-Cache")]));
        assert!(pragma(&[("pragma", "x"), ("pragma", "y, no-cache")]));
        assert!(!pragma(&[("pragma", "no-cache=1")]));
        assert!(!pragma(&[("pragma", "no-cache"), ("cache-control", "max-age=1")]));
        let directives = ResponseDirectives::from_headers(&headers(&[("pragma", "no-cache")]));
        assert_eq!(directives, ResponseDirectives::default());
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_lines_parse_without_a_panic(mut headers in field("cache-control")) {
            let _ = RequestDirectives::from_headers(&headers);
            let before = ResponseDirectives::from_headers(&headers);
            headers.append("cache-control", http::HeaderValue::from_static("no-store, private, max-age=0"));
            let after = ResponseDirectives::from_headers(&headers);
            prop_assert!(after.no_store);
            prop_assert_eq!(after.private, Qualified::All);
            prop_assert_eq!(after.max_age, Some(0));
            prop_assert_eq!(after.no_cache, before.no_cache);
        }

        #[test]
        fn delta_seconds_of_any_bytes_are_in_range(text in any::<Vec<u8>>()) {
            prop_assert!(delta_seconds(&text).is_none_or(|seconds| seconds <= MAX_DELTA_SECONDS));
        }

        #[test]
        fn delta_seconds_above_the_maximum_become_the_maximum(number in any::<u64>()) {
            let expected = u32::try_from(number).unwrap_or(MAX_DELTA_SECONDS).min(MAX_DELTA_SECONDS);
            prop_assert_eq!(delta_seconds(number.to_string().as_bytes()), Some(expected));
        }

        #[test]
        fn every_field_name_in_a_quoted_list_is_parsed(name in "[a-z][a-z0-9-]{0,12}") {
            let expected = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
            let directives = response(&format!("private=\"set-cookie , {name}\""));
            prop_assert_eq!(directives.private, Qualified::Fields(vec![SET_COOKIE, expected]));
        }
    }
}
