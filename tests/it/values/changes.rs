//! What changes while something is made from it, or is waited for, or by halves.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{
    Cache, Clock, Invalidation, MemoryStore, ResponseBody, SiteCacheLayer, Store, Ttl,
};

const S: Duration = Duration::from_secs(1);

fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, hear) = mpsc::channel();
    std::thread::spawn(move || tell.send(work()));
    hear.recv_timeout(Duration::from_secs(15)).ok()
}

#[test]
fn an_add_of_what_is_too_large_ends() {
    let done = in_time(|| {
        futures::executor::block_on(async {
            let cache = Cache::new(memory_store(64 << 10));
            cache.add("k", &"x".repeat(1 << 20), Ttl::Forever).await.expect("no error")
        })
    });
    assert_eq!(done, Some(false), "it hangs");
}

type Pieces =
    StreamBody<std::pin::Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;
type Shop = BoxCloneService<Request<Body>, Response<ResponseBody<Pieces>>, Infallible>;

/// Head reads the value, body streams; a request after `set` joins the stream.
#[tokio::test(start_paused = true)]
async fn nobody_joins_a_page_whose_values_have_changed_since_it_began() {
    for in_head in [true, false] {
        let cache = memory();
        let handle = cache.clone();
        let inner = service_fn(move |_: Request<Body>| {
            let cache = handle.clone();
            async move {
                let seen = match in_head {
                    true => Some(cache.get::<u32>("price").await.unwrap_or_default()),
                    false => None,
                };
                let frames = futures::stream::unfold((0, cache, seen), |(at, cache, mut seen)| async move {
                    if seen.is_none() {
                        seen = cache.get::<u32>("price").await.ok();
                    }
                    if at > 0 {
                        tokio::time::sleep(S).await;
                    }
                    let text = seen.unwrap_or_default().to_string();
                    (at < 3).then(|| (Ok(Frame::data(Bytes::from(text))), (at + 1, cache, seen)))
                });
                Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
            }
        });
        let shop: Shop = SiteCacheLayer::new(&cache)
            .policy(policy().cache_status(true).build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        cache.set("price", &1, Ttl::Forever).await.expect("set");
        let first = shop.clone().oneshot(get("/")).await.expect("infallible");
        let (parts, mut body) = first.into_parts();
        drop(parts);
        let _ = body.frame().await;
        cache.set("price", &2, Ttl::Forever).await.expect("set");
        // Begins after `set` has returned.
        let (second, _) = tokio::join!(send(&shop, get("/")), body.collect());
        assert_eq!(second.text(), "222", "in_head {in_head}");
    }
}

/// The same with a tag of a value.
#[tokio::test(start_paused = true)]
async fn nobody_joins_a_page_whose_values_were_invalidated_by_tag() {
    let cache = memory();
    let handle = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let cache = handle.clone();
        async move {
            let seen = cache.get::<u32>("price").await.unwrap_or_default();
            let frames = futures::stream::unfold(0, move |at| async move {
                if at > 0 {
                    tokio::time::sleep(S).await;
                }
                (at < 3).then(|| (Ok(Frame::data(Bytes::from(seen.to_string()))), at + 1))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
        }
    });
    let shop: Shop = SiteCacheLayer::new(&cache)
        .policy(policy().cache_status(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    cache.value("price").tags(["t"]).set(&1).await.expect("set");
    let first = shop.clone().oneshot(get("/")).await.expect("infallible");
    let mut body = first.into_body();
    let _ = body.frame().await;
    cache.invalidate(Invalidation::tag("t")).await.expect("gone");
    let (second, _) = tokio::join!(send(&shop, get("/")), body.collect());
    assert_eq!(second.text(), "000");
}

/// A page that found nothing, and the value is computed elsewhere.
/// A page that sets a value and shows it.
#[tokio::test]
async fn a_page_that_sets_a_value_without_reading_it_depends_on_it() {
    let cache = memory();
    let (stack, calls) = page(&cache, |cache| async move {
        cache.set("rate", &1_u32, Ttl::Forever).await.expect("set");
        "1".to_owned()
    });
    send(&stack, get("/")).await;
    assert!(send(&stack, get("/")).await.is_hit());
    cache.set("rate", &2_u32, Ttl::Forever).await.expect("set");
    assert!(!send(&stack, get("/")).await.is_hit(), "calls {}", calls.count());
}

/// A computed value moves.
#[tokio::test]
async fn a_computed_value_moves_to_the_next_version() {
    let cache = memory();
    cache.get_or_set("k", Ttl::Forever, || async { 5_u32 }).await.expect("v");
    let next = cache.incr_version("k").await.expect("moved");
    let found = cache.with_version(next).get::<u32>("k").await;
    assert!(matches!(found, Ok(5)), "{found:?}");
}

/// Pages made from the next version's value.
#[tokio::test]
async fn a_page_goes_when_a_value_moves_to_its_version() {
    let cache = memory();
    let next = cache.with_version(cache_version(&cache).await);
    let (stack, _) = page(&next, |cache| async move { cache.get::<u32>("k").await.unwrap_or(0).to_string() });
    next.set("k", &1_u32, Ttl::Forever).await.expect("set");
    assert_eq!(send(&stack, get("/")).await.text(), "1");
    cache.set("k", &7_u32, Ttl::Forever).await.expect("set");
    cache.incr_version("k").await.expect("moved");
    assert_eq!(next.get::<u32>("k").await.expect("v"), 7);
    assert_eq!(send(&stack, get("/")).await.text(), "7");
}

async fn cache_version(cache: &Cache) -> u32 {
    cache.set("probe", &1, Ttl::Forever).await.expect("set");
    cache.incr_version("probe").await.expect("moved")
}

#[tokio::test]
async fn what_a_page_was_made_from_does_not_grow_with_each_304() {
    let (clock, hand) = Clock::manual();
    let store =
        MemoryStore::builder().seed(3).max_bytes(32 << 20).clock(clock.clone()).build().expect("valid");
    let cache = Cache::builder(store.clone()).clock(clock).build().expect("valid");
    let handle = cache.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let cache = handle.clone();
        async move {
            let _ = cache.get::<u32>("price").await;
            let mut response = with_lines(&[("etag", "\"a\""), ("cache-control", "max-age=5")], "page");
            if request.headers().contains_key("if-none-match") {
                *response.status_mut() = http::StatusCode::NOT_MODIFIED;
                *response.body_mut() = Body::default();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stack = site_over(&cache, inner.boxed_clone());
    cache.set("price", &1_u32, Ttl::Forever).await.expect("set");
    send(&stack, get("/")).await;
    let before = store.weight();
    for _ in 0..1000 {
        hand.advance(6 * S);
        assert_eq!(send(&stack, get("/")).await.text(), "page");
    }
    assert!(store.weight() < before + 1000, "{} to {}", before, store.weight());
}

/// A page composed of another, cached one.
#[tokio::test]
async fn a_page_made_of_another_cached_page_depends_on_what_that_was_made_from() {
    let cache = memory();
    for warm in [false, true] {
        cache.clear().await.expect("cleared");
        let (part, _) =
            page(&cache, |cache| async move { cache.get::<u32>("price").await.unwrap_or(0).to_string() });
        let within = Arc::new(std::sync::Mutex::new(part.clone()));
        let inner = service_fn(move |_: Request<Body>| {
            let part = within.lock().expect("not poisoned").clone();
            async move {
                let text = read(part.oneshot(get("/part")).await.expect("infallible")).await;
                Ok::<_, Infallible>(Response::new(Body::from(text.body)))
            }
        });
        let whole = site_over(&cache, inner.boxed_clone());
        cache.set("price", &1_u32, Ttl::Forever).await.expect("set");
        if warm {
            send(&part, get("/part")).await;
        }
        assert_eq!(send(&whole, get("/whole")).await.text(), "1");
        cache.set("price", &2_u32, Ttl::Forever).await.expect("set");
        assert_eq!(send(&part, get("/part")).await.text(), "2");
        assert_eq!(send(&whole, get("/whole")).await.text(), "2", "warm {warm}");
    }
}

/// Recursion on the same key.
#[tokio::test(start_paused = true)]
async fn a_computation_of_ones_own_value_ends() {
    let cache = memory();
    let began = tokio::time::Instant::now();
    let within = cache.clone();
    let v = cache
        .get_or_set("k", Ttl::Forever, || async move {
            Box::pin(within.get_or_set("k", Ttl::Forever, || async { 1_u32 })).await.expect("v") + 1
        })
        .await
        .expect("v");
    // It does not wait for itself.
    assert_eq!((v, began.elapsed()), (2, Duration::ZERO));
}

/// A stale window of a second is a second, also where what it was made from expired early.
#[tokio::test(start_paused = true)]
async fn a_stale_value_serves_no_longer_than_its_window() {
    let (cache, hand) = timed();
    cache.set("dep", &1_u32, 10 * S).await.expect("set");
    let handle = cache.clone();
    let total = cache.value("total").ttl(3600 * S).stale_while_revalidate(S);
    total.get_or_set(|| async move { handle.get::<u32>("dep").await.unwrap_or(0) }).await.expect("v");
    hand.advance(1800 * S);
    let slow = total.get_or_set(|| async {
        tokio::time::sleep(S).await;
        2_u32
    });
    let quick = async {
        tokio::time::sleep(S / 10).await;
        total.get_or_set(|| async { 3_u32 }).await.expect("v")
    };
    let (_, quick) = tokio::join!(slow, quick);
    assert_eq!(quick, 2, "half an hour past its time");
}

/// What was set is not lost to a computation that ends at the same time.
#[tokio::test(start_paused = true)]
async fn a_set_is_not_lost_to_a_computation_that_ends_at_the_same_time() {
    let mut lost = Vec::new();
    for offset in 80..160 {
        let store = Faulty::new(memory_store(1 << 20), Fault::Slow);
        let cache = Cache::new(store);
        let compute = cache.get_or_set("k", Ttl::Forever, || async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            1_u32
        });
        let set = async {
            tokio::time::sleep(Duration::from_millis(offset)).await;
            cache.set("k", &2_u32, Ttl::Forever).await.expect("set")
        };
        let (_, stored) = tokio::join!(compute, set);
        assert!(stored);
        let found = cache.get::<u32>("k").await.ok();
        if found != Some(2) {
            lost.push((offset, found));
        }
    }
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test]
async fn a_touch_makes_no_value_outlive_what_it_was_made_from() {
    let (cache, hand) = timed();
    cache.set("dep", &1_u32, 10 * S).await.expect("set");
    let handle = cache.clone();
    cache
        .get_or_set("total", 3600 * S, || async move { handle.get::<u32>("dep").await.unwrap_or(0) })
        .await
        .expect("v");
    cache.touch("total", 3600 * S).await.expect("touched");
    hand.advance(11 * S);
    assert!(cache.get::<u32>("total").await.is_err());
}

/// What a computation that failed had read.
#[tokio::test(start_paused = true)]
async fn a_page_made_from_a_failed_computation_depends_on_what_that_has_read() {
    let cache = memory();
    let (stack, _) = page(&cache, |cache| async move {
        let handle = cache.clone();
        let total = cache.value("total");
        let total = total.try_get_or_set(|| async move {
            match handle.get::<u32>("price").await {
                Ok(price) => Ok(2 * price),
                Err(_) => Err("no price yet"),
            }
        });
        match total.await {
            Ok(total) => total.to_string(),
            Err(_) => "sorry".to_owned(),
        }
    });
    assert_eq!(send(&stack, get("/")).await.text(), "sorry");
    cache.set("price", &1_u32, Ttl::Forever).await.expect("set");
    assert_eq!(send(&stack, get("/")).await.text(), "2");
}

/// Validity of values can't be read for a while.
#[tokio::test]
async fn where_one_of_many_can_not_be_checked_the_page_is_not_stored() {
    let store = Flaky { inner: memory_store(1 << 20), broken: Arc::default() };
    let broken = Arc::clone(&store.broken);
    let cache = Cache::new(store);
    let flag = Arc::clone(&broken);
    let (stack, _) = page(&cache, move |cache| {
        let flag = Arc::clone(&flag);
        async move {
            flag.store(true, Ordering::SeqCst);
            let found = cache.get_many::<u32, _>(["a", "b"]).await;
            flag.store(false, Ordering::SeqCst);
            match found {
                Ok(found) => found.len().to_string(),
                Err(_) => "none".to_owned(),
            }
        }
    });
    cache.set_many([("a", 1), ("b", 2)], Ttl::Forever).await.expect("set");
    assert_eq!(send(&stack, get("/")).await.text(), "none");
    broken.store(false, Ordering::SeqCst);
    assert!(!send(&stack, get("/")).await.is_hit(), "of which nobody knows what it was made from");
}

#[derive(Debug, Clone)]
struct Flaky {
    inner: MemoryStore,
    broken: Arc<AtomicBool>,
}

mod flaky {
    use super::*;
    use tower_response_cache::store::*;
    impl Store for Flaky {
        fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
            self.inner.get(key)
        }
        fn put(&self, k: KeyRef<'_>, e: Entry, t: Option<Duration>, m: PutMode) -> StoreFuture<bool> {
            self.inner.put(k, e, t, m)
        }
        fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
            self.inner.remove(key)
        }
        fn increment(&self, k: KeyRef<'_>, d: i64, i: Option<InitialCounter>) -> StoreFuture<i64> {
            self.inner.increment(k, d, i)
        }
        fn compare_and_set(
            &self,
            k: KeyRef<'_>,
            e: Option<&Entry>,
            n: Entry,
            t: Option<Duration>,
        ) -> StoreFuture<bool> {
            self.inner.compare_and_set(k, e, n, t)
        }
        fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
            let inner = self.inner.generations(namespace)?;
            Some(Arc::new(FlakyGenerations { inner, broken: Arc::clone(&self.broken) }))
        }
    }
    #[derive(Debug)]
    struct FlakyGenerations {
        inner: Arc<dyn Generations>,
        broken: Arc<AtomicBool>,
    }
    impl Generations for FlakyGenerations {
        fn current(&self) -> StoreFuture<Generation> {
            self.inner.current()
        }
        fn cleared(&self) -> StoreFuture<Generation> {
            self.inner.cleared()
        }
        fn check(&self, g: Generation, s: &[Scope], d: &[Dependency]) -> StoreFuture<Validity> {
            if self.broken.load(Ordering::SeqCst) {
                return StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable)));
            }
            self.inner.check(g, s, d)
        }
        fn advance(&self, s: &[Scope], strength: Strength) -> StoreFuture<()> {
            self.inner.advance(s, strength)
        }
        fn depend(&self, v: Scope) -> StoreFuture<Generation> {
            self.inner.depend(v)
        }
        fn written(&self, v: Scope, g: Generation) -> StoreFuture<Option<Generation>> {
            self.inner.written(v, g)
        }
    }

    /// A record that anybody may have put there.
    #[tokio::test]
    async fn a_record_at_its_end_begins_anew() {
        #[derive(Debug, Clone)]
        struct Plain(MemoryStore, Arc<std::sync::Mutex<Option<CacheKey>>>);
        impl Store for Plain {
            fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
                self.1.lock().expect("not poisoned").get_or_insert_with(|| key.to_key());
                self.0.get(key)
            }
            fn put(&self, k: KeyRef<'_>, e: Entry, t: Option<Duration>, m: PutMode) -> StoreFuture<bool> {
                self.0.put(k, e, t, m)
            }
            fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
                self.0.remove(key)
            }
            fn increment(&self, k: KeyRef<'_>, d: i64, i: Option<InitialCounter>) -> StoreFuture<i64> {
                self.0.increment(k, d, i)
            }
            fn compare_and_set(
                &self,
                k: KeyRef<'_>,
                e: Option<&Entry>,
                n: Entry,
                t: Option<Duration>,
            ) -> StoreFuture<bool> {
                self.0.compare_and_set(k, e, n, t)
            }
        }
        let store = Plain(memory_store(1 << 20), Arc::default());
        let cache = Cache::new(store.clone());
        cache.invalidate(Invalidation::all()).await.expect("ok");
        let key = store.1.lock().expect("not poisoned").clone().expect("seen");
        let mut bytes = vec![1];
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(u64::MAX.to_le_bytes());
        store.0.put(key.as_ref(), Entry::raw(Bytes::from(bytes)), None, PutMode::Always).await.expect("put");
        cache.set("k", &1, Ttl::Forever).await.expect("set");
        cache.invalidate(Invalidation::all()).await.expect("ok");
        assert!(cache.get::<u32>("k").await.is_err(), "it was invalidated");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_a_body_whose_values_have_changed_since_it_read_them() {
    let cache = memory();
    let handle = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let cache = handle.clone();
        async move {
            let frames = futures::stream::unfold((0, cache), |(at, cache)| async move {
                if at > 0 {
                    tokio::time::sleep(S).await;
                }
                let text = cache.get::<u32>("price").await.unwrap_or_default().to_string();
                (at < 3).then(|| (Ok(Frame::data(Bytes::from(text))), (at + 1, cache)))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
        }
    });
    let shop: Shop = SiteCacheLayer::new(&cache)
        .policy(policy().cache_status(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    cache.set("price", &1, Ttl::Forever).await.expect("set");
    let first = shop.clone().oneshot(get("/")).await.expect("infallible");
    let mut body = first.into_body();
    let _ = body.frame().await;
    cache.set("price", &2, Ttl::Forever).await.expect("set");
    let (second, _) = tokio::join!(send(&shop, get("/")), body.collect());
    assert_eq!(second.text(), "222");
}

/// A set whose caller leaves, at each point of it.
#[tokio::test(start_paused = true)]
async fn a_set_that_is_dropped_midway_leaves_no_page_that_it_has_outdated() {
    let mut torn = Vec::new();
    for after in 0..30 {
        let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::Slow));
        let (stack, _) =
            page(&cache, |cache| async move { cache.get::<u32>("price").await.unwrap_or(0).to_string() });
        cache.set("price", &1_u32, Ttl::Forever).await.expect("set");
        send(&stack, get("/")).await;
        tokio::time::sleep(S).await;
        assert!(send(&stack, get("/")).await.is_hit());
        let _ = tokio::time::timeout(Duration::from_millis(after), cache.set("price", &2_u32, Ttl::Forever))
            .await;
        tokio::time::sleep(S).await;
        let (value, page) = (cache.get::<u32>("price").await.ok(), send(&stack, get("/")).await);
        if value.map(|v| v.to_string()).as_deref() != Some(page.text()) {
            torn.push((after, value, page.text().to_owned()));
        }
    }
    assert!(torn.is_empty(), "value and page for good: {torn:?}");
}

/// A POST whose client leaves while what it changed is invalidated.
#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_takes_no_invalidation_along() {
    use tower_response_cache::CacheHints;
    let mut lost = Vec::new();
    for after in 0..30 {
        let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::Slow));
        let written = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&written);
        let (inner, _) = origin(move |request, _| {
            let mut response = with_lines(&[], flag.load(Ordering::SeqCst).to_string());
            if request.method() == "POST" {
                flag.store(true, Ordering::SeqCst);
                Invalidation::tag("t").on_success().add_to(response.extensions_mut());
            } else {
                CacheHints::new().tags(["t"]).add_to(response.extensions_mut());
            }
            response
        });
        let stack = site_over(&cache, inner);
        send(&stack, get("/list")).await;
        tokio::time::sleep(S).await;
        assert!(send(&stack, get("/list")).await.is_hit());
        let _ =
            tokio::time::timeout(Duration::from_millis(after), send(&stack, request("POST", "/save", &[])))
                .await;
        tokio::time::sleep(S).await;
        let text = send(&stack, get("/list")).await;
        if text.text() != written.load(Ordering::SeqCst).to_string() {
            lost.push(after);
        }
    }
    assert!(lost.is_empty(), "{lost:?}");
}

/// Those who come after an invalidation of a tag, while an old body streams.
#[tokio::test(start_paused = true)]
async fn those_who_come_after_a_tag_was_invalidated_make_one_call() {
    use tower_response_cache::CacheHints;
    let cache = memory();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            let frames = futures::stream::unfold(0, move |at| async move {
                if at > 0 {
                    tokio::time::sleep(S).await;
                }
                (at < 3).then(|| (Ok(Frame::data(Bytes::from(call.to_string()))), at + 1))
            });
            let mut response = Response::new(StreamBody::new(Box::pin(frames) as _));
            CacheHints::new().tags(["t"]).add_to(response.extensions_mut());
            Ok::<_, Infallible>(response)
        }
    });
    let shop: Shop = SiteCacheLayer::new(&cache)
        .policy(policy().cache_status(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    let first = shop.clone().oneshot(get("/")).await.expect("infallible");
    let mut body = first.into_body();
    let _ = body.frame().await;
    cache.invalidate(Invalidation::tag("t")).await.expect("gone");
    let all = futures::future::join_all((0..10).map(|_| send(&shop, get("/"))));
    let (all, _) = tokio::join!(all, body.collect());
    assert!(all.iter().all(|answer| answer.text() != "111"));
    assert_eq!(calls.count(), 2);
}

/// Concurrent computations that can't be stored.
#[tokio::test(start_paused = true)]
async fn a_value_that_can_not_be_stored_is_waited_for_once() {
    let cache = memory();
    let other = cache.with_namespace("other").expect("ok");
    let calls = Calls::default();
    let began = tokio::time::Instant::now();
    let all = futures::future::join_all((0..5).map(|_| {
        let (cache, other, calls) = (cache.clone(), other.clone(), calls.clone());
        async move {
            cache
                .get_or_set("k", Ttl::Forever, || async move {
                    calls.next();
                    tokio::time::sleep(S).await;
                    let _ = other.get::<u32>("x").await;
                    1_u32
                })
                .await
                .expect("v")
        }
    }))
    .await;
    assert_eq!((all, calls.count(), began.elapsed()), (vec![1; 5], 5, 2 * S), "the others at once");
}

#[tokio::test(start_paused = true)]
async fn two_computations_of_each_others_values_end() {
    let cache = memory();
    let began = tokio::time::Instant::now();
    let one = |a: &'static str, b: &'static str, cache: Cache| async move {
        let within = cache.clone();
        cache
            .get_or_set(a, Ttl::Forever, || async move {
                tokio::time::sleep(S / 10).await;
                within.get_or_set(b, Ttl::Forever, || async { 1_u32 }).await.expect("v") + 1
            })
            .await
            .expect("v")
    };
    let both = tokio::join!(one("a", "b", cache.clone()), one("b", "a", cache.clone()));
    assert!(both.0 > 1 && both.1 > 1);
    assert!(began.elapsed() < 11 * S);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_sets_several_values_is_stored() {
    let cache = Cache::new(Faulty::new(memory_store(8 << 20), Fault::NoGenerations));
    let (stack, _) = page(&cache, |cache| async move {
        let keys: Vec<_> = (0..100).map(|at| format!("k{at}")).collect();
        let found = cache.get_many::<u32, _>(&keys).await.expect("got");
        cache.set_many(keys.iter().map(|key| (key, 1_u32)), Ttl::Forever).await.expect("set");
        found.len().to_string()
    });
    for _ in 0..2 {
        send(&stack, get("/")).await;
        tokio::time::sleep(S).await;
    }
    assert!(send(&stack, get("/")).await.is_hit());
}

/// The part is read while it streams, and turns out to be too large for the cache.
#[tokio::test(start_paused = true)]
async fn a_page_made_of_one_that_is_not_stored_depends_on_what_that_has_read() {
    let cache = memory();
    let handle = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let cache = handle.clone();
        async move {
            let frames = futures::stream::unfold((0, cache), |(at, cache)| async move {
                tokio::time::sleep(S).await;
                let text = match at {
                    0 => cache.get::<u32>("price").await.unwrap_or(0).to_string(),
                    1 => "x".repeat(100),
                    _ => return None,
                };
                Some((Ok(Frame::data(Bytes::from(text))), (at + 1, cache)))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
        }
    });
    let part: Shop = SiteCacheLayer::new(&cache)
        .policy(policy().max_body_bytes(10).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    let part = Arc::new(std::sync::Mutex::new(part));
    let inner = service_fn(move |_: Request<Body>| {
        let part = part.lock().expect("not poisoned").clone();
        async move {
            let text = read(part.oneshot(get("/part")).await.expect("infallible")).await;
            Ok::<_, Infallible>(Response::new(Body::from(text.body.slice(..1))))
        }
    });
    let whole = site_over(&cache, inner.boxed_clone());
    for price in [1_u32, 2] {
        cache.set("price", &price, Ttl::Forever).await.expect("set");
        assert_eq!(send(&whole, get("/whole")).await.text(), price.to_string());
        assert!(send(&whole, get("/whole")).await.is_hit());
    }
}
