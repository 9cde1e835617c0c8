//! Byte ranges (RFC 9110 section 14).

use super::list::elements;
use bytes::Bytes;
use http::header::RANGE;
use http::{HeaderMap, HeaderValue};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// What a `Range` field comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// There is none to honour: the whole representation is sent.
    Whole,
    /// At least one, none of them empty, no two with a byte in common.
    Parts(Vec<Range<u64>>),
    /// Nothing of what is asked for exists (RFC 9110 section 15.5.17).
    Unsatisfiable,
}

/// More, or more bytes than this many times the representation, are an attack or a mistake
/// (RFC 9110 section 14.2), and are answered with the whole.
const MOST_RANGES: usize = 32;
const MOST_TIMES: u64 = 2;
const MOST_FIELD_BYTES: usize = 4 << 10;
/// A gap shorter than what the head of a part takes is sent along.
const GAP: u64 = 80;

/// Reads the ranges of a request for a representation of so many bytes.
pub(crate) fn ranges(request: &HeaderMap, length: u64) -> Ranges {
    let mut lines = request.get_all(RANGE).into_iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Ranges::Whole };
    let Some(specs) = specs(line.as_bytes()) else { return Ranges::Whole };
    let satisfiable: Vec<_> = specs.iter().filter_map(|spec| spec.within(length)).collect();
    if satisfiable.is_empty() {
        return Ranges::Unsatisfiable;
    }
    let asked = satisfiable.iter().fold(0_u64, |sum, part| sum.saturating_add(part.end - part.start));
    if satisfiable.len() > MOST_RANGES || asked > length.saturating_mul(MOST_TIMES) {
        return Ranges::Whole;
    }
    Ranges::Parts(coalesced(satisfiable))
}

/// One member of the set, as it was asked for (RFC 9110 section 14.1.2).
#[derive(Debug, Clone, Copy)]
enum Spec {
    /// From an offset to another, that one included.
    Between(u64, u64),
    From(u64),
    Last(u64),
}

impl Spec {
    /// Returns what of it exists.
    fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Between(first, last) => first..last.saturating_add(1).min(length),
            Self::From(first) => first..length,
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (range.start < range.end).then_some(range)
    }
}

/// Reads the set; `None` if it is not one of bytes, or malformed.
fn specs(value: &[u8]) -> Option<Vec<Spec>> {
    if value.len() > MOST_FIELD_BYTES {
        return None;
    }
    let equals = value.iter().position(|&byte| byte == b'=')?;
    if !value[..equals].eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let specs: Option<Vec<_>> = elements(&value[equals + 1..]).map(spec).collect();
    specs.filter(|specs| !specs.is_empty())
}

fn spec(element: &[u8]) -> Option<Spec> {
    let dash = element.iter().position(|&byte| byte == b'-')?;
    match (&element[..dash], &element[dash + 1..]) {
        (b"", last) => number(last).map(Spec::Last),
        (first, b"") => number(first).map(Spec::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::Between(first, last))
        }
    }
}

/// Reads digits; more than fit are the most that fit.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

/// Joins what overlaps or nearly touches, in the order of the first mention.
fn coalesced(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(parts.len());
    for mut part in parts {
        // Joining may bring it near others that it was not near before.
        let mut place = joined.len();
        while let Some(at) = joined.iter().position(|other| near(other, &part)) {
            let other = joined.remove(at);
            part = part.start.min(other.start)..part.end.max(other.end);
            place = place.min(at);
        }
        joined.insert(place.min(joined.len()), part);
    }
    joined
}

fn near(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start <= b.end.saturating_add(GAP) && b.start <= a.end.saturating_add(GAP)
}

/// Returns the value of `Content-Range` for a part (RFC 9110 section 14.4).
pub(crate) fn content_range(part: &Range<u64>, length: u64) -> HeaderValue {
    value(&format!("bytes {}-{}/{length}", part.start, part.end - 1))
}

/// Returns the value of `Content-Range` for a 416.
pub(crate) fn unsatisfied_range(length: u64) -> HeaderValue {
    value(&format!("bytes */{length}"))
}

/// Makes a field value of letters, digits and punctuation.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A body of several parts (RFC 9110 section 14.6).
#[derive(Debug)]
pub(crate) struct Multipart {
    pub(crate) content_type: HeaderValue,
    /// The heads of the parts and the parts in turn, then the end.
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) length: u64,
}

/// Puts several parts of a body into one, without copying them.
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
            head.extend_from_slice(b"content-type: ");
            head.extend_from_slice(content_type.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"content-range: ");
        head.extend_from_slice(content_range(part, whole).as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        pieces.push(head.into());
        pieces.push(body.slice(part.start as usize..part.end as usize));
    }
    pieces.push(format!("\r\n--{boundary}--\r\n").into());
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    let content_type = value(&format!("multipart/byteranges; boundary={boundary}"));
    Multipart { content_type, pieces, length }
}

/// Returns a new boundary. It is random, which makes it unlikely enough to stand in any body, and
/// impossible to be put into one on purpose.
pub(crate) fn boundary() -> String {
    // The standard library's hash keys are the operating system's random numbers.
    let random = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one part is one range")]
mod tests {
    use super::super::samples::{field, headers};
    use super::{GAP, Ranges, boundary, multipart, ranges};
    use bytes::Bytes;
    use http::HeaderValue;
    use proptest::prelude::{prop_assert, proptest};

    fn of(value: &str, length: u64) -> Ranges {
        ranges(&headers(&[("range", value)]), length)
    }

    /// RFC 9110 sections 14.1.1, 14.1.2 and 14.2.
    #[test]
    fn a_set_of_ranges_is_read_and_fitted_to_the_length() {
        const HUGE: &str = "99999999999999999999999999";
        let one = |range| Ranges::Parts(vec![range]);
        let table = [
            ("bytes=0-499", 10_000, one(0..500)),
            ("bytes=500-999", 10_000, one(500..1000)),
            ("bytes=-500", 10_000, one(9500..10_000)),
            ("bytes=9500-", 10_000, one(9500..10_000)),
            ("bytes=0-0", 10_000, one(0..1)),
            ("bytes=0-0,-1", 10_000, Ranges::Parts(vec![0..1, 9999..10_000])),
            (
                "bytes= 0-999, 4500-5499, -1000",
                10_000,
                Ranges::Parts(vec![0..1000, 4500..5500, 9000..10_000]),
            ),
            ("BYTES=0-0", 10, one(0..1)),
            ("bytes=,0-0,,", 10, one(0..1)),
            ("bytes=5-100", 10, one(5..10)),
            ("bytes=-100", 10, one(0..10)),
            ("bytes=0-", 10, one(0..10)),
            // What does not exist, alone and among others.
            ("bytes=10-", 10, Ranges::Unsatisfiable),
            ("bytes=10-20,30-", 10, Ranges::Unsatisfiable),
            ("bytes=-0", 10, Ranges::Unsatisfiable),
            ("bytes=0-", 0, Ranges::Unsatisfiable),
            ("bytes=-1", 0, Ranges::Unsatisfiable),
            ("bytes=20-,0-1", 10, one(0..2)),
            // What is malformed is ignored as a whole.
            ("bytes=2-1", 10, Ranges::Whole),
            ("bytes=0-1,2-1", 10, Ranges::Whole),
            ("bytes=", 10, Ranges::Whole),
            ("bytes", 10, Ranges::Whole),
            ("bytes=a-b", 10, Ranges::Whole),
            ("bytes=1", 10, Ranges::Whole),
            ("bytes=-", 10, Ranges::Whole),
            ("bytes=+1-2", 10, Ranges::Whole),
            ("bytes=1 -2", 10, Ranges::Whole),
            ("bytes =0-1", 10, Ranges::Whole),
            ("lines=0-1", 10, Ranges::Whole),
            ("", 10, Ranges::Whole),
            // Abuse.
            ("bytes=0-,0-,0-", 10, Ranges::Whole),
        ];
        for (value, length, expected) in table {
            assert_eq!(of(value, length), expected, "{value} of {length}");
        }
        assert_eq!(of(&format!("bytes=0-{HUGE}"), 10), one(0..10));
        assert_eq!(of(&format!("bytes=-{HUGE}"), 10), one(0..10));
        assert_eq!(of(&format!("bytes={HUGE}-"), 10), Ranges::Unsatisfiable);
        let many: Vec<_> = (0..33).map(|i| format!("{}-{}", i * 1000, i * 1000)).collect();
        assert_eq!(of(&format!("bytes={}", many.join(",")), 1_000_000), Ranges::Whole);
        assert_eq!(of(&format!("bytes={}0-0", ",".repeat(5000)), 10), Ranges::Whole);
        assert_eq!(ranges(&headers(&[]), 10), Ranges::Whole);
        let two = headers(&[("range", "bytes=0-0"), ("range", "bytes=1-1")]);
        assert_eq!(ranges(&two, 10), Ranges::Whole);
    }

    /// RFC 9110 section 15.3.7.2: overlapping ranges and those with small gaps may be coalesced.
    #[test]
    fn ranges_that_overlap_or_nearly_touch_become_one_in_the_place_of_the_first() {
        let table = [
            ("bytes=0-99,50-149", vec![0..150]),
            ("bytes=0-99,100-199", vec![0..200]),
            ("bytes=0-99,180-199", vec![0..200]),
            ("bytes=0-99,181-199", vec![0..100, 181..200]),
            ("bytes=900-999,0-99", vec![900..1000, 0..100]),
            ("bytes=0-9,500-509,90-420", vec![0..510]),
            ("bytes=500-509,0-9,90-420", vec![0..510]),
        ];
        for (value, parts) in table {
            assert_eq!(of(value, 1000), Ranges::Parts(parts), "{value}");
        }
    }

    /// RFC 9110 section 14.6.
    #[test]
    fn parts_stand_in_one_body_each_behind_its_range() {
        let body = Bytes::from_static(b"0123456789");
        let html = HeaderValue::from_static("text/html");
        let several = multipart(&[0..2, 8..10], Some(&html), &body, "B");
        let joined = several.pieces.concat();
        assert_eq!(several.length, joined.len() as u64);
        assert_eq!(several.content_type, "multipart/byteranges; boundary=B");
        let expected = "\r\n--B\r\ncontent-type: text/html\r\ncontent-range: bytes 0-1/10\r\n\r\n01\
            \r\n--B\r\ncontent-type: text/html\r\ncontent-range: bytes 8-9/10\r\n\r\n89\r\n--B--\r\n";
        assert_eq!(std::str::from_utf8(&joined), Ok(expected));
        assert_ne!(boundary(), boundary());
    }

    proptest! {
        #[test]
        fn any_bytes_select_disjoint_parts_within_the_length(lines in field("range"), length in 0..500_u64) {
            check(&ranges(&lines, length), length);
        }

        #[test]
        fn what_is_asked_for_is_sent_and_little_more(
            asked in proptest::collection::vec((0..300_u64, 0..60_u64), 1..6),
            length in 1..300_u64,
        ) {
            let set: Vec<_> = asked.iter().map(|(from, more)| format!("{from}-{}", from + more)).collect();
            let selected = of(&format!("bytes={}", set.join(",")), length);
            check(&selected, length);
            let wanted = |at: u64| asked.iter().any(|(from, more)| (*from..=from + more).contains(&at));
            let Ranges::Parts(parts) = selected else { return Ok(()) };
            for at in 0..length {
                let sent = parts.iter().any(|part| part.contains(&at));
                prop_assert!(sent || !wanted(at), "{at} is missing");
                let near = (at.saturating_sub(GAP)..=at + GAP).any(wanted);
                prop_assert!(!sent || near, "{at} is too much");
            }
        }
    }

    fn check(selected: &Ranges, length: u64) {
        let Ranges::Parts(parts) = selected else { return };
        assert!(!parts.is_empty());
        for (i, part) in parts.iter().enumerate() {
            assert!(part.start < part.end && part.end <= length, "{part:?} of {length}");
            assert!(parts[i + 1..].iter().all(|other| part.end <= other.start || other.end <= part.start));
        }
    }
}
