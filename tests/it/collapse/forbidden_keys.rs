//! Keys whose last response forbade storing: requests for them are forwarded without a fetch.

use crate::status::field::status_of;
use crate::support::*;
use http::{Request, Response};
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{CacheHints, Invalidation, SiteCacheLayer};

const HOUR: Duration = Duration::from_secs(3600);

/// A site whose page forbids storing in the first `forbidden` calls.
fn forbidding(directive: &'static str, forbidden: usize) -> (Stack, Calls) {
    site(policy(), move |_, call| {
        let value = if call <= forbidden { directive } else { "max-age=60" };
        numbered(&[("cache-control", value)], call)
    })
}

#[tokio::test]
async fn key_is_fetched_again_once_its_response_permits_storing() {
    for word in ["no-store", "private"] {
        let (stack, calls) = forbidding(word, 3);
        for _ in 0..3 {
            let expected = format!("fwd=uri-miss; fwd-status=200; detail={word}");
            assert_eq!(status_of(&stack, get("/")).await, expected);
        }
        assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; detail=hit-for-miss");
        assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; stored; ttl=60");
        assert!(send(&stack, get("/")).await.is_hit(), "{word}");
        assert_eq!(calls.count(), 5);
    }
}

/// Rules other than `Cache-Control` may change with each response, so they forbid no later fetch.
#[tokio::test]
async fn response_is_stored_although_the_last_one_set_a_cookie() {
    let (stack, calls) = site(policy(), |_, call| {
        let lines: &[_] = if call == 1 { &[("set-cookie", "sid=1")] } else { &[] };
        numbered(lines, call)
    });
    assert!(!send(&stack, get("/")).await.is_hit());
    assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; stored; ttl=60");
    assert!(send(&stack, get("/")).await.is_hit());
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn request_with_directives_is_fetched() {
    let (stack, calls) = forbidding("no-store", 1);
    send(&stack, get("/")).await;
    send(&stack, get_with("/", &[("cache-control", "max-age=0")])).await;
    assert!(send(&stack, get("/")).await.is_hit(), "its response was stored");
    assert_eq!(calls.count(), 2);
}

/// Returns the head of a request as text.
fn text_of(request: &Request<Body>) -> String {
    let mut fields: Vec<_> =
        request.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    fields.sort();
    format!("{} {} {}", request.method(), request.uri(), fields.join(", "))
}

#[tokio::test]
async fn handler_and_client_see_the_same_as_in_a_fetch() {
    let policies: [fn() -> PolicyBuilder; 6] = [
        policy,
        || policy().ignore_headers([http::HeaderName::from_static("x-mine")]),
        || policy().ignore_cookies(["theme"]),
        || policy().cache_status_key(true).vary_on_headers(["accept-language"]),
        || policy().client_max_age(MINUTE).etags(true),
        || policy().credential_headers(["x-mine"]),
    ];
    let requests: [&[(&str, &str)]; 6] = [
        &[],
        &[("if-none-match", "\"a\""), ("if-modified-since", "Tue, 01 Dec 2026 00:00:00 GMT")],
        &[("x-mine", "1"), ("accept-language", "de"), ("user-agent", "test")],
        &[("cookie", "theme=dark"), ("host", "shop.example")],
        &[("x-forwarded-host", "shop.example"), ("x-forwarded-proto", "https")],
        &[("accept", "text/html"), ("content-length", "0")],
    ];
    let lines = [("cache-control", "no-store, max-age=60"), ("etag", "bad"), ("x-page", "1"), ("age", "3")];
    for (number, policy) in policies.iter().enumerate() {
        let answer = move |request: &Request<Body>, _: usize| with_lines(&lines, text_of(request));
        let (short, _) = site(policy(), answer);
        // A policy with a time limit for the origin always fetches.
        let (whole, _) = site(policy().origin_timeout(HOUR), answer);
        for request in requests {
            for uri in ["/?b=2&a=1", "/"] {
                for _ in 0..3 {
                    let (one, other) = (
                        send(&short, get_with(uri, request)).await,
                        send(&whole, get_with(uri, request)).await,
                    );
                    assert_eq!(one.text(), other.text(), "policy {number}, {request:?}");
                    assert_eq!(
                        (one.status, &one.headers),
                        (other.status, &other.headers),
                        "policy {number}, {request:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn handler_that_requests_its_own_page_is_a_loop() {
    type Looping = BoxCloneSyncService<Request<Body>, Response<ResponseBody<Body>>, Infallible>;
    let own = Arc::new(OnceLock::<Looping>::new());
    let (outer, calls) = (Arc::clone(&own), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        counted.next();
        let nested: futures::future::BoxFuture<'static, _> =
            Box::pin(outer.get().expect("built").clone().oneshot(get("/")));
        async move {
            let text = match nested.await?.status().as_u16() {
                508 => "loop",
                _ => "page",
            };
            Ok::<_, Infallible>(with_lines(&[("cache-control", "no-store")], text))
        }
    });
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    assert!(own.set(BoxCloneSyncService::new(stack)).is_ok());
    let stack = own.get().expect("built").clone();
    let mut counts = Vec::new();
    for _ in 0..3 {
        let before = calls.count();
        assert_eq!(read(stack.clone().oneshot(get("/")).await.expect("infallible")).await.status, 200);
        counts.push(calls.count() - before);
    }
    assert_eq!(counts, [2, 2, 2]);
}

#[tokio::test]
async fn response_may_invalidate_and_hint() {
    let cache = memory();
    let (inner, calls) = origin(|request, call| {
        let lines: &[_] = match request.uri().path() {
            "/page" => &[],
            _ => &[("cache-control", "private")],
        };
        let mut response = numbered(lines, call);
        if request.uri().query() == Some("a") {
            Invalidation::path("/page").on_success().add_to(response.extensions_mut());
        }
        if request.uri().path() == "/hinted" && call > 2 {
            CacheHints::new().ttl(MINUTE).add_to(response.extensions_mut());
        }
        response
    });
    let stack = site_over(&cache, inner);
    for _ in 0..3 {
        send(&stack, get("/page")).await;
        assert!(send(&stack, get("/page")).await.is_hit());
        send(&stack, get("/write?a")).await;
        assert!(!send(&stack, get("/page")).await.is_hit());
    }
    assert_eq!(calls.count(), 7);
    send(&stack, get("/hinted")).await;
    send(&stack, get("/hinted")).await;
    assert!(send(&stack, get("/hinted")).await.is_hit(), "a hint outranks `private`");
}

#[tokio::test]
async fn dropped_call_leaves_nothing_behind() {
    let cache = memory();
    let inner = service_fn(|request: Request<Body>| async move {
        if request.headers().contains_key("x-slow") {
            std::future::pending::<()>().await;
        }
        Ok::<_, Infallible>(with_lines(&[("cache-control", "no-store")], "page"))
    });
    let stack = site_over(&cache, inner.boxed_clone());
    send(&stack, get("/")).await;
    let mut call = Box::pin(stack.clone().oneshot(get_with("/", &[("x-slow", "1")])));
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    assert_eq!(send(&stack, get("/")).await.detail(), Some("no-store"));
    assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
}
