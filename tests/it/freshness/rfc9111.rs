//! The preset for a proxy: what RFC 9111 lets a shared cache do, and the application preset does not.

use crate::support::*;
use http::{Method, Request, Response, StatusCode};
use std::time::{Duration, SystemTime};
use tower::{Layer, ServiceExt};
use tower_response_cache::{
    Invalidation, ManualClock, Policy, PolicyBuilder, RouteCacheLayer, SiteCacheLayer,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// When the manual clock starts, 2026-01-01.
const START: Duration = Duration::from_secs(1_767_225_600);

type Lines = &'static [(&'static str, &'static str)];

fn proxy() -> PolicyBuilder {
    Policy::rfc9111().cache_status(true)
}

fn app() -> PolicyBuilder {
    Policy::app().cache_status(true)
}

/// A cache whose time stands still, over an origin that answers at once.
fn standing(
    policy: PolicyBuilder,
    answer: impl Fn(&Request<Body>, usize) -> Response<Body> + Clone + Send + Sync + 'static,
) -> (Stack, Calls, ManualClock) {
    let (cache, hand) = timed();
    let (inner, calls) = origin(answer);
    (
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone(),
        calls,
        hand,
    )
}

fn with_status(code: u16, mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

/// Returns a date before the clock starts.
fn earlier(by: Duration) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + START - by)
}

/// RFC 9111 section 4.2.2.
#[tokio::test]
async fn what_states_no_lifetime_is_fresh_for_a_tenth_of_its_age_within_a_limit() {
    for (policy, ago, fresh) in [
        (proxy(), 10 * HOUR, HOUR),
        (proxy(), 30 * DAY, DAY),
        (proxy().heuristic_freshness(HOUR), 30 * DAY, HOUR),
        (app().heuristic_freshness(HOUR), 5 * HOUR, HOUR / 2),
        // What has a ttl of its own needs no guess.
        (proxy().default_ttl(MINUTE), 10 * HOUR, MINUTE),
    ] {
        let modified = earlier(ago);
        let (stack, calls, hand) =
            standing(policy, move |_, call| numbered(&[("last-modified", &modified)], call));
        send(&stack, get("/")).await;
        hand.advance(fresh - SECOND);
        assert!(send(&stack, get("/")).await.is_hit(), "{ago:?}");
        hand.advance(SECOND);
        send(&stack, get("/")).await;
        assert_eq!(calls.count(), 2, "{ago:?}");
    }
}

/// RFC 9111 section 4.2.2: "MUST NOT use heuristics … when an explicit expiration time is present".
#[tokio::test]
async fn a_lifetime_is_guessed_only_where_nothing_is_said_and_it_was_asked_for() {
    let table: [(PolicyBuilder, u16, Lines); 11] = [
        (app(), 200, &[]),
        (proxy().heuristic_freshness(Duration::ZERO), 200, &[]),
        (proxy(), 201, &[]),
        (proxy(), 302, &[]),
        (proxy(), 503, &[]),
        (proxy(), 200, &[("cache-control", "max-age=0")]),
        (proxy(), 200, &[("expires", "0")]),
        (proxy(), 200, &[("cache-control", "private")]),
        // An application's errors are stored only where they are named.
        (app().heuristic_freshness(HOUR), 414, &[("cache-control", "public")]),
        (app().heuristic_freshness(HOUR), 501, &[]),
        (app().heuristic_freshness(HOUR), 204, &[]),
    ];
    for (policy, code, lines) in table {
        let modified = earlier(10 * DAY);
        let (stack, ..) = standing(policy, move |_, call| {
            let lines: Vec<_> = lines.iter().copied().chain([("last-modified", modified.as_str())]).collect();
            with_status(code, numbered(&lines, call))
        });
        assert!(!shares(&stack, get("/"), get("/")).await, "{code} {lines:?}");
    }
}

/// Nobody has said that others may have it, and RFC 9111 section 4.2.2 only lets it.
#[tokio::test]
async fn what_somebody_known_was_answered_with_has_no_lifetime_but_its_own() {
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
                let who = request.headers().get(name).map_or("nobody", |value| value.to_str().expect("text"));
                let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
                with_status(code, with_lines(&lines, who.to_owned()))
            });
            send(&stack, get_with("/", &[(name, "alice")])).await;
            assert_eq!(send(&stack, get("/")).await.text(), "nobody", "{name} {code}");
        }
        let (cache, _) = timed();
        let (inner, _) = origin(move |request, _| {
            let who = request.headers().get(name).map_or("nobody", |value| value.to_str().expect("text"));
            with_lines(&[], who.to_owned())
        });
        let route = RouteCacheLayer::new(&cache, MINUTE)
            .policy(proxy().build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        send(&route, get_with("/", &[(name, "alice")])).await;
        assert_eq!(send(&route, get("/")).await.text(), "nobody", "{name}");
    }
}

/// What was invalidated, if softly, is for who has a stale window alone.
#[tokio::test]
async fn who_takes_what_is_stale_does_not_get_what_was_invalidated() {
    let (cache, hand) = timed();
    let (inner, calls) = origin(|_, call| numbered(&[("cache-control", "max-age=600")], call));
    let stack =
        SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    send(&stack, get("/")).await;
    cache.invalidate(Invalidation::path("/").soft()).await.expect("the store answers");
    hand.advance(SECOND);
    for call in 2..=3 {
        let answer = send(&stack, get_with("/", &[("cache-control", "max-stale")])).await;
        assert_eq!((answer.text(), calls.count()), (call.to_string().as_str(), call));
        cache.invalidate(Invalidation::path("/").soft()).await.expect("the store answers");
    }
}

/// RFC 9110 section 14.4.
#[tokio::test]
async fn a_part_that_is_called_whole_is_not_what_others_get() {
    let (stack, ..) = standing(proxy(), |request, _| match request.headers().contains_key("range") {
        true => with_lines(&[("cache-control", "max-age=60"), ("content-range", "bytes 0-1/10")], "01"),
        false => with_lines(&[("cache-control", "max-age=60")], "0123456789"),
    });
    let part = send(&stack, get_with("/", &[("range", "bytes=0-1")])).await;
    assert_eq!((part.text(), part.detail()), ("01", Some("partial")));
    assert_eq!(send(&stack, get("/")).await.text(), "0123456789");
}

/// RFC 9110 section 15.1, RFC 9111 section 3.
#[tokio::test]
async fn any_final_status_with_a_lifetime_is_stored_but_what_is_about_one_request() {
    for code in (200..600_u16).filter(|code| *code != 206) {
        let (stack, ..) = standing(proxy(), move |_, call| {
            with_status(code, numbered(&[("cache-control", "max-age=60")], call))
        });
        let stored = !matches!(code, 304 | 407 | 412 | 413 | 416 | 417 | 431);
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{code}");
    }
}

/// RFC 9111 section 5.2.2.3.
#[tokio::test]
async fn must_understand_has_no_store_ignored_for_a_known_status_and_heeded_for_others() {
    for (policy, code, stored) in [
        (proxy(), 200, true),
        (proxy(), 404, true),
        (proxy(), 299, false),
        (proxy(), 599, false),
        (app(), 200, false),
    ] {
        let (stack, ..) = standing(policy, move |_, call| {
            with_status(code, numbered(&[("cache-control", "max-age=60, no-store, must-understand")], call))
        });
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{code}");
    }
}

/// RFC 9111 sections 5.2.1.2 and 4.2.4.
#[tokio::test]
async fn a_client_that_takes_what_is_stale_gets_it_within_its_limit_unless_the_origin_forbids_it() {
    let asks = |value: &'static str| get_with("/", &[("cache-control", value)]);
    let table = [
        (proxy(), "max-age=60", "max-stale=10", true),
        (proxy(), "max-age=60", "max-stale", true),
        (proxy(), "max-age=60", "max-stale=9", false),
        (proxy(), "max-age=60", "max-stale=x", false),
        (proxy(), "max-age=60", "max-age=100", false),
        (proxy(), "max-age=60", "max-stale=10, max-age=60", false),
        (proxy(), "max-age=60", "max-stale=10, max-age=70", true),
        (proxy(), "max-age=60", "max-stale=10, min-fresh=1", false),
        (proxy(), "max-age=60", "max-stale=10, no-cache", false),
        (proxy(), "max-age=60, must-revalidate", "max-stale", false),
        (proxy(), "max-age=60, proxy-revalidate", "max-stale", false),
        (proxy(), "s-maxage=60", "max-stale", false),
        (app(), "max-age=60", "max-stale", false),
    ];
    for (policy, said, asked, answered) in table {
        let (stack, calls, hand) =
            standing(policy, move |_, call| numbered(&[("cache-control", said)], call));
        send(&stack, get("/")).await;
        hand.advance(Duration::from_secs(70));
        let answer = send(&stack, asks(asked)).await;
        assert_eq!(
            (answer.is_hit(), calls.count()),
            (answered, if answered { 1 } else { 2 }),
            "{said}: {asked}"
        );
        if answered {
            assert_eq!(
                answer.header("cache-status"),
                Some("tower-response-cache; hit; ttl=-10; detail=stale")
            );
            assert_eq!(answer.header("age"), Some("70"));
        }
    }
}

/// RFC 9111 section 5.2.1.7.
#[tokio::test]
async fn a_client_that_wants_only_what_is_cached_is_not_made_to_wait() {
    for method in ["GET", "HEAD"] {
        let only = || request(method, "/", &[("cache-control", "only-if-cached")]);
        let (stack, calls, hand) =
            standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
        let refused = send(&stack, only()).await;
        assert_eq!((refused.status, refused.text(), calls.count()), (StatusCode::GATEWAY_TIMEOUT, "", 0));
        assert_eq!(refused.header("cache-status"), Some("tower-response-cache; detail=only-if-cached"));
        send(&stack, get("/")).await;
        assert!(send(&stack, only()).await.is_hit());
        hand.advance(MINUTE);
        assert_eq!(send(&stack, only()).await.status, StatusCode::GATEWAY_TIMEOUT, "{method}");
        let stale = request(method, "/", &[("cache-control", "only-if-cached, max-stale")]);
        assert!(send(&stack, stale).await.is_hit());
        assert_eq!(calls.count(), 1);
    }
    let (stack, calls, _) = standing(app(), |_, call| numbered(&[], call));
    assert_eq!(send(&stack, get_with("/", &[("cache-control", "only-if-cached")])).await.status, 200);
    assert_eq!(calls.count(), 1, "a visitor of an application does not decide");
}

/// RFC 9111 section 7.3.
#[tokio::test]
async fn a_cookie_is_given_to_all_only_by_choice_and_with_a_lifetime_of_the_responses_own() {
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
    for (policy, lines, asked, stored) in table {
        let (stack, ..) = standing(policy, move |_, call| numbered(lines, call));
        send(&stack, get_with("/", asked)).await;
        let answer = send(&stack, get("/")).await;
        assert_eq!(
            (answer.is_hit(), answer.header("set-cookie")),
            (stored, Some("a=1")),
            "{lines:?} {asked:?}"
        );
    }
}

#[tokio::test]
async fn a_layer_that_shares_no_cookies_gives_out_none_that_another_one_has_stored() {
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

#[tokio::test(start_paused = true)]
async fn who_takes_what_is_stale_leads_to_a_refresh_as_others_do() {
    let said = "max-age=60, stale-while-revalidate=600";
    let (stack, calls, hand) = standing(proxy(), move |_, call| numbered(&[("cache-control", said)], call));
    send(&stack, get("/")).await;
    hand.advance(Duration::from_secs(70));
    assert!(send(&stack, get_with("/", &[("cache-control", "max-stale=600")])).await.is_hit());
    tokio::time::sleep(SECOND).await;
    assert_eq!((send(&stack, get("/")).await.text(), calls.count()), ("2", 2));
}

/// RFC 9213 sections 2.1, 2.2 and 3.1.
#[tokio::test]
async fn the_field_for_delivery_networks_outranks_cache_control_where_it_can_be_read() {
    const PAST: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let table: [(Lines, bool); 21] = [
        (&[("cdn-cache-control", "max-age=60")], true),
        (&[("cdn-cache-control", "max-age=99999999999")], true),
        (&[("cdn-cache-control", "max-age=999999999999999")], true),
        (&[("cdn-cache-control", "foobar, max-age=60")], true),
        (&[("cdn-cache-control", "max-age=60;a=b, c=(d e)")], true),
        (&[("cdn-cache-control", "foobar"), ("cdn-cache-control", "max-age=60")], true),
        (&[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], true),
        (&[("cdn-cache-control", "max-age=60"), ("cache-control", "max-age=0, private")], true),
        (&[("cdn-cache-control", "max-age=60"), ("expires", PAST)], true),
        (&[("cdn-cache-control", "max-age=60"), ("expires", "0")], true),
        (&[("cdn-cache-control", "max-age=0"), ("cache-control", "max-age=60")], false),
        (&[("cdn-cache-control", "private"), ("cache-control", "max-age=60")], false),
        (&[("cdn-cache-control", "no-store"), ("cache-control", "max-age=60")], false),
        (&[("cdn-cache-control", "no-cache"), ("cache-control", "max-age=60")], false),
        (&[("cdn-cache-control", "max-age=60"), ("age", "61")], false),
        // The last of several counts in a dictionary.
        (&[("cdn-cache-control", "max-age=60"), ("cdn-cache-control", "max-age=0")], false),
        // What can't be read, is empty, or in another case, is not there.
        (&[("cdn-cache-control", "max-age=60, &&&"), ("cache-control", "no-store")], false),
        (&[("cdn-cache-control", "max-age=\"60\""), ("cache-control", "no-store")], false),
        (&[("cdn-cache-control", ""), ("cache-control", "no-store")], false),
        (&[("cdn-cache-control", "MAX-AGE=60"), ("cache-control", "no-store")], false),
        (&[("cdn-cache-control", "max-age =60"), ("cache-control", "max-age=60")], true),
    ];
    for (lines, stored) in table {
        let (stack, ..) = standing(proxy(), move |_, call| numbered(lines, call));
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{lines:?}");
        // It is passed on, and an application goes by it only where its policy says so.
        let answer = send(&stack, get("/")).await;
        assert_eq!(
            answer.headers.get_all("cdn-cache-control").iter().next().map(|v| v.as_bytes()),
            Some(lines[0].1.as_bytes())
        );
    }
    let lines: Lines = &[("cdn-cache-control", "max-age=60")];
    for policy in [app(), proxy().targeted_fields([])] {
        let (stack, ..) = standing(policy, move |_, call| numbered(lines, call));
        assert!(!shares(&stack, get("/"), get("/")).await);
    }
}

/// RFC 9111 section 3.2.
#[tokio::test]
async fn a_304_changes_the_media_type_too_though_not_before_an_application() {
    for (policy, expected) in [(proxy(), "text/plain"), (app(), "text/html")] {
        let (stack, _, hand) = standing(policy, |request, call| {
            let again = request.headers().contains_key("if-none-match");
            let of = if again { "text/plain" } else { "text/html" };
            let lines = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-type", of)];
            with_status(if again { 304 } else { 200 }, numbered(&lines, call))
        });
        send(&stack, get("/")).await;
        hand.advance(MINUTE);
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.header("content-type")), ("1", Some(expected)));
    }
}

/// RFC 9111 section 4: neither is a GET, nor what HEAD may be answered with.
#[tokio::test]
async fn no_other_method_is_answered_from_the_cache() {
    let (stack, calls, _) = standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
    send(&stack, get("/")).await;
    for (at, method) in [Method::POST, Method::PUT, Method::OPTIONS, Method::TRACE].iter().enumerate() {
        assert!(!send(&stack, request(method.as_str(), "/", &[])).await.is_hit());
        assert_eq!(calls.count(), at + 2, "{method}");
    }
}
