//! The memory use of the parts of an entry, in bytes.
//!
//! The header section of an entry is packed: it has no spare room, and all its values share one
//! buffer.

use crate::rules::frequent_fields::is_frequent;
use crate::rules::preconditions::{NOT_MODIFIED_ROOM, belongs_in_304};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The size of the reference counts of an `Arc`.
pub(super) const ARC: usize = 2 * size_of::<usize>();

/// The memory that shared `Bytes` take in addition to their buffer: for its address, its size and a
/// reference count.
pub(super) const SHARED: usize = 3 * size_of::<usize>();

// These constants repeat the sizes of private types of `http`. A test compares the resulting
// weights with measured allocations.
/// The size of a name with its first value, in a header map.
const BUCKET: usize = size_of::<(u16, HeaderName, HeaderValue, Option<(usize, usize)>)>();
/// The size of a further value of a name, with links to the previous and the next value.
const EXTRA_VALUE: usize = size_of::<(HeaderValue, [(usize, usize); 2])>();
/// The size of a position in the index of a header map.
const POSITION: usize = size_of::<(u16, u16)>();

/// Returns the size of a header map, excluding the text of its names and values. `positions` is the
/// length of its index. `lines` counts all values, `names` counts the distinct names.
fn table(positions: usize, names: usize, lines: usize) -> usize {
    positions * POSITION + names * BUCKET + (lines - names) * EXTRA_VALUE
}

/// Returns the size of a packed header section.
pub(super) fn section(headers: &HeaderMap) -> usize {
    let names: usize = headers.keys().map(name).sum();
    let values: usize = headers.values().map(HeaderValue::len).sum();
    // `capacity` returns three quarters of the number of positions in the index.
    let positions = headers.capacity() + headers.capacity() / 3;
    table(positions, headers.keys_len(), headers.len()) + names + values + SHARED
}

/// Returns the size of the header section of a 304, which shares its names and values with the
/// stored response.
pub(super) fn section_of_304(headers: &HeaderMap) -> usize {
    let (mut names, mut lines) = (0, 0);
    let are_repeated = headers.len() > headers.keys_len();
    for name in headers.keys().filter(|name| belongs_in_304(name)) {
        names += 1;
        lines += if are_repeated { headers.get_all(name).iter().count() } else { 1 };
    }
    let room = names.max(NOT_MODIFIED_ROOM);
    let positions = (room + room / 3).next_power_of_two();
    table(positions, names, lines)
}

/// Returns the size of a list of lines whose values share one buffer.
pub(super) fn list(lines: &[(HeaderName, HeaderValue)]) -> usize {
    let text: usize = lines.iter().map(|(of, value)| name(of) + value.len()).sum();
    size_of_val(lines) + text + SHARED
}

/// Returns the number of bytes that a name allocates. Standard names allocate nothing.
pub(super) fn name(name: &HeaderName) -> usize {
    let text = name.as_str();
    if is_frequent(text) {
        return 0;
    }
    let again = HeaderName::from_bytes(text.as_bytes());
    let is_standard = again.is_ok_and(|again| again.as_str().as_ptr() == text.as_ptr());
    if is_standard { 0 } else { text.len() + SHARED }
}
