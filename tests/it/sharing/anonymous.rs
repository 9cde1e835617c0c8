//! `AnonymousOnlyLayer`: only anonymous requests use the cache.

use crate::support::*;
use http::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::anonymous_only::AnonymousOnlyBuilder;
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{AnonymousOnlyLayer, Identified, Policy, SiteCacheLayer};

fn by_session() -> AnonymousOnlyLayer {
    by_session_or().build().expect("valid options")
}

fn by_session_or() -> AnonymousOnlyBuilder {
    AnonymousOnlyLayer::builder().credential_cookies(["sid"]).ignore_cookies(["_ga*"])
}

/// A page that shows the cookies and credentials that its handler gets, inside `layer` and a cache
/// layer.
fn shop(layer: &AnonymousOnlyLayer, policy: PolicyBuilder) -> (Stack, Calls) {
    let (inner, calls) = origin(|request, _| {
        let headers = request.headers();
        with_lines(&[], format!("{:?} {:?}", headers.get("cookie"), headers.get("authorization")))
    });
    let cached = SiteCacheLayer::new(&memory()).policy(policy.build().expect("a policy")).layer(inner);
    (layer.layer(cached).boxed_clone(), calls)
}

fn presets() -> [PolicyBuilder; 2] {
    [policy(), Policy::rfc9111().default_ttl(MINUTE).cache_status(true)]
}

fn with_cookie(cookie: &str) -> Request<Body> {
    get_with("/", &[("cookie", cookie)])
}

#[tokio::test]
async fn identified_requests_bypass_inner_caches_and_get_private() {
    for policy in presets() {
        let (shop, _) = shop(&by_session(), policy);
        send(&shop, get("/")).await;
        for line in [("cookie", "sid=alice"), ("cookie", "_ga=1; sid="), ("authorization", "Bearer alice")] {
            for _ in 0..2 {
                let answer = send(&shop, get_with("/", &[line])).await;
                assert_eq!(answer.detail(), Some("identified"), "{line:?}");
                assert_eq!(answer.header("cache-control"), Some("private"), "{line:?}");
                assert!(answer.text().contains(line.1), "{line:?}");
            }
        }
        let anonymous = send(&shop, get("/")).await;
        assert!(anonymous.is_hit() && anonymous.header("cache-control").is_none());
    }
}

#[tokio::test]
async fn anonymous_visitors_with_harmless_cookies_share_a_page() {
    for policy in presets() {
        let (shop, calls) = shop(&by_session(), policy);
        assert_eq!(send(&shop, with_cookie("_ga=1")).await.text(), "None None");
        for cookie in ["_ga=2", "_ga_X=1; _ga=3", ""] {
            assert!(send(&shop, with_cookie(cookie)).await.is_hit(), "{cookie:?}");
        }
        assert_eq!(calls.count(), 1);
    }
}

/// The layer must assume that an undeclared cookie is a login, such as the remember-me cookie of an
/// inner layer.
#[tokio::test]
async fn a_request_with_an_undeclared_cookie_bypasses() {
    for policy in presets() {
        let (shop, _) = shop(&by_session(), policy);
        for _ in 0..2 {
            let answer = send(&shop, with_cookie("remember_me=alice; _ga=1")).await;
            assert_eq!((answer.detail(), answer.is_hit()), (Some("cookie"), false));
            assert!(answer.text().contains("remember_me=alice"));
            assert_eq!(send(&shop, get("/")).await.text(), "None None");
        }
    }
    let lenient = by_session_or().ignore_undeclared_cookies().build().expect("valid options");
    let (shop, _) = shop(&lenient, policy());
    assert_eq!(send(&shop, with_cookie("remember_me=alice")).await.text(), "None None");
    assert!(send(&shop, get("/")).await.is_hit());
    assert_eq!(send(&shop, with_cookie("sid=1")).await.detail(), Some("identified"));
}

#[tokio::test]
async fn cookies_keyed_by_an_inner_cache_count_as_declared() {
    let (shop, _) = shop(&by_session(), policy().vary_on_cookies(["lang"]));
    let page = "Some(\"lang=de\") None";
    assert_eq!(send(&shop, with_cookie("_ga=1; lang=de")).await.text(), page);
    let hit = send(&shop, with_cookie("lang=de; _ga=2")).await;
    assert_eq!((hit.text(), hit.is_hit()), (page, true));
    assert_eq!(send(&shop, get("/")).await.text(), "None None");
}

#[tokio::test]
async fn custom_predicates_and_fields_identify_a_request() {
    #[derive(Clone)]
    struct User;
    let layer = AnonymousOnlyLayer::builder()
        .identified_if(|request| request.extensions.get::<User>().is_some())
        .credential_headers(["x-mine"])
        .ignore_headers([http::header::AUTHORIZATION])
        .build()
        .expect("valid options");
    let (shop, _) = shop(&layer, policy().ignore_headers([http::header::AUTHORIZATION]));
    send(&shop, get("/")).await;
    let mut known = get("/");
    known.extensions_mut().insert(User);
    assert_eq!(send(&shop, known).await.detail(), Some("identified"));
    assert_eq!(send(&shop, get_with("/", &[("x-mine", "1")])).await.detail(), Some("identified"));
    // A request with an ignored credential does not bypass the cache.
    let bogus = send(&shop, get_with("/", &[("authorization", "bogus")])).await;
    assert!(bogus.is_hit() && bogus.text() == "None None");
}

#[tokio::test(start_paused = true)]
async fn a_session_look_up_decides_if_nothing_else_does() {
    let look_ups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&look_ups);
    let layer = by_session_or()
        .identified_if_async(move |request| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                request.uri.path() == "/alice"
            }
        })
        .build()
        .expect("valid options");
    let (shop, _) = shop(&layer, policy());
    for hit in [false, true] {
        assert_eq!(send(&shop, get("/")).await.is_hit(), hit);
        let alice = send(&shop, get("/alice")).await;
        assert_eq!((alice.detail(), alice.header("cache-control")), (Some("identified"), Some("private")));
    }
    assert_eq!(look_ups.load(Ordering::SeqCst), 4);
    send(&shop, with_cookie("sid=1")).await;
    assert_eq!(look_ups.load(Ordering::SeqCst), 4, "a session cookie needs no look-up");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_look_up_does_not_block_other_requests() {
    let layer = AnonymousOnlyLayer::builder()
        .identified_if_async(|request| async move {
            if request.headers.contains_key("x-slow") {
                std::future::pending::<()>().await;
            }
            false
        })
        .build()
        .expect("valid options");
    // The service accepts one request at a time, so the cancelled request must give up its place.
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let limited = tower::limit::ConcurrencyLimit::new(inner, 1);
    let mut shop = layer.layer(limited);
    let slow = shop.ready().await.expect("infallible").call(get_with("/", &[("x-slow", "1")]));
    let left = tokio::time::timeout(Duration::from_secs(5), slow).await;
    assert!(left.is_err());
    let answer = shop.ready().await.expect("infallible").call(get("/")).await.expect("infallible");
    assert_eq!((read(answer).await.text(), calls.count()), ("1", 1));
}

#[tokio::test]
async fn an_inner_authentication_layer_vetoes_storing_and_sharing() {
    for policy in presets() {
        let (inner, calls) = origin(|request, call| {
            let mut response = numbered(&[("cache-control", "max-age=60")], call);
            // An inner authentication layer identifies the visitor by a field that no outer layer
            // knows.
            if request.headers().contains_key("x-fingerprint") {
                response.extensions_mut().insert(Identified);
            }
            response
        });
        let shop = by_session()
            .layer(SiteCacheLayer::new(&memory()).policy(policy.build().expect("a policy")).layer(inner));
        for call in ["1", "2"] {
            let answer = send(&shop, get_with("/", &[("x-fingerprint", "alice")])).await;
            assert_eq!((answer.text(), answer.detail()), (call, Some("identified")));
            assert_eq!(answer.header("cache-control"), Some("max-age=60, private"));
        }
        assert_eq!(send(&shop, get("/")).await.header("cache-control"), Some("max-age=60"));
        assert!(send(&shop, get("/")).await.is_hit());
        assert_eq!(calls.count(), 3);
    }
}

/// The outer cache cannot recognize an identified request, but does not store its response.
#[tokio::test]
async fn an_inner_anonymous_only_layer_vetoes_storing() {
    for policy in presets() {
        let (inner, _) = origin(|request, _| {
            let mine = request.headers().get("x-device").map_or("anybody", |_| "mine");
            with_lines(&[("cache-control", "public, max-age=60")], mine)
        });
        let layer =
            AnonymousOnlyLayer::builder().credential_headers(["x-device"]).build().expect("valid options");
        let shop = SiteCacheLayer::new(&memory())
            .policy(policy.build().expect("a policy"))
            .layer(layer.layer(inner));
        assert_eq!(send(&shop, get_with("/", &[("x-device", "1")])).await.detail(), Some("identified"));
        assert_eq!(send(&shop, get("/")).await.text(), "anybody");
        assert!(send(&shop, get("/")).await.is_hit());
    }
}

#[tokio::test]
async fn private_is_added_if_no_directive_decides_about_sharing() {
    for (own, expected) in [
        ("public, max-age=60", "public, max-age=60"),
        ("s-maxage=60", "s-maxage=60"),
        ("no-store", "no-store"),
        ("max-age=60", "max-age=60, private"),
        ("no-cache", "no-cache, private"),
    ] {
        let (inner, _) = origin(move |_, call| numbered(&[("cache-control", own)], call));
        let shop = by_session().layer(inner);
        assert_eq!(send(&shop, with_cookie("sid=1")).await.header("cache-control"), Some(expected));
        assert_eq!(send(&shop, get("/")).await.header("cache-control"), Some(own));
    }
}

#[tokio::test]
async fn nested_anonymous_only_layers_combine_their_rules() {
    let inside = AnonymousOnlyLayer::session_cookie("admin").expect("valid");
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let cached = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let shop = by_session().layer(inside.layer(cached));
    send(&shop, get("/")).await;
    for (cookie, detail) in
        [("sid=1", Some("identified")), ("admin=1", Some("identified")), ("x=1", Some("cookie"))]
    {
        assert_eq!(send(&shop, with_cookie(cookie)).await.detail(), detail, "{cookie}");
    }
    assert!(send(&shop, with_cookie("_ga=1")).await.is_hit());
}

#[tokio::test]
async fn identification_survives_a_layer_that_strips_credentials() {
    let (inner, _) = origin(|request, _| {
        let user = request.extensions().get::<String>().cloned();
        with_lines(&[], user.unwrap_or_else(|| "anybody".to_owned()))
    });
    let cached = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let authenticates = service_fn(move |mut request: Request<Body>| {
        if let Some(user) = request.headers_mut().remove("cookie") {
            request.extensions_mut().insert(user.to_str().expect("text").to_owned());
        }
        cached.clone().oneshot(request)
    });
    let shop = by_session().layer(authenticates);
    for _ in 0..2 {
        for user in ["sid=alice", "sid=bob"] {
            assert_eq!(send(&shop, with_cookie(user)).await.text(), user);
        }
        assert_eq!(send(&shop, get("/")).await.text(), "anybody");
    }
}

#[test]
fn an_invalid_cookie_or_field_name_is_in_the_error() {
    let error = AnonymousOnlyLayer::session_cookie("").expect_err("refused");
    assert_eq!((error.kind(), error.value()), (ConfigErrorKind::InvalidCookieName, ""));
    let wrong = AnonymousOnlyLayer::builder()
        .ignore_cookies(["*"])
        .credential_cookies(["a;b"])
        .ignore_headers(["a b"]);
    let error = wrong.build().expect_err("three wrong options");
    assert_eq!(error.all().map(|error| error.value()).collect::<Vec<_>>(), ["*", "a;b", "a b"]);
}

/// A middle layer replaces the undeclared cookie by the identity of its visitor.
#[tokio::test]
async fn a_stripped_undeclared_cookie_still_causes_a_bypass() {
    for policy in presets() {
        let (inner, _) = origin(|request, _| {
            let user = request.extensions().get::<String>().cloned();
            with_lines(&[], user.unwrap_or_else(|| "anybody".to_owned()))
        });
        let policy = policy.vary_on_cookies(["lang"]);
        let cached = SiteCacheLayer::new(&memory()).policy(policy.build().expect("a policy")).layer(inner);
        let remembers = service_fn(move |mut request: Request<Body>| {
            let cookie = request.headers_mut().remove("cookie");
            let user =
                cookie.and_then(|cookie| Some(cookie.to_str().ok()?.strip_prefix("remember=")?.to_owned()));
            if let Some(user) = user {
                request.extensions_mut().insert(user);
            }
            cached.clone().oneshot(request)
        });
        let shop = AnonymousOnlyLayer::new().layer(by_session().layer(remembers));
        for _ in 0..2 {
            for user in ["alice", "bob"] {
                let answer = send(&shop, with_cookie(&format!("remember={user}"))).await;
                assert_eq!((answer.text(), answer.detail()), (user, Some("cookie")));
            }
            assert_eq!(send(&shop, get("/")).await.text(), "anybody");
        }
        assert!(send(&shop, with_cookie("lang=de")).await.is_hit(), "the cache layer declares it");
    }
}

/// The first cache layer bypasses a request with an undeclared cookie, and reports the reason to the
/// second cache layer, which does not see the cookie.
#[tokio::test]
async fn a_stripped_cookie_also_bypasses_the_second_of_two_caches() {
    for policy in presets() {
        let (inner, _) = origin(|request, _| {
            let user = request.extensions().get::<String>().cloned();
            with_lines(&[], user.unwrap_or_else(|| "anybody".to_owned()))
        });
        let (cache, own) = (memory(), policy.clone().name("second"));
        let second = SiteCacheLayer::new(&cache).policy(own.build().expect("a policy")).layer(inner);
        let first = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(second);
        let remembers = service_fn(move |mut request: Request<Body>| {
            if let Some(cookie) = request.headers_mut().remove("cookie") {
                request.extensions_mut().insert(cookie.to_str().expect("text").to_owned());
            }
            first.clone().oneshot(request)
        });
        let shop = AnonymousOnlyLayer::new().layer(by_session().layer(remembers));
        for user in ["remember=alice", "remember=bob", "remember=alice"] {
            assert_eq!(send(&shop, with_cookie(user)).await.text(), user);
        }
        assert_eq!(send(&shop, get("/")).await.text(), "anybody");
    }
}

#[tokio::test]
async fn identification_reaches_a_third_layer_for_get_and_post() {
    let cache = memory();
    let (inner, _) = origin(|request, _| {
        with_lines(&[], request.extensions().get::<String>().cloned().unwrap_or_else(|| "anybody".to_owned()))
    });
    let third =
        SiteCacheLayer::new(&cache).policy(policy().name("third").build().expect("a policy")).layer(inner);
    let second =
        SiteCacheLayer::new(&cache).policy(policy().name("second").build().expect("a policy")).layer(third);
    // Removes the credential, and turns each request into a GET for another page.
    let authenticates = service_fn(move |mut request: Request<Body>| {
        *request.method_mut() = http::Method::GET;
        *request.uri_mut() = "/me".parse().expect("a uri");
        if let Some(user) = request.headers_mut().remove("cookie") {
            request.extensions_mut().insert(user.to_str().expect("text").to_owned());
        }
        second.clone().oneshot(request)
    });
    let first = SiteCacheLayer::new(&cache)
        .policy(policy().name("first").build().expect("a policy"))
        .layer(authenticates);
    for method in ["GET", "POST", "GET", "POST"] {
        for user in ["sid=alice", "sid=bob"] {
            let answer = send(&first, request(method, "/login", &[("cookie", user)])).await;
            assert_eq!(answer.text(), user, "{method}");
        }
        assert_eq!(send(&first, request(method, "/login", &[])).await.text(), "anybody", "{method}");
    }
}

#[tokio::test]
async fn outer_cookie_declarations_pass_through_a_cache_layer() {
    let cache = memory();
    let (inner, calls) =
        origin(|request, _| with_lines(&[], format!("{:?}", request.headers().get("cookie"))));
    let route = route_over(&cache, MINUTE, inner);
    let site = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(route);
    let shop = by_session().layer(site);
    for cookie in ["_ga=1", "_ga=2", "_ga=3"] {
        assert_eq!(send(&shop, with_cookie(cookie)).await.text(), "None");
    }
    assert_eq!(calls.count(), 1);
}

/// Requests whose session look-up is pending must not use up the concurrency limit of the inner
/// service.
#[tokio::test(start_paused = true)]
async fn a_slow_look_up_does_not_block_other_requests() {
    let layer = AnonymousOnlyLayer::builder()
        .identified_if_async(|request| async move {
            if request.headers.contains_key("x-slow") {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            false
        })
        .build()
        .expect("valid options");
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let shop = layer.layer(tower::limit::ConcurrencyLimit::new(inner, 1));
    let slow = tokio::spawn(shop.clone().oneshot(get_with("/", &[("x-slow", "1")])));
    tokio::task::yield_now().await;
    let quick = tokio::time::timeout(Duration::from_secs(1), send(&shop, get("/")));
    assert_eq!(quick.await.expect("at once").text(), "1");
    assert!(slow.await.expect("no panic").is_ok());
}
