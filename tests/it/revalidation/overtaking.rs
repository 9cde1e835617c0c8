//! Requests, answers and invalidations that overtake each other, or are left in the middle.

use crate::revalidation::corners::{SECOND, date, field, proxy, standing, with_status};
use crate::support::*;
use http::Request;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tower::{Layer, service_fn};
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{
    Cache, CacheHints, Clock, Invalidation, MemoryStore, Policy, SiteCacheLayer, Store,
};

/// A remote store without a place for invalidations: each operation takes five milliseconds.
#[derive(Debug, Clone)]
struct Remote(MemoryStore);

fn later<T: Send + 'static>(work: impl FnOnce() -> StoreFuture<T> + Send + 'static) -> StoreFuture<T> {
    StoreFuture::new(async move {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let done = work().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        done
    })
}

impl Store for Remote {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let (this, key) = (self.0.clone(), key.to_key());
        later(move || this.get(key.as_ref()))
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        let (this, key) = (self.0.clone(), key.to_key());
        later(move || this.put(key.as_ref(), entry, ttl, mode))
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        let (this, key) = (self.0.clone(), key.to_key());
        later(move || this.remove(key.as_ref()))
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        let (this, key) = (self.0.clone(), key.to_key());
        later(move || this.increment(key.as_ref(), delta, initial))
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        let (this, key, expected) = (self.0.clone(), key.to_key(), expected.cloned());
        later(move || this.compare_and_set(key.as_ref(), expected.as_ref(), new, ttl))
    }
}

/// Who has begun and is not polled for a while.
#[tokio::test(start_paused = true)]
async fn who_does_something_else_while_it_invalidates_holds_nobody_up() {
    let cache = Cache::new(Remote(memory_store(1 << 20)));
    cache.invalidate(Invalidation::tag("begin")).await.expect("ok");
    let mut one = Box::pin(cache.invalidate(Invalidation::tag("one")));
    // It has the turn, and its task does something else.
    assert!(tokio::time::timeout(Duration::from_millis(2), &mut one).await.is_err());
    let other = cache.clone();
    let two = tokio::spawn(async move { other.invalidate(Invalidation::tag("two")).await })
        .await
        .expect("no panic");
    let first = one.await;
    assert!(two.is_ok(), "{two:?} {first:?} errors={}", cache.store_errors());
}

/// Who waits, and is not polled when it could go on.
#[tokio::test(start_paused = true)]
async fn who_waits_and_is_not_polled_holds_nobody_up() {
    let cache = Cache::new(Remote(memory_store(1 << 20)));
    cache.invalidate(Invalidation::tag("begin")).await.expect("ok");
    let c = cache.clone();
    let leader = tokio::spawn(async move { c.invalidate(Invalidation::tag("leader")).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut waits = Box::pin(cache.invalidate(Invalidation::tag("waits")));
    assert!(tokio::time::timeout(Duration::from_millis(2), &mut waits).await.is_err());
    let c = cache.clone();
    let third = tokio::spawn(async move { c.invalidate(Invalidation::tag("third")).await });
    let third = third.await.expect("no panic");
    leader.await.expect("no panic").expect("leader");
    assert!(third.is_ok(), "{third:?}");
    waits.await.expect("ok");
}

/// RFC 9111 section 4: it is no newer than the validation.
#[tokio::test(start_paused = true)]
async fn a_variant_validated_with_another_takes_the_place_of_nothing_asked_for_later() {
    let (cache, hand) = timed();
    let (slow, rewritten) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (slow2, rewritten2) = (slow.clone(), rewritten.clone());
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let (slow, rewritten) = (slow2.clone(), rewritten2.clone());
        let nth = counted.next();
        let which = field(&request, "x-a").to_owned();
        async move {
            Ok::<_, Infallible>(match (which.as_str(), nth) {
                (_, 1 | 2) => with_lines(
                    &[("cache-control", "max-age=60"), ("etag", "\"1\""), ("vary", "x-a")],
                    format!("old {which}"),
                ),
                // a validation of the variant one, slow
                ("one", _) => {
                    slow.notified().await;
                    with_status(304, with_lines(&[("etag", "\"1\""), ("vary", "x-a")], ""))
                }
                // the other one has changed in the meantime
                (_, _) => {
                    rewritten.notified().await;
                    with_lines(
                        &[("cache-control", "max-age=60"), ("etag", "\"2\""), ("vary", "x-a")],
                        format!("new {which}"),
                    )
                }
            })
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner);
    send(&stack, get_with("/", &[("x-a", "one")])).await;
    send(&stack, get_with("/", &[("x-a", "two")])).await;
    hand.advance(61 * SECOND);
    let s = stack.clone();
    let validation = tokio::spawn(async move { send(&s, get_with("/", &[("x-a", "one")])).await });
    tokio::task::yield_now().await;
    hand.advance(5 * SECOND);
    // Five seconds later, somebody asks for the other.
    let s = stack.clone();
    let newer = tokio::spawn(async move { send(&s, get_with("/", &[("x-a", "two")])).await });
    tokio::task::yield_now().await;
    assert_eq!(calls.count(), 4);
    hand.advance(5 * SECOND);
    slow.notify_one();
    validation.await.expect("no panic");
    hand.advance(SECOND);
    rewritten.notify_one();
    assert_eq!(newer.await.expect("no panic").text(), "new two");
    let after = send(&stack, get_with("/", &[("x-a", "two")])).await;
    assert_eq!(after.text(), "new two", "{after:?}");
}

/// RFC 9111 section 5.2.2.4: each asks for itself; those who come later know.
#[tokio::test(start_paused = true)]
async fn what_is_to_be_validated_each_time_is_waited_for_once() {
    for said in ["no-cache", "max-age=0"] {
        let inner = service_fn(move |_: Request<Body>| async move {
            tokio::time::sleep(SECOND).await;
            Ok::<_, Infallible>(with_lines(&[("cache-control", said), ("etag", "\"1\"")], "page"))
        });
        let stack = SiteCacheLayer::new(&memory()).policy(proxy().build().expect("a policy")).layer(inner);
        let mut took = Vec::new();
        for _ in 0..3 {
            let asked = tokio::time::Instant::now();
            futures::join!(send(&stack, get("/")), send(&stack, get("/")));
            took.push(asked.elapsed().as_secs());
        }
        assert_eq!(took, [2, 1, 1], "{said}");
    }
}

/// RFC 9111 section 4.2.4.
#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_may_have_been_meant_to_forbid_stale_answers() {
    let mut served = Vec::new();
    for said in [
        "must-revalidate; max-age=1, stale-while-revalidate=600",
        "proxy-revalidate; x, max-age=1, stale-while-revalidate=600",
        "s-maxage: 1, max-age=1, stale-while-revalidate=600",
        "must-revalidate; max-age=1, stale-if-error=600",
    ] {
        let (stack, calls, hand) = standing(proxy(), move |_, call| {
            let lines = [("cache-control", said), ("etag", "\"1\"")];
            if call == 1 { numbered(&lines, call) } else { with_status(503, numbered(&[], call)) }
        });
        send(&stack, get("/")).await;
        hand.advance(10 * SECOND);
        let answer = send(&stack, get("/")).await;
        if answer.text() == "1" {
            served.push((said, answer.header("cache-status").map(str::to_owned), calls.count()));
        }
    }
    assert!(served.is_empty(), "{served:#?}");
}

/// With a hint and windows of the layer.
#[tokio::test(start_paused = true)]
async fn must_revalidate_in_what_can_not_be_read_closes_the_layers_own_windows() {
    let policy = Policy::app().stale_while_revalidate(MINUTE).stale_if_error(MINUTE).cache_status(true);
    let (stack, _, hand) = standing(policy, |_, call| {
        let mut response = numbered(&[("cache-control", "must-revalidate; public"), ("etag", "\"1\"")], call);
        CacheHints::new().ttl(SECOND).add_to(response.extensions_mut());
        response
    });
    send(&stack, get("/")).await;
    hand.advance(2 * SECOND);
    let answer = send(&stack, get("/")).await;
    assert_ne!(answer.text(), "1", "{answer:?}");
}

/// Though both are from the same second.
#[tokio::test]
async fn no_304_for_a_page_that_was_invalidated_since() {
    for policy in [policy()] {
        let (stack, _, _) = standing(policy, |request, call| match request.method().as_str() {
            "GET" => numbered(&[("date", &date(0))], call),
            _ => numbered(&[], call),
        });
        let old = send(&stack, get("/")).await;
        let sent = old.header("date").expect("a date").to_owned();
        send(&stack, request("POST", "/", &[])).await;
        let new = send(&stack, get("/")).await;
        assert_ne!(old.text(), new.text());
        let asked = send(&stack, get_with("/", &[("if-modified-since", &sent)])).await;
        assert_eq!(asked.status, 200, "{asked:?}");
    }
}

/// By a reload.
#[tokio::test]
async fn what_comes_from_a_clock_that_is_ahead_is_replaced() {
    let (ahead, far) = Clock::manual();
    let (own, _) = Clock::manual();
    far.advance(Duration::from_secs(3600));
    let store = MemoryStore::builder().seed(3).max_bytes(8 << 20).clock(own.clone()).build().expect("valid");
    let caches = [ahead, own].map(|clock| Cache::builder(store.clone()).clock(clock).build().expect("valid"));
    let (inner, _) = origin(|_, call| {
        numbered(&[("cache-control", "max-age=31536000"), ("etag", &format!("\"{call}\""))], call)
    });
    let [first, second] = caches.map(|cache| {
        SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner.clone())
    });
    assert_eq!(send(&first, get("/")).await.text(), "1");
    assert_eq!(send(&second, get_with("/", &[("cache-control", "no-cache")])).await.text(), "2");
    // What was answered last is what is stored.
    assert_eq!(send(&second, get("/")).await.text(), "2");
}

/// RFC 9110 section 4.2.4: that is no part of the host.
#[tokio::test]
async fn a_target_that_says_who_it_is_for_invalidates_its_groups() {
    for policy in [policy(), proxy().default_ttl(MINUTE)] {
        let (stack, _, _) = standing(policy, |request, call| match request.method().as_str() {
            "GET" => numbered(&[("cache-groups", "\"g\"")], call),
            _ => numbered(&[("cache-group-invalidation", "\"g\"")], call),
        });
        send(&stack, get_with("/page", &[("host", "shop.example")])).await;
        assert!(send(&stack, get_with("/page", &[("host", "shop.example")])).await.is_hit());
        send(&stack, request("POST", "http://me@shop.example/other", &[])).await;
        let after = send(&stack, get_with("/page", &[("host", "shop.example")])).await;
        assert!(!after.is_hit(), "{after:?}");
    }
}

/// What the outer layer leaves to another.
#[tokio::test]
async fn only_if_cached_reaches_what_a_layer_further_in_has() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[("cache-control", "max-age=60")], call));
    let within =
        SiteCacheLayer::new(&cache).policy(proxy().name("inner").build().expect("a policy")).layer(inner);
    // Not for this layer, the user says.
    let outer = proxy().bypass_if(|_| true);
    let stack = SiteCacheLayer::new(&cache).policy(outer.build().expect("a policy")).layer(within);
    send(&stack, get("/")).await;
    let hit = send(&stack, get("/")).await;
    let only = send(&stack, get_with("/", &[("cache-control", "only-if-cached")])).await;
    assert_eq!(only.status, 200, "{hit:?} {only:?}");
}

/// It is the newer one that is asked about.
#[tokio::test(start_paused = true)]
async fn a_late_answer_takes_the_place_of_no_newer_one_that_is_to_be_validated() {
    for said in ["no-cache", "max-age=0, stale-if-error=600", "max-age=2"] {
        let (cache, hand) = timed();
        let gate = Arc::new(Notify::new());
        let held = gate.clone();
        let calls = Calls::default();
        let counted = calls.clone();
        let inner = service_fn(move |request: Request<Body>| {
            let (nth, gate) = (counted.next(), held.clone());
            let tag = field(&request, "if-none-match").to_owned();
            let answer = match nth {
                1 | 2 => with_lines(
                    &[("cache-control", said), ("etag", &format!("\"{nth}\""))],
                    format!("version {nth}"),
                ),
                _ => with_status(503, with_lines(&[], format!("asked about {tag}"))),
            };
            async move {
                if nth == 1 {
                    gate.notified().await;
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let stack: Stack = tower::ServiceExt::boxed_clone(
            SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner),
        );
        let s = stack.clone();
        let old = tokio::spawn(async move {
            read(tower::ServiceExt::oneshot(s, get("/")).await.expect("infallible")).await
        });
        tokio::task::yield_now().await;
        hand.advance(SECOND);
        let new = send(&stack, get_with("/", &[("cache-control", "no-cache")])).await;
        hand.advance(3 * SECOND);
        gate.notify_one();
        assert_eq!((old.await.expect("ok").text(), new.text()), ("version 1", "version 2"));
        let after = send(&stack, get("/")).await;
        assert!(["asked about \"2\"", "version 2"].contains(&after.text()), "{said}: {after:?}");
    }
}

/// It may say other things of itself by now.
#[tokio::test]
async fn a_late_304_of_one_variant_updates_no_newer_one() {
    let (cache, hand) = timed();
    let slow = Arc::new(Notify::new());
    let held = slow.clone();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let (slow, nth) = (held.clone(), counted.next());
        let which = field(&request, "x-a").to_owned();
        async move {
            Ok::<_, Infallible>(match (which.as_str(), nth) {
                (_, 1 | 2) => with_lines(
                    &[("cache-control", "max-age=60"), ("etag", "\"1\""), ("vary", "x-a")],
                    format!("old {which}"),
                ),
                ("one", _) => {
                    slow.notified().await;
                    with_status(
                        304,
                        with_lines(
                            &[("cache-control", "max-age=600"), ("etag", "\"1\""), ("vary", "x-a")],
                            "",
                        ),
                    )
                }
                // Asked later: the site is about to change, and says so.
                (_, _) => with_lines(
                    &[("cache-control", "max-age=5"), ("etag", "\"1\""), ("vary", "x-a")],
                    format!("old {which}"),
                ),
            })
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner);
    send(&stack, get_with("/", &[("x-a", "one")])).await;
    send(&stack, get_with("/", &[("x-a", "two")])).await;
    hand.advance(61 * SECOND);
    let s = stack.clone();
    let validation = tokio::spawn(async move { send(&s, get_with("/", &[("x-a", "one")])).await });
    tokio::task::yield_now().await;
    hand.advance(5 * SECOND);
    let newer = send(&stack, get_with("/", &[("x-a", "two"), ("cache-control", "no-cache")])).await;
    assert_eq!(newer.header("cache-control"), Some("max-age=5"));
    hand.advance(SECOND);
    slow.notify_one();
    validation.await.expect("no panic");
    hand.advance(10 * SECOND);
    let before = calls.count();
    let after = send(&stack, get_with("/", &[("x-a", "two")])).await;
    assert_eq!(calls.count(), before + 1, "{after:?}");
}

/// Where the outer layer sees who it is.
#[tokio::test]
async fn only_if_cached_reaches_a_layer_of_each_visitors_own() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[("cache-control", "max-age=60")], call));
    let own = Policy::rfc9111()
        .cache_status(true)
        .name("own")
        .vary_by_identity("user", |request| Some(request.headers.get("x-user")?.to_str().ok()?.to_owned()));
    let within = SiteCacheLayer::new(&cache).policy(own.build().expect("a policy")).layer(inner);
    let outer = proxy().bypass_if(|request| request.headers.contains_key("x-user"));
    let stack = SiteCacheLayer::new(&cache).policy(outer.build().expect("a policy")).layer(within);
    let ask = async |more: &[(&str, &str)]| {
        let lines: Vec<_> = [("x-user", "alice")].iter().chain(more).copied().collect();
        send(&stack, get_with("/", &lines)).await
    };
    ask(&[]).await;
    let hit = ask(&[]).await;
    assert_eq!((hit.status.as_u16(), hit.text()), (200, "1"));
    let only = ask(&[("cache-control", "only-if-cached")]).await;
    assert_eq!((only.status.as_u16(), only.text()), (200, "1"), "{only:?}");
}

/// As a visitor sees it.
#[tokio::test(start_paused = true)]
async fn a_write_is_seen_though_somebody_else_has_begun_to_invalidate_something() {
    let cache = Cache::new(Remote(memory_store(1 << 20)));
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    assert!(send(&stack, get("/")).await.is_hit());
    let mut elsewhere = Box::pin(cache.invalidate(Invalidation::tag("unrelated")));
    let begun = tokio::time::timeout(Duration::from_millis(2), &mut elsewhere).await;
    assert!(begun.is_err());
    assert_eq!(send(&stack, request("POST", "/", &[])).await.status, 200);
    let after = send(&stack, get("/")).await;
    assert!(!after.is_hit(), "{after:?}, store errors: {}", cache.store_errors());
}

/// With two layers, whatever their store.
#[tokio::test(start_paused = true)]
async fn only_if_cached_and_a_layer_further_in_over_each_kind_of_store() {
    for cache in [memory(), Cache::new(Remote(memory_store(8 << 20)))] {
        let (inner, _) = origin(|_, call| numbered(&[("cache-control", "max-age=60")], call));
        let within =
            SiteCacheLayer::new(&cache).policy(proxy().name("inner").build().expect("a policy")).layer(inner);
        let stack = SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(within);
        send(&stack, get("/")).await;
        assert_eq!(send(&stack, get("/")).await.text(), "1");
        let only = send(&stack, get_with("/", &[("cache-control", "only-if-cached")])).await;
        assert_eq!((only.status.as_u16(), only.text()), (200, "1"), "{cache:?} {only:?}");
    }
}
