//! `Cache::wait_idle` waits for pending writes and background work, and does not stop them.

use crate::support::faulty::{Fault, Faulty, caches};
use crate::support::*;
use futures::FutureExt;
use http::Request;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::{Clock, ManualClock};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Cache, Invalidation, MemoryStore, SiteCacheLayer};

const S: Duration = Duration::from_secs(1);

/// Creates a site over a slow remote store.
fn slow_site() -> (Stack, Cache, Faulty) {
    let store = Faulty::new(memory_store(1 << 20), Fault::Slow);
    let cache = Cache::new(store.clone());
    let (inner, _) = origin(|_, call| numbered(&[], call));
    (site_over(&cache, inner), cache, store)
}

/// Creates a site whose handler takes one second, and whose pages are stale after ten seconds.
fn slow_handler() -> (Stack, Cache, ManualClock, Calls) {
    let (clock, manual) = Clock::manual();
    let store =
        MemoryStore::builder().seed(3).max_bytes(1 << 20).clock(clock.clone()).build().expect("valid");
    let cache = Cache::builder(store).clock(clock).seed(1).max_refreshes(2).build().expect("valid");
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            tokio::time::sleep(S).await;
            Ok::<_, Infallible>(numbered(&[], call))
        }
    });
    let policy =
        policy().default_ttl(10 * S).stale_while_revalidate(60 * S).complete_after_disconnect(MINUTE);
    let policy = policy.build().expect("a policy");
    (SiteCacheLayer::new(&cache).policy(policy).layer(inner).boxed_clone(), cache, manual, calls)
}

/// Waits until the cache is idle, and returns the time that this took.
async fn waited(cache: &Cache) -> Duration {
    let begun = Instant::now();
    timeout(MINUTE, cache.wait_idle()).await.expect("the cache becomes idle");
    begun.elapsed()
}

#[test]
fn idle_cache_does_not_wait_even_outside_a_runtime() {
    for (cache, _) in caches() {
        assert_eq!(cache.wait_idle().now_or_never(), Some(()));
    }
    let cache = memory();
    assert_eq!(cache.invalidate(Invalidation::all()).now_or_never(), Some(Delivery::Delivered));
    assert_eq!(cache.wait_idle().now_or_never(), Some(()));
}

#[tokio::test(start_paused = true)]
async fn wait_completes_pending_writes_of_a_remote_store() {
    let (stack, cache, store) = slow_site();
    send(&stack, get("/a")).await;
    assert!(store.inner.is_empty());
    cache.wait_idle().await;
    assert_eq!(store.inner.len(), 1);
    // Unlike a shutdown, a wait does not prevent later work.
    send(&stack, get("/c")).await;
    cache.wait_idle().await;
    assert_eq!(store.inner.len(), 2);
    assert!(send(&stack, get("/c")).await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn dropped_wait_changes_nothing_and_many_waits_end_together() {
    let (stack, cache, store) = slow_site();
    send(&stack, get("/a")).await;
    assert!(timeout(Duration::from_millis(1), cache.wait_idle()).await.is_err());
    assert!(cache.wait_idle().now_or_never().is_none());
    let other = cache.with_namespace("other").expect("a name");
    let waits = (0..50).map(|at| if at % 2 == 0 { cache.clone() } else { other.clone() });
    futures::future::join_all(waits.map(|cache| async move { cache.wait_idle().await })).await;
    assert_eq!(store.inner.len(), 1);
    assert_eq!(waited(&cache).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn writes_that_other_tasks_await_are_waited_for() {
    fn started<F: Future + Send + 'static>(work: F) -> tokio::task::JoinHandle<()>
    where
        F::Output: Send,
    {
        tokio::spawn(work.map(drop))
    }
    let (_, cache, _) = slow_site();
    cache.set("number", &1, MINUTE).await.expect("slow, not down");
    let own = || cache.clone();
    type Start = fn(Cache) -> tokio::task::JoinHandle<()>;
    let table: [(&str, Start); 8] = [
        ("invalidate", |cache| started(async move { cache.invalidate(Invalidation::path("/")).await })),
        ("clear", |cache| started(async move { cache.clear_values().await })),
        ("set", |cache| started(async move { cache.set("a", &1, MINUTE).await })),
        ("set_many", |cache| started(async move { cache.set_many([("b", 1)], MINUTE).await })),
        ("touch", |cache| started(async move { cache.touch("b", MINUTE).await })),
        ("incr_or", |cache| started(async move { cache.incr_or("c", 1, 0, MINUTE).await })),
        ("delete", |cache| started(async move { cache.delete("b").await })),
        ("get_or_set", |cache| started(async move { cache.get_or_set("d", MINUTE, 1).await })),
    ];
    for (name, start) in table {
        let task = start(own());
        // `get_or_set` begins with look-ups, for which `wait_idle` does not wait. After 32 ms,
        // `get_or_set` writes the computed value.
        tokio::time::sleep(Duration::from_millis(if name == "get_or_set" { 32 } else { 1 })).await;
        assert!(!task.is_finished(), "{name}");
        assert!(waited(&cache).await > Duration::ZERO, "{name}");
        tokio::task::yield_now().await;
        assert!(task.is_finished(), "{name}");
    }
}

/// The client of a `POST` disconnects, and its invalidation continues.
#[tokio::test(start_paused = true)]
async fn invalidations_without_a_client_are_waited_for() {
    let (stack, cache, _) = slow_site();
    send(&stack, get("/a")).await;
    cache.wait_idle().await;
    assert!(send(&stack, get("/a")).await.is_hit());
    let post = timeout(Duration::from_millis(2), send(&stack, request("POST", "/a", &[])));
    assert!(post.await.is_err());
    cache.wait_idle().await;
    assert!(!send(&stack, get("/a")).await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn background_refresh_is_waited_for_and_the_next_one_begins() {
    let (stack, cache, manual, calls) = slow_handler();
    send(&stack, get("/")).await;
    for call in 2..=3 {
        manual.advance(12 * S);
        assert!(send(&stack, get("/")).await.is_hit());
        // A pending wait does not count against the limit on refreshes.
        let wait = tokio::spawn({
            let cache = cache.clone();
            async move { cache.wait_idle().await }
        });
        tokio::task::yield_now().await;
        assert_eq!((cache.refreshes().running(), wait.is_finished()), (1, false));
        wait.await.expect("no panic");
        assert_eq!((cache.refreshes().running(), calls.count()), (0, call));
        assert_eq!(send(&stack, get("/")).await.text(), call.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn pending_wait_includes_work_that_begins_meanwhile() {
    let (stack, cache, manual, calls) = slow_handler();
    for path in ["/a", "/b"] {
        send(&stack, get(path)).await;
    }
    manual.advance(12 * S);
    send(&stack, get("/a")).await;
    let later = async {
        tokio::time::sleep(S / 2).await;
        send(&stack, get("/b")).await
    };
    let (took, hit) = futures::join!(waited(&cache), later);
    assert!(hit.is_hit());
    assert_eq!((took, calls.count(), cache.refreshes().succeeded()), (S + S / 2, 4, 2));
}

#[tokio::test(start_paused = true)]
async fn fetches_and_bodies_without_a_client_are_waited_for() {
    let (stack, cache, _, calls) = slow_handler();
    assert!(timeout(S / 2, send(&stack, get("/left"))).await.is_err());
    assert_eq!(waited(&cache).await, S / 2);
    assert!(send(&stack, get("/left")).await.is_hit());
    // The response is dropped before its body is read.
    drop(stack.clone().oneshot(get("/unread")).await.expect("infallible"));
    waited(&cache).await;
    assert!(send(&stack, get("/unread")).await.is_hit());
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn warm_calls_of_other_tasks_are_waited_for() {
    let (stack, cache, _, calls) = slow_handler();
    let warm = cache.warm_with(stack.clone(), ["/a", "/b", "/c"].map(get), 1, |_| {});
    let (warmed, took) = futures::join!(warm, waited(&cache));
    assert_eq!((took, calls.count(), warmed.cached()), (3 * S, 3, 3));
    // A call that was dropped no longer counts as work.
    let dropped = timeout(S / 2, cache.warm_with(stack, [get("/d")], 1, |_| {}));
    assert!(dropped.await.is_err());
    waited(&cache).await;
    assert_eq!(cache.wait_idle().now_or_never(), Some(()));
}

#[tokio::test(start_paused = true)]
async fn writes_after_a_shutdown_are_waited_for_too() {
    let (stack, cache, store) = slow_site();
    cache.shutdown().await;
    send(&stack, get("/a")).await;
    cache.wait_idle().await;
    assert_eq!(store.inner.len(), 1);
}
