//! Replicas: the copies of hot entries that each thread keeps.
//!
//! A hit clones an entry, which changes its reference count. Threads that share a reference count
//! contend for its cache line at every hit. A replica has separate reference counts.
//!
//! Each thread has a fixed number of [`ReplicaSlot`]s. A slot counts the look-ups of one entry, its
//! candidate. When the candidate is hot, the slot gets a replica of it.
//!
//! A write under a key raises the version of the key. This outdates the replicas of the key in all
//! threads. Several keys may share a version, so replicas of other keys may be outdated, too.

use super::slot::StoredSlot;
use crate::clock::{Clock, Moment};
use crate::entry::Entry;
use crate::key::{CacheKey, KeyRef};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the last store that was created. Each [`ReplicaSlot`] has the number of its store,
/// since a thread may use several stores.
static LAST_STORE: AtomicU64 = AtomicU64::new(0);

const SLOTS_PER_THREAD: usize = 32;
/// The most bytes of a replica and the copied entry together. Larger entries get no replica, since
/// a replica keeps the copied entry in memory even after its eviction.
const MAX_REPLICA_BYTES: u64 = 128 << 10;
/// The number of look-ups that makes an entry hot. A look-up of another entry with the same
/// [`ReplicaSlot`] reduces the count by one.
const HOT_LOOKUPS: u32 = 16;
/// The number of hits of a replica after which the entry is looked up in the table again. Otherwise
/// the table would evict the entry as unused.
const HITS_PER_TOUCH: u32 = 64;
const VERSION_SLOTS: usize = 8192;

thread_local! {
    static REPLICA_SLOTS: RefCell<Vec<ReplicaSlot>> = const { RefCell::new(Vec::new()) };
}

/// A place for one replica. It counts the look-ups of one entry, the candidate. Once the candidate
/// is hot, the place contains the replica of the candidate.
#[derive(Default)]
struct ReplicaSlot {
    store: u64,
    /// The hash of the key of the candidate.
    hash: u64,
    count: u32,
    copy: Option<Replica>,
}

/// A thread's copy of an entry. The copy is current as long as its `version` is the version of the
/// key in [`Replicas`].
struct Replica {
    key: CacheKey,
    slot: StoredSlot,
    /// The entry in the table that was copied. As long as the table has this entry, the replica can
    /// be made current again.
    source: Entry,
    version: u64,
}

/// The number of a store, and the versions that distinguish current from outdated replicas.
pub(super) struct Replicas {
    store: u64,
    /// The versions, which each write under a key raises. The hash of a key, modulo the number of
    /// versions, is the index of its version. So several keys may share a version.
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

    /// Outdates the replicas of a key, after a write of the key.
    pub(super) fn outdate(&self, key: KeyRef<'_>) {
        self.version(key).fetch_add(1, Ordering::SeqCst);
    }

    /// Returns this thread's replica of an entry if it is current. Otherwise returns the result of
    /// `load`, which looks the entry up in the table.
    #[inline]
    pub(super) fn get(
        &self,
        key: KeyRef<'_>,
        clock: &Clock,
        load: impl FnOnce() -> Option<StoredSlot>,
    ) -> Option<Entry> {
        // The version is read before `load`. Otherwise a write between the two could go unnoticed.
        let version = self.version(key).load(Ordering::SeqCst);
        let found = REPLICA_SLOTS.try_with(|slots| {
            let mut slots = slots.try_borrow_mut().ok()?;
            let place = slots.get_mut(slot_index(key))?;
            place.current_copy(self.store, key, version, clock)
        });
        match found {
            Ok(Some(entry)) => Some(entry),
            // The thread is ending, and its thread-local values are dropped.
            Err(_) => load().map(|slot| slot.entry),
            Ok(None) => {
                let slot = load()?;
                self.count_lookup(key, version, &slot);
                Some(slot.entry)
            }
        }
    }

    /// Counts a look-up in the table, and makes a replica if the entry is hot.
    fn count_lookup(&self, key: KeyRef<'_>, version: u64, slot: &StoredSlot) {
        // The old replica is dropped after the borrow of the slots ends. Its body may have a
        // foreign owner (`Bytes::from_owner`), whose `Drop` may use the store.
        let replaced = REPLICA_SLOTS.try_with(|slots| {
            let mut slots = slots.try_borrow_mut().ok()?;
            if slots.is_empty() {
                slots.resize_with(SLOTS_PER_THREAD, ReplicaSlot::default);
            }
            self.count_in_slot(&mut slots[slot_index(key)], key, version, slot)
        });
        drop(replaced);
    }

    /// Counts a look-up of an entry in its place. Returns the replica that was removed from the
    /// place, if there was one.
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
