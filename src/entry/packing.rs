//! Copies for storage: of header sections and bodies, so that nothing large is kept alive by something small.

use bytes::{Bytes, BytesMut};
use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Copies a header section for storage, less the excluded fields: its values lie in one buffer, and
/// there is room for the two fields that a cache adds, `Age` and `Date`.
pub(crate) fn headers_for_storage(headers: &HeaderMap, excluded: &[HeaderName]) -> HeaderMap {
    packed(headers, excluded, HeaderName::clone, &AGE)
}

/// Copies the values into one buffer: one reference count and neighbouring memory for them all. What is
/// `first` has its place there, and its value is left to those who send it; `Age` has none elsewhere.
pub(super) fn packed(
    headers: &HeaderMap,
    excluded: &[HeaderName],
    copy_name: impl Fn(&HeaderName) -> HeaderName,
    first: &HeaderName,
) -> HeaderMap {
    const ADDED: usize = 2;
    let mut excluded: Vec<_> = excluded.iter().map(HeaderName::as_str).collect();
    excluded.sort_unstable();
    let is_excluded = |name: &HeaderName| excluded.binary_search(&name.as_str()).is_ok();
    let lines = || headers.iter().filter(|(name, _)| **name != AGE && *name != first && !is_excluded(name));
    let mut buffer = BytesMut::with_capacity(lines().map(|(_, value)| value.len()).sum());
    for (_, value) in lines() {
        buffer.extend_from_slice(value.as_bytes());
    }
    let mut buffer = buffer.freeze();
    let mut packed = HeaderMap::with_capacity(headers.keys_len().saturating_add(ADDED).min(MOST_FIELDS));
    let was = headers.get(first).filter(|_| *first != AGE);
    packed.insert(first.clone(), was.cloned().unwrap_or(HeaderValue::from_static("0")));
    for (name, value) in lines() {
        let bytes = buffer.split_to(value.len());
        // The bytes were a field value before, so they are one now.
        let mut copy = HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| value.clone());
        copy.set_sensitive(value.is_sensitive());
        // A header section that is full to the last goes without.
        let _ = packed.try_append(copy_name(name), copy);
    }
    packed
}

/// Room for more than so many fields is not asked for: a header map has a greatest size.
const MOST_FIELDS: usize = 1 << 12;

/// Returns a copy of the name that shares no reference count with it.
pub(super) fn own_name(name: &HeaderName) -> HeaderName {
    HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone())
}

/// Returns a frame's bytes for keeping, and the same bytes for sending.
///
/// Nothing but these bytes is kept: a small slice would keep a large buffer alive that nothing accounts for. Without a
/// copy if the frame is all there is of its buffer, about.
pub(crate) fn body_for_storage(frame: Bytes) -> (Bytes, Bytes) {
    if !frame.is_unique() {
        return (Bytes::copy_from_slice(&frame), frame);
    }
    // The only owner gets the whole buffer back, whose size shows then.
    let mut buffer = Vec::from(frame);
    if buffer.capacity() - buffer.len() > buffer.len() / SPARE {
        buffer.shrink_to_fit();
    }
    let kept = Bytes::from(buffer);
    (kept.clone(), kept)
}

/// So much of a buffer, one part in this, may be empty.
const SPARE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_repeated_lines_their_order_and_bytes_that_are_not_ascii() {
        let mut headers = HeaderMap::new();
        headers.append("link", HeaderValue::from_static("<a>"));
        headers.append("x-name", HeaderValue::from_bytes(b"caf\xe9").expect("obs-text"));
        headers.append("link", HeaderValue::from_static(""));
        headers.append("link", HeaderValue::from_static("<b>"));
        let mut copy = packed(&headers, &[], own_name, &AGE);
        assert_eq!(copy.remove(AGE), Some(HeaderValue::from_static("0")));
        assert_eq!(copy, headers);
        let lines: Vec<_> = copy.get_all("link").iter().collect();
        assert_eq!(lines, ["<a>", "", "<b>"]);
    }

    /// Minutes, if each field is compared with each excluded name.
    #[test]
    fn many_excluded_names_are_left_out_of_many_fields() {
        let name = |number: usize| HeaderName::try_from(format!("x-field-{number}")).expect("a name");
        let mut headers = HeaderMap::new();
        (0..24_000).for_each(|number| assert!(!headers.append(name(number), HeaderValue::from_static("v"))));
        let excluded: Vec<_> = (0..48_000).filter(|number| number % 3 > 0).rev().map(name).collect();
        let mut copy = headers_for_storage(&headers, &excluded);
        copy.remove(AGE);
        assert_eq!(copy.len(), 8_000);
        assert!((0..8_000).all(|number| copy.contains_key(name(3 * number))));
    }

    #[test]
    fn a_frame_that_fills_its_buffer_is_kept_without_a_copy() {
        let (kept, sent) = body_for_storage(Bytes::from(vec![7; 4096]));
        assert_eq!(kept.as_ptr(), sent.as_ptr());
    }

    #[test]
    fn a_small_slice_of_a_large_buffer_keeps_its_own_bytes_alone() {
        for range in [0..64, 1_000_000..1_000_064, 500_000..500_064] {
            let mut large = Bytes::from(vec![7; 1_000_064]);
            let slice = {
                let _ = large.split_off(range.end);
                large.split_off(range.start)
            };
            drop(large);
            let (kept, sent) = body_for_storage(slice);
            assert_eq!(kept, sent);
            drop(sent);
            assert!(Vec::from(kept).capacity() <= 64 + 64 / SPARE, "{range:?}");
        }
    }
}
