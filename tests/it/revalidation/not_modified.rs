//! Conditional and range requests answered from the cache, and stale responses revalidated.

use crate::support::*;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{Cache, CacheHints, Invalidation, ManualClock, Policy, SiteCacheLayer};

const EARLIER: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

fn not_modified(lines: &[(&str, &str)]) -> Response<Body> {
    let mut response = with_lines(lines, "");
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// The `ETag` of the current version.
type Version = Arc<Mutex<String>>;
/// The requests that the origin was sent.
type Seen = Arc<Mutex<Vec<Request<()>>>>;

/// An origin that knows its own version, in `ETag`, and answers 304 to who has it.
fn versioned(cache: &Cache, cache_control: &'static str) -> (Stack, Calls, Version, Seen) {
    let (version, seen) = (Arc::new(Mutex::new("\"1\"".to_owned())), Arc::new(Mutex::new(Vec::new())));
    let (current, log) = (Arc::clone(&version), Arc::clone(&seen));
    let (inner, calls) = origin(move |request, call| {
        let (parts, _) = request.clone().into_parts();
        log.lock().expect("no panic").push(Request::from_parts(parts, ()));
        let tag = current.lock().expect("no panic").clone();
        let lines = [("cache-control", cache_control), ("etag", &tag), ("x-call", &call.to_string())];
        match request.headers().get("if-none-match") {
            Some(given) if *given == *tag => not_modified(&lines),
            _ => with_lines(&lines, format!("page of {tag}")),
        }
    });
    (site_over(cache, inner), calls, version, seen)
}

fn timed_versioned(cache_control: &'static str) -> (Stack, Calls, Version, Seen, ManualClock) {
    let (cache, hand) = timed();
    let (stack, calls, version, seen) = versioned(&cache, cache_control);
    (stack, calls, version, seen, hand)
}

#[tokio::test]
async fn a_hit_answers_preconditions_by_itself() {
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
async fn a_304_from_the_cache_tells_its_age_and_keeps_the_date_of_the_origin() {
    let (cache, hand) = timed();
    let (inner, _) =
        origin(|_, _| with_lines(&[("etag", "\"a\""), ("date", "Thu, 01 Jan 2026 00:00:00 GMT")], "x"));
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    hand.advance(Duration::from_secs(7));
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
async fn a_hit_is_cut_into_ranges() {
    let lines = [("etag", "\"a\""), ("content-type", "text/plain"), ("content-length", "1000")];
    let body: String = (0..1000).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
    let whole = body.clone();
    let (stack, calls) = site(policy(), move |_, _| with_lines(&lines, body.clone()));
    send(&stack, get("/")).await;
    let range = |value| get_with("/", &[("range", value)]);

    let part = send(&stack, range("bytes=1-3")).await;
    assert_eq!((part.status.as_u16(), part.text(), part.is_hit()), (206, &whole[1..4], true));
    assert_eq!(part.header("content-range"), Some("bytes 1-3/1000"));
    assert_eq!((part.header("content-length"), part.header("etag")), (Some("3"), Some("\"a\"")));
    assert_eq!(send(&stack, range("bytes=-2")).await.text(), &whole[998..]);

    let several = send(&stack, range("bytes=0-1,500-501")).await;
    assert_eq!(several.status.as_u16(), 206);
    let content_type = several.header("content-type").expect("a type");
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").expect("multipart");
    let parts: Vec<_> = several.text().split(&format!("--{boundary}")).collect();
    assert_eq!((parts.len(), parts[3]), (4, "--\r\n"));
    assert!(parts[1].contains("content-range: bytes 0-1/1000\r\n\r\nab"), "{}", parts[1]);
    assert!(
        parts[2].contains("content-type: text/plain\r\ncontent-range: bytes 500-501/1000"),
        "{}",
        parts[2]
    );
    assert_eq!(several.header("content-length"), Some(&*several.body.len().to_string()));
    assert_eq!(several.header("content-range"), None);

    let nothing = send(&stack, range("bytes=1000-")).await;
    assert_eq!((nothing.status.as_u16(), nothing.header("content-range")), (416, Some("bytes */1000")));
    for ignored in ["bytes=3-1", "lines=1-2", "bytes=0-,0-,0-"] {
        assert_eq!(send(&stack, range(ignored)).await.status, 200, "{ignored}");
    }
    let conditional = |tag| get_with("/", &[("range", "bytes=1-3"), ("if-range", tag)]);
    assert_eq!(send(&stack, conditional("\"a\"")).await.status, 206);
    assert_eq!(send(&stack, conditional("\"b\"")).await.status, 200);
    assert_eq!(send(&stack, conditional("W/\"a\"")).await.status, 200);
    let head = send(&stack, request("HEAD", "/", &[("range", "bytes=1-3")])).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, Some("1000")));
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_range_on_a_cold_key_goes_to_the_service_as_it_is_and_its_part_is_not_stored() {
    let (stack, calls) = site(policy(), |request, call| {
        let mut response = numbered(&[("etag", "\"a\"")], call);
        if request.headers().contains_key("range") {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert("content-range", "bytes 0-0/1".parse().expect("a value"));
        }
        response
    });
    let range = || get_with("/", &[("range", "bytes=0-0"), ("if-range", "\"a\"")]);
    assert_eq!(send(&stack, range()).await.status, 206);
    assert_eq!(send(&stack, get("/")).await.status, 200);
    assert_eq!((send(&stack, range()).await.status.as_u16(), calls.count()), (206, 2));
}

#[tokio::test]
async fn a_stale_response_is_revalidated_by_conditions_of_the_caches_own() {
    let (stack, calls, version, seen, hand) = timed_versioned("max-age=60");
    send(&stack, get_with("/", &[("if-none-match", "\"mine\"")])).await;
    hand.advance(MINUTE);
    let answer = send(&stack, get_with("/", &[("if-none-match", "\"mine\"")])).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (200, "page of \"1\""),
        "the client's copy is another one"
    );
    assert_eq!((answer.header("x-call"), answer.detail()), (Some("2"), Some("revalidated")));
    let asked: Vec<_> =
        seen.lock().expect("no panic").iter().map(|r| r.headers().get("if-none-match").cloned()).collect();
    assert_eq!(asked, [None, Some("\"1\"".parse().expect("a value"))]);
    assert!(send(&stack, get("/")).await.is_hit(), "it is fresh again");
    // The client of a 304 from the origin did not ask for one.
    hand.advance(MINUTE);
    assert_eq!(send(&stack, get("/")).await.status, 200);
    // A new version replaces the old one.
    *version.lock().expect("no panic") = "\"2\"".to_owned();
    hand.advance(MINUTE);
    assert_eq!(send(&stack, get("/")).await.text(), "page of \"2\"");
    assert_eq!((send(&stack, get("/")).await.is_hit(), calls.count()), (true, 4));
}

#[tokio::test]
async fn who_has_what_was_revalidated_gets_a_304() {
    let (stack, calls, _, _, hand) = timed_versioned("max-age=60");
    send(&stack, get("/")).await;
    hand.advance(MINUTE);
    let answer = send(&stack, get_with("/", &[("if-none-match", "\"1\"")])).await;
    assert_eq!((answer.status.as_u16(), answer.body.len(), calls.count()), (304, 0, 2));
}

#[tokio::test]
async fn no_cache_and_max_age_0_are_stored_with_a_validator_and_revalidated_each_time() {
    for cache_control in ["no-cache", "max-age=0, must-revalidate", "no-cache, max-age=60"] {
        let (stack, calls, _, seen, _) = timed_versioned(cache_control);
        for call in 1..=3 {
            let answer = send(&stack, get("/")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text(), answer.is_hit()),
                (200, "page of \"1\"", false)
            );
            assert_eq!(calls.count(), call, "{cache_control}");
        }
        let asked = seen
            .lock()
            .expect("no panic")
            .iter()
            .filter(|r| r.headers().contains_key("if-none-match"))
            .count();
        assert_eq!(asked, 2, "{cache_control}");
    }
}

#[tokio::test]
async fn a_304_updates_what_is_stored_but_not_what_describes_its_body() {
    let (cache, hand) = timed();
    let (inner, _) = origin(|request, _| {
        if request.headers().contains_key("if-none-match") {
            let lines = [("cache-control", "max-age=10"), ("x-note", "new"), ("content-type", "text/plain")];
            return not_modified(&lines);
        }
        let lines = [
            ("cache-control", "max-age=60"),
            ("etag", "\"a\""),
            ("x-note", "old"),
            ("content-type", "text/html"),
        ];
        with_lines(&lines, "page")
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    hand.advance(MINUTE);
    for _ in 0..2 {
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.header("x-note")), ("page", Some("new")));
        assert_eq!(
            (answer.header("content-type"), answer.header("etag")),
            (Some("text/html"), Some("\"a\""))
        );
    }
    hand.advance(Duration::from_secs(9));
    assert!(send(&stack, get("/")).await.is_hit());
    hand.advance(Duration::from_secs(1));
    assert!(!send(&stack, get("/")).await.is_hit(), "the new lifetime counts");
}

#[tokio::test]
async fn a_304_that_forbids_storing_is_answered_once_and_not_kept() {
    for line in [("cache-control", "no-store"), ("set-cookie", "sid=1")] {
        let (cache, hand) = timed();
        let (inner, calls) = origin(move |request, _| {
            if request.headers().contains_key("if-none-match") {
                return not_modified(&[line]);
            }
            with_lines(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "page")
        });
        let stack = site_over(&cache, inner);
        send(&stack, get("/")).await;
        hand.advance(MINUTE);
        for call in 2..=3 {
            let answer = send(&stack, get("/")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text(), answer.is_hit()),
                (200, "page", false),
                "{line:?}"
            );
            assert_eq!(calls.count(), call, "{line:?}");
        }
    }
}

#[tokio::test]
async fn a_stale_response_is_not_asked_about_on_behalf_of_a_range_or_a_precondition() {
    for own in [("range", "bytes=0-0"), ("if-match", "\"1\"")] {
        let (stack, _, _, seen, hand) = timed_versioned("max-age=60");
        send(&stack, get("/")).await;
        hand.advance(MINUTE);
        assert_eq!(send(&stack, get_with("/", &[own])).await.status, 200, "{own:?}");
        let seen = seen.lock().expect("no panic");
        let sent = seen.last().expect("a request").headers();
        assert!(sent.contains_key(own.0) && !sent.contains_key("if-none-match"), "{own:?}");
    }
}

#[tokio::test]
async fn what_was_invalidated_is_not_asked_about() {
    let (cache, _) = timed();
    let (stack, _, _, seen) = versioned(&cache, "max-age=60");
    send(&stack, get("/")).await;
    cache.invalidate(Invalidation::path("/")).await.expect("local");
    send(&stack, get("/")).await;
    assert!(seen.lock().expect("no panic").iter().all(|r| !r.headers().contains_key("if-none-match")));
}

#[tokio::test]
async fn an_error_of_a_revalidation_is_passed_on_and_what_is_stored_can_be_asked_about_again() {
    let (cache, hand) = timed();
    let (inner, _) = origin(|request, call| {
        if call == 2 {
            let mut response = with_lines(&[], "down");
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return response;
        }
        let lines = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        if request.headers().contains_key("if-none-match") {
            not_modified(&lines)
        } else {
            with_lines(&lines, "page")
        }
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    hand.advance(MINUTE);
    assert_eq!(send(&stack, get("/")).await.status, 502);
    let again = send(&stack, get("/")).await;
    assert_eq!((again.text(), again.detail()), ("page", Some("revalidated")));
}

#[tokio::test(start_paused = true)]
async fn collapsed_requests_share_a_revalidation() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        counted.next();
        let lines = [("cache-control", "no-cache"), ("etag", "\"a\"")];
        let asked = request.headers().contains_key("if-none-match");
        async move {
            sleep(Duration::from_millis(50)).await;
            Ok::<_, Infallible>(if asked { not_modified(&lines) } else { with_lines(&lines, "page") })
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    for round in 1..=2 {
        let requests = (0..100).map(|number| {
            let own = [("if-none-match", "\"a\"")];
            let request = if number % 2 == 0 { get("/") } else { get_with("/", &own) };
            let stack = stack.clone();
            async move { (number, send(&stack, request).await) }
        });
        for (number, answer) in futures::future::join_all(requests).await {
            let expected = if number % 2 == 0 { (200, "page") } else { (304, "") };
            assert_eq!((answer.status.as_u16(), answer.text()), expected, "round {round}, {number}");
        }
        assert_eq!(calls.count(), round);
    }
}

#[tokio::test]
async fn only_the_variant_asked_for_is_revalidated_and_each_keeps_its_own() {
    let (cache, hand) = timed();
    let (inner, calls) = origin(|request, _| {
        let language = request.headers()["accept-language"].to_str().expect("text").to_owned();
        let tag = format!("\"{language}\"");
        let lines = [("cache-control", "max-age=60"), ("etag", &*tag), ("vary", "accept-language")];
        let asked = request.headers().get("if-none-match").is_some_and(|given| *given == *tag);
        if asked { not_modified(&lines) } else { with_lines(&lines, language) }
    });
    let stack = site_over(&cache, inner);
    let page = async |language| send(&stack, get_with("/", &[("accept-language", language)])).await;
    for language in ["en", "de"] {
        page(language).await;
    }
    hand.advance(MINUTE);
    for language in ["en", "de"] {
        let answer = page(language).await;
        assert_eq!((answer.text(), answer.detail()), (language, Some("revalidated")));
        assert!(page(language).await.is_hit());
    }
    assert_eq!(calls.count(), 4);
}

#[tokio::test]
async fn variants_with_the_strong_tag_that_was_validated_are_all_freshened() {
    for (tag, calls_in_all) in [("\"same\"", 3), ("W/\"same\"", 4)] {
        let (cache, hand) = timed();
        let (inner, calls) = origin(move |request, _| {
            let lines = [("cache-control", "max-age=60"), ("etag", tag), ("vary", "user-agent")];
            let asked = request.headers().contains_key("if-none-match");
            if asked { not_modified(&lines) } else { with_lines(&lines, "page") }
        });
        let stack = site_over(&cache, inner);
        let page = async |agent| send(&stack, get_with("/", &[("user-agent", agent)])).await;
        page("a").await;
        page("b").await;
        hand.advance(MINUTE);
        for agent in ["a", "b"] {
            let answer = page(agent).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "page"), "{tag} {agent}");
        }
        assert_eq!(calls.count(), calls_in_all, "{tag}");
    }
}

#[tokio::test]
async fn a_conditional_request_on_a_cold_key_fills_the_cache_and_gets_its_304() {
    // The rest of the body comes after the head was answered with a 304.
    let (sender, receiver) = futures::channel::mpsc::channel(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let cache = memory();
    let inner = service_fn(move |request: Request<Body>| {
        assert!(!request.headers().contains_key("if-none-match"), "forwarded without its condition");
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
        futures::SinkExt::send(&mut sender, text).await.expect("somebody reads");
    }
    drop(sender);
    while cache.flights() > 0 {
        tokio::task::yield_now().await;
    }
    let hit = read(stack.oneshot(get("/")).await.expect("infallible")).await;
    assert_eq!((hit.text(), hit.is_hit()), ("first second", true));
}

#[tokio::test]
async fn where_the_origins_validator_does_not_match_the_whole_response_is_sent() {
    for lines in [&[("etag", "\"other\"")][..], &[]] {
        let (stack, _) = site(policy(), move |_, _| with_lines(lines, "page"));
        let answer = send(&stack, get_with("/", &[("if-none-match", "\"a\"")])).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "page"));
        assert!(send(&stack, get("/")).await.is_hit());
    }
}

#[tokio::test]
async fn even_what_is_not_stored_is_not_sent_to_who_has_it() {
    let (stack, _) =
        site(policy(), |_, _| with_lines(&[("etag", "\"a\""), ("cache-control", "no-store")], "page"));
    let answer = send(&stack, get_with("/", &[("if-none-match", "\"a\"")])).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0));
}

#[tokio::test]
async fn stored_responses_are_given_tags_where_the_policy_says_so() {
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
async fn a_tag_is_the_same_however_the_body_was_cut_into_frames() {
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
async fn a_stored_error_is_sent_whole_whatever_the_conditions() {
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
async fn what_a_handler_hinted_holds_through_a_304_that_says_nothing_of_it() {
    let day = Duration::from_secs(24 * 3600);
    let (cache, hand) = timed();
    let clock = hand.clone();
    let (inner, _) = origin(move |request, _| {
        let tenant = request.headers()["x-tenant"].to_str().expect("text").to_owned();
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        if request.headers().contains_key("if-none-match") {
            // By when the index of the variants would have expired.
            clock.advance(Duration::from_secs(4));
            return not_modified(&lines);
        }
        let mut response = with_lines(&lines, tenant);
        let tenant = http::HeaderName::from_static("x-tenant");
        response.extensions_mut().insert(CacheHints::new().ttl(Duration::from_secs(10)).vary([tenant]));
        response
    });
    let stack = site_over(&cache, inner);
    let page = async |tenant| send(&stack, get_with("/", &[("x-tenant", tenant)])).await;
    page("a").await;
    hand.advance(day - Duration::from_secs(2));
    assert_eq!(page("a").await.detail(), Some("revalidated"));
    assert_eq!(page("b").await.text(), "b", "kept apart by the hint alone");
    hand.advance(Duration::from_secs(10));
    assert!(!page("a").await.is_hit(), "held as long as the hint says, not the field");
}

#[tokio::test]
async fn a_304_whose_handler_hints_never_is_not_stored() {
    let (cache, hand) = timed();
    let (inner, calls) = origin(|request, _| {
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        if !request.headers().contains_key("if-none-match") {
            return with_lines(&lines, "page");
        }
        let mut response = not_modified(&lines);
        response.extensions_mut().insert(CacheHints::new().never());
        response
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    hand.advance(MINUTE);
    for call in 2..=3 {
        assert_eq!((send(&stack, get("/")).await.text(), calls.count()), ("page", call));
    }
}

#[tokio::test]
async fn a_304_about_another_version_relabels_nothing_and_is_asked_about_no_more() {
    for (own, given, status) in [
        (("etag", "\"1\""), ("etag", "\"2\""), 502),
        // A compressor has made the tag of the 200 weak.
        (("etag", "W/\"1\""), ("etag", "\"1\""), 200),
        (("last-modified", EARLIER), ("last-modified", LATER), 502),
    ] {
        let (cache, hand) = timed();
        let (inner, calls) = origin(move |request, call| {
            let asked = request.headers().contains_key("if-none-match")
                || request.headers().contains_key("if-modified-since");
            let line = if call == 1 { own } else { given };
            let lines = [("cache-control", "max-age=60"), line];
            if asked { not_modified(&lines) } else { with_lines(&lines, call.to_string()) }
        });
        let stack = site_over(&cache, inner);
        send(&stack, get("/")).await;
        hand.advance(MINUTE);
        let old = send(&stack, get("/")).await;
        let expected = if status == 200 { ("1", Some(own.1)) } else { ("", None) };
        assert_eq!((old.status.as_u16(), (old.text(), old.header(own.0))), (status, expected));
        assert_eq!(old.detail(), Some("mismatch"));
        let new = send(&stack, get("/")).await;
        assert_eq!((new.text(), new.header(own.0), calls.count()), ("3", Some(given.1), 3));
    }
}

#[tokio::test]
async fn a_304_for_one_origin_changes_no_field_that_is_of_another_ones_variant() {
    let (cache, hand) = timed();
    let (inner, _) = origin(|request, _| {
        let own = request.headers()["origin"].to_str().expect("text").to_owned();
        let allow = ("access-control-allow-origin", own.as_str());
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\""), ("vary", "origin"), allow];
        let asked = request.headers().contains_key("if-none-match");
        if asked { not_modified(&lines) } else { with_lines(&lines, "page") }
    });
    let stack = site_over(&cache, inner);
    let page = async |own| send(&stack, get_with("/", &[("origin", own)])).await;
    for own in ["https://a", "https://b"] {
        page(own).await;
    }
    hand.advance(MINUTE);
    page("https://a").await;
    let other = page("https://b").await;
    assert_eq!((other.is_hit(), other.header("access-control-allow-origin")), (true, Some("https://b")));
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_while_a_follower_waited_is_not_asked_about_by_it() {
    let (cache, hand) = timed();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let call = counted.next();
        async move {
            if call == 2 {
                sleep(Duration::from_millis(100)).await;
                return Ok::<_, Infallible>(with_lines(&[("cache-control", "no-store")], "mine"));
            }
            // Of the same second before and after: the origin takes it for the same version.
            let lines = [("cache-control", "max-age=60"), ("last-modified", MODIFIED)];
            let asked = request.headers().contains_key("if-modified-since");
            Ok(if asked { not_modified(&lines) } else { with_lines(&lines, call.to_string()) })
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    send(&stack, get("/")).await;
    hand.advance(MINUTE);
    let invalidate = async {
        sleep(Duration::from_millis(50)).await;
        cache.invalidate(Invalidation::path("/")).await.expect("local");
    };
    let (_, follower, ()) = futures::join!(send(&stack, get("/")), send(&stack, get("/")), invalidate);
    assert_eq!(follower.text(), "3");
    assert_eq!(send(&stack, get("/")).await.text(), "3", "nothing from before comes back");
}

#[tokio::test]
async fn a_page_to_be_validated_each_time_is_not_shared_with_who_comes_after_it_was_made() {
    let (sender, receiver) = futures::channel::oneshot::channel::<()>();
    let (receiver, calls) = (Arc::new(Mutex::new(Some(receiver))), Calls::default());
    let counted = calls.clone();
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
            for (name, value) in [("cache-control", "no-cache"), ("etag", "\"1\"")] {
                response.headers_mut().insert(name, value.parse().expect("a value"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let streaming = stack.clone().oneshot(get("/")).await.expect("infallible");
    let later = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
    assert_eq!(later.text(), "2");
    sender.send(()).expect("waited for");
    assert_eq!(read(streaming).await.text(), "1");
}

#[tokio::test]
async fn errors_that_one_request_provoked_are_for_no_cache_outside() {
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
async fn no_more_than_so_many_bodies_are_read_for_the_store_alone() {
    let inner = service_fn(|_: Request<Body>| async {
        let frames = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let mut response = Response::new(StreamBody::new(frames));
        response.headers_mut().insert("etag", "\"a\"".parse().expect("a value"));
        Ok::<_, Infallible>(response)
    });
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let mut statuses = Vec::new();
    for number in 0..70 {
        let request = get_with(&format!("/?{number}"), &[("if-none-match", "\"a\"")]);
        statuses.push(stack.clone().oneshot(request).await.expect("infallible").status().as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 304).count(), 64);
    assert!(statuses[64..].iter().all(|status| *status == 200), "the others stream");
}

#[tokio::test]
async fn a_304_states_no_length() {
    let (stack, _) = site(policy(), |_, _| with_lines(&[("etag", "\"a\"")], "page"));
    send(&stack, get("/")).await;
    let response = stack.oneshot(get_with("/", &[("if-none-match", "\"a\"")])).await.expect("infallible");
    let body = response.body();
    assert_eq!(
        (http_body::Body::size_hint(body).exact(), http_body::Body::is_end_stream(body)),
        (None, true)
    );
}

#[tokio::test(start_paused = true)]
async fn a_304_to_an_authorized_request_keeps_nobody_from_collapsing() {
    let (cache, hand) = timed();
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        counted.next();
        let asked = request.headers().contains_key("if-none-match");
        async move {
            sleep(Duration::from_millis(20)).await;
            let lines = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
            Ok::<_, Infallible>(if asked { not_modified(&lines) } else { with_lines(&lines, "page") })
        }
    });
    let stack = SiteCacheLayer::new(&cache)
        .policy(Policy::rfc9111().cache_status(true).build().expect("a policy"))
        .layer(inner);
    send(&stack, get("/")).await;
    hand.advance(MINUTE);
    // Not marked as shareable, so the answer to it is not stored.
    send(&stack, get_with("/", &[("authorization", "Basic bogus")])).await;
    futures::future::join_all((0..20).map(|_| send(&stack, get("/")))).await;
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn a_304_from_a_cache_layer_further_in_is_not_stored_further_out() {
    let (cache, hand) = timed();
    let within = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (inner, _) = origin(|_, _| with_lines(&[("cache-control", "max-age=60"), ("etag", "\"1\"")], "page"));
    let (route, switch) = (route_over(&cache, MINUTE, inner.clone()), Arc::clone(&within));
    // The inner layer comes into play after the outer one has stored the page.
    let either = service_fn(move |request: Request<Body>| {
        let (route, plain) = (route.clone(), inner.clone());
        let within = switch.load(std::sync::atomic::Ordering::SeqCst);
        async move {
            match within {
                true => route.oneshot(request).await,
                false => {
                    Ok(plain.oneshot(request).await?.map(|_| tower_response_cache::ResponseBody::default()))
                }
            }
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(either);
    send(&stack, get("/")).await;
    assert!(send(&stack, get("/")).await.is_hit());
    within.store(true, std::sync::atomic::Ordering::SeqCst);
    hand.advance(MINUTE);
    for _ in 0..3 {
        let answer = send(&stack, get("/")).await;
        let outer = answer.headers.get_all("cache-status").iter().next_back().expect("a status");
        assert!(!outer.to_str().expect("text").contains("; hit"), "{outer:?}");
    }
}
