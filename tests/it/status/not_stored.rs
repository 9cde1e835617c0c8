//! The `detail` of `Cache-Status` for each reason not to store a response.

use crate::status::details::{Lines, Statuses, rfc9111, status, tagged};
use crate::status::field::status_of;
use crate::support::faulty::{Fault, Faulty};
use crate::support::stacks::settle;
use crate::support::*;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderName, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::Clock;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{
    AnonymousOnlyLayer, Cache, CacheHints, Invalidation, MemoryStore, Policy, SiteCacheLayer,
};

const S: Duration = Duration::from_secs(1);
const X_MINE: HeaderName = HeaderName::from_static("x-mine");

fn hinted(hints: CacheHints) -> Response<Body> {
    let mut response = numbered(&[], 1);
    hints.add_to(response.extensions_mut());
    response
}

pub(crate) async fn not_stored_by_its_head() -> Statuses {
    let silent = || Policy::app().cache_status(true);
    let table: &[(PolicyBuilder, u16, Lines, &str)] = &[
        (silent(), 200, &[], "no-lifetime"),
        (policy(), 200, &[("cache-control", "max-age=0")], "not-fresh"),
        (policy(), 200, &[("expires", "never")], "not-fresh"),
        (policy().default_ttl(Duration::ZERO), 200, &[], "zero-ttl"),
        (policy(), 500, &[("cache-control", "max-age=60")], "status"),
        (policy(), 412, &[], "status"),
        (rfc9111(), 299, &[("cache-control", "must-understand, max-age=60")], "must-understand"),
        (policy(), 200, &[("cache-control", "no-store")], "no-store"),
        (policy(), 200, &[("cache-control", "private")], "private"),
        (policy(), 200, &[("cache-control", "no-cache")], "no-cache"),
        (policy(), 200, &[("set-cookie", "sid=1")], "set-cookie"),
        (policy(), 200, &[("x-auth-token", "1")], "x-auth-token"),
        (policy(), 200, &[("x-csrf-token", "1")], "x-csrf-token"),
        (policy(), 200, &[("vary", "*")], "vary-any"),
        (policy().ignore_headers([X_MINE]), 200, &[("vary", "x-mine")], "vary-on-ignored"),
        (policy().strip_unkeyed_inputs(true), 200, &[("vary", "x-mine")], "vary-on-removed"),
        (policy(), 200, &[("access-control-allow-origin", "https://shop.example")], "cors"),
        (policy(), 200, &[("content-security-policy", "script-src 'nonce-1'")], "nonce"),
        (policy().store_if(|_, _| false), 200, &[], "predicate"),
        (policy(), 200, &[("cache-groups", "not a list of strings")], "tags"),
        (policy(), 206, &[], "partial"),
        (policy(), 200, &[("content-encoding", "gzip")], "content-encoding"),
        (policy(), 200, &[("content-length", "4"), ("content-length", "5")], "content-length"),
        (policy(), 200, &[("content-length", "5")], "content-length"),
        (policy(), 200, &[("content-type", "text/event-stream")], "event-stream"),
        (policy().max_body_bytes(3), 200, &[], "too-large"),
    ];
    let mut statuses = Statuses::new();
    for (policy, code, lines, word) in table {
        let (code, lines) = (*code, *lines);
        let (stack, _) = site(policy.clone(), move |_, _| status(code, lines));
        statuses.push(status_of(&stack, get("/")).await);
        let expected = format!("fwd=uri-miss; fwd-status={code}; detail={word}");
        assert_eq!(statuses.last(), Some(&expected), "{lines:?}");
        assert!(
            status_of(&stack, get("/")).await.starts_with("fwd=uri-miss; "),
            "{lines:?}: nothing is stored"
        );
    }
    statuses
}

#[tokio::test]
async fn unstorable_responses_report_the_reason() {
    not_stored_by_its_head().await;
}

pub(crate) async fn not_stored_for_other_reasons() -> Statuses {
    let mut statuses = Statuses::new();
    let (stack, _) = site(policy(), |_, _| hinted(CacheHints::new().never()));
    statuses.push(status_of(&stack, get("/")).await);
    assert_eq!(statuses[0], "fwd=uri-miss; fwd-status=200; detail=hint");
    let many = || hinted(CacheHints::new().tags((0..300).map(|tag| tag.to_string())));
    statuses.push(status_of(&site(policy(), move |_, _| many()).0, get("/")).await);
    assert_eq!(statuses[1], "fwd=uri-miss; fwd-status=200; detail=tags");
    let route = route_over(&memory(), Duration::ZERO, origin(|_, call| numbered(&[], call)).0);
    statuses.push(status_of(&route, get("/")).await);
    assert_eq!(statuses[2], "fwd=uri-miss; fwd-status=200; detail=zero-ttl");

    let page = |policy| site(policy, |_, call| numbered(&[("cache-control", "max-age=60")], call)).0;
    let table = [
        (policy(), request("HEAD", "/", &[]), "head"),
        (policy().strip_unkeyed_inputs(true), get_with("/", &[("range", "bytes=0-0")]), "unkeyed"),
        (rfc9111(), get_with("/", &[("authorization", "Bearer x")]), "authorization"),
    ];
    for (policy, request, word) in table {
        statuses.push(status_of(&page(policy), request).await);
        let expected = format!("fwd=uri-miss; fwd-status=200; detail={word}");
        assert_eq!(statuses.last(), Some(&expected));
    }

    let (stack, _) = site(policy(), |_, call| {
        let value = if call == 1 { "no-store" } else { "max-age=60" };
        numbered(&[("cache-control", value)], call)
    });
    status_of(&stack, get("/")).await;
    statuses.push(status_of(&stack, get("/")).await);
    assert_eq!(statuses.last().expect("a member"), "fwd=uri-miss; fwd-status=200; detail=hit-for-miss");

    let route = route_over(&memory(), MINUTE, origin(|_, call| numbered(&[], call)).0);
    let rebuilt = route.map_response(|response| {
        let (parts, body) = response.into_parts();
        let mut new = Response::new(body);
        *new.headers_mut() = parts.headers;
        new
    });
    let stack = AnonymousOnlyLayer::new().layer(rebuilt);
    send(&stack, get("/")).await;
    let answer = send(&stack, get("/")).await;
    assert_eq!(answer.detail(), Some("not-admitted"));
    statuses.push(answer.header("cache-status").expect("a status").to_owned());

    let lines: Lines = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let table: [(Lines, &str); 3] = [
        (&[("etag", "\"b\"")], "mismatch"),
        (&[("cache-control", "no-store"), ("etag", "\"a\"")], "no-store"),
        (&[("cache-control", "private"), ("etag", "\"a\"")], "private"),
    ];
    for (validated, word) in table {
        let (stack, _, manual) = tagged(policy(), lines, validated);
        status_of(&stack, get("/")).await;
        manual.advance(70 * S);
        statuses.push(status_of(&stack, get("/")).await);
        let expected = format!("fwd=stale; fwd-status=304; detail={word}");
        assert_eq!(statuses.last(), Some(&expected));
    }
    statuses
}

#[tokio::test]
async fn exchanges_that_are_not_storable_report_the_reason() {
    not_stored_for_other_reasons().await;
}

/// Requests a page made from a value of another namespace. The cache of the page does not see the
/// invalidations in that namespace.
pub(crate) async fn with_untracked_dependencies() -> Statuses {
    let (clock, manual) = Clock::manual();
    let store =
        MemoryStore::builder().seed(3).max_bytes(8 << 20).clock(clock.clone()).build().expect("valid");
    let cache = Cache::builder(store.clone()).clock(clock.clone()).build().expect("valid");
    let elsewhere = Cache::builder(store).namespace("elsewhere").clock(clock).build().expect("valid");
    let (calls, lines) = (Calls::default(), [("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    let inner = service_fn(move |request: Request<Body>| {
        let (elsewhere, first) = (elsewhere.clone(), calls.next() == 1);
        async move {
            if !first {
                let _ = elsewhere.get::<u32>("price").await;
            }
            let has_it = request.headers().contains_key("if-none-match");
            Ok::<_, Infallible>(if has_it { status(304, &lines) } else { with_lines(&lines, "page") })
        }
    });
    let stack = site_over(&cache, inner.boxed_clone());
    let mut statuses = Statuses::new();
    for expected in [
        "fwd=uri-miss; fwd-status=200; stored; ttl=60",
        "fwd=stale; fwd-status=304; detail=dependencies",
        "fwd=uri-miss; fwd-status=200; detail=dependencies",
    ] {
        statuses.push(status_of(&stack, get("/")).await);
        assert_eq!(statuses.last().expect("a member"), expected);
        manual.advance(70 * S);
    }
    statuses
}

#[tokio::test]
async fn pages_with_untracked_dependencies_report_so() {
    with_untracked_dependencies().await;
}

/// A page whose body arrives in frames.
struct Streamed {
    frames: &'static [&'static str],
    trailers: bool,
}

impl Streamed {
    async fn status_of(&self, cache: &Cache, policy: PolicyBuilder, reads: bool) -> String {
        let (frames, trailers) = (self.frames, self.trailers);
        let inner = service_fn(move |_: Request<Body>| async move {
            let data = frames
                .iter()
                .map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes()))));
            let end = trailers.then(|| Ok(Frame::trailers(http::HeaderMap::new())));
            let frames: Vec<_> = data.chain(end).collect();
            // The first frame is not ready when the head is.
            let paced = futures::stream::iter(frames).then(|frame| async {
                tokio::task::yield_now().await;
                frame
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(paced))))
        });
        let stack = SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner);
        let response = stack.oneshot(get("/")).await.expect("infallible");
        let mut lines = response.headers().get_all("cache-status").iter();
        let line = lines.next_back().expect("a status").to_str().expect("text").to_owned();
        if reads {
            response.into_body().collect().await.expect("a body");
        }
        line.split_once("; ").expect("a parameter").1.to_owned()
    }
}

/// Returns the status of a request that finishes late: the response to a later request is already
/// stored.
async fn overtaken_by_a_later_request() -> String {
    let (cache, manual) = timed();
    let (gate, calls) = (Arc::new(Notify::new()), Calls::default());
    let opened = Arc::clone(&gate);
    let inner = service_fn(move |_: Request<Body>| {
        let (call, gate) = (calls.next(), Arc::clone(&gate));
        async move {
            if call == 1 {
                gate.notified().await;
            }
            Ok::<_, Infallible>(numbered(&[], call))
        }
    });
    let stack =
        SiteCacheLayer::new(&cache).policy(policy().collapse(false).build().expect("a policy")).layer(inner);
    let mut earlier = Box::pin(status_of(&stack, get("/")));
    assert!(futures::poll!(&mut earlier).is_pending());
    manual.advance(S);
    assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; stored; ttl=60");
    opened.notify_one();
    earlier.await
}

/// Covers the reasons that the cache finds only while a body streams. The next request reports
/// them.
pub(crate) async fn not_stored_after_streaming() -> Statuses {
    let stored = "fwd=uri-miss; fwd-status=200; stored; ttl=60";
    let large = Streamed { frames: &["0123456789", "0123456789"], trailers: false };
    let trailed = Streamed { frames: &["0123456789"], trailers: true };
    let limited = || policy().max_body_bytes(15);
    let tight = || Cache::builder(memory_store(1 << 20)).recording_bytes(8).build().expect("valid");
    let table: [(&Streamed, Cache, PolicyBuilder, bool, &str); 4] = [
        (&large, memory(), limited(), true, "too-large"),
        (&trailed, memory(), policy(), true, "trailers"),
        (&large, memory(), policy(), false, "cut-short"),
        (&large, tight(), policy(), true, "no-room"),
    ];
    let mut statuses = Statuses::new();
    for (page, cache, policy, reads, word) in table {
        assert_eq!(page.status_of(&cache, policy.clone(), reads).await, stored, "{word}");
        statuses.push(page.status_of(&cache, policy, true).await);
        assert_eq!(statuses.last(), Some(&format!("fwd=uri-miss; fwd-status=200; detail={word}")));
    }
    let (stack, _) = site(policy().max_variants(1), |_, call| {
        numbered(&[("vary", "x-a"), ("cache-control", "max-age=60")], call)
    });
    for value in ["a", "a", "b"] {
        statuses.push(status_of(&stack, get_with("/", &[("x-a", value)])).await);
    }
    assert_eq!(statuses.last().expect("a member"), "fwd=vary-miss; fwd-status=200; detail=variants");
    statuses.push(overtaken_by_a_later_request().await);
    assert_eq!(statuses.last().expect("a member"), "fwd=uri-miss; fwd-status=200; detail=superseded");
    // The reason is forgotten once a response is stored.
    let cache = memory();
    large.status_of(&cache, policy(), false).await;
    large.status_of(&cache, policy(), true).await;
    assert!(large.status_of(&cache, policy(), true).await.starts_with("hit"));
    assert_eq!(cache.clear().await, Delivery::Delivered);
    assert!(large.status_of(&cache, policy(), true).await.contains("; stored; ttl=60"));
    statuses
}

#[tokio::test(start_paused = true)]
async fn the_reported_ttl_is_bounded_by_the_dependencies() {
    let (cache, _) = timed();
    let own = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let cache = own.clone();
        async move {
            let part =
                cache.get_or_set("part", 10 * S, || async { "part".to_owned() }).await.expect("stored");
            Ok::<_, Infallible>(Response::new(Body::from(part)))
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; stored; ttl=10");
    assert_eq!(status_of(&stack, get("/")).await, "hit; ttl=10");
}

/// A response whose body is ready at once.
fn ready(frames: &'static [&'static str], trailers: bool) -> Response<StreamBody<Ready>> {
    let data = frames.iter().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
    let end = trailers.then(|| Ok(Frame::trailers(http::HeaderMap::new())));
    Response::new(StreamBody::new(futures::stream::iter(data.chain(end).collect::<Vec<_>>())))
}

type Ready = futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;

#[tokio::test]
async fn status_of_a_ready_body_states_the_outcome() {
    let long: &[&str] = &["0123456789", "0123456789"];
    let table: [(&[&str], bool, u64, &str); 4] = [
        (long, false, 15, "detail=too-large"),
        (long, true, 100, "detail=trailers"),
        (long, false, 100, "stored; ttl=60"),
        (&[], false, 100, "stored; ttl=60"),
    ];
    for layers in 1..=2 {
        for (frames, trailers, limit, word) in table {
            let inner =
                service_fn(
                    move |_: Request<Body>| async move { Ok::<_, Infallible>(ready(frames, trailers)) },
                );
            let policy = || policy().max_body_bytes(limit);
            let cache = memory();
            let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
            let statuses = match layers {
                1 => status_of(&stack, get("/")).await,
                _ => status_of(&AnonymousOnlyLayer::new().layer(stack), get("/")).await,
            };
            assert_eq!(statuses, format!("fwd=uri-miss; fwd-status=200; {word}"), "{layers} layers");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn next_miss_states_the_ttl_that_a_value_shortened() {
    for pauses in [false, true] {
        let (cache, manual) = timed();
        let own = cache.clone();
        let inner = service_fn(move |_: Request<Body>| {
            let cache = own.clone();
            let body = futures::stream::once(async move {
                if pauses {
                    tokio::task::yield_now().await;
                }
                let part = cache.get_or_set("part", 10 * S, || async { "part".to_owned() }).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from(part.expect("stored"))))
            });
            async move { Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(body)))) }
        });
        let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
        let first = if pauses { 60 } else { 10 };
        for ttl in [first, 10, 10] {
            assert_eq!(
                status_of(&stack, get("/")).await,
                format!("fwd=uri-miss; fwd-status=200; stored; ttl={ttl}")
            );
            assert_eq!(status_of(&stack, get("/")).await, "hit; ttl=10");
            manual.advance(61 * S);
            assert_eq!(cache.clear().await, Delivery::Delivered);
        }
    }
}

#[tokio::test]
async fn self_invalidating_page_is_reported_as_invalidated() {
    let cache = memory();
    let own = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let cache = own.clone();
        let body = futures::stream::once(async move {
            tokio::task::yield_now().await;
            assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"page")))
        });
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(body)))) }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; stored; ttl=60");
    for _ in 0..3 {
        assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; detail=invalidated");
    }
}

#[tokio::test(start_paused = true)]
async fn page_that_the_store_rejects_is_reported_as_store_failed() {
    let store = Faulty::new(memory_store(1 << 20), Fault::CantPut);
    let cache = Cache::new(store);
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; stored; ttl=60");
    for _ in 0..3 {
        settle().await;
        assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; detail=store-failed");
    }
}

#[tokio::test]
async fn each_variant_has_its_own_outcome() {
    let inner = service_fn(|request: Request<Body>| async move {
        let is_german = request.headers()["accept-language"] == "de";
        let frames: &[&str] = if is_german { &["0123456789", "0123456789"] } else { &["012"] };
        let frames = futures::stream::iter(frames).then(|text| async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes())))
        });
        let mut response = Response::new(StreamBody::new(Box::pin(frames)));
        response.headers_mut().insert("vary", "accept-language".parse().expect("a value"));
        Ok::<_, Infallible>(response)
    });
    let stack = SiteCacheLayer::new(&memory())
        .policy(policy().max_body_bytes(15).build().expect("a policy"))
        .layer(inner);
    let table = [
        ("de", "uri-miss; fwd-status=200; stored; ttl=60"),
        ("de", "uri-miss; fwd-status=200; detail=too-large"),
        ("en", "uri-miss; fwd-status=200; stored; ttl=60"),
        ("de", "vary-miss; fwd-status=200; detail=too-large"),
        ("fr", "vary-miss; fwd-status=200; stored; ttl=60"),
        ("de", "vary-miss; fwd-status=200; detail=too-large"),
    ];
    for (language, statuses) in table {
        assert_eq!(
            status_of(&stack, get_with("/", &[("accept-language", language)])).await,
            format!("fwd={statuses}")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_revalidation_that_the_store_rejects_reports_store_failed() {
    for is_layered in [false, true] {
        let store = Faulty::new(memory_store(1 << 20), Fault::CantPut);
        store.on.store(false, Ordering::SeqCst);
        let lines: Lines = &[("cache-control", "no-cache"), ("etag", "\"a\"")];
        let (inner, _) = origin(move |request, _| match request.headers().contains_key("if-none-match") {
            true => status(304, lines),
            false => with_lines(lines, "page"),
        });
        let site = site_over(&Cache::new(store.clone()), inner);
        let outer = AnonymousOnlyLayer::new().layer(site.clone());
        status_of(&site, get("/")).await;
        settle().await;
        store.on.store(true, Ordering::SeqCst);
        let mut statuses = String::new();
        for _ in 0..3 {
            statuses =
                if is_layered { status_of(&outer, get("/")).await } else { status_of(&site, get("/")).await };
            settle().await;
        }
        assert_eq!(statuses, "fwd=stale; fwd-status=304; detail=store-failed", "layered: {is_layered}");
    }
}
