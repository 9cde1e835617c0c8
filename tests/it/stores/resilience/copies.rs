//! A store that checks an entry against a copy of the invalidations. The copy has the invalidations
//! up to the read of the entry.

use super::*;
use futures::FutureExt;
use std::sync::{Mutex, MutexGuard};
use tower_response_cache::Store;
use tower_response_cache::store::{
    Dependency, Entry, Generation, Generations, InitialCounter, KeyRef, PutMode, Scope, StoreFuture,
    Strength, Validity,
};

/// The invalidations of one namespace, with the generation after each.
type Log = Arc<Mutex<Vec<(Generation, Vec<Scope>)>>>;

#[derive(Debug, Clone)]
struct CopyStore {
    inner: MemoryStore,
    log: Log,
}

impl Store for CopyStore {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.inner.get(key)
    }
    fn get_at(&self, namespace: &str, key: KeyRef<'_>) -> StoreFuture<(Option<Entry>, Option<Generation>)> {
        let entry = self.inner.get(key).now_or_never().expect("ready").expect("no fault");
        let generations = self.inner.generations(namespace).expect("a memory store has them");
        let read = generations.current().now_or_never().expect("ready").expect("no fault");
        StoreFuture::ready(Ok((entry, Some(read))))
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        self.inner.put(key, entry, ttl, mode)
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        self.inner.remove(key)
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.inner.increment(key, delta, initial)
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        self.inner.compare_and_set(key, expected, new, ttl)
    }
    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        let inner = self.inner.generations(namespace)?;
        Some(Arc::new(CopyGenerations { inner, log: Arc::clone(&self.log) }))
    }
}

#[derive(Debug)]
struct CopyGenerations {
    inner: Arc<dyn Generations>,
    log: Log,
}

impl CopyGenerations {
    fn log(&self) -> MutexGuard<'_, Vec<(Generation, Vec<Scope>)>> {
        self.log.lock().expect("not poisoned")
    }
}

impl Generations for CopyGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        self.inner.current()
    }
    fn cleared(&self) -> StoreFuture<Generation> {
        self.inner.cleared()
    }
    fn check(&self, since: Generation, scopes: &[Scope], made_from: &[Dependency]) -> StoreFuture<Validity> {
        self.inner.check(since, scopes, made_from)
    }
    /// Ignores invalidations after `read`.
    fn check_at(
        &self,
        read: Generation,
        since: Generation,
        scopes: &[Scope],
        _made_from: &[Dependency],
    ) -> StoreFuture<Validity> {
        let is_invalid = self.log().iter().any(|(after, named)| {
            (since.counter() + 1..=read.counter()).contains(&after.counter())
                && named.iter().any(|scope| scopes.contains(scope))
        });
        StoreFuture::ready(Ok(if is_invalid { Validity::Invalid } else { Validity::Valid }))
    }
    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let advanced = self.inner.advance(scopes, strength);
        let after = self.inner.current().now_or_never().expect("ready").expect("no fault");
        self.log().push((after, scopes.to_vec()));
        advanced
    }
    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.inner.depend(value)
    }
    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.inner.written(value, since)
    }
}

fn process() -> (Process, Data) {
    let (data, log) = (Data::default(), Log::default());
    data.change();
    let store = FaultyStore::new(CopyStore { inner: memory_store(8 << 20), log });
    (Process::over(store, &data, Policy::app().default_ttl(3600 * S)), data)
}

#[tokio::test(start_paused = true)]
async fn invalidation_counts_for_entries_checked_by_a_copy() {
    let (one, data) = process();
    assert_eq!(one.hit("/").await.as_deref(), Some("1"));
    let now = data.change();
    assert_eq!(one.cache.invalidate("/").await, Delivery::Delivered);
    assert_eq!(one.hit("/").await, Some(now));
}

/// The invalidation is delivered between the read of the page and its check by the copy.
#[tokio::test(start_paused = true)]
async fn delivery_after_the_read_of_a_page_does_not_make_it_valid() {
    for after in 0..50 {
        let (one, data) = process();
        assert_eq!(one.hit("/").await.as_deref(), Some("1"));
        one.faults.set(Operation::Invalidation, Fault::Error);
        let now = data.change();
        assert_eq!(one.cache.invalidate("/").await, Delivery::Queued);
        one.faults.clear();
        one.faults.set(Operation::Generation, Fault::Delay { before: 40 * MS, after: Duration::ZERO });
        sleep(after * 5 * MS).await;
        assert_eq!(one.read("/").await, now, "after {after}");
    }
}
