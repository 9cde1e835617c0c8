//! The assertions of `testing` on responses of complete stacks, and `testing::memory_cache`.

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::testing::{
    assert_hit, assert_miss, assert_not_stored, assert_stored, memory_cache, memory_cache_with,
};
use tower_response_cache::{Policy, RouteCacheLayer, SiteCacheLayer};

/// Sends a request and reads the body, so that the response is stored. With `is_received`, the
/// returned response has no extensions, as after a transfer over a socket. Otherwise, it has no
/// `Cache-Status`.
async fn response_to(stack: &Stack, request: Request<Body>, is_received: bool) -> Response<Bytes> {
    let mut response = stack.clone().oneshot(request).await.expect("infallible");
    let extensions = std::mem::take(response.extensions_mut());
    let Answer { status, headers, body } = read(response).await;
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    match is_received {
        true => assert!(response.headers().contains_key("cache-status")),
        false => {
            response.headers_mut().remove("cache-status");
            *response.extensions_mut() = extensions;
        }
    }
    response
}

#[tokio::test(start_paused = true)]
async fn assertions_read_extensions_and_fields_of_stacks() {
    for is_received in [false, true] {
        let (cache, clock) = memory_cache();
        let (inner, calls) = origin(|request, call| match request.uri().path() {
            "/private" => numbered(&[("cache-control", "private")], call),
            _ => numbered(&[("vary", "accept-language")], call),
        });
        let stack = site_over(&cache, inner);
        let response_to = |request| response_to(&stack, request, is_received);
        let first = response_to(get("/")).await;
        assert_miss(&first);
        assert_stored(&first);
        assert_hit(&response_to(get("/")).await);
        assert_miss(&response_to(get_with("/", &[("accept-language", "fr")])).await);
        assert_not_stored(&response_to(get("/private")).await, "private");
        assert_not_stored(&response_to(get_with("/", &[("cookie", "session=7")])).await, "cookie");
        assert_not_stored(&response_to(get_with("/", &[("x-shop-token", "7")])).await, "x-shop-token");
        assert_not_stored(&response_to(request("PUT", "/other", &[])).await, "method");
        clock.advance(MINUTE);
        assert_miss(&response_to(get("/")).await);
        assert_eq!(calls.count(), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_cache_with_applies_options_and_keeps_its_clock() {
    let policy = Policy::app().default_ttl(MINUTE).cache_status(true).build().expect("a policy");
    let (cache, clock) = memory_cache_with(|builder| builder.namespace("shop").policy(policy));
    assert_eq!(cache.namespace(), "shop");
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = SiteCacheLayer::new(&cache).layer(inner).boxed_clone();
    assert_stored(&response_to(&stack, get("/"), true).await);
    assert_hit(&response_to(&stack, get("/"), true).await);
    clock.advance(MINUTE);
    assert_miss(&response_to(&stack, get("/"), true).await);
}

#[tokio::test(start_paused = true)]
async fn memory_cache_reports_status_and_shares_its_stores_clock() {
    let (cache, clock) = memory_cache();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = RouteCacheLayer::new(&cache, MINUTE).layer(inner).boxed_clone();
    assert_stored(&response_to(&stack, get("/"), true).await);
    clock.advance(MINUTE - Duration::from_secs(1));
    assert_hit(&response_to(&stack, get("/"), true).await);
    cache.set("value", &1, MINUTE).await.expect("in memory");
    clock.advance(MINUTE);
    assert!(!cache.contains("value").await.expect("in memory"));
    assert_miss(&response_to(&stack, get("/"), true).await);
}

#[tokio::test(start_paused = true)]
#[should_panic(
    expected = "expected a hit, but the response has no `Cache-Status`: is `cache_status(true)` set in the policy"
)]
async fn assert_hit_explains_a_missing_cache_status() {
    let (cache, _) = memory_cache();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let policy = Policy::app().status_extension(false).build().expect("a policy");
    let stack = SiteCacheLayer::new(&cache).policy(policy).layer(inner).boxed_clone();
    assert_hit(&response_to(&stack, get("/"), false).await);
}
