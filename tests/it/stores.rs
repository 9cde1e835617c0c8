//! Stores: those of the crate keep the contract, and a broken one never breaks the site.

use crate::support::*;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::store::{
    Dependency, Entry, Generation, Generations, InitialCounter, KeyRef, PutMode, Scope, StoreError,
    StoreErrorKind, StoreFuture, Strength, Validity,
};
use tower_response_cache::{
    Cache, ConfigErrorKind, Invalidation, MemoryStore, NullStore, SiteCacheLayer, Store,
};

#[cfg(feature = "testing")]
mod contract {
    use super::{Fault, Faulty};
    use tower_response_cache::store::contract::Contract;
    use tower_response_cache::{Clock, MemoryStore, NullStore};

    #[tokio::test]
    async fn the_memory_store_keeps_the_contract() {
        let (clock, hand) = Clock::manual();
        let store = MemoryStore::builder().clock(clock).build().expect("valid");
        let same = store.clone();
        Contract::new(store).time(move |by| hand.advance(by)).restart(move || same.clone()).verify().await;
    }

    #[tokio::test]
    async fn what_has_no_better_place_for_invalidations_keeps_them_as_one_entry() {
        let (clock, hand) = Clock::manual();
        let store = MemoryStore::builder().clock(clock).build().expect("valid");
        let plain = Faulty::new(store, Fault::NoGenerations);
        let same = plain.clone();
        Contract::new(plain).time(move |by| hand.advance(by)).restart(move || same.clone()).verify().await;
    }

    #[tokio::test]
    async fn the_null_store_keeps_the_contract_of_one_that_keeps_nothing() {
        Contract::new(NullStore::new()).keeps_nothing().time(|_| ()).verify().await;
    }

    #[tokio::test]
    #[should_panic(expected = "what was removed is gone")]
    async fn a_store_that_breaks_the_contract_is_found_out() {
        let store = super::Faulty::new(MemoryStore::with_capacity(1 << 20), super::Fault::ForgetsToRemove);
        Contract::new(store).verify().await;
    }
}

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Every operation fails.
    Down,
    /// Every operation takes for ever.
    Hangs,
    /// Entries can be read, invalidations can't.
    LostGenerations,
    /// Answers later, but rightly.
    Slow,
    #[cfg(feature = "testing")]
    ForgetsToRemove,
    /// Has no place for invalidations but itself.
    NoGenerations,
}

/// A remote store with a fault that can be switched on and off.
#[derive(Debug, Clone)]
struct Faulty {
    inner: MemoryStore,
    fault: Fault,
    on: Arc<AtomicBool>,
}

impl Faulty {
    fn new(inner: MemoryStore, fault: Fault) -> Self {
        Self { inner, fault, on: Arc::new(AtomicBool::new(true)) }
    }

    fn answer<T: Send + 'static>(&self, answer: StoreFuture<T>) -> StoreFuture<T> {
        match self.fault {
            _ if !self.on.load(Ordering::SeqCst) => answer,
            Fault::Down => StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable))),
            Fault::Hangs => StoreFuture::new(std::future::pending()),
            Fault::Slow => StoreFuture::new(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                answer.await
            }),
            Fault::LostGenerations | Fault::NoGenerations => answer,
            #[cfg(feature = "testing")]
            Fault::ForgetsToRemove => answer,
        }
    }
}

impl Store for Faulty {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.answer(self.inner.get(key))
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        self.answer(self.inner.put(key, entry, ttl, mode))
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        #[cfg(feature = "testing")]
        if self.fault == Fault::ForgetsToRemove {
            return StoreFuture::ready(Ok(true));
        }
        self.answer(self.inner.remove(key))
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.answer(self.inner.increment(key, delta, initial))
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        self.answer(self.inner.compare_and_set(key, expected, new, ttl))
    }
    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        let inner = self.inner.generations(namespace).filter(|_| self.fault != Fault::NoGenerations)?;
        Some(Arc::new(FaultyGenerations { inner, store: self.clone() }))
    }
}

#[derive(Debug)]
struct FaultyGenerations {
    inner: Arc<dyn Generations>,
    store: Faulty,
}

impl FaultyGenerations {
    fn answer<T: Send + 'static>(&self, answer: StoreFuture<T>) -> StoreFuture<T> {
        if self.store.fault == Fault::LostGenerations && self.store.on.load(Ordering::SeqCst) {
            return StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable)));
        }
        self.store.answer(answer)
    }
}

impl Generations for FaultyGenerations {
    fn seed(&self) -> u64 {
        self.inner.seed()
    }
    fn current(&self) -> StoreFuture<Generation> {
        self.answer(self.inner.current())
    }
    fn check(&self, since: Generation, scopes: &[Scope], made_from: &[Dependency]) -> StoreFuture<Validity> {
        self.answer(self.inner.check(since, scopes, made_from))
    }
    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        self.answer(self.inner.advance(scopes, strength))
    }
    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.answer(self.inner.depend(value))
    }
    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.answer(self.inner.written(value, since))
    }
}

fn over(fault: Fault) -> (Stack, Calls, Cache, Faulty) {
    let store = Faulty::new(MemoryStore::with_capacity(1 << 20), fault);
    let cache = Cache::new(store.clone());
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    (site_over(&cache, inner), calls, cache, store)
}

#[tokio::test(start_paused = true)]
async fn a_broken_store_never_breaks_the_site_and_says_so() {
    for fault in [Fault::Down, Fault::Hangs] {
        let (stack, calls, cache, store) = over(fault);
        for call in 1..=2 {
            let begun = tokio::time::Instant::now();
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.text(), answer.detail()), (call.to_string().as_str(), Some("store-failed")));
            assert!(begun.elapsed() <= Duration::from_secs(1), "within the limit: {:?}", begun.elapsed());
        }
        assert!(cache.store_errors() >= 2);
        let error = cache.invalidate(Invalidation::path("/")).await.expect_err("it is down");
        let expected =
            if fault == Fault::Hangs { StoreErrorKind::TimedOut } else { StoreErrorKind::Unavailable };
        assert_eq!(error.kind(), expected, "whoever invalidates has to know");
        store.on.store(false, Ordering::SeqCst);
        assert!(shares(&stack, get("/"), get("/")).await, "all is well again");
        assert_eq!(calls.count(), 3);
    }
}

#[tokio::test]
async fn what_may_have_been_invalidated_is_not_served() {
    let (stack, calls, _, store) = over(Fault::LostGenerations);
    store.on.store(false, Ordering::SeqCst);
    assert!(shares(&stack, get("/"), get("/")).await);
    store.on.store(true, Ordering::SeqCst);
    assert_eq!(send(&stack, get("/")).await.detail(), Some("store-failed"));
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_later_serves_hits_variants_and_invalidations_all_the_same() {
    let store = Faulty::new(MemoryStore::with_capacity(1 << 20), Fault::Slow);
    let cache = Cache::new(store);
    let (inner, calls) = origin(|_, call| numbered(&[("vary", "x-a")], call));
    let stack = site_over(&cache, inner);
    for a in ["1", "2"] {
        send(&stack, get_with("/", &[("x-a", a)])).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for a in ["1", "2"] {
        let hit = send(&stack, get_with("/", &[("x-a", a)])).await;
        assert_eq!((hit.text(), hit.is_hit()), (a, true));
    }
    cache.invalidate(Invalidation::path("/")).await.expect("slow, not down");
    assert!(!send(&stack, get_with("/", &[("x-a", "1")])).await.is_hit());
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The client leaves while the invalidation is under way.
    assert!(send(&stack, get_with("/", &[("x-a", "1")])).await.is_hit());
    let post = tokio::time::timeout(Duration::from_millis(2), send(&stack, request("POST", "/", &[])));
    assert!(post.await.is_err());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!send(&stack, get_with("/", &[("x-a", "1")])).await.is_hit());
    assert_eq!(calls.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_what_a_store_is_being_told() {
    let store = Faulty::new(MemoryStore::with_capacity(1 << 20), Fault::Slow);
    let cache = Cache::new(store.clone());
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    assert!(store.inner.is_empty(), "it takes its time");
    cache.shutdown().await;
    assert_eq!(store.inner.len(), 1);
}

/// The body is complete, and the store is being told: who comes then waits for that.
#[tokio::test(start_paused = true)]
async fn who_comes_between_the_end_of_a_body_and_a_slow_write_makes_no_call() {
    let cache = Cache::new(Faulty::new(MemoryStore::with_capacity(1 << 20), Fault::Slow));
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = tower::service_fn(move |_: http::Request<Body>| {
        counted.next();
        async {
            let frames = futures::stream::unfold(0, |frame| async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                (frame < 3)
                    .then(|| (Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"abc"))), frame + 1))
            });
            Ok::<_, std::io::Error>(http::Response::new(StreamBody::new(Box::pin(frames))))
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy()).layer(inner);
    let ask = || async {
        let response = stack.clone().oneshot(get("/")).await.expect("an answer");
        response.into_body().collect().await.expect("a body").to_bytes()
    };
    assert_eq!(ask().await, "abcabcabc");
    assert_eq!((ask().await, calls.count()), (Bytes::from_static(b"abcabcabc"), 1));
}

#[test]
fn bad_configuration_is_refused_when_it_is_built() {
    let kind = |builder: tower_response_cache::CacheBuilder| builder.build().expect_err("refused").kind();
    assert_eq!(kind(Cache::builder(NullStore::new()).namespace("")), ConfigErrorKind::EmptyNamespace);
    assert_eq!(kind(Cache::builder(NullStore::new()).recording_bytes(0)), ConfigErrorKind::ZeroLimit);
    assert_eq!(
        kind(Cache::builder(NullStore::new()).store_timeout(Duration::ZERO)),
        ConfigErrorKind::ZeroTimeout
    );
}

#[test]
#[should_panic(expected = "the capacity in bytes is too small")]
fn a_memory_store_that_could_hold_nothing_is_refused() {
    let _ = MemoryStore::with_capacity(0);
}

#[tokio::test]
async fn memory_stays_bounded_and_hot_pages_stay_under_a_flood_of_distinct_queries() {
    let store = MemoryStore::with_capacity(1 << 20);
    let (inner, calls) = origin(|_, _| with_lines(&[], "x".repeat(2000)));
    let stack = SiteCacheLayer::new(&Cache::new(store.clone())).policy(policy()).layer(inner).boxed_clone();
    send(&stack, get("/hot")).await;
    for i in 0..5000 {
        send(&stack, get(&format!("/?q={i}"))).await;
        assert!(store.weight() <= 1 << 20);
        if i % 20 == 0 {
            assert!(send(&stack, get("/hot")).await.is_hit(), "driven out after {i}");
        }
    }
    assert_eq!(calls.count(), 5001);
}

#[tokio::test]
async fn a_copy_of_an_evicted_entry_does_not_keep_a_writer_out() {
    let store = MemoryStore::with_capacity(256 << 10);
    let value = |size: usize| Entry::raw(vec![1; size]);
    let hot = KeyRef::new(b"hot");
    store.put(hot, value(10), None, PutMode::Always).await.expect("local");
    for _ in 0..20 {
        store.get(hot).await.expect("local");
    }
    let flood = store.clone();
    let evict = move || {
        for number in 0..400_u32 {
            let key = |number: u32| number.to_le_bytes();
            let put = flood.put(KeyRef::new(&key(number)), value(4000), None, PutMode::Always);
            futures::executor::block_on(put).expect("local");
            for recent in number.saturating_sub(8)..number {
                futures::executor::block_on(flood.get(KeyRef::new(&key(recent)))).expect("local");
            }
        }
    };
    std::thread::spawn(evict).join().expect("no panic");
    let copy = store.get(hot).await.expect("local");
    store.compare_and_set(hot, copy.as_ref(), value(11), None).await.expect("local");
    let seen = store.get(hot).await.expect("local");
    assert!(store.compare_and_set(hot, seen.as_ref(), value(12), None).await.expect("local"));
    assert_eq!(store.get(hot).await.expect("local"), Some(value(12)));
}

#[tokio::test]
async fn a_hot_page_replaced_or_removed_is_seen_by_every_thread_at_once() {
    let store = MemoryStore::with_capacity(1 << 20);
    let key = KeyRef::new(b"hot");
    for round in 0..5 {
        store.put(key, Entry::Counter(round), None, PutMode::Always).await.expect("local");
        for _ in 0..200 {
            assert_eq!(store.get(key).await.expect("local"), Some(Entry::Counter(round)));
        }
        let elsewhere = store.clone();
        let other = std::thread::spawn(move || {
            let key = KeyRef::new(b"hot");
            for _ in 0..200 {
                let found = futures::executor::block_on(elsewhere.get(key)).expect("local");
                assert_eq!(found, Some(Entry::Counter(round)));
            }
            futures::executor::block_on(elsewhere.remove(key)).expect("local")
        });
        assert!(other.join().expect("no panic"));
        assert_eq!(store.get(key).await.expect("local"), None);
    }
}
