//! The entries in the table of a memory store: their weight, and their removal.

use crate::clock::Moment;
use crate::entry::{Entry, EntryKind};
use crate::key::{CacheKey, KeyRef};
use quick_cache::Lifecycle;

#[derive(Clone)]
pub(super) struct StoredSlot {
    pub(super) entry: Entry,
    pub(super) expires: Moment,
}

/// Weighs entries for the table.
#[derive(Clone)]
pub(super) struct Weight;

/// The approximate bytes that the table itself takes for each entry: the slot, its index, and half
/// a ghost. A ghost remembers the key of an evicted entry; there is about one ghost for two
/// entries.
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

/// The hook that collects evicted and replaced entries. They are dropped after the lock of the
/// table is released.
///
/// The body of an entry may have a foreign owner (`Bytes::from_owner`), and the `Drop` of the owner
/// may use the store. Under the lock of the table, that `Drop` would wait forever.
#[derive(Debug, Clone)]
pub(super) struct RemovalLifecycle;

/// The entries that an operation has removed from the table.
#[derive(Default)]
pub(super) struct RemovedSlots {
    pub(super) slots: Vec<StoredSlot>,
    /// The hash of the key that is written. Its old entry is replaced, not evicted.
    pub(super) written: Option<u64>,
    /// The number of evicted entries.
    pub(super) evicted: u64,
}

impl Lifecycle<CacheKey, StoredSlot> for RemovalLifecycle {
    type RequestState = RemovedSlots;

    #[inline]
    fn on_evict(&self, removed: &mut RemovedSlots, key: CacheKey, slot: StoredSlot) {
        removed.evicted += u64::from(removed.written != Some(key.as_ref().process_hash()));
        if !matches!(slot.entry, Entry(EntryKind::Counter(_))) {
            removed.slots.push(slot);
        }
    }
}
