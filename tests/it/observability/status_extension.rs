//! The [`CacheStatus`] extension, which each response has whether or not `Cache-Status` is sent.

use crate::support::*;
use http::{Request, Response};
use tower::{Layer, ServiceExt};
use tower_response_cache::{Cache, CacheStatus, Policy, RouteCacheLayer, SiteCacheLayer};

/// Sends a request, and returns the extension as an access log shows it. Asserts that the response
/// has no `Cache-Status`.
async fn logged<S, B>(stack: &S, request: Request<Body>) -> Option<String>
where
    S: tower::Service<Request<Body>, Response = Response<B>, Error: std::fmt::Debug> + Clone,
    B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Debug>,
{
    let response = stack.clone().oneshot(request).await.expect("an answer");
    let status = response.extensions().get::<CacheStatus>().map(ToString::to_string);
    assert_eq!(read(response).await.header("cache-status"), None);
    status
}

fn plain(_: &Request<Body>, call: usize) -> Response<Body> {
    numbered(&[], call)
}

fn quiet() -> tower_response_cache::policy::PolicyBuilder {
    Policy::app().default_ttl(MINUTE)
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_answer_has_the_extension() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, _| match request.uri().path() {
        "/private" => with_lines(&[("cache-control", "private")], "page"),
        _ => with_lines(&[("etag", "\"a\"")], "page"),
    });
    let stack = SiteCacheLayer::new(&cache).policy(quiet().build().expect("a policy")).layer(inner);
    let requests = [
        (get("/"), "fwd=uri-miss; fwd-status=200; stored; ttl=60"),
        (get("/"), "hit; ttl=59"),
        (get_with("/", &[("if-none-match", "\"a\"")]), "hit; ttl=58"),
        (request("HEAD", "/", &[]), "hit; ttl=57"),
        (get_with("/", &[("cookie", "sid=1")]), "fwd=bypass; fwd-status=200; detail=cookie"),
        (get_with("/", &[("x-acme-session", "1")]), "fwd=bypass; fwd-status=200; detail=x-acme-session"),
        (request("POST", "/", &[]), "fwd=method; fwd-status=200"),
        (get("/"), "fwd=stale; fwd-status=200; stored; ttl=60; detail=invalidated"),
        (get("/private"), "fwd=uri-miss; fwd-status=200; detail=private"),
    ];
    for (request, status) in requests {
        assert_eq!(logged(&stack, request).await.as_deref(), Some(status));
        manual.advance(std::time::Duration::from_secs(1));
    }
}

#[tokio::test]
async fn no_answer_has_the_extension_if_it_is_switched_off() {
    let (inner, _) = origin(plain);
    let policy = quiet().status_extension(false).build().expect("a policy");
    let stack = SiteCacheLayer::new(&memory()).policy(policy).layer(inner);
    for request in
        [get("/"), get("/"), get_with("/", &[("cookie", "sid=1")]), request("POST", "/", &[]), get("/")]
    {
        assert_eq!(logged(&stack, request).await, None);
    }
}

#[tokio::test]
async fn field_is_sent_although_the_extension_is_switched_off() {
    let (inner, _) = origin(plain);
    let policy = quiet().status_extension(false).cache_status(true).build().expect("a policy");
    let stack = SiteCacheLayer::new(&memory()).policy(policy).layer(inner);
    for status in ["fwd=uri-miss; fwd-status=200; stored; ttl=60", "hit; ttl="] {
        let response = stack.clone().oneshot(get("/")).await.expect("infallible");
        assert!(response.extensions().get::<CacheStatus>().is_none());
        let field = read(response).await.header("cache-status").map(str::to_owned).expect("a field");
        assert!(field.starts_with(&format!("tower-response-cache; {status}")), "{field}");
    }
}

#[tokio::test]
async fn nested_layers_leave_the_status_of_the_deciding_layer() {
    let cache: Cache = memory();
    let (inner, _) = origin(plain);
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    let stack = SiteCacheLayer::new(&cache).layer(route);
    let stored = logged(&stack, get("/")).await.expect("a status");
    assert!(stored.starts_with("fwd=uri-miss; fwd-status=200; stored; ttl="), "{stored}");
    let hit = logged(&stack, get("/")).await.expect("a status");
    assert!(hit.starts_with("hit; ttl="), "{hit}");
}

#[tokio::test]
async fn layer_that_is_off_leaves_the_status_of_an_inner_hit() {
    let cache: Cache = memory();
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(origin(plain).0);
    let stack = SiteCacheLayer::new(&cache).enabled(false).layer(route);
    logged(&stack, get("/")).await.expect("a status");
    let hit = logged(&stack, get("/")).await.expect("a status");
    assert!(hit.starts_with("hit; ttl="), "{hit}");
    // The inner layer bypasses requests with a body.
    let body = || Request::get("/").header("content-length", "1").body(Body::from("x")).expect("a request");
    assert_eq!(logged(&stack, body()).await.as_deref(), Some("fwd=bypass; fwd-status=200; detail=body"));
}

/// When the outer layer admits the response, it changes the extension to `stored`. It leaves the
/// `Cache-Status` field of an upstream cache with the same name unchanged.
#[tokio::test]
async fn corrected_extension_leaves_the_upstream_field_unchanged() {
    let foreign = "tower-response-cache; fwd=uri-miss; fwd-status=200";
    let (inner, _) = origin(move |_, _| with_lines(&[("cache-status", foreign)], "page"));
    let cache: Cache = memory();
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    let stack = SiteCacheLayer::new(&cache).layer(route);
    let response = stack.oneshot(get("/")).await.expect("infallible");
    assert!(response.extensions().get::<CacheStatus>().expect("a status").is_stored());
    assert_eq!(read(response).await.header("cache-status"), Some(foreign));
}
