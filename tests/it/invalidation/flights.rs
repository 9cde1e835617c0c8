//! Flights under invalidation: a request that arrives after an invalidation gets no response from
//! an earlier fetch.

use crate::support::stacks::*;
use crate::support::streamed_pages::Pieces;
use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{CacheHints, Invalidation, Policy, SiteCacheLayer};

/// Returns a service and the number of its calls.
///
/// The head and each of the two body frames take 20 milliseconds. Each frame contains the value
/// that `data` had when the call began.
fn streaming(
    data: &Arc<AtomicU64>,
) -> (
    impl tower::Service<
        Request<Body>,
        Response = Response<impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static,
    Arc<AtomicUsize>,
) {
    let (data, calls) = (Arc::clone(data), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request<Body>| {
        let found = data.load(Ordering::SeqCst).to_string();
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(20 * MS).await;
            let halves = futures::stream::unfold(0, move |at| {
                let frame = Frame::data(Bytes::from(found.clone()));
                async move {
                    sleep(20 * MS).await;
                    (at < 2).then_some((Ok::<_, Infallible>(frame), at + 1))
                }
            });
            let mut response = Response::new(StreamBody::new(Box::pin(halves)));
            CacheHints::new().tags(["t"]).add_to(response.extensions_mut());
            Ok::<_, Infallible>(response)
        }
    });
    (service, calls)
}

#[tokio::test(start_paused = true)]
async fn no_request_joins_a_flight_older_than_an_invalidation() {
    for &setup in ALL {
        for soft in [false, true] {
            for what in [
                Invalidation::path("/a/b"),
                Invalidation::uri("/a/b?x=1"),
                Invalidation::uri("/a/b?x=1").host("a.example"),
                Invalidation::subtree("/a"),
                Invalidation::subtree("/").host("a.example"),
                Invalidation::tag("t"),
                Invalidation::tag("t").host("a.example"),
                Invalidation::all(),
            ] {
                let what = if soft { what.soft() } else { what };
                // Milliseconds: before the head, before the first frame, and before the last frame.
                for when in [10, 30, 50] {
                    let (cache, _manual) = setup.cache(0);
                    let data = Arc::new(AtomicU64::new(1));
                    let (inner, _) = streaming(&data);
                    let stack = SiteCacheLayer::new(&cache)
                        .policy(windowed().build().expect("a policy"))
                        .layer(inner);
                    let request_page = || {
                        let call = stack.clone().oneshot(get_with("/a/b?x=1", &[A]));
                        tokio::spawn(async move { read(call.await.expect("infallible")).await })
                    };
                    let (leader, follower) = (request_page(), request_page());
                    sleep(when * MS).await;
                    data.store(2, Ordering::SeqCst);
                    invalidate(&cache, what.clone()).await;
                    let (one, other) = (request_page(), request_page());
                    for after in [one, other] {
                        assert_eq!(after.await.expect("no panic").text(), "22", "{setup:?} {what:?} {when}");
                    }
                    for before in [leader, follower] {
                        let answer = before.await.expect("no panic");
                        assert!(["11", "22"].contains(&answer.text()), "{answer:?}");
                    }
                    settle().await;
                    assert_eq!(
                        request_page().await.expect("no panic").text(),
                        "22",
                        "{setup:?} {what:?} {when}"
                    );
                    assert_eq!(cache.flights(), 0);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_after_a_tag_invalidation_share_one_flight() {
    for &setup in ALL {
        for soft in [false, true] {
            // The milliseconds until the invalidation: before the head, which carries the tags,
            // and during the body.
            for when in [10, 50] {
                let (cache, _manual) = setup.cache(0);
                let data = Arc::new(AtomicU64::new(1));
                let (inner, calls) = streaming(&data);
                let stack =
                    SiteCacheLayer::new(&cache).policy(lasting().build().expect("a policy")).layer(inner);
                let request_page = || {
                    let call = stack.clone().oneshot(get("/"));
                    tokio::spawn(async move { read(call.await.expect("infallible")).await })
                };
                let first = request_page();
                sleep(when * MS).await;
                data.store(2, Ordering::SeqCst);
                let what = Invalidation::tag("t");
                invalidate(&cache, if soft { what.soft() } else { what }).await;
                let all: Vec<_> = (0..8).map(|_| request_page()).collect();
                for after in all {
                    assert_eq!(after.await.expect("no panic").text(), "22", "{setup:?} {soft} {when}");
                }
                first.await.expect("no panic");
                assert_eq!(calls.load(Ordering::SeqCst), 2, "{setup:?} {soft} {when}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_join_a_flight_after_an_unrelated_invalidation() {
    for &setup in ALL {
        let mut calls_made = Vec::new();
        // Scopes share buckets, so an invalidation of an unrelated scope may apply to the page by
        // chance. This hardly happens in each of five namespaces.
        for attempt in 0..5 {
            let (cache, _manual) = setup.cache(attempt);
            let (inner, calls) = slow(&["t"], &[]);
            let stack = layered(&cache, lasting(), inner);
            let request_page = || begin(&stack, get_with("/a/b?x=1", &[A]));
            let first = request_page();
            sleep(20 * MS).await;
            for what in [
                Invalidation::path("/a"),
                Invalidation::uri("/a/b?x=2"),
                Invalidation::subtree("/a/b/c"),
                Invalidation::tag("u"),
                Invalidation::tag("t").host("b.example"),
                Invalidation::path("/a/b").host("b.example"),
                Invalidation::all().host("b.example"),
            ] {
                invalidate(&cache, what).await;
            }
            let second = request_page();
            let both = [first.await.expect("no panic"), second.await.expect("no panic")];
            settle().await;
            let hit = send(&stack, get_with("/a/b?x=1", &[A])).await;
            calls_made.push(calls.count());
            if calls.count() == 1 {
                assert!(both.iter().all(|answer| answer.text() == "1") && hit.is_hit());
                break;
            }
        }
        assert_eq!(calls_made.last(), Some(&1), "{setup:?} {calls_made:?}");
    }
}

const S: Duration = Duration::from_secs(1);
type Shop = BoxCloneService<Request<Body>, Response<ResponseBody<Pieces>>, Infallible>;

/// The requests arrive after an invalidation of a tag, while the body of an older fetch streams.
#[tokio::test(start_paused = true)]
async fn requests_after_a_tag_invalidation_share_one_streamed_call() {
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
    assert_eq!(cache.invalidate(Invalidation::tag("t")).await, Delivery::Delivered);
    let all = futures::future::join_all((0..10).map(|_| send(&shop, get("/"))));
    let (all, _) = tokio::join!(all, body.collect());
    assert!(all.iter().all(|answer| answer.text() != "111"));
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_begun_before_an_invalidation_is_not_served_later() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            sleep(Duration::from_millis(50)).await;
            Ok::<_, Infallible>(numbered(&[], call))
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let late = tokio::spawn({
        let call = stack.clone().oneshot(get("/"));
        async move { read(call.await.expect("infallible")).await }
    });
    sleep(Duration::from_millis(10)).await;
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    assert_eq!(cache.invalidate(Invalidation::path("/unrelated")).await, Delivery::Delivered);
    let fresh = tokio::spawn({
        let call = stack.clone().oneshot(get("/"));
        async move { read(call.await.expect("infallible")).await }
    });
    sleep(Duration::from_millis(10)).await;
    assert_eq!(calls.count(), 2, "the second request does not wait for the first");
    assert_eq!(cache.invalidate(Invalidation::path("/unrelated")).await, Delivery::Delivered);
    let follower = send(&stack, get("/")).await;
    assert_eq!(late.await.expect("no panic").text(), "1", "this request preceded the invalidation");
    assert_eq!(fresh.await.expect("no panic").text(), "2");
    assert_eq!(follower.text(), "2");
    let hit = send(&stack, get("/")).await;
    assert_eq!((hit.text(), hit.is_hit(), calls.count()), ("2", true, 2));
}

#[tokio::test(start_paused = true)]
async fn a_late_fetch_does_not_replace_a_newer_one() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            sleep(Duration::from_millis(if call == 1 { 200 } else { 20 })).await;
            Ok::<_, Infallible>(numbered(&[], call))
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let late = tokio::spawn({
        let call = stack.clone().oneshot(get("/"));
        async move { read(call.await.expect("infallible")).await }
    });
    sleep(Duration::from_millis(10)).await;
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    assert_eq!(send(&stack, get("/")).await.text(), "2");
    assert_eq!(late.await.expect("no panic").text(), "1");
    let hit = send(&stack, get("/")).await;
    assert_eq!((hit.text(), hit.is_hit(), calls.count()), ("2", true, 2));
}

/// A POST response invalidates its own target before it is stored. Another invalidation may occur
/// at any point of that process.
#[tokio::test(start_paused = true)]
async fn a_concurrent_invalidation_covers_a_post_response() {
    let lines = [("cache-control", "max-age=60"), ("content-location", "/list")];
    let mut kept = 0;
    for delay in 0..40 {
        let (cache, _) = StoreSetup::Remote.cache(0);
        let (handle, answered) = (cache.clone(), Arc::new(tokio::sync::Notify::new()));
        let notify = Arc::clone(&answered);
        let inner = service_fn(move |_: Request<Body>| {
            notify.notify_one();
            std::future::ready(Ok::<_, Infallible>(numbered(&lines, 1)))
        });
        let layer = SiteCacheLayer::new(&cache)
            .policy(Policy::rfc9111().cache_status(true).build().expect("a policy"));
        let stack = layer.layer(inner.boxed_clone());
        let other = tokio::spawn(async move {
            answered.notified().await;
            sleep(MS * delay).await;
            invalidate(&handle, Invalidation::path("/list")).await;
        });
        let written = send(&stack, request("POST", "/list", &[A])).await;
        kept += usize::from(written.header("cache-status").is_some_and(|line| line.contains("stored")));
        other.await.expect("no panic");
        settle().await;
        assert!(!send(&stack, get_with("/list", &[A])).await.is_hit(), "after {delay} ms");
    }
    assert!(kept > 0, "some responses are stored before the invalidation");
}
