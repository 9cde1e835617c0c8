//! The invalidations of a namespace in one entry of a store that has no other place for them.

mod changes;
mod history;
mod table;
mod wire;

use self::changes::{Attempt, Changes};
pub(in crate::store) use self::history::History;
pub(in crate::store) use self::table::{Record, UnreadableRecord};
use super::incarnation::is_believable;
use super::{
    Dependency, Entry, Generation, Generations, KeyRef, Scope, Store, StoreError, StoreErrorKind,
    StoreFuture, Strength, Validity,
};
use crate::entry::EntryKind;
use crate::key::KeyBuf;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The invalidations of a namespace in one entry of a store, the record.
///
/// The record has the counter and all marks, so that a store loses all of them or none. It changes
/// only by compare-and-set.
///
/// ```text
/// read ─┬─ Current ───────────────────────────> returned
///       ├─ Overtaken ─ invalidate everything ─┐
///       └─ Lost ────── new incarnation ───────┴─ compare-and-set ─┬─ won ──> returned
///                                                                 └─ lost ─> read again
/// ```
#[derive(Clone)]
pub(crate) struct RecordGenerations {
    store: Arc<dyn Store>,
    key: Arc<[u8]>,
    /// The newest history that this process has seen. If the stored record is behind this history,
    /// the store has gone back to an earlier record.
    newest: Arc<Mutex<Option<History>>>,
    /// The changes of this process that are not written yet.
    changes: Arc<Changes>,
}

/// The most times that a read or a change of the record is tried while other processes change it.
const MAX_ATTEMPTS: usize = 256;

/// The result of reading the record.
enum Reading {
    Current(Record),
    /// The incarnation of the record began without invalidations that this process has seen. Every
    /// entry of the incarnation must be invalidated.
    Overtaken(Record),
    /// The record is absent, damaged, or went back. A new incarnation must begin, later than
    /// `after`.
    Lost {
        after: Option<u64>,
    },
}

impl RecordGenerations {
    pub(crate) fn new(store: Arc<dyn Store>, namespace: &str) -> Self {
        let mut buf = KeyBuf::new();
        buf.part(b"tower-response-cache generations");
        buf.part_or_digest(namespace.as_bytes());
        Self { store, key: buf.as_bytes().into(), newest: Arc::default(), changes: Arc::default() }
    }

    #[cfg(feature = "testing")]
    pub(super) fn key(&self) -> KeyRef<'_> {
        KeyRef::new(&self.key)
    }

    /// Reads a record whose history has reached these generations. If the record is lost, begins a
    /// new incarnation.
    async fn read(&self, passed: &[Generation]) -> Result<Record, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let (stored, record) = match self.read_confirmed(passed).await? {
                (_, Reading::Current(record)) => return Ok(record),
                (stored, other) => (stored, self.replacement(other)),
            };
            if self.replace(stored.as_ref(), &record).await? {
                return Ok(record);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Returns a current record unchanged, and the replacement of an overtaken or lost record.
    fn replacement(&self, reading: Reading) -> Record {
        match reading {
            Reading::Current(record) => record,
            Reading::Overtaken(mut record) => {
                record.bump(&[Scope::EVERYTHING], Strength::Hard);
                record
            }
            Reading::Lost { after } => Record::new(after, self.newest().clone()),
        }
    }

    /// Reads the record. Reads a lost record once more, since a replica of the store may lag
    /// behind. If no generation is known, one read suffices, because nothing indicates an earlier
    /// record.
    async fn read_confirmed(&self, passed: &[Generation]) -> Result<(Option<Entry>, Reading), StoreError> {
        let first = self.read_once(passed).await?;
        match first {
            (stored, Reading::Lost { after: None }) => Ok((stored, Reading::Lost { after: None })),
            (_, Reading::Lost { .. }) => self.read_once(passed).await,
            current => Ok(current),
        }
    }

    async fn read_once(&self, passed: &[Generation]) -> Result<(Option<Entry>, Reading), StoreError> {
        // Taken before the read, since another task may see a newer record during the read.
        let newest = self.newest().as_ref().map(History::generation);
        let stored = self.store.get(KeyRef::new(&self.key)).await?;
        let record = match &stored {
            Some(Entry(EntryKind::Value(value))) => match Record::decode(value.bytes()) {
                Err(UnreadableRecord::Newer) => return Err(StoreError::new(StoreErrorKind::UnknownVersion)),
                record => record.ok(),
            },
            _ => None,
        };
        let newest = newest.filter(|newest| is_believable(newest.incarnation()));
        let passed = passed.iter().filter(|passed| is_believable(passed.incarnation()));
        let known = newest.iter().chain(passed);
        let read = record.as_ref().map(Record::generation);
        let after = known.clone().copied().chain(read).map(Generation::incarnation).max();
        let is_newer = |record: &Record| known.clone().all(|known| record.history.follows(*known));
        let reading = match record.filter(is_newer) {
            // The record is not overtaken if another task has seen its incarnation during the read.
            // That task has already invalidated everything in the incarnation.
            Some(record)
                if newest.is_some_and(|newest| !record.succeeds(newest))
                    && !self.has_seen_incarnation(&record) =>
            {
                Reading::Overtaken(record)
            }
            Some(record) if self.note_history(&record.history) => Reading::Current(record),
            _ => Reading::Lost { after },
        };
        Ok((stored, reading))
    }

    /// Replaces the entry `read` by a record. Returns `false` if another entry is stored, or if the
    /// record contradicts the newest history that this process has seen.
    async fn replace(&self, read: Option<&Entry>, record: &Record) -> Result<bool, StoreError> {
        let new = Entry::raw(record.encode());
        let is_replaced = self.store.compare_and_set(KeyRef::new(&self.key), read, new, None).await?;
        Ok(is_replaced && self.note_history(&record.history))
    }

    /// Returns `true` if the newest history of this process has the incarnation of a record.
    fn has_seen_incarnation(&self, record: &Record) -> bool {
        let newest = self.newest();
        newest
            .as_ref()
            .is_some_and(|newest| newest.generation().incarnation() == record.generation().incarnation())
    }

    /// Records a history if it is newer than the newest history, or if the newest history is not
    /// believable. Returns `false` if the two histories contradict each other.
    fn note_history(&self, history: &History) -> bool {
        let mut newest = self.newest();
        match newest.as_ref() {
            Some(known) if !known.agrees_with(history) => return false,
            Some(known) if !known.is_behind(history.generation()) && known.is_believable() => {}
            _ => *newest = Some(history.clone()),
        }
        true
    }

    fn newest(&self) -> std::sync::MutexGuard<'_, Option<History>> {
        // No code under this lock panics.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record, and returns the result of the change.
    ///
    /// If the record is lost or damaged, the change applies to a new record, which begins a new
    /// incarnation.
    async fn change<T: Clone + Send + Sync + 'static>(
        &self,
        change: impl Fn(&mut Record) -> T + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        // The result of the change. The task that writes the change sets it.
        let result = Arc::new(OnceLock::new());
        let _ticket = self.changes.add({
            let result = Arc::clone(&result);
            move |record| {
                let (value, result) = (change(record), Arc::clone(&result));
                Box::new(move || drop(result.set(value)))
            }
        });
        for _ in 0..MAX_ATTEMPTS {
            // Taken before the read, so that the record is newer than these changes. For a change
            // without an effect, no compare-and-set would notice an older record.
            let pending = self.changes.pending();
            let (stored, reading) = self.read_confirmed(&[]).await?;
            if let Some(value) = result.get() {
                return Ok(T::clone(value));
            }
            let (mut changed, record) = match reading {
                Reading::Current(record) => (record.clone(), Some(record)),
                other => (self.replacement(other), None),
            };
            let attempt = Attempt::new(pending, &mut changed);
            if record.as_ref() == Some(&changed) || self.replace(stored.as_ref(), &changed).await? {
                attempt.set_results();
            }
            if let Some(value) = result.get() {
                return Ok(T::clone(value));
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    fn run<T, F>(&self, work: impl FnOnce(Self) -> F) -> StoreFuture<T>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        StoreFuture::new(work(self.clone()))
    }
}

impl Generations for RecordGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        self.run(|this| async move { Ok(this.read(&[]).await?.generation()) })
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        self.run(|this| async move { Ok(this.read(&[]).await?.cleared()) })
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let own = std::iter::once(&Scope::EVERYTHING).chain(scopes).map(|scope| (*scope, since));
        let others = dependencies.iter().map(|dependency| (dependency.value, dependency.since));
        let all: Vec<_> = own.chain(others).collect();
        self.run(|this| async move {
            // The entry was read before the record. So the record's history must have reached the
            // generations of the entry. Otherwise, the record went back to an earlier state.
            let mut passed: Vec<_> = all.iter().map(|(_, since)| *since).collect();
            passed.dedup();
            let record = this.read(&passed).await?;
            Ok(Validity::worst(all.iter().map(|(scope, since)| record.validity_since(*scope, *since))))
        })
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let scopes = scopes.to_vec();
        self.run(|this| async move { this.change(move |record| record.bump(&scopes, strength)).await })
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.run(move |this| async move {
            this.change(move |record| {
                record.depend(value);
                record.generation()
            })
            .await
        })
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.run(move |this| async move {
            // The record includes the writes of other processes after `since`.
            this.change(move |record| {
                if !record.has_dependents(value) {
                    return Some(since);
                }
                let is_sole = record.validity_since(value, since) != Validity::Invalid;
                record.bump(&[value], Strength::Hard);
                is_sole.then(|| record.generation())
            })
            .await
        })
    }
}

impl fmt::Debug for RecordGenerations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordGenerations").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::store::PutMode;
    use crate::store::incarnation::{MAX_SECONDS_AHEAD, new_incarnation};

    #[tokio::test]
    async fn changes_near_the_end_of_the_counter_start_a_new_incarnation() {
        for counter in [u64::MAX - 2, (1 << 63) - 2] {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::with_max_bytes(1 << 20));
            let generations = RecordGenerations::new(Arc::clone(&store), "n");
            let last = Record::starting_at(Generation::new(1, counter));
            let put =
                store.put(KeyRef::new(&generations.key), Entry::raw(last.encode()), None, PutMode::Always);
            put.await.expect("put");
            let advances = (0..4).map(|_| generations.advance(&[Scope::EVERYTHING], Strength::Hard));
            let advanced = futures::future::join_all(advances).await;
            assert!(advanced.iter().all(Result::is_ok), "{advanced:?}");
            let since = Generation::new(1, counter);
            let validity = generations.check(since, &[], &[]).await.expect("read");
            assert_eq!(validity, Validity::Invalid, "{counter}");
        }
    }

    async fn put(generations: &RecordGenerations, record: &Record) {
        let (key, entry) = (KeyRef::new(&generations.key), Entry::raw(record.encode()));
        assert!(generations.store.put(key, entry, None, PutMode::Always).await.expect("put"));
    }

    /// Returns `true` if all processes find the same generation current and valid.
    async fn agree(processes: &[&RecordGenerations]) -> bool {
        let now = processes[0].current().await.expect("read");
        for process in processes {
            let validity = process.check(now, &[], &[]).await.expect("read");
            if validity != Validity::Valid || process.current().await.expect("read") != now {
                return false;
            }
        }
        true
    }

    /// A record or an entry with an incarnation of a far future does not disable a namespace.
    #[tokio::test]
    async fn an_incarnation_of_a_far_future_is_replaced() {
        let last = (new_incarnation(None) >> 32) + MAX_SECONDS_AHEAD;
        for start in [0xffff_fffe, u32::MAX.into(), last + 60, last, last - 1] {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::with_max_bytes(1 << 20));
            let [one, other] = [(); 2].map(|()| RecordGenerations::new(Arc::clone(&store), "n"));
            let [earlier, later] = [1, 2].map(|counter| Generation::new(start << 32, counter));
            put(&one, &Record::starting_at(later)).await;
            one.current().await.expect("read");
            put(&one, &Record::starting_at(earlier)).await;
            for process in [&one, &other, &one] {
                assert_eq!(process.check(later, &[], &[]).await.expect("read"), Validity::Invalid, "{start}");
            }
            // The incarnation that follows `last` may become believable during the test.
            let is_agreed = agree(&[&one, &other]).await || agree(&[&other, &one]).await;
            assert!(is_agreed || agree(&[&one, &other]).await, "{start}");
        }
    }
}
