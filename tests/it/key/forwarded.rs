//! Forwarded fields: the key contains their canonical values, and the handler sees the same values.

use crate::support::*;
use http::{HeaderName, HeaderValue, Request};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::SiteCacheLayer;
use tower_response_cache::key::{KeyPart, QueryKey};
use tower_response_cache::policy::PolicyBuilder;

type Lines = &'static [(&'static str, &'static str)];

/// Returns a page that lists the forwarded fields of the request.
fn echo(request: &Request<Body>, _: usize) -> http::Response<Body> {
    let is_forwarded = |name: &str| {
        name == "forwarded"
            || ["x-forwarded-", "x-host", "x-original-url", "x-rewrite-url"]
                .iter()
                .any(|start| name.starts_with(start))
    };
    let lines = request.headers().iter().filter(|(name, _)| is_forwarded(name.as_str()));
    let mut lines: Vec<_> =
        lines.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
    lines.sort_unstable();
    with_lines(&[], lines.join("\n"))
}

/// Groups of requests that share a page, each with the fields that the handler sees.
const PAGES: &[(&[Lines], &str)] = &[
    (
        &[
            &[],
            &[("forwarded", "for=192.0.2.1")],
            &[("forwarded", "for=\"[2001:db8::1]:80\";by=_a"), ("forwarded", "for=unknown")],
        ],
        "",
    ),
    (
        &[
            &[("forwarded", "for=192.0.2.1;proto=https")],
            &[("forwarded", "for=192.0.2.2;proto=HTTPS")],
            &[("forwarded", "Proto=\"https\"; by=203.0.113.43; For=\"[2001:db8::1]:4711\"")],
            &[("forwarded", "for=a, for=b;proto=https")],
            &[("forwarded", "for=a"), ("forwarded", "proto=https;for=b")],
        ],
        "forwarded: proto=https",
    ),
    (
        &[
            &[("forwarded", "for=a;host=Shop.Example.;proto=https")],
            &[("forwarded", "proto=https;host=\"shop.example:443\"")],
        ],
        "forwarded: proto=https;host=shop.example",
    ),
    (
        &[
            &[("forwarded", "for=a;proto=https, for=b;proto=http")],
            &[("forwarded", "proto=https;for=c"), ("forwarded", "proto=HTTP")],
        ],
        "forwarded: proto=https, proto=http",
    ),
    (
        &[
            &[("x-forwarded-proto", "https")],
            &[("x-forwarded-proto", "HTTPS")],
            &[("x-forwarded-proto", " https , ")],
            &[("x-forwarded-proto", ""), ("x-forwarded-proto", "Https")],
        ],
        "x-forwarded-proto: https",
    ),
    (
        &[
            &[("x-forwarded-proto", "https,http")],
            &[("x-forwarded-proto", "HTTPS"), ("x-forwarded-proto", "http")],
        ],
        "x-forwarded-proto: https, http",
    ),
    (&[&[("x-forwarded-scheme", "HTTPS")], &[("x-forwarded-scheme", "https")]], "x-forwarded-scheme: https"),
    (
        &[
            &[("x-forwarded-host", "shop.example")],
            &[("x-forwarded-host", "SHOP.example")],
            &[("x-forwarded-host", "shop.example.")],
            &[("x-forwarded-host", "shop.example:")],
        ],
        "x-forwarded-host: shop.example",
    ),
    (
        &[
            &[("x-forwarded-host", "shop.example:443"), ("x-forwarded-proto", "https")],
            &[("x-forwarded-host", "Shop.example"), ("x-forwarded-proto", "HTTPS")],
        ],
        "x-forwarded-host: shop.example\nx-forwarded-proto: https",
    ),
    (&[&[("x-forwarded-host", "shop.example:443")]], "x-forwarded-host: shop.example:443"),
    (
        &[&[("x-forwarded-host", "a,B")], &[("x-forwarded-host", "A"), ("x-forwarded-host", "b.")]],
        "x-forwarded-host: a, b",
    ),
    (&[&[("x-host", "[2001:DB8::0:1]:0081")], &[("x-host", "[2001:db8::1]:81")]], "x-host: [2001:db8::1]:81"),
    (&[&[("x-forwarded-port", "8443")], &[("x-forwarded-port", " 08443")]], "x-forwarded-port: 8443"),
    (
        &[
            &[("x-forwarded-prefix", "/shop")],
            &[("x-forwarded-prefix", "shop/")],
            &[("x-forwarded-prefix", "//shop")],
        ],
        "x-forwarded-prefix: /shop",
    ),
    (
        &[&[("x-original-url", "/a?b=1&utm_source=mail")], &[("x-original-url", "/a?fbclid=x&b=1")]],
        "x-original-url: /a?b=1",
    ),
    (
        &[
            &[("x-rewrite-url", "https://shop.example/a")],
            &[("x-rewrite-url", "HTTPS://Shop.example.:443/a")],
        ],
        "x-rewrite-url: https://shop.example/a",
    ),
    (&[&[("x-rewrite-url", "/A")]], "x-rewrite-url: /A"),
];

#[tokio::test]
async fn equivalent_forwarded_fields_share_a_page() {
    for strict in [false, true] {
        let policy = policy().query(QueryKey::without_tracking());
        let policy = if strict { policy.strip_unkeyed_inputs(true) } else { policy };
        let (stack, calls) = site(policy, echo);
        for (requests, seen) in PAGES {
            for lines in *requests {
                let calls_before = calls.count();
                let answer = send(&stack, get_with("/", lines)).await;
                assert_eq!(answer.text(), *seen, "{lines:?}");
                assert_eq!(calls.count() - calls_before, usize::from(lines == &requests[0]), "{lines:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_handler_sees_the_forwarded_fields_of_the_key() {
    for (requests, seen) in PAGES {
        for lines in *requests {
            let (inner, _) = origin(echo);
            let cache = memory();
            let policy = || policy().query(QueryKey::without_tracking());
            let inner = SiteCacheLayer::new(&cache)
                .policy(policy().name("inner").build().expect("a policy"))
                .layer(inner);
            let stack = SiteCacheLayer::new(&cache)
                .policy(policy().build().expect("a policy"))
                .layer(inner)
                .boxed_clone();
            assert_eq!(send(&stack, get_with("/", lines)).await.text(), *seen, "{lines:?}");
        }
    }
}

#[tokio::test]
async fn client_addresses_do_not_enter_the_key() {
    let (stack, calls) = site(policy(), echo);
    for address in ["192.0.2.1", "192.0.2.2, 10.0.0.1", "not an address"] {
        send(&stack, get_with("/", &[("x-forwarded-for", address)])).await;
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_forwarded_head_request_has_the_fields_of_its_key() {
    let (stack, _) = site(policy(), |request, _| {
        let seen = request.headers().get("forwarded").cloned();
        let mut response = with_lines(&[], "");
        response.headers_mut().extend(seen.map(|seen| (HeaderName::from_static("x-seen"), seen)));
        response
    });
    let head = request("HEAD", "/", &[("forwarded", "for=192.0.2.1;proto=HTTPS")]);
    assert_eq!(send(&stack, head).await.header("x-seen"), Some("proto=https"));
}

#[tokio::test]
async fn a_malformed_forwarded_field_bypasses_unchanged() {
    for (name, value) in [
        ("forwarded", "shop.example"),
        ("forwarded", "proto=https;proto=http"),
        ("forwarded", "host=\"shop.example"),
        ("forwarded", "for=192.0.2.1;host=a b"),
        ("x-forwarded-host", ""),
        ("x-forwarded-host", "a/b"),
        ("x-forwarded-host", "me@shop.example"),
        ("x-host", "a b"),
        ("x-forwarded-proto", "https://"),
        ("x-forwarded-scheme", "a b"),
        ("x-forwarded-port", "x"),
        ("x-forwarded-port", "65536"),
        ("x-forwarded-prefix", "/a?b"),
        ("x-original-url", "a b"),
        ("x-rewrite-url", "http://me:secret@shop.example/"),
    ] {
        let (stack, calls) = site(policy(), echo);
        for _ in 0..2 {
            let answer = send(&stack, get_with("/", &[(name, value)])).await;
            assert_eq!(answer.detail(), Some("forwarded"), "{name}: {value}");
            assert_eq!(answer.text(), format!("{name}: {value}"));
        }
        assert_eq!(calls.count(), 2);
    }
    let (stack, _) = site(policy(), echo);
    let mut request = get("/");
    for _ in 0..2 {
        request.headers_mut().append("x-original-url", HeaderValue::from_static("/a"));
    }
    assert_eq!(send(&stack, request).await.detail(), Some("forwarded"), "a repeated URL field");
}

#[tokio::test]
async fn a_vary_on_a_forwarded_field_creates_no_variants() {
    for name in ["x-forwarded-proto", "forwarded"] {
        let (stack, calls) = site(policy(), move |_, call| numbered(&[("vary", name)], call));
        for value in ["proto=https", "PROTO=HTTPS", "for=a;proto=https"] {
            let value = if name == "forwarded" { value } else { value.rsplit('=').next().expect("a scheme") };
            send(&stack, get_with("/", &[(name, value)])).await;
        }
        assert_eq!(calls.count(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_forwarded_field_in_vary_on_headers_is_keyed_canonically() {
    let name = HeaderName::from_static("x-forwarded-proto");
    let (stack, _) = site(policy().vary_on_headers([name]), |_, call| numbered(&[], call));
    let of = |value| get_with("/", &[("x-forwarded-proto", value)]);
    assert!(shares(&stack, of("https"), of("HTTPS")).await);
    assert!(!shares(&stack, of("https"), of("http")).await);
}

#[tokio::test]
async fn each_forwarded_host_must_be_in_the_list_of_hosts() {
    let policy = policy().hosts(["shop.example"]);
    let (stack, _) = site(policy, |_, call| numbered(&[], call));
    let of = |line| get_with("/", &[("host", "shop.example"), line]);
    for (line, detail) in [
        (("forwarded", "for=a;host=Shop.example"), None),
        (("x-forwarded-host", "SHOP.example:443"), None),
        (("x-original-url", "https://shop.example/a"), None),
        (("x-original-url", "/a"), None),
        (("forwarded", "host=evil.example"), Some("unknown-host")),
        (("forwarded", "host=shop.example, host=evil.example"), Some("unknown-host")),
        (("x-forwarded-host", "shop.example, evil.example"), Some("unknown-host")),
        (("x-host", "evil.example"), Some("unknown-host")),
        (("x-rewrite-url", "https://evil.example/"), Some("unknown-host")),
    ] {
        let answer = send(&stack, of(line)).await;
        assert_eq!(answer.detail(), detail, "{line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_background_refresh_has_the_fields_of_its_key() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(echo);
    let policy = policy().stale_while_revalidate(Duration::from_secs(600));
    let stack =
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
    let of = |value| get_with("/", &[("forwarded", value)]);
    send(&stack, of("proto=https")).await;
    manual.advance(2 * MINUTE);
    send(&stack, of("for=192.0.2.1;proto=HTTPS")).await;
    cache.shutdown().await;
    let new = send(&stack, of("proto=https")).await;
    assert_eq!((new.text(), new.is_hit(), calls.count()), ("forwarded: proto=https", true, 2));
}

#[tokio::test]
async fn the_order_of_keyed_inputs_in_a_policy_changes_no_key() {
    let part = |name: &'static str| KeyPart::new(name, move |_| Some(name.to_owned()));
    let names = |reversed: bool, names: [&'static str; 2]| match reversed {
        false => names,
        true => [names[1], names[0]],
    };
    let of = |reversed| {
        let policy = names(reversed, ["tenant", "plan"])
            .into_iter()
            .fold(policy(), |policy, name| policy.vary_by_part(part(name)));
        let headers = names(reversed, ["x-a", "x-b"]).map(HeaderName::from_static);
        policy
            .query(QueryKey::without(names(reversed, ["utm_*", "fbclid"])))
            .vary_on_cookies(names(reversed, ["lang", "currency"]))
            .vary_on_headers(headers.clone())
            .ignore_headers(headers.clone().map(|_| HeaderName::from_static("x-c")))
            .strip_unkeyed_inputs(true)
            .allow_unkeyed_headers(headers)
            .vary_by_part(KeyPart::language(["en", "de"]).expect("valid"))
    };
    let cache = memory();
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let layers = [of(false), of(true)].map(|policy| {
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner.clone())
    });
    for layer in layers {
        send(&layer, get("/")).await;
    }
    assert_eq!(calls.count(), 1);
    let language_first: PolicyBuilder =
        policy().vary_by_part(KeyPart::language(["en"]).expect("valid")).vary_by_part(part("a"));
    let language_last: PolicyBuilder =
        policy().vary_by_part(part("a")).vary_by_part(KeyPart::language(["en"]).expect("valid"));
    for policy in [language_first, language_last] {
        send(
            &SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner.clone()),
            get("/"),
        )
        .await;
    }
    assert_eq!(calls.count(), 2);
}
