//! Cookies: which identify a visitor, which enter the key, and which are ignored.

use crate::support::rfc9111::{app, proxy, standing};
use crate::support::*;
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Policy, RouteCacheLayer, SiteCacheLayer};

/// A page that shows the cookies that its handler gets.
fn shop(policy: PolicyBuilder) -> (Stack, Calls) {
    site(policy, |request, _| {
        let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
        with_lines(&[], format!("{cookies:?}"))
    })
}

fn declared() -> PolicyBuilder {
    let policy = policy().ignore_cookies(["_ga*", "theme"]);
    policy.vary_on_cookies(["lang"]).credential_cookies(["sid"])
}

fn with_cookie(cookie: &str) -> http::Request<Body> {
    get_with("/", &[("cookie", cookie)])
}

#[tokio::test]
async fn harmless_cookies_share_hits_and_do_not_reach_the_handler() {
    let (stack, calls) = shop(declared());
    assert_eq!(send(&stack, with_cookie("_ga=1; theme=dark")).await.text(), "[]");
    for cookie in ["_ga=2", "_ga_X=3; theme=light", "theme=dark"] {
        assert!(send(&stack, with_cookie(cookie)).await.is_hit(), "{cookie}");
    }
    assert!(send(&stack, get("/")).await.is_hit());
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn keyed_cookies_separate_pages_in_any_order() {
    let (stack, calls) = shop(declared());
    for (cookie, seen) in [("lang=de", "[\"lang=de\"]"), ("lang=en", "[\"lang=en\"]"), ("_ga=1", "[]")] {
        assert_eq!(send(&stack, with_cookie(cookie)).await.text(), seen);
    }
    let hit = send(&stack, with_cookie("theme=x; lang=de; _ga=7")).await;
    assert_eq!((hit.text(), hit.is_hit()), ("[\"lang=de\"]", true));
    // HTTP/2 may split `Cookie` into several lines, which form one list.
    let crumbs = get_with("/", &[("cookie", "_ga=7"), ("cookie", "lang=en")]);
    let hit = send(&stack, crumbs).await;
    assert_eq!((hit.text(), hit.is_hit(), calls.count()), ("[\"lang=en\"]", true, 3));
    // An absent cookie and an empty one have different keys.
    assert_eq!(send(&stack, with_cookie("lang=")).await.text(), "[\"lang=\"]");
}

#[tokio::test]
async fn undeclared_and_credential_cookies_bypass() {
    let (stack, _) = shop(declared());
    for cookie in ["sid=1", "_ga=1; sid=1", "remember_me=alice; lang=de", "lang=de; lang=en"] {
        for _ in 0..2 {
            let answer = send(&stack, with_cookie(cookie)).await;
            assert_eq!((answer.text(), answer.detail()), (format!("[{cookie:?}]").as_str(), Some("cookie")));
        }
    }
    let (stack, _) = shop(policy().ignore_undeclared_cookies().credential_cookies(["sid"]));
    assert_eq!(send(&stack, with_cookie("remember_me=alice")).await.text(), "[]");
    assert!(send(&stack, get("/")).await.is_hit());
    assert_eq!(send(&stack, with_cookie("sid=1")).await.text(), "[\"sid=1\"]");
}

#[tokio::test]
async fn vary_cookie_compares_the_cookies_that_reach_the_handler() {
    let (stack, calls) = site(declared(), |_, call| numbered(&[("vary", "cookie")], call));
    for (cookie, page) in [
        ("_ga=1; lang=de", "1"),
        ("_ga=2; lang=de", "1"),
        ("lang=en", "2"),
        ("theme=dark; lang=de", "1"),
        ("_ga=3", "3"),
    ] {
        let answer = send(&stack, with_cookie(cookie)).await;
        assert_eq!((answer.text(), answer.header("vary")), (page, Some("cookie")), "{cookie}");
    }
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn under_rfc9111_undeclared_cookies_bypass_if_some_are_declared() {
    let policy = Policy::rfc9111().cache_status(true).default_ttl(MINUTE);
    let (stack, _) = shop(policy.vary_on_cookies(["lang"]));
    for cookie in ["lang=de; sid=1", "lang=de; lang=en"] {
        assert_eq!(send(&stack, with_cookie(cookie)).await.text(), format!("[{cookie:?}]"));
        assert_eq!(send(&stack, get("/")).await.text(), "[]", "made for {cookie}");
    }
}

#[tokio::test]
async fn layers_with_different_cookie_rules_share_no_entries() {
    let cache = memory();
    let inner = origin(|request, _| with_lines(&[], format!("{:?}", request.headers().get("cookie"))));
    let over = |policy: PolicyBuilder| {
        SiteCacheLayer::new(&cache)
            .policy(policy.build().expect("a policy"))
            .layer(inner.0.clone())
            .boxed_clone()
    };
    let (strict, lenient) = (over(declared()), over(policy().ignore_undeclared_cookies()));
    send(&lenient, with_cookie("lang=de")).await;
    assert_eq!(send(&strict, with_cookie("lang=de")).await.text(), "Some(\"lang=de\")");
}

#[tokio::test]
async fn users_stay_separate_if_an_inner_layer_strips_the_cookie() {
    let cache = memory();
    let page = origin(|request, _| {
        let user = request.extensions().get::<String>().map_or("anybody", String::as_str);
        with_lines(&[], user.to_owned())
    });
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(page.0);
    let session = service_fn(move |mut request: http::Request<Body>| {
        if let Some(user) = request.headers_mut().remove("cookie") {
            request.extensions_mut().insert(user.to_str().expect("text").to_owned());
        }
        route.clone().oneshot(request)
    });
    let stack = SiteCacheLayer::new(&cache).policy(declared().build().expect("a policy")).layer(session);
    for _ in 0..2 {
        assert_eq!(send(&stack, with_cookie("sid=alice")).await.text(), "sid=alice");
        assert_eq!(send(&stack, with_cookie("sid=bob")).await.text(), "sid=bob");
        assert_eq!(send(&stack, with_cookie("_ga=1")).await.text(), "anybody");
    }
}

#[test]
fn an_invalid_cookie_name_is_in_the_error() {
    let error = Policy::app().ignore_cookies(["_ga*", ""]).build().expect_err("refused");
    assert_eq!((error.kind(), error.value()), (ConfigErrorKind::InvalidCookieName, ""));
    assert_eq!(Policy::app().vary_on_cookies(["la*"]).build().expect_err("refused").value(), "la*");
    assert_eq!(Policy::app().credential_cookies(["a b"]).build().expect_err("refused").value(), "a b");
}

proptest! {
    #![proptest_config(crate::support::cases(256))]

    #[test]
    fn no_visitor_gets_a_page_made_for_other_cookies(
        visits in prop::collection::vec((0..4_usize, 0..3_usize, 0..3_usize), 1..30),
    ) {
        let (stack, _) = shop(declared());
        futures::executor::block_on(async {
            for (sid, lang, analytics) in visits {
                let mut crumbs = Vec::new();
                if analytics > 0 { crumbs.push(format!("_ga={analytics}")); }
                if sid > 1 { crumbs.push(format!("sid={sid}")); }
                if lang > 0 { crumbs.push(format!("lang={lang}")); }
                let cookie = crumbs.join("; ");
                let answer = send(&stack, if cookie.is_empty() { get("/") } else { with_cookie(&cookie) }).await;
                let expected = if sid > 1 {
                    format!("[{cookie:?}]")
                } else if lang > 0 {
                    format!("[\"lang={lang}\"]")
                } else {
                    "[]".to_owned()
                };
                assert_eq!(answer.text(), expected);
            }
        });
    }
}

type Lines = &'static [(&'static str, &'static str)];

/// RFC 9111 section 7.3: `Set-Cookie` does not inhibit caching. This cache is stricter.
#[tokio::test]
async fn set_cookie_is_shared_only_by_option_and_explicit_lifetime() {
    let fresh: Lines = &[("cache-control", "max-age=60"), ("set-cookie", "a=1")];
    let silent: Lines = &[("set-cookie", "a=1")];
    let private: Lines = &[("cache-control", "private, max-age=60"), ("set-cookie", "a=1")];
    let shared = || proxy().share_set_cookie(true);
    let cookie: Lines = &[("cookie", "sid=alice")];
    let authorized: Lines = &[("authorization", "Bearer x")];
    let table: [(PolicyBuilder, Lines, Lines, bool); 9] = [
        (shared(), fresh, &[], true),
        (shared(), &[("cdn-cache-control", "max-age=60"), ("set-cookie", "a=1")], &[], true),
        (shared(), silent, &[], false),
        (shared().default_ttl(MINUTE), silent, &[], false),
        (shared(), private, &[], false),
        (shared(), fresh, cookie, false),
        (shared(), &[("cache-control", "public, max-age=60"), ("set-cookie", "a=1")], authorized, false),
        (proxy(), fresh, &[], false),
        (app().share_set_cookie(true), fresh, &[], false),
    ];
    for (policy, lines, cookies, stored) in table {
        let (stack, ..) = standing(policy, move |_, call| numbered(lines, call));
        send(&stack, get_with("/", cookies)).await;
        let answer = send(&stack, get("/")).await;
        assert_eq!(
            (answer.is_hit(), answer.header("set-cookie")),
            (stored, Some("a=1")),
            "{lines:?} {cookies:?}"
        );
    }
}

#[tokio::test]
async fn a_layer_without_share_set_cookie_serves_no_stored_set_cookie() {
    let (cache, _) = timed();
    let (inner, _) =
        origin(|_, call| numbered(&[("cache-control", "max-age=60"), ("set-cookie", "a=1")], call));
    let [sharing, other] = [proxy().share_set_cookie(true), proxy()].map(|policy| {
        SiteCacheLayer::new(&cache)
            .policy(policy.build().expect("a policy"))
            .layer(inner.clone())
            .boxed_clone()
    });
    assert!(shares(&sharing, get("/"), get("/")).await);
    assert!(!send(&other, get("/")).await.is_hit());
}
