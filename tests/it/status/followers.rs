//! `Cache-Status` of followers, of failures of the service or the store, and of stale hits.

use crate::status::field::{read_members, status_of};
use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use futures::future::join_all;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::Clock;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, Invalidation, MemoryStore, Policy, SiteCacheLayer};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_revalidation_is_not_stored_if_the_store_failed() {
    let store = Faulty::new(memory_store(8 << 20), Fault::Down);
    store.on.store(false, Ordering::SeqCst);
    let failing = Arc::clone(&store.on);
    let (inner, _) = origin(move |request, _| {
        let mut response = with_lines(&[("etag", "\"a\""), ("cache-control", "no-cache")], "page");
        if request.headers().contains_key("if-none-match") {
            failing.store(true, Ordering::SeqCst);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        response
    });
    let stack = site_over(&Cache::new(store), inner);
    assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; stored; ttl=0");
    // The cache writes to a remote store after it has sent the response.
    sleep(MS).await;
    let response = stack.clone().oneshot(get("/")).await.expect("infallible");
    let (statuses, answer) = read_members(response).await;
    assert_eq!(
        (statuses.as_str(), answer.text()),
        ("fwd=stale; fwd-status=304; detail=store-failed", "page")
    );
}

#[tokio::test(start_paused = true)]
async fn follower_of_a_304_reports_fwd_stale() {
    for offset in 0..60 {
        let (clock, _) = Clock::manual();
        let memory =
            MemoryStore::builder().seed(3).max_bytes(8 << 20).clock(clock.clone()).build().expect("valid");
        let cache = Cache::builder(Faulty::new(memory, Fault::Slow)).clock(clock).build().expect("valid");
        let (inner, _) = origin(|request, _| {
            let mut response = with_lines(&[("etag", "\"a\""), ("cache-control", "no-cache")], "page");
            if request.headers().contains_key("if-none-match") {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
            }
            response
        });
        let stack = site_over(&cache, inner);
        let later = async {
            sleep(offset * MS).await;
            status_of(&stack, get("/")).await
        };
        let (_, statuses) = tokio::join!(status_of(&stack, get("/")), later);
        assert_eq!(
            statuses.contains("fwd-status=304"),
            statuses.contains("fwd=stale"),
            "{offset} ms: {statuses}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn fwd_status_is_present_only_if_the_service_answered() {
    let (cache, manual) = timed();
    let calls = Calls::default();
    let inner = service_fn(move |_: Request<Body>| {
        let call = calls.next();
        async move {
            match call {
                2 => Err(io::Error::other("down")),
                3 => std::future::pending().await,
                4 => {
                    let mut response = numbered(&[], call);
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    Ok(response)
                }
                _ => Ok(numbered(&[], call)),
            }
        }
    });
    let policy = policy().stale_if_error(60 * S).origin_timeout(S);
    let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
    for expected in [
        "fwd=uri-miss; fwd-status=200; stored; ttl=60",
        "fwd=stale; ttl=-10; detail=stale-if-error",
        "fwd=stale; ttl=-20; detail=stale-if-error",
        "fwd=stale; fwd-status=502; ttl=-30; detail=stale-if-error",
        "fwd=stale; fwd-status=200; stored; ttl=60",
    ] {
        assert_eq!(status_of(&stack, get("/")).await, expected);
        manual.advance(if expected.contains("uri-miss") { 70 * S } else { 10 * S });
    }
    assert_eq!(status_of(&stack, get("/")).await, "hit; ttl=50");
}

/// Creates a cached service that responds once it is notified. The body is ready with the head.
fn gated(policy: PolicyBuilder, code: u16) -> (Stack, Arc<Notify>, Cache) {
    let (cache, _) = timed();
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let inner = service_fn(move |_: Request<Body>| {
        let opened = Arc::clone(&opened);
        async move {
            opened.notified().await;
            let mut response = numbered(&[], 1);
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
            Ok::<_, Infallible>(response)
        }
    });
    (
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone(),
        gate,
        cache,
    )
}

#[tokio::test(start_paused = true)]
async fn followers_report_whether_they_collapsed() {
    let table = [
        (policy(), 200, ["fwd=uri-miss; fwd-status=200; stored; ttl=60", "fwd=uri-miss; collapsed; ttl=60"]),
        (
            Policy::app().cache_status(true),
            200,
            [
                "fwd=uri-miss; fwd-status=200; detail=no-lifetime",
                "fwd=uri-miss; fwd-status=200; collapsed=?0; detail=no-lifetime",
            ],
        ),
        (
            policy().collapse_timeout(10 * MS),
            200,
            [
                "fwd=uri-miss; fwd-status=200; stored; ttl=60",
                "fwd=uri-miss; fwd-status=200; stored; collapsed=?0; ttl=60",
            ],
        ),
        (
            policy().max_followers(0),
            200,
            ["fwd=uri-miss; fwd-status=200; stored; ttl=60", "fwd=uri-miss; fwd-status=200; stored; ttl=60"],
        ),
        (
            policy(),
            500,
            [
                "fwd=uri-miss; fwd-status=500; detail=no-lifetime",
                "fwd=uri-miss; fwd-status=500; collapsed=?0; detail=no-lifetime",
            ],
        ),
    ];
    for (policy, code, expected) in table {
        let (stack, gate, _) = gated(policy, code);
        let opening = async {
            for _ in 0..5 {
                sleep(50 * MS).await;
                gate.notify_waiters();
            }
        };
        let asking = join_all([status_of(&stack, get("/")), status_of(&stack, get("/"))]);
        assert_eq!(tokio::join!(asking, opening).0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_of_a_cancelled_leader_reports_its_own_fetch() {
    let (stack, gate, _) = gated(policy(), 200);
    let leader = tokio::spawn(stack.clone().oneshot(get("/")));
    sleep(MS).await;
    let (first, second) = (status_of(&stack, get("/")), status_of(&stack, get("/")));
    let leaving = async {
        sleep(MS).await;
        leader.abort();
        sleep(MS).await;
        gate.notify_waiters();
    };
    let (first, second, ()) = tokio::join!(first, second, leaving);
    assert_eq!(first, "fwd=uri-miss; fwd-status=200; stored; collapsed=?0; ttl=60");
    assert_eq!(second, "fwd=uri-miss; collapsed; ttl=60");
}

#[tokio::test(start_paused = true)]
async fn follower_of_a_cancelled_leader_reports_a_failed_store() {
    let store = Faulty::new(memory_store(8 << 20), Fault::Down);
    store.on.store(false, Ordering::SeqCst);
    let failing = Arc::clone(&store.on);
    let calls = Calls::default();
    let inner = service_fn(move |_: Request<Body>| {
        let first = calls.next() == 1;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(numbered(&[], 2))
        }
    });
    let stack =
        SiteCacheLayer::new(&Cache::new(store)).policy(policy().build().expect("a policy")).layer(inner);
    let leader = tokio::spawn(stack.clone().oneshot(get("/")));
    sleep(MS).await;
    let leaving = async {
        sleep(MS).await;
        failing.store(true, Ordering::SeqCst);
        leader.abort();
    };
    let (statuses, ()) = tokio::join!(status_of(&stack, get("/")), leaving);
    assert_eq!(statuses, "fwd=bypass; fwd-status=200; collapsed=?0; detail=store-failed");
}

#[tokio::test(start_paused = true)]
async fn readers_of_a_streaming_body_report_collapsed() {
    let (cache, _) = timed();
    let inner = service_fn(|_: Request<Body>| async {
        sleep(MS).await;
        let rest = futures::stream::once(async {
            sleep(50 * MS).await;
            Ok::<_, Infallible>(http_body::Frame::data(bytes::Bytes::from("page")))
        });
        Ok::<_, Infallible>(Response::new(http_body_util::StreamBody::new(Box::pin(rest))))
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let late = async {
        sleep(20 * MS).await;
        status_of(&stack, get("/")).await
    };
    let (first, waiting, late) = tokio::join!(status_of(&stack, get("/")), status_of(&stack, get("/")), late);
    assert_eq!(first, "fwd=uri-miss; fwd-status=200; stored; ttl=60");
    assert_eq!([waiting, late], ["fwd=uri-miss; collapsed; ttl=60"; 2]);
    assert_eq!(status_of(&stack, get("/")).await, "hit; ttl=60");
}

#[tokio::test(start_paused = true)]
async fn a_stale_hit_with_a_background_refresh_reports_a_hit() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let policy = policy().stale_while_revalidate(60 * S);
    let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
    status_of(&stack, get("/")).await;
    manual.advance(70 * S);
    assert_eq!(status_of(&stack, get("/")).await, "hit; ttl=-10; detail=stale");
    sleep(S).await;
    assert_eq!((status_of(&stack, get("/")).await.as_str(), calls.count()), ("hit; ttl=60", 2));
    assert_eq!(cache.invalidate(Invalidation::path("/").soft()).await, Delivery::Delivered);
    assert_eq!(status_of(&stack, get("/")).await, "hit; ttl=0; detail=stale");
}
