//! Byte ranges (RFC 9110 section 14).

use super::list::elements;
use bytes::Bytes;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// The ranges that a request's `Range` field selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// `Range` is absent or ignored: the whole representation is the answer.
    Whole,
    /// At least one range. No range is empty, and no two overlap.
    Parts(Vec<Range<u64>>),
    /// None of the ranges exists (RFC 9110 section 15.5.17).
    Unsatisfiable,
}

/// The maximum number of satisfiable ranges. If a request exceeds this or the next limits, its
/// `Range` is ignored (RFC 9110 section 14.2).
const MAX_RANGES: usize = 32;
/// The maximum sum of the lengths of the ranges, as a multiple of the length of the representation.
const MAX_LENGTH_RATIO: u64 = 2;
const MAX_FIELD_BYTES: usize = 4 << 10;
/// Two ranges are joined if the gap between them has fewer bytes: the head of another part would be
/// about as long.
const MAX_GAP: u64 = 80;

/// Returns the ranges of a request for a representation of `length` bytes.
pub(crate) fn ranges(request: &HeaderMap, length: u64) -> Ranges {
    let mut lines = request.get_all(RANGE).into_iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Ranges::Whole };
    let Some(mut satisfiable) = parse_within_length(line.as_bytes(), length) else { return Ranges::Whole };
    // An empty part has no valid `Content-Range`. A range from the first byte of an empty
    // representation gets the whole representation.
    if length == 0 && satisfiable.iter().any(|part| part.start == 0) {
        return Ranges::Whole;
    }
    satisfiable.retain(|part| part.start < part.end);
    if satisfiable.is_empty() {
        return Ranges::Unsatisfiable;
    }
    let requested = satisfiable.iter().fold(0_u64, |sum, part| sum.saturating_add(part.end - part.start));
    if satisfiable.len() > MAX_RANGES || requested > length.saturating_mul(MAX_LENGTH_RATIO) {
        return Ranges::Whole;
    }
    Ranges::Parts(coalesce(satisfiable))
}

/// Parses the set of ranges, and limits each range to the representation. A range beyond the
/// representation becomes empty.
///
/// Returns `None` if the set is malformed or too long, or has another unit than bytes.
fn parse_within_length(value: &[u8], length: u64) -> Option<Vec<Range<u64>>> {
    let equals = value.iter().position(|&byte| byte == b'=')?;
    if value.len() > MAX_FIELD_BYTES || !value[..equals].eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let set: Option<Vec<_>> =
        elements(&value[equals + 1..]).map(|element| parse_range(element, length)).collect();
    set.filter(|set| !set.is_empty())
}

/// Parses one range of the set (RFC 9110 section 14.1.2).
fn parse_range(element: &[u8], length: u64) -> Option<Range<u64>> {
    let dash = element.iter().position(|&byte| byte == b'-')?;
    match (&element[..dash], &element[dash + 1..]) {
        (b"", count) => {
            let count = number(digits(count)?);
            // A suffix of no bytes can't be satisfied. `u64::MAX` is beyond the end of every
            // representation.
            Some(if count == 0 { u64::MAX } else { length.saturating_sub(count) }..length)
        }
        (first, b"") => Some(number(digits(first)?)..length),
        (first, last) => {
            let (first, last) = (digits(first)?, digits(last)?);
            // Compared as digits, because the numbers may exceed `u64`.
            let ordered = (first.len(), first) <= (last.len(), last);
            ordered.then(|| number(first)..number(last).saturating_add(1).min(length))
        }
    }
}

/// Returns the digits of a number without leading zeros; `None` if it is not a number.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let zeros = text.iter().take_while(|&&byte| byte == b'0').count();
    (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then(|| &text[zeros..])
}

/// Parses digits. A number that exceeds `u64` becomes its maximum.
fn number(digits: &[u8]) -> u64 {
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    digits.iter().fold(0, add)
}

/// Joins ranges that overlap or have a short gap. A joined range has the place of its first
/// requested range.
fn coalesce(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let before = |a: &Range<u64>, b: &Range<u64>| a.start < b.end.saturating_add(MAX_GAP);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(parts.len());
    for mut part in parts {
        // One range may connect several others.
        let mut place = joined.len();
        while let Some(at) = joined.iter().position(|it| before(it, &part) && before(&part, it)) {
            let other = joined.remove(at);
            part = part.start.min(other.start)..part.end.max(other.end);
            place = place.min(at);
        }
        joined.insert(place.min(joined.len()), part);
    }
    joined
}

/// Returns the value of `Content-Range` for a part (RFC 9110 section 14.4).
pub(crate) fn content_range(part: &Range<u64>, length: u64) -> HeaderValue {
    value(&format!("bytes {}-{}/{length}", part.start, part.end - 1))
}

/// Returns the value of `Content-Range` for a 416 (RFC 9110 section 14.4).
pub(crate) fn unsatisfied_range(length: u64) -> HeaderValue {
    value(&format!("bytes */{length}"))
}

/// Converts a text to a field value. The text must be printable ASCII; other text becomes an empty
/// value.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The content of a 206 with several parts, and its `Content-Type` (RFC 9110 section 14.6).
#[derive(Debug)]
pub(crate) struct Multipart {
    pub(crate) content_type: HeaderValue,
    /// The head and the bytes of each part, then the closing boundary.
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) length: u64,
}

/// Creates a multipart body. The bytes of the parts are not copied.
pub(crate) fn multipart(
    parts: &[Range<u64>],
    content_type: Option<&HeaderValue>,
    body: &Bytes,
    boundary: &str,
) -> Multipart {
    let whole = body.len() as u64;
    let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
    for part in parts {
        let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
        if let Some(content_type) = content_type {
            head.extend([b"content-type: ", content_type.as_bytes(), b"\r\n"].concat());
        }
        head.extend([b"content-range: ", content_range(part, whole).as_bytes(), b"\r\n\r\n"].concat());
        pieces.push(head.into());
        pieces.push(body.slice(part.start as usize..part.end as usize));
    }
    pieces.push(format!("\r\n--{boundary}--\r\n").into());
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    let content_type = value(&format!("multipart/byteranges; boundary={boundary}"));
    Multipart { content_type, pieces, length }
}

/// Returns a new random boundary of 128 bits.
///
/// The body need not be searched for the boundary: no body contains 128 random bits by chance. The
/// boundary can't be guessed: random numbers of the operating system are the keys of the hash.
pub(crate) fn boundary() -> String {
    let random = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one part is one range")]
mod tests {
    use super::super::samples::headers;
    use super::{HeaderMap, HeaderValue, MAX_GAP, RANGE, Range, Ranges};
    use super::{boundary, content_range, multipart, ranges, unsatisfied_range};
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn of(value: &str, length: u64) -> Ranges {
        ranges(&headers(&[("range", value)]), length)
    }

    /// RFC 9110 sections 5.6.1.2 (lists), 14.1 (the unit), 14.1.1, 14.1.2, and 15.3.7.2
    /// (coalescing).
    #[test]
    fn ranges_are_parsed_limited_and_coalesced() {
        let cases: [(&str, u64, &[Range<u64>]); 14] = [
            ("bytes= 0-999, 4500-5499, -1000", 10_000, &[0..1000, 4500..5500, 9000..10_000]),
            ("BYTES=,0-0 ,\t,", 10, &[0..1]),
            ("bytes=5-100", 10, &[5..10]),
            ("bytes=0-99999999999999999999999999", 10, &[0..10]),
            ("bytes=-99999999999999999999999999", 10, &[0..10]),
            ("bytes=000000000000000000000001-02", 10, &[1..3]),
            ("bytes=20-,0-1,-0", 10, &[0..2]),
            ("bytes=0-,0-", 10, &[0..10]),
            ("bytes=0-18446744073709551615", u64::MAX, &[0..u64::MAX]),
            ("bytes=0-99,100-199", 1000, &[0..200]),
            ("bytes=0-99,179-199", 1000, &[0..200]),
            ("bytes=0-99,180-199", 1000, &[0..100, 180..200]),
            ("bytes=900-999,0-99", 1000, &[900..1000, 0..100]),
            ("bytes=500-509,900-909,0-9,80-430", 1000, &[0..510, 900..910]),
        ];
        for (value, length, parts) in cases {
            assert_eq!(of(value, length), Ranges::Parts(parts.to_vec()), "{value} of {length}");
        }
    }

    /// RFC 9110 sections 14.1.2 and 15.5.17.
    #[test]
    fn ranges_beyond_the_end_are_unsatisfiable() {
        let huge = ["bytes=99999999999999999999-", "bytes=99999999999999999998-99999999999999999999"];
        for value in ["bytes=10-", "bytes=10-20,30-", "bytes=-0"].into_iter().chain(huge) {
            assert_eq!(of(value, 10), Ranges::Unsatisfiable, "{value}");
        }
        for value in ["bytes=-0", "bytes=1-", "bytes=1-5,-0"] {
            assert_eq!(of(value, 0), Ranges::Unsatisfiable, "{value} of nothing");
        }
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0,0-9"] {
            assert_eq!(of(value, 0), Ranges::Whole, "{value} of nothing");
        }
    }

    /// RFC 9110 sections 14.1.1 and 14.2. Ranges beyond the end do not count towards the limits.
    #[test]
    fn malformed_and_abusive_ranges_are_ignored() {
        let values = ["", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=1", "bytes=a-b", "bytes=+1-2"];
        let more = ["bytes=1 -2", "bytes=1-2-3", "bytes =0-1", "lines=0-1", "bytes=2-1", "bytes=0-1,2-1"];
        let most = ["bytes=99999999999999999999-99999999999999999998", "bytes=0-,0-,0-0"];
        for value in values.into_iter().chain(more).chain(most) {
            assert_eq!(of(value, 10), Ranges::Whole, "{value:?}");
        }
        let many = (0..33).fold("bytes=".to_owned(), |set, i| format!("{set}{0}-{0},", i * 1000));
        assert!(of(&many, 33_000) == Ranges::Whole && of(&many, 32_000) != Ranges::Whole);
        let long = |length| format!("bytes={:,>1$}", "0-0", length - "bytes=".len());
        assert!(of(&long(4097), 10) == Ranges::Whole && of(&long(4096), 10) != Ranges::Whole);
        assert_eq!(ranges(&headers(&[]), 10), Ranges::Whole);
        assert_eq!(ranges(&headers(&[("range", "bytes=0-0"), ("range", "bytes=0-0")]), 10), Ranges::Whole);
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_bytes_select_disjoint_parts_within_the_length(
            // Random bytes rarely look like a set of ranges.
            any_bytes in vec(any::<u8>(), 0..64), length in 0..500_u64,
            set in "bytes=([0-9]{1,3}-[0-9]{0,3}|[0-9-]{0,3})(, ?([0-9]{1,2}-|-[0-9]{1,2})){0,4}",
        ) {
            let held = |byte: u8| if byte == b'\t' || (byte >= b' ' && byte != 0x7f) { byte } else { b' ' };
            for line in [any_bytes.into_iter().map(held).collect(), set.into_bytes()] {
                let line = HeaderValue::from_bytes(&line).expect("a field value");
                let headers = HeaderMap::from_iter([(RANGE, line)]);
                let Ranges::Parts(parts) = ranges(&headers, length) else { continue };
                prop_assert!(!parts.is_empty());
                for (i, part) in parts.iter().enumerate() {
                    prop_assert!(part.start < part.end && part.end <= length, "{part:?} of {length}");
                    let apart = |other: &Range<u64>| part.end <= other.start || other.end <= part.start;
                    prop_assert!(parts[i + 1..].iter().all(apart), "{parts:?}");
                }
            }
        }

        #[test]
        fn parts_keep_the_requested_order_and_include_short_gaps(
            requested in vec((0..6_u8, 0..250_u64, 0..40_u64), 1..6), length in 0..=200_u64,
        ) {
            let set: Vec<_> = requested.iter().map(|&(kind, from, more)| match kind {
                0 => format!("{from}-"),
                1 => format!("-{more}"),
                _ => format!("{from}-{}", from + more),
            }).collect();
            let selects = |&(kind, from, more): &(u8, u64, u64), at| match kind {
                0 => at >= from,
                1 => at + more >= length,
                _ => (from..=from + more).contains(&at),
            };
            let first = |at| requested.iter().position(|spec| selects(spec, at));
            let sum = requested.iter().flat_map(|spec| (0..length).filter(|&at| selects(spec, at))).count() as u64;
            let selected = of(&format!("bytes={}", set.join(",")), length);
            let is_all = |&(kind, from, more): &(u8, u64, u64)| if kind == 1 { more > 0 } else { from == 0 };
            let is_empty = length == 0 && requested.iter().any(is_all);
            prop_assert_eq!(selected == Ranges::Unsatisfiable, sum == 0 && !is_empty);
            prop_assert_eq!(selected == Ranges::Whole, sum > 2 * length || is_empty);
            let Ranges::Parts(parts) = selected else { return Ok(()) };
            prop_assert!(parts.iter().map(|part| part.clone().filter_map(first).min()).is_sorted());
            for at in 0..length {
                let requested = |at: &u64| first(*at).is_some();
                // The nearest requested bytes before and after `at`: `at` itself if it was
                // requested.
                let around = (0..=at).rev().find(requested).zip((at..length).find(requested));
                let expected = around.is_some_and(|(before, after)| after - before <= MAX_GAP);
                prop_assert_eq!(parts.iter().any(|part| part.contains(&at)), expected, "{}", at);
            }
        }

        /// RFC 9110 sections 14.4 and 14.6.
        #[test]
        fn parts_form_one_body_without_copies(
            body in vec(any::<u8>(), 200), cuts in btree_set(0..=200_u64, 2..8), typed in any::<bool>(),
        ) {
            let (body, cuts) = (body.into(), Vec::from_iter(cuts));
            let parts: Vec<_> = cuts.windows(2).map(|cut| cut[0]..cut[1]).collect();
            let html = HeaderValue::from_static("text/html");
            let several = multipart(&parts, typed.then_some(&html), &body, "B");
            let mut expected = Vec::new();
            let typed = if typed { "content-type: text/html\r\n" } else { "" };
            for (part, piece) in parts.iter().zip(several.pieces.chunks_exact(2)) {
                let part_of_body = &body[part.start as usize..part.end as usize];
                prop_assert_eq!(piece[1].as_ptr(), part_of_body.as_ptr());
                let range = format!("bytes {}-{}/200", part.start, part.end - 1);
                let head = format!("\r\n--B\r\n{typed}content-range: {range}\r\n\r\n");
                prop_assert_eq!(content_range(part, 200), range);
                expected.extend([head.as_bytes(), part_of_body].concat());
            }
            expected.extend(b"\r\n--B--\r\n");
            prop_assert_eq!(several.length, expected.len() as u64);
            prop_assert_eq!(several.pieces.concat(), expected);
            prop_assert_eq!(several.content_type, "multipart/byteranges; boundary=B");
            prop_assert_eq!(unsatisfied_range(200), "bytes */200");
            prop_assert!(boundary().len() == 32 && boundary() != boundary());
        }
    }
}
