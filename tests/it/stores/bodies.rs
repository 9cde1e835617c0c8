//! Bodies: streamed as they arrive, stored completely or not at all, and served unchanged.

use crate::support::*;
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{Cache, Policy, SiteCacheLayer};

type Frames = Vec<Result<Frame<Bytes>, io::Error>>;
type Stream = StreamBody<Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, io::Error>> + Send>>>;

fn streamed(frames: Frames) -> Stream {
    StreamBody::new(Box::pin(futures::stream::iter(frames)))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, io::Error> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// Creates a cached service that counts its calls. Each response has these header lines and frames.
fn streaming(
    lines: &'static [(&'static str, &'static str)],
    frames: impl Fn() -> Frames + Clone + Send + Sync + 'static,
) -> (
    impl tower::Service<
        Request<Body>,
        Response = Response<tower_response_cache::response_cache::ResponseBody<Stream>>,
        Error = Infallible,
        Future: Send,
    > + Clone,
    Calls,
    Cache,
) {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        counted.next();
        let mut response = Response::new(streamed(frames()));
        for (name, value) in lines {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        async move { Ok::<_, Infallible>(response) }
    });
    let layer = SiteCacheLayer::new(&cache).policy(policy().max_body_bytes(1000).build().expect("a policy"));
    (layer.layer(inner), calls, cache)
}

#[tokio::test]
async fn many_frames_are_stored_as_one_body() {
    let (stack, calls, cache) = streaming(&[], || vec![data("a"), data(""), data("bc"), data("d")]);
    assert_eq!(send(&stack, get("/")).await.text(), "abcd");
    let hit = send(&stack, get("/")).await;
    assert_eq!((hit.text(), hit.is_hit(), calls.count()), ("abcd", true, 1));
    assert_eq!(cache.recording_bytes(), 0, "the budget is released");
}

#[tokio::test]
async fn a_failing_body_is_not_stored_and_its_error_is_passed_on() {
    let (stack, calls, cache) = streaming(&[], || vec![data("a"), Err(io::Error::other("cut"))]);
    for call in 1..=2 {
        let mut body = stack.clone().oneshot(get("/")).await.expect("infallible").into_body();
        let first = body.frame().await.expect("a frame").expect("data");
        assert_eq!(first.into_data().expect("data"), "a");
        assert!(!body.is_end_stream(), "an error follows");
        let error = body.frame().await.expect("a frame").expect_err("the error");
        assert_eq!(error.to_string(), "cut");
        assert_eq!(calls.count(), call);
    }
    assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
}

#[tokio::test]
async fn a_body_shorter_or_longer_than_declared_is_not_stored() {
    for lines in [&[("content-length", "3")], &[("content-length", "1")]] {
        let (stack, calls, cache) = streaming(lines, || vec![data("a"), data("b")]);
        for _ in 0..2 {
            let response = stack.clone().oneshot(get("/")).await.expect("infallible");
            // With an exact size, a server would keep the connection open for the missing bytes.
            assert!(response.body().size_hint().exact().is_none() && !response.body().is_end_stream());
            assert_eq!(read(response).await.text(), "ab");
        }
        assert_eq!(calls.count(), 2, "{lines:?}");
        assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
    }
}

#[tokio::test]
async fn disagreeing_or_malformed_lengths_are_not_stored() {
    let table: [&[(&str, &str)]; 4] = [
        &[("content-length", "2"), ("content-length", "3")],
        &[("content-length", "2, 2")],
        &[("content-length", "-2")],
        &[("content-length", "18446744073709551616")],
    ];
    for lines in table {
        let (stack, calls, _) = streaming(lines, || vec![data("ab")]);
        send(&stack, get("/")).await;
        send(&stack, get("/")).await;
        assert_eq!(calls.count(), 2, "{lines:?}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_passed_on_and_not_stored() {
    let many = || (0..300).map(|_| data("0123456789")).collect();
    for lines in [&[][..], &[("content-length", "3000")]] {
        let (stack, calls, cache) = streaming(lines, many);
        for _ in 0..2 {
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 3000));
        }
        assert_eq!((calls.count(), cache.flights(), cache.recording_bytes()), (2, 0, 0));
    }
}

#[tokio::test]
async fn recordings_past_their_budget_pass_through() {
    let store = memory_store(1 << 20);
    let cache = Cache::builder(store).recording_bytes(10).build().expect("valid");
    let (inner, calls) = origin(|_, _| with_lines(&[], "more than ten bytes"));
    let stack = site_over(&cache, inner);
    for _ in 0..2 {
        assert_eq!(send(&stack, get("/")).await.text(), "more than ten bytes");
    }
    assert_eq!((calls.count(), cache.recording_bytes()), (2, 0));
}

/// Creates a cached service. The body of `/small` is small and complete. All other bodies hang after
/// a first frame of `large` bytes.
fn with_endless_pages(
    cache: &Cache,
    large: usize,
) -> (
    impl tower::Service<
        Request<Body>,
        Response = Response<tower_response_cache::response_cache::ResponseBody<Stream>>,
        Error = Infallible,
        Future: Send,
    > + Clone,
    Calls,
) {
    let calls = Calls::default();
    let counted = calls.clone();
    let large = Bytes::from(vec![b'x'; large]);
    let inner = service_fn(move |request: Request<Body>| {
        let body: Stream = match request.uri().path() {
            "/small" => streamed(vec![data("a page")]),
            _ => {
                let first = futures::stream::iter([Ok(Frame::data(large.clone()))]);
                StreamBody::new(Box::pin(first.chain(futures::stream::pending())))
            }
        };
        counted.next();
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    (SiteCacheLayer::new(cache).policy(policy().build().expect("a policy")).layer(inner), calls)
}

#[tokio::test]
async fn slow_readers_do_not_prevent_storing_other_pages() {
    let store = memory_store(8 << 20);
    let cache = Cache::builder(store).recording_bytes(1 << 20).build().expect("valid");
    let (stack, _) = with_endless_pages(&cache, 300 << 10);
    let mut readers = Vec::new();
    for number in 0..8 {
        let response = stack.clone().oneshot(get(&format!("/large?{number}"))).await.expect("infallible");
        readers.push(response);
    }
    assert!((1..=768 << 10).contains(&cache.recording_bytes()), "{}", cache.recording_bytes());
    send(&stack, get("/small")).await;
    assert!(send(&stack, get("/small")).await.is_hit());
}

#[tokio::test]
async fn a_page_without_recording_budget_is_stored_next_time() {
    let store = memory_store(8 << 20);
    let cache = Cache::builder(store).recording_bytes(8).build().expect("valid");
    let (stack, calls) = with_endless_pages(&cache, 6);
    let in_the_way = stack.clone().oneshot(get("/large")).await.expect("infallible");
    for _ in 0..2 {
        assert!(!send(&stack, get("/small")).await.is_hit());
    }
    drop(in_the_way);
    assert_eq!(calls.count(), 3);
    futures::join!(send(&stack, get("/small")), send(&stack, get("/small")));
    assert!(send(&stack, get("/small")).await.is_hit());
    assert_eq!(calls.count(), 4);
}

#[tokio::test]
async fn a_response_with_trailers_passes_them_and_is_not_stored() {
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("set-cookie", HeaderValue::from_static("sid=alice"));
        vec![data("a"), Ok(Frame::trailers(trailers))]
    };
    let (stack, calls, _) = streaming(&[], trailers);
    for call in 1..=2 {
        let body = stack.clone().oneshot(get("/")).await.expect("infallible").into_body();
        let collected = body.collect().await.expect("a body");
        assert_eq!(collected.trailers().expect("trailers")["set-cookie"], "sid=alice");
        assert_eq!(calls.count(), call);
    }
}

#[tokio::test]
async fn head_and_frames_are_sent_as_they_arrive() {
    let (cache, calls) = (memory(), Calls::default());
    let (sender, receiver) = mpsc::channel::<Bytes>(0);
    let counted = calls.clone();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let inner = service_fn(move |_: Request<Body>| {
        counted.next();
        let frames = receiver.lock().expect("not poisoned").take().expect("called once");
        let body = StreamBody::new(frames.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))));
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let mut sender = sender;
    // At this point, the body has neither a first frame nor an end.
    let response = stack.clone().oneshot(get("/")).await.expect("infallible");
    let mut body = response.into_body();
    for text in ["first", "second"] {
        let (sent, received) = futures::join!(sender.send(Bytes::from(text)), body.frame());
        sent.expect("open");
        assert_eq!(received.expect("a frame").expect("data").into_data().expect("data"), text);
        assert_eq!(cache.flights(), 1, "not stored before its end");
    }
    drop(sender);
    assert!(body.frame().await.is_none());
    assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
    let hit = send(&stack, get("/")).await;
    assert_eq!((hit.text(), calls.count()), ("firstsecond", 1));
}

#[tokio::test]
async fn an_endless_body_sends_its_head_and_uses_bounded_memory() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        counted.next();
        let endless =
            futures::stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 4096]))));
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(endless))) }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let mut body = stack.clone().oneshot(get("/")).await.expect("infallible").into_body();
    for _ in 0..4096 {
        body.frame().await.expect("endless").expect("data");
        // Each recorded frame also counts against the budget with some bytes of overhead.
        assert!(cache.recording_bytes() <= 9 << 20);
    }
    assert_eq!((cache.recording_bytes(), cache.flights()), (0, 0), "the recording is given up");
}

#[tokio::test]
async fn client_disconnect_stores_no_partial_body() {
    let (stack, calls, cache) = streaming(&[], || {
        let mut frames: Frames = (0..100).map(|_| data("x")).collect();
        frames.push(data("end"));
        frames
    });
    let mut body = stack.clone().oneshot(get("/")).await.expect("infallible").into_body();
    body.frame().await.expect("a frame").expect("data");
    assert_eq!(cache.flights(), 1);
    drop(body);
    assert_eq!((cache.flights(), cache.recording_bytes()), (0, 0));
    assert!(!send(&stack, get("/")).await.is_hit());
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn a_body_of_declared_length_is_stored_before_its_end_is_polled() {
    // There are more frames than the cache reads ahead. Only a poll after the last frame finds the
    // end.
    let (stack, calls, _) = streaming(&[("content-length", "100")], || (0..100).map(|_| data("x")).collect());
    let mut body = stack.clone().oneshot(get("/")).await.expect("infallible").into_body();
    for _ in 0..100 {
        body.frame().await.expect("a frame").expect("data");
    }
    drop(body);
    assert!(send(&stack, get("/")).await.is_hit());
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_stored_get_answers_head_with_its_length() {
    let (stack, calls) = site(policy(), |_, _| with_lines(&[("etag", "\"1\"")], "0123456789"));
    let stored = send(&stack, get("/")).await;
    let head = send(&stack, request("HEAD", "/", &[])).await;
    assert!(head.is_hit());
    assert_eq!(
        (head.body.len(), head.header("content-length"), head.header("etag")),
        (0, Some("10"), Some("\"1\""))
    );
    assert_eq!((stored.body.len(), calls.count()), (10, 1));
}

#[tokio::test]
async fn a_head_request_for_a_stored_204_states_no_length() {
    let (stack, _) = site(Policy::rfc9111().cache_status(true), |_, _| {
        let mut response = with_lines(&[("cache-control", "max-age=60")], "");
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        response
    });
    send(&stack, get("/")).await;
    let head = send(&stack, request("HEAD", "/", &[])).await;
    assert_eq!((head.is_hit(), head.header("content-length")), (true, None));
}

#[tokio::test]
async fn unsent_recorded_frames_count_against_the_budget() {
    let store = memory_store(1 << 20);
    let cache = Cache::builder(store).recording_bytes(1 << 20).build().expect("valid");
    let produced = Calls::default();
    let counted = produced.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let counted = counted.clone();
        let frames = futures::stream::iter(0..60).map(move |_| {
            counted.next();
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; 4096])))
        });
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(frames))) }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let mut unread = Vec::new();
    for number in 0..500 {
        unread.push(stack.clone().oneshot(get(&format!("/?{number}"))).await.expect("infallible"));
    }
    // Each recording may exceed the budget by one frame: the frame that does not fit ends the
    // recording.
    assert!(produced.count() * 4096 <= (1 << 20) + 500 * 4096, "{}", produced.count());
    for response in unread {
        assert_eq!(read(response).await.body.len(), 60 * 4096);
    }
    assert_eq!(cache.recording_bytes(), 0);
}

#[tokio::test]
async fn head_request_stores_no_response() {
    // The handler answers `HEAD` with a body, as under axum's `Router::layer`, or with only a
    // length.
    for body in ["body", ""] {
        let (stack, calls) = site(policy(), move |request, _| {
            let body = if request.method() == "HEAD" { body } else { "page" };
            with_lines(&[("content-length", "4")], body)
        });
        assert!(!send(&stack, request("HEAD", "/", &[])).await.is_hit());
        assert!(!send(&stack, request("HEAD", "/", &[])).await.is_hit());
        assert_eq!(send(&stack, get("/")).await.text(), "page");
        assert_eq!(calls.count(), 3);
    }
}

#[tokio::test]
async fn hit_body_has_an_exact_size_and_reports_its_end() {
    let (stack, _) = site(policy(), |request, _| {
        with_lines(&[], if request.uri().path() == "/empty" { "" } else { "12345" })
    });
    for (uri, length) in [("/", 5), ("/empty", 0)] {
        send(&stack, get(uri)).await;
        let mut body = stack.clone().oneshot(get(uri)).await.expect("infallible").into_body();
        assert_eq!(body.size_hint().exact(), Some(length));
        assert_eq!(body.is_end_stream(), length == 0);
        if length > 0 {
            body.frame().await.expect("a frame").expect("data");
        }
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test]
async fn a_forwarded_body_keeps_its_size_hint() {
    let (stack, _) = site(Policy::app(), |_, _| with_lines(&[], "12345"));
    let body = stack.oneshot(get("/")).await.expect("infallible").into_body();
    assert_eq!(body.size_hint().exact(), Some(5));
}

#[tokio::test]
async fn a_small_single_frame_body_is_not_copied() {
    let page = Bytes::from(vec![b'x'; 2048]);
    let place = page.as_ptr();
    let once = std::sync::Arc::new(std::sync::Mutex::new(Some(page)));
    let inner = service_fn(move |_: Request<Body>| {
        let page = once.lock().expect("not poisoned").take().expect("called once");
        async move { Ok::<_, Infallible>(Response::new(Full::new(page))) }
    });
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    for _ in 0..100 {
        let mut body = stack.clone().oneshot(get("/")).await.expect("infallible").into_body();
        let data = body.frame().await.expect("a frame").expect("data").into_data().expect("data");
        assert_eq!(data.as_ptr(), place);
    }
}

#[tokio::test]
async fn repeated_field_lines_and_non_ascii_values_are_kept() {
    let (stack, _) = site(policy(), |_, call| {
        let mut response = numbered(&[("link", "<a>"), ("link", ""), ("link", "<b>, <c>")], call);
        response.headers_mut().insert("x-name", HeaderValue::from_bytes(b"caf\xe9").expect("obs-text"));
        response
    });
    let miss = send(&stack, get("/")).await;
    let hit = send(&stack, get("/")).await;
    let lines = |answer: &Answer| answer.headers.get_all("link").iter().cloned().collect::<Vec<_>>();
    assert!(hit.is_hit());
    assert_eq!(lines(&hit), lines(&miss));
    assert_eq!(hit.headers["x-name"].as_bytes(), b"caf\xe9");
}

#[tokio::test]
async fn an_encoded_body_is_stored_as_sent_with_its_coding() {
    let (stack, _) = site(policy(), |_, _| {
        with_lines(
            &[("content-encoding", "gzip"), ("content-length", "4"), ("vary", "accept-encoding")],
            "\x1f\u{b}gz",
        )
    });
    send(&stack, get("/")).await;
    let hit = send(&stack, get("/")).await;
    assert!(hit.is_hit());
    assert_eq!(
        (hit.header("content-encoding"), hit.header("content-length"), hit.text()),
        (Some("gzip"), Some("4"), "\x1f\u{b}gz")
    );
}
