//! Tests of the assertions: the responses that they accept, and their messages.

use super::assertions::{check_hit, check_miss, check_not_stored, check_stored};
use super::{assert_hit, assert_miss, assert_not_stored, assert_stored};
use crate::status::{CacheStatus, Detail, ForwardReason, Reason, detail_meaning, forward_meaning};
use http::{Response, StatusCode};
use std::time::Duration;

/// Returns a response with these lines of `Cache-Status`.
fn with_field(lines: &[&str]) -> Response<()> {
    let mut response = Response::new(());
    for line in lines {
        response.headers_mut().append("cache-status", line.parse().expect("a value"));
    }
    response
}

/// Returns a response as a client receives it over a socket: with the field, without the extension.
fn received(parameters: &str) -> Response<()> {
    with_field(&[&format!("tower-response-cache; {parameters}")])
}

/// Returns a response that has the status only in the extension.
fn returned(status: CacheStatus) -> Response<()> {
    let mut response = Response::new(());
    response.extensions_mut().insert(status);
    response
}

fn fwd(word: &str) -> String {
    format!("\n  fwd={word}: {}", forward_meaning(word).expect("a meaning"))
}

fn detail(word: &str, is_bypass: bool) -> String {
    format!("\n  detail={word}: {}", detail_meaning(word, is_bypass).expect("a meaning"))
}

const NOT_FILLED: &str = "\n  likely causes: the earlier response was not stored (`assert_stored`), its body was not read to the \
                          end, the store is remote and still being written to (`Cache::wait_idle`), or the requests have \
                          different keys";
const FILLED: &str =
    "\n  likely causes: an earlier request has filled the cache, or another test uses the same cache";
const OUTSIDE: &str =
    "is `cache_status(true)` set in the policy, or is the response from outside the cache layers?";

#[test]
fn assert_hit_explains_why_the_request_was_forwarded() {
    let table = [
        ("fwd=uri-miss; fwd-status=200; stored; ttl=60", fwd("uri-miss") + NOT_FILLED),
        ("fwd=vary-miss; fwd-status=200; stored; ttl=60", fwd("vary-miss") + NOT_FILLED),
        ("fwd=stale; fwd-status=200; stored; ttl=60", fwd("stale")),
        ("fwd=method; fwd-status=200", fwd("method")),
        ("fwd=bypass; detail=cookie", fwd("bypass") + &detail("cookie", true)),
        ("fwd=bypass; detail=x-shop-token", fwd("bypass") + &detail("x-shop-token", true)),
        (
            "fwd=bypass; detail=\"1-session\"",
            fwd("bypass") + "\n  detail=1-session: " + &detail_meaning("x", true).expect("a meaning"),
        ),
        ("fwd=request; detail=request-no-cache", fwd("request") + &detail("request-no-cache", false)),
    ];
    for (parameters, meanings) in table {
        let expected = format!("expected a hit, but the request was forwarded: {parameters}{meanings}");
        assert_eq!(check_hit(&received(parameters)), Err(expected));
    }
    let table = [
        ("fwd=uri-miss; collapsed; ttl=60", "the request was collapsed into another one", fwd("uri-miss")),
        ("detail=only-if-cached", "the cache layer generated an error", detail("only-if-cached", false)),
    ];
    for (parameters, what, meanings) in table {
        let expected = format!("expected a hit, but {what}: {parameters}{meanings}");
        assert_eq!(check_hit(&received(parameters)), Err(expected));
    }
}

#[test]
fn assert_miss_explains_hits_bypasses_and_collapsed_requests() {
    let table = [
        ("hit; ttl=60", "the response is a hit", FILLED.to_owned()),
        ("hit; ttl=-7; detail=stale", "the response is a hit", detail("stale", false) + FILLED),
        ("fwd=bypass; detail=cookie", "the request was forwarded", fwd("bypass") + &detail("cookie", true)),
        ("fwd=method; fwd-status=204", "the request was forwarded", fwd("method")),
        ("fwd=uri-miss; collapsed; ttl=60", "the request was collapsed into another one", fwd("uri-miss")),
    ];
    for (parameters, what, rest) in table {
        let expected = format!("expected a miss, but {what}: {parameters}{rest}");
        assert_eq!(check_miss(&received(parameters)), Err(expected));
    }
}

#[test]
fn assert_stored_explains_why_a_response_is_not_stored() {
    let table = [
        (
            "fwd=uri-miss; fwd-status=200; detail=private",
            "the request was forwarded",
            fwd("uri-miss") + &detail("private", false),
        ),
        (
            "fwd=uri-miss; fwd-status=200; detail=x-shop-token",
            "the request was forwarded",
            fwd("uri-miss")
                + "\n  detail=x-shop-token: "
                + &detail_meaning("x-auth-token", false).expect("a meaning"),
        ),
        ("fwd=method; fwd-status=204", "the request was forwarded", fwd("method")),
        (
            "hit; ttl=60",
            "the response is a hit",
            "\n  likely cause: an earlier request has filled the cache; `assert_hit` asserts a hit"
                .to_owned(),
        ),
        (
            "fwd=uri-miss; collapsed; ttl=60",
            "the request was collapsed into another one",
            fwd("uri-miss")
                + "\n  likely cause: the test sent concurrent requests; only the leader's response has `stored`",
        ),
    ];
    for (parameters, what, rest) in table {
        let expected = format!("expected a stored response, but {what}: {parameters}{rest}");
        assert_eq!(check_stored(&received(parameters)), Err(expected));
    }
}

#[test]
fn assert_not_stored_names_the_actual_reason() {
    let other = "\n  it is not stored, for another reason";
    let table = [
        (
            "private",
            "fwd=uri-miss; fwd-status=200; stored; ttl=60",
            fwd("uri-miss") + "\n  the response is in the cache",
        ),
        (
            "private",
            "fwd=uri-miss; fwd-status=200; detail=no-lifetime",
            fwd("uri-miss") + &detail("no-lifetime", false) + other,
        ),
        (
            "cookies",
            "fwd=bypass; detail=cookie",
            fwd("bypass")
                + &detail("cookie", true)
                + other
                + "; `cookies` is not in the tables of `CacheStatus`",
        ),
    ];
    for (reason, parameters, rest) in table {
        let expected = format!(
            "expected a response that is not stored for `{reason}`, but the request was forwarded: {parameters}{rest}"
        );
        assert_eq!(check_not_stored(&received(parameters), reason), Err(expected));
    }
    let hit = check_not_stored(&received("hit; ttl=60"), "private").expect_err("a hit");
    assert!(hit.ends_with("but the response is a hit: hit; ttl=60\n  the response is in the cache"), "{hit}");
    // A collapsed request has no reason why its response is not stored: the leader has stored it.
    assert!(check_not_stored(&received("fwd=uri-miss; collapsed; ttl=60"), "uri-miss").is_err());
}

#[test]
fn responses_without_a_status_are_explained() {
    let table = [
        (with_field(&[]), format!("the response has no `Cache-Status`: {OUTSIDE}")),
        (
            with_field(&["Inner; hit", "Other; fwd=miss"]),
            format!(
                "`Cache-Status` has no member named `tower-response-cache`: {OUTSIDE}\n  Cache-Status: Inner; hit, Other; fwd=miss"
            ),
        ),
        (
            with_field(&["HIT from (x"]),
            "`Cache-Status` is malformed (RFC 9211 section 2)\n  Cache-Status: HIT from (x".to_owned(),
        ),
    ];
    for (response, none) in table {
        assert_eq!(check_hit(&response), Err(format!("expected a hit, but {none}")));
        assert_eq!(check_miss(&response), Err(format!("expected a miss, but {none}")));
        assert_eq!(check_stored(&response), Err(format!("expected a stored response, but {none}")));
        let expected = format!("expected a response that is not stored for `private`, but {none}");
        assert_eq!(check_not_stored(&response, "private"), Err(expected));
    }
}

#[test]
fn assertions_accept_matching_responses() {
    for hit in ["hit; ttl=60", "hit; ttl=-7; detail=stale", "hit; ttl=60; key=\"a, b; fwd=bypass\""] {
        assert_hit(&received(hit));
    }
    for miss in [
        "fwd=uri-miss",
        "fwd=vary-miss; stored",
        "fwd=stale; fwd-status=304; stored; detail=revalidated",
        "fwd=request",
    ] {
        assert_miss(&received(miss));
    }
    assert_miss(&received("fwd=uri-miss; fwd-status=200; collapsed=?0"));
    assert_stored(&received("fwd=uri-miss; fwd-status=200; stored; ttl=60"));
    let not_stored = [
        ("fwd=bypass; detail=cookie", "cookie"),
        ("fwd=uri-miss; fwd-status=200; detail=private", "private"),
        ("fwd=bypass; detail=\"1-session\"", "1-session"),
        ("fwd=method; fwd-status=204", "method"),
        ("detail=only-if-cached", "only-if-cached"),
    ];
    for (parameters, reason) in not_stored {
        assert_not_stored(&received(parameters), reason);
    }
}

#[test]
fn assertions_read_the_outermost_layer_that_handled_the_request() {
    let (hit, left) =
        ("tower-response-cache; hit; ttl=1", "tower-response-cache; fwd=bypass; detail=inner-layer");
    assert_hit(&with_field(&["tower-response-cache; fwd=uri-miss", hit]));
    assert_hit(&with_field(&[&format!("Inner; fwd=miss, {hit}"), "Outer; fwd=miss"]));
    assert_hit(&with_field(&[hit, left]));
    assert_not_stored(&with_field(&[left]), "inner-layer");
    // A malformed member of another cache does not hide the member of the cache layer.
    assert_hit(&with_field(&["HIT from (x", hit]));
}

#[test]
fn status_extension_outranks_the_field() {
    let mut response = returned(CacheStatus::hit(Duration::from_secs(60)));
    response
        .headers_mut()
        .append("cache-status", "tower-response-cache; fwd=uri-miss".parse().expect("a value"));
    assert_hit(&response);
    let stored = CacheStatus::forward(ForwardReason::UriMiss).with_response_code(StatusCode::OK).stored();
    assert_miss(&returned(stored));
    assert_stored(&returned(stored));
    let bypassed = returned(CacheStatus::forward(Reason::bypass(Detail::Cookie)));
    assert_not_stored(&bypassed, "cookie");
    let message = check_hit(&bypassed).expect_err("no hit");
    assert!(
        message.starts_with("expected a hit, but the request was forwarded: fwd=bypass; detail=cookie\n"),
        "{message}"
    );
}

#[test]
#[should_panic(expected = "expected a hit, but the response has no `Cache-Status`")]
fn assertions_panic_with_their_message() {
    assert_hit(&Response::new(()));
}
