//! The URIs in `Location` and `Content-Location` that a write invalidates.

use crate::support::*;
use http::StatusCode;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Invalidation, Policy};

/// Returns `true` if a write invalidates `/page`. The response to the write has the status `code`
/// and the value `/page` in `field`.
async fn clears(policy: PolicyBuilder, code: u16, field: &'static str) -> bool {
    let (stack, _) = site(policy, move |request, call| {
        if request.method() == "GET" {
            return numbered(&[], call);
        }
        let mut response = with_lines(&[(field, "/page")], "");
        *response.status_mut() = StatusCode::from_u16(code).expect("a status");
        response
    });
    send(&stack, get("/page")).await;
    send(&stack, request("POST", "/write", &[])).await;
    !send(&stack, get("/page")).await.is_hit()
}

#[tokio::test]
async fn a_write_invalidates_location_of_2xx_302_and_303_only() {
    let rfc9111 = Policy::rfc9111().default_ttl(MINUTE).cache_status(true);
    for policy in [policy(), rfc9111] {
        for (code, by_default, without) in [
            (201, true, true),
            (302, true, false),
            (303, true, false),
            (200, true, true),
            (202, true, true),
            (300, false, false),
            (301, false, false),
            (307, false, false),
            (308, false, false),
            (400, false, false),
            (500, false, false),
        ] {
            let off = policy.clone().invalidate_redirects(false);
            assert_eq!(clears(policy.clone(), code, "location").await, by_default, "{code}");
            assert_eq!(clears(off, code, "location").await, without, "{code}, without redirects");
        }
    }
}

#[tokio::test]
async fn the_redirect_option_does_not_affect_content_location() {
    for code in [200, 201, 303] {
        for policy in [policy(), policy().invalidate_redirects(false)] {
            assert!(clears(policy, code, "content-location").await, "{code}");
        }
    }
    assert!(!clears(policy(), 409, "content-location").await);
}

/// Returns `true` if a POST to `/write` invalidates `/c`. The response is a 303 with the `Location`
/// lines in `location`. All URIs begin with `origin`, and all requests have the fields in `lines`.
async fn clears_c(
    policy: &PolicyBuilder,
    origin: &str,
    lines: &[(&str, &str)],
    location: &'static [&'static str],
) -> bool {
    let (stack, _) = site(policy.clone(), move |request, call| {
        if request.method() == "GET" {
            return numbered(&[], call);
        }
        let lines: Vec<_> = location.iter().map(|location| ("location", *location)).collect();
        let mut response = with_lines(&lines, "");
        *response.status_mut() = StatusCode::SEE_OTHER;
        response
    });
    send(&stack, request("GET", &format!("{origin}/c"), lines)).await;
    assert!(send(&stack, request("GET", &format!("{origin}/c"), lines)).await.is_hit(), "{origin} {lines:?}");
    send(&stack, request("POST", &format!("{origin}/write"), lines)).await;
    !send(&stack, request("GET", &format!("{origin}/c"), lines)).await.is_hit()
}

/// Origin, fields of the requests, `Location` lines, and whether `/c` is invalidated.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], bool);

const HOST: (&str, &str) = ("host", "backend");
const PUBLIC: (&str, &str) = ("x-forwarded-host", "shop.example");

const REDIRECTS: &[Case] = &[
    ("", &[HOST, PUBLIC], &["https://shop.example/c"], true),
    ("", &[HOST, PUBLIC], &["http://backend/c"], true),
    ("", &[HOST, PUBLIC], &["https://other.example/c"], false),
    ("", &[HOST, ("x-forwarded-host", "shop.example, cdn.example")], &["https://shop.example/c"], true),
    ("", &[HOST, ("x-forwarded-host", "a.example, shop.example")], &["https://shop.example/c"], true),
    ("", &[HOST, ("x-host", "shop.example")], &["https://shop.example/c"], true),
    (
        "",
        &[HOST, ("forwarded", "for=192.0.2.1;host=shop.example;proto=https")],
        &["https://shop.example/c"],
        true,
    ),
    (
        "",
        &[HOST, ("forwarded", "for=_a, Host=\"shop.example:8443\"")],
        &["https://shop.example:8443/c"],
        true,
    ),
    ("", &[HOST, PUBLIC, ("x-forwarded-port", "8443")], &["https://shop.example:8443/c"], true),
    ("", &[HOST, PUBLIC], &["https://shop.example:8443/c"], false),
    ("", &[HOST, ("x-forwarded-prefix", "/shop")], &["/shop/c"], true),
    ("", &[HOST, ("x-forwarded-prefix", "/shop/")], &["/shop/c"], true),
    ("", &[HOST, ("x-forwarded-prefix", "/shop")], &["/c"], true),
    ("", &[HOST, ("x-forwarded-prefix", "/shop")], &["c"], true),
    ("", &[HOST, ("x-forwarded-prefix", "/shop")], &["/shopc"], false),
    ("", &[HOST, PUBLIC, ("x-forwarded-prefix", "/shop")], &["https://shop.example/shop/c"], true),
    ("http://shop.example", &[], &["https://shop.example/c"], true),
    ("http://shop.example", &[("x-forwarded-proto", "https")], &["https://shop.example/c"], true),
    ("http://shop.example", &[], &["https://shop.example:443/c"], true),
    ("http://shop.example", &[], &["ftp://shop.example/c"], false),
    ("", &[("host", "shop.example")], &["http://shop.example./c"], true),
    ("", &[("host", "shop.example")], &["http://shop.example.:80/c"], true),
    ("", &[("host", "shop.example")], &["http://me@shop.example/c"], true),
    ("", &[("host", "shop.example")], &["http://shop.example@other.example/c"], false),
    ("", &[("host", "shop.example")], &["/x/%2e%2e/c"], true),
    ("", &[("host", "shop.example")], &["/x/.%2E/%2e/c"], true),
    ("", &[("host", "shop.example")], &["/x/y/../../../c"], true),
    ("", &[("host", "shop.example")], &["/x/..%2fc"], false),
    ("", &[("host", "shop.example")], &["http:/c"], true),
    ("", &[("host", "shop.example")], &["http:c"], true),
    ("", &[("host", "shop.example")], &["/\\other.example/c"], false),
    ("", &[("host", "shop.example")], &["\\c"], true),
    ("", &[("host", "shop.example")], &["/other", "/c"], true),
    ("", &[("host", "shop.example")], &["http://other.example/c", "/c"], true),
];

#[tokio::test]
async fn a_redirect_target_is_resolved_with_forwarded_fields() {
    for (origin, lines, location, expected) in REDIRECTS.iter().copied() {
        let cleared = clears_c(&policy(), origin, lines, location).await;
        assert_eq!(cleared, expected, "{origin} {lines:?} {location:?}");
    }
}

#[tokio::test]
async fn ignored_forwarded_fields_do_not_resolve_redirect_targets() {
    let ignoring = policy()
        .ignore_headers(["x-forwarded-host", "x-forwarded-prefix"].map(http::HeaderName::from_static));
    assert!(!clears_c(&ignoring, "", &[HOST, PUBLIC], &["https://shop.example/c"]).await);
    assert!(!clears_c(&ignoring, "", &[("x-forwarded-prefix", "/shop")], &["/shop/c"]).await);
}

#[tokio::test]
async fn under_rfc9111_scheme_and_forwarded_host_separate_origins() {
    let rfc9111 = Policy::rfc9111().default_ttl(MINUTE).cache_status(true);
    for (origin, lines, location, expected) in [
        ("http://shop.example", &[][..], &["https://shop.example/c"][..], false),
        ("http://shop.example", &[], &["http://shop.example/c"], true),
        ("", &[HOST, PUBLIC], &["https://shop.example/c"], true),
    ] {
        assert_eq!(clears_c(&rfc9111, origin, lines, location).await, expected, "{origin} {lines:?}");
    }
    let (stack, _) = site(rfc9111, |_, call| numbered(&[], call));
    let page = || get_with("/c", &[("host", "shop.example")]);
    send(&stack, page()).await;
    send(&stack, request("POST", "/c", &[HOST, PUBLIC])).await;
    assert!(send(&stack, page()).await.is_hit());
}

#[tokio::test]
async fn invalidations_match_forwarded_hosts_urls_and_prefixes() {
    let table: [(&[(&str, &str)], _, _); 14] = [
        (&[HOST, PUBLIC], Invalidation::path("/a").host("shop.example"), true),
        (&[HOST, PUBLIC], Invalidation::uri("https://shop.example/a"), true),
        (&[HOST, PUBLIC], Invalidation::path("/a").host("backend"), true),
        (&[HOST, PUBLIC], Invalidation::path("/a").host("other.example"), false),
        (
            &[HOST, ("forwarded", "host=\"shop.example:80\"")],
            Invalidation::path("/a").host("shop.example"),
            true,
        ),
        (&[HOST, ("x-forwarded-prefix", "/shop")], Invalidation::path("/shop/a"), true),
        (&[HOST, ("x-original-url", "/shop/a?q=1")], Invalidation::path("/shop/a"), true),
        (&[HOST, ("x-rewrite-url", "/shop/a")], Invalidation::subtree("/shop"), true),
        (&[HOST, ("x-rewrite-url", "/shop/a")], Invalidation::path("/a"), true),
        (&[HOST, ("x-rewrite-url", "https://b.example/b")], Invalidation::path("/b").host("b.example"), true),
        (
            &[HOST, ("x-rewrite-url", "https://b.example/b")],
            Invalidation::path("/b").host("c.example"),
            false,
        ),
        (&[HOST, ("x-forwarded-prefix", "/shop")], Invalidation::path("/a"), true),
        (&[HOST, ("x-forwarded-prefix", "/shop")], Invalidation::subtree("/shop"), true),
        (&[HOST, ("x-forwarded-prefix", "/shop")], Invalidation::path("/b/a"), false),
    ];
    for (lines, what, expected) in table {
        let cache = memory();
        let (inner, _) = origin(|_, call| numbered(&[], call));
        let stack = site_over(&cache, inner);
        send(&stack, get_with("/a", lines)).await;
        assert_eq!(cache.invalidate(what.clone()).await, Delivery::Delivered);
        assert_eq!(!send(&stack, get_with("/a", lines)).await.is_hit(), expected, "{lines:?} {what:?}");
    }
}

#[tokio::test]
async fn only_first_and_last_of_many_forwarded_hosts_match() {
    let hosts: Vec<_> = (0..500).map(|at| format!("h{at}.example")).collect();
    let hosts = hosts.join(", ");
    for (host, expected) in [("h0.example", true), ("h499.example", true), ("h250.example", false)] {
        let cache = memory();
        let (inner, _) = origin(|_, call| numbered(&[], call));
        let stack = site_over(&cache, inner);
        let page = || get_with("/a", &[HOST, ("x-forwarded-host", &hosts)]);
        send(&stack, page()).await;
        assert!(send(&stack, page()).await.is_hit());
        assert_eq!(cache.invalidate(Invalidation::path("/a").host(host)).await, Delivery::Delivered);
        assert_eq!(!send(&stack, page()).await.is_hit(), expected, "{host}");
    }
}
