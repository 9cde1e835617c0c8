//! The digest that identifies the entry of a value.

use crate::entry::{Encoding, Entry, EntryKind};
use sha2::{Digest, Sha256};

/// A digest of the data and the generation of a value's entry. It leaves out the expiry, because
/// `touch` changes the expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryDigest([u8; 32]);

impl EntryDigest {
    pub(crate) fn of(entry: &Entry) -> Self {
        let mut hash = Sha256::new();
        match entry {
            Entry(EntryKind::Value(value)) => {
                hash.update([u8::from(value.encoding() == Encoding::Raw)]);
                if let Some(since) = value.generation {
                    hash.update(since.incarnation().to_le_bytes());
                    hash.update(since.counter().to_le_bytes());
                    hash.update(since.stamp().to_le_bytes());
                }
                hash.update(value.bytes());
            }
            Entry(EntryKind::Counter(number)) => {
                hash.update([2]);
                hash.update(number.to_le_bytes());
            }
            // Under the keys of values, the cache stores only values and counters.
            Entry(EntryKind::Response(_) | EntryKind::Index(_)) => hash.update([3]),
        }
        Self(hash.finalize().into())
    }
}
