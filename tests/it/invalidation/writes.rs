//! Writes: which entries a request with an unsafe method invalidates, and when.

use crate::support::faulty::{Fault, Faulty};
use crate::support::rfc9111::proxy;
use crate::support::selected::SAFE;
use crate::support::*;
use futures::FutureExt;
use http::{Request, StatusCode};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{Cache, Invalidation, Policy, SiteCacheLayer};

#[tokio::test]
async fn a_successful_write_invalidates_its_target_and_locations() {
    let cache = memory();
    let (inner, _) = origin(|request, call| {
        if request.method() == "GET" {
            return numbered(&[], call);
        }
        let mut response =
            numbered(&[("location", "/created"), ("content-location", "http://shop.example/list?x")], call);
        let status = request.headers()["x-status"].to_str().expect("text").parse().expect("a number");
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
    });
    let stack = site_over(&cache, inner);
    let host = ("host", "shop.example");
    let paths = ["/things", "/created", "/list", "/other"];
    // Method, status, and whether the target and both locations are invalidated.
    let table = [
        ("POST", "201", true),
        ("PUT", "204", true),
        ("PATCH", "200", true),
        ("DELETE", "303", true),
        ("MOVE", "200", true),
        ("POST", "400", false),
        ("DELETE", "500", false),
        ("OPTIONS", "200", false),
        ("HEAD", "200", false),
    ];
    for (method, status, invalidates) in table {
        for path in paths {
            send(&stack, get_with(path, &[host])).await;
        }
        send(&stack, request(method, "/things", &[host, ("x-status", status)])).await;
        for path in paths {
            let hit = send(&stack, get_with(path, &[host])).await.is_hit();
            assert_eq!(hit, !(invalidates && path != "/other"), "{method} {status} {path}");
        }
    }
}

#[tokio::test]
async fn a_write_that_never_reached_the_service_invalidates_nothing() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let busy = tower::limit::ConcurrencyLimit::new(
        service_fn(move |request: Request<Body>| {
            let inner = inner.clone();
            async move {
                if request.uri().path() == "/slow" {
                    std::future::pending::<()>().await;
                }
                inner.oneshot(request).await
            }
        }),
        1,
    );
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(busy);
    send(&stack, get("/")).await;
    let mut slow = Box::pin(stack.clone().oneshot(get("/slow")));
    assert!(futures::poll!(&mut slow).is_pending());
    let mut write = Box::pin(stack.clone().oneshot(request("POST", "/", &[])));
    assert!(futures::poll!(&mut write).is_pending());
    drop(write);
    assert!(send(&stack, get("/")).await.is_hit());
    drop(slow);
    send(&stack, request("CONNECT", "/", &[])).await;
    assert!(send(&stack, get("/")).await.is_hit(), "`CONNECT` invalidates nothing");
}

#[tokio::test]
async fn a_write_with_unknown_outcome_invalidates_its_target() {
    let cache = memory();
    // Each call may have written before it was dropped, panicked or failed.
    let inner = service_fn(|request: Request<Body>| async move {
        match request.method().as_str() {
            "PUT" => std::future::pending().await,
            "PATCH" => std::panic::resume_unwind(Box::new("after the write")),
            "DELETE" => Err(std::io::Error::other("timed out")),
            _ => Ok(numbered(&[], 1)),
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let hit = async || {
        let answer = read(stack.clone().oneshot(get("/thing")).await.expect("answers")).await;
        answer.is_hit()
    };
    assert!(!hit().await);
    for method in ["PUT", "PATCH", "DELETE"] {
        assert!(hit().await, "{method}");
        let mut call = Box::pin(stack.clone().oneshot(request(method, "/thing", &[])));
        let polled = AssertUnwindSafe(async { futures::poll!(&mut call).is_pending() }).catch_unwind().await;
        assert_eq!(polled.unwrap_or_default(), method == "PUT");
        drop(call);
        assert!(!hit().await, "{method}");
    }
}

/// RFC 9110 sections 15.6.3 and 15.6.5: after these gateway errors, the outcome of the write is
/// unknown.
#[tokio::test]
async fn a_write_with_a_gateway_error_invalidates_its_target_alone() {
    for preset in [Policy::app(), Policy::rfc9111()] {
        for (status, invalidates) in [(502, true), (504, true), (500, false), (503, false)] {
            let (inner, _) = origin(move |request, call| {
                if request.method() == "GET" {
                    return numbered(&[], call);
                }
                let mut response = numbered(&[("location", "/other")], call);
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                response
            });
            let policy = preset.clone().default_ttl(MINUTE).cache_status(true);
            let stack = SiteCacheLayer::new(&memory())
                .policy(policy.build().expect("a policy"))
                .layer(inner)
                .boxed_clone();
            for path in ["/thing", "/other"] {
                send(&stack, get(path)).await;
            }
            send(&stack, request("POST", "/thing", &[])).await;
            assert_eq!(!send(&stack, get("/thing")).await.is_hit(), invalidates, "{status}");
            assert!(send(&stack, get("/other")).await.is_hit(), "{status}");
        }
    }
}

#[tokio::test]
async fn a_write_to_a_failed_origin_keeps_stale_if_error_responses() {
    for preset in [Policy::app(), Policy::rfc9111()] {
        let (inner, _) = origin(|_, call| {
            let mut response = numbered(&[], call);
            if call > 1 {
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
            response
        });
        let policy = preset.default_ttl(MINUTE).stale_if_error(MINUTE).cache_status(true);
        let stack = SiteCacheLayer::new(&memory())
            .policy(policy.build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        send(&stack, get("/thing")).await;
        assert_eq!(send(&stack, request("POST", "/thing", &[])).await.status, 502);
        let answer = send(&stack, get("/thing")).await;
        assert_eq!((answer.text(), answer.detail()), ("1", Some("stale-if-error")));
    }
}

/// RFC 9111 section 4.4: "a cache MUST NOT trigger an invalidation under these conditions if the
/// origin … differs".
#[tokio::test]
async fn under_rfc9111_a_write_invalidates_only_its_own_host() {
    let post = |uri: &str, host: &str| request("POST", uri, &[("host", host)]);
    // The write, and whether its host counts as shop.example.
    let table = [
        (post("/thing", "other.example"), false),
        (post("/thing", "shop.example:8080"), false),
        (post("/thing", "shop.example"), true),
        (post("/thing", "SHOP.example"), true),
        (post("/thing", "shop.example."), true),
        (post("/thing", "shop.example:"), true),
        (post("/thing", "shop.example:80"), true),
        (request("POST", "http://shop.example/thing", &[]), true),
        (request("POST", "http://me@shop.example/thing", &[]), true),
        // The host is missing or malformed, so the write may be for any host.
        (request("POST", "/thing", &[]), true),
        (post("/thing", "shop example"), true),
    ];
    for (preset, is_proxy) in [(Policy::rfc9111(), true), (Policy::app(), false)] {
        for (write, is_own) in &table {
            let (inner, _) = origin(|request, call| match request.method().as_str() {
                "GET" => numbered(&[], call),
                _ => numbered(&[("location", "/other")], call),
            });
            let policy = preset.clone().default_ttl(MINUTE).cache_status(true);
            let stack = SiteCacheLayer::new(&memory())
                .policy(policy.build().expect("a policy"))
                .layer(inner)
                .boxed_clone();
            for path in ["/thing", "/other"] {
                send(&stack, get_with(path, &[("host", "shop.example")])).await;
            }
            let description = format!("{} {:?}", write.uri(), write.headers());
            send(&stack, write.clone()).await;
            for path in ["/thing", "/other"] {
                let hit = send(&stack, get_with(path, &[("host", "shop.example")])).await.is_hit();
                assert_eq!(hit, is_proxy && !is_own, "{path} after {description}");
            }
        }
    }
}

#[tokio::test]
async fn a_write_does_not_invalidate_locations_of_other_origins() {
    let cache = memory();
    let (inner, _) = origin(|request, call| {
        let elsewhere = [("location", "http://other.example/a"), ("content-location", "//other.example/b")];
        if request.method() == "GET" { numbered(&[], call) } else { numbered(&elsewhere, call) }
    });
    let stack = site_over(&cache, inner);
    let host = ("host", "shop.example");
    for path in ["/a", "/b"] {
        send(&stack, get_with(path, &[host])).await;
    }
    send(&stack, request("POST", "/c", &[host])).await;
    for path in ["/a", "/b"] {
        assert!(send(&stack, get_with(path, &[host])).await.is_hit(), "{path}");
    }
}

/// RFC 9111 section 4.4: a successful request with an unsafe or unknown method invalidates its
/// target.
#[tokio::test]
async fn unsafe_and_unknown_methods_invalidate_and_safe_ones_do_not() {
    for policy in [policy(), proxy()] {
        let (stack, _) = site(policy, |_, call| numbered(&[("cache-control", "max-age=60")], call));
        send(&stack, get("/")).await;
        for method in SAFE {
            let answer = send(&stack, request(method, "/", &[])).await;
            assert!(
                answer.header("cache-status").is_some_and(|line| line.contains("fwd=method")),
                "{method}"
            );
            assert!(send(&stack, get("/")).await.is_hit(), "{method}");
        }
        for method in ["PROPPATCH", "MKCOL", "propfind", "POST", "SEARCHES"] {
            send(&stack, request(method, "/", &[])).await;
            assert!(!send(&stack, get("/")).await.is_hit(), "{method}");
        }
    }
}

const S: Duration = Duration::from_secs(1);

/// The client of a POST disconnects during the invalidation that the handler requested.
#[tokio::test(start_paused = true)]
async fn a_disconnect_does_not_cancel_an_invalidation() {
    use tower_response_cache::CacheHints;
    let mut lost = Vec::new();
    for after in 0..30 {
        let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::Slow));
        let written = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&written);
        let (inner, _) = origin(move |request, _| {
            let mut response = with_lines(&[], flag.load(Ordering::SeqCst).to_string());
            if request.method() == "POST" {
                flag.store(true, Ordering::SeqCst);
                Invalidation::tag("t").on_success().add_to(response.extensions_mut());
            } else {
                CacheHints::new().tags(["t"]).add_to(response.extensions_mut());
            }
            response
        });
        let stack = site_over(&cache, inner);
        send(&stack, get("/list")).await;
        tokio::time::sleep(S).await;
        assert!(send(&stack, get("/list")).await.is_hit());
        let _ =
            tokio::time::timeout(Duration::from_millis(after), send(&stack, request("POST", "/save", &[])))
                .await;
        tokio::time::sleep(S).await;
        let text = send(&stack, get("/list")).await;
        if text.text() != written.load(Ordering::SeqCst).to_string() {
            lost.push(after);
        }
    }
    assert!(lost.is_empty(), "{lost:?}");
}
