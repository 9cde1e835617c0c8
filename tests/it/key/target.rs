//! Keys: the host, path, query and forwarded fields of a request.

use crate::support::*;
use http::Request;
use proptest::prelude::*;
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::key::QueryKey;
use tower_response_cache::{Policy, RouteCacheLayer, SiteCacheLayer};

/// Returns a page that shows the URI of its request, and the request fields that may enter the key.
fn echo(request: &Request<Body>, _: usize) -> http::Response<Body> {
    let forwarded = [
        "host",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-prefix",
        "forwarded",
        "x-original-url",
        "x-rewrite-url",
    ];
    let lines = forwarded
        .map(|name| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned()));
    with_lines(&[], format!("{} {lines:?}", request.uri()))
}

/// CVE-2026-2836: the default key of a cache did not contain the host.
#[tokio::test]
async fn tenants_with_different_hosts_never_share_a_page() {
    let (stack, _) = site(policy(), echo);
    for _ in 0..2 {
        for host in ["a.example", "b.example", "a.example:8080"] {
            let answer = send(&stack, get_with("/", &[("host", host)])).await;
            assert!(answer.text().contains(&format!("\"{host}\"")), "{host}: {}", answer.text());
        }
        for uri in ["http://a.example/", "https://a.example/", "http://b.example/"] {
            assert!(send(&stack, get(uri)).await.text().starts_with(uri));
        }
    }
}

#[tokio::test]
async fn a_repeated_malformed_or_contradicting_host_bypasses() {
    let (stack, calls) = site(policy(), echo);
    let requests = || {
        [
            get_with("/", &[("host", "a"), ("host", "a")]),
            get_with("/", &[("host", "a"), ("host", "b")]),
            get_with("/", &[("host", "a,b")]),
            get_with("/", &[("host", "")]),
            get_with("/", &[("host", "user@a")]),
            get_with("/", &[("host", "a/b")]),
            get_with("http://a/", &[("host", "b")]),
            get("http://user@a/"),
        ]
    };
    for request in requests().into_iter().chain(requests()) {
        assert_eq!(send(&stack, request).await.detail(), Some("host"));
    }
    assert_eq!(calls.count(), 16);
}

#[tokio::test]
async fn spellings_of_the_host_do_not_share_a_page() {
    let (stack, calls) = site(policy(), |_, call| numbered(&[], call));
    for host in ["SHOP.Example", "shop.example.", "shop.example"] {
        send(&stack, get_with("/", &[("host", host)])).await;
    }
    assert!(send(&stack, get_with("/", &[("host", "shop.example")])).await.is_hit());
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn a_noncanonical_authority_in_the_target_bypasses() {
    for odd in ["http://SHOP.example/x", "http://shop.example./x", "http://shop.example:80/x"] {
        let (stack, _) = site(policy(), |request, _| with_lines(&[], request.uri().to_string()));
        assert_eq!(send(&stack, get(odd)).await.detail(), Some("host"), "{odd}");
        assert_eq!(send(&stack, get("http://shop.example/x")).await.text(), "http://shop.example/x");
    }
}

#[tokio::test]
async fn the_path_is_keyed_without_normalization() {
    let (stack, _) = site(policy(), echo);
    let paths = [
        "/a/b",
        "/a%2fb",
        "/a%2Fb",
        "/A/b",
        "//a/b",
        "/a//b",
        "/a/./b",
        "/a/b/",
        "/a/../a/b",
        "/a;x/b",
        "/a/b.css",
        "/a/b%00",
    ];
    for _ in 0..2 {
        for path in paths {
            let answer = send(&stack, get(path)).await;
            assert!(answer.text().starts_with(&format!("{path} ")), "{path}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn the_query_is_keyed_without_normalization_by_default() {
    let (stack, _) = site(policy(), echo);
    let uris = [
        "/",
        "/?",
        "/?page=1",
        "/?page=2",
        "/?a=1&b=2",
        "/?b=2&a=1",
        "/?a=1;b=2",
        "/?a=1&a=2",
        "/?a=2&a=1",
        "/?page=1&",
        "/?utm_source=x",
    ];
    for _ in 0..2 {
        for uri in uris {
            let answer = send(&stack, get(uri)).await;
            assert!(answer.text().starts_with(&format!("{uri} ")), "{uri}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn the_handler_sees_only_the_keyed_part_of_the_query() {
    // Mode, query as sent, query as the handler sees it.
    let table = [
        (QueryKey::sorted(), "b=2&a=1", "?a=1&b=2"),
        (QueryKey::only(["page"]), "page=2&utm_source=evil", "?page=2"),
        (QueryKey::only(["page"]), "evil=1", ""),
        (QueryKey::without(["utm_*", "fbclid"]), "utm_source=evil&page=2&fbclid=x", "?page=2"),
        (QueryKey::without(["utm_*"]), "page=2;utm_source=evil", "?page=2;utm_source=evil"),
    ];
    for (mode, sent, seen) in table {
        let (stack, _) = site(policy().query(mode.clone()), echo);
        let first = send(&stack, get(&format!("/p?{sent}"))).await;
        assert!(first.text().starts_with(&format!("/p{seen} ")), "{mode:?} {sent}: {}", first.text());
        assert!(send(&stack, get(&format!("/p{seen}"))).await.is_hit(), "{mode:?} {sent}");
    }
}

#[tokio::test]
async fn forwarded_host_fields_are_part_of_the_key() {
    let (stack, _) = site(policy(), echo);
    for (name, start) in [
        ("x-forwarded-host", ""),
        ("x-forwarded-proto", ""),
        ("x-forwarded-prefix", "/"),
        ("forwarded", "host="),
        ("x-original-url", "/"),
        ("x-rewrite-url", "http://"),
    ] {
        for value in ["evil.example", "good.example", ""] {
            send(&stack, get_with("/", &[(name, &format!("{start}{value}"))])).await;
        }
        let evil = send(&stack, get_with("/", &[(name, &format!("{start}evil.example"))])).await;
        assert!(evil.is_hit() && evil.text().contains("evil.example"), "{name}");
        let plain = send(&stack, get("/")).await;
        assert!(!plain.text().contains("evil"), "{name}");
    }
}

#[tokio::test]
async fn a_forwarded_field_declared_ignored_is_removed_and_not_keyed() {
    let ignored = http::HeaderName::from_static("x-forwarded-host");
    let (stack, calls) = site(policy().ignore_headers([ignored]), echo);
    let evil = send(&stack, get_with("/", &[("x-forwarded-host", "evil.example")])).await;
    assert!(!evil.text().contains("evil"));
    assert!(send(&stack, get("/")).await.is_hit());
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_computed_key_part_separates_tenants() {
    let part = |request: tower_response_cache::key::RequestHead<'_>| {
        request.headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok()).map(str::to_owned)
    };
    let (stack, _) = site(policy().vary_by("tenant", part), |_, call| numbered(&[], call));
    let of = |tenant| get_with("/", &[("x-tenant", tenant)]);
    assert!(!shares(&stack, of("a"), of("b")).await);
    assert!(!shares(&stack, of(""), get("/")).await, "absent differs from empty");
    assert!(send(&stack, of("a")).await.is_hit());
}

#[tokio::test]
async fn a_uri_too_long_for_a_key_bypasses_the_cache() {
    let (stack, calls) = site(policy(), |_, call| numbered(&[], call));
    let long = format!("/{}", "x".repeat(20_000));
    for _ in 0..2 {
        assert_eq!(send(&stack, get(&long)).await.detail(), Some("key-length"));
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn layers_of_different_kind_name_or_key_policy_share_no_page() {
    let cache = memory();
    let page = |text: &'static str| origin(move |_, _| with_lines(&[], text)).0;
    let stacks: Vec<(&str, Stack)> = vec![
        (
            "site",
            SiteCacheLayer::new(&cache)
                .policy(policy().build().expect("a policy"))
                .layer(page("site"))
                .boxed_clone(),
        ),
        (
            "named",
            SiteCacheLayer::new(&cache)
                .policy(policy().name("x").build().expect("a policy"))
                .layer(page("named"))
                .boxed_clone(),
        ),
        (
            "sorted",
            SiteCacheLayer::new(&cache)
                .policy(policy().query(QueryKey::sorted()).build().expect("a policy"))
                .layer(page("sorted"))
                .boxed_clone(),
        ),
        ("route", RouteCacheLayer::new(&cache, MINUTE).layer(page("route")).boxed_clone()),
    ];
    for _ in 0..2 {
        for (text, stack) in &stacks {
            assert_eq!(send(stack, get("/")).await.text(), *text);
        }
    }
}

proptest! {
    #![proptest_config(crate::support::cases(300))]
    /// Requests with different hosts, paths, queries or forwarded fields never share a page.
    #[test]
    fn requests_with_different_targets_never_share_a_page(
        requests in prop::collection::vec(("[ab]{1,2}", "/[ab/%;.]{0,3}", prop::option::of("[a=&;]{0,3}"), prop::option::of("[ab]{0,2}")), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (stack, _) = site(policy(), echo);
            for (host, path, query, forwarded) in requests {
                let uri = query.map_or(path.clone(), |query| format!("{path}?{query}"));
                let mut lines = vec![("host", host.as_str())];
                lines.extend(forwarded.as_deref().map(|value| ("x-forwarded-host", value)));
                let Ok(parsed) = uri.parse::<http::Uri>() else { continue };
                let request = get_with(&uri, &lines);
                let expected = read(echo(&get_with(&parsed.to_string(), &lines), 0)).await;
                assert_eq!(send(&stack, request).await.text(), expected.text());
            }
        });
    }
}

/// RFC 9112 section 3.2.2: the host of an absolute target replaces the `Host` field.
#[tokio::test]
async fn handler_sees_the_host_of_an_absolute_target() {
    let echo = |request: &Request<Body>, _: usize| {
        let line =
            |name: &str| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        http::Response::new(Body::from(format!("{:?} {:?}", line("host"), line("content-length"))))
    };
    let target = "http://shop.example/p";
    let requests = || {
        [
            get(target),
            get_with(target, &[("host", "shop.example")]),
            get_with(target, &[("host", "shop.example"), ("content-length", "0")]),
            get_with(target, &[("content-length", "0")]),
        ]
    };
    for policy in [
        policy(),
        policy().strip_unkeyed_inputs(true),
        Policy::rfc9111().cache_status(true).default_ttl(Duration::from_secs(60)),
    ] {
        for first in 0..4 {
            let (stack, calls) = site(policy.clone(), echo);
            let page = send(&stack, requests()[first].clone()).await;
            assert_eq!(page.text(), "Some(\"shop.example\") None", "request {first}");
            for request in requests() {
                assert_eq!(send(&stack, request).await.text(), page.text());
            }
            assert_eq!(calls.count(), 1);
        }
    }
}
