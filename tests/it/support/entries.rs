//! Reads the kind of an entry from its encoded form.

use tower_response_cache::clock::Clock;
use tower_response_cache::store::Entry;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Response,
    Index,
    Value,
    Counter,
}

/// Returns the kind of an entry. In the encoded form, the version, the length and the checksum
/// precede the byte with the kind.
pub(crate) fn entry_kind(entry: &Entry) -> EntryKind {
    match entry.encode(&Clock::manual().0)[20] {
        1 => EntryKind::Response,
        2 => EntryKind::Index,
        3 => EntryKind::Value,
        4 => EntryKind::Counter,
        kind => panic!("no kind {kind}"),
    }
}
