//! The namespaces of a store inside the process. Idle ones are dropped beyond a limit.

use super::table::NamespaceTable;
use dashmap::DashMap;
use std::cmp::Reverse;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

/// The most idle namespaces that are kept.
const MOST_IDLE: usize = 16 * 1024;
/// The most bytes that idle namespaces may take together.
const MOST_IDLE_BYTES: usize = 24 << 20;
/// The growth of all namespaces, in bytes, that starts a search for idle ones.
const GROWTH: usize = 8 << 20;
/// The fewest requests between two searches for idle namespaces. If a quarter of the number of
/// namespaces is more, that is the interval.
const LEAST_INTERVAL: usize = 256;

/// The invalidations of each namespace. A namespace is idle while no handle to its table exists.
///
/// A request is a call of [`request`](Self::request), which asks for a handle. Some requests search
/// for idle namespaces, and drop the least recently used ones beyond the limits. The interval
/// between searches grows with the number of namespaces, so that the cost per request stays
/// constant.
#[derive(Default)]
pub(super) struct LocalNamespaces {
    kept: DashMap<Arc<str>, KeptNamespace>,
    /// The number of requests so far, which measures how long namespaces are idle.
    requests: AtomicU64,
    next_search: AtomicU64,
    searching: Mutex<()>,
    /// The bytes by which all tables have grown since the last search.
    grown: Arc<AtomicUsize>,
}

struct KeptNamespace {
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

impl KeptNamespace {
    fn new(table: NamespaceTable) -> Self {
        Self { table: Arc::new(table), last_use: AtomicU64::new(0) }
    }

    fn request(&self, now: u64) -> Arc<NamespaceTable> {
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
    pub(super) fn request(&self, namespace: &str, seed: Option<u64>) -> Arc<NamespaceTable> {
        let now = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let known = self.kept.get(namespace).map(|kept| kept.request(now));
        let table = known.unwrap_or_else(|| {
            // The bytes of a new table and its name count as growth, too.
            self.grown.fetch_add(namespace.len(), Ordering::Relaxed);
            let new = || KeptNamespace::new(NamespaceTable::new(seed, &self.grown));
            self.kept.entry(namespace.into()).or_insert_with(new).request(now)
        });
        if now >= self.next_search.load(Ordering::Relaxed) || self.grown.load(Ordering::Relaxed) >= GROWTH {
            self.drop_idle(now);
        }
        table
    }

    /// Drops the least recently used idle namespaces beyond the limits. Their memory is freed
    /// outside the map's locks.
    fn drop_idle(&self, now: u64) {
        let _searching = match self.searching.try_lock() {
            Ok(searching) => searching,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.grown.store(0, Ordering::Relaxed);
        let mut idle = self.idle(now);
        idle.sort_unstable_by_key(|idle| Reverse(idle.last_use));
        let mut bytes = 0;
        for (at, idle) in idle.iter().enumerate() {
            if at < MOST_IDLE && bytes + idle.bytes <= MOST_IDLE_BYTES {
                bytes += idle.bytes;
            } else {
                let is_unused = |kept: &KeptNamespace| {
                    kept.is_idle() && kept.last_use.load(Ordering::Relaxed) == idle.last_use
                };
                drop(self.kept.remove_if(&idle.name, |_, kept| is_unused(kept)));
            }
        }
        let interval = LEAST_INTERVAL.max(self.kept.len() / 4);
        self.next_search.store(now + interval as u64, Ordering::Relaxed);
    }

    fn idle(&self, now: u64) -> Vec<IdleNamespace> {
        let found = self.kept.iter().filter_map(|kept| {
            if !kept.is_idle() {
                kept.last_use.fetch_max(now, Ordering::Relaxed);
                return None;
            }
            let last_use = kept.last_use.load(Ordering::Relaxed);
            Some(IdleNamespace {
                name: Arc::clone(kept.key()),
                last_use,
                bytes: kept.table.bytes() + kept.key().len(),
            })
        });
        found.collect()
    }
}

impl fmt::Debug for LocalNamespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalNamespaces").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}
