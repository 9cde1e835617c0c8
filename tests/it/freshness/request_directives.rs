//! Request directives that accept or refuse stale responses.

use crate::support::rfc9111::{SECOND, app, field, proxy, standing};
use crate::support::*;
use http::Request;
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Invalidation, SiteCacheLayer};

/// In each row, the page is stale: softly invalidated (`soft`), or one second past its lifetime.
/// The stale window in its `Cache-Control` has not ended.
#[tokio::test(start_paused = true)]
async fn request_directives_limit_stale_responses() {
    use tower_response_cache::Invalidation;
    for (response_control, request_control, soft, answered) in [
        ("max-age=60, stale-while-revalidate=600", "min-fresh=1", true, false),
        ("max-age=60, stale-while-revalidate=600", "no-cache", true, false),
        ("max-age=60, stale-while-revalidate=600", "max-age=0", true, false),
        ("max-age=60, stale-while-revalidate=600", "max-stale", true, true),
        ("max-age=60, stale-while-revalidate=600, must-revalidate", "max-stale", true, false),
        ("max-age=60, stale-while-revalidate=600", "min-fresh=1", false, false),
        ("s-maxage=60, stale-while-revalidate=600", "max-stale", false, false),
        ("max-age=60, stale-while-revalidate=600", "only-if-cached", false, true),
        ("max-age=60, stale-while-revalidate=600", "only-if-cached, min-fresh=1", false, false),
    ] {
        let (cache, manual) = timed();
        let (inner, _) = origin(move |_, call| numbered(&[("cache-control", response_control)], call));
        let stack =
            SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
        send(&stack, get("/")).await;
        manual.advance(if soft { SECOND } else { 61 * SECOND });
        if soft {
            assert_eq!(cache.invalidate(Invalidation::path("/").soft()).await, Delivery::Delivered);
        }
        let answer = send(&stack, get_with("/", &[("cache-control", request_control)])).await;
        assert_eq!(
            answer.is_hit(),
            answered,
            "{response_control}: {request_control} {soft} {:?}",
            answer.headers
        );
    }
}

/// RFC 9111 section 4.2.4: a stale response is only for the client that accepts it.
#[tokio::test(start_paused = true)]
async fn a_max_stale_response_is_not_shared_with_followers() {
    let inner = service_fn(|request: Request<Body>| async move {
        let takes = field(&request, "cache-control").contains("max-stale");
        tokio::time::sleep(SECOND).await;
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        // The service acts like a cache that honors `max-stale`.
        Ok::<_, Infallible>(match takes {
            true => with_lines(&[&lines[..], &[("age", "5000")]].concat(), "stale"),
            false => with_lines(&lines, "fresh"),
        })
    });
    let stack =
        SiteCacheLayer::new(&memory()).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    let (one, two) =
        tokio::join!(send(&stack, get_with("/", &[("cache-control", "max-stale")])), send(&stack, get("/")));
    assert_eq!([one.text(), two.text()], ["stale", "fresh"], "{:?}", two.headers);
}

/// The response has no stale window.
#[tokio::test]
async fn max_stale_gets_no_softly_invalidated_response() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|_, call| numbered(&[("cache-control", "max-age=600")], call));
    let stack =
        SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    send(&stack, get("/")).await;
    assert_eq!(cache.invalidate(Invalidation::path("/").soft()).await, Delivery::Delivered);
    manual.advance(SECOND);
    for call in 2..=3 {
        let answer = send(&stack, get_with("/", &[("cache-control", "max-stale")])).await;
        assert_eq!((answer.text(), calls.count()), (call.to_string().as_str(), call));
        assert_eq!(cache.invalidate(Invalidation::path("/").soft()).await, Delivery::Delivered);
    }
}

/// RFC 9111 sections 4.2.4 and 5.2.1.2.
#[tokio::test]
async fn max_stale_is_honored_unless_the_response_forbids_it() {
    let conditional_request = |value: &'static str| get_with("/", &[("cache-control", value)]);
    let table = [
        (proxy(), "max-age=60", "max-stale=10", true),
        (proxy(), "max-age=60", "max-stale", true),
        (proxy(), "max-age=60", "max-stale=9", false),
        (proxy(), "max-age=60", "max-stale=x", false),
        (proxy(), "max-age=60", "max-age=100", false),
        (proxy(), "max-age=60", "max-stale=10, max-age=60", false),
        (proxy(), "max-age=60", "max-stale=10, max-age=70", true),
        (proxy(), "max-age=60", "max-stale=10, min-fresh=1", false),
        (proxy(), "max-age=60", "max-stale=10, no-cache", false),
        (proxy(), "max-age=60, must-revalidate", "max-stale", false),
        (proxy(), "max-age=60, proxy-revalidate", "max-stale", false),
        (proxy(), "s-maxage=60", "max-stale", false),
        (app(), "max-age=60", "max-stale", false),
    ];
    for (policy, response_control, request_control, answered) in table {
        let (stack, calls, manual) =
            standing(policy, move |_, call| numbered(&[("cache-control", response_control)], call));
        send(&stack, get("/")).await;
        manual.advance(Duration::from_secs(70));
        let answer = send(&stack, conditional_request(request_control)).await;
        assert_eq!(
            (answer.is_hit(), calls.count()),
            (answered, if answered { 1 } else { 2 }),
            "{response_control}: {request_control}"
        );
        if answered {
            assert_eq!(
                answer.header("cache-status"),
                Some("tower-response-cache; hit; ttl=-10; detail=stale")
            );
            assert_eq!(answer.header("age"), Some("70"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn max_stale_starts_a_background_refresh() {
    let response_control = "max-age=60, stale-while-revalidate=600";
    let (stack, calls, manual) =
        standing(proxy(), move |_, call| numbered(&[("cache-control", response_control)], call));
    send(&stack, get("/")).await;
    manual.advance(Duration::from_secs(70));
    assert!(send(&stack, get_with("/", &[("cache-control", "max-stale=600")])).await.is_hit());
    tokio::time::sleep(SECOND).await;
    assert_eq!((send(&stack, get("/")).await.text(), calls.count()), ("2", 2));
}
