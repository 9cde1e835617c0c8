//! Invalidations that the store refuses in every attempt.

use super::*;
use std::sync::atomic::AtomicBool;
use tower_response_cache::Store;
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::store::{
    Dependency, Entry, Generation, Generations, InitialCounter, KeyRef, PutMode, Scope, StoreFuture,
    Strength, Validity,
};

/// A namespace whose invalidations a later version of the crate wrote.
const LATER: &str = "later";

/// A store that refuses the invalidations of one namespace.
#[derive(Debug, Clone)]
struct Refusing {
    inner: MemoryStore,
    refuses: Arc<AtomicBool>,
    /// The number of refused invalidations.
    refused: Arc<AtomicUsize>,
}

impl Refusing {
    fn new() -> Self {
        Self {
            inner: memory_store(8 << 20),
            refuses: Arc::new(AtomicBool::new(true)),
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
            LATER => Some(Arc::new(RefusingGenerations { inner, store: self.clone() })),
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
        if self.store.refuses.load(Ordering::SeqCst) {
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

/// Returns a process, a site in the refused namespace of its cache, and its data.
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
async fn refused_invalidation_does_not_delay_others() {
    let store = Refusing::new();
    let (process, later, data) = process(&store);
    assert_eq!(process.hit("/").await.as_deref(), Some("1"));
    assert_eq!(later.cache.invalidate("/").await, Delivery::Queued);
    sleep(60 * S).await;
    process.faults.set(Operation::Invalidation, Fault::Error);
    let now = data.change();
    assert_eq!(process.cache.invalidate("/").await, Delivery::Queued);
    process.faults.clear();
    let begun = Instant::now();
    until(|| process.cache.undelivered() == 1).await;
    assert!(begun.elapsed() <= S, "{:?}", begun.elapsed());
    assert_eq!(process.hit("/").await, Some(now));
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
