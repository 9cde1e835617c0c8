//! The `key` of `Cache-Status` (RFC 9211 section 2.7): requests with the same cache key report the
//! same `key`, which reveals nothing about the sender.

use crate::status::field::{members, status_of};
use crate::support::*;
use http::Request;
use std::time::Duration;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::key::QueryKey;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, Policy, RouteCacheLayer, SiteCacheLayer};

const MS: Duration = Duration::from_millis(1);

/// The sender that an authentication layer found.
#[derive(Clone)]
struct User(&'static str);

fn request_of(user: &'static str) -> Request<Body> {
    let mut request =
        get_with("/?b=1", &[("cookie", "lang=de; sid=s3cret"), ("authorization", "Bearer s3cret")]);
    request.extensions_mut().insert(User(user));
    request
}

fn reporting_key(policy: PolicyBuilder) -> Stack {
    let page = |_: &Request<Body>, call| numbered(&[("cache-control", "public, max-age=60")], call);
    site(policy.cache_status(true).cache_status_key(true), page).0
}

/// Returns the `key` of a member. The target in the key must not contain `; `.
fn key(member: &str) -> &str {
    let statuses = member.split_once("key=").expect("a key").1;
    statuses.split("; ").next().expect("a key")
}

/// Sends a request, and returns the `key` of its status.
async fn key_of(stack: &Stack, request: Request<Body>) -> String {
    key(&status_of(stack, request).await).to_owned()
}

#[tokio::test]
async fn requests_report_equal_keys_only_if_they_share_a_response() {
    let policy = Policy::app()
        .query(QueryKey::sorted())
        .vary_on_cookies(["lang"])
        .ignore_cookies(["_ga*"])
        .vary_by_identity("user", |request| Some(request.extensions.get::<User>()?.0.to_owned()));
    let stack = reporting_key(policy);
    let with = |uri: &str, lines: &[(&str, &str)]| get_with(uri, lines);
    let requests = || {
        [
            vec![
                with("/?a=1&b=2", &[("host", "shop.example"), ("cookie", "lang=de")]),
                with("/?b=2&a=1", &[("host", "shop.example"), ("cookie", "_ga=x; lang=de")]),
                request("HEAD", "/?b=2&a=1", &[("host", "shop.example"), ("cookie", "lang=de")]),
            ],
            vec![with("/?a=1&b=2", &[("host", "shop.example"), ("cookie", "lang=en")])],
            vec![with("/?a=1&b=2", &[("host", "shop.example")])],
            vec![with("/?a=1&b=2", &[("host", "other.example"), ("cookie", "lang=de")])],
            vec![with("/?a=1&b=3", &[("host", "shop.example"), ("cookie", "lang=de")])],
            vec![with("/?a=1&b=2", &[("cookie", "lang=de")])],
            vec![with("/x?a=1&b=2", &[("host", "shop.example"), ("cookie", "lang=de")])],
            vec![with("http://shop.example/?a=1&b=2", &[("cookie", "lang=de")])],
            vec![request_of("alice"), request_of("alice")],
            vec![request_of("bob")],
        ]
    };
    let mut seen: Vec<String> = Vec::new();
    for alike in requests() {
        let mut keys = Vec::new();
        for (nth, request) in alike.into_iter().enumerate() {
            let statuses = status_of(&stack, request).await;
            assert_eq!(statuses.starts_with("hit; "), nth > 0, "the group shares a response: {statuses}");
            keys.push(key(&statuses).to_owned());
        }
        keys.dedup();
        assert_eq!(keys.len(), 1, "one key: {keys:?}");
        assert!(!seen.contains(&keys[0]), "each group has another key: {keys:?}");
        seen.append(&mut keys);
    }
    for (statuses, shown) in seen.iter().zip(["shop.example/?a=1&b=2 #", "shop.example/?a=1&b=2 #"]) {
        assert!(statuses.starts_with(shown), "{statuses}");
    }
}

#[tokio::test]
async fn reported_key_reveals_no_cookie_credential_or_identity() {
    let keyed = Policy::app()
        .vary_on_cookies(["lang", "plan"])
        .vary_by("tenant", |_| Some("t3nant".to_owned()))
        .vary_by_identity("user", |request| Some(request.extensions.get::<User>()?.0.to_owned()));
    for (policy, requests) in [
        (keyed, vec![request_of("al1ce"), get_with("/?b=1", &[("cookie", "lang=d3; plan=g0ld")])]),
        (Policy::rfc9111(), vec![request_of("al1ce"), get_with("/?b=1", &[("cookie", "sid=s3cret")])]),
    ] {
        let stack = reporting_key(policy);
        for request in requests {
            let statuses = key_of(&stack, request).await;
            let digest = statuses.strip_prefix("/?b=1 #").expect("the target and a digest");
            assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{statuses}");
        }
    }
}

#[tokio::test]
async fn reported_key_is_readable_for_any_target() {
    let stack = reporting_key(Policy::app());
    let long = format!("/{}", "x".repeat(4000));
    let table = [
        ("/a\"b", "/a\"b"),
        ("/a?x=\"q\"&y=\\", "/a?x=\"q\"&y=\\"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/a%22;hit;ttl=9", "/a%22;hit;ttl=9"),
        ("/caf\u{e9}", "/caf?"),
        (&long, &long[..512]),
    ];
    for (target, shown) in table {
        // `http` rejects some of these targets, so they reach no cache.
        let Ok(uri) = http::Uri::try_from(target) else { continue };
        let mut request = get("/");
        *request.uri_mut() = uri;
        for _ in 0..2 {
            let statuses = key_of(&stack, request.clone()).await;
            assert_eq!(statuses.rsplit_once(" #").map(|(shown, _)| shown), Some(shown), "{target}");
        }
    }
    // A longer target is truncated, but its `key` differs from that of another truncated target.
    let longer = format!("{long}y");
    assert_ne!(key_of(&stack, get(&long)).await, key_of(&stack, get(&longer)).await);
}

#[tokio::test(start_paused = true)]
async fn hits_misses_followers_and_refusals_report_the_key() {
    let (cache, _) = timed();
    let inner = service_fn(|_: Request<Body>| async {
        sleep(50 * MS).await;
        Ok::<_, std::convert::Infallible>(numbered(&[("cache-control", "max-age=60")], 1))
    });
    let policy = Policy::rfc9111().cache_status(true).cache_status_key(true);
    let stack =
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
    let refused = status_of(&stack, get_with("/a", &[("cache-control", "only-if-cached")])).await;
    let head = status_of(&stack, request("HEAD", "/a", &[])).await;
    let (miss, waited) = tokio::join!(status_of(&stack, get("/a")), status_of(&stack, get("/a")));
    let hit = status_of(&stack, get("/a")).await;
    let stale = status_of(&stack, get_with("/a", &[("cache-control", "no-cache")])).await;
    let key = key(&hit);
    assert!(key.starts_with("/a #"));
    let expected = [
        (&refused, format!("key={key}; detail=only-if-cached")),
        (&head, format!("fwd=uri-miss; fwd-status=200; key={key}; detail=head")),
        (&miss, format!("fwd=uri-miss; fwd-status=200; stored; ttl=60; key={key}")),
        (&waited, format!("fwd=uri-miss; collapsed; ttl=60; key={key}")),
        (&hit, format!("hit; ttl=60; key={key}")),
        (&stale, format!("fwd=request; fwd-status=200; stored; ttl=60; key={key}; detail=request-no-cache")),
    ];
    for (statuses, expected) in expected {
        assert_eq!(*statuses, expected);
    }
    // The cache does not look these requests up, so they have no key.
    for request in [request("OPTIONS", "/a", &[]), get_with("/a", &[("expect", "100-continue")])] {
        assert!(!status_of(&stack, request).await.contains("key="));
    }
}

#[tokio::test]
async fn each_layer_reports_its_key_only_if_enabled() {
    let (stack, _) = site(policy(), |_, call| numbered(&[], call));
    for _ in 0..2 {
        assert!(!status_of(&stack, get("/")).await.contains("key="));
    }
    // Each of two nested layers reports its own key.
    let cache: Cache = memory();
    let reporting = |policy: PolicyBuilder| policy.cache_status(true).cache_status_key(true);
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let inner = RouteCacheLayer::new(&cache, MINUTE)
        .policy(reporting(Policy::app()).build().expect("a policy"))
        .layer(inner);
    let nested =
        SiteCacheLayer::new(&cache).policy(reporting(policy()).build().expect("a policy")).layer(inner);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let members = members(&send(&nested, get("/")).await);
        seen.push(members.iter().map(|member| key(member).to_owned()).collect::<Vec<_>>());
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0][0], seen[0][1]);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_key_shows_the_public_target_of_the_client() {
    use axum::{Router, routing::get};
    let policy = policy().cache_status_key(true);
    let inner = Router::new()
        .route("/a", get(|| async { "page" }))
        .layer(SiteCacheLayer::new(&memory()).policy(policy.build().expect("a policy")));
    let app: Router = Router::new().nest("/shop", inner);
    for _ in 0..2 {
        let request = Request::get("/shop/a?b=1").body(axum::body::Body::empty()).expect("a request");
        let answer = read(app.clone().oneshot(request).await.expect("infallible")).await;
        assert!(key(&members(&answer)[0]).starts_with("/shop/a?b=1 #"), "{answer:?}");
    }
}
