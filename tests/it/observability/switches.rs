//! `Cache::set_enabled`: a cache that is turned off and on while it serves requests.

use crate::support::stacks::{invalidate, layered, with_status};
use crate::support::*;
use http::{Request, Response};
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{Cache, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer};

const DISABLED: Option<&str> = Some("disabled");

fn numbered_site(cache: &Cache) -> (Stack, Calls) {
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    (site_over(cache, inner), calls)
}

#[tokio::test]
async fn disabled_cache_forwards_and_stores_nothing() {
    let cache = memory();
    let (stack, calls) = numbered_site(&cache);
    send(&stack, get("/a")).await;
    cache.set_enabled(false);
    for path in ["/a", "/b"] {
        let answer = send(&stack, get(path)).await;
        assert_eq!(answer.detail(), DISABLED, "{path}");
    }
    assert_eq!((calls.count(), cache.is_enabled()), (3, false));
    cache.set_enabled(true);
    let (a, b) = (send(&stack, get("/a")).await, send(&stack, get("/b")).await);
    assert_eq!((a.text(), a.is_hit()), ("1", true));
    assert_eq!((b.text(), b.is_hit()), ("4", false));
}

#[tokio::test]
async fn invalidations_count_while_the_cache_is_disabled() {
    let cache = memory();
    let (stack, _) = numbered_site(&cache);
    for path in ["/called", "/written", "/kept"] {
        send(&stack, get(path)).await;
    }
    cache.set_enabled(false);
    invalidate(&cache, "/called").await;
    assert_eq!(send(&stack, request("POST", "/written", &[])).await.text(), "4");
    cache.set_enabled(true);
    for (path, is_hit) in [("/called", false), ("/written", false), ("/kept", true)] {
        assert_eq!(send(&stack, get(path)).await.is_hit(), is_hit, "{path}");
    }
}

/// A site whose handler takes a second.
fn slow_site(cache: &Cache) -> (Stack, Calls) {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<Response<Body>, Infallible>(numbered(&[], call))
        }
    });
    (site_over(cache, inner.boxed_clone()), calls)
}

#[tokio::test(start_paused = true)]
async fn fetch_in_flight_at_the_switch_is_not_stored() {
    let cache = memory();
    let (stack, calls) = slow_site(&cache);
    let switch = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cache.set_enabled(false);
    };
    let (first, second, ()) = tokio::join!(send(&stack, get("/")), send(&stack, get("/")), switch);
    assert_eq!((first.text(), second.text()), ("1", "1"), "both get the response of one fetch");
    cache.set_enabled(true);
    let missed = send(&stack, get("/")).await;
    let status = missed.header("cache-status").expect("a status");
    assert!(status.ends_with("fwd=uri-miss; fwd-status=200; stored; ttl=60"), "{status}");
    assert_eq!(calls.count(), 2);
    assert!(send(&stack, get("/")).await.is_hit());
}

/// RFC 9111 section 4.3.4: a 304 also freshens the other variants with its validator.
#[tokio::test(start_paused = true)]
async fn late_304_freshens_no_variant_of_a_disabled_cache() {
    for (is_disabled, is_hit) in [(false, true), (true, false)] {
        let (cache, manual) = timed();
        let service = service_fn(|request: Request<Body>| async move {
            let lines = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("vary", "accept-language")];
            let mut response = numbered(&lines, 1);
            if request.headers().contains_key("if-none-match") {
                tokio::time::sleep(Duration::from_secs(1)).await;
                response = with_status(response.map(|_| Body::default()), 304);
            }
            Ok::<_, Infallible>(response)
        });
        let stack = layered(&cache, Policy::rfc9111().cache_status(true), service.boxed_clone());
        let page = |language| get_with("/", &[("accept-language", language)]);
        for language in ["de", "en"] {
            send(&stack, page(language)).await;
        }
        manual.advance(2 * MINUTE);
        let switch = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cache.set_enabled(!is_disabled);
        };
        tokio::join!(send(&stack, page("de")), switch);
        cache.set_enabled(true);
        assert_eq!(send(&stack, page("en")).await.is_hit(), is_hit, "disabled: {is_disabled}");
    }
}

/// RFC 9111 section 4.3.5: a HEAD response may update the stored response.
#[tokio::test(start_paused = true)]
async fn late_head_updates_nothing_in_a_disabled_cache() {
    for (is_disabled, is_hit) in [(false, true), (true, false)] {
        let (cache, manual) = timed();
        let service = service_fn(|request: Request<Body>| async move {
            let lines = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
            if request.method() == http::Method::HEAD {
                tokio::time::sleep(Duration::from_secs(1)).await;
                return Ok(with_lines(&lines, ""));
            }
            Ok::<_, Infallible>(numbered(&lines, 1))
        });
        let stack = layered(&cache, Policy::rfc9111().cache_status(true), service.boxed_clone());
        send(&stack, get("/")).await;
        manual.advance(2 * MINUTE);
        let switch = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cache.set_enabled(!is_disabled);
        };
        tokio::join!(send(&stack, request("HEAD", "/", &[])), switch);
        cache.set_enabled(true);
        assert_eq!(send(&stack, get("/")).await.is_hit(), is_hit, "disabled: {is_disabled}");
    }
}

#[tokio::test(start_paused = true)]
async fn fetch_that_spans_both_switches_is_stored_if_valid() {
    for (is_invalidated, is_hit) in [(false, true), (true, false)] {
        let cache = memory();
        let (stack, _) = slow_site(&cache);
        let switch = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cache.set_enabled(false);
            if is_invalidated {
                invalidate(&cache, Invalidation::all()).await;
            }
            cache.set_enabled(true);
        };
        tokio::join!(send(&stack, get("/")), switch);
        assert_eq!(send(&stack, get("/")).await.is_hit(), is_hit, "invalidated: {is_invalidated}");
    }
}

#[tokio::test]
async fn switch_applies_to_derived_handles_and_nested_layers() {
    let cache = memory();
    let blog = cache.with_namespace("blog").expect("a namespace").with_version(2);
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let policy = Policy::app().cache_status(true).build().expect("a policy");
    let route = RouteCacheLayer::new(&blog, MINUTE).policy(policy.clone()).layer(inner);
    let stack = SiteCacheLayer::new(&cache).policy(policy).layer(route);
    blog.set_enabled(false);
    assert!(!cache.is_enabled());
    for _ in 0..2 {
        let answer = send(&stack, get("/")).await;
        let statuses: Vec<_> = answer.headers.get_all("cache-status").iter().collect();
        assert_eq!(statuses.len(), 2, "{statuses:?}");
        assert!(statuses.iter().all(|status| status.to_str().expect("text").ends_with("detail=disabled")));
    }
    cache.set_enabled(true);
    assert!(blog.is_enabled());
    for _ in 0..2 {
        send(&stack, get("/")).await;
    }
    assert_eq!(calls.count(), 3);
}
