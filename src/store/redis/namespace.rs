//! The copies of the records of namespaces in this process.

use super::confirmation::ConfirmationRounds;
use crate::store::record::Record;
use crate::store::{Generation, StoreErrorKind};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use quick_cache::sync::Cache as Quick;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

type RecordRefresh = BoxFuture<'static, Result<(), StoreErrorKind>>;

/// The copy of a namespace's record in this process. All handles of a store share it.
pub(super) struct NamespaceRecord {
    /// The name of the record in the server.
    pub(super) key: Vec<u8>,
    /// The newest record that this process has seen. If the server returns an older record, that
    /// record has gone back, for example after a fail-over.
    known: Mutex<Option<Arc<Record>>>,
    /// The request that brings the copy up to date, while one is in progress.
    refresh: Mutex<Option<WeakShared<RecordRefresh>>>,
    renewed: Mutex<Option<Instant>>,
    /// The rounds in which replicas confirm the advances.
    pub(super) rounds: ConfirmationRounds,
}

/// The longest time after which a process renews a record that it only reads.
const RENEWAL: Duration = Duration::from_secs(86_400);

impl NamespaceRecord {
    pub(super) fn new(key: Vec<u8>) -> Self {
        Self {
            key,
            known: Mutex::default(),
            refresh: Mutex::default(),
            renewed: Mutex::default(),
            rounds: ConfirmationRounds::default(),
        }
    }

    pub(super) fn known(&self) -> Option<Arc<Record>> {
        lock(&self.known).clone()
    }

    /// Returns the generation of the newest known record.
    pub(super) fn known_generation(&self) -> Option<Generation> {
        lock(&self.known).as_ref().map(|known| known.generation())
    }

    /// Returns `true` if the newest known record has the incarnation of a record.
    pub(super) fn knows(&self, record: &Record) -> bool {
        let known = lock(&self.known);
        let incarnation = known.as_ref().map(|known| known.generation().incarnation());
        incarnation == Some(record.generation().incarnation())
    }

    /// Keeps `record` if it is newer than the known record, or if the known record is not
    /// believable. Returns the record that is known afterwards, or `None` if the two contradict
    /// each other.
    pub(super) fn note(&self, record: Arc<Record>) -> Option<Arc<Record>> {
        let mut known = lock(&self.known);
        match known.as_ref() {
            Some(known) if !known.history.agrees_with(&record.history) => return None,
            Some(known) if !known.history.is_behind(record.generation()) && known.history.is_believable() => {
                return Some(Arc::clone(known));
            }
            _ => *known = Some(Arc::clone(&record)),
        }
        Some(record)
    }

    /// Joins the refresh in progress, or begins `new`. Each caller drives the shared future, so
    /// that no caller depends on the polls of another one.
    pub(super) fn share(&self, new: RecordRefresh) -> Shared<RecordRefresh> {
        let mut refresh = lock(&self.refresh);
        let in_progress = refresh.as_ref().and_then(WeakShared::upgrade);
        if let Some(shared) = in_progress.filter(|shared| shared.peek().is_none()) {
            return shared;
        }
        let shared = new.shared();
        *refresh = shared.downgrade();
        shared
    }

    /// Returns `true` if the record must be renewed now, and counts it as renewed. A record is
    /// renewed several times within its time to live, `ttl`.
    pub(super) fn begin_renewal(&self, ttl: Duration) -> bool {
        let mut renewed = lock(&self.renewed);
        let is_due = renewed.is_none_or(|renewed| renewed.elapsed() > RENEWAL.min(ttl / 8));
        if is_due {
            *renewed = Some(Instant::now());
        }
        is_due
    }
}

/// The known records of a store, by namespace.
///
/// The records of all namespaces with a handle are known, and of about 1,024 others.
pub(super) struct NamespaceRecords {
    recent: Quick<String, Arc<NamespaceRecord>>,
    live: Mutex<LiveRecords>,
}

#[derive(Default)]
struct LiveRecords {
    records: HashMap<String, Weak<NamespaceRecord>>,
    /// The number of records at which a cleanup drops all records without a handle.
    next_cleanup: usize,
}

/// The most namespaces without a handle whose records stay known.
const MOST_RECENT: usize = 1024;

impl NamespaceRecords {
    pub(super) fn new() -> Self {
        Self { recent: Quick::new(MOST_RECENT), live: Mutex::default() }
    }

    /// Returns the record of a namespace. `key` returns the name of the record in the server.
    pub(super) fn get(&self, namespace: &str, key: impl FnOnce() -> Vec<u8>) -> Arc<NamespaceRecord> {
        if let Some(record) = self.recent.get(namespace) {
            return record;
        }
        let record = lock(&self.live).get(namespace, key);
        self.recent.insert(namespace.to_owned(), Arc::clone(&record));
        record
    }
}

impl LiveRecords {
    fn get(&mut self, namespace: &str, key: impl FnOnce() -> Vec<u8>) -> Arc<NamespaceRecord> {
        if let Some(record) = self.records.get(namespace).and_then(Weak::upgrade) {
            return record;
        }
        if self.records.len() >= self.next_cleanup {
            self.records.retain(|_, record| record.strong_count() > 0);
            self.next_cleanup = 2 * self.records.len().max(MOST_RECENT);
        }
        let record = Arc::new(NamespaceRecord::new(key()));
        self.records.insert(namespace.to_owned(), Arc::downgrade(&record));
        record
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under this lock panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_with_a_handle_is_kept_and_others_are_bounded() {
        let records = NamespaceRecords::new();
        let get = |name: &str| records.get(name, || name.as_bytes().to_vec());
        let kept = get("kept");
        for number in 0..10 * MOST_RECENT {
            get(&number.to_string());
        }
        assert!(Arc::ptr_eq(&kept, &get("kept")));
        assert!(lock(&records.live).records.len() <= 5 * MOST_RECENT);
    }
}
