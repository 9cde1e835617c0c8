//! What methods other than GET tell a proxy's cache of what is stored: the response to a POST, and to a HEAD.

use crate::support::*;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{
    Cache, CacheHints, Invalidation, KeyPart, Policy, PolicyBuilder, QueryKey, SiteCacheLayer,
};

type Lines = &'static [(&'static str, &'static str)];

fn proxy() -> PolicyBuilder {
    Policy::rfc9111().cache_status(true)
}

fn over(cache: &Cache, policy: PolicyBuilder, inner: Inner) -> Stack {
    SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone()
}

const OF_ITSELF: Lines = &[("cache-control", "max-age=60"), ("content-location", "/list?page=1")];

fn post() -> Request<Body> {
    request("POST", "/list?page=1", &[("host", "shop.example"), ("content-length", "3")])
}

fn read_it() -> Request<Body> {
    get_with("/list?page=1", &[("host", "shop.example")])
}

/// RFC 9110 section 9.3.3.
#[tokio::test]
async fn a_post_that_answers_with_what_is_at_its_target_answers_a_get_and_never_a_post() {
    for target in ["/list?page=1", "http://shop.example/list?page=1", "?page=1"] {
        let (cache, _) = timed();
        let (inner, calls) = origin(move |_, call| {
            numbered(&[("cache-control", "max-age=60"), ("content-location", target)], call)
        });
        let stack = over(&cache, proxy(), inner);
        let written = send(&stack, post()).await;
        assert_eq!((written.text(), written.is_hit()), ("1", false));
        let line = "tower-response-cache; fwd=method; fwd-status=200; stored; ttl=60";
        assert_eq!(written.header("cache-status"), Some(line));
        let hit = send(&stack, read_it()).await;
        assert_eq!((hit.text(), hit.is_hit()), ("1", true), "{target}");
        assert_eq!(send(&stack, post()).await.text(), "2", "each POST is made");
        assert_eq!((send(&stack, read_it()).await.text(), calls.count()), ("2", 2));
        let elsewhere = get_with("/list?page=1", &[("host", "other.example")]);
        assert!(!send(&stack, elsewhere).await.is_hit());
    }
}

/// RFC 9112 section 3.2.2: with an absolute target, `Host` is that of the target. A GET that the page answers would have
/// been forwarded with it.
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

/// RFC 9110 section 9.3.3: "explicit freshness information … and a Content-Location header field that has the same
/// value as the POST's target URI".
#[tokio::test]
async fn other_answers_to_a_post_are_not_stored() {
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
    for (policy, code, lines, asked) in table {
        let (stack, calls) = site(policy, move |_, call| {
            let mut response = numbered(lines, call);
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
            response
        });
        let mut request = post();
        for (name, value) in asked {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        assert_eq!(send(&stack, request).await.text(), "1");
        assert_eq!(
            (send(&stack, read_it()).await.text(), calls.count()),
            ("2", 2),
            "{code} {lines:?} {asked:?}"
        );
    }
}

/// What it says may be older than what was invalidated while it was made.
#[tokio::test]
async fn the_answer_to_a_post_does_not_outrun_an_invalidation() {
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
                // By somebody else, once this answer is made up already.
                let response = numbered(&[OF_ITSELF, &[("cache-groups", "\"lists\"")]].concat(), call);
                if let Some(what) = what {
                    cache.invalidate(what).await.expect("the store answers");
                }
                Ok::<_, Infallible>(response)
            }
        });
        let stack = over(&cache, proxy(), inner.boxed_clone());
        send(&stack, post()).await;
        assert_eq!(send(&stack, read_it()).await.is_hit(), stored, "{what:?}");
    }
}

/// An old GET that is still being answered does not take the place of what a POST has brought.
#[tokio::test(start_paused = true)]
async fn a_slow_get_from_before_a_post_is_not_what_is_kept() {
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
    let slow = send(&stack, read_it());
    let written = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        send(&stack, post()).await
    };
    let (slow, written) = tokio::join!(slow, written);
    assert_eq!((slow.text(), written.text()), ("1", "2"));
    let hit = send(&stack, read_it()).await;
    assert_eq!((hit.text(), hit.is_hit(), calls.count()), ("2", true, 2));
}

/// The key of a GET ignores some of what the service gets with a POST, or the policy has it taken off.
#[tokio::test]
async fn the_answer_to_a_post_is_not_stored_where_a_get_would_not_be_sent_on_as_it_is() {
    let auth = http::header::AUTHORIZATION;
    let table: [(PolicyBuilder, Lines); 9] = [
        (proxy(), &[("cookie", "sid=secret")]),
        (proxy(), &[("x-api-key", "secret")]),
        (proxy().ignore_undeclared_cookies(), &[("cookie", "sid=secret")]),
        (proxy().ignore_cookies(["sid"]), &[("cookie", "sid=secret")]),
        (proxy().vary_on_cookies(["lang"]).ignore_undeclared_cookies(), &[("cookie", "a=secret")]),
        (proxy().ignore_headers([auth]), &[("authorization", "secret")]),
        (proxy().strip_unkeyed_inputs([] as [http::HeaderName; 0]), &[("x-evil", "secret")]),
        (
            proxy().vary_by_part(KeyPart::language(["en", "de"]).expect("valid")),
            &[("accept-language", "en, secret")],
        ),
        (proxy().bypass_if(|request| request.method == http::Method::POST), &[("x-any", "secret")]),
    ];
    for (policy, asked) in table {
        let (stack, _) = site(policy, |request, _| {
            let all = request.headers().values().map(|value| value.to_str().expect("text"));
            with_lines(OF_ITSELF, all.collect::<Vec<_>>().join(" "))
        });
        let mut request = post();
        request.headers_mut().remove("content-length");
        for (name, value) in asked {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        assert!(send(&stack, request).await.text().contains("secret"), "{asked:?}");
        let other = send(&stack, read_it()).await;
        assert!(!other.text().contains("secret"), "{asked:?} {other:?}");
    }
    let (stack, _) = site(proxy().query(QueryKey::without_tracking()), |request, _| {
        let lines = [("cache-control", "max-age=60"), ("content-location", &*request.uri().to_string())];
        with_lines(&lines, request.uri().to_string())
    });
    send(&stack, request("POST", "/list?utm_source=evil", &[])).await;
    assert_eq!(send(&stack, get("/list")).await.text(), "/list");
}

/// Who logs in has no cookie yet: who it is, is in the content.
#[tokio::test]
async fn the_session_of_who_logs_in_by_a_post_is_nobody_elses() {
    let (stack, _) = site(proxy().share_set_cookie(true), |_, call| {
        numbered(&[OF_ITSELF, &[("set-cookie", "sid=alice")]].concat(), call)
    });
    send(&stack, post()).await;
    assert!(!send(&stack, read_it()).await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_post_that_is_not_stored_keeps_no_get_from_collapsing() {
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
    send(&stack, post()).await;
    futures::future::join_all((0..10).map(|_| send(&stack, read_it()))).await;
    assert_eq!(calls.count(), 2);
}

/// An origin whose HEAD says other things than the GET before it did.
fn heads(policy: PolicyBuilder, later: Lines) -> (Stack, Calls, tower_response_cache::ManualClock) {
    let (cache, hand) = timed();
    let (inner, calls) = origin(move |request, call| {
        let first: Lines = &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-version", "1")];
        match request.method().as_str() {
            "HEAD" => with_lines(later, ""),
            _ => with_lines(first, format!("page {call}")),
        }
    });
    (over(&cache, policy, inner), calls, hand)
}

/// RFC 9111 section 4.3.5.
#[tokio::test]
async fn the_answer_to_a_head_updates_what_is_stored_or_takes_it_away() {
    // The answer of the origin; the body that a GET gets then, and its version, if that takes no call.
    let table: [(Lines, Option<&str>); 6] = [
        (&[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-version", "2")], Some("2")),
        (&[("cache-control", "max-age=60"), ("content-length", "6"), ("x-version", "2")], Some("2")),
        (&[("cache-control", "max-age=60"), ("etag", "\"a\"")], Some("1")),
        (&[("cache-control", "max-age=60"), ("etag", "\"b\"")], None),
        (&[("cache-control", "max-age=60"), ("content-length", "7")], None),
        (&[("cache-control", "no-store"), ("etag", "\"a\"")], None),
    ];
    for (later, version) in table {
        let (stack, calls, hand) = heads(proxy(), later);
        send(&stack, get("/")).await;
        hand.advance(MINUTE);
        let head = send(&stack, request("HEAD", "/", &[])).await;
        assert_eq!((head.is_hit(), head.text(), calls.count()), (false, "", 2));
        let answer = send(&stack, get("/")).await;
        let expected = if version.is_some() { "page 1" } else { "page 3" };
        assert_eq!((answer.text(), answer.is_hit()), (expected, version.is_some()), "{later:?}");
        assert_eq!(answer.header("x-version"), version.or(Some("1")), "{later:?}");
    }
}

#[tokio::test]
async fn a_head_teaches_nothing_before_an_application_nor_from_who_is_known_nor_of_what_was_invalidated() {
    let later: Lines = &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-version", "2")];
    let cookie: Lines = &[("cookie", "sid=alice")];
    for (policy, asked) in [(Policy::app().cache_status(true), &[][..]), (proxy(), cookie)] {
        let (stack, calls, hand) = heads(policy, later);
        send(&stack, get("/")).await;
        hand.advance(MINUTE);
        send(&stack, request("HEAD", "/", asked)).await;
        send(&stack, get("/")).await;
        assert_eq!(calls.count(), 3, "{asked:?}");
    }
    let cache = memory();
    let handle = cache.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let cache = handle.clone();
        async move {
            if request.method() == "HEAD" {
                cache.invalidate(Invalidation::path("/")).await.expect("the store answers");
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
async fn what_a_head_contradicts_is_stale_and_still_of_use_where_the_origin_fails() {
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
async fn what_a_head_forbids_to_store_goes() {
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

/// A superseded answer does not take the place of a newer one.
#[tokio::test(start_paused = true)]
async fn a_slow_head_puts_nothing_old_back() {
    let (cache, hand) = timed();
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
    hand.advance(MINUTE);
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
    let (cache, hand) = timed();
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
    hand.advance(MINUTE);
    send(&stack, request("HEAD", "/", &[("x-a", "1")])).await;
    let one = send(&stack, get_with("/", &[("x-a", "1")])).await;
    let two = send(&stack, get_with("/", &[("x-a", "2")])).await;
    assert_eq!((one.text(), one.header("x-by"), one.is_hit()), ("1 1", Some("head"), true));
    assert_eq!((two.text(), two.is_hit(), calls.count()), ("2 4", false, 4));
}

/// A soft invalidation says that it has changed; only a validator can say that it has not.
#[tokio::test]
async fn what_was_softly_invalidated_is_not_made_fresh_by_a_head_that_validates_nothing() {
    for (tag, fresh) in [(None, false), (Some("\"a\""), true)] {
        let (cache, hand) = timed();
        let (inner, _) = origin(move |_, call| {
            let mut lines = vec![("cache-control", "max-age=600")];
            lines.extend(tag.map(|tag| ("etag", tag)));
            numbered(&lines, call)
        });
        let stack = over(&cache, proxy(), inner);
        send(&stack, get("/")).await;
        cache.invalidate(Invalidation::path("/").soft()).await.expect("the store answers");
        hand.advance(Duration::from_secs(20));
        send(&stack, request("HEAD", "/", &[])).await;
        assert_eq!(send(&stack, get("/")).await.is_hit(), fresh, "{tag:?}");
    }
}

#[tokio::test]
async fn a_head_changes_nothing_of_a_page_with_hints_or_made_from_values() {
    for by in ["hint", "value", "read by the head"] {
        let (cache, hand) = timed();
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
        hand.advance(Duration::from_secs(50));
        send(&stack, request("HEAD", "/", &[("cache-control", "no-cache")])).await;
        let answer = send(&stack, get("/")).await;
        assert_eq!(answer.header("x-by"), Some("GET"), "{by}");
        let told = if by == "hint" { "max-age=0, must-revalidate" } else { "max-age=600" };
        assert_eq!(answer.header("cache-control"), Some(told), "{by}");
        hand.advance(Duration::from_secs(20));
        let expired = by == "value";
        assert_eq!(send(&stack, get("/")).await.is_hit(), !expired, "{by}");
    }
}

#[tokio::test]
async fn a_head_that_a_cache_further_in_has_answered_teaches_nothing() {
    let (cache, hand) = timed();
    let (origin, _) = origin(|request, call| {
        let lines = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-by", request.method().as_str())];
        numbered(&lines, call)
    });
    let within = SiteCacheLayer::new(&cache)
        .policy(proxy().name("within").build().expect("a policy"))
        .layer(origin.clone())
        .boxed_clone();
    // Only a HEAD passes the second layer.
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
    hand.advance(MINUTE);
    send(&stack, request("HEAD", "/", &[])).await;
    let answer = send(&stack, get("/")).await;
    assert_eq!((answer.header("x-by"), answer.is_hit()), (Some("GET"), false));
}
