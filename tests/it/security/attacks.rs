//! Published attacks on caches, which must not work here. Most tests name a CVE.

use crate::support::*;
use http::{HeaderName, Request, StatusCode};
use tower::Layer;
use tower_response_cache::key::{KeyPart, QueryKey};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{AnonymousOnlyLayer, Policy, SiteCacheLayer, Ttl};

fn with_cookie(cookie: &str) -> Request<Body> {
    get_with("/", &[("cookie", cookie)])
}

fn stores(policy: PolicyBuilder, lines: &'static [(&'static str, &'static str)]) -> Stack {
    site(policy, move |_, call| numbered(lines, call)).0
}

/// CVE-2014-0473: all visitors got the CSRF token of a cached anonymous page.
#[tokio::test]
async fn a_page_with_a_csrf_token_is_not_shared() {
    let page = |request: &Request<Body>, call: usize| {
        let token = request.headers().get("cookie").map(|cookie| cookie.to_str().expect("text").to_owned());
        match token {
            Some(token) => with_lines(&[], token),
            None => with_lines(&[("set-cookie", "csrftoken=new")], call.to_string()),
        }
    };
    for policy in [policy(), policy().ignore_cookies(["csrftoken"]), policy().ignore_undeclared_cookies()] {
        let (stack, _) = site(policy, page);
        assert!(!shares(&stack, get("/"), get("/")).await);
        assert!(!shares(&stack, with_cookie("csrftoken=a"), with_cookie("csrftoken=b")).await);
        assert!(!shares(&stack, with_cookie("csrftoken=a"), get("/")).await);
    }
}

/// CVE-2014-1418: a cache removed `Vary`, so downstream caches mixed the pages of users.
#[tokio::test]
async fn a_hit_has_the_vary_field_of_the_first_response() {
    let vary = "Cookie, Accept-Language";
    let declared = policy().vary_on_cookies(["lang"]);
    for policy in [policy(), declared.vary_by_part(KeyPart::language(["en"]).expect("valid"))] {
        let (stack, _) = site(policy, move |_, call| numbered(&[("vary", vary)], call));
        for hit in [false, true] {
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.header("vary"), answer.is_hit()), (Some(vary), hit));
        }
    }
}

/// CVE-2021-23336: an application treated `;` as a separator of parameters, and its proxy did not.
#[tokio::test]
async fn a_semicolon_hides_no_parameter_from_the_key() {
    let ignoring = policy().query(QueryKey::without(["utm_*"]));
    for (policy, uri, seen) in [
        (policy(), "/?q=good;q=evil", "q=good;q=evil"),
        (ignoring.clone(), "/?utm_x=1;q=evil", ""),
        (ignoring, "/?q=good;utm_x=evil&utm_y=1", "q=good;utm_x=evil"),
    ] {
        let (stack, _) =
            site(policy, |request, _| with_lines(&[], request.uri().query().unwrap_or("").to_owned()));
        assert_eq!(send(&stack, get(uri)).await.text(), seen);
        // A request for another query gets the page of that query.
        let other = send(&stack, get("/?q=good")).await;
        assert_eq!(other.text(), "q=good");
    }
}

/// CVE-2020-13254, CVE-2026-15337, CVE-2026-77050: a store could not hold some keys, and other keys
/// filled it.
#[tokio::test]
async fn keys_of_any_bytes_differ_and_long_keys_take_no_memory() {
    let (stack, _) = site(policy(), |request, _| with_lines(&[], request.uri().to_string()));
    for uri in ["/%00", "/%0d%0aset%20x", "/a%20b", "/a+b", "/%7f"] {
        for _ in 0..2 {
            assert_eq!(send(&stack, get(uri)).await.text(), uri);
        }
    }
    let store = memory_store(8 << 20);
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let cache = tower_response_cache::Cache::new(store);
    let stack = site_over(&cache, inner);
    for at in 0..200 {
        let uri = format!("/{at}{}", "x".repeat(20_000));
        assert_eq!(send(&stack, get(&uri)).await.detail(), Some("key-length"));
    }
}

/// CVE-2026-35192: a session cookie renewed with every response was stored with the page.
#[tokio::test]
async fn a_session_renewed_with_each_response_is_not_shared() {
    for policy in [policy(), Policy::rfc9111().default_ttl(MINUTE), policy().ignore_undeclared_cookies()] {
        let (stack, _) = site(policy, |_, call| {
            numbered(&[("set-cookie", "sid=1"), ("cache-control", "max-age=60")], call)
        });
        for call in ["1", "2", "3"] {
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.text(), answer.header("set-cookie")), (call, Some("sid=1")));
        }
    }
}

/// CVE-2026-48588: `Set-Cookie` was stored if the request had another cookie.
#[tokio::test]
async fn a_response_with_set_cookie_is_never_stored() {
    for lines in [&[("set-cookie", "sid=1")][..], &[("set-cookie", "sid=1"), ("vary", "cookie")]] {
        let stack = stores(policy().ignore_undeclared_cookies(), lines);
        for request in [|| get("/"), || with_cookie("unrelated=1")] {
            assert!(!shares(&stack, request(), request()).await, "{lines:?}");
        }
    }
}

/// CVE-2026-6907: a response with `*` in `Vary` was stored. CVE-2026-48587: whitespace around a
/// value of `Vary` hid the value.
#[tokio::test]
async fn a_padded_or_second_star_in_vary_forbids_storing() {
    for lines in [
        &[("vary", "*")][..],
        &[("vary", " *\t")],
        &[("vary", "Accept , * ")],
        &[("vary", "Accept"), ("vary", "*")],
    ] {
        assert!(!shares(&stores(policy(), lines), get("/"), get("/")).await, "{lines:?}");
    }
}

/// CVE-2026-8404: directives were compared case-sensitively.
#[tokio::test]
async fn directives_forbid_storing_in_any_case() {
    for value in ["Private", "PRIVATE, max-age=60", "max-age=60, No-Store", "NO-CACHE"] {
        let lines: &'static [_] = Box::leak(Box::new([("cache-control", value)]));
        assert!(!shares(&stores(policy(), lines), get("/"), get("/")).await, "{value}");
    }
}

/// CVE-2026-35193: an authorized response was stored without `Vary: Authorization`.
#[tokio::test]
async fn authorized_pages_need_an_exact_public_directive() {
    for value in ["max-age=60", "max-age=60, x=\"republic\"", "max-age=60, notpublic"] {
        let lines: &'static [_] = Box::leak(Box::new([("cache-control", value)]));
        for policy in [Policy::app(), Policy::rfc9111()] {
            let stack = stores(policy.cache_status(true), lines);
            let of = |token: &str| get_with("/", &[("authorization", token)]);
            assert!(!shares(&stack, of("Bearer a"), of("Bearer b")).await, "{value}");
            assert!(!shares(&stack, of("Bearer a"), get("/")).await, "{value}");
        }
    }
}

/// CVE-2026-113593: an absent field had the same key as a field with a certain value.
#[tokio::test]
async fn an_absent_field_differs_from_empty_and_marker_values() {
    let headers = policy().vary_on_headers(["x-a", "x-b"].map(HeaderName::from_static));
    for policy in [policy(), headers] {
        let (stack, calls) = site(policy, |_, call| numbered(&[("vary", "x-a, x-b")], call));
        let requests: [&[(&str, &str)]; 6] = [
            &[],
            &[("x-a", "")],
            &[("x-a", "-,")],
            &[("x-a", "x"), ("x-b", "yz")],
            &[("x-a", "xy"), ("x-b", "z")],
            &[("x-b", "")],
        ];
        for lines in requests {
            send(&stack, get_with("/", lines)).await;
        }
        assert_eq!(calls.count(), requests.len());
    }
}

/// Web cache deception: a personal page under a path that looks like a static file.
#[tokio::test]
async fn a_path_like_a_static_file_does_not_share_a_personal_page() {
    let anonymous = AnonymousOnlyLayer::session_cookie("sid").expect("valid");
    for path in [
        "/account/x.css",
        "/account;x.js",
        "/account%00.png",
        "/account/..%2fstatic/x.ico",
        "/static/../account",
    ] {
        for policy in [policy(), Policy::rfc9111().default_ttl(MINUTE).cache_status(true)] {
            let (inner, _) =
                origin(|request, _| with_lines(&[], format!("{:?}", request.headers().get("cookie"))));
            let cached =
                SiteCacheLayer::new(&memory()).policy(policy.build().expect("a policy")).layer(inner);
            let stack = anonymous.layer(cached);
            let victim = send(&stack, get_with(path, &[("cookie", "sid=victim")])).await;
            assert!(victim.text().contains("victim"));
            assert_eq!(send(&stack, get(path)).await.text(), "None", "{path}");
        }
    }
}

/// A redirect that was built from an attacker's field does not reach other visitors.
#[tokio::test]
async fn redirects_have_their_own_lifetime_and_key_inputs() {
    let redirect = |lines: &'static [(&'static str, &'static str)]| {
        move |request: &Request<Body>, _: usize| {
            let host = request
                .headers()
                .get("x-forwarded-host")
                .map_or("shop.example", |host| host.to_str().expect("text"));
            let mut response = with_lines(&[("location", &format!("https://{host}/"))], "");
            response.headers_mut().extend(with_lines(lines, "").headers().clone());
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            response
        }
    };
    let (stack, _) = site(policy(), redirect(&[]));
    assert!(!shares(&stack, get("/"), get("/")).await, "no default TTL applies to a redirect");
    let (stack, _) = site(policy(), redirect(&[("cache-control", "max-age=60")]));
    let evil = get_with("/", &[("x-forwarded-host", "evil.example")]);
    assert_eq!(send(&stack, evil).await.header("location"), Some("https://evil.example/"));
    assert_eq!(send(&stack, get("/")).await.header("location"), Some("https://shop.example/"));
    assert!(send(&stack, get("/")).await.is_hit());
}

/// An endless TTL differs from no TTL. Django's `cache_page(None)` could not express the
/// difference.
#[tokio::test]
async fn an_endless_ttl_stores_but_zero_and_no_ttl_do_not() {
    for (ttl, stored) in [
        (Ttl::Forever, true),
        (Ttl::For(MINUTE), true),
        (Ttl::For(std::time::Duration::ZERO), false),
        (Ttl::Default, false),
    ] {
        let stack = stores(Policy::app().default_ttl(ttl).cache_status(true), &[]);
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{ttl:?}");
        assert_eq!(
            send(&stack, get("/")).await.header("cache-control"),
            None,
            "clients get no `Cache-Control`"
        );
    }
}
