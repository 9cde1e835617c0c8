//! The parser of comma-separated lists, for all fields that are lists (RFC 9110 section 5.6.1).

use http::{HeaderMap, HeaderName};

/// Returns the elements of one field line. A comma in a quoted string does not separate elements.
/// Empty elements are skipped.
pub(crate) fn elements(value: &[u8]) -> Elements<'_> {
    Elements { rest: Some(value) }
}

/// The elements of one field line.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.rest?;
            let element = match separator(rest) {
                Some(at) => {
                    self.rest = Some(&rest[at + 1..]);
                    &rest[..at]
                }
                None => {
                    self.rest = None;
                    rest
                }
            };
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
    }
}

/// Returns the index of the first comma outside of a quoted string (RFC 9110 section 5.6.4).
fn separator(value: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    value.iter().position(|&byte| {
        match (quoted, byte) {
            _ if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            _ => {}
        }
        byte == b',' && !quoted
    })
}

/// Removes optional white space at both ends (RFC 9110 section 5.6.3).
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Returns the elements of all lines of a field, in order (RFC 9110 section 5.3).
pub(crate) fn field_elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().flat_map(|line| elements(line.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{elements, field_elements, trim};
    use http::header::VARY;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn texts(value: &str) -> Vec<&str> {
        elements(value.as_bytes()).map(|element| std::str::from_utf8(element).expect("text")).collect()
    }

    /// RFC 9110 sections 5.6.1, 5.6.3 and 5.6.4.
    #[test]
    fn unquoted_commas_separate() {
        let cases: [(&str, &[&str]); 14] = [
            ("", &[]),
            (" \t ", &[]),
            (",, ,\t,", &[]),
            ("a", &["a"]),
            ("foo ,bar,charlie", &["foo", "bar", "charlie"]),
            ("foo , ,bar,charlie", &["foo", "bar", "charlie"]),
            ("\t a b \t,\tc ", &["a b", "c"]),
            (r#"a="b,c", d"#, &[r#"a="b,c""#, "d"]),
            (r#"a="b\",c", d"#, &[r#"a="b\",c""#, "d"]),
            (r#"a="b\\", c"#, &[r#"a="b\\""#, "c"]),
            (r#"a="b, c"#, &[r#"a="b, c"#]),
            (r#"a="b\"#, &[r#"a="b\"#]),
            (r#""", """#, &[r#""""#, r#""""#]),
            (r"a\,b", &[r"a\", "b"]),
        ];
        for (value, expected) in cases {
            assert_eq!(texts(value), expected, "{value:?}");
        }
    }

    /// RFC 9110 section 5.3.
    #[test]
    fn lines_are_read_in_order_and_a_quote_ends_with_its_line() {
        let headers = headers(&[("vary", "a, \"b"), ("x-other", "no"), ("vary", ""), ("vary", "c,d")]);
        let found: Vec<_> = field_elements(&headers, &VARY).collect();
        assert_eq!(found, [&b"a"[..], b"\"b", b"c", b"d"]);
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn elements_of_any_bytes_are_trimmed_parts_in_order(value in any::<Vec<u8>>()) {
            let mut from = value.as_ptr().addr();
            for element in elements(&value) {
                prop_assert!(!element.is_empty());
                prop_assert_eq!(trim(element), element);
                prop_assert!(element.as_ptr().addr() >= from);
                from = element.as_ptr().addr() + element.len();
            }
            prop_assert!(from <= value.as_ptr().addr() + value.len());
        }

        #[test]
        fn unquoted_line_is_split_at_its_commas(value in "[a-z ,\t]{0,40}") {
            let expected: Vec<_> =
                value.split(',').map(|part| part.trim_matches([' ', '\t'])).filter(|part| !part.is_empty()).collect();
            prop_assert_eq!(texts(&value), expected);
        }

        #[test]
        fn any_lines_are_read_in_order(headers in field("vary")) {
            let each: usize = headers.get_all(VARY).into_iter().map(|line| elements(line.as_bytes()).count()).sum();
            prop_assert_eq!(field_elements(&headers, &VARY).count(), each);
        }
    }
}
