//! The request directive `only-if-cached` (RFC 9111 section 5.2.1.7), with one layer and with two.

use crate::support::faulty::{Fault, Faulty};
use crate::support::rfc9111::{app, proxy, standing};
use crate::support::*;
use http::StatusCode;
use tower::Layer;
use tower_response_cache::{Cache, Policy, SiteCacheLayer};

/// RFC 9111 section 5.2.1.7.
#[tokio::test]
async fn only_if_cached_applies_with_no_store() {
    let (stack, calls, _) = standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
    for method in ["GET", "HEAD"] {
        let answer =
            send(&stack, request(method, "/", &[("cache-control", "only-if-cached, no-store")])).await;
        assert_eq!((answer.status.as_u16(), calls.count()), (504, 0), "{method}");
    }
}

#[tokio::test]
async fn only_if_cached_applies_to_bypassing_requests() {
    let mut forwarded = Vec::new();
    for more in [
        ("x-forwarded-host", "a/b"),
        ("host", "Shop.example"),
        ("expect", "100-continue"),
        ("content-length", "1"),
    ] {
        let (stack, calls, _) =
            standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
        let answer = send(&stack, get_with("/", &[("cache-control", "only-if-cached"), more])).await;
        if calls.count() > 0 {
            forwarded.push((more, answer.status, answer.header("cache-status").map(str::to_owned)));
        }
    }
    assert!(forwarded.is_empty(), "{forwarded:#?}");
}

/// The outer layer bypasses the request, so only the inner layer looks it up.
#[tokio::test]
async fn only_if_cached_is_answered_by_an_inner_layer() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[("cache-control", "max-age=60")], call));
    let within =
        SiteCacheLayer::new(&cache).policy(proxy().name("inner").build().expect("a policy")).layer(inner);
    // The outer layer bypasses every request.
    let outer = proxy().bypass_if(|_| true);
    let stack = SiteCacheLayer::new(&cache).policy(outer.build().expect("a policy")).layer(within);
    send(&stack, get("/")).await;
    let hit = send(&stack, get("/")).await;
    let only = send(&stack, get_with("/", &[("cache-control", "only-if-cached")])).await;
    assert_eq!(only.status, 200, "{hit:?} {only:?}");
}

/// The outer layer bypasses identified requests, so only the inner layer looks them up.
#[tokio::test]
async fn only_if_cached_is_answered_by_a_per_identity_layer() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[("cache-control", "max-age=60")], call));
    let own = Policy::rfc9111()
        .cache_status(true)
        .name("own")
        .vary_by_identity("user", |request| Some(request.headers.get("x-user")?.to_str().ok()?.to_owned()));
    let within = SiteCacheLayer::new(&cache).policy(own.build().expect("a policy")).layer(inner);
    let outer = proxy().bypass_if(|request| request.headers.contains_key("x-user"));
    let stack = SiteCacheLayer::new(&cache).policy(outer.build().expect("a policy")).layer(within);
    let request_page = async |more: &[(&str, &str)]| {
        let lines: Vec<_> = [("x-user", "alice")].iter().chain(more).copied().collect();
        send(&stack, get_with("/", &lines)).await
    };
    request_page(&[]).await;
    let hit = request_page(&[]).await;
    assert_eq!((hit.status.as_u16(), hit.text()), (200, "1"));
    let only = request_page(&[("cache-control", "only-if-cached")]).await;
    assert_eq!((only.status.as_u16(), only.text()), (200, "1"), "{only:?}");
}

/// Neither layer bypasses the request. In the first round the store is local, in the second remote.
#[tokio::test(start_paused = true)]
async fn only_if_cached_is_answered_by_an_inner_layer_on_any_store() {
    let remote = Faulty::new(memory_store(8 << 20), Fault::SlowWithoutGenerations);
    for cache in [memory(), Cache::new(remote)] {
        let (inner, _) = origin(|_, call| numbered(&[("cache-control", "max-age=60")], call));
        let within =
            SiteCacheLayer::new(&cache).policy(proxy().name("inner").build().expect("a policy")).layer(inner);
        let stack = SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(within);
        send(&stack, get("/")).await;
        assert_eq!(send(&stack, get("/")).await.text(), "1");
        let only = send(&stack, get_with("/", &[("cache-control", "only-if-cached")])).await;
        assert_eq!((only.status.as_u16(), only.text()), (200, "1"), "{cache:?} {only:?}");
    }
}

/// RFC 9111 section 5.2.1.7.
#[tokio::test]
async fn only_if_cached_without_a_usable_entry_gets_504() {
    for method in ["GET", "HEAD"] {
        let only = || request(method, "/", &[("cache-control", "only-if-cached")]);
        let (stack, calls, manual) =
            standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
        let refused = send(&stack, only()).await;
        assert_eq!((refused.status, refused.text(), calls.count()), (StatusCode::GATEWAY_TIMEOUT, "", 0));
        assert_eq!(refused.header("cache-status"), Some("tower-response-cache; detail=only-if-cached"));
        send(&stack, get("/")).await;
        assert!(send(&stack, only()).await.is_hit());
        manual.advance(MINUTE);
        assert_eq!(send(&stack, only()).await.status, StatusCode::GATEWAY_TIMEOUT, "{method}");
        let stale = request(method, "/", &[("cache-control", "only-if-cached, max-stale")]);
        assert!(send(&stack, stale).await.is_hit());
        assert_eq!(calls.count(), 1);
    }
    let (stack, calls, _) = standing(app(), |_, call| numbered(&[], call));
    assert_eq!(send(&stack, get_with("/", &[("cache-control", "only-if-cached")])).await.status, 200);
    assert_eq!(calls.count(), 1, "`Policy::app` ignores the directive");
}
