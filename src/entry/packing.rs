//! Copies of header sections and bodies for storage, so that no small slice keeps a large buffer in
//! memory.

use bytes::{Bytes, BytesMut};
use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Copies a header section without the excluded fields. The copy has no spare room, except in its
/// index for the fields that a cache adds.
pub(crate) fn headers_for_storage(headers: &HeaderMap, excluded: &[HeaderName]) -> HeaderMap {
    headers_for_storage_with(headers, excluded, None)
}

/// Does the same as [`headers_for_storage`], and adds a line at the end.
pub(crate) fn headers_for_storage_with(
    headers: &HeaderMap,
    excluded: &[HeaderName],
    added: Option<(&HeaderName, &HeaderValue)>,
) -> HeaderMap {
    let mut excluded: Vec<_> = excluded.iter().map(HeaderName::as_str).collect();
    excluded.sort_unstable();
    let is_kept = |name: &HeaderName| excluded.is_empty() || excluded.binary_search(&name.as_str()).is_err();
    pack_with(headers, is_kept, added, HeaderName::clone, &AGE)
}

/// Copies a header section without spare room. The copy begins with the field `first`, whose value a
/// hit sets. The other lines of `Age` are dropped.
pub(super) fn pack(
    headers: &HeaderMap,
    copy_name: impl Fn(&HeaderName) -> HeaderName,
    first: &HeaderName,
) -> HeaderMap {
    pack_with(headers, |_| true, None, copy_name, first)
}

fn pack_with(
    headers: &HeaderMap,
    is_kept: impl Fn(&HeaderName) -> bool,
    added: Option<(&HeaderName, &HeaderValue)>,
    copy_name: impl Fn(&HeaderName) -> HeaderName,
    first: &HeaderName,
) -> HeaderMap {
    let zero = HeaderValue::from_static("0");
    let was = headers.get(first).filter(|_| *first != AGE).unwrap_or(&zero);
    let mut lines = Vec::with_capacity(headers.len() + 2);
    lines.push((first, was));
    lines.extend(headers.iter().filter(|(name, _)| *name != AGE && *name != first && is_kept(name)));
    lines.extend(added);
    // The lines of a name follow each other.
    let names = 1 + lines.windows(2).filter(|pair| !std::ptr::eq(pair[0].0, pair[1].0)).count();
    let mut copy = HeaderMap::with_capacity((names + SPARE_FIELDS).min(MAX_FIELDS));
    for (name, value) in pack_lines(&lines) {
        // If the header section is full, the copy lacks the field.
        let _ = copy.try_append(copy_name(name), value);
    }
    without_spare_room(&copy)
}

/// Returns the lines in the order of [`pack`]. The result shares its values with `headers`.
pub(super) fn with_first(headers: &HeaderMap, first: &HeaderName) -> HeaderMap {
    let zero = HeaderValue::from_static("0");
    let was = headers.get(first).filter(|_| *first != AGE).unwrap_or(&zero);
    let is_other = |name: &HeaderName| *name != AGE && name != first;
    let mut ordered = HeaderMap::with_capacity((headers.keys_len() + 1 + SPARE_FIELDS).min(MAX_FIELDS));
    ordered.insert(first.clone(), was.clone());
    for (name, value) in headers.iter().filter(|(name, _)| is_other(name)) {
        // If the header section is full, the copy lacks the field.
        let _ = ordered.try_append(name.clone(), value.clone());
    }
    ordered
}

/// Returns a copy that shares names and values, and has no room for further lines.
pub(super) fn without_spare_room(headers: &HeaderMap) -> HeaderMap {
    headers.clone()
}

/// Copies the values of lines into one buffer with one reference count.
pub(super) fn pack_lines<'a>(
    lines: &[(&'a HeaderName, &HeaderValue)],
) -> impl Iterator<Item = (&'a HeaderName, HeaderValue)> {
    let mut buffer = BytesMut::with_capacity(lines.iter().map(|(_, value)| value.len()).sum());
    lines.iter().for_each(|(_, value)| buffer.extend_from_slice(value.as_bytes()));
    let mut buffer = buffer.freeze();
    lines.iter().map(move |(name, value)| {
        let bytes = buffer.split_to(value.len());
        // `from_maybe_shared` does not fail, because the bytes are a copy of a valid field value.
        let mut copy = HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| (*value).clone());
        copy.set_sensitive(value.is_sensitive());
        (*name, copy)
    })
}

/// The number of fields for which the index has spare room, so that the index does not grow when a
/// hit adds fields to a copy.
const SPARE_FIELDS: usize = 2;

/// The most fields for which a copy reserves room. A header map has a maximum size.
const MAX_FIELDS: usize = 1 << 12;

/// Returns a copy of a name that shares no reference count with it.
pub(super) fn unshared_name(name: &HeaderName) -> HeaderName {
    HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone())
}

/// Returns a frame's bytes for storage, and the same bytes for sending.
///
/// The buffer of the stored bytes is at most slightly larger than the bytes (see [`SPARE`]). The
/// bytes are not copied if the frame is the only owner of such a buffer.
pub(crate) fn body_for_storage(frame: Bytes) -> (Bytes, Bytes) {
    if !frame.is_unique() {
        return (Bytes::copy_from_slice(&frame), frame);
    }
    // `Vec::from` returns the whole buffer to its only owner.
    let mut buffer = Vec::from(frame);
    if buffer.capacity() - buffer.len() > buffer.len() / SPARE {
        buffer.shrink_to_fit();
    }
    let stored = Bytes::from(buffer);
    (stored.clone(), stored)
}

/// The buffer of stored bytes may have one spare byte per this many bytes in use.
pub(super) const SPARE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_repeated_lines_their_order_and_obs_text() {
        let mut headers = HeaderMap::new();
        headers.append("link", HeaderValue::from_static("<a>"));
        headers.append("x-name", HeaderValue::from_bytes(b"caf\xe9").expect("obs-text"));
        headers.append("link", HeaderValue::from_static(""));
        headers.append("link", HeaderValue::from_static("<b>"));
        let mut copy = pack(&headers, unshared_name, &AGE);
        assert_eq!(copy.remove(AGE), Some(HeaderValue::from_static("0")));
        assert_eq!(copy, headers);
        let lines: Vec<_> = copy.get_all("link").iter().collect();
        assert_eq!(lines, ["<a>", "", "<b>"]);
    }

    /// This test takes minutes if `pack` compares each field with each excluded name.
    #[test]
    fn many_names_are_excluded_from_many_fields() {
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
    fn frame_that_fills_its_buffer_is_not_copied() {
        let (stored, sent) = body_for_storage(Bytes::from(vec![7; 4096]));
        assert_eq!(stored.as_ptr(), sent.as_ptr());
    }

    #[test]
    fn small_slice_of_a_large_buffer_is_copied() {
        for range in [0..64, 1_000_000..1_000_064, 500_000..500_064] {
            let mut large = Bytes::from(vec![7; 1_000_064]);
            let slice = {
                let _ = large.split_off(range.end);
                large.split_off(range.start)
            };
            drop(large);
            let (stored, sent) = body_for_storage(slice);
            assert_eq!(stored, sent);
            drop(sent);
            assert!(Vec::from(stored).capacity() <= 64 + 64 / SPARE, "{range:?}");
        }
    }
}
