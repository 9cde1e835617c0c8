//! Negotiation of a content coding among several encoded variants of a response (RFC 9110 section
//! 12.5.3).

use super::accept::{coding_matches, preferences, weight_of};
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};

/// A content coding that an encoder may offer.
///
/// The order is the preference among codings with equal weights, as in tower-http.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Brotli,
    Gzip,
    Deflate,
}

impl Coding {
    pub(crate) const COUNT: usize = 4;
    pub(crate) const ALL: [Self; Self::COUNT] = [Self::Zstd, Self::Brotli, Self::Gzip, Self::Deflate];

    /// Returns the registered name, as in `Content-Encoding`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// Returns the index of the coding in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// A set of codings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CodingSet(u8);

impl CodingSet {
    pub(crate) fn contains(self, coding: Coding) -> bool {
        self.0 & (1 << coding.index()) != 0
    }
}

impl FromIterator<Coding> for CodingSet {
    fn from_iter<I: IntoIterator<Item = Coding>>(codings: I) -> Self {
        Self(codings.into_iter().fold(0, |bits, coding| bits | (1 << coding.index())))
    }
}

/// The codings that a request prefers to `identity`, from the most to the least preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AcceptedCodings([Option<Coding>; Coding::COUNT]);

impl AcceptedCodings {
    pub(crate) const NONE: Self = Self([None; Coding::COUNT]);

    /// Reads all lines of `Accept-Encoding`.
    ///
    /// A coding counts if the request names it, or `*`, with a weight above zero that is not below
    /// the weight of `identity`. A request that does not name `identity` prefers every accepted
    /// coding to it. A request without the field accepts no coding, although the RFC permits any:
    /// its client may be unable to decode.
    pub(crate) fn from_headers(request: &HeaderMap) -> Self {
        let preferences = preferences(request, &ACCEPT_ENCODING);
        let named =
            |preference: &&super::accept::Preference<'_>| preference.range.eq_ignore_ascii_case(b"identity");
        let identity =
            preferences.iter().filter(named).map(|preference| preference.weight).max().unwrap_or(0);
        let mut ranked: Vec<_> = Coding::ALL
            .into_iter()
            .filter_map(|coding| {
                let (weight, _) = weight_of(coding.name(), &preferences, coding_matches)?;
                (weight > 0 && weight >= identity).then_some((weight, coding))
            })
            .collect();
        // The sort is stable, so codings with equal weights keep their order.
        ranked.sort_by_key(|&(weight, _)| std::cmp::Reverse(weight));
        let mut accepted = Self::NONE;
        for (place, (_, coding)) in accepted.0.iter_mut().zip(ranked) {
            *place = Some(coding);
        }
        accepted
    }

    /// Returns the accepted codings of a set, from the most to the least preferred.
    pub(crate) fn of(self, offered: CodingSet) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten().filter(move |coding| offered.contains(*coding))
    }
}

/// Returns the only line of `Accept-Encoding`, or `None` if there are several or none.
pub(crate) fn single_line(request: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = request.get_all(ACCEPT_ENCODING).into_iter();
    let line = lines.next()?;
    lines.next().is_none().then_some(line)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{field, headers};
    use super::{AcceptedCodings, Coding, CodingSet};
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
    use proptest::sample::select;
    use std::cmp::Reverse;

    const DEFAULTS: [Coding; 3] = [Coding::Brotli, Coding::Gzip, Coding::Deflate];

    fn accepted(lines: &[&str], offered: &[Coding]) -> Vec<&'static str> {
        let lines: Vec<_> = lines.iter().map(|line| ("accept-encoding", *line)).collect();
        let offered: CodingSet = offered.iter().copied().collect();
        AcceptedCodings::from_headers(&headers(&lines)).of(offered).map(Coding::name).collect()
    }

    /// RFC 9110 sections 8.4.1, 12.4.2 and 12.5.3.
    #[test]
    fn codings_are_ranked_by_weight_and_then_by_preference() {
        let table: [(&[&str], &[&str]); 28] = [
            (&[], &[]),
            (&[""], &[]),
            (&["gzip"], &["gzip"]),
            (&["GZip"], &["gzip"]),
            (&["x-gzip"], &["gzip"]),
            (&["x-br"], &[]),
            (&["gzip, deflate, br, zstd"], &["br", "gzip", "deflate"]),
            (&["gzip", "br"], &["br", "gzip"]),
            (&["br;q=0.5, gzip"], &["gzip", "br"]),
            (&["br;q=0.5,gzip;q=0.9,deflate;q=0.9"], &["gzip", "deflate", "br"]),
            (&["*"], &["br", "gzip", "deflate"]),
            (&["br;q=0, *"], &["gzip", "deflate"]),
            (&["*;q=0.1, gzip;q=0.2"], &["gzip", "br", "deflate"]),
            (&["*;q=0, gzip"], &["gzip"]),
            (&["*;q=0"], &[]),
            (&["gzip;q=0"], &[]),
            (&["gzip;q=0.000"], &[]),
            (&["gzip;q=0.001"], &["gzip"]),
            (&["identity"], &[]),
            (&["identity, gzip"], &["gzip"]),
            (&["gzip;q=0.5, identity"], &[]),
            (&["gzip;q=0.5, br, identity;q=0.7"], &["br"]),
            (&["identity;q=0, gzip;q=0.1"], &["gzip"]),
            (&["identity;q=0"], &[]),
            (&["zstd, compress, unknown"], &[]),
            (&["gzip;q=x, br"], &["br"]),
            (&["gzip;q=2"], &[]),
            (&["gzip;q=0, gzip"], &["gzip"]),
        ];
        for (lines, expected) in table {
            assert_eq!(accepted(lines, &DEFAULTS), expected, "{lines:?}");
        }
        assert_eq!(accepted(&["gzip, zstd, br"], &Coding::ALL), ["zstd", "br", "gzip"]);
        assert!(accepted(&["gzip"], &[]).is_empty());
    }

    /// A simple model: the weight of each coding by a search in the elements.
    fn model(elements: &[(&'static str, u16)]) -> Vec<&'static str> {
        let greatest = |wanted: &str| {
            let named = elements.iter().filter(|(name, _)| *name == wanted);
            named.map(|&(_, weight)| weight).max()
        };
        let identity = greatest("identity").unwrap_or(0);
        let mut ranked = Vec::new();
        for coding in Coding::ALL {
            let weight = greatest(coding.name()).or_else(|| greatest("*")).unwrap_or(0);
            if weight > 0 && weight >= identity {
                ranked.push((Reverse(weight), coding.index(), coding.name()));
            }
        }
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, _, name)| name).collect()
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn ranking_agrees_with_the_model(
            elements in proptest::collection::vec(
                (select(&["gzip", "br", "zstd", "deflate", "identity", "*", "other"]), 0..=10_u16), 0..8,
            ),
            lines in (1..4_usize).boxed(),
        ) {
            let text: Vec<_> = elements
                .iter()
                .map(|(name, tenths)| format!("{name};q={}.{}", tenths / 10, tenths % 10))
                .collect();
            let text: Vec<_> = text.chunks(lines).map(|line| line.join(", ")).collect();
            let text: Vec<_> = text.iter().map(String::as_str).collect();
            let thousandths: Vec<_> = elements.iter().map(|(name, tenths)| (*name, tenths * 100)).collect();
            prop_assert_eq!(accepted(&text, &Coding::ALL), model(&thousandths));
        }

        #[test]
        fn no_coding_is_accepted_that_the_field_does_not_name(request in field("accept-encoding")) {
            let text: Vec<u8> = request.values().flat_map(|line| line.as_bytes().to_ascii_lowercase()).collect();
            let names = |name: &str| text.windows(name.len()).any(|part| part == name.as_bytes());
            let all: CodingSet = Coding::ALL.into_iter().collect();
            for coding in AcceptedCodings::from_headers(&request).of(all) {
                prop_assert!(names(coding.name()) || names("*"), "{coding:?}");
            }
        }
    }
}
