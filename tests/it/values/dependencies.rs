//! A page depends on the values that are read while it is made.

use crate::support::faulty::{Fault, Faulty, caches};
use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::Clock;
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::store::{
    Dependency, Entry, Generation, Generations, InitialCounter, KeyRef, PutMode, Scope, StoreFuture,
    Strength, Validity,
};
use tower_response_cache::values::propagate_dependencies;
use tower_response_cache::{Cache, Invalidation, MemoryStore, SiteCacheLayer, Store, Ttl};

const S: Duration = Duration::from_secs(1);

/// Sends a request, and waits until a slow store has stored the response.
async fn settled(stack: &Stack) -> Answer {
    let answer = send(stack, get("/")).await;
    tokio::time::sleep(S).await;
    answer
}

async fn price(cache: &Cache) -> u32 {
    cache.get("price").await.ok().flatten().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_page_is_invalidated_when_its_value_changes() {
    for (cache, _) in caches() {
        let (stack, calls) = page(&cache, |cache| async move { price(&cache).await.to_string() });
        let changes = [
            cache.set("price", &1, Ttl::Forever).await.map(drop).is_ok(),
            settled(&stack).await.text() == "1",
            send(&stack, get("/")).await.is_hit(),
            cache.set("price", &2, Ttl::Forever).await.is_ok(),
            settled(&stack).await.text() == "2",
            cache.delete("price").await.is_ok(),
            settled(&stack).await.text() == "0",
            // The page also depends on the absence of the value.
            cache.add("price", &3, Ttl::Forever).await.is_ok(),
            settled(&stack).await.text() == "3",
            cache.set_many([("price", 4)], Ttl::Forever).await.is_ok(),
            settled(&stack).await.text() == "4",
            cache.delete_many(["price"]).await.is_ok(),
            settled(&stack).await.text() == "0",
            cache.value("price").tags(["t"]).set(&5).await.is_ok(),
            settled(&stack).await.text() == "5",
            send(&stack, get("/")).await.is_hit(),
            cache.invalidate(Invalidation::tag("t")).await.is_delivered(),
            settled(&stack).await.text() == "0",
        ];
        assert_eq!(changes, [true; 18]);
        assert_eq!(calls.count(), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_expires_with_its_values() {
    for (cache, manual) in caches() {
        let (stack, calls) = page(&cache, |cache| async move { price(&cache).await.to_string() });
        cache.set("price", &1, 20 * S).await.expect("set");
        manual.advance(5 * S);
        settled(&stack).await;
        manual.advance(14 * S);
        assert!(send(&stack, get("/")).await.is_hit());
        manual.advance(S);
        assert_eq!((settled(&stack).await.text(), calls.count()), ("0", 2));
    }
}

/// A page depends on the values that it writes, but its own writes do not invalidate it.
#[tokio::test(start_paused = true)]
async fn values_written_by_a_page_do_not_invalidate_it() {
    for (cache, _) in caches() {
        let (stack, calls) = page(&cache, |cache| async move {
            let a = cache.get_or_set("a", 60 * S, || async { 1_u8 }).await.expect("a value");
            if cache.get::<u8>("b").await.expect("read").is_none() {
                cache.set("b", &2_u8, 60 * S).await.expect("set");
            }
            format!("{a}{}", cache.get::<u8>("b").await.expect("read").expect("a value"))
        });
        assert_eq!(settled(&stack).await.text(), "12");
        assert!(send(&stack, get("/")).await.is_hit());
        for key in ["a", "b"] {
            cache.delete(key).await.expect("deleted");
            assert!(!settled(&stack).await.is_hit(), "{key}");
            assert!(send(&stack, get("/")).await.is_hit(), "{key}");
        }
        assert_eq!(calls.count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_inherits_the_dependencies_of_a_computed_value() {
    for (cache, manual) in caches() {
        let (stack, calls) = page(&cache, |cache| async move {
            let handle = cache.clone();
            let total = || async move { 2 * price(&handle).await };
            cache.get_or_set("total", 60 * S, total).await.expect("a value").to_string()
        });
        cache.value("price").ttl(30 * S).tags(["prices"]).set(&1).await.expect("set");
        assert_eq!(settled(&stack).await.text(), "2");
        assert!(send(&stack, get("/")).await.is_hit());
        cache.value("price").ttl(30 * S).tags(["prices"]).set(&2).await.expect("set");
        assert_eq!(settled(&stack).await.text(), "4", "the page and the computed value are invalid");
        assert_eq!(cache.invalidate(Invalidation::tag("prices")).await, Delivery::Delivered);
        assert_eq!(settled(&stack).await.text(), "0");
        cache.value("price").ttl(30 * S).set(&3).await.expect("set");
        assert_eq!(settled(&stack).await.text(), "6");
        manual.advance(29 * S);
        assert!(send(&stack, get("/")).await.is_hit());
        manual.advance(S);
        assert_eq!(settled(&stack).await.text(), "0", "both expire with the price");
        assert_eq!(calls.count(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn followers_inherit_the_dependencies_of_a_computation() {
    for (cache, _) in caches() {
        cache.set("price", &1, Ttl::Forever).await.expect("set");
        let slow = |cache: Cache| async move {
            let handle = cache.clone();
            let total = || async move {
                tokio::time::sleep(S).await;
                2 * price(&handle).await
            };
            cache.get_or_set("total", 60 * S, total).await.expect("a value").to_string()
        };
        let pages: Vec<_> = ["/a", "/b", "/c"].map(|path| (path, page(&cache, slow).0)).into();
        let request_page =
            || futures::future::join_all(pages.iter().map(|(path, stack)| send(stack, get(path))));
        assert!(request_page().await.iter().all(|answer| answer.text() == "2"));
        tokio::time::sleep(S).await;
        assert!(request_page().await.iter().all(Answer::is_hit));
        cache.set("price", &2, Ttl::Forever).await.expect("set");
        assert!(request_page().await.iter().all(|answer| answer.text() == "4"));
    }
}

#[tokio::test(start_paused = true)]
async fn values_read_by_a_streaming_body_are_dependencies() {
    type Pieces =
        StreamBody<std::pin::Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;
    type Shop = BoxCloneService<Request<Body>, Response<ResponseBody<Pieces>>, Infallible>;
    for (cache, _) in caches() {
        for together in [1, 3] {
            let handle = cache.clone();
            let inner = service_fn(move |_: Request<Body>| {
                let cache = handle.clone();
                async move {
                    let frames = futures::stream::unfold((0, cache), |(at, cache)| async move {
                        tokio::time::sleep(S).await;
                        let text = price(&cache).await.to_string();
                        (at < 3).then(|| (Ok(Frame::data(Bytes::from(text))), (at + 1, cache)))
                    });
                    Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
                }
            });
            let shop: Shop = SiteCacheLayer::new(&cache)
                .policy(policy().cache_status(true).build().expect("a policy"))
                .layer(inner)
                .boxed_clone();
            let request_page = || async {
                let all = (0..together).map(|_| send(&shop, get(&format!("/{together}"))));
                futures::future::join_all(all).await
            };
            cache.set("price", &1, Ttl::Forever).await.expect("set");
            assert!(request_page().await.iter().all(|answer| answer.text() == "111"));
            tokio::time::sleep(S).await;
            assert!(request_page().await.iter().all(Answer::is_hit));
            cache.set("price", &2, Ttl::Forever).await.expect("set");
            assert!(request_page().await.iter().all(|answer| answer.text() == "222"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_whose_value_changes_meanwhile_is_not_reused() {
    for (cache, _) in caches() {
        let (stack, calls) = page(&cache, |cache| async move {
            let seen = price(&cache).await;
            tokio::time::sleep(10 * S).await;
            seen.to_string()
        });
        cache.set("price", &1, Ttl::Forever).await.expect("set");
        let (old, ()) = tokio::join!(send(&stack, get("/")), async {
            tokio::time::sleep(5 * S).await;
            cache.set("price", &2, Ttl::Forever).await.expect("set");
        });
        assert_eq!(old.text(), "1");
        tokio::time::sleep(S).await;
        assert_eq!((send(&stack, get("/")).await.text(), calls.count()), ("2", 2));
    }
}

#[tokio::test(start_paused = true)]
async fn spawned_task_is_tracked_only_with_propagate_dependencies() {
    for (cache, _) in caches() {
        for propagates in [true, false] {
            let (stack, _) = page(&cache, move |cache| async move {
                let read = async move { price(&cache).await.to_string() };
                let task =
                    if propagates { tokio::spawn(propagate_dependencies(read)) } else { tokio::spawn(read) };
                task.await.expect("no panic")
            });
            assert_eq!(cache.clear().await, Delivery::Delivered);
            cache.set("price", &1, Ttl::Forever).await.expect("set");
            settled(&stack).await;
            assert!(send(&stack, get("/")).await.is_hit());
            cache.set("price", &2, Ttl::Forever).await.expect("set");
            assert_eq!(send(&stack, get("/")).await.is_hit(), !propagates);
        }
    }
}

/// A write of a value without dependents, such as a counter or a value for one visitor, advances no
/// generation. While the generation stays the same, hits on pages need no check.
#[tokio::test]
async fn values_without_dependents_advance_no_generation() {
    use tower_response_cache::Store;
    let store = memory_store(8 << 20);
    let cache = Cache::new(store.clone());
    let generations = store.generations(cache.namespace()).expect("local generations");
    let before = generations.current().await.expect("local");
    for visitor in 0..100 {
        cache.set(format!("visitor {visitor}"), &visitor, Ttl::Forever).await.expect("set");
        cache.incr_or(format!("count {visitor}"), 1, 0, Ttl::Forever).await.expect("counted");
        cache.get::<u32>(format!("visitor {visitor}")).await.expect("a value");
        cache.delete(format!("visitor {visitor}")).await.expect("deleted");
    }
    assert_eq!(generations.current().await.expect("local"), before);
    // A page does not depend on a counter that it shows.
    let (stack, _) = page(&cache, |cache| async move {
        cache.incr_or("hits", 1, 0, Ttl::Forever).await.expect("counted");
        cache.get::<i64>("hits").await.expect("read").expect("a number").to_string()
    });
    send(&stack, get("/")).await;
    cache.incr("hits", 1).await.expect("counted");
    assert!(send(&stack, get("/")).await.is_hit());
    assert_eq!(generations.current().await.expect("local"), before);
}

#[tokio::test]
async fn a_page_with_more_than_1024_values_is_not_stored() {
    let cache = memory();
    let read = Arc::new(Mutex::new(1024));
    let number = Arc::clone(&read);
    let (stack, _) = page(&cache, move |cache| {
        let most = *number.lock().expect("not poisoned");
        async move {
            for at in 0..most {
                let _ = cache.get::<u8>(format!("k{at}")).await;
            }
            String::new()
        }
    });
    send(&stack, get("/")).await;
    assert!(send(&stack, get("/")).await.is_hit());
    *read.lock().expect("not poisoned") = 1025;
    assert_eq!(cache.clear().await, Delivery::Delivered);
    send(&stack, get("/")).await;
    assert!(!send(&stack, get("/")).await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn a_page_with_untracked_dependencies_is_not_stored() {
    let store = Faulty::new(memory_store(1 << 20), Fault::Down);
    let values = Cache::new(store.clone());
    let pages = memory();
    let (handle, inner) = (values.clone(), Calls::default());
    let counted = inner.clone();
    let service = service_fn(move |_: Request<Body>| {
        let (cache, call) = (handle.clone(), counted.next());
        async move {
            let _ = cache.get::<u8>("k").await;
            Ok::<_, Infallible>(numbered(&[], call))
        }
    });
    let stack = site_over(&pages, service.boxed_clone());
    send(&stack, get("/")).await;
    assert!(!send(&stack, get("/")).await.is_hit());
}

async fn cache_version(cache: &Cache) -> u32 {
    cache.set("probe", &1, Ttl::Forever).await.expect("set");
    cache.incr_version("probe").await.expect("moved")
}

#[derive(Debug, Clone)]
struct Flaky {
    inner: MemoryStore,
    broken: Arc<AtomicBool>,
}

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

/// The page reads a value of the next version. Then `incr_version` moves another value to its
/// place.
#[tokio::test]
async fn a_value_that_moves_to_a_version_invalidates_its_pages() {
    let cache = memory();
    let next = cache.with_version(cache_version(&cache).await);
    let (stack, _) =
        page(
            &next,
            |cache| async move { cache.get::<u32>("k").await.ok().flatten().unwrap_or(0).to_string() },
        );
    next.set("k", &1_u32, Ttl::Forever).await.expect("set");
    assert_eq!(send(&stack, get("/")).await.text(), "1");
    cache.set("k", &7_u32, Ttl::Forever).await.expect("set");
    cache.incr_version("k").await.expect("moved");
    assert_eq!(next.get::<u32>("k").await.expect("read").expect("v"), 7);
    assert_eq!(send(&stack, get("/")).await.text(), "7");
}

#[tokio::test]
async fn dependencies_do_not_grow_with_each_304() {
    let (clock, manual) = Clock::manual();
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
        manual.advance(6 * S);
        assert_eq!(send(&stack, get("/")).await.text(), "page");
    }
    assert!(store.weight() < before + 1000, "{} to {}", before, store.weight());
}

#[tokio::test(start_paused = true)]
async fn a_page_depends_on_values_read_by_a_failed_computation() {
    let cache = memory();
    let (stack, _) = page(&cache, |cache| async move {
        let handle = cache.clone();
        let total = cache.value("total");
        let total = total.try_get_or_set(|| async move {
            match handle.get::<u32>("price").await {
                Ok(Some(price)) => Ok(2 * price),
                Ok(None) | Err(_) => Err("no price yet"),
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

/// While the handler makes the page, the store's checks of values fail.
#[tokio::test]
async fn a_page_with_an_uncheckable_value_is_not_stored() {
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
    assert!(!send(&stack, get("/")).await.is_hit(), "the dependencies of the page are unknown");
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
