//! The entries of a value that look-ups must not return.

use crate::cache::values::EntryDigest;
use crate::entry::Entry;

/// The entries of a value that its undelivered removal hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HiddenEntries {
    None,
    All,
    /// All entries except the one with this digest. A write that began after the removal was queued
    /// stores the excepted entry.
    AllBut(EntryDigest),
}

impl HiddenEntries {
    pub(crate) fn contains(self, entry: &Entry) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::AllBut(_) => !self.spares(entry),
        }
    }

    /// Returns `true` if the removal leaves an entry in place.
    pub(super) fn spares(self, entry: &Entry) -> bool {
        matches!(self, Self::AllBut(spared) if spared == EntryDigest::of(entry))
    }
}
