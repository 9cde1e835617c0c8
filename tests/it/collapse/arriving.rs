//! Responses whose bodies are still arriving: which requests may join them. A page that is made
//! from such a response is not stored.

use crate::support::*;
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{FutureExt, SinkExt, StreamExt, poll};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{Cache, SiteCacheLayer};

type Piece = Result<Frame<Bytes>, io::Error>;
type Pieces = StreamBody<mpsc::Receiver<Piece>>;
type Streaming = BoxCloneService<Request<Body>, Response<ResponseBody<Pieces>>, Infallible>;
type Senders = Arc<Mutex<Vec<mpsc::Sender<Piece>>>>;

/// Creates a cached origin. Each call of the origin creates the sender of its body's frames.
fn streaming(
    cache: &Cache,
    policy: PolicyBuilder,
    lines: &'static [(&'static str, &'static str)],
) -> (Streaming, Senders) {
    let senders = Senders::default();
    let kept = Arc::clone(&senders);
    let inner = service_fn(move |_: Request<Body>| {
        let (sender, receiver) = mpsc::channel(4);
        kept.lock().expect("not poisoned").push(sender);
        let mut response = Response::new(StreamBody::new(receiver));
        for (name, value) in lines {
            response.headers_mut().append(*name, value.parse().expect("a value"));
        }
        async move {
            // Lets a follower join.
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(response)
        }
    });
    (SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone(), senders)
}

fn sender(senders: &Senders, call: usize) -> mpsc::Sender<Piece> {
    senders.lock().expect("not poisoned")[call].clone()
}

fn calls(senders: &Senders) -> usize {
    senders.lock().expect("not poisoned").len()
}

fn piece(text: &'static str) -> Piece {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

#[tokio::test(start_paused = true)]
async fn late_requests_do_not_join_a_response_that_went_stale() {
    let (cache, manual) = timed();
    let policy = policy().stale_if_error(Duration::from_secs(3600));
    let (stack, senders) = streaming(&cache, policy, &[("cache-control", "max-age=60")]);
    let first = stack.clone().oneshot(get("/")).await.expect("infallible");
    let reader = stack.clone().oneshot(get("/")).await.expect("infallible");
    assert_eq!(calls(&senders), 1, "a request joins the response while it is fresh");
    manual.advance(Duration::from_secs(61));
    let late = tokio::spawn(stack.oneshot(get("/")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The late request may wait until the first response ends, but must not get its body.
    let mut sender_of_first = sender(&senders, 0);
    sender_of_first.send(piece("first")).await.expect("a reader is left");
    sender_of_first.close_channel();
    for response in [first, reader] {
        assert_eq!(response.collect().await.expect("a complete body").to_bytes(), "first");
    }
    let late = late.await.expect("no panic").expect("infallible");
    let status = late.headers()["cache-status"].to_str().expect("text").to_owned();
    assert_eq!(calls(&senders), 2, "{status}");
    sender(&senders, 1).close_channel();
    assert_eq!(late.collect().await.expect("a complete body").to_bytes(), "");
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_join_a_truncated_body() {
    let (stack, senders) = streaming(&memory(), policy(), &[("content-length", "10")]);
    let mut leader = pin!(stack.clone().oneshot(get("/")));
    let mut follower = pin!(stack.oneshot(get("/")));
    assert!(poll!(leader.as_mut()).is_pending() && poll!(follower.as_mut()).is_pending());
    let leader = leader.await.expect("infallible");
    // The body ends short of its `Content-Length` before the follower runs again.
    let mut short = sender(&senders, 0);
    short.try_send(piece("short")).expect("room");
    short.close_channel();
    let mut body = leader.into_body();
    while body.frame().now_or_never().expect("ready").is_some_and(|frame| frame.is_ok()) {}
    assert!(poll!(follower.as_mut()).is_pending());
    let follower = follower.await.expect("infallible");
    assert_eq!(calls(&senders), 2);
    let mut second = sender(&senders, 1);
    second.send(piece("0123456789")).await.expect("a reader is left");
    second.close_channel();
    assert_eq!(follower.collect().await.expect("a complete body").to_bytes(), "0123456789");
}

#[tokio::test(start_paused = true)]
async fn a_page_made_from_an_arriving_response_is_not_stored() {
    let cache = memory();
    let (part, senders) = streaming(&cache, policy().name("part"), &[]);
    let (shown, calls) = (part.clone(), Calls::default());
    let counted = calls.clone();
    let page = service_fn(move |_: Request<Body>| {
        let (part, call) = (shown.clone(), counted.next());
        async move {
            let part = part.oneshot(get("/part")).await.expect("infallible");
            assert_eq!(part.status(), 200);
            let mut body = part.into_body().into_data_stream();
            let begun = body.next().await.expect("a frame").expect("no error");
            let text = format!("{call}: {}", String::from_utf8_lossy(&begun));
            Ok::<_, Infallible>(Response::new(Body::from(text)))
        }
    });
    let page = site_over(&cache, page.boxed_clone());
    let first = part.oneshot(get("/part")).await.expect("infallible");
    sender(&senders, 0).send(piece("begun")).await.expect("a reader is left");
    for call in ["1: begun", "2: begun"] {
        let answer = send(&page, get("/page")).await;
        assert_eq!((answer.text(), answer.is_hit()), (call, false));
    }
    assert_eq!(senders.lock().expect("not poisoned").len(), 1, "both pages read the arriving response");
    drop(first);
}
