//! Rewrites under axum: the handler sees another URI than the client sent. Both URIs are keyed, and
//! an invalidation of either URI removes the page.

use crate::support::stacks::*;
use crate::support::*;
use axum::Router;
use axum::extract::OriginalUri;
use axum::handler::Handler;
use axum::routing::get as route_get;
use http::{Request, Uri};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tower::util::MapRequestLayer;
use tower::{Layer, ServiceExt};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer};

/// The request field with the URI that the handler sees.
const SEEN: &str = "x-seen";

/// Returns a site behind a layer that rewrites the URI after a router has recorded the original
/// URI.
///
/// The page shows the original URI, the rewritten URI and the number of the call.
fn rewriting(cache: &Cache, policy: PolicyBuilder) -> (Stack, Calls) {
    let (inner, calls) = origin(|request, call| {
        let public = &request.extensions().get::<OriginalUri>().expect("a recorded URI").0;
        let location = request.headers().get("x-location").and_then(|value| value.to_str().ok());
        let lines = [("content-location", location.unwrap_or("/none")), ("cache-control", "max-age=60")];
        with_lines(&lines, format!("{public} {} {call}", request.uri()))
    });
    let site = SiteCacheLayer::new(cache)
        .policy(policy.ignore_headers([SEEN]).build().expect("a policy"))
        .layer(inner);
    let rewrite = |mut request: Request<Body>| {
        let public = request.uri().clone();
        request.extensions_mut().insert(OriginalUri(public));
        if let Some(seen) = request.headers().get(SEEN).cloned() {
            *request.uri_mut() = seen.to_str().expect("text").parse().expect("a URI");
        }
        request
    };
    (MapRequestLayer::new(rewrite).layer(site).boxed_clone(), calls)
}

fn rewritten(method: &str, public: &str, seen: &str) -> Request<Body> {
    request(method, public, &[("host", "shop.example"), (SEEN, seen)])
}

#[tokio::test]
async fn both_the_original_and_the_rewritten_uri_are_keyed() {
    let uris = [
        "/a",
        "/b",
        "/a?x=1",
        "/a?",
        "/a?x=1&y",
        "//a",
        "http://t1/a",
        "http://t2/a",
        "https://t1/a",
        "http://T1/a",
        "http://t1:80/a",
        "http://t1/a?x=1",
        "http://t1/b",
    ];
    let (stack, calls) = rewriting(&memory(), policy());
    for round in 0..2 {
        for public in ["/a", "/b", "/a?x=1", "/b?"] {
            for seen in uris {
                let answer = send(&stack, rewritten("GET", public, seen)).await;
                let uri: Uri = seen.parse().expect("a URI");
                assert!(
                    answer.text().starts_with(&format!("{public} {uri} ")),
                    "{public} {seen}: {}",
                    answer.text()
                );
                assert_eq!(answer.is_hit(), round == 1, "{public} {seen}");
            }
        }
    }
    assert_eq!(calls.count(), 4 * uris.len());
}

#[tokio::test]
async fn a_tenant_selected_by_authority_has_its_own_pages() {
    let (stack, _) = rewriting(&memory(), policy());
    for _ in 0..2 {
        for tenant in ["acme", "umbrella"] {
            let answer = send(&stack, rewritten("GET", "/", &format!("http://{tenant}/"))).await;
            assert!(answer.text().contains(tenant), "{tenant}: {}", answer.text());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_invalidates_pages_by_either_of_its_uris() {
    // The original and the rewritten URI of a page, the original and the rewritten URI of a write,
    // and whether the write invalidates the page.
    let table = [
        (("/a", "/x"), ("/a", "/y"), true),
        (("/a", "/x"), ("/b", "/x"), true),
        (("/a", "/x"), ("/b", "/y"), false),
        (("/a", "/x"), ("/x", "/x"), true),
        (("/x", "/x"), ("/a", "/x"), true),
        (("/a", "/x"), ("/b", "/a"), true),
        (("/a", "http://t1/x"), ("/b", "http://t1/x?y=1"), true),
    ];
    for kept in ALL {
        for (number, (page, write, clears)) in table.into_iter().enumerate() {
            let (cache, _) = kept.cache(number);
            let (stack, _) = rewriting(&cache, policy());
            send(&stack, rewritten("GET", page.0, page.1)).await;
            settle().await;
            send(&stack, rewritten("POST", write.0, write.1)).await;
            let answer = send(&stack, rewritten("GET", page.0, page.1)).await;
            assert_eq!(!answer.is_hit(), clears, "{kept:?} {page:?} {write:?}");
        }
    }
}

#[tokio::test]
async fn content_location_is_resolved_against_both_uris_of_a_write() {
    // The `Content-Location` of the write, and the URI of a page that the write invalidates.
    let table = [
        ("/c", "/c"),
        ("c", "/dir/c"),
        ("c", "/seen/c"),
        ("http://t1/c", "/c"),
        ("http://shop.example/c", "/c"),
    ];
    for (location, cleared) in table {
        let (stack, _) = rewriting(&memory(), policy());
        let page = || rewritten("GET", cleared, cleared);
        send(&stack, page()).await;
        let mut write = rewritten("POST", "/dir/a", "http://t1/seen/a");
        write.headers_mut().insert("x-location", location.parse().expect("a value"));
        send(&stack, write).await;
        assert!(!send(&stack, page()).await.is_hit(), "{location} {cleared}");
    }
}

#[tokio::test]
async fn under_rfc9111_a_write_invalidates_hosts_of_its_targets_only() {
    let (stack, _) = rewriting(&memory(), Policy::rfc9111().cache_status(true));
    let pages = [
        (("shop.example", "/a", "http://t1/x"), true),
        (("other.example", "/b", "http://t1/x"), true),
        (("other.example", "/a", "/x"), false),
        (("other.example", "/a", "http://t2/x"), false),
    ];
    let page = |host: &str, public: &str, seen: &str| get_with(public, &[("host", host), (SEEN, seen)]);
    for ((host, public, seen), _) in pages {
        send(&stack, page(host, public, seen)).await;
    }
    send(&stack, rewritten("POST", "/a", "http://t1/x")).await;
    for ((host, public, seen), clears) in pages {
        assert_eq!(!send(&stack, page(host, public, seen)).await.is_hit(), clears, "{host} {public} {seen}");
    }
}

#[tokio::test]
async fn a_page_can_be_invalidated_by_both_paths_and_both_hosts() {
    let (public, seen) = ("/a/b?x=1", "http://t1/c/d?y=2");
    let named = [
        Invalidation::path("/a/b"),
        Invalidation::path("/c/d"),
        Invalidation::uri("/a/b?x=1"),
        Invalidation::uri("/c/d?y=2"),
        Invalidation::uri("http://t1/c/d?y=2"),
        Invalidation::subtree("/a"),
        Invalidation::subtree("/c"),
        Invalidation::path("/a/b").host("shop.example"),
        Invalidation::path("/c/d").host("shop.example"),
        Invalidation::path("/a/b").host("t1"),
        Invalidation::path("/c/d").host("t1"),
        Invalidation::all().host("t1"),
    ];
    let others = [
        Invalidation::path("/a/d"),
        Invalidation::uri("/a/b?y=2"),
        Invalidation::uri("/c/d?x=1"),
        Invalidation::path("/c/d").host("t2"),
    ];
    let cache = memory();
    let (stack, _) = rewriting(&cache, policy());
    for (what, clears) in named.into_iter().map(|what| (what, true)).chain(others.map(|what| (what, false))) {
        send(&stack, rewritten("GET", public, seen)).await;
        invalidate(&cache, what.clone()).await;
        assert_eq!(!send(&stack, rewritten("GET", public, seen)).await.is_hit(), clears, "{what:?}");
    }
}

#[tokio::test]
async fn userinfo_in_a_rewritten_uri_bypasses_the_cache() {
    let (stack, _) = rewriting(&memory(), policy());
    for _ in 0..2 {
        let answer = send(&stack, rewritten("GET", "/", "http://me:s3cret@backend/")).await;
        assert_eq!((answer.is_hit(), answer.detail()), (false, Some("host")));
    }
}

#[tokio::test]
async fn each_backend_selected_outside_the_cache_has_its_own_entry() {
    let (cache, next_backend) = (memory(), Arc::new(AtomicUsize::new(0)));
    let (stack, calls) = rewriting(&cache, policy());
    for _ in 0..9 {
        let backend = next_backend.fetch_add(1, Ordering::SeqCst) % 3;
        send(&stack, rewritten("GET", "/", &format!("http://backend-{backend}/"))).await;
    }
    assert_eq!(calls.count(), 3);
    invalidate(&cache, Invalidation::path("/")).await;
    for backend in 0..3 {
        assert!(!send(&stack, rewritten("GET", "/", &format!("http://backend-{backend}/"))).await.is_hit());
    }
}

#[tokio::test]
async fn the_public_path_of_a_nested_route_invalidates_all_layers() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let page = move || {
        let call = counted.next();
        async move { call.to_string() }
    };
    let route = RouteCacheLayer::new(&cache, MINUTE)
        .policy(Policy::app().cache_status(true).build().expect("a policy"));
    let write = axum::routing::post(async || ());
    let inner = Router::new().route("/items", route_get(page.layer(route)).merge(write));
    let app = Router::new()
        .nest("/shop", inner)
        .layer(SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")));
    let send = async |method: &str| {
        let request = Request::builder().method(method).uri("/shop/items").body(axum::body::Body::empty());
        let response = app.clone().oneshot(request.expect("a request")).await.expect("infallible");
        let body = axum::body::to_bytes(response.into_body(), 64).await.expect("a body");
        String::from_utf8(body.to_vec()).expect("text")
    };
    assert_eq!((send("GET").await.as_str(), send("GET").await.as_str()), ("1", "1"));
    invalidate(&cache, Invalidation::path("/shop/items")).await;
    assert_eq!((send("GET").await.as_str(), send("GET").await.as_str()), ("2", "2"));
    send("POST").await;
    assert_eq!((send("GET").await.as_str(), send("GET").await.as_str()), ("3", "3"));
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn an_inner_entry_is_invalidated_by_the_outer_path() {
    for bypassing in [false, true] {
        let cache = memory();
        let (inner, _) = origin(|request, call| numbered(&[], call + request.uri().path().len()));
        let route =
            RouteCacheLayer::new(&cache, MINUTE).policy(policy().build().expect("a policy")).layer(inner);
        let rewrite = |mut request: Request<Body>| {
            *request.uri_mut() = format!("/acme{}", request.uri()).parse().expect("a URI");
            request
        };
        let outer = if bypassing { policy().bypass_if(|_| true) } else { policy() };
        let stack = SiteCacheLayer::new(&cache)
            .policy(outer.build().expect("a policy"))
            .layer(MapRequestLayer::new(rewrite).layer(route));
        let first = send(&stack, get("/x")).await;
        assert_eq!(send(&stack, get("/x")).await.text(), first.text());
        assert_eq!(cache.invalidate(Invalidation::path("/x")).await, Delivery::Delivered);
        assert_ne!(send(&stack, get("/x")).await.text(), first.text(), "{bypassing}");
    }
}
