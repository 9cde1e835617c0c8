//! The namespaces of a store inside the process. Idle ones are dropped beyond a limit.

use super::table::NamespaceTable;
use dashmap::DashMap;
use std::cmp::Reverse;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

/// The most idle namespaces that are kept.
const MAX_IDLE: usize = 16 * 1024;
/// The most bytes that idle namespaces may take together.
const MAX_IDLE_BYTES: usize = 24 << 20;
/// The growth of all namespaces, in bytes, that starts a search for idle ones.
const GROWTH_PER_SEARCH: usize = 8 << 20;
/// The fewest requests between two searches for idle namespaces. If a quarter of the number of
/// namespaces is more, that is the interval.
const MIN_SEARCH_INTERVAL: usize = 256;

/// The invalidations of each namespace. A namespace is idle while no handle to its table exists.
///
/// A request is a call of [`request`](Self::request), which asks for a handle. Some requests search
/// for idle namespaces, and drop the least recently used ones beyond the limits. The interval
/// between searches grows with the number of namespaces, so that the cost per request stays
/// constant.
#[derive(Default)]
pub(super) struct LocalNamespaces {
    slots: DashMap<Arc<str>, NamespaceSlot>,
    /// The number of requests so far, which measures how long namespaces are idle.
    requests: AtomicU64,
    next_search: AtomicU64,
    search_lock: Mutex<()>,
    /// The bytes by which all tables have grown since the last search.
    growth: Arc<AtomicUsize>,
}

struct NamespaceSlot {
    table: Arc<NamespaceTable>,
    /// The number of the last request for the namespace, or of the last search that found a handle.
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
    /// With the map's shard locked exclusively, the result stays true: new handles are clones of a
    /// handle, or of the table in this map.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.table) == 1
    }
}

impl LocalNamespaces {
    /// Returns the table of a namespace. All callers get the same table while a handle exists.
    pub(super) fn table(&self, namespace: &str, seed: Option<u64>) -> Arc<NamespaceTable> {
        let now = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let found = self.slots.get(namespace).map(|slot| slot.use_table(now));
        let table = found.unwrap_or_else(|| {
            // The bytes of a new table and its name count as growth, too.
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

    /// Drops the least recently used idle namespaces beyond the limits. Their memory is freed
    /// outside the map's locks.
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
