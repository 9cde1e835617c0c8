//! POST responses that answer later GETs (RFC 9110 section 9.3.3).

use crate::support::rfc9111::{over, proxy, standing};
use crate::support::*;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::time::Duration;
use tower::{ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::key::{KeyPart, QueryKey};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Invalidation, Policy};

/// RFC 9110 section 8.7: `Content-Location` has one value.
#[tokio::test]
async fn a_post_response_with_two_content_locations_is_not_stored() {
    let (stack, ..) = standing(proxy(), |_, call| {
        numbered(
            &[("cache-control", "max-age=60"), ("content-location", "/a"), ("content-location", "/b")],
            call,
        )
    });
    send(&stack, request("POST", "/a", &[])).await;
    assert!(!send(&stack, get("/a")).await.is_hit());
}

type Lines = &'static [(&'static str, &'static str)];
const OF_ITSELF: Lines = &[("cache-control", "max-age=60"), ("content-location", "/list?page=1")];

fn post_list() -> Request<Body> {
    request("POST", "/list?page=1", &[("host", "shop.example"), ("content-length", "3")])
}

fn get_list() -> Request<Body> {
    get_with("/list?page=1", &[("host", "shop.example")])
}

/// RFC 9110 section 9.3.3.
#[tokio::test]
async fn a_post_response_answers_gets_and_never_posts() {
    for target in ["/list?page=1", "http://shop.example/list?page=1", "?page=1"] {
        let (cache, _) = timed();
        let (inner, calls) = origin(move |_, call| {
            numbered(&[("cache-control", "max-age=60"), ("content-location", target)], call)
        });
        let stack = over(&cache, proxy(), inner);
        let written = send(&stack, post_list()).await;
        assert_eq!((written.text(), written.is_hit()), ("1", false));
        let line = "tower-response-cache; fwd=method; fwd-status=200; stored; ttl=60";
        assert_eq!(written.header("cache-status"), Some(line));
        let hit = send(&stack, get_list()).await;
        assert_eq!((hit.text(), hit.is_hit()), ("1", true), "{target}");
        assert_eq!(send(&stack, post_list()).await.text(), "2", "each POST is forwarded");
        assert_eq!((send(&stack, get_list()).await.text(), calls.count()), ("2", 2));
        let elsewhere = get_with("/list?page=1", &[("host", "other.example")]);
        assert!(!send(&stack, elsewhere).await.is_hit());
    }
}

/// RFC 9112 section 3.2.2: the host of an absolute target replaces `Host`. The stored page answers
/// GETs for that host, so the handler must see it too.
#[tokio::test]
async fn a_post_with_an_absolute_target_is_forwarded_with_its_host() {
    let (cache, _) = timed();
    let (inner, calls) = origin(|request, _| {
        let host = format!("{:?}", request.headers().get("host"));
        let mut response = Response::new(Body::from(host));
        for (name, value) in OF_ITSELF {
            response.headers_mut().insert(*name, http::HeaderValue::from_static(value));
        }
        response
    });
    let stack = over(&cache, proxy(), inner);
    let absolute = |method| request(method, "http://shop.example/list?page=1", &[]);
    assert_eq!(send(&stack, absolute("POST")).await.text(), "Some(\"shop.example\")");
    let hit = send(&stack, absolute("GET")).await;
    assert_eq!((hit.text(), hit.is_hit()), ("Some(\"shop.example\")", true));
    assert_eq!(calls.count(), 1);
}

/// RFC 9110 section 9.3.3: "explicit freshness information … and a Content-Location header field
/// that has the same value as the POST's target URI".
#[tokio::test]
async fn other_post_responses_are_not_stored() {
    let table: [(PolicyBuilder, u16, Lines, Lines); 12] = [
        (Policy::app().cache_status(true), 200, OF_ITSELF, &[]),
        (proxy(), 201, OF_ITSELF, &[]),
        (proxy(), 500, OF_ITSELF, &[]),
        (proxy(), 200, &[("cache-control", "max-age=60")], &[]),
        (proxy(), 200, &[("cache-control", "max-age=60"), ("content-location", "/list")], &[]),
        (proxy(), 200, &[("cache-control", "max-age=60"), ("content-location", "/list?page=2")], &[]),
        (
            proxy(),
            200,
            &[("cache-control", "max-age=60"), ("content-location", "//other.example/list?page=1")],
            &[],
        ),
        (proxy().default_ttl(MINUTE), 200, &[("content-location", "/list?page=1")], &[]),
        (
            proxy(),
            200,
            &[("cache-control", "private, max-age=60"), ("content-location", "/list?page=1")],
            &[],
        ),
        (proxy(), 200, OF_ITSELF, &[("authorization", "Bearer x")]),
        (proxy(), 200, OF_ITSELF, &[("cache-control", "no-store")]),
        (proxy(), 200, OF_ITSELF, &[("if-match", "\"a\"")]),
    ];
    for (policy, code, lines, lines_of_post) in table {
        let (stack, calls) = site(policy, move |_, call| {
            let mut response = numbered(lines, call);
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
            response
        });
        let mut request = post_list();
        for (name, value) in lines_of_post {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        assert_eq!(send(&stack, request).await.text(), "1");
        assert_eq!(
            (send(&stack, get_list()).await.text(), calls.count()),
            ("2", 2),
            "{code} {lines:?} {lines_of_post:?}"
        );
    }
}

/// An invalidation returned while the handler made the POST response. The response may contain
/// older data.
#[tokio::test]
async fn an_invalidation_keeps_a_post_response_from_being_stored() {
    let table: [(Option<Invalidation>, bool); 6] = [
        (None, true),
        (Some(Invalidation::path("/other")), true),
        (Some(Invalidation::path("/list")), false),
        (Some(Invalidation::uri("/list?page=1")), false),
        (Some(Invalidation::tag("lists")), false),
        (Some(Invalidation::all()), false),
    ];
    for (what, stored) in table {
        let (cache, calls) = (memory(), Calls::default());
        let (handle, counted, meanwhile) = (cache.clone(), calls.clone(), what.clone());
        let inner = service_fn(move |_: Request<Body>| {
            let (cache, call, what) = (handle.clone(), counted.next(), meanwhile.clone());
            async move {
                // Another client invalidates while this response is being made.
                let response = numbered(&[OF_ITSELF, &[("cache-groups", "\"lists\"")]].concat(), call);
                if let Some(what) = what {
                    assert_eq!(cache.invalidate(what).await, Delivery::Delivered);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let stack = over(&cache, proxy(), inner.boxed_clone());
        send(&stack, post_list()).await;
        assert_eq!(send(&stack, get_list()).await.is_hit(), stored, "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_get_does_not_replace_a_post_response() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let call = counted.next();
        async move {
            if request.method() == "GET" {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            Ok::<_, Infallible>(numbered(OF_ITSELF, call))
        }
    });
    let stack = over(&cache, proxy(), inner.boxed_clone());
    let slow = send(&stack, get_list());
    let written = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        send(&stack, post_list()).await
    };
    let (slow, written) = tokio::join!(slow, written);
    assert_eq!((slow.text(), written.text()), ("1", "2"));
    let hit = send(&stack, get_list()).await;
    assert_eq!((hit.text(), hit.is_hit(), calls.count()), ("2", true, 2));
}

/// The service gets inputs of a POST that it does not get of a GET, or that are not in a GET's key.
#[tokio::test]
async fn a_post_response_made_from_unkeyed_inputs_is_not_stored() {
    let auth = http::header::AUTHORIZATION;
    let table: [(PolicyBuilder, Lines); 9] = [
        (proxy(), &[("cookie", "sid=secret")]),
        (proxy(), &[("x-api-key", "secret")]),
        (proxy().ignore_undeclared_cookies(), &[("cookie", "sid=secret")]),
        (proxy().ignore_cookies(["sid"]), &[("cookie", "sid=secret")]),
        (proxy().vary_on_cookies(["lang"]).ignore_undeclared_cookies(), &[("cookie", "a=secret")]),
        (proxy().ignore_headers([auth]), &[("authorization", "secret")]),
        (proxy().strip_unkeyed_inputs(true), &[("x-evil", "secret")]),
        (
            proxy().vary_by_part(KeyPart::language(["en", "de"]).expect("valid")),
            &[("accept-language", "en, secret")],
        ),
        (proxy().bypass_if(|request| request.method == http::Method::POST), &[("x-any", "secret")]),
    ];
    for (policy, lines_of_post) in table {
        let (stack, _) = site(policy, |request, _| {
            let all = request.headers().values().map(|value| value.to_str().expect("text"));
            with_lines(OF_ITSELF, all.collect::<Vec<_>>().join(" "))
        });
        let mut request = post_list();
        request.headers_mut().remove("content-length");
        for (name, value) in lines_of_post {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        assert!(send(&stack, request).await.text().contains("secret"), "{lines_of_post:?}");
        let other = send(&stack, get_list()).await;
        assert!(!other.text().contains("secret"), "{lines_of_post:?} {other:?}");
    }
    let (stack, _) = site(proxy().query(QueryKey::without_tracking()), |request, _| {
        let lines = [("cache-control", "max-age=60"), ("content-location", &*request.uri().to_string())];
        with_lines(&lines, request.uri().to_string())
    });
    send(&stack, request("POST", "/list?utm_source=evil", &[])).await;
    assert_eq!(send(&stack, get("/list")).await.text(), "/list");
}

/// A login request has no cookie yet. Its content identifies the visitor.
#[tokio::test]
async fn the_session_cookie_of_a_login_is_not_shared() {
    let (stack, _) = site(proxy().share_set_cookie(true), |_, call| {
        numbered(&[OF_ITSELF, &[("set-cookie", "sid=alice")]].concat(), call)
    });
    send(&stack, post_list()).await;
    assert!(!send(&stack, get_list()).await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn an_unstored_post_response_does_not_stop_collapsing() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let call = counted.next();
        async move {
            let private = request.method() == "POST";
            tokio::time::sleep(Duration::from_millis(50)).await;
            let control = if private { "private, max-age=60" } else { "max-age=60" };
            let lines = [("cache-control", control), ("content-location", "/list?page=1")];
            Ok::<_, Infallible>(numbered(&lines, call))
        }
    });
    let stack = over(&cache, proxy(), inner.boxed_clone());
    send(&stack, post_list()).await;
    futures::future::join_all((0..10).map(|_| send(&stack, get_list()))).await;
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn a_disabled_layer_stores_no_post_response() {
    let (cache, _) = timed();
    let (inner, _) = origin(|_, call| numbered(OF_ITSELF, call));
    let policy = proxy().build().expect("a policy");
    let layer = tower_response_cache::SiteCacheLayer::new(&cache).policy(policy);
    let off = tower::Layer::layer(&layer.clone().enabled(false), inner.clone()).boxed_clone();
    let on = tower::Layer::layer(&layer, inner).boxed_clone();
    send(&off, post_list()).await;
    assert!(!send(&on, get_list()).await.is_hit());
    send(&on, post_list()).await;
    assert!(send(&on, get_list()).await.is_hit());
}
