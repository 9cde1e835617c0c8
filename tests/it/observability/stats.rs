//! `Cache::stats`: each request and each response is counted once, by its outcome.

use crate::support::faulty::{Fault, Faulty};
use crate::support::stacks::{ALL, settle};
use crate::support::*;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::cache::{CircuitState, LayerStats};
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::status::ForwardReason;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{
    Cache, Invalidation, MemoryStore, Policy, RouteCacheLayer, SiteCacheLayer, Store, Ttl,
};

const S: Duration = Duration::from_secs(1);

fn plain(_: &Request<Body>, call: usize) -> Response<Body> {
    numbered(&[], call)
}

fn layer(cache: &Cache, name: &str) -> LayerStats {
    cache.stats().layer(name).cloned().expect("the layer has had a request")
}

fn words(counts: impl Iterator<Item = (&'static str, u64)>) -> Vec<(&'static str, u64)> {
    counts.collect()
}

#[tokio::test(start_paused = true)]
async fn each_outcome_is_counted_once() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| match request.uri().path() {
        "/private" => numbered(&[("cache-control", "private")], call),
        "/stale" => numbered(&[("cache-control", "max-age=1, stale-while-revalidate=60")], call),
        _ => numbered(&[("vary", "accept-language")], call),
    });
    let stack = site_over(&cache, inner);
    let requests = [
        get("/"),
        get("/"),
        get_with("/", &[("accept-language", "de")]),
        get_with("/", &[("cookie", "sid=1")]),
        get_with("/", &[("x-acme-session", "1")]),
        get_with("/", &[("authorization", "Basic x")]),
        get("/private"),
        get("/stale"),
        request("POST", "/", &[]),
        get("/"),
    ];
    for request in requests {
        send(&stack, request).await;
    }
    manual.advance(2 * S);
    assert!(send(&stack, get("/stale")).await.is_hit());
    cache.wait_idle().await;

    let site = layer(&cache, "site");
    assert_eq!((site.requests(), site.misses(), site.bypasses()), (11, 5, 3));
    assert_eq!((site.fresh_hits(), site.stale_hits(), site.collapsed_hits(), site.hits()), (1, 1, 0, 2));
    let forwards =
        [ForwardReason::UriMiss, ForwardReason::VaryMiss, ForwardReason::Stale, ForwardReason::Method];
    assert_eq!(forwards.map(|reason| site.forwards(reason)), [3, 1, 1, 1]);
    let bypasses = words(site.bypasses_by_detail());
    assert_eq!(bypasses, [("authorization", 1), ("cookie", 1), ("credentials", 1)]);
    assert_eq!(words(site.not_stored_by_detail()), [("private", 1)]);
    // The background refresh stores a fifth response.
    assert_eq!((site.stored(), site.not_stored(), site.failed_stores()), (5, 1, 0));
    assert_eq!((site.invalidated(), cache.stats().invalidations()), (1, 1));
    assert_eq!((site.bytes_served(), site.hit_ratio()), (2, Some(2.0 / 7.0)));
}

#[tokio::test(start_paused = true)]
async fn followers_count_as_collapsed_hits() {
    let cache = memory();
    let (inner, _) = origin(plain);
    let slow = tower::service_fn(move |request: Request<Body>| {
        let inner = inner.clone();
        async move {
            tokio::time::sleep(S).await;
            inner.oneshot(request).await
        }
    });
    let stack = RouteCacheLayer::new(&cache, MINUTE).layer(slow);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let stack = stack.clone();
            tokio::spawn(async move { read(stack.oneshot(get("/")).await.expect("infallible")).await })
        })
        .collect();
    tokio::time::sleep(S / 2).await;
    let stats = cache.stats();
    assert_eq!((stats.flights(), stats.followers()), (1, 3));
    for task in tasks {
        task.await.expect("an answer");
    }
    let route = layer(&cache, "route");
    assert_eq!((route.misses(), route.collapsed_hits(), route.requests()), (1, 3, 4));
    let stats = cache.stats();
    assert_eq!((stats.flights(), stats.followers(), stats.recording_bytes()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn saved_time_is_the_time_of_the_stored_response() {
    let (cache, manual) = timed();
    let (inner, _) = origin(move |_, call| {
        manual.advance(3 * S);
        numbered(&[], call)
    });
    let stack = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    for _ in 0..5 {
        read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
    }
    assert_eq!(layer(&cache, "route").handler_time_saved(), 12 * S);
}

#[tokio::test(start_paused = true)]
async fn failed_stores_are_counted_apart_from_unstorable_responses() {
    let cache = memory();
    let (inner, _) = origin(|_, _| with_lines(&[], vec![b'x'; 9 << 20]));
    let long = site_over(&cache, inner);
    let response = long.clone().oneshot(get("/")).await.expect("infallible");
    drop(response);
    let site = layer(&cache, "site");
    assert_eq!((site.stored(), site.failed_stores()), (0, 0), "the known length exceeds the limit");
    assert_eq!(words(site.not_stored_by_detail()), [("too-large", 1)]);

    let cache = memory();
    let streamed = tower::service_fn(|_: Request<Body>| async {
        let first = http_body::Frame::data(bytes::Bytes::from("a"));
        let frames = stream::iter([Ok::<_, Infallible>(first)]).chain(stream::pending());
        Ok::<_, Infallible>(Response::new(http_body_util::StreamBody::new(frames)))
    });
    let stack = RouteCacheLayer::new(&cache, MINUTE).layer(streamed);
    let response = stack.oneshot(get("/")).await.expect("infallible");
    assert_eq!(layer(&cache, "route").failed_stores(), 0, "still being recorded");
    assert!(cache.stats().recording_bytes() > 0);
    drop(response);
    let route = layer(&cache, "route");
    assert_eq!((route.stored(), route.failed_stores()), (0, 1));
    assert_eq!(words(route.not_stored_by_detail()), [("cut-short", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_304_counts_as_a_revalidation_and_is_stored() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| {
        let mut response = numbered(&[("etag", "\"a\"")], call);
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        }
        response
    });
    let stack = RouteCacheLayer::new(&cache, MINUTE)
        .policy(Policy::app().stale_if_error(MINUTE).build().expect("a policy"))
        .layer(inner);
    for _ in 0..2 {
        read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
        manual.advance(61 * S);
    }
    let route = layer(&cache, "route");
    assert_eq!((route.misses(), route.revalidations(), route.stored(), route.not_stored()), (2, 1, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn layers_are_counted_by_name_and_nested_ones_each() {
    let cache = memory();
    let (inner, _) = origin(plain);
    let named = Policy::app().name("blog").build().expect("a policy");
    let route = RouteCacheLayer::new(&cache, MINUTE).policy(named).layer(inner);
    let stack = SiteCacheLayer::new(&cache).layer(route);
    for _ in 0..2 {
        read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
    }
    let names: Vec<_> = cache.stats().layers().iter().map(|layer| layer.name().to_owned()).collect();
    assert_eq!(names, ["blog", "site"]);
    let (blog, site) = (layer(&cache, "blog"), layer(&cache, "site"));
    assert_eq!((blog.fresh_hits(), blog.misses(), blog.stored()), (1, 1, 1));
    assert_eq!((site.hits(), site.requests(), site.stored()), (0, 2, 0));
    assert_eq!(words(site.bypasses_by_detail()), [("inner-layer", 1)]);
}

/// Over a remote store, the outer layer looks up each request before it leaves the request to the inner
/// layer.
#[tokio::test(start_paused = true)]
async fn request_of_an_inner_layer_is_no_miss_of_the_outer_one() {
    for setup in ALL {
        let (cache, _) = setup.cache(0);
        let route = RouteCacheLayer::new(&cache, MINUTE).layer(origin(plain).0);
        let stack = SiteCacheLayer::new(&cache).layer(route);
        for _ in 0..5 {
            read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
            settle().await;
        }
        let (route, site) = (layer(&cache, "route"), layer(&cache, "site"));
        assert_eq!((route.fresh_hits(), route.misses(), route.stored()), (4, 1, 1), "{setup:?}");
        assert_eq!((site.misses(), site.not_stored()), (1, 0), "{setup:?}");
        assert_eq!(words(site.bypasses_by_detail()), [("inner-layer", 4)], "{setup:?}");
    }
}

#[tokio::test]
async fn response_that_does_not_reach_the_outer_layer_is_counted() {
    let cache = memory();
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(origin(plain).0);
    let rebuilt = route.map_response(|response| {
        let (parts, body) = response.into_parts();
        let mut new = Response::new(body);
        *new.headers_mut() = parts.headers;
        new
    });
    let stack = SiteCacheLayer::new(&cache).layer(rebuilt);
    for _ in 0..2 {
        read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
    }
    let route = layer(&cache, "route");
    assert_eq!((route.misses(), route.stored(), route.failed_stores()), (2, 0, 0));
    assert_eq!(words(route.not_stored_by_detail()), [("not-admitted", 2)]);
}

/// The page is refused by the outer layer, and its body is cut short.
#[tokio::test]
async fn unstored_response_is_counted_once_by_its_first_reason() {
    let cache = memory();
    let body = || StreamBody::new(futures::stream::pending::<Result<Frame<bytes::Bytes>, Infallible>>());
    let inner =
        tower::service_fn(move |_: Request<Body>| async move { Ok::<_, Infallible>(Response::new(body())) });
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    let with_cookie = route.map_response(|mut response| {
        response.headers_mut().insert("set-cookie", "sid=1".parse().expect("a value"));
        response
    });
    let stack = SiteCacheLayer::new(&cache).layer(with_cookie);
    drop(stack.oneshot(get("/")).await.expect("infallible"));
    assert_eq!(words(layer(&cache, "route").not_stored_by_detail()), [("set-cookie", 1)]);
}

#[tokio::test]
async fn store_totals_count_evictions_and_expirations() {
    let (cache, manual) = timed();
    for key in ["a", "b"] {
        cache.set(key, &1, S).await.expect("in memory");
    }
    manual.advance(2 * S);
    assert!(!cache.contains("a").await.expect("in memory"));
    let store = cache.stats().store();
    assert_eq!((store.entries(), store.evictions(), store.expirations()), (Some(1), Some(0), Some(1)));
    assert!(store.bytes().is_some_and(|bytes| bytes > 0));

    let small = Cache::new(MemoryStore::with_max_bytes(64 << 10));
    for number in 0..1000_u32 {
        small.set(number.to_string(), &[0_u8; 100].to_vec(), Ttl::Forever).await.expect("in memory");
    }
    small.set("999", &1, Ttl::Forever).await.expect("in memory");
    let store = small.stats().store();
    let (entries, evictions) = (store.entries().expect("known"), store.evictions().expect("known"));
    assert_eq!(entries + evictions, 1000, "a replaced entry is not evicted");
}

#[tokio::test(start_paused = true)]
async fn failed_automatic_invalidations_are_counted() {
    let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::CantInvalidate));
    let (inner, _) = origin(plain);
    let stack = site_over(&cache, inner);
    send(&stack, request("POST", "/", &[])).await;
    let stats = cache.stats();
    assert_eq!((stats.invalidations(), stats.failed_invalidations()), (1, 1));
    // `Cache::invalidate` returns its outcome, so its failure is not counted.
    let _ = cache.invalidate(Invalidation::tag("t")).await;
    let stats = cache.stats();
    assert_eq!((stats.invalidations(), stats.failed_invalidations()), (2, 1));
    assert!(stats.undelivered() > 0 && stats.store_errors() > 0);
    let by_operation: Vec<_> = stats.store_errors_by_operation().collect();
    assert_eq!(by_operation, [("lookup", 0), ("write", 0), ("invalidation", stats.store_errors())]);
}

/// A store in which other writers always win.
#[derive(Debug)]
struct ContendedStore {
    is_local: bool,
}

fn contended<T>() -> StoreFuture<T> {
    StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Contended)))
}

impl Store for ContendedStore {
    fn get(&self, _: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        contended()
    }

    fn put(&self, _: KeyRef<'_>, _: Entry, _: Option<Duration>, _: PutMode) -> StoreFuture<bool> {
        contended()
    }

    fn remove(&self, _: KeyRef<'_>) -> StoreFuture<bool> {
        contended()
    }

    fn increment(&self, _: KeyRef<'_>, _: i64, _: Option<InitialCounter>) -> StoreFuture<i64> {
        contended()
    }

    fn compare_and_set(
        &self,
        _: KeyRef<'_>,
        _: Option<&Entry>,
        _: Entry,
        _: Option<Duration>,
    ) -> StoreFuture<bool> {
        contended()
    }

    fn is_local(&self) -> bool {
        self.is_local
    }
}

#[tokio::test]
async fn contention_counts_alike_for_local_and_remote_stores() {
    for is_local in [true, false] {
        let cache = Cache::new(ContendedStore { is_local });
        assert!(cache.incr("n", 1).await.is_err());
        let counts = (cache.stats().store_errors(), cache.circuit());
        assert_eq!(counts, (1, CircuitState::Closed), "local: {is_local}");
    }
}

#[tokio::test]
async fn invalidated_scopes_are_counted_by_kind() {
    let cache = memory();
    let stack = site_over(&cache, origin(plain).0);
    send(&stack, request("POST", "/", &[])).await;
    let both = Invalidation::tag("t").and(Invalidation::tag("u")).and(Invalidation::uri("/?a=1"));
    let _ = cache.invalidate(both).await;
    let _ = (cache.clear().await, cache.clear_pages().await, cache.clear_values().await);
    let _ = cache.invalidate(Vec::<&str>::new().into_iter().collect::<Invalidation>()).await;
    let stats = cache.stats();
    let by_kind: Vec<_> = stats.invalidations_by_kind().collect();
    let expected = [("path", 1), ("uri", 1), ("subtree", 1), ("tag", 2), ("all", 1), ("values", 1)];
    assert_eq!((by_kind.as_slice(), stats.invalidations()), (&expected[..], 5));
}

#[tokio::test]
async fn unreadable_values_are_counted() {
    let cache = memory();
    cache.set("text", "text", Ttl::Forever).await.expect("set");
    assert_eq!(cache.get::<u8>("text").await.expect("read"), None);
    assert_eq!(cache.get_bytes("text").await.expect("read"), None);
    assert_eq!(cache.stats().unreadable_values(), 2);
}

#[tokio::test]
async fn a_dropped_request_is_not_counted() {
    let cache = memory();
    let pending =
        tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let stack = RouteCacheLayer::new(&cache, MINUTE).layer(pending);
    let mut answer = Box::pin(stack.oneshot(get("/")));
    assert!(futures::poll!(&mut answer).is_pending());
    drop(answer);
    assert!(cache.stats().layers().iter().all(|layer| layer.requests() == 0));
}

#[tokio::test(start_paused = true)]
async fn top_paths_count_misses_handler_time_and_hits() {
    let (clock, manual) = tower_response_cache::clock::Clock::manual();
    let store = MemoryStore::builder().max_bytes(32 << 20).clock(clock.clone()).build().expect("valid");
    let cache = Cache::builder(store).clock(clock).top_paths(10).build().expect("valid");
    let (inner, _) = origin(move |_, call| {
        manual.advance(S);
        numbered(&[], call)
    });
    let stack = RouteCacheLayer::new(&cache, Duration::from_secs(3600)).layer(inner);
    let cookie = || get_with("/b", &[("cookie", "sid=1")]);
    let mut requests = vec![get("/a?x=1"), get("/a?x=2"), get("/a?x=3"), cookie(), cookie()];
    requests.extend((0..256).map(|_| get("/a?x=1")));
    for request in requests {
        read(stack.clone().oneshot(request).await.expect("infallible")).await;
    }
    let stats = cache.stats();
    let mut paths: Vec<_> = stats
        .paths()
        .iter()
        .map(|path| {
            (path.path(), path.misses(), path.forwarded(), path.handler_time(), path.estimated_hits())
        })
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, [("/a", 3, 3, 3 * S, 256), ("/b", 0, 2, 2 * S, 0)]);
    assert!(memory().stats().paths().is_empty());
}

/// The paths of a cache belong to all its layers.
#[tokio::test]
async fn nested_layers_count_a_path_once() {
    let cache = Cache::builder(memory_store(32 << 20)).top_paths(10).build().expect("valid");
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(origin(plain).0);
    let site = SiteCacheLayer::new(&cache).policy(Policy::rfc9111().build().expect("a policy")).layer(route);
    let only = || get_with("/absent", &[("cache-control", "only-if-cached")]);
    for request in [get("/a"), get("/a"), get("/a"), only()] {
        read(site.clone().oneshot(request).await.expect("infallible")).await;
    }
    let stats = cache.stats();
    let paths: Vec<_> =
        stats.paths().iter().map(|path| (path.path(), path.misses(), path.forwarded())).collect();
    assert_eq!(paths, [("/a", 1, 1)]);
}

#[tokio::test]
async fn number_of_top_paths_is_limited() {
    let cache = Cache::builder(memory_store(1 << 20)).top_paths(usize::MAX).build().expect("valid");
    let stack = RouteCacheLayer::new(&cache, MINUTE).layer(origin(plain).0);
    read(stack.oneshot(get("/")).await.expect("infallible")).await;
    assert_eq!(cache.stats().paths().len(), 1);
}
