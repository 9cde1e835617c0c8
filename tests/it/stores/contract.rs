//! The stores of this crate keep the contract of `Store`, and a store that fails never breaks the
//! site.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use bytes::Bytes;
use futures::FutureExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::clock::Clock;
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::NullStore;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{Cache, Invalidation, MemoryStore, SiteCacheLayer, Store};

pub(crate) fn over(fault: Fault) -> (Stack, Calls, Cache, Faulty) {
    let store = Faulty::new(memory_store(1 << 20), fault);
    let cache = Cache::new(store.clone());
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    (site_over(&cache, inner), calls, cache, store)
}

#[tokio::test(start_paused = true)]
async fn a_broken_store_never_breaks_the_site_and_is_reported() {
    for fault in [Fault::Down, Fault::Hangs] {
        let (stack, calls, cache, store) = over(fault);
        for call in 1..=2 {
            let begun = tokio::time::Instant::now();
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.text(), answer.detail()), (call.to_string().as_str(), Some("store-failed")));
            assert!(
                begun.elapsed() <= Duration::from_secs(1),
                "within the time limit: {:?}",
                begun.elapsed()
            );
        }
        assert!(cache.store_errors() >= 2);
        assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Queued);
        store.on.store(false, Ordering::SeqCst);
        while cache.undelivered() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(shares(&stack, get("/"), get("/")).await, "the store works again");
        assert_eq!(calls.count(), 3);
    }
}

#[tokio::test]
async fn entries_are_not_served_if_generations_cannot_be_read() {
    let (stack, calls, _, store) = over(Fault::LostGenerations);
    store.on.store(false, Ordering::SeqCst);
    assert!(shares(&stack, get("/"), get("/")).await);
    store.on.store(true, Ordering::SeqCst);
    assert_eq!(send(&stack, get("/")).await.detail(), Some("store-failed"));
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn slow_store_serves_hits_variants_and_invalidations() {
    let store = Faulty::new(memory_store(1 << 20), Fault::Slow);
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
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    assert!(!send(&stack, get_with("/", &[("x-a", "1")])).await.is_hit());
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The client disconnects during the invalidation.
    assert!(send(&stack, get_with("/", &[("x-a", "1")])).await.is_hit());
    let post = tokio::time::timeout(Duration::from_millis(2), send(&stack, request("POST", "/", &[])));
    assert!(post.await.is_err());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!send(&stack, get_with("/", &[("x-a", "1")])).await.is_hit());
    assert_eq!(calls.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_pending_writes() {
    let store = Faulty::new(memory_store(1 << 20), Fault::Slow);
    let cache = Cache::new(store.clone());
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    assert!(store.inner.is_empty(), "the write is pending");
    cache.shutdown().await;
    assert_eq!(store.inner.len(), 1);
}

/// The next request arrives while the complete body is being written to the store. The request waits
/// for the write.
#[tokio::test(start_paused = true)]
async fn request_during_a_slow_write_makes_no_call() {
    let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::Slow));
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
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let request_page = || async {
        let response = stack.clone().oneshot(get("/")).await.expect("an answer");
        response.into_body().collect().await.expect("a body").to_bytes()
    };
    assert_eq!(request_page().await, "abcabcabc");
    assert_eq!((request_page().await, calls.count()), (Bytes::from_static(b"abcabcabc"), 1));
}

#[test]
fn invalid_configuration_is_rejected_by_build() {
    let kind =
        |builder: tower_response_cache::cache::CacheBuilder| builder.build().expect_err("refused").kind();
    assert_eq!(kind(Cache::builder(NullStore::new()).namespace("")), ConfigErrorKind::EmptyNamespace);
    assert_eq!(kind(Cache::builder(NullStore::new()).recording_bytes(0)), ConfigErrorKind::ZeroLimit);
    assert_eq!(
        kind(Cache::builder(NullStore::new()).lookup_timeout(Duration::ZERO)),
        ConfigErrorKind::ZeroTimeout
    );
}

#[test]
#[should_panic(expected = "the capacity in bytes is too small")]
fn memory_store_without_capacity_panics() {
    let _ = MemoryStore::with_max_bytes(0);
}

#[tokio::test]
async fn flood_of_queries_keeps_memory_bounded_and_hot_pages_stored() {
    let store = memory_store(1 << 20);
    let (inner, calls) = origin(|_, _| with_lines(&[], "x".repeat(2000)));
    let stack = SiteCacheLayer::new(&Cache::new(store.clone()))
        .policy(policy().build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    send(&stack, get("/hot")).await;
    for i in 0..5000 {
        send(&stack, get(&format!("/?q={i}"))).await;
        assert!(store.weight() <= 1 << 20);
        if i % 20 == 0 {
            assert!(send(&stack, get("/hot")).await.is_hit(), "evicted after {i}");
        }
    }
    assert_eq!(calls.count(), 5001);
}

#[tokio::test]
async fn copy_of_an_evicted_entry_does_not_block_writers() {
    let store = memory_store(256 << 10);
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
async fn every_thread_sees_a_replaced_or_removed_entry_at_once() {
    let store = memory_store(1 << 20);
    let key = KeyRef::new(b"hot");
    for round in 0..5 {
        store.put(key, Entry::counter(round), None, PutMode::Always).await.expect("local");
        for _ in 0..200 {
            assert_eq!(store.get(key).await.expect("local"), Some(Entry::counter(round)));
        }
        let elsewhere = store.clone();
        let other = std::thread::spawn(move || {
            let key = KeyRef::new(b"hot");
            for _ in 0..200 {
                let found = futures::executor::block_on(elsewhere.get(key)).expect("local");
                assert_eq!(found, Some(Entry::counter(round)));
            }
            futures::executor::block_on(elsewhere.remove(key)).expect("local")
        });
        assert!(other.join().expect("no panic"));
        assert_eq!(store.get(key).await.expect("local"), None);
    }
}

/// The client disconnects while the cache removes a page that has become private.
#[tokio::test(start_paused = true)]
async fn disconnect_does_not_keep_a_page_that_became_private() {
    const S: Duration = Duration::from_secs(1);
    for timeout_ms in 0..60 {
        let (clock, manual) = Clock::manual();
        let memory =
            MemoryStore::builder().seed(3).max_bytes(8 << 20).clock(clock.clone()).build().expect("valid");
        let cache = Cache::builder(Faulty::new(memory, Fault::Slow)).clock(clock).build().expect("valid");
        let (inner, calls) = origin(|_, call| {
            let control = if call == 2 { "private" } else { "max-age=10" };
            let mut response = numbered(&[("cache-control", control)], call);
            if call > 2 {
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            }
            response
        });
        let policy = policy().default_ttl(10 * S).stale_if_error(60 * S);
        let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
        send(&stack, get("/")).await;
        tokio::time::sleep(S).await;
        manual.advance(12 * S);
        let _ = tokio::time::timeout(Duration::from_millis(timeout_ms), send(&stack, get("/"))).await;
        tokio::time::sleep(S).await;
        if calls.count() == 2 {
            assert_ne!(send(&stack, get("/")).await.text(), "1", "disconnected after {timeout_ms} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_may_be_repeated_and_dropped() {
    let store = Faulty::new(memory_store(1 << 20), Fault::Slow);
    let cache = Cache::new(store.clone());
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    assert!(tokio::time::timeout(Duration::from_millis(1), cache.shutdown()).await.is_err());
    send(&stack, get("/b")).await;
    let all = futures::future::join_all((0..3).map(|_| cache.shutdown()));
    tokio::time::timeout(Duration::from_secs(5), all).await.expect("all shutdowns end");
    assert_eq!(store.inner.len(), 2);
    tokio::time::timeout(Duration::from_secs(5), cache.shutdown()).await.expect("the shutdown ends");
}

/// Returns the result of a future of a memory store, which is ready at once.
fn at_once<T: Send + 'static>(future: StoreFuture<T>) -> T {
    future.now_or_never().expect("in memory").expect("no error")
}

/// Runs `work` in several threads at once.
fn in_threads(work: impl Fn() + Sync) {
    const THREADS: usize = 4;
    let barrier = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                work();
            });
        }
    });
}

fn key() -> KeyRef<'static> {
    KeyRef::new(b"k")
}

#[test]
fn concurrent_increments_all_count() {
    const TIMES: i64 = 20_000;
    let store = memory_store(1 << 20);
    let start = Some(InitialCounter::new(0, None));
    in_threads(|| {
        for _ in 0..TIMES {
            at_once(store.increment(key(), 1, start));
        }
    });
    assert_eq!(at_once(store.increment(key(), 0, None)), 4 * TIMES);
}

/// Each thread reads the number and replaces it by the next number. Of the threads that have read
/// the same number, one succeeds.
#[test]
fn one_of_concurrent_replacements_succeeds() {
    let store = memory_store(1 << 20);
    let wins: Vec<_> = (0..20_000).map(|_| AtomicUsize::new(0)).collect();
    let number = |entry: &Entry| {
        let bytes = entry.as_raw().expect("a raw entry");
        usize::from_le_bytes(bytes[..].try_into().expect("eight bytes"))
    };
    let entry = |number: usize| Entry::raw(number.to_le_bytes().to_vec());
    at_once(store.put(key(), entry(0), None, PutMode::Always));
    in_threads(|| {
        loop {
            let seen = at_once(store.get(key())).expect("an entry");
            let seen_number = number(&seen);
            let Some(wins) = wins.get(seen_number) else { return };
            if at_once(store.compare_and_set(key(), Some(&seen), entry(seen_number + 1), None)) {
                wins.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    assert!(wins.iter().all(|wins| wins.load(Ordering::SeqCst) == 1));
}

/// The entry works as a lock. The thread that has added the entry holds the lock until it removes
/// the entry.
#[test]
fn one_of_concurrent_insertions_succeeds() {
    let (store, inside) = (memory_store(1 << 20), AtomicUsize::new(0));
    let (wins, overlaps) = (AtomicUsize::new(0), AtomicUsize::new(0));
    in_threads(|| {
        for _ in 0..20_000 {
            if !at_once(store.put(key(), Entry::raw("held"), None, PutMode::IfAbsent)) {
                continue;
            }
            wins.fetch_add(1, Ordering::SeqCst);
            overlaps.fetch_add(inside.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            (0..100).for_each(|_| std::hint::spin_loop());
            inside.fetch_sub(1, Ordering::SeqCst);
            at_once(store.remove(key()));
        }
    });
    assert!(wins.load(Ordering::SeqCst) > 0);
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
}
