//! Lifetimes for clients that differ from the lifetime in the store; targeted fields; predicates;
//! header fields that are not stored.

use crate::support::*;
use http::{HeaderName, Response, StatusCode};
use std::time::{Duration, UNIX_EPOCH};
use tower::{Layer, ServiceExt};
use tower_response_cache::cache_headers::{CacheControl, SetCacheControlLayer};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, CacheHints, ConditionalGetLayer, Invalidation, Policy, SiteCacheLayer};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn over(
    cache: &Cache,
    policy: PolicyBuilder,
    answer: impl Fn(usize) -> Response<Body> + Clone + Send + Sync + 'static,
) -> Stack {
    let (inner, _) = origin(move |_, call| answer(call));
    SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone()
}

fn date(answer: &Answer) -> Duration {
    let date = httpdate::parse_http_date(answer.header("date").expect("a date")).expect("a date");
    date.duration_since(UNIX_EPOCH).expect("after 1970")
}

/// Django's cache middleware has one TTL for the server and for browsers. This crate has two.
#[tokio::test]
async fn browsers_always_revalidate_a_page_stored_for_a_year() {
    let (cache, manual) = timed();
    let policy = policy().default_ttl(YEAR).client_max_age(Duration::ZERO);
    let stack = over(&cache, policy, |call| numbered(&[("expires", "Fri, 31 Dec 9999 23:59:59 GMT")], call));
    let first = send(&stack, get("/")).await;
    manual.advance(YEAR / 2);
    let hit = send(&stack, get("/")).await;
    assert!(hit.is_hit());
    for answer in [&first, &hit] {
        assert_eq!(answer.header("cache-control"), Some("max-age=0, must-revalidate"));
        assert!(answer.header("expires").is_none() && answer.header("age").is_none());
    }
    let tag = hit.header("etag").expect("a tag to revalidate with").to_owned();
    let conditional_request = || get_with("/", &[("if-none-match", &tag)]);
    let unchanged = send(&stack, conditional_request()).await;
    assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);
    assert_eq!(unchanged.header("cache-control"), Some("max-age=0, must-revalidate"));
    // After an invalidation, the browser's next revalidation gets the new page.
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    let new = send(&stack, conditional_request()).await;
    assert_eq!((new.status, new.text()), (StatusCode::OK, "2"));
}

#[tokio::test]
async fn a_client_lifetime_begins_when_the_response_is_sent() {
    let (cache, manual) = timed();
    let start = "Thu, 01 Jan 2026 00:00:00 GMT";
    let stack = over(&cache, policy().client_max_age(MINUTE), move |call| {
        let lines = [("cache-control", "public, max-age=31536000"), ("age", "5"), ("date", start)];
        numbered(&[&lines[..], &[("last-modified", start)]].concat(), call)
    });
    let first = send(&stack, get("/")).await;
    assert_eq!((first.header("age"), first.header("date")), (None, Some(start)));
    for (method, line, status) in [
        ("GET", ("x-nothing", "1"), 200),
        ("HEAD", ("x-nothing", "1"), 200),
        ("GET", ("if-modified-since", start), 304),
        ("GET", ("range", "bytes=0-0"), 206),
    ] {
        manual.advance(Duration::from_secs(100));
        let answer = send(&stack, request(method, "/", &[line])).await;
        assert!(answer.is_hit() && answer.status == status, "{method} {line:?}");
        assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
        assert_eq!((answer.header("age"), answer.headers.get_all("date").iter().count()), (None, 1));
    }
    assert_eq!(date(&send(&stack, get("/")).await) - date(&first), Duration::from_secs(400));
}

#[tokio::test]
async fn revalidation_uses_the_origins_lifetime_not_the_clients() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, call| {
        if request.headers().contains_key("if-none-match") {
            let mut response = with_lines(&[("etag", "\"a\"")], "");
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        numbered(&[("cache-control", "max-age=100, public"), ("etag", "\"a\"")], call)
    });
    let stack = SiteCacheLayer::new(&cache)
        .policy(policy().client_max_age(Duration::from_secs(5)).build().expect("a policy"))
        .layer(inner);
    for _ in 0..3 {
        for _ in 0..2 {
            let answer = send(&stack, get("/")).await;
            assert_eq!(answer.header("cache-control"), Some("public, max-age=5"));
            assert_eq!((answer.header("age"), answer.text()), (None, "1"));
        }
        manual.advance(Duration::from_secs(99));
        assert!(
            send(&stack, get("/")).await.is_hit(),
            "the lifetime of the origin applies, not the client lifetime"
        );
        manual.advance(Duration::from_secs(1));
    }
    assert_eq!(calls.count(), 3, "one fetch and two revalidations");
}

#[tokio::test]
async fn a_handlers_client_lifetime_applies_if_stored_or_not() {
    let hints = || CacheHints::new().ttl(YEAR).client_max_age(MINUTE);
    let hinted = move |lines: &'static [(&'static str, &'static str)], hints: CacheHints| {
        move |call: usize| {
            let mut response = numbered(lines, call);
            response.extensions_mut().insert(hints.clone());
            response
        }
    };
    let policy = || policy().client_max_age(YEAR);
    for (lines, hints, request, client_control) in [
        (&[][..], hints(), get("/"), Some("max-age=60")),
        (&[("cache-control", "max-age=5, private")], hints(), get("/"), Some("private, max-age=60")),
        (&[("cache-control", "no-store")], hints(), get("/"), Some("no-store")),
        (&[("set-cookie", "a=1")], hints(), get("/"), Some("max-age=60, private")),
        (&[], hints().never(), get("/"), Some("max-age=60")),
        (&[], hints(), get_with("/", &[("cookie", "sid=1")]), Some("max-age=60, private")),
        (&[], CacheHints::new(), get_with("/", &[("cookie", "sid=1")]), None),
        (&[], CacheHints::new(), request("HEAD", "/", &[]), None),
    ] {
        let stack = over(&memory(), policy(), hinted(lines, hints));
        assert_eq!(send(&stack, request).await.header("cache-control"), client_control, "{lines:?}");
    }
}

#[tokio::test]
async fn outer_layers_see_the_rewritten_cache_control() {
    let stack = over(&memory(), policy().client_max_age(MINUTE), |call| {
        numbered(&[("cache-control", "max-age=9")], call)
    });
    let outside = SetCacheControlLayer::new(CacheControl::new().public()).expect("valid");
    let stack = ConditionalGetLayer::new().layer(outside.layer(stack));
    for _ in 0..2 {
        let answer = send(&stack, get("/")).await;
        assert_eq!(answer.header("cache-control"), Some("max-age=60, public"));
        assert!(answer.header("etag").is_some());
    }
}

/// RFC 9213 section 2.2.
#[tokio::test]
async fn targeted_fields_outrank_cache_control_if_enabled() {
    let targets = ["shop-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
    for (lines, held) in [
        (&[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store, private")][..], Some(60)),
        (&[("cdn-cache-control", "max-age=60"), ("shop-cache-control", "max-age=30")], Some(30)),
        (&[("cdn-cache-control", "no-store"), ("cache-control", "max-age=60")], None),
        (&[("cdn-cache-control", "private"), ("cache-control", "max-age=60")], None),
        (&[("cdn-cache-control", "max-age=soon, x"), ("cache-control", "max-age=60")], None),
        (&[("cdn-cache-control", "max age"), ("cache-control", "max-age=20")], Some(20)),
        (&[("cdn-cache-control", "public"), ("expires", "Fri, 31 Dec 9999 23:59:59 GMT")], None),
        (&[("cache-control", "max-age=10")], Some(10)),
    ] {
        for policy in [Policy::app(), Policy::rfc9111()] {
            let (cache, manual) = timed();
            let policy = policy.cache_status(true).targeted_fields(targets.clone());
            let stack = over(&cache, policy, move |call| numbered(lines, call));
            send(&stack, get("/")).await;
            if let Some(held) = held {
                manual.advance(Duration::from_secs(held - 1));
                let hit = send(&stack, get("/")).await;
                assert!(hit.is_hit(), "{lines:?}");
                assert_eq!(
                    hit.header(lines[0].0),
                    Some(lines[0].1),
                    "the targeted field is passed on unchanged"
                );
                manual.advance(Duration::from_secs(1));
            }
            assert!(!send(&stack, get("/")).await.is_hit(), "{lines:?}");
        }
    }
    let stack = over(&memory(), policy(), |call| numbered(&[("cdn-cache-control", "no-store")], call));
    assert!(shares(&stack, get("/"), get("/")).await, "`Policy::app` enables no targeted field");
}

#[tokio::test]
async fn requests_selected_by_bypass_if_bypass_the_cache() {
    let cache = memory();
    let before = over(&cache, policy(), |call| numbered(&[], call));
    let after =
        over(&cache, policy().bypass_if(|request| request.uri.path().starts_with("/admin/")), |call| {
            numbered(&[], call)
        });
    assert!(shares(&before, get("/admin/"), get("/admin/")).await);
    let answer = send(&after, get("/admin/")).await;
    assert_eq!((answer.detail(), answer.is_hit()), (Some("skipped"), false));
    assert!(send(&before, get("/admin/")).await.is_hit(), "the stored page is not replaced");
    assert!(shares(&after, get("/page"), get("/page")).await);
}

#[tokio::test]
async fn a_response_is_stored_only_if_every_store_if_accepts_it() {
    let policy = policy()
        .store_if(|request, response| {
            request.uri.query() != Some("draft") && response.headers.get("x-draft").is_none()
        })
        .store_if(|request, _| !request.headers.contains_key("x-preview"));
    let (stack, _) = site(policy, |request, call| {
        let draft = request.uri().path() == "/draft";
        numbered(if draft { &[("x-draft", "1")] } else { &[] }, call)
    });
    assert!(shares(&stack, get("/"), get("/")).await);
    for request in [|| get("/a?draft"), || get("/draft"), || get_with("/b", &[("x-preview", "1")])] {
        assert_eq!(send(&stack, request()).await.detail(), Some("predicate"));
        assert!(!send(&stack, request()).await.is_hit());
    }
}

#[tokio::test]
async fn a_hint_can_make_a_status_storable() {
    for (status, named, stored) in [
        (302, true, true),
        (302, false, false),
        (503, true, true),
        (503, false, false),
        (404, false, true),
        (206, true, false),
        (304, true, false),
        (405, true, false),
        (416, true, false),
        (431, true, false),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let (stack, _) = site(policy(), move |_, call| {
            let hints = CacheHints::new().ttl(MINUTE);
            let mut response = numbered(&[], call);
            response.extensions_mut().insert(if named { hints.statuses([status]) } else { hints });
            *response.status_mut() = status;
            response
        });
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{status} {named}");
    }
}

#[tokio::test]
async fn per_exchange_and_unstored_headers_are_not_in_hits() {
    let lines = &[
        ("x-request-id", "1"),
        ("traceparent", "00-1"),
        ("server-timing", "db;dur=1"),
        ("alt-svc", "h3=\":443\""),
        ("x-kept", "1"),
    ];
    let stack = over(&memory(), policy().unstored_headers([http::header::ALT_SVC]), move |call| {
        numbered(lines, call)
    });
    let first = send(&stack, get("/")).await;
    assert!(lines.iter().all(|(name, _)| first.header(name).is_some()));
    let hit = send(&stack, get("/")).await;
    let left: Vec<_> = lines.iter().filter(|(name, _)| hit.header(name).is_some()).collect();
    assert_eq!((hit.is_hit(), left), (true, vec![&("x-kept", "1")]));
}

#[tokio::test]
async fn under_app_a_page_with_a_csp_nonce_is_not_stored() {
    for name in ["content-security-policy", "content-security-policy-report-only"] {
        for (value, stored) in [("script-src 'Nonce-abc'", false), ("script-src 'self'", true)] {
            let stack = over(&memory(), policy(), move |call| numbered(&[(name, value)], call));
            assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{name} {value}");
        }
    }
}

/// `client_max_age` replaces the origin's lifetime of a year even in responses that this cache does
/// not store. It keeps a shorter lifetime of the origin.
#[tokio::test]
async fn client_max_age_also_limits_unstored_responses() {
    const YEARS: (&str, &str) = ("cache-control", "public, max-age=31536000");
    for (lines, request, client_control) in [
        (&[YEARS][..], request("HEAD", "/", &[]), "public, max-age=60"),
        (&[YEARS], get_with("/", &[("cookie", "sid=1")]), "public, max-age=60"),
        (&[YEARS, ("vary", "*")], get("/"), "public, max-age=60"),
        (&[("cache-control", "max-age=5"), ("set-cookie", "a=1")], get("/"), "max-age=5, private"),
        (&[("cache-control", "no-store")], get("/"), "no-store"),
    ] {
        let stack = over(&memory(), policy().client_max_age(MINUTE), move |call| numbered(lines, call));
        assert_eq!(send(&stack, request).await.header("cache-control"), Some(client_control), "{lines:?}");
    }
}

#[tokio::test]
async fn an_inner_layer_writes_no_client_lifetime_for_an_outer_layer() {
    for (hint, own, held) in [(Duration::ZERO, "max-age=3600", true), (YEAR, "max-age=5", false)] {
        let (cache, manual) = timed();
        let lines: &'static [_] = Box::leak(Box::new([("cache-control", own)]));
        let inner = over(&cache, policy(), move |call| {
            let mut response = numbered(lines, call);
            CacheHints::new().client_max_age(hint).add_to(response.extensions_mut());
            response
        });
        let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
        send(&stack, get("/")).await;
        manual.advance(Duration::from_secs(10));
        assert_eq!(send(&stack, get("/")).await.text() == "1", held);
    }
}

#[tokio::test]
async fn a_cors_response_is_stored_if_origin_is_keyed() {
    let policy = policy().vary_on_headers([http::header::ORIGIN]);
    let lines = &[("access-control-allow-origin", "https://a.example"), ("vary", "origin")];
    let stack = over(&memory(), policy, move |call| numbered(lines, call));
    let of = |origin: &str| get_with("/", &[("origin", origin)]);
    assert!(shares(&stack, of("https://a.example"), of("https://a.example")).await);
    assert!(!send(&stack, of("https://b.example")).await.is_hit());
}
