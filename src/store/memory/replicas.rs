//! Replicas of hot entries per thread.
//!
//! Threads that share a reference count contend for its cache line at every hit. Threads with
//! separate replicas do not.

use super::slot::StoredSlot;
use crate::clock::{Clock, Moment};
use crate::entry::Entry;
use crate::key::{CacheKey, KeyRef};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the last store. A replica has the number of its store.
static LAST_STORE: AtomicU64 = AtomicU64::new(0);

const SLOTS_PER_THREAD: usize = 32;
/// The most bytes of a copy and its source together. After the eviction of the source, the copy may
/// be all that keeps it in memory.
const MAX_REPLICA_BYTES: u64 = 128 << 10;
/// The look-ups that make an entry hot. Each look-up of another entry in the same place deducts
/// one.
const HOT_LOOKUPS: u32 = 16;
/// The hits of a copy after which the entry itself is looked up, so that it is not evicted as
/// unused.
const HITS_PER_TOUCH: u32 = 64;
const VERSION_SLOTS: usize = 8192;

thread_local! {
    static REPLICA_SLOTS: RefCell<Vec<ReplicaSlot>> = const { RefCell::new(Vec::new()) };
}

/// A place in a thread's replicas: a candidate and its look-ups, and its copy once it is hot.
#[derive(Default)]
struct ReplicaSlot {
    store: u64,
    /// The hash of the candidate's or the copy's key.
    hash: u64,
    count: u32,
    copy: Option<Replica>,
}

/// A thread's copy of an entry. It is current as long as its `version` is the version of the key in
/// [`Replicas`].
struct Replica {
    key: CacheKey,
    slot: StoredSlot,
    /// The entry in the table that was copied. If the table still has this entry after the version
    /// was raised, a write of another key in the same version slot raised it, and the copy gets the
    /// new version.
    source: Entry,
    version: u64,
}

/// The identity of a store, and the versions that distinguish current from outdated copies.
pub(super) struct Replicas {
    store: u64,
    /// The version of each slot. A write of any key in the slot raises it.
    versions: Box<[AtomicU64]>,
}

impl Replicas {
    pub(super) fn new() -> Self {
        Self {
            store: LAST_STORE.fetch_add(1, Ordering::Relaxed) + 1,
            versions: (0..VERSION_SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn version(&self, key: KeyRef<'_>) -> &AtomicU64 {
        &self.versions[key.process_hash() as usize % VERSION_SLOTS]
    }

    /// Outdates the copies of a key, after a write of it.
    pub(super) fn outdate(&self, key: KeyRef<'_>) {
        self.version(key).fetch_add(1, Ordering::SeqCst);
    }

    /// Returns this thread's copy if it is current, otherwise the result of `load`.
    #[inline]
    pub(super) fn get(
        &self,
        key: KeyRef<'_>,
        clock: &Clock,
        load: impl FnOnce() -> Option<StoredSlot>,
    ) -> Option<Entry> {
        // Read before `load`: a write in between leaves a version that no longer matches.
        let version = self.version(key).load(Ordering::SeqCst);
        let found = REPLICA_SLOTS.try_with(|slots| {
            let mut slots = slots.try_borrow_mut().ok()?;
            let place = slots.get_mut(slot_index(key))?;
            place.current_copy(self.store, key, version, clock)
        });
        match found {
            Ok(Some(entry)) => Some(entry),
            // The thread is ending and has dropped its thread-local values.
            Err(_) => load().map(|slot| slot.entry),
            Ok(None) => {
                let slot = load()?;
                self.count_lookup(key, version, &slot);
                Some(slot.entry)
            }
        }
    }

    /// Counts a look-up in the table, and makes a copy if the entry is hot.
    fn count_lookup(&self, key: KeyRef<'_>, version: u64, slot: &StoredSlot) {
        // Dropped after the borrow: the body of the old copy may have a foreign owner, whose `Drop`
        // may use the store.
        let replaced = REPLICA_SLOTS.try_with(|slots| {
            let mut slots = slots.try_borrow_mut().ok()?;
            if slots.is_empty() {
                slots.resize_with(SLOTS_PER_THREAD, ReplicaSlot::default);
            }
            self.count_in_slot(&mut slots[slot_index(key)], key, version, slot)
        });
        drop(replaced);
    }

    /// Counts a look-up of an entry in its place. Returns the copy that is removed from the place,
    /// if any.
    fn count_in_slot(
        &self,
        place: &mut ReplicaSlot,
        key: KeyRef<'_>,
        version: u64,
        slot: &StoredSlot,
    ) -> Option<Replica> {
        if (place.store, place.hash) != (self.store, key.process_hash()) {
            place.count = place.count.saturating_sub(1);
            if place.count > 0 {
                return None;
            }
            let new = ReplicaSlot { store: self.store, hash: key.process_hash(), count: 1, copy: None };
            return std::mem::replace(place, new).copy;
        }
        place.count = (place.count + 1).min(HOT_LOOKUPS);
        match &mut place.copy {
            Some(copy) if copy.source.shares_allocation(&slot.entry) => {
                copy.version = version;
                copy.slot.expires = slot.expires;
                None
            }
            _ if place.count == HOT_LOOKUPS
                && slot.entry.weight() + slot.entry.replica_weight() <= MAX_REPLICA_BYTES =>
            {
                place.copy.replace(Replica {
                    key: key.to_key(),
                    slot: StoredSlot { entry: slot.entry.replica(), expires: slot.expires },
                    source: slot.entry.clone(),
                    version,
                })
            }
            copy => copy.take(),
        }
    }
}

fn slot_index(key: KeyRef<'_>) -> usize {
    (key.process_hash() >> 32) as usize % SLOTS_PER_THREAD
}

impl ReplicaSlot {
    #[inline]
    fn current_copy(&mut self, store: u64, key: KeyRef<'_>, version: u64, clock: &Clock) -> Option<Entry> {
        let copy = self.copy.as_ref()?;
        let current = self.store == store
            && self.hash == key.process_hash()
            && copy.version == version
            && self.count < HOT_LOOKUPS + HITS_PER_TOUCH
            && quick_cache::Equivalent::equivalent(&key, &copy.key)
            && (copy.slot.expires == Moment::NEVER || clock.now() < copy.slot.expires);
        if !current {
            return None;
        }
        self.count += 1;
        Some(copy.slot.entry.clone())
    }
}
