//! The lock of a writer, which excludes other writers of the same key.

use super::inner::{MemoryInner, WRITE_LOCKS};
use super::slot::{RemovedSlots, StoredSlot, entry_weight};
use crate::clock::Moment;
use crate::entry::Entry;
use crate::key::KeyRef;
use std::sync::{MutexGuard, PoisonError};

/// The exclusive right to write to a key. Readers do not need it, and never wait for a writer.
pub(super) struct KeyWriteLock<'a> {
    store: &'a MemoryInner,
    key: KeyRef<'a>,
    _guard: MutexGuard<'a, ()>,
    /// The entries found or removed while the lock is held. Fields are dropped in order of
    /// declaration, so these entries are dropped after the lock is released. The drop of an entry
    /// may run code of the owner of its body (`Bytes::from_owner`), which may use the store.
    dropped_after_unlock: RemovedSlots,
}

impl<'a> KeyWriteLock<'a> {
    pub(super) fn acquire(store: &'a MemoryInner, key: KeyRef<'a>) -> Self {
        let writer = &store.write_locks[key.process_hash() as usize % WRITE_LOCKS];
        // The mutex contains no data, so a poisoned lock is usable.
        let guard = writer.lock().unwrap_or_else(PoisonError::into_inner);
        Self { store, key, _guard: guard, dropped_after_unlock: RemovedSlots::default() }
    }

    /// Returns the entry, unless it has expired.
    ///
    /// If the entry is absent or has expired, outdates all replicas of it. A thread may still have
    /// a replica of an entry that was evicted. Once a writer has found the key absent, no thread
    /// may answer from such a replica.
    pub(super) fn get_unexpired(&mut self) -> Option<&StoredSlot> {
        match self.store.get_unexpired(self.key, &mut self.dropped_after_unlock.slots) {
            Some(slot) => {
                self.dropped_after_unlock.slots.push(slot);
                self.dropped_after_unlock.slots.last()
            }
            None => {
                self.store.replicas.outdate(self.key);
                None
            }
        }
    }

    /// Stores an entry and returns `true`. If the entry is too large, removes the old entry and
    /// returns `false`.
    pub(super) fn write(&mut self, entry: Entry, expires: Moment) -> bool {
        let slot = StoredSlot { entry, expires };
        if entry_weight(self.key, &slot.entry) > self.store.largest_entry {
            self.dropped_after_unlock.slots.push(slot);
            self.remove();
            return false;
        }
        let removed = &mut self.dropped_after_unlock;
        removed.written = Some(self.key.process_hash());
        self.store.entries.insert_with_lifecycle(self.key.to_key(), slot, removed);
        self.store.count_evictions(std::mem::take(&mut removed.evicted));
        self.store.replicas.outdate(self.key);
        true
    }

    pub(super) fn remove(&mut self) {
        self.dropped_after_unlock.slots.extend(self.store.entries.remove(&self.key).map(|(_, slot)| slot));
        self.store.replicas.outdate(self.key);
    }
}
