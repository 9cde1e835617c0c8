//! Conditional requests that the cache answers.

use crate::support::rfc9111::{SECOND, date, proxy, standing, with_status};
use crate::support::selected::{modified, selecting};
use crate::support::*;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::precondition::EntityTag;
use tower_response_cache::{Policy, PreconditionLayer, SiteCacheLayer};

/// RFC 9110 section 15.4.5 and RFC 9213.
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
    let (stack, _, manual) = standing(proxy(), |_, call| {
        let now = date(0);
        numbered(&[("cache-control", "max-age=60"), ("date", &now)], call)
    });
    send(&stack, get("/")).await;
    manual.advance(SECOND);
    for after in [0, 10] {
        let answer = send(&stack, get_with("/", &[("if-modified-since", &date(after))])).await;
        assert_eq!(answer.status, 304, "{after}");
    }
}

/// The old and the new response have the same `Date`, so dates cannot tell them apart.
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
        let answer = send(&stack, get_with("/", &[("if-modified-since", &sent)])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

type Lines = &'static [(&'static str, &'static str)];
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// RFC 9110 section 13.1.1: "the condition is false if the origin server does not have a current
/// representation".
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
            let answer = send(&PreconditionLayer::by_get().layer(inner), request("PUT", "/", &any)).await;
            assert_eq!(answer.status.as_u16(), expected, "by_get, {status}: {lines:?}");
        }
    }
    let dated = PreconditionLayer::new()
        .last_modified(|request| async move { (request.uri.path() != "/none").then(modified) })
        .layer(origin(|_, call| numbered(&[], call)).0);
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(send(&dated, request(method, "/", &any)).await.status, 200, "{method}");
        assert_eq!(send(&dated, request(method, "/none", &any)).await.status, 412, "{method}");
    }
}

/// RFC 9110 sections 8.8.3 and 15.5.13: the client learns the current validators.
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
    let functions = PreconditionLayer::new()
        .etag(|_| async { Some(EntityTag::strong("a")) })
        .last_modified(|_| async { Some(modified()) })
        .layer(origin(|_, call| numbered(&[], call)).0);
    let by_get = PreconditionLayer::by_get().layer(origin(move |_, _| with_lines(lines, "page")).0);
    for condition in [("if-match", "\"b\""), ("if-none-match", "*"), ("if-match", "W/\"a\"")] {
        let put = || request("PUT", "/", &[condition]);
        assert_eq!(of(send(&functions, put()).await), expected, "functions: {condition:?}");
        assert_eq!(of(send(&by_get, put()).await), expected, "by_get: {condition:?}");
    }
}

/// RFC 9110 section 5.6.7: a two-digit year that would be "more than 50 years in the future" means
/// "the most recent year in the past that had the same last two digits".
#[tokio::test]
async fn a_two_digit_year_is_at_most_50_years_in_the_future() {
    let year = 365 * 24 * 3600;
    let now = SystemTime::now();
    for (after, is_fresh) in
        [(1, true), (30, true), (44, true), (49, true), (52, false), (60, false), (90, false)]
    {
        // For example, "Mon, 30 Nov 2026 09:40:16 GMT".
        let text = httpdate::fmt_http_date(now + Duration::from_secs(after * year));
        let expires = format!("Monday, {}-{}-{} {}", &text[5..7], &text[8..11], &text[14..16], &text[17..]);
        let (stack, _) = site(proxy(), move |_, call| numbered(&[("expires", &expires)], call));
        send(&stack, get("/")).await;
        assert_eq!(send(&stack, get("/")).await.is_hit(), is_fresh, "{text}");
    }
}

const EARLIER: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

#[tokio::test]
async fn a_hit_answers_preconditions() {
    let lines =
        [("etag", "\"a\""), ("last-modified", MODIFIED), ("content-type", "text/html"), ("vary", "accept")];
    let (stack, calls) = site(policy(), move |_, _| with_lines(&lines, "0123456789"));
    send(&stack, get("/")).await;
    let table: [(&[(&str, &str)], u16); 9] = [
        (&[("if-none-match", "\"a\"")], 304),
        (&[("if-none-match", "\"b\", W/\"a\"")], 304),
        (&[("if-none-match", "\"b\"")], 200),
        (&[("if-none-match", "a")], 200),
        (&[("if-modified-since", MODIFIED)], 304),
        (&[("if-modified-since", EARLIER)], 200),
        (&[("if-match", "\"a\"")], 200),
        (&[("if-match", "\"b\"")], 412),
        (&[("if-unmodified-since", EARLIER)], 412),
    ];
    for (conditions, status) in table {
        for method in ["GET", "HEAD"] {
            let answer = send(&stack, request(method, "/", conditions)).await;
            assert_eq!((answer.status.as_u16(), answer.is_hit()), (status, true), "{method} {conditions:?}");
            if status != 200 {
                assert!(answer.body.is_empty());
                assert_eq!((answer.header("content-type"), answer.header("content-length")), (None, None));
                assert_eq!((answer.header("etag"), answer.header("vary")), (Some("\"a\""), Some("accept")));
            }
        }
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_304_from_the_cache_has_age_and_the_date_of_the_origin() {
    let (cache, manual) = timed();
    let (inner, _) =
        origin(|_, _| with_lines(&[("etag", "\"a\""), ("date", "Thu, 01 Jan 2026 00:00:00 GMT")], "x"));
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    manual.advance(Duration::from_secs(7));
    let answer = send(&stack, get_with("/", &[("if-none-match", "\"a\"")])).await;
    assert_eq!((answer.status.as_u16(), answer.header("age")), (304, Some("7")));
    assert_eq!(answer.header("date"), Some("Thu, 01 Jan 2026 00:00:00 GMT"));
}

#[tokio::test]
async fn a_proxy_leaves_a_failing_precondition_to_the_origin() {
    let (stack, calls) = site(Policy::rfc9111().cache_status(true), |request, call| {
        let lines = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        let mut response = numbered(&lines, call);
        if request.headers().contains_key("if-match") {
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
        }
        response
    });
    send(&stack, get("/")).await;
    assert!(send(&stack, get_with("/", &[("if-match", "\"a\"")])).await.is_hit());
    let refused = send(&stack, get_with("/", &[("if-match", "\"b\"")])).await;
    assert_eq!((refused.status.as_u16(), calls.count()), (412, 2));
    assert!(send(&stack, get("/")).await.is_hit());
}

#[tokio::test]
async fn a_conditional_request_on_a_cold_key_fills_the_cache() {
    // The frames of the body are sent after the client has received the 304.
    let (sender, receiver) = futures::channel::mpsc::channel(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let cache = memory();
    let inner = service_fn(move |request: Request<Body>| {
        assert!(!request.headers().contains_key("if-none-match"), "the condition must not be forwarded");
        let frames = receiver.lock().expect("no panic").take().expect("called once");
        let frames = frames
            .map(|text: &'static str| Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes()))));
        async move {
            let mut response = Response::new(StreamBody::new(frames));
            response.headers_mut().insert("etag", "\"a\"".parse().expect("a value"));
            Ok::<_, Infallible>(response)
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let response =
        stack.clone().oneshot(get_with("/", &[("if-none-match", "\"a\"")])).await.expect("infallible");
    assert_eq!(response.status(), 304);
    assert_eq!(read(response).await.body.len(), 0);
    let mut sender = sender;
    for text in ["first ", "second"] {
        futures::SinkExt::send(&mut sender, text).await.expect("the cache records the body");
    }
    drop(sender);
    while cache.flights() > 0 {
        tokio::task::yield_now().await;
    }
    let hit = read(stack.oneshot(get("/")).await.expect("infallible")).await;
    assert_eq!((hit.text(), hit.is_hit()), ("first second", true));
}

#[tokio::test]
async fn a_miss_with_another_validator_gets_the_whole_response() {
    for lines in [&[("etag", "\"other\"")][..], &[]] {
        let (stack, _) = site(policy(), move |_, _| with_lines(lines, "page"));
        let answer = send(&stack, get_with("/", &[("if-none-match", "\"a\"")])).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "page"));
        assert!(send(&stack, get("/")).await.is_hit());
    }
}

#[tokio::test]
async fn a_no_store_response_answers_if_none_match_with_304() {
    let (stack, _) =
        site(policy(), |_, _| with_lines(&[("etag", "\"a\""), ("cache-control", "no-store")], "page"));
    let answer = send(&stack, get_with("/", &[("if-none-match", "\"a\"")])).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0));
}

#[tokio::test]
async fn stored_responses_get_generated_etags_if_enabled() {
    let (stack, calls) =
        site(policy().etags(true).strong_etags(true), |request, _| match request.uri().path() {
            "/own" => with_lines(&[("etag", "\"own\"")], "page"),
            _ => with_lines(&[], "page"),
        });
    for path in ["/own", "/"] {
        send(&stack, get(path)).await;
    }
    assert_eq!(send(&stack, get("/own")).await.header("etag"), Some("\"own\""));
    let hit = send(&stack, get("/")).await;
    let tag = hit.header("etag").expect("a tag").to_owned();
    // The first half of the SHA-256 of "page".
    assert_eq!(tag, "\"3660315a9af3df255d8f19ab077e4797\"");
    let answer = send(&stack, get_with("/", &[("if-none-match", &tag)])).await;
    assert_eq!((answer.status.as_u16(), calls.count()), (304, 2));
}

#[tokio::test]
async fn a_generated_etag_does_not_depend_on_frames() {
    let tags = futures::future::join_all([1, 3, 10].map(|frame| async move {
        let inner = service_fn(move |_: Request<Body>| {
            let frames: Vec<_> = b"0123456789".chunks(frame).map(Bytes::copy_from_slice).collect();
            let frames =
                futures::stream::iter(frames.into_iter().map(|data| Ok::<_, Infallible>(Frame::data(data))));
            async move { Ok::<_, Infallible>(Response::new(StreamBody::new(frames))) }
        });
        let stack = SiteCacheLayer::new(&memory())
            .policy(policy().etags(true).build().expect("a policy"))
            .layer(inner);
        for _ in 0..2 {
            let answer = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
            if let Some(tag) = answer.header("etag") {
                return tag.to_owned();
            }
        }
        panic!("no tag");
    }))
    .await;
    assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
}

#[tokio::test]
async fn a_stored_error_is_sent_whole_despite_conditions() {
    let (stack, _) = site(policy(), |_, _| {
        let mut response = Response::new(Full::new(Bytes::from_static(b"gone")));
        *response.status_mut() = StatusCode::NOT_FOUND;
        for (name, value) in [("cache-control", "max-age=60"), ("etag", "\"a\""), ("last-modified", MODIFIED)]
        {
            response.headers_mut().insert(name, value.parse().expect("a value"));
        }
        response
    });
    send(&stack, get("/")).await;
    for condition in [("if-none-match", "\"a\""), ("if-modified-since", LATER), ("range", "bytes=0-0")] {
        let answer = send(&stack, get_with("/", &[condition])).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (404, "gone"), "{condition:?}");
    }
}

#[tokio::test]
async fn a_412_or_416_from_the_cache_is_no_store() {
    let lines = [("cache-control", "public, s-maxage=3600"), ("expires", LATER), ("etag", "\"a\"")];
    let (stack, _) = site(policy(), move |_, _| with_lines(&lines, "page"));
    send(&stack, get("/")).await;
    for (own, status) in [(("if-match", "\"b\""), 412), (("range", "bytes=99-"), 416)] {
        let answer = send(&stack, get_with("/", &[own])).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (status, Some("no-store")));
        assert_eq!((answer.header("expires"), answer.header("age")), (None, None));
    }
}

#[tokio::test]
async fn the_body_of_a_304_has_no_declared_length() {
    let (stack, _) = site(policy(), |_, _| with_lines(&[("etag", "\"a\"")], "page"));
    send(&stack, get("/")).await;
    let response = stack.oneshot(get_with("/", &[("if-none-match", "\"a\"")])).await.expect("infallible");
    let body = response.body();
    assert_eq!(
        (http_body::Body::size_hint(body).exact(), http_body::Body::is_end_stream(body)),
        (None, true)
    );
}
