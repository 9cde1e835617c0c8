//! Invalidations that the store refuses in every attempt.

use super::*;
use std::sync::atomic::AtomicBool;
use tower_response_cache::Invalidation;
use tower_response_cache::Store;
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::store::{
    Dependency, Entry, Generation, Generations, InitialCounter, KeyRef, PutMode, Scope, StoreFuture,
    Strength, Validity,
};

/// A namespace whose invalidations a later version of the crate wrote. The names of all refused
/// namespaces begin with this name.
const LATER: &str = "later";

/// A store that refuses the invalidations of some namespaces.
#[derive(Debug, Clone)]
struct Refusing {
    inner: MemoryStore,
    refuses: Arc<AtomicBool>,
    /// `true` if the store accepts all soft invalidations.
    accepts_soft: Arc<AtomicBool>,
    /// The number of refused invalidations.
    refused: Arc<AtomicUsize>,
}

impl Refusing {
    fn new() -> Self {
        Self {
            inner: memory_store(8 << 20),
            refuses: Arc::new(AtomicBool::new(true)),
            accepts_soft: Arc::default(),
            refused: Arc::default(),
        }
    }
}

impl Store for Refusing {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.inner.get(key)
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
        match namespace {
            later if later.starts_with(LATER) => {
                Some(Arc::new(RefusingGenerations { inner, store: self.clone() }))
            }
            _ => Some(inner),
        }
    }
}

#[derive(Debug)]
struct RefusingGenerations {
    inner: Arc<dyn Generations>,
    store: Refusing,
}

impl Generations for RefusingGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        self.inner.current()
    }
    fn cleared(&self) -> StoreFuture<Generation> {
        self.inner.cleared()
    }
    fn check(&self, since: Generation, scopes: &[Scope], made_from: &[Dependency]) -> StoreFuture<Validity> {
        self.inner.check(since, scopes, made_from)
    }
    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let is_accepted = strength == Strength::Soft && self.store.accepts_soft.load(Ordering::SeqCst);
        if self.store.refuses.load(Ordering::SeqCst) && !is_accepted {
            self.store.refused.fetch_add(1, Ordering::SeqCst);
            return StoreFuture::ready(Err(StoreError::new(StoreErrorKind::UnknownVersion)));
        }
        self.inner.advance(scopes, strength)
    }
    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.inner.depend(value)
    }
    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.inner.written(value, since)
    }
}

/// Returns a process, the same process with its refused namespace, and their data.
fn process(store: &Refusing) -> (Process, Process, Data) {
    let data = Data::default();
    data.change();
    let policy = || Policy::app().default_ttl(3600 * S);
    let process = Process::over(FaultyStore::new(store.clone()), &data, policy());
    let cache = process.cache.with_namespace(LATER).expect("not empty");
    let later = Process { site: site(&cache, &data, policy()), cache, faults: process.faults.clone() };
    (process, later, data)
}

#[tokio::test(start_paused = true)]
async fn refused_invalidation_does_not_keep_the_circuit_open() {
    let store = Refusing::new();
    let (process, later, data) = process(&store);
    for each in [&process, &later] {
        assert_eq!(each.hit("/").await.as_deref(), Some("1"));
    }
    let now = data.change();
    assert_eq!(later.cache.invalidate("/").await, Delivery::Queued);
    sleep(S).await;
    process.open_circuit(Fault::Error).await;
    process.faults.clear();
    for _ in 0..10 {
        sleep(100 * MS).await;
        assert_eq!(later.read("/").await, now, "not trusted");
    }
    assert_eq!(process.cache.circuit(), CircuitState::Closed);
    assert_eq!(process.hit("/").await.as_deref(), Some("1"), "another namespace");
    assert_eq!(later.hit("/").await, None);
    assert_eq!(process.cache.undelivered(), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_invalidation_is_retried_at_a_bounded_rate() {
    let store = Refusing::new();
    let (process, later, data) = process(&store);
    assert_eq!(later.hit("/").await.as_deref(), Some("1"));
    data.change();
    assert_eq!(later.cache.invalidate("/").await, Delivery::Queued);
    for number in 0..600 {
        sleep(100 * MS).await;
        process.read("/").await;
        assert_eq!(later.cache.invalidate(format!("/{number}").as_str()).await, Delivery::Queued);
        store.refused.fetch_sub(1, Ordering::SeqCst);
    }
    let retries = store.refused.load(Ordering::SeqCst);
    assert!((5..=20).contains(&retries), "{retries} in a minute");
    store.refuses.store(false, Ordering::SeqCst);
    later.recover().await;
    assert_eq!(later.hit("/").await.as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn refused_invalidations_do_not_delay_others() {
    for count in [1, 2_000] {
        let store = Refusing::new();
        let (process, _, data) = process(&store);
        assert_eq!(process.hit("/").await.as_deref(), Some("1"));
        for number in 0..count {
            let later = process.cache.with_namespace(format!("{LATER}{number}")).expect("not empty");
            assert_eq!(later.clear().await, Delivery::Queued);
        }
        sleep(120 * S).await;
        process.faults.set(Operation::Invalidation, Fault::Error);
        let now = data.change();
        assert_eq!(process.cache.invalidate("/").await, Delivery::Queued);
        process.faults.clear();
        let begun = Instant::now();
        until(|| process.cache.undelivered() == count).await;
        assert!(begun.elapsed() <= S, "{count}: {:?}", begun.elapsed());
        assert_eq!(process.hit("/").await, Some(now));
    }
}

#[tokio::test(start_paused = true)]
async fn store_gets_the_rest_of_a_refused_batch() {
    let store = Refusing::new();
    store.accepts_soft.store(true, Ordering::SeqCst);
    let (_, later, _) = process(&store);
    let other = Cache::new(store.inner.clone()).with_namespace(LATER).expect("not empty");
    assert!(later.cache.set("k", &1, MINUTE).await.is_ok());
    assert_eq!(other.get::<i64>("k").await.ok().flatten(), Some(1));
    let generations = store.inner.generations(LATER).expect("its own");
    let begun = generations.current().await.expect("a generation");
    later.faults.set_all(Fault::Error);
    assert_eq!(later.cache.invalidate("/").await, Delivery::Queued);
    assert_eq!(later.cache.invalidate(Invalidation::tag("t").soft()).await, Delivery::Queued);
    assert!(later.cache.delete("k").await.is_err());
    later.faults.clear();
    sleep(60 * S).await;
    assert!(store.refused.load(Ordering::SeqCst) > 0 && later.cache.undelivered() > 0);
    let tag = generations.check(begun, &[Scope::tag("t")], &[]).await.expect("a check");
    assert_eq!(tag, Validity::Stale, "the soft invalidation");
    assert_eq!(other.get::<i64>("k").await.ok().flatten(), None, "the removal of the value");
}

#[tokio::test(start_paused = true)]
async fn delivery_task_of_a_refused_invalidation_ends_with_its_cache() {
    let store = Refusing::new();
    let (process, later, _) = process(&store);
    assert_eq!(later.cache.invalidate("/").await, Delivery::Queued);
    sleep(60 * S).await;
    drop((process, later));
    let refused = store.refused.load(Ordering::SeqCst);
    sleep(60 * S).await;
    assert_eq!(store.refused.load(Ordering::SeqCst), refused);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}
