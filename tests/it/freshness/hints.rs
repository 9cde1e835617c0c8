//! `CacheHints`: how a handler controls the caching of its response.

use crate::support::*;
use http::{Response, StatusCode};
use std::time::Duration;
use tower::Layer;
#[cfg(feature = "axum")]
use tower::ServiceExt;
#[cfg(feature = "axum")]
use tower_response_cache::SiteCacheLayer;
#[cfg(feature = "axum")]
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{CacheHints, RouteCacheLayer, Ttl};

fn hinted(lines: &[(&str, &str)], hints: CacheHints, call: usize) -> Response<Body> {
    let mut response = numbered(lines, call);
    response.extensions_mut().insert(hints);
    response
}

#[tokio::test]
async fn a_hinted_ttl_outranks_route_fields_and_default() {
    let hour = Duration::from_secs(3600);
    for line in [
        ("x-nothing", "1"),
        ("cache-control", "max-age=5"),
        ("cache-control", "private, max-age=0"),
        ("cache-control", "no-cache"),
        ("expires", "0"),
    ] {
        let (cache, manual) = timed();
        let (inner, _) = origin(move |_, call| hinted(&[line], CacheHints::new().ttl(hour), call));
        let stack =
            RouteCacheLayer::new(&cache, MINUTE).policy(policy().build().expect("a policy")).layer(inner);
        send(&stack, get("/")).await;
        manual.advance(hour - Duration::from_secs(1));
        assert!(send(&stack, get("/")).await.is_hit(), "{line:?}");
        manual.advance(Duration::from_secs(1));
        assert!(!send(&stack, get("/")).await.is_hit(), "{line:?}");
    }
}

#[tokio::test]
async fn hints_do_not_override_no_store_set_cookie_or_status() {
    for (line, status) in [
        (("cache-control", "no-store, max-age=60"), 200),
        (("set-cookie", "sid=1"), 200),
        (("vary", "*"), 200),
        (("x-nothing", "1"), 500),
        (("x-nothing", "1"), 403),
    ] {
        let (stack, _) = site(policy(), move |_, call| {
            let mut response = hinted(&[line], CacheHints::new().ttl(Ttl::Forever), call);
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            response
        });
        assert!(!shares(&stack, get("/"), get("/")).await, "{line:?} {status}");
    }
    let (stack, _) = site(policy(), |_, call| {
        let mut response = hinted(&[], CacheHints::new().ttl(MINUTE), call);
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    });
    assert!(shares(&stack, get("/"), get("/")).await, "a 404 with a hinted lifetime is stored");
}

#[tokio::test]
async fn hints_never_and_zero_ttl_store_nothing() {
    for (hints, stored) in [
        (CacheHints::new().never(), false),
        (CacheHints::new().ttl(MINUTE).never(), false),
        (CacheHints::new().ttl(Duration::ZERO), false),
        (CacheHints::new(), true),
        (CacheHints::new().ttl(Ttl::Default), true),
    ] {
        let (stack, _) =
            site(policy(), move |_, call| hinted(&[("cache-control", "max-age=60")], hints.clone(), call));
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored);
    }
}

#[tokio::test]
async fn hinted_vary_fields_select_variants_and_are_not_sent() {
    let (stack, calls) = site(policy(), |request, _| {
        let plan = request.headers()["x-plan"].to_str().expect("text").to_owned();
        let mut response = with_lines(&[("vary", "accept")], plan);
        response.extensions_mut().insert(CacheHints::new().vary([http::HeaderName::from_static("x-plan")]));
        response
    });
    for _ in 0..2 {
        for plan in ["free", "paid"] {
            let answer = send(&stack, get_with("/", &[("x-plan", plan)])).await;
            assert_eq!((answer.text(), answer.header("vary")), (plan, Some("accept")));
        }
    }
    assert_eq!(calls.count(), 2);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn under_axum_a_handler_returns_hints_with_its_page() {
    use axum::{Router, routing::get};
    let app = Router::new()
        .route("/", get(async || (CacheHints::new().ttl(MINUTE), "page")))
        .route("/never", get(async || (CacheHints::new().never(), "page")))
        .layer(
            SiteCacheLayer::new(&memory())
                .policy(tower_response_cache::Policy::app().cache_status(true).build().expect("a policy")),
        );
    for (path, expected) in [("/", true), ("/never", false)] {
        for hit in [false, expected] {
            let request = axum::http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
            let answer = read(app.clone().oneshot(request).await.expect("infallible")).await;
            assert_eq!((answer.text(), answer.is_hit()), ("page", hit), "{path}");
        }
    }
}

/// The cache is extracted from the state of the router.
#[cfg(feature = "axum")]
#[tokio::test]
async fn under_axum_the_cache_is_an_argument_of_handlers() {
    use axum::{Router, extract::FromRef, routing::get};
    use tower_response_cache::{Cache, Invalidation};

    #[derive(Clone, FromRef)]
    struct State {
        cache: Cache,
    }
    async fn save(cache: Cache) -> &'static str {
        assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
        "saved"
    }
    let cache = memory();
    let app = Router::new()
        .route("/", get(async || (CacheHints::new().ttl(MINUTE), "page")))
        .route("/save", get(save))
        .layer(
            SiteCacheLayer::new(&cache)
                .policy(tower_response_cache::Policy::app().cache_status(true).build().expect("a policy")),
        )
        .with_state(State { cache });
    for (path, hit) in [("/", false), ("/", true), ("/save", false), ("/", false)] {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
        let answer = read(app.clone().oneshot(request).await.expect("infallible")).await;
        assert_eq!(answer.is_hit(), hit, "{path}");
    }
}

#[test]
fn hints_of_several_layers_merge_and_never_or_zero_wins() {
    let mut response = Response::new(());
    let field = http::HeaderName::from_static("x-plan");
    CacheHints::new().never().vary([field.clone()]).ttl(MINUTE).add_to(response.extensions_mut());
    CacheHints::new().ttl(2 * MINUTE).client_max_age(MINUTE).add_to(response.extensions_mut());
    let both = response.extensions().get::<CacheHints>().cloned();
    assert_eq!(both, Some(CacheHints::new().never().vary([field]).ttl(2 * MINUTE).client_max_age(MINUTE)));
    let mut response = Response::new(());
    CacheHints::new().ttl(Duration::ZERO).add_to(response.extensions_mut());
    CacheHints::new().ttl(MINUTE).add_to(response.extensions_mut());
    assert_eq!(response.extensions().get::<CacheHints>(), Some(&CacheHints::new().ttl(Duration::ZERO)));
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn under_axum_hints_of_several_sources_are_merged() {
    use axum::response::IntoResponse;
    use axum::{Router, routing::get};
    let inner = || (CacheHints::new().never(), "mine").into_response();
    let app = Router::new()
        .route("/", get(async move || (CacheHints::new().ttl(MINUTE), inner())))
        .layer(SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")));
    for _ in 0..2 {
        let request = axum::http::Request::get("/").body(axum::body::Body::empty()).expect("a request");
        let answer = read(app.clone().oneshot(request).await.expect("infallible")).await;
        assert_eq!(answer.detail(), Some("hint"));
    }
}
