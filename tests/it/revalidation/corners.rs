//! Corners of the preset for a proxy where several rules meet.

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{ManualClock, Policy, PolicyBuilder, SiteCacheLayer};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const START: Duration = Duration::from_secs(1_767_225_600);

pub(crate) fn proxy() -> PolicyBuilder {
    Policy::rfc9111().cache_status(true)
}

pub(crate) fn date(after: i64) -> String {
    let at = START.as_secs() as i64 + after;
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(at as u64))
}

pub(crate) fn with_status(code: u16, mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

pub(crate) fn standing(
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

pub(crate) fn field<'a>(request: &'a Request<Body>, name: &str) -> &'a str {
    request.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// RFC 9111 section 5.2.2.4, 4.2.4.
async fn two_at_once(name: &'static str, lines: &'static [(&'static str, &'static str)]) -> [String; 2] {
    let inner = service_fn(move |request: Request<Body>| {
        let who = field(&request, name).to_owned();
        async move {
            tokio::time::sleep(SECOND).await;
            let tag = format!("\"{who}\"");
            let lines: Vec<_> = lines.iter().copied().chain([("etag", tag.as_str())]).collect();
            Ok::<_, Infallible>(with_lines(&lines, format!("page of {who}")))
        }
    });
    let stack =
        SiteCacheLayer::new(&memory()).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    let ask = async |who| send(&stack, get_with("/account", &[(name, who)])).await;
    let (one, two) = tokio::join!(ask("alice"), ask("bob"));
    [one.text().to_owned(), two.text().to_owned()]
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_not_given_a_page_to_be_validated_that_was_made_for_another_visitor() {
    let mut leaked = Vec::new();
    for lines in [
        &[("cache-control", "no-cache")][..],
        &[("cache-control", "max-age=0")],
        &[("cache-control", "max-age=0, must-revalidate")],
        &[("expires", "0")],
        &[("cdn-cache-control", "no-cache")],
    ] {
        for name in ["cookie", "authorization", "x-api-key", "x-forwarded-user"] {
            let [one, two] = two_at_once(name, lines).await;
            if [one.as_str(), two.as_str()] != ["page of alice", "page of bob"] {
                leaked.push((name, lines[0], two));
            }
        }
    }
    assert!(leaked.is_empty(), "{leaked:?}");
}

#[tokio::test(start_paused = true)]
async fn one_visitors_304_validates_a_no_cache_page_for_nobody_else() {
    let inner = service_fn(move |request: Request<Body>| async move {
        let who = field(&request, "cookie").to_owned();
        let asked = field(&request, "if-none-match") == "\"p\"";
        let lines = [("cache-control", "no-cache"), ("etag", "\"p\"")];
        if !who.is_empty() {
            tokio::time::sleep(SECOND).await;
        }
        Ok::<_, Infallible>(match who.as_str() {
            "bob" => with_lines(&[("cache-control", "private")], "bob's"),
            _ if asked => with_status(304, with_lines(&lines, "")),
            _ => with_lines(&lines, "public"),
        })
    });
    let stack =
        SiteCacheLayer::new(&memory()).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    send(&stack, get("/")).await;
    let ask = |cookie| send(&stack, get_with("/", &[("cookie", cookie)]));
    let (one, two) = tokio::join!(ask("alice"), ask("bob"));
    assert_eq!([one.text(), two.text()], ["public", "bob's"]);
}

/// RFC 9111 sections 4.3.4 and 5.2.2.4, 4.2.1.
#[tokio::test]
async fn a_variant_that_is_to_be_validated_each_time_is_not_made_fresh_by_anothers_304() {
    let mut failed = Vec::new();
    for (cc, wait) in [("no-cache", 1), ("max-age=0", 1), ("max-age=5", 10)] {
        let (stack, calls, hand) = standing(proxy(), move |request, call| {
            let strict = field(request, "x-a") == "strict";
            let said = if strict { cc } else { "max-age=60" };
            let lines = [("cache-control", said), ("etag", "\"1\""), ("vary", "x-a")];
            match request.headers().contains_key("if-none-match") {
                true => with_status(304, with_lines(&[("etag", "\"1\""), ("vary", "x-a")], "")),
                false => numbered(&lines, call),
            }
        });
        let ask = async |a| send(&stack, get_with("/", &[("x-a", a)])).await;
        ask("strict").await;
        ask("lax").await;
        hand.advance(61 * SECOND);
        ask("lax").await;
        assert_eq!(calls.count(), 3);
        hand.advance(wait * SECOND);
        let answer = ask("strict").await;
        if (answer.header("cache-control"), answer.is_hit(), calls.count()) != (Some(cc), false, 4) {
            failed.push(answer.headers);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// RFC 9111 section 4.3.4.
#[tokio::test]
async fn a_304_with_validators_that_the_stored_response_has_not_updates_nothing() {
    type Lines = Vec<(&'static str, String)>;
    let table: [(Lines, Lines); 4] = [
        // Rolled back to an older file, by an origin that has tags now.
        (
            vec![("last-modified", date(-1000))],
            vec![("etag", "\"b\"".into()), ("last-modified", date(-2000))],
        ),
        (vec![("last-modified", date(-1000))], vec![("etag", "\"b\"".into())]),
        (
            vec![("etag", "\"a\"".into()), ("last-modified", date(-1000))],
            vec![("last-modified", date(-2000))],
        ),
        (vec![("etag", "\"a\"".into())], vec![("last-modified", date(-2000))]),
    ];
    let mut failed = Vec::new();
    for (own, given) in table {
        let (first, later) = (own.clone(), given.clone());
        let (stack, _, hand) = standing(proxy(), move |request, call| {
            let asked =
                ["if-none-match", "if-modified-since"].iter().any(|n| request.headers().contains_key(*n));
            let lines = if call == 1 { &first } else { &later };
            let mut lines: Vec<_> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
            lines.push(("cache-control", "max-age=60"));
            if asked {
                with_status(304, with_lines(&lines, ""))
            } else {
                with_lines(&lines, if call == 1 { "old" } else { "new" })
            }
        });
        send(&stack, get("/")).await;
        hand.advance(61 * SECOND);
        send(&stack, get("/")).await;
        // A client that got "new" elsewhere asks with the validators of that.
        let condition = match given[0].0 {
            "etag" => ("if-none-match", "\"b\"".to_owned()),
            _ => ("if-modified-since", date(-2000)),
        };
        let answer = send(&stack, get("/")).await;
        let relabelled =
            given.iter().any(|(name, value)| answer.header(name) == Some(value)) && answer.text() == "old";
        let conditional = send(&stack, get_with("/", &[(condition.0, &condition.1)])).await;
        if relabelled {
            failed.push((
                own,
                given,
                conditional.status,
                conditional.header("cache-status").map(str::to_owned),
            ));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// RFC 9110 section 15.4.5: a 304 "would have resulted in a 200".
#[tokio::test]
async fn a_304_does_not_confirm_an_error_or_a_redirect() {
    let mut failed = Vec::new();
    for code in [404, 410, 301, 503] {
        let (stack, calls, hand) = standing(proxy(), move |request, call| {
            let lm = date(-10_000);
            let lines = [("cache-control", "max-age=10"), ("last-modified", lm.as_str())];
            match call {
                // A page for errors that is a file.
                1 => with_status(code, with_lines(&lines, "an error")),
                _ if request.headers().contains_key("if-modified-since") => {
                    with_status(304, with_lines(&lines, ""))
                }
                _ => with_lines(&lines, "the page"),
            }
        });
        send(&stack, get("/")).await;
        hand.advance(11 * SECOND);
        let answer = send(&stack, get("/")).await;
        let later = send(&stack, get("/")).await;
        if (answer.text(), later.text()) != ("the page", "the page") {
            failed.push((
                code,
                answer.status,
                later.status,
                later.header("cache-status").map(str::to_owned),
                calls.count(),
            ));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// RFC 9111 section 5.2.1.7.
#[tokio::test]
async fn only_if_cached_counts_beside_no_store() {
    let (stack, calls, _) = standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
    for method in ["GET", "HEAD"] {
        let answer =
            send(&stack, request(method, "/", &[("cache-control", "only-if-cached, no-store")])).await;
        assert_eq!((answer.status.as_u16(), calls.count()), (504, 0), "{method}");
    }
}

#[tokio::test]
async fn only_if_cached_where_the_request_is_none_for_the_cache() {
    let mut forwarded = Vec::new();
    for more in [
        ("x-forwarded-host", "a/b"),
        ("host", "Shop.example"),
        ("expect", "100-continue"),
        ("content-length", "1"),
    ] {
        let (stack, calls, _) =
            standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
        let answer = send(&stack, get_with("/", &[("cache-control", "only-if-cached"), more])).await;
        if calls.count() > 0 {
            forwarded.push((more, answer.status, answer.header("cache-status").map(str::to_owned)));
        }
    }
    assert!(forwarded.is_empty(), "{forwarded:#?}");
}

/// RFC 9111 section 4: the most recent.
#[tokio::test]
async fn a_slow_old_answer_does_not_take_the_place_of_a_newer_one() {
    // Whether it is a variant or not, and whether the newer one is still of use by then.
    for (vary, expired) in [("", false), ("accept-language", false), ("", true), ("accept-language", true)] {
        overtaken(vary, expired).await;
    }
}

async fn overtaken(vary: &'static str, expired: bool) {
    let (sender, receiver) = futures::channel::oneshot::channel::<()>();
    let (receiver, calls) = (Arc::new(Mutex::new(Some(receiver))), Calls::default());
    let counted = calls.clone();
    let (cache, hand) = timed();
    let inner = service_fn(move |_: Request<Body>| {
        let (call, first) = (counted.next(), receiver.lock().expect("no panic").take());
        async move {
            let body = futures::stream::once(async move {
                if let Some(first) = first {
                    first.await.expect("told");
                }
                Ok::<_, Infallible>(Frame::data(Bytes::from(call.to_string())))
            });
            let mut response = Response::new(StreamBody::new(Box::pin(body)));
            let at = date(if call == 1 { 0 } else { 5 });
            let lifetime = if call == 2 && expired { "max-age=10" } else { "max-age=600" };
            for (name, value) in [("cache-control", lifetime), ("date", at.as_str()), ("vary", vary)] {
                response.headers_mut().insert(name, value.parse().expect("a value"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner);
    let streaming = stack.clone().oneshot(get("/")).await.expect("infallible");
    hand.advance(5 * SECOND);
    // Reloaded, by somebody who wants news.
    let reload = get_with("/", &[("cache-control", "no-cache")]);
    let newer = read(stack.clone().oneshot(reload).await.expect("infallible")).await;
    assert_eq!(newer.text(), "2");
    let before = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
    if expired {
        hand.advance(20 * SECOND);
    }
    sender.send(()).expect("waited for");
    assert_eq!(read(streaming).await.text(), "1");
    let after = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
    assert_eq!(
        (before.text(), after.text(), calls.count()),
        ("2", if expired { "3" } else { "2" }, if expired { 3 } else { 2 })
    );
}

/// RFC 9111 section 4.2.1: what is malformed is not fresh.
#[tokio::test]
async fn a_quote_that_does_not_end_hides_no_restriction() {
    for said in [
        "max-age=60, ext=\"x, no-store",
        "max-age=60, ext=\"x, private",
        "max-age=60, ext=\"x\\\", private",
        "max-age=60, ext=\"x, no-cache",
    ] {
        let (stack, ..) = standing(proxy(), move |_, call| numbered(&[("cache-control", said)], call));
        assert!(!shares(&stack, get("/"), get("/")).await, "{said}");
    }
}

/// RFC 9110 section 15.4.5: what guides the updates of caches; RFC 9213.
#[tokio::test]
async fn a_304_tells_the_field_for_delivery_networks_too() {
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

/// RFC 9110 section 8.7.
#[tokio::test]
async fn two_content_locations_name_no_target() {
    let (stack, ..) = standing(proxy(), |_, call| {
        numbered(
            &[("cache-control", "max-age=60"), ("content-location", "/a"), ("content-location", "/b")],
            call,
        )
    });
    send(&stack, request("POST", "/a", &[])).await;
    assert!(!send(&stack, get("/a")).await.is_hit());
}

/// Nobody is given anybody else's.
#[tokio::test(start_paused = true)]
async fn one_after_the_other_each_gets_their_own() {
    let (stack, ..) = standing(proxy(), |request, _| {
        let who = field(request, "cookie");
        with_lines(
            &[("cache-control", "no-cache"), ("etag", &format!("\"{who}\""))],
            format!("page of {who}"),
        )
    });
    for who in ["alice", "bob"] {
        assert_eq!(send(&stack, get_with("/", &[("cookie", who)])).await.text(), format!("page of {who}"));
    }
}

/// A slow 304 about the old one.
#[tokio::test(start_paused = true)]
async fn a_slow_304_does_not_put_the_old_page_back_over_a_newer_one() {
    let (cache, hand) = timed();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let call = counted.next();
        async move {
            let at = date(match call {
                1 => 0,
                2 => 61,
                _ => 66,
            });
            let lines = [("cache-control", "max-age=60"), ("date", at.as_str())];
            let one = [&lines[..], &[("etag", "\"1\"")]].concat();
            let two = [&lines[..], &[("etag", "\"2\"")]].concat();
            Ok::<_, Infallible>(match call {
                1 => with_lines(&one, "old"),
                2 => {
                    assert_eq!(field(&request, "if-none-match"), "\"1\"");
                    tokio::time::sleep(10 * SECOND).await;
                    with_status(304, with_lines(&one, ""))
                }
                _ => with_lines(&two, "new"),
            })
        }
    });
    let stack =
        SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    send(&stack, get("/")).await;
    hand.advance(61 * SECOND);
    let slow = send(&stack, get("/"));
    let reload = async {
        tokio::time::sleep(SECOND).await;
        hand.advance(5 * SECOND);
        // One who goes alone, for what it asks: all of it is the answer.
        let answer = send(&stack, get_with("/", &[("range", "bytes=0-")])).await;
        (answer, send(&stack, get("/")).await)
    };
    let (slow, (newer, hit)) = tokio::join!(slow, reload);
    let after = send(&stack, get("/")).await;
    assert_eq!(
        [slow.text(), newer.text(), hit.text(), after.text()],
        ["old", "new", "new", "new"],
        "{:?}",
        after.headers
    );
}

/// RFC 9111 section 4.2.3.
#[tokio::test]
async fn the_age_of_a_304_counts() {
    let (stack, calls, hand) = standing(proxy(), |request, call| {
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\""), ("age", "50")];
        match request.headers().contains_key("if-none-match") {
            true => with_status(304, with_lines(&lines, "")),
            false => numbered(&lines, call),
        }
    });
    send(&stack, get("/")).await;
    hand.advance(11 * SECOND);
    assert_eq!(send(&stack, get("/")).await.header("age"), Some("50"));
    hand.advance(9 * SECOND);
    assert_eq!((send(&stack, get("/")).await.header("age"), calls.count()), (Some("59"), 2));
    hand.advance(2 * SECOND);
    send(&stack, get("/")).await;
    assert_eq!(calls.count(), 3);
}

/// RFC 9111 sections 4.2.1, 4.2.3 and 1.2.2: what is stored, and the age that is told.
#[tokio::test]
async fn ages_and_dates_at_their_limits() {
    let [ago, ahead, far] = [date(-100), date(1_000_000), "Fri, 31 Dec 9999 23:59:59 GMT".to_owned()];
    type Lines<'a> = Vec<(&'a str, &'a str)>;
    let table: Vec<(Lines<'_>, Option<&str>)> = vec![
        (vec![("cache-control", "max-age=60"), ("age", "10, 20")], Some("11")),
        (vec![("cache-control", "max-age=60"), ("age", "10"), ("age", "50")], Some("11")),
        (vec![("cache-control", "max-age=60"), ("age", "-1")], Some("1")),
        (vec![("cache-control", "max-age=60"), ("age", "1.5")], Some("1")),
        (vec![("cache-control", "max-age=60"), ("age", "99999999999999999999999")], None),
        (vec![("cache-control", "max-age=99999999999"), ("age", "2147483647")], None),
        (vec![("cache-control", "max-age=99999999999"), ("age", "2147483600")], Some("2147483601")),
        (vec![("cache-control", "max-age=60"), ("date", &ago)], None),
        (vec![("cache-control", "max-age=200"), ("date", &ago)], Some("101")),
        (vec![("cache-control", "max-age=200"), ("date", &ago), ("age", "150")], Some("151")),
        (vec![("cache-control", "max-age=60"), ("date", &ahead)], Some("1")),
        (vec![("expires", &far), ("date", &ahead)], Some("1")),
        (vec![("expires", &ahead), ("date", &ahead)], None),
        (vec![("expires", &far), ("date", &far)], None),
        (vec![("expires", &ahead), ("date", "Thu, 01 Jan 1970 00:00:00 GMT")], Some("1767225601")),
        (vec![("expires", &far), ("date", "Thu, 01 Jan 1970 00:00:00 GMT")], Some("1767225601")),
        (vec![("expires", &ahead), ("expires", &far)], None),
        (vec![("expires", &ahead), ("date", "nonsense")], Some("1")),
        (vec![("cache-control", "max-age=60"), ("cache-control", "max-age=x")], None),
        (vec![("cache-control", "s-maxage=0, max-age=60")], None),
        (vec![("last-modified", &far), ("date", &ahead)], None),
    ];
    let mut failed = Vec::new();
    for (lines, age) in table {
        let own: Vec<_> = lines.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let (stack, _, hand) = standing(proxy(), move |_, call| {
            let lines: Vec<_> = own.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            numbered(&lines, call)
        });
        send(&stack, get("/")).await;
        hand.advance(SECOND);
        let answer = send(&stack, get("/")).await;
        let found = answer.header("age").filter(|_| answer.is_hit()).map(str::to_owned);
        if found.as_deref() != age {
            failed.push((lines, age.map(str::to_owned), found));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

proptest! {
    /// RFC 9211 section 2, RFC 9651: whatever is upstream and in the target, the field is a list, and the last member ours.
    #[test]
    fn cache_status_is_a_list_whatever_is_there(
        upstream in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..3),
        path in "[ -~]{0,30}",
        fields in proptest::collection::vec((0..8_usize, "[ -~]{0,20}"), 0..4),
    ) {
        let names = ["host", "x-forwarded-host", "cookie", "authorization", "cache-control", "if-none-match", "range", "x-a"];
        let Ok(uri) = format!("/{}", path.replace([' ', '#', '"', '<', '>'], "")).parse::<http::Uri>() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (stack, ..) = standing(proxy().cache_status_key(true), move |_, _| {
                let mut response = with_lines(&[("cache-control", "max-age=60"), ("vary", "x-a")], "x");
                for line in upstream.iter().filter(|line| !line.trim_ascii().is_empty()) {
                    if let Ok(value) = http::HeaderValue::from_bytes(line) {
                        response.headers_mut().append("cache-status", value);
                    }
                }
                response
            });
            for method in ["GET", "GET", "HEAD", "POST"] {
                let mut request = request(method, "/", &[]);
                *request.uri_mut() = uri.clone();
                for (at, value) in &fields {
                    request.headers_mut().append(names[*at], value.parse().expect("printable"));
                }
                let answer = send(&stack, request).await;
                let lines: Vec<_> = answer.headers.get_all("cache-status").iter().map(|v| v.as_bytes()).collect();
                let list: sfv::List = sfv::Parser::new(&lines.join(&b", "[..])).parse().expect("a list");
                let Some(sfv::ListEntry::Item(item)) = list.last() else { panic!("no item") };
                let sfv::BareItem::Token(token) = &item.bare_item else { panic!("no token") };
                assert_eq!(token.as_str(), "tower-response-cache");
                assert!(item.params.contains_key("hit") != (item.params.contains_key("fwd") || answer.status == 504));
            }
        });
    }
}

/// Directives of the request with a page that was softly invalidated, or must be validated, within its windows.
#[tokio::test(start_paused = true)]
async fn who_asks_for_more_than_is_there_is_not_given_what_is_stale() {
    use tower_response_cache::Invalidation;
    for (said, asked, soft, answered) in [
        ("max-age=60, stale-while-revalidate=600", "min-fresh=1", true, false),
        ("max-age=60, stale-while-revalidate=600", "no-cache", true, false),
        ("max-age=60, stale-while-revalidate=600", "max-age=0", true, false),
        ("max-age=60, stale-while-revalidate=600", "max-stale", true, true),
        ("max-age=60, stale-while-revalidate=600, must-revalidate", "max-stale", true, false),
        ("max-age=60, stale-while-revalidate=600", "min-fresh=1", false, false),
        ("s-maxage=60, stale-while-revalidate=600", "max-stale", false, false),
        ("max-age=60, stale-while-revalidate=600", "only-if-cached", false, true),
        ("max-age=60, stale-while-revalidate=600", "only-if-cached, min-fresh=1", false, false),
    ] {
        let (cache, hand) = timed();
        let (inner, _) = origin(move |_, call| numbered(&[("cache-control", said)], call));
        let stack =
            SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
        send(&stack, get("/")).await;
        hand.advance(if soft { SECOND } else { 61 * SECOND });
        if soft {
            cache.invalidate(Invalidation::path("/").soft()).await.expect("the store answers");
        }
        let answer = send(&stack, get_with("/", &[("cache-control", asked)])).await;
        assert_eq!(answer.is_hit(), answered, "{said}: {asked} {soft} {:?}", answer.headers);
    }
}

/// A HEAD and what it says in combination with others' features.
#[tokio::test]
async fn a_head_lengthens_nothing_that_it_contradicts() {
    for (later, hit) in [
        (&[("cache-control", "max-age=600")][..], true),
        (&[("cache-control", "max-age=600"), ("etag", "\"2\"")], false),
        (&[("cache-control", "max-age=600"), ("content-length", "99")], false),
        (&[("cache-control", "max-age=600"), ("content-length", "x")], false),
        (&[("cache-control", "max-age=600"), ("vary", "*")], false),
        (&[("cache-control", "max-age=600"), ("age", "700")], false),
        (&[("cdn-cache-control", "no-store")], false),
        (&[("cache-control", "max-age=600, no-store, must-understand")], true),
    ] {
        let (stack, _, hand) = standing(proxy(), move |request, call| match request.method().as_str() {
            "HEAD" => with_lines(later, ""),
            _ => numbered(&[("cache-control", "max-age=60"), ("etag", "\"1\"")], call),
        });
        send(&stack, get("/")).await;
        hand.advance(61 * SECOND);
        send(&stack, request("HEAD", "/", &[])).await;
        assert_eq!(send(&stack, get("/")).await.is_hit(), hit, "{later:?}");
    }
}

/// RFC 9111 section 4.2.4.
#[tokio::test(start_paused = true)]
async fn what_one_client_takes_stale_is_not_given_to_who_waits() {
    let inner = service_fn(|request: Request<Body>| async move {
        let takes = field(&request, "cache-control").contains("max-stale");
        tokio::time::sleep(SECOND).await;
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        // A cache further on.
        Ok::<_, Infallible>(match takes {
            true => with_lines(&[&lines[..], &[("age", "5000")]].concat(), "stale"),
            false => with_lines(&lines, "fresh"),
        })
    });
    let stack =
        SiteCacheLayer::new(&memory()).policy(proxy().build().expect("a policy")).layer(inner).boxed_clone();
    let (one, two) =
        tokio::join!(send(&stack, get_with("/", &[("cache-control", "max-stale")])), send(&stack, get("/")));
    assert_eq!([one.text(), two.text()], ["stale", "fresh"], "{:?}", two.headers);
}

/// RFC 9111 section 4.2.1: "caches are encouraged to consider responses that have invalid freshness information … stale".
#[tokio::test]
async fn what_can_not_be_read_is_not_the_same_as_nothing() {
    let mut stored = Vec::new();
    for said in [
        "private; max-age=60",
        "private; max-age=0",
        "no-store; no-cache; must-revalidate",
        "no-cache private",
        "\"private\"",
        "private\u{1}",
    ] {
        let lm = date(-1_000_000);
        let Ok(value) = http::HeaderValue::from_str(said) else { continue };
        let (stack, ..) = standing(proxy(), move |_, call| {
            let mut response = numbered(&[("last-modified", &lm)], call);
            response.headers_mut().insert("cache-control", value.clone());
            response
        });
        if shares(&stack, get("/"), get("/")).await {
            stored.push(said);
        }
    }
    assert!(stored.is_empty(), "{stored:?}");
}

/// RFC 9110 section 15.3.7.2.
#[tokio::test]
async fn several_parts_have_no_content_range_in_the_head() {
    let (stack, ..) = standing(proxy(), |_, _| {
        with_lines(
            &[("cache-control", "max-age=60"), ("content-range", "bytes 0-999/1000")],
            vec![b'x'; 1000],
        )
    });
    send(&stack, get("/")).await;
    let answer = send(&stack, get_with("/", &[("range", "bytes=0-0,900-901")])).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-range")), (206, None));
}

/// RFC 9651 section 4.2.1: a list begins with a member.
#[tokio::test]
async fn an_empty_line_of_cache_status_does_not_hide_ours() {
    for line in ["", " "] {
        let (stack, ..) = standing(proxy(), move |_, call| numbered(&[("cache-status", line)], call));
        let answer = send(&stack, get("/")).await;
        let lines: Vec<_> = answer.headers.get_all("cache-status").iter().map(|v| v.as_bytes()).collect();
        let text = lines.join(&b", "[..]);
        let list: Result<sfv::List, _> = sfv::Parser::new(&text).parse();
        assert!(list.is_ok(), "{:?}", std::str::from_utf8(&text));
    }
}

/// What a 304 may well say.
#[tokio::test]
async fn a_304_with_the_validators_of_what_is_stored_updates_it() {
    let same = date(-1000);
    type Lines = Vec<(&'static str, String)>;
    let table: [(Lines, Lines); 4] = [
        (vec![("last-modified", same.clone())], vec![("last-modified", same.clone())]),
        (vec![("last-modified", same.clone())], vec![]),
        (
            vec![("etag", "\"a\"".into()), ("last-modified", same.clone())],
            vec![("last-modified", same.clone())],
        ),
        (vec![("etag", "\"a\"".into())], vec![]),
    ];
    for (own, given) in table {
        let (first, later) = (own.clone(), given.clone());
        let (stack, calls, hand) = standing(proxy(), move |_, call| {
            let lines = if call == 1 { &first } else { &later };
            let mut lines: Vec<_> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
            lines.push(("cache-control", "max-age=60"));
            if call == 1 { with_lines(&lines, "old") } else { with_status(304, with_lines(&lines, "")) }
        });
        send(&stack, get("/")).await;
        hand.advance(61 * SECOND);
        assert_eq!(send(&stack, get("/")).await.text(), "old");
        assert!(send(&stack, get("/")).await.is_hit(), "{own:?} {given:?}");
        assert_eq!(calls.count(), 2);
    }
}

/// RFC 9111 section 3.5 with RFC 9213 section 2.2, and Set-Cookie.
#[tokio::test]
async fn authorization_and_targeted_fields() {
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

/// Vary, absent and empty, several lines, normalised.
#[tokio::test]
async fn vary_at_its_corners() {
    type Lines = &'static [(&'static str, &'static str)];
    let table: [(&str, Lines, Lines, bool); 13] = [
        ("accept-language", &[], &[("accept-language", "")], false),
        ("accept-language", &[("accept-language", "")], &[("accept-language", ",")], true),
        (
            "accept-language",
            &[("accept-language", "de"), ("accept-language", "en")],
            &[("accept-language", "DE,en")],
            true,
        ),
        ("accept-language", &[("accept-language", "de, en")], &[("accept-language", "en, de")], false),
        ("accept-language", &[("accept-language", "de;q=0.5")], &[("accept-language", "de; q=0.5")], true),
        ("accept-language", &[("accept-language", "de;q=0.5")], &[("accept-language", "de;q=0.50")], false),
        ("accept-encoding", &[("accept-encoding", "gzip;q=0")], &[("accept-encoding", "gzip")], false),
        ("accept-encoding", &[("accept-encoding", "\"gzip")], &[("accept-encoding", "\"GZIP")], false),
        ("x-a, X-B", &[("x-a", "1"), ("x-b", "2")], &[("x-b", "2"), ("x-a", "1")], true),
        ("x-a, X-B", &[("x-a", "1")], &[("x-b", "1")], false),
        ("x-a", &[("x-a", "1"), ("x-a", "2")], &[("x-a", "2"), ("x-a", "1")], false),
        ("x-a, *", &[], &[], false),
        ("x-a\u{20}x-b", &[], &[], false),
    ];
    for (vary, one, other, shared) in table {
        let (stack, ..) = standing(proxy(), move |_, call| {
            numbered(&[("cache-control", "max-age=60"), ("vary", vary)], call)
        });
        assert_eq!(
            shares(&stack, get_with("/", one), get_with("/", other)).await,
            shared,
            "{vary} {one:?} {other:?}"
        );
        assert_eq!(
            shares(&stack, get_with("/", other), get_with("/", other)).await,
            !vary.contains(['*', '\u{20}']) || vary == "x-a, X-B"
        );
    }
}

/// RFC 9111 section 5.2.1.2, RFC 5861 sections 3 and 4: by how much the lifetime is exceeded.
#[tokio::test(start_paused = true)]
async fn what_came_stale_has_been_so_before_it_came() {
    let mut failed = Vec::new();
    for (said, asked, fails) in [
        ("max-age=10", "max-stale=5", false),
        ("max-age=10, stale-while-revalidate=20", "", false),
        ("max-age=10, stale-if-error=20", "", true),
    ] {
        let (stack, calls, _) = standing(proxy(), move |_, call| match call {
            1 => numbered(&[("cache-control", said), ("etag", "\"1\""), ("age", "5000")], call),
            _ if fails => with_status(503, numbered(&[], call)),
            _ => numbered(&[("cache-control", said), ("etag", "\"2\"")], call),
        });
        send(&stack, get("/")).await;
        let lines: &[_] = if asked.is_empty() { &[] } else { &[("cache-control", asked)] };
        let answer = send(&stack, get_with("/", lines)).await;
        if answer.text() != "2" {
            failed.push((said, asked, answer.headers, calls.count()));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// RFC 9111 section 4.3.2.
#[tokio::test]
async fn without_last_modified_a_date_is_compared_with_date() {
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
