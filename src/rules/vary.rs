//! `Vary` and its nominated request fields (RFC 9110 section 12.5.5, RFC 9111 section 4.1).

use super::list::{field_elements, trim};
use http::header::{ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// The request fields that select a variant of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vary {
    /// `*`: a stored response matches no other request.
    Any,
    /// These nominated fields, in alphabetical order.
    Fields(Vec<HeaderName>),
}

impl Vary {
    /// Reads all lines of `Vary`. Returns [`Any`](Self::Any) if an element is `*` (RFC 9110 section
    /// 12.5.5) or is not a valid name.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        // No request field can be compared under an invalid name.
        let name = |element: &[u8]| HeaderName::from_bytes(element).ok().filter(|name| name.as_str() != "*");
        match field_elements(headers, &VARY).map(name).collect::<Option<Vec<_>>>() {
            Some(mut fields) => {
                fields.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
                fields.dedup();
                Self::Fields(fields)
            }
            None => Self::Any,
        }
    }
}

/// The comparison of two values of a nominated field (RFC 9111 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VaryMatch {
    /// Byte for byte: applications may distinguish values that are equivalent in HTTP.
    Exact,
    /// By meaning, as the definition of the field permits.
    Normalized,
}

/// Returns a request's value of a nominated field; `None` if the field is absent, which differs
/// from an empty value.
pub(crate) fn field_value<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    vary_match: VaryMatch,
) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).into_iter().map(HeaderValue::as_bytes).map(trim);
    let first = lines.next()?;
    if let Some(normalized) = normalized(headers, name, vary_match) {
        return Some(normalized.into());
    }
    let mut value = Cow::Borrowed(first);
    // RFC 9110 section 5.3; for cookies, RFC 9113 section 8.2.3.
    let separator: &[u8] = if *name == COOKIE { b"; " } else { b", " };
    for line in lines {
        let value = value.to_mut();
        value.extend_from_slice(separator);
        value.extend_from_slice(line);
    }
    Some(value)
}

/// Returns `true` if a request has the same value of a nominated field as the original request.
pub(crate) fn matches(
    headers: &HeaderMap,
    name: &HeaderName,
    original: Option<&[u8]>,
    vary_match: VaryMatch,
) -> bool {
    let mut lines = headers.get_all(name).into_iter();
    match (lines.next(), lines.next()) {
        // Clients send most values in normalized form.
        (first, None) if first.map(|line| trim(line.as_bytes())) == original => true,
        (Some(_), None) if !is_normalized(name, vary_match) => false,
        _ => field_value(headers, name, vary_match).as_deref() == original,
    }
}

/// Returns `true` if the values of a field are compared in normalized form (RFC 9111 section 4.1).
fn is_normalized(name: &HeaderName, vary_match: VaryMatch) -> bool {
    vary_match == VaryMatch::Normalized && [ACCEPT_LANGUAGE, ACCEPT_ENCODING, ACCEPT_CHARSET].contains(name)
}

/// Returns the normalized form of a field's value: in lower case, and without white space around
/// separators (RFC 9110 sections 12.4 and 12.5). The order of the elements is kept, because some
/// servers depend on it.
///
/// Returns `None` if [`is_normalized`] returns `false`, or if the value has a quote.
fn normalized(headers: &HeaderMap, name: &HeaderName, vary_match: VaryMatch) -> Option<Vec<u8>> {
    // These fields have no quoted strings, so a value with a quote has no known meaning.
    let has_quote = |line: &HeaderValue| line.as_bytes().contains(&b'"');
    if !is_normalized(name, vary_match) || headers.get_all(name).into_iter().any(has_quote) {
        return None;
    }
    let mut value = Vec::new();
    for element in field_elements(headers, name) {
        let separator: &[u8] = if value.is_empty() { b"" } else { b", " };
        value.extend_from_slice(separator);
        for (at, part) in element.split(|&byte| byte == b';').enumerate() {
            value.extend_from_slice(if at == 0 { b"" } else { b";" });
            value.extend(trim(part).iter().map(u8::to_ascii_lowercase));
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{Vary, VaryMatch};
    use http::header::{ACCEPT, ACCEPT_LANGUAGE, COOKIE, HeaderName, VARY};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn field_value(headers: &http::HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
        super::field_value(headers, name, VaryMatch::Normalized).map(Into::into)
    }

    fn matches(headers: &http::HeaderMap, name: &HeaderName, original: Option<&[u8]>) -> bool {
        super::matches(headers, name, original, VaryMatch::Normalized)
    }

    fn names(vary: Vary) -> Option<Vec<HeaderName>> {
        match vary {
            Vary::Any => None,
            Vary::Fields(names) => Some(names),
        }
    }

    /// RFC 9110 section 12.5.5.
    #[test]
    fn nominated_fields_are_sorted_without_duplicates() {
        let cases: [(&[&str], Option<&[&str]>); 12] = [
            (&[], Some(&[])),
            (&[""], Some(&[])),
            (&["Accept"], Some(&["accept"])),
            (&["Origin, ACCEPT,accept", "Cookie , Origin"], Some(&["accept", "cookie", "origin"])),
            (&["*"], None),
            (&[" *\t"], None),
            (&["accept, *"], None),
            (&["accept", "origin, * "], None),
            (&["b c"], None),
            (&["accept;q=1"], None),
            (&["\"accept, origin\""], None),
            (&["\u{e9}"], None),
        ];
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
            let found = names(Vary::from_headers(&headers(&lines)));
            let expected = expected.map(|names| {
                names.iter().map(|name| HeaderName::from_bytes(name.as_bytes()).expect("a name")).collect()
            });
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    /// RFC 9110 section 5.3; for `Cookie` RFC 9113 section 8.2.3.
    #[test]
    fn lines_are_joined_in_order() {
        let headers = headers(&[
            ("accept", " text/html\t"),
            ("cookie", "a=1"),
            ("accept", ""),
            ("accept", "*/*"),
            ("cookie", " b=2 "),
        ]);
        assert_eq!(field_value(&headers, &ACCEPT).as_deref(), Some(&b"text/html, , */*"[..]));
        assert_eq!(field_value(&headers, &COOKIE).as_deref(), Some(&b"a=1; b=2"[..]));
    }

    /// RFC 9111 section 4.1: absent matches only absent.
    #[test]
    fn absent_field_differs_from_an_empty_one() {
        let (absent, empty) = (headers(&[]), headers(&[("accept", "")]));
        assert_eq!(field_value(&absent, &ACCEPT), None);
        assert_eq!(field_value(&empty, &ACCEPT).as_deref(), Some(&b""[..]));
        assert!(matches(&absent, &ACCEPT, None));
        assert!(matches(&empty, &ACCEPT, Some(b"")));
        assert!(!matches(&absent, &ACCEPT, Some(b"")));
        assert!(!matches(&empty, &ACCEPT, None));
    }

    #[test]
    fn values_match_only_if_they_are_equal() {
        let one = headers(&[("accept", "a, b ")]);
        let two = headers(&[("accept", "a"), ("accept", "b")]);
        for headers in [&one, &two] {
            assert!(matches(headers, &ACCEPT, Some(b"a, b")));
            assert!(!matches(headers, &ACCEPT, Some(b"a")));
            assert!(!matches(headers, &ACCEPT, Some(b"A, b")));
            assert!(!matches(headers, &ACCEPT, Some(b"b, a")));
            assert!(!matches(headers, &ACCEPT, None));
        }
    }

    /// RFC 9111 section 4.1: "normalizing both header field values in a way that is known to have
    /// identical semantics".
    #[test]
    fn equivalent_values_of_known_fields_match() {
        let english = Some(&b"en-gb, en;q=0.8, de;q=0.5"[..]);
        for (value, same) in [
            ("en-gb, en;q=0.8, de;q=0.5", true),
            ("EN-gb,En;Q=0.8,  de;q=0.5", true),
            (" en-GB\t,, en ; q=0.8, de;q=0.5 ,", true),
            ("en;q=0.8, en-gb, de;q=0.5", false),
            ("en-gb, en;q=0.9, de;q=0.5", false),
            ("en-gb, en, de;q=0.5", false),
            ("en-gb en;q=0.8, de;q=0.5", false),
            ("", false),
        ] {
            for (name, field) in
                [("accept-language", ACCEPT_LANGUAGE), ("accept-encoding", super::ACCEPT_ENCODING)]
            {
                let headers = headers(&[(name, value)]);
                assert_eq!(matches(&headers, &field, english), same, "{name}: {value}");
                assert_eq!(field_value(&headers, &field).as_deref() == english, same, "{name}: {value}");
            }
        }
        for (one, other) in [("\"A\"", "\"a\""), ("\"a; b\"", "\"a;b\""), ("en ;q=\"x, Y\"", "en;q=\"x, y\"")]
        {
            let other = field_value(&headers(&[("accept-language", other)]), &ACCEPT_LANGUAGE);
            assert!(
                !matches(&headers(&[("accept-language", one)]), &ACCEPT_LANGUAGE, other.as_deref()),
                "{one}"
            );
        }
        let lines = headers(&[("accept-language", "en-GB, en;q=0.8"), ("accept-language", "DE;q=0.5")]);
        assert!(matches(&lines, &ACCEPT_LANGUAGE, english));
        let absent = headers(&[]);
        assert!(matches(&absent, &ACCEPT_LANGUAGE, None) && !matches(&absent, &ACCEPT_LANGUAGE, Some(b"")));
    }

    #[test]
    fn exact_match_compares_byte_for_byte() {
        let english = Some(&b"en"[..]);
        for value in ["EN", "en,", "en, ", " en"] {
            let headers = headers(&[("accept-language", value)]);
            let same = value.trim() == "en";
            assert_eq!(
                super::matches(&headers, &ACCEPT_LANGUAGE, english, VaryMatch::Exact),
                same,
                "{value}"
            );
            let found = super::field_value(&headers, &ACCEPT_LANGUAGE, VaryMatch::Exact);
            assert_eq!(found.as_deref() == english, same, "{value}");
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn accept_language_matches_if_its_normalized_values_are_equal(
            one in field("accept-language"), other in field("accept-language"),
        ) {
            let value = field_value(&one, &ACCEPT_LANGUAGE);
            prop_assert!(matches(&one, &ACCEPT_LANGUAGE, value.as_deref()));
            let vary_match = field_value(&other, &ACCEPT_LANGUAGE) == value;
            prop_assert_eq!(matches(&other, &ACCEPT_LANGUAGE, value.as_deref()), vary_match);
        }

        #[test]
        fn any_vary_parses_without_a_panic_and_keeps_its_asterisk(mut headers in field("vary")) {
            if let Some(names) = names(Vary::from_headers(&headers)) {
                prop_assert!(names.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
            }
            headers.append(VARY, http::HeaderValue::from_static("accept ,*"));
            prop_assert_eq!(Vary::from_headers(&headers), Vary::Any);
        }

        #[test]
        fn accept_matches_if_its_values_are_equal(one in field("accept"), other in field("accept")) {
            let value = field_value(&one, &ACCEPT);
            prop_assert!(matches(&one, &ACCEPT, value.as_deref()));
            prop_assert_eq!(matches(&other, &ACCEPT, value.as_deref()), field_value(&other, &ACCEPT) == value);
        }
    }
}
