//! The state of a memory store: its table of entries, locks, replicas and invalidations.

use super::replicas::Replicas;
use super::slot::{RemovalLifecycle, StoredSlot, Weight};
use crate::clock::{Clock, Moment};
use crate::key::{BuildPrehashed, CacheKey, KeyRef};
use crate::store::LocalGenerations;
use quick_cache::sync::Cache as Quick;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The state that the clones of a store share.
pub(super) struct MemoryInner {
    pub(super) entries: Entries,
    /// The locks of writers. The hash of a key selects the lock that a writer of the key holds.
    /// Readers hold no lock.
    pub(super) write_locks: Box<[Mutex<()>]>,
    pub(super) replicas: Replicas,
    pub(super) generations: LocalGenerations,
    pub(super) clock: Clock,
    pub(super) largest_entry: u64,
    /// The number of entries that were evicted to make room.
    pub(super) evictions: AtomicU64,
    /// The number of expired entries that a look-up or a write has removed.
    pub(super) expirations: AtomicU64,
}

pub(super) type Entries = Quick<CacheKey, StoredSlot, Weight, BuildPrehashed, RemovalLifecycle>;

/// The number of write locks. Writers of different keys may share a lock.
pub(super) const WRITE_LOCKS: usize = 64;

impl MemoryInner {
    /// Returns the entry under a key, unless it has expired. An expired entry is removed from the
    /// table and moved to `removed`, so that the caller decides when to drop it.
    pub(super) fn get_unexpired(&self, key: KeyRef<'_>, removed: &mut Vec<StoredSlot>) -> Option<StoredSlot> {
        let slot = self.entries.get(&key)?;
        let now = if slot.expires == Moment::NEVER { Moment::NEVER } else { self.clock.now() };
        if slot.expires == Moment::NEVER || now < slot.expires {
            return Some(slot);
        }
        removed.push(slot);
        let has_expired = |slot: &StoredSlot| slot.expires != Moment::NEVER && slot.expires <= now;
        if let Some((_, slot)) = self.entries.remove_if(&key, has_expired) {
            self.expirations.fetch_add(1, Ordering::Relaxed);
            removed.push(slot);
        }
        None
    }

    /// Returns `true` unless an entry has expired.
    pub(super) fn is_unexpired(&self, slot: &StoredSlot) -> bool {
        slot.expires == Moment::NEVER || self.clock.now() < slot.expires
    }

    pub(super) fn count_evictions(&self, number: u64) {
        if number > 0 {
            self.evictions.fetch_add(number, Ordering::Relaxed);
        }
    }

    pub(super) fn expiry(&self, ttl: Option<Duration>) -> Moment {
        ttl.map_or(Moment::NEVER, |ttl| self.clock.now().after(ttl))
    }
}
