//! Proactive negotiation (RFC 9110 section 12): selects the alternative that a request prefers,
//! among those that the site offers.

use super::list::{field_elements, trim};
use http::header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING};
use http::{HeaderMap, HeaderName};

/// One element of `Accept`, `Accept-Language` or `Accept-Encoding`: its range, and its weight in
/// thousandths.
pub(super) struct Preference<'a> {
    pub(super) range: &'a [u8],
    pub(super) weight: u16,
}

/// Reads all lines of a field. Malformed elements are ignored.
pub(super) fn preferences<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<Preference<'a>> {
    let elements = field_elements(headers, name);
    elements.filter_map(preference).collect()
}

fn preference(element: &[u8]) -> Option<Preference<'_>> {
    let mut parts = element.split(|&byte| byte == b';').map(trim);
    let range = parts.next().filter(|range| !range.is_empty())?;
    let mut weight = 1000;
    // Parameters before the weight narrow the range. They are ignored, because no offered
    // alternative has parameters. Parameters after the weight have no meaning.
    for parameter in parts {
        if let [b'q' | b'Q', b'=', value @ ..] = parameter {
            weight = thousandths(value)?;
            break;
        }
    }
    Some(Preference { range, weight })
}

/// Parses a weight (RFC 9110 section 12.4.2).
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match value {
        [whole, b'.', fraction @ ..] => (whole, fraction),
        [whole] => (whole, &[][..]),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(b"000").take(3);
    let sum = digits.fold(u16::from(whole - b'0'), |sum, digit| sum * 10 + u16::from(digit - b'0'));
    (sum <= 1000).then_some(sum)
}

/// Returns the weight and the position, among the preferences, of the most specific range that
/// matches an alternative. Returns `None` if no range matches.
///
/// `matches` returns `None` for a range that does not match, and otherwise how specific the range
/// is.
pub(super) fn weight_of(
    alternative: &str,
    preferences: &[Preference<'_>],
    matches: fn(&[u8], &str) -> Option<usize>,
) -> Option<(u16, usize)> {
    let matching = preferences.iter().enumerate();
    let matching = matching.filter_map(|(at, preference)| {
        matches(preference.range, alternative).map(|special| (special, preference.weight, at))
    });
    matching.max_by_key(|&(special, weight, _)| (special, weight)).map(|(_, weight, at)| (weight, at))
}

/// Returns the index with the highest rank. Of several such indexes, returns the lowest.
fn first_of_highest_rank<T: Ord>(ranked: impl Iterator<Item = (T, usize)>) -> Option<usize> {
    ranked.min_by(|(a, at), (b, other)| b.cmp(a).then(at.cmp(other))).map(|(_, at)| at)
}

/// Returns the index of the language that a request prefers (RFC 9110 section 12.5.4, with the
/// filtering and lookup of RFC 4647 section 3).
///
/// If the request accepts no offered language, returns the first language that it does not exclude.
/// If it excludes all, returns 0.
pub(crate) fn language(headers: &HeaderMap, offered: &[String]) -> usize {
    let preferences = preferences(headers, &ACCEPT_LANGUAGE);
    let ranked = offered.iter().enumerate().filter_map(|(at, tag)| {
        let (weight, place) = weight_of(tag, &preferences, language_matches)?;
        // Of languages with equal weights, the first in the request is preferred.
        (weight > 0).then_some(((weight, std::cmp::Reverse(place)), at))
    });
    first_of_highest_rank(ranked)
        .unwrap_or_else(|| first_not_excluded(offered, &preferences, language_matches))
}

/// Returns the index of the first alternative that is not excluded by a weight of 0. If all are
/// excluded, returns 0.
fn first_not_excluded(
    offered: &[String],
    preferences: &[Preference<'_>],
    matches: fn(&[u8], &str) -> Option<usize>,
) -> usize {
    let excluded = |one: &String| matches!(weight_of(one, preferences, matches), Some((0, _)));
    offered.iter().position(|one| !excluded(one)).unwrap_or(0)
}

fn language_matches(range: &[u8], tag: &str) -> Option<usize> {
    let tag = tag.as_bytes();
    match range {
        b"*" => Some(0),
        // The range `de` matches the tag `de-AT`. A longer range is more specific.
        _ if is_prefix(range, tag) => Some(range.len() + 2 - usize::from(range.len() != tag.len())),
        // The range `de-AT` falls back to the tag `de`.
        _ if is_prefix(tag, range) => Some(1),
        _ => None,
    }
}

/// Returns `true` if `long` is equal to `short`, or begins with `short` and a hyphen.
fn is_prefix(short: &[u8], long: &[u8]) -> bool {
    let begins = long.get(..short.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(short));
    begins && matches!(long.get(short.len()), None | Some(b'-'))
}

/// Returns the index of the media type that a request prefers (RFC 9110 section 12.5.1).
///
/// If the request accepts no offered media type, returns the first type that is not excluded
/// (`q=0`). If all types are excluded, returns 0.
pub(crate) fn format(headers: &HeaderMap, offered: &[String]) -> usize {
    let preferences = preferences(headers, &ACCEPT);
    let ranked = offered.iter().enumerate().filter_map(|(at, media_type)| {
        let (weight, _) = weight_of(media_type, &preferences, media_type_matches)?;
        (weight > 0).then_some((weight, at))
    });
    first_of_highest_rank(ranked)
        .unwrap_or_else(|| first_not_excluded(offered, &preferences, media_type_matches))
}

fn media_type_matches(range: &[u8], media_type: &str) -> Option<usize> {
    let media_type = media_type.as_bytes();
    match range {
        b"*/*" => Some(0),
        [kind @ .., b'/', b'*'] => {
            let begins = media_type.get(..kind.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(kind));
            (begins && media_type.get(kind.len()) == Some(&b'/')).then_some(1)
        }
        _ => range.eq_ignore_ascii_case(media_type).then_some(2),
    }
}

/// Returns the index of the content coding that a request prefers, or `None` if it prefers
/// `identity` (RFC 9110 section 12.5.3).
pub(crate) fn encoding(headers: &HeaderMap, offered: &[String]) -> Option<usize> {
    let preferences = preferences(headers, &ACCEPT_ENCODING);
    // Without a weight for `identity`, the request prefers every accepted coding to `identity`.
    let identity = preferences.iter().find(|preference| preference.range.eq_ignore_ascii_case(b"identity"));
    let identity = identity.map_or(0, |preference| preference.weight);
    let ranked = offered.iter().enumerate().filter_map(|(at, coding)| {
        let (weight, _) = weight_of(coding, &preferences, coding_matches)?;
        (weight > 0 && weight >= identity).then_some((weight, at))
    });
    first_of_highest_rank(ranked)
}

pub(super) fn coding_matches(range: &[u8], coding: &str) -> Option<usize> {
    match range {
        b"*" => Some(0),
        _ => canonical_coding(range).eq_ignore_ascii_case(canonical_coding(coding.as_bytes())).then_some(1),
    }
}

/// Returns the registered name of a coding that also has a legacy name (RFC 9110 sections 8.4.1.1
/// and 8.4.1.3).
fn canonical_coding(coding: &[u8]) -> &[u8] {
    match coding {
        [b'x' | b'X', b'-', rest @ ..] if is_aliased(rest) => rest,
        _ => coding,
    }
}

fn is_aliased(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"compress")
}

/// Returns `true` if the content of a response has a coding other than `identity`.
pub(crate) fn is_coded(response: &HeaderMap) -> bool {
    codings(response).next().is_some()
}

/// Returns `true` if a request accepts every coding of a response by name or by `*` (RFC 9110
/// section 12.5.3).
///
/// A request without `Accept-Encoding` counts as accepting no coding, although the RFC permits any:
/// its client may be unable to decode.
pub(crate) fn offers_codings(request: &HeaderMap, response: &HeaderMap) -> bool {
    let preferences = preferences(request, &ACCEPT_ENCODING);
    codings(response).all(|coding| {
        // A coding that is not UTF-8 matches only `*`.
        let coding = std::str::from_utf8(coding).unwrap_or_default();
        weight_of(coding, &preferences, coding_matches).is_some_and(|(weight, _)| weight > 0)
    })
}

fn codings(response: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    field_elements(response, &CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{encoding, format, language, offers_codings, thousandths};
    use http::HeaderMap;
    use proptest::prelude::{prop_assert, proptest};

    type Negotiation = fn(&HeaderMap, &[String]) -> Option<usize>;

    fn languages(headers: &HeaderMap, offered: &[String]) -> Option<usize> {
        Some(language(headers, offered))
    }

    fn formats(headers: &HeaderMap, offered: &[String]) -> Option<usize> {
        Some(format(headers, offered))
    }

    fn check(
        negotiate: Negotiation,
        name: &'static str,
        offered: &[&str],
        table: &[(&'static str, Option<&str>)],
    ) {
        let all: Vec<String> = offered.iter().map(|&one| one.to_owned()).collect();
        for (value, expected) in table {
            let chosen = negotiate(&headers(&[(name, *value)]), &all).map(|at| offered[at]);
            assert_eq!(chosen, *expected, "{value:?}");
        }
        assert_eq!(negotiate(&HeaderMap::new(), &all).unwrap_or(0), 0);
    }

    /// RFC 9110 section 12.5.4, RFC 4647 section 3.
    #[test]
    fn language_with_the_greatest_weight_is_selected() {
        check(
            languages,
            "accept-language",
            &["en", "de", "fr-CA"],
            &[
                ("de", Some("de")),
                ("DE", Some("de")),
                ("de-AT", Some("de")),
                ("de-AT-1996, en;q=0.5", Some("de")),
                ("en;q=0.5, de;q=0.8", Some("de")),
                ("de;q=0.5, en;q=0.8", Some("en")),
                ("de, en", Some("de")),
                ("fr", Some("fr-CA")),
                ("fr-FR", Some("en")),
                ("deu", Some("en")),
                ("ja", Some("en")),
                ("ja, *;q=0.1", Some("en")),
                ("*, en;q=0", Some("de")),
                ("de;q=0", Some("en")),
                ("en;q=0", Some("de")),
                ("*;q=0", Some("en")),
                ("de;q=2, en;q=0.1", Some("en")),
                ("de;x=1, en;q=0.1", Some("de")),
                ("de;, en;q=0.1", Some("de")),
                ("", Some("en")),
                (";q=1", Some("en")),
                ("\u{e9}", Some("en")),
            ],
        );
    }

    /// RFC 9110 section 12.5.1.
    #[test]
    fn most_specific_range_decides_on_a_media_type() {
        check(
            formats,
            "accept",
            &["text/html", "application/json"],
            &[
                ("application/json", Some("application/json")),
                ("APPLICATION/JSON", Some("application/json")),
                ("text/html, application/json", Some("text/html")),
                ("text/html;q=0.3, application/json", Some("application/json")),
                ("application/*", Some("application/json")),
                ("*/*", Some("text/html")),
                ("*/*, text/html;q=0.1", Some("application/json")),
                ("text/html;q=0, */*;q=0.1", Some("application/json")),
                ("text/html;level=1, application/json;q=0.1", Some("text/html")),
                ("application/json; charset=utf-8", Some("application/json")),
                ("application/json;q=0.9;ext=1, text/html;q=0.1", Some("application/json")),
                ("image/png", Some("text/html")),
                ("texthtml", Some("text/html")),
                ("text/htm", Some("text/html")),
            ],
        );
    }

    /// RFC 9110 section 12.5.3.
    #[test]
    fn coding_is_selected_if_it_is_preferred_to_identity() {
        check(
            encoding,
            "accept-encoding",
            &["br", "gzip"],
            &[
                ("gzip", Some("gzip")),
                ("x-gzip", Some("gzip")),
                ("gzip, deflate, br, zstd", Some("br")),
                ("br;q=0.5, gzip", Some("gzip")),
                ("*", Some("br")),
                ("br;q=0, *", Some("gzip")),
                ("gzip;q=0.5, identity", None),
                ("identity;q=0.5, gzip", Some("gzip")),
                ("identity;q=0, gzip;q=0.1", Some("gzip")),
                ("deflate", None),
                ("", None),
            ],
        );
    }

    /// RFC 9110 sections 8.4.1, 12.4.2 and 12.5.3.
    #[test]
    fn request_must_accept_every_coding_by_name_or_asterisk() {
        let table: [(&[&str], &str, bool); 25] = [
            (&[], "gzip", false),
            (&[], "identity", true),
            (&[], "", true),
            (&[""], "gzip", false),
            (&["gzip"], "gzip", true),
            (&["GZip"], "gzip", true),
            (&["gzip"], "GZIP", true),
            (&["x-gzip"], "gzip", true),
            (&["gzip"], "x-gzip", true),
            (&["compress"], "x-compress", true),
            (&["br"], "x-br", false),
            (&["br", "gzip;q=0.001"], "gzip", true),
            (&["gzip;q=0"], "gzip", false),
            (&["gzip; q=0.000, br"], "gzip", false),
            (&["*"], "zstd", true),
            (&["*;q=0"], "zstd", false),
            (&["*, zstd;q=0"], "zstd", false),
            (&["*;q=0, zstd"], "zstd", true),
            (&["identity"], "gzip", false),
            (&["deflate, br"], "gzip", false),
            (&["gzip;q=x"], "gzip", false),
            (&["gzip"], "br, gzip", false),
            (&["gzip, br"], "br, gzip", true),
            (&["gzip"], "gzip, identity", true),
            (&["*"], "aws-chunked", true),
        ];
        for (accepted, coding, offered) in table {
            let lines: Vec<_> = accepted.iter().map(|line| ("accept-encoding", *line)).collect();
            let response = headers(&[("content-encoding", coding)]);
            assert_eq!(offers_codings(&headers(&lines), &response), offered, "{accepted:?} {coding}");
        }
    }

    /// RFC 9110 section 12.4.2.
    #[test]
    fn weights_have_at_most_three_decimal_digits() {
        let table = [("1", 1000), ("0", 0), ("0.5", 500), ("1.000", 1000), ("0.001", 1), ("0.", 0)];
        for (text, expected) in table {
            assert_eq!(thousandths(text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["", "1.001", "2", "0.0001", "-1", "0,5", ".5", "1e0"] {
            assert_eq!(thousandths(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn selected_alternative_is_one_of_the_offered(
            accept in field("accept"),
            language_field in field("accept-language"),
            coding in field("accept-encoding"),
        ) {
            let offered = ["a".to_owned(), "b/c".to_owned()];
            prop_assert!(language(&language_field, &offered) < 2 && format(&accept, &offered) < 2);
            prop_assert!(encoding(&coding, &offered).is_none_or(|at| at < 2));
        }
    }
}
