//! The canonical form of a query. Queries with the same parameters have the same form.

/// Returns the canonical form of a query.
///
/// Two queries have the same form if and only if a form parser
/// (`application/x-www-form-urlencoded`) reads the same pairs from both, in any order. An absent
/// query equals an empty one.
pub(super) fn canonical(query: Option<&str>) -> Vec<u8> {
    let query = query.unwrap_or_default();
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    pairs.sort_unstable();
    let mut canonical = Vec::with_capacity(query.len() + pairs.len() * 2 * size_of::<u64>());
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        // The length marks the end of each text unambiguously.
        canonical.extend((text.len() as u64).to_le_bytes());
        canonical.extend(text.as_bytes());
    }
    canonical
}

#[cfg(test)]
mod tests {
    use super::canonical;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    /// Returns one of the spellings of a byte.
    fn spelled(byte: u8, way: u8) -> String {
        match (byte, way % 3) {
            (b' ', 0) => "+".to_owned(),
            (byte, 0) if byte.is_ascii_alphanumeric() => (byte as char).to_string(),
            (byte, 1) => format!("%{byte:02x}"),
            (byte, _) => format!("%{byte:02X}"),
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn all_spellings_of_a_text_have_one_form(text in any::<String>(), ways in prop::collection::vec(any::<u8>(), 1..9)) {
            let spell = |shift: usize| -> String {
                let ways = ways.iter().cycle().skip(shift);
                text.bytes().zip(ways).map(|(byte, way)| spelled(byte, *way)).collect()
            };
            let forms = [0, 1, 2].map(|shift| canonical(Some(&format!("q={}&x", spell(shift)))));
            prop_assert_eq!(&forms[0], &forms[1]);
            prop_assert_eq!(&forms[0], &forms[2]);
        }

        #[test]
        fn queries_have_one_form_if_and_only_if_parsed_alike(a in "[ab=&+%20;]{0,8}", b in "[ab=&+%20;]{0,8}") {
            let read = |query: &str| {
                let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                pairs.sort();
                pairs
            };
            prop_assert_eq!(read(&a) == read(&b), canonical(Some(&a)) == canonical(Some(&b)));
        }
    }

    #[test]
    fn invalid_percent_encoding_is_literal() {
        for (a, b) in
            [("q=%", "q=%25"), ("q=%4", "q=%254"), ("q=%zz", "q=%25zz"), ("q=%FF", "q=%EF%BF%BD"), ("", "&")]
        {
            assert_eq!(canonical(Some(a)), canonical(Some(b)), "{a} {b}");
        }
        assert_eq!(canonical(None), canonical(Some("")));
        assert_ne!(canonical(Some("q=a%2Bb")), canonical(Some("q=a+b")));
    }
}
