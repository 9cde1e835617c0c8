//! Which responses are shared. No visitor gets a response that belongs to another visitor or that
//! forbids sharing.

use crate::support::rfc9111::{earlier, field, proxy, standing, with_status};
use crate::support::*;
use http::{Method, StatusCode};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::{CacheStatus, Policy, RouteCacheLayer, SiteCacheLayer};

fn plain(_: &http::Request<Body>, call: usize) -> http::Response<Body> {
    numbered(&[], call)
}

#[tokio::test]
async fn a_page_is_fetched_once_and_then_served_from_the_cache() {
    let (stack, calls) = site(policy(), plain);
    assert_eq!(send(&stack, get("/")).await.text(), "1");
    let again = send(&stack, get("/")).await;
    assert!(again.is_hit());
    assert_eq!((again.text(), calls.count()), ("1", 1));
}

#[tokio::test]
async fn a_request_with_credentials_bypasses_the_cache() {
    for name in ["authorization", "proxy-authorization", "cookie", "x-api-key"] {
        let (stack, calls) = site(policy(), |request, call| {
            let user = request.headers().values().next().map_or("nobody", |v| v.to_str().expect("text"));
            with_lines(&[], format!("{user} {call}"))
        });
        let alice = || get_with("/", &[(name, "alice")]);
        assert_eq!(send(&stack, alice()).await.text(), "alice 1", "{name}");
        assert_eq!(send(&stack, get("/")).await.text(), "nobody 2", "{name}");
        assert_eq!(send(&stack, alice()).await.text(), "alice 3", "{name}");
        assert_eq!(send(&stack, get("/")).await.text(), "nobody 2", "{name}");
        assert_eq!(calls.count(), 3, "{name}");
    }
}

#[tokio::test]
async fn under_app_public_responses_to_credentials_are_not_shared() {
    let (stack, _) = site(policy(), |_, call| numbered(&[("cache-control", "public, max-age=60")], call));
    assert!(!shares(&stack, get_with("/", &[("authorization", "x")]), get("/")).await);
}

#[tokio::test]
async fn under_rfc9111_authorized_responses_need_explicit_permission() {
    let table = [
        ("max-age=60", false),
        ("max-age=60, x=\"republic\"", false),
        ("max-age=60, x=\"public\"", false),
        ("max-age=60, public=x", false),
        ("public, max-age=60", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
    ];
    for (directives, shared) in table {
        let policy = Policy::rfc9111().cache_status(true);
        let (stack, _) = site(policy, move |_, call| numbered(&[("cache-control", directives)], call));
        let with_token = |token| get_with("/", &[("authorization", token)]);
        assert_eq!(shares(&stack, with_token("a"), with_token("b")).await, shared, "{directives}");
    }
}

#[tokio::test]
async fn an_ignored_header_does_not_bypass_or_reach_the_handler() {
    let policy = policy().ignore_headers([http::header::AUTHORIZATION]);
    let (stack, calls) = site(policy, |request, call| {
        assert!(!request.headers().contains_key("authorization"));
        numbered(&[], call)
    });
    assert!(shares(&stack, get_with("/", &[("authorization", "bogus")]), get("/")).await);
    assert!(send(&stack, get_with("/", &[("authorization", "other")])).await.is_hit());
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_response_that_varies_on_an_ignored_header_is_not_stored() {
    let policy = policy().ignore_headers([http::header::AUTHORIZATION]);
    let (stack, _) = site(policy, |_, call| numbered(&[("vary", "Authorization")], call));
    assert!(!shares(&stack, get("/"), get("/")).await);
}

#[tokio::test]
async fn responses_that_forbid_sharing_are_not_stored() {
    let not_stored: &[&[(&str, &str)]] = &[
        &[("set-cookie", "sid=alice")],
        &[("set-cookie", "sid=alice"), ("vary", "cookie")],
        &[("set-cookie", "sid=alice"), ("cache-control", "public, max-age=60")],
        &[("set-cookie", "sid=alice"), ("cache-control", "private=\"set-cookie\", max-age=60")],
        &[("cache-control", "no-store")],
        &[("cache-control", "private")],
        &[("cache-control", "no-cache")],
        &[("cache-control", "Private, No-Store")],
        &[("cache-control", "max-age=60"), ("cache-control", "PRIVATE")],
        &[("cache-control", "x=\",\", private")],
        &[("cache-control", "private=\"\", max-age=60")],
        &[("cache-control", "private=x-user, x-plan, max-age=60")],
        &[("cache-control", "public, max-age=60, no-store")],
        &[("vary", "*")],
        &[("vary", " * ")],
        &[("vary", "accept"), ("vary", "accept-language, *")],
        &[("content-type", "text/event-stream")],
        &[("content-type", "Text/Event-Stream; charset=utf-8")],
        &[("content-range", "bytes 0-0/1")],
    ];
    for lines in not_stored {
        let (stack, _) = site(policy(), move |_, call| numbered(lines, call));
        assert!(!shares(&stack, get("/"), get("/")).await, "{lines:?}");
        let (inner, _) = origin(move |_, call| numbered(lines, call));
        let route = route_over(&memory(), MINUTE, inner);
        assert!(!shares(&route, get("/"), get("/")).await, "on a route: {lines:?}");
    }
}

#[tokio::test]
async fn quoted_strings_and_longer_names_are_not_directives() {
    for directives in ["community=\"private\"", "x=\"a, private, no-store\"", "no-storefront", "privateer"] {
        let (stack, _) = site(policy(), move |_, call| numbered(&[("cache-control", directives)], call));
        assert!(shares(&stack, get("/"), get("/")).await, "{directives}");
    }
}

#[tokio::test]
async fn fields_named_by_private_or_no_cache_are_not_stored() {
    let (stack, _) = site(policy(), |_, call| {
        let lines = [
            ("cache-control", "private=\"x-user, x-plan\", no-cache=\"X-Nonce\""),
            ("x-user", "alice"),
            ("x-plan", "gold"),
            ("x-nonce", "1"),
            ("x-kept", "2"),
        ];
        numbered(&lines, call)
    });
    let first = send(&stack, get("/")).await;
    assert_eq!(first.header("x-user"), Some("alice"), "the first client gets all fields");
    let hit = send(&stack, get("/")).await;
    assert!(hit.is_hit());
    for name in ["x-user", "x-plan", "x-nonce"] {
        assert_eq!(hit.header(name), None, "{name}");
    }
    assert_eq!(hit.header("x-kept"), Some("2"));
}

#[tokio::test]
async fn fields_of_one_connection_or_one_request_are_not_replayed() {
    let (stack, _) = site(policy(), |_, call| {
        let lines = [
            ("connection", "close, X-Hop, Cache-Control"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("proxy-connection", "close"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-request-id", "7"),
            ("traceparent", "00-0-0-00"),
            ("server-timing", "db;dur=53"),
            ("cache-control", "max-age=60"),
            ("x-kept", "2"),
        ];
        numbered(&lines, call)
    });
    send(&stack, get("/")).await;
    let hit = send(&stack, get("/")).await;
    assert!(hit.is_hit());
    let mut names: Vec<_> = hit.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["age", "cache-control", "cache-status", "date", "x-kept"]);
}

#[tokio::test]
async fn stored_statuses_depend_on_an_explicit_lifetime() {
    // The status, whether it is stored with an explicit lifetime, and whether it is stored with the
    // default TTL.
    let table = [
        (200, true, true),
        (203, true, false),
        (204, false, false),
        (206, false, false),
        (301, true, false),
        (302, false, false),
        (304, false, false),
        (307, false, false),
        (308, true, false),
        (400, false, false),
        (401, false, false),
        (403, false, false),
        (404, true, false),
        (405, false, false),
        (407, false, false),
        (410, true, false),
        (413, false, false),
        (414, false, false),
        (416, false, false),
        (429, false, false),
        (431, false, false),
        (500, false, false),
        (501, false, false),
        (503, false, false),
    ];
    for (status, with_lifetime, by_default) in table {
        let respond = move |lines: &'static [(&str, &str)]| {
            move |_: &http::Request<Body>, call| {
                let mut response = numbered(lines, call);
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                response
            }
        };
        let (own, _) = site(policy(), respond(&[("cache-control", "max-age=60")]));
        assert_eq!(shares(&own, get("/"), get("/")).await, with_lifetime, "{status} with max-age");
        let (default, _) = site(policy(), respond(&[]));
        assert_eq!(shares(&default, get("/"), get("/")).await, by_default, "{status} by default");
        let route = route_over(&memory(), MINUTE, origin(respond(&[])).0);
        assert_eq!(shares(&route, get("/"), get("/")).await, by_default, "{status} on a route");
    }
}

#[tokio::test]
async fn a_cors_response_is_stored_only_if_it_varies_by_origin() {
    let allow = "access-control-allow-origin";
    let table = [
        (vec![(allow, "https://a.example")], false),
        (vec![(allow, "https://a.example"), ("vary", "Origin")], true),
        (vec![(allow, "*")], true),
    ];
    for (lines, stored) in table {
        let (stack, _) = site(policy(), move |_, call| numbered(&lines, call));
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored);
    }
}

#[tokio::test]
async fn provoked_error_statuses_are_not_stored_under_rfc9111() {
    for code in [304_u16, 407, 412, 413, 416, 417, 431] {
        let (stack, _) = site(Policy::rfc9111().cache_status(true), move |request, call| {
            let mut response = numbered(&[("cache-control", "max-age=60")], call);
            if request.headers().contains_key("if-match") {
                *response.status_mut() = http::StatusCode::from_u16(code).expect("a status");
            }
            response
        });
        send(&stack, get_with("/", &[("if-match", "\"no\"")])).await;
        assert_eq!(send(&stack, get("/")).await.status, 200, "{code}");
    }
}

#[tokio::test]
async fn nothing_is_stored_without_a_lifetime() {
    let (stack, _) = site(Policy::app().cache_status(true), plain);
    assert!(!shares(&stack, get("/"), get("/")).await);
    assert_eq!(send(&stack, get("/")).await.detail(), Some("no-lifetime"));
}

#[tokio::test]
async fn only_get_and_head_are_looked_up() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY", "PURGE"] {
        let (stack, calls) = site(policy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
        for expected in ["1", "2"] {
            let uri = if method == "CONNECT" { "shop.example:443" } else { "/" };
            let answer = send(&stack, request(method, uri, &[])).await;
            assert_eq!(answer.text(), expected, "{method}");
        }
        assert_eq!(calls.count(), 2, "{method}");
    }
}

#[tokio::test]
async fn a_get_with_content_or_a_method_override_bypasses() {
    let (stack, calls) = site(policy(), plain);
    send(&stack, get("/")).await;
    let mut with_body = get("/");
    *with_body.body_mut() = "q=1".into();
    assert_eq!(send(&stack, with_body).await.detail(), Some("body"));
    for line in [
        ("transfer-encoding", "chunked"),
        ("content-length", "3"),
        ("content-length", "x"),
        ("expect", "100-continue"),
        ("upgrade", "websocket"),
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
    ] {
        assert!(!send(&stack, get_with("/", &[line])).await.is_hit(), "{line:?}");
    }
    assert_eq!(calls.count(), 10);
    assert!(send(&stack, get_with("/", &[("content-length", "0")])).await.is_hit());
}

#[tokio::test]
async fn request_directives_force_misses_only_under_rfc9111() {
    for line in [
        ("cache-control", "no-cache"),
        ("cache-control", "max-age=0"),
        ("cache-control", "no-store"),
        ("pragma", "no-cache"),
    ] {
        let respond = |_: &http::Request<Body>, call| numbered(&[("cache-control", "max-age=60")], call);
        let (app, _) = site(policy(), respond);
        assert!(shares(&app, get("/"), get_with("/", &[line])).await, "{line:?}");
        let (proxy, manual) = {
            let (cache, manual) = timed();
            let policy = Policy::rfc9111().cache_status(true);
            (
                SiteCacheLayer::new(&cache)
                    .policy(policy.build().expect("a policy"))
                    .layer(origin(respond).0)
                    .boxed_clone(),
                manual,
            )
        };
        send(&proxy, get("/")).await;
        manual.advance(std::time::Duration::from_secs(1));
        assert!(!send(&proxy, get_with("/", &[line])).await.is_hit(), "{line:?}");
    }
}

#[tokio::test]
async fn cache_status_is_not_sent_by_default() {
    let (quiet, _) = site(Policy::app().default_ttl(MINUTE), plain);
    send(&quiet, get("/")).await;
    let hit = quiet.clone().oneshot(get("/")).await.expect("infallible");
    assert!(hit.headers().get("cache-status").is_none());
    let extensions = hit.extensions();
    assert_eq!((extensions.len(), extensions.get::<CacheStatus>().is_some()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn each_visitor_gets_their_own_no_cache_page() {
    let (stack, ..) = standing(proxy(), |request, _| {
        let visitor = field(request, "cookie");
        with_lines(
            &[("cache-control", "no-cache"), ("etag", &format!("\"{visitor}\""))],
            format!("page of {visitor}"),
        )
    });
    for visitor in ["alice", "bob"] {
        assert_eq!(
            send(&stack, get_with("/", &[("cookie", visitor)])).await.text(),
            format!("page of {visitor}")
        );
    }
}

/// If a targeted field applies (RFC 9213 section 2.2), only its directives permit storing a
/// response to a request with `Authorization` (RFC 9111 section 3.5). Such a response is not stored
/// if it has `Set-Cookie`, even under `share_set_cookie`.
#[tokio::test]
async fn targeted_fields_permit_storing_with_authorization() {
    type Lines = &'static [(&'static str, &'static str)];
    let table: [(Lines, bool); 8] = [
        (&[("cdn-cache-control", "max-age=60"), ("cache-control", "public")], false),
        (&[("cdn-cache-control", "max-age=60, public"), ("cache-control", "private")], true),
        (&[("cdn-cache-control", "max-age=60, public=?0"), ("cache-control", "public, max-age=60")], false),
        (&[("cdn-cache-control", "max-age=60, public=\"yes\"")], false),
        (&[("cdn-cache-control", "s-maxage=60")], true),
        (&[("cdn-cache-control", "max-age=60, must-revalidate")], true),
        (&[("cdn-cache-control", "max-age=60, public, private=\"x-user\"")], true),
        (&[("cdn-cache-control", "max-age=60, public"), ("set-cookie", "a=1")], false),
    ];
    for (lines, stored) in table {
        let (stack, ..) = standing(proxy().share_set_cookie(true), move |_, call| {
            numbered(&[lines, &[("x-user", "alice")]].concat(), call)
        });
        send(&stack, get_with("/", &[("authorization", "Bearer a")])).await;
        let answer = send(&stack, get("/")).await;
        assert_eq!(answer.is_hit(), stored, "{lines:?}");
        if stored && lines[0].1.contains("x-user") {
            assert_eq!(answer.header("x-user"), None);
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// No directive of the response permits sharing. A heuristic lifetime, which is optional, does not
/// suffice (RFC 9111 section 4.2.2).
#[tokio::test]
async fn identified_responses_need_an_explicit_lifetime() {
    let policies = || {
        let modified = earlier(10 * DAY);
        [
            (proxy(), 200, vec![("last-modified", modified)]),
            (proxy().default_ttl(MINUTE), 200, vec![]),
            (proxy().negative_ttl(StatusCode::NOT_FOUND, MINUTE), 404, vec![]),
        ]
    };
    for name in ["cookie", "authorization", "x-api-key", "x-forwarded-user", "proxy-authorization"] {
        for (policy, code, lines) in policies() {
            let (stack, ..) = standing(policy, move |request, _| {
                let visitor =
                    request.headers().get(name).map_or("nobody", |value| value.to_str().expect("text"));
                let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
                with_status(code, with_lines(&lines, visitor.to_owned()))
            });
            send(&stack, get_with("/", &[(name, "alice")])).await;
            assert_eq!(send(&stack, get("/")).await.text(), "nobody", "{name} {code}");
        }
        let (cache, _) = timed();
        let (inner, _) = origin(move |request, _| {
            let visitor = request.headers().get(name).map_or("nobody", |value| value.to_str().expect("text"));
            with_lines(&[], visitor.to_owned())
        });
        let route = RouteCacheLayer::new(&cache, MINUTE)
            .policy(proxy().build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        send(&route, get_with("/", &[(name, "alice")])).await;
        assert_eq!(send(&route, get("/")).await.text(), "nobody", "{name}");
    }
}

/// RFC 9110 section 15.1, RFC 9111 section 3.
#[tokio::test]
async fn statuses_are_stored_unless_they_concern_one_request() {
    for code in (200..600_u16).filter(|code| *code != 206) {
        let (stack, ..) = standing(proxy(), move |_, call| {
            with_status(code, numbered(&[("cache-control", "max-age=60")], call))
        });
        let stored = !matches!(code, 304 | 407 | 412 | 413 | 416 | 417 | 431);
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{code}");
    }
}

/// RFC 9111 section 4: a stored GET response answers only GET and HEAD requests.
#[tokio::test]
async fn other_methods_are_not_answered_from_the_cache() {
    let (stack, calls, _) = standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
    send(&stack, get("/")).await;
    for (at, method) in [Method::POST, Method::PUT, Method::OPTIONS, Method::TRACE].iter().enumerate() {
        assert!(!send(&stack, request(method.as_str(), "/", &[])).await.is_hit());
        assert_eq!(calls.count(), at + 2, "{method}");
    }
}
