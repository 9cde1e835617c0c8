//! An entry in the table of a memory store, its weight, and its removal.

use crate::clock::Moment;
use crate::entry::{Entry, EntryKind};
use crate::key::{CacheKey, KeyRef};
use quick_cache::Lifecycle;

/// An entry, and the moment at which it expires.
#[derive(Clone)]
pub(super) struct StoredSlot {
    pub(super) entry: Entry,
    pub(super) expires: Moment,
}

/// Weighs entries for the table.
#[derive(Clone)]
pub(super) struct Weight;

/// The approximate bytes that the table itself takes per entry: the slot, its index, and half a
/// ghost entry, which remembers the key of an evicted entry.
pub(super) const SLOT_WEIGHT: u64 = 160;

impl quick_cache::Weighter<CacheKey, StoredSlot> for Weight {
    fn weight(&self, key: &CacheKey, slot: &StoredSlot) -> u64 {
        entry_weight(key.as_ref(), &slot.entry)
    }
}

/// Returns the bytes that an entry takes, including its key and its place in the table.
pub(super) fn entry_weight(key: KeyRef<'_>, entry: &Entry) -> u64 {
    SLOT_WEIGHT + key.as_bytes().len() as u64 + entry.weight()
}

/// The lifecycle hooks that keep evicted and replaced entries until the table's lock is released.
///
/// The buffer of a body may have a foreign owner, whose `Drop` may use the store.
#[derive(Debug, Clone)]
pub(super) struct RemovalLifecycle;

impl Lifecycle<CacheKey, StoredSlot> for RemovalLifecycle {
    type RequestState = Vec<StoredSlot>;

    #[inline]
    fn on_evict(&self, removed: &mut Vec<StoredSlot>, _: CacheKey, slot: StoredSlot) {
        if !matches!(slot.entry, Entry(EntryKind::Counter(_))) {
            removed.push(slot);
        }
    }
}
