//! Conditional requests answered from the cache.

use crate::support::rfc9111::{SECOND, date, proxy, standing, with_status};
use crate::support::selected::{modified, selecting};
use crate::support::*;
use std::time::{Duration, SystemTime};
use tower::{Layer, ServiceExt};
use tower_response_cache::{ConditionLayer, EntityTag};

/// RFC 9110 section 15.4.5: what guides the updates of caches; RFC 9213.
#[tokio::test]
async fn a_304_from_the_cache_has_cdn_cache_control() {
    let (stack, ..) = standing(proxy(), |_, call| {
        numbered(
            &[("cache-control", "max-age=60"), ("cdn-cache-control", "max-age=30"), ("etag", "\"1\"")],
            call,
        )
    });
    send(&stack, get("/")).await;
    let answer = send(&stack, get_with("/", &[("if-none-match", "\"1\"")])).await;
    assert_eq!((answer.status.as_u16(), answer.header("cdn-cache-control")), (304, Some("max-age=30")));
}

/// RFC 9111 section 4.3.2.
#[tokio::test]
async fn if_modified_since_uses_date_without_last_modified() {
    let (stack, _, hand) = standing(proxy(), |_, call| {
        let now = date(0);
        numbered(&[("cache-control", "max-age=60"), ("date", &now)], call)
    });
    send(&stack, get("/")).await;
    hand.advance(SECOND);
    for after in [0, 10] {
        let answer = send(&stack, get_with("/", &[("if-modified-since", &date(after))])).await;
        assert_eq!(answer.status, 304, "{after}");
    }
}

/// Though both are from the same second.
#[tokio::test]
async fn if_modified_since_gets_200_after_an_invalidation() {
    for policy in [policy()] {
        let (stack, _, _) = standing(policy, |request, call| match request.method().as_str() {
            "GET" => numbered(&[("date", &date(0))], call),
            _ => numbered(&[], call),
        });
        let old = send(&stack, get("/")).await;
        let sent = old.header("date").expect("a date").to_owned();
        send(&stack, request("POST", "/", &[])).await;
        let new = send(&stack, get("/")).await;
        assert_ne!(old.text(), new.text());
        let asked = send(&stack, get_with("/", &[("if-modified-since", &sent)])).await;
        assert_eq!(asked.status, 200, "{asked:?}");
    }
}

type Lines = &'static [(&'static str, &'static str)];
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// RFC 9110 section 13.1.1: "the condition is false if the origin server does not have a current representation".
#[tokio::test]
async fn if_match_any_is_true_if_a_representation_exists() {
    let any = [("if-match", "*")];
    let all: [Lines; 3] = [&[], &[("last-modified", MODIFIED)], &[("etag", "\"a\"")]];
    for lines in all {
        for (by, stack) in selecting(lines, "page").await {
            assert_eq!(send(&stack, get_with("/", &any)).await.status, 200, "{by}: {lines:?}");
        }
        for (status, expected) in [(200, 200), (404, 412), (410, 412)] {
            let (inner, _) = origin(move |request, _| {
                let status = if request.method() == "GET" { status } else { 200 };
                with_status(status, with_lines(lines, "page"))
            });
            let answer = send(&ConditionLayer::by_get().layer(inner), request("PUT", "/", &any)).await;
            assert_eq!(answer.status.as_u16(), expected, "by_get, {status}: {lines:?}");
        }
    }
    let dated = ConditionLayer::new()
        .last_modified(|request| async move { (request.uri.path() != "/none").then(modified) })
        .layer(origin(|_, call| numbered(&[], call)).0);
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(send(&dated, request(method, "/", &any)).await.status, 200, "{method}");
        assert_eq!(send(&dated, request(method, "/none", &any)).await.status, 412, "{method}");
    }
}

/// RFC 9110 sections 8.8.3 and 15.5.13: the client learns what is current.
#[tokio::test]
async fn a_412_carries_the_current_validators() {
    let lines: Lines = &[("etag", "\"a\""), ("last-modified", MODIFIED)];
    let of = |answer: Answer| {
        assert_eq!(answer.status, 412);
        (answer.header("etag").map(str::to_owned), answer.header("last-modified").map(str::to_owned))
    };
    let expected = (Some("\"a\"".to_owned()), Some(MODIFIED.to_owned()));
    for (by, stack) in selecting(lines, "page").await {
        let conditions: [Lines; 2] =
            [&[("if-match", "\"b\"")], &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]];
        for condition in conditions {
            assert_eq!(of(send(&stack, get_with("/", condition)).await), expected, "{by}: {condition:?}");
        }
    }
    let functions = ConditionLayer::new()
        .etag(|_| async { Some(EntityTag::strong("a")) })
        .last_modified(|_| async { Some(modified()) })
        .layer(origin(|_, call| numbered(&[], call)).0);
    let by_get = ConditionLayer::by_get().layer(origin(move |_, _| with_lines(lines, "page")).0);
    for condition in [("if-match", "\"b\""), ("if-none-match", "*"), ("if-match", "W/\"a\"")] {
        let put = || request("PUT", "/", &[condition]);
        assert_eq!(of(send(&functions, put()).await), expected, "functions: {condition:?}");
        assert_eq!(of(send(&by_get, put()).await), expected, "by_get: {condition:?}");
    }
}

/// RFC 9110 section 5.6.7: "more than 50 years in the future" is "the most recent year in the past that had the same
/// last two digits".
#[tokio::test]
async fn a_year_of_two_digits_is_within_fifty_years() {
    let year = 365 * 24 * 3600;
    let now = SystemTime::now();
    for (after, is_fresh) in
        [(1, true), (30, true), (44, true), (49, true), (52, false), (60, false), (90, false)]
    {
        // "Mon, 30 Nov 2026 09:40:16 GMT"
        let text = httpdate::fmt_http_date(now + Duration::from_secs(after * year));
        let expires = format!("Monday, {}-{}-{} {}", &text[5..7], &text[8..11], &text[14..16], &text[17..]);
        let (stack, _) = site(proxy(), move |_, call| numbered(&[("expires", &expires)], call));
        send(&stack, get("/")).await;
        assert_eq!(send(&stack, get("/")).await.is_hit(), is_fresh, "{text}");
    }
}
