//! HEAD responses update or invalidate the stored response (RFC 9111 section 4.3.5).

use crate::support::rfc9111::{SECOND, over, proxy, standing};
use crate::support::*;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{CacheHints, Invalidation, Policy, SiteCacheLayer};

/// The HEAD responses have other directives, validators, lengths, `Vary` or `Age` than the stored
/// response.
#[tokio::test]
async fn a_contradicting_head_does_not_extend_the_lifetime() {
    for (later, hit) in [
        (&[("cache-control", "max-age=600")][..], true),
        (&[("cache-control", "max-age=600"), ("etag", "\"2\"")], false),
        (&[("cache-control", "max-age=600"), ("content-length", "99")], false),
        (&[("cache-control", "max-age=600"), ("content-length", "x")], false),
        (&[("cache-control", "max-age=600"), ("vary", "*")], false),
        (&[("cache-control", "max-age=600"), ("age", "700")], false),
        (&[("cdn-cache-control", "no-store")], false),
        (&[("cache-control", "max-age=600, no-store, must-understand")], true),
    ] {
        let (stack, _, manual) = standing(proxy(), move |request, call| match request.method().as_str() {
            "HEAD" => with_lines(later, ""),
            _ => numbered(&[("cache-control", "max-age=60"), ("etag", "\"1\"")], call),
        });
        send(&stack, get("/")).await;
        manual.advance(61 * SECOND);
        send(&stack, request("HEAD", "/", &[])).await;
        assert_eq!(send(&stack, get("/")).await.is_hit(), hit, "{later:?}");
    }
}

type Lines = &'static [(&'static str, &'static str)];

/// Creates a cache over an origin whose HEAD responses have other fields than its GET responses.
fn heads(policy: PolicyBuilder, later: Lines) -> (Stack, Calls, tower_response_cache::clock::ManualClock) {
    let (cache, manual) = timed();
    let (inner, calls) = origin(move |request, call| {
        let first: Lines = &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-version", "1")];
        match request.method().as_str() {
            "HEAD" => with_lines(later, ""),
            _ => with_lines(first, format!("page {call}")),
        }
    });
    (over(&cache, policy, inner), calls, manual)
}

/// RFC 9111 section 4.3.5.
#[tokio::test]
async fn a_head_response_updates_or_invalidates_the_entry() {
    // A HEAD response, and the version that the next GET gets from the cache. `None` means that the
    // GET is forwarded.
    let table: [(Lines, Option<&str>); 6] = [
        (&[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-version", "2")], Some("2")),
        (&[("cache-control", "max-age=60"), ("content-length", "6"), ("x-version", "2")], Some("2")),
        (&[("cache-control", "max-age=60"), ("etag", "\"a\"")], Some("1")),
        (&[("cache-control", "max-age=60"), ("etag", "\"b\"")], None),
        (&[("cache-control", "max-age=60"), ("content-length", "7")], None),
        (&[("cache-control", "no-store"), ("etag", "\"a\"")], None),
    ];
    for (later, version) in table {
        let (stack, calls, manual) = heads(proxy(), later);
        send(&stack, get("/")).await;
        manual.advance(MINUTE);
        let head = send(&stack, request("HEAD", "/", &[])).await;
        assert_eq!((head.is_hit(), head.text(), calls.count()), (false, "", 2));
        let answer = send(&stack, get("/")).await;
        let expected = if version.is_some() { "page 1" } else { "page 3" };
        assert_eq!((answer.text(), answer.is_hit()), (expected, version.is_some()), "{later:?}");
        assert_eq!(answer.header("x-version"), version.or(Some("1")), "{later:?}");
    }
}

#[tokio::test]
async fn head_under_app_with_a_cookie_or_invalidation_updates_nothing() {
    let later: Lines = &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-version", "2")];
    let cookie: Lines = &[("cookie", "sid=alice")];
    for (policy, cookies) in [(Policy::app().cache_status(true), &[][..]), (proxy(), cookie)] {
        let (stack, calls, manual) = heads(policy, later);
        send(&stack, get("/")).await;
        manual.advance(MINUTE);
        send(&stack, request("HEAD", "/", cookies)).await;
        send(&stack, get("/")).await;
        assert_eq!(calls.count(), 3, "{cookies:?}");
    }
    let cache = memory();
    let handle = cache.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let cache = handle.clone();
        async move {
            if request.method() == "HEAD" {
                assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
            }
            let response: Response<Body> =
                with_lines(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "page");
            Ok::<_, Infallible>(response)
        }
    });
    let stack = over(&cache, proxy(), inner.boxed_clone());
    send(&stack, get("/")).await;
    send(&stack, request("HEAD", "/", &[("cache-control", "no-cache")])).await;
    assert!(!send(&stack, get("/")).await.is_hit());
}

/// RFC 9111 section 4.3.5: "consider the stored response to be stale".
#[tokio::test]
async fn an_entry_that_a_head_contradicts_still_serves_stale_if_error() {
    let other: [Lines; 3] =
        [&[("etag", "\"b\"")], &[("content-length", "7")], &[("vary", "x-a"), ("etag", "\"a\"")]];
    for later in other {
        let (cache, _) = timed();
        let (inner, calls) = origin(move |request, call| match (request.method().as_str(), call) {
            ("HEAD", _) => with_lines(later, ""),
            (_, 1) => {
                with_lines(&[("cache-control", "max-age=60, stale-if-error=600"), ("etag", "\"a\"")], "page")
            }
            _ => {
                let mut response = with_lines(&[], "down");
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response
            }
        });
        let stack = over(&cache, proxy(), inner);
        send(&stack, get("/")).await;
        send(&stack, request("HEAD", "/", &[("cache-control", "no-cache")])).await;
        let answer = send(&stack, get("/")).await;
        assert_eq!(
            (answer.text(), answer.detail(), calls.count()),
            ("page", Some("stale-if-error"), 3),
            "{later:?}"
        );
    }
}

#[tokio::test]
async fn an_entry_is_removed_if_a_head_forbids_storing() {
    for control in ["no-store", "private", "private, max-age=60"] {
        let (cache, _) = timed();
        let (inner, _) = origin(move |request, call| match request.method().as_str() {
            "HEAD" => with_lines(&[("cache-control", control), ("etag", "\"a\"")], ""),
            _ => with_lines(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], format!("page {call}")),
        });
        let stack = over(&cache, proxy(), inner);
        send(&stack, get("/")).await;
        send(&stack, request("HEAD", "/", &[("cache-control", "no-cache")])).await;
        assert!(!send(&stack, get("/")).await.is_hit(), "{control}");
    }
}

/// The HEAD request began before the fetch of the stored response, so its response updates nothing.
#[tokio::test(start_paused = true)]
async fn a_late_head_does_not_restore_an_older_entry() {
    let (cache, manual) = timed();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let call = counted.next();
        async move {
            let head = request.method() == "HEAD";
            if head {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            let tag = if head { "\"1\"".to_owned() } else { format!("\"{call}\"") };
            let lines = [("cache-control", "max-age=60"), ("etag", tag.as_str())];
            Ok::<_, Infallible>(with_lines(&lines, if head { String::new() } else { format!("page {call}") }))
        }
    });
    let stack = over(&cache, proxy(), inner.boxed_clone());
    assert_eq!(send(&stack, get("/")).await.text(), "page 1");
    manual.advance(MINUTE);
    let newer = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        send(&stack, get("/")).await
    };
    let (_, newer) = tokio::join!(send(&stack, request("HEAD", "/", &[])), newer);
    assert_eq!(newer.text(), "page 3");
    assert_eq!(send(&stack, get("/")).await.text(), "page 3");
}

#[tokio::test]
async fn a_head_updates_the_variant_that_it_selects() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, call| {
        let which = request.headers()["x-a"].to_str().expect("text").to_owned();
        let (head, tag) = (request.method() == "HEAD", format!("\"{which}\""));
        let by = if head { "head" } else { "get" };
        let lines = [("cache-control", "max-age=60"), ("vary", "x-a"), ("etag", &*tag), ("x-by", by)];
        with_lines(&lines, if head { String::new() } else { format!("{which} {call}") })
    });
    let stack = over(&cache, proxy(), inner);
    for which in ["1", "2"] {
        send(&stack, get_with("/", &[("x-a", which)])).await;
    }
    manual.advance(MINUTE);
    send(&stack, request("HEAD", "/", &[("x-a", "1")])).await;
    let one = send(&stack, get_with("/", &[("x-a", "1")])).await;
    let two = send(&stack, get_with("/", &[("x-a", "2")])).await;
    assert_eq!((one.text(), one.header("x-by"), one.is_hit()), ("1 1", Some("head"), true));
    assert_eq!((two.text(), two.is_hit(), calls.count()), ("2 4", false, 4));
}

/// After a soft invalidation, the page may have changed unless a HEAD response has the stored
/// validator.
#[tokio::test]
async fn only_a_head_with_validators_ends_a_soft_invalidation() {
    for (tag, fresh) in [(None, false), (Some("\"a\""), true)] {
        let (cache, manual) = timed();
        let (inner, _) = origin(move |_, call| {
            let mut lines = vec![("cache-control", "max-age=600")];
            lines.extend(tag.map(|tag| ("etag", tag)));
            numbered(&lines, call)
        });
        let stack = over(&cache, proxy(), inner);
        send(&stack, get("/")).await;
        assert_eq!(cache.invalidate(Invalidation::path("/").soft()).await, Delivery::Delivered);
        manual.advance(Duration::from_secs(20));
        send(&stack, request("HEAD", "/", &[])).await;
        assert_eq!(send(&stack, get("/")).await.is_hit(), fresh, "{tag:?}");
    }
}

#[tokio::test]
async fn a_head_does_not_update_pages_with_hints_or_dependencies() {
    for by in ["hint", "value", "read by the head"] {
        let (cache, manual) = timed();
        cache.set("v", &1, Duration::from_secs(60)).await.expect("set");
        let handle = cache.clone();
        let inner = service_fn(move |request: Request<Body>| {
            let cache = handle.clone();
            async move {
                let head = request.method() == "HEAD";
                if by == "value" && !head || by == "read by the head" && head {
                    let _ = cache.get::<i32>("v").await;
                }
                let mut response: Response<Body> =
                    with_lines(&[("cache-control", "max-age=600"), ("etag", "\"a\"")], "page");
                if by == "hint" && !head {
                    CacheHints::new().client_max_age(Duration::ZERO).add_to(response.extensions_mut());
                }
                response.headers_mut().insert("x-by", request.method().as_str().parse().expect("a value"));
                Ok::<_, Infallible>(response)
            }
        });
        let stack = over(&cache, proxy(), inner.boxed_clone());
        send(&stack, get("/")).await;
        manual.advance(Duration::from_secs(50));
        send(&stack, request("HEAD", "/", &[("cache-control", "no-cache")])).await;
        let answer = send(&stack, get("/")).await;
        assert_eq!(answer.header("x-by"), Some("GET"), "{by}");
        let expected = if by == "hint" { "max-age=0, must-revalidate" } else { "max-age=600" };
        assert_eq!(answer.header("cache-control"), Some(expected), "{by}");
        manual.advance(Duration::from_secs(20));
        let expired = by == "value";
        assert_eq!(send(&stack, get("/")).await.is_hit(), !expired, "{by}");
    }
}

#[tokio::test]
async fn a_head_answered_by_an_inner_cache_updates_nothing() {
    let (cache, manual) = timed();
    let (origin, _) = origin(|request, call| {
        let lines = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-by", request.method().as_str())];
        numbered(&lines, call)
    });
    let within = SiteCacheLayer::new(&cache)
        .policy(proxy().name("within").build().expect("a policy"))
        .layer(origin.clone())
        .boxed_clone();
    // Only HEAD requests pass through an inner cache layer.
    let inner = service_fn(move |request: Request<Body>| {
        let (origin, within) = (origin.clone(), within.clone());
        async move {
            let body = |bytes| Body::from(bytes);
            match request.method().as_str() {
                "HEAD" => Ok::<_, Infallible>(within.oneshot(request).await?.map(|_| body(""))),
                _ => origin.oneshot(request).await,
            }
        }
    });
    let stack = over(&cache, proxy(), inner.boxed_clone());
    send(&stack, get("/")).await;
    manual.advance(MINUTE);
    send(&stack, request("HEAD", "/", &[])).await;
    let answer = send(&stack, get("/")).await;
    assert_eq!((answer.header("x-by"), answer.is_hit()), (Some("GET"), false));
}
