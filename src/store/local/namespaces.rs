//! The namespaces of a store inside the process.
//!
//! A handle to a namespace is a clone of the `Arc` around its [`NamespaceTable`]. A namespace is
//! idle while no handle exists. From time to time, a search drops the idle namespaces that exceed a
//! limit.

use super::table::NamespaceTable;
use dashmap::DashMap;
use std::cmp::Reverse;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

/// The maximum number of idle namespaces that a search leaves in the table.
const MAX_IDLE: usize = 16 * 1024;
/// The maximum size of all idle namespaces that a search leaves in the table, in bytes.
const MAX_IDLE_BYTES: usize = 24 << 20;
/// The growth of all namespaces, in bytes, after which the next request searches for idle
/// namespaces.
const GROWTH_PER_SEARCH: usize = 8 << 20;
/// The fewest requests between two searches for idle namespaces. With more than 1,024 namespaces,
/// the interval is a quarter of their number. [`GROWTH_PER_SEARCH`] may cause a search earlier.
const MIN_SEARCH_INTERVAL: usize = 256;

/// The tables of all namespaces.
///
/// A request is a call of [`table`](Self::table), which returns a handle. Some requests search for
/// idle namespaces, and drop the least recently used ones beyond the limits. The interval between
/// searches grows with the number of namespaces, so that the average cost of a request stays
/// constant.
#[derive(Default)]
pub(super) struct LocalNamespaces {
    slots: DashMap<Arc<str>, NamespaceSlot>,
    /// The number of calls of [`table`](Self::table) so far. It serves as a clock for `last_use`.
    requests: AtomicU64,
    next_search: AtomicU64,
    search_lock: Mutex<()>,
    /// The bytes by which the tables and their names have grown since the last search.
    growth: Arc<AtomicUsize>,
}

struct NamespaceSlot {
    table: Arc<NamespaceTable>,
    /// The value of [`requests`](LocalNamespaces::requests) when a handle was last returned, or a
    /// search last found a handle.
    last_use: AtomicU64,
}

/// A namespace that a search found idle.
struct IdleNamespace {
    name: Arc<str>,
    last_use: u64,
    bytes: usize,
}

impl NamespaceSlot {
    fn new(table: NamespaceTable) -> Self {
        Self { table: Arc::new(table), last_use: AtomicU64::new(0) }
    }

    fn use_table(&self, now: u64) -> Arc<NamespaceTable> {
        self.last_use.store(now, Ordering::Relaxed);
        Arc::clone(&self.table)
    }

    /// Returns `true` if no handle exists.
    ///
    /// The result `true` stays correct while the shard of the map is locked exclusively: only the
    /// holder of the lock can create a handle.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.table) == 1
    }
}

impl LocalNamespaces {
    /// Returns a handle to a namespace. As long as a handle exists, later calls return the same
    /// table.
    pub(super) fn table(&self, namespace: &str, seed: Option<u64>) -> Arc<NamespaceTable> {
        let now = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let found = self.slots.get(namespace).map(|slot| slot.use_table(now));
        let table = found.unwrap_or_else(|| {
            // The name counts as growth. The table counts its own allocations.
            self.growth.fetch_add(namespace.len(), Ordering::Relaxed);
            let new = || NamespaceSlot::new(NamespaceTable::new(seed, &self.growth));
            self.slots.entry(namespace.into()).or_insert_with(new).use_table(now)
        });
        if now >= self.next_search.load(Ordering::Relaxed)
            || self.growth.load(Ordering::Relaxed) >= GROWTH_PER_SEARCH
        {
            self.drop_idle(now);
        }
        table
    }

    /// Drops the least recently used idle namespaces beyond [`MAX_IDLE`] and [`MAX_IDLE_BYTES`].
    /// Their memory is freed after the lock of the map is released, so that no request waits for
    /// the lock meanwhile.
    fn drop_idle(&self, now: u64) {
        let _search = match self.search_lock.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.growth.store(0, Ordering::Relaxed);
        let mut idle = self.find_idle(now);
        idle.sort_unstable_by_key(|idle| Reverse(idle.last_use));
        let mut bytes = 0;
        for (at, idle) in idle.iter().enumerate() {
            if at < MAX_IDLE && bytes + idle.bytes <= MAX_IDLE_BYTES {
                bytes += idle.bytes;
            } else {
                let is_unused = |slot: &NamespaceSlot| {
                    slot.is_idle() && slot.last_use.load(Ordering::Relaxed) == idle.last_use
                };
                drop(self.slots.remove_if(&idle.name, |_, slot| is_unused(slot)));
            }
        }
        let interval = MIN_SEARCH_INTERVAL.max(self.slots.len() / 4);
        self.next_search.store(now + interval as u64, Ordering::Relaxed);
    }

    fn find_idle(&self, now: u64) -> Vec<IdleNamespace> {
        let found = self.slots.iter().filter_map(|slot| {
            if !slot.is_idle() {
                slot.last_use.fetch_max(now, Ordering::Relaxed);
                return None;
            }
            let last_use = slot.last_use.load(Ordering::Relaxed);
            Some(IdleNamespace {
                name: Arc::clone(slot.key()),
                last_use,
                bytes: slot.table.bytes() + slot.key().len(),
            })
        });
        found.collect()
    }
}

impl fmt::Debug for LocalNamespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalNamespaces").field("kept", &self.slots.len()).finish_non_exhaustive()
    }
}
