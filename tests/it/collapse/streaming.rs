//! Followers that read a body while it arrives, each at its own pace.

use crate::support::*;
use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::join_all;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::ManualClock;
use tower_response_cache::error::BoxError;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{Cache, Invalidation, SiteCacheLayer};

pub(crate) type Piece = Result<Frame<Bytes>, io::Error>;
pub(crate) type Pieces = StreamBody<mpsc::Receiver<Piece>>;
pub(crate) type Shop = BoxCloneService<Request<Body>, Response<ResponseBody<Pieces>>, Infallible>;

/// A cached service. Each call of the service creates the sender of its body's frames.
pub(crate) struct World {
    shop: Shop,
    pub(crate) cache: Cache,
    calls: Calls,
    senders: Arc<Mutex<Vec<mpsc::Sender<Piece>>>>,
}

const S: Duration = Duration::from_secs(1);

fn world(policy: PolicyBuilder, lines: &'static [(&'static str, &'static str)]) -> World {
    world_over(memory(), policy, lines)
}

pub(crate) fn world_over(
    cache: Cache,
    policy: PolicyBuilder,
    lines: &'static [(&'static str, &'static str)],
) -> World {
    let (calls, senders) = (Calls::default(), Arc::new(Mutex::new(Vec::new())));
    let (counted, kept) = (calls.clone(), Arc::clone(&senders));
    let inner = service_fn(move |_: Request<Body>| {
        counted.next();
        let (sender, receiver) = mpsc::channel(0);
        kept.lock().expect("not poisoned").push(sender);
        let mut response = Response::new(StreamBody::new(receiver));
        for (name, value) in lines {
            response.headers_mut().append(*name, value.parse().expect("a value"));
        }
        async move {
            // Lets followers join.
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(response)
        }
    });
    let shop =
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
    World { shop, cache, calls, senders }
}

impl World {
    pub(crate) async fn get(&self) -> Response<ResponseBody<Pieces>> {
        self.shop.clone().oneshot(get("/")).await.expect("infallible")
    }

    /// Sends `count` concurrent requests and returns their bodies, the leader's first. One call of
    /// the service serves all requests.
    pub(crate) async fn many(&self, count: usize) -> Vec<ResponseBody<Pieces>> {
        let all = join_all((0..count).map(|_| self.get())).await;
        assert_eq!(self.calls.count(), 1);
        all.into_iter().map(Response::into_body).collect()
    }

    pub(crate) fn sender(&self) -> mpsc::Sender<Piece> {
        self.senders.lock().expect("not poisoned")[0].clone()
    }

    /// Ends the body: drops all of its senders.
    pub(crate) fn end(&self, sender: mpsc::Sender<Piece>) {
        drop(sender);
        self.senders.lock().expect("not poisoned").clear();
    }
}

pub(crate) fn piece(text: impl Into<Bytes>) -> Piece {
    Ok(Frame::data(text.into()))
}

pub(crate) async fn next(body: &mut ResponseBody<Pieces>) -> Option<Result<Bytes, BoxError>> {
    let frame = timeout(Duration::from_secs(5), body.frame()).await.expect("does not hang")?;
    Some(frame.map(|frame| frame.into_data().expect("data")))
}

/// Reads the rest of a body. Returns its bytes, or the text of its error.
pub(crate) async fn rest(mut body: ResponseBody<Pieces>) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(data) = next(&mut body).await {
        all.extend_from_slice(&data.map_err(|error| error.to_string())?);
    }
    Ok(all)
}

#[tokio::test(start_paused = true)]
async fn followers_get_each_frame_as_it_arrives() {
    let world = world(policy(), &[]);
    let mut readers = world.many(5).await;
    let mut sender = world.sender();
    for text in ["a", "b", "c"] {
        let sent = sender.send(piece(text));
        let (_, read) = tokio::join!(sent, join_all(readers.iter_mut().map(next)));
        assert!(read.into_iter().all(|data| data.expect("a frame").expect("no error") == text));
    }
    // A late follower reads from the beginning, at its own pace.
    let late = world.get().await;
    assert!(late.headers()["cache-status"].to_str().expect("text").contains("fwd=uri-miss; collapsed; ttl="));
    readers.push(late.into_body());
    world.end(sender);
    let ends = join_all(readers.into_iter().map(rest)).await;
    assert_eq!(ends[0], Ok(Vec::new()));
    assert_eq!(ends[5], Ok(b"abc".to_vec()));
    assert_eq!((world.cache.flights(), world.cache.recording_bytes()), (0, 0));
    let hit = read(world.get().await).await;
    assert_eq!((hit.text(), hit.is_hit(), world.calls.count()), ("abc", true, 1));
}

/// The body has 8 MiB in 128 frames, sent over half a second. Every reader gets the first frame
/// once it is sent.
#[tokio::test(start_paused = true)]
async fn a_hundred_readers_get_the_first_byte_at_once() {
    let world = world(policy(), &[]);
    let readers = world.many(100).await;
    let (mut sender, start) = (world.sender(), Instant::now());
    let frame = Bytes::from(vec![7; 64 << 10]);
    let send = async {
        for _ in 0..128 {
            sleep(Duration::from_millis(4)).await;
            sender.send(piece(frame.clone())).await.expect("a reader is left");
        }
        world.end(sender);
    };
    let read = join_all(readers.into_iter().map(|mut body| async move {
        let first = next(&mut body).await.expect("a frame").expect("no error");
        let waited = start.elapsed();
        (first.len() + rest(body).await.expect("no error").len(), waited)
    }));
    let (_, read) = tokio::join!(send, read);
    for (length, waited) in read {
        assert_eq!(length, 8 << 20);
        assert!(waited <= Duration::from_millis(8), "{waited:?}");
    }
    assert_eq!(world.cache.recording_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_leaves_does_not_stop_the_others() {
    for leaves in 0..3 {
        let world = world(policy(), &[]);
        let mut others: Vec<_> =
            world.many(3).await.into_iter().map(|body| tokio::spawn(rest(body))).collect();
        let mut sender = world.sender();
        // While all readers wait, one is dropped. In one of the rounds, the dropped reader is the
        // last one that polled the body.
        sleep(Duration::from_millis(1)).await;
        let left = others.remove(leaves);
        left.abort();
        assert!(left.await.is_err());
        sender.send(piece("page")).await.expect("a reader is left");
        world.end(sender);
        for read in join_all(others).await {
            assert_eq!(read.expect("no panic"), Ok(b"page".to_vec()));
        }
        assert!(read(world.get().await).await.is_hit(), "the response is stored even if the leader leaves");
    }
}

#[tokio::test(start_paused = true)]
async fn readers_continue_when_the_slowest_reader_leaves() {
    let world = world(policy().max_body_bytes(1), &[]);
    let mut readers = world.many(2).await;
    let (mut sender, frame) = (world.sender(), Bytes::from(vec![7; 64 << 10]));
    let send = tokio::spawn(async move {
        for _ in 0..16 {
            sender.send(piece(frame.clone())).await.expect("a reader is left");
        }
    });
    world.senders.lock().expect("not poisoned").clear();
    let slowest = readers.pop().expect("two");
    let quick = tokio::spawn(rest(readers.pop().expect("one")));
    sleep(Duration::from_millis(1)).await;
    assert!(!quick.is_finished(), "the quick reader waits for the slowest");
    let begun = Instant::now();
    drop(slowest);
    assert_eq!(quick.await.expect("no panic").map(|all| all.len()), Ok(1 << 20));
    assert!(begun.elapsed() < Duration::from_secs(1));
    send.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn when_all_readers_leave_the_body_is_dropped_and_not_stored() {
    let world = world(policy(), &[]);
    let readers = world.many(3).await;
    let mut sender = world.sender();
    drop(readers);
    assert!(sender.send(piece("page")).await.is_err(), "no reader is left");
    assert_eq!((world.cache.flights(), world.cache.recording_bytes()), (0, 0));
    drop(timeout(Duration::from_secs(1), world.get()).await.expect("no flight is left to join"));
    assert_eq!(world.calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_midway_fails_for_all_and_is_not_stored() {
    for declared in [&[][..], &[("content-length", "100")]] {
        let world = world(policy(), declared);
        let readers = world.many(4).await;
        let mut sender = world.sender();
        let send = async {
            sender.send(piece("half")).await.expect("a reader is left");
            sender.send(Err(io::Error::other("torn"))).await.expect("a reader is left");
        };
        let (_, read) = tokio::join!(send, join_all(readers.into_iter().map(rest)));
        assert_eq!(read, vec![Err("torn".to_owned()); 4]);
        assert_eq!((world.cache.flights(), world.cache.recording_bytes()), (0, 0));
        assert!(!world.get().await.headers()["cache-status"].to_str().expect("text").contains("; hit"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_body_fails_for_all_readers() {
    let polls = Calls::default();
    let counted = polls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let counted = counted.clone();
        async move {
            tokio::task::yield_now().await;
            let mut first = true;
            let body = futures::stream::poll_fn(move |_| {
                if std::mem::take(&mut first) {
                    return std::task::Poll::Pending;
                }
                counted.next();
                panic!("body");
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(body.map(|()| piece("")))))
        }
    });
    let cache = memory();
    let shop = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let request_page = || shop.clone().oneshot(get("/"));
    let (one, other) = tokio::join!(request_page(), request_page());
    let one = tokio::spawn(one.expect("infallible").into_body().collect());
    assert!(one.await.is_err_and(|error| error.is_panic()));
    assert!(other.expect("infallible").into_body().collect().await.is_err());
    assert_eq!((polls.count(), cache.flights(), cache.recording_bytes()), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn past_the_size_limit_stalled_readers_are_cut_off() {
    let world = world(policy().max_body_bytes(1 << 20), &[]);
    let mut readers = world.many(3).await;
    let (mut sender, frame) = (world.sender(), Bytes::from(vec![7; 64 << 10]));
    // The body of 4 MiB is larger than `max_body_bytes` and than the readers' window.
    let send = tokio::spawn(async move {
        for _ in 0..64 {
            sender.send(piece(frame.clone())).await.expect("a reader is left");
        }
    });
    let mut stalled = readers.pop().expect("three");
    assert_eq!(next(&mut stalled).await.expect("a frame").expect("no error").len(), 64 << 10);
    let begun = Instant::now();
    world.senders.lock().expect("not poisoned").clear();
    let quick = readers.into_iter().map(|body| {
        tokio::spawn(async move {
            let (mut body, mut length) = (body, 0);
            while let Some(frame) = body.frame().await {
                length += frame.expect("no error").into_data().expect("data").len();
            }
            length
        })
    });
    let quick: Vec<_> = quick.collect();
    // Lets the readers start.
    tokio::task::yield_now().await;
    for length in join_all(quick).await {
        assert_eq!(length.expect("no panic"), 4 << 20);
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "the stalled reader delays the others too long");
    send.await.expect("no panic");
    let end = rest(stalled).await;
    assert!(end.is_err_and(|error| error.contains("too slow")));
    assert_eq!((world.cache.flights(), world.cache.recording_bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_with_progress_gets_the_whole_body() {
    let world = world(policy().max_body_bytes(1), &[]);
    let readers = world.many(2).await;
    let (mut sender, frame) = (world.sender(), Bytes::from(vec![7; 64 << 10]));
    let send = tokio::spawn(async move {
        for _ in 0..32 {
            sender.send(piece(frame.clone())).await.expect("a reader is left");
        }
    });
    world.senders.lock().expect("not poisoned").clear();
    let paces = [Duration::ZERO, Duration::from_secs(4)];
    let reads = readers.into_iter().zip(paces).map(|(mut body, pace)| async move {
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.expect("no error").into_data().expect("data").len();
            sleep(pace).await;
        }
        length
    });
    assert_eq!(join_all(reads).await, [2 << 20, 2 << 20]);
    send.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn trailers_reach_every_reader_and_prevent_storing() {
    let world = world(policy(), &[]);
    let readers = world.many(3).await;
    let mut sender = world.sender();
    let send = async {
        sender.send(piece("page")).await.expect("a reader is left");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "1".parse().expect("a value"));
        sender.send(Ok(Frame::trailers(trailers))).await.expect("a reader is left");
        world.end(sender);
    };
    let (_, read) = tokio::join!(send, join_all(readers.into_iter().map(BodyExt::collect)));
    for collected in read {
        let collected = collected.expect("no error");
        assert_eq!(
            collected.trailers().map(|trailers| trailers["x-checksum"].clone()),
            Some("1".parse().expect("a value"))
        );
        assert_eq!(collected.to_bytes(), "page");
    }
    assert_eq!(world.cache.flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_request_joins_an_arriving_body_after_an_invalidation() {
    let world = world(policy(), &[]);
    let old = world.many(2).await;
    assert_eq!(world.cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    let new = world.get().await.into_body();
    assert_eq!(world.calls.count(), 2);
    let senders: Vec<_> = world.senders.lock().expect("not poisoned").drain(..).collect();
    for (mut sender, text) in senders.into_iter().zip(["old", "new"]) {
        tokio::spawn(async move { sender.send(piece(text)).await.expect("a reader is left") });
    }
    let (old, new) = tokio::join!(join_all(old.into_iter().map(rest)), rest(new));
    assert_eq!((old, new), (vec![Ok(b"old".to_vec()); 2], Ok(b"new".to_vec())));
    let hit = read(world.get().await).await;
    assert_eq!((hit.text(), hit.is_hit()), ("new", true));
}

/// Ten variants, each with fifty concurrent requests, on a cold key.
#[tokio::test(start_paused = true)]
async fn each_variant_with_a_slow_body_is_fetched_once() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        counted.next();
        let plan = request.headers()["x-plan"].to_str().expect("text").to_owned();
        async move {
            sleep(Duration::from_millis(10)).await;
            let slow = futures::stream::once(async move {
                sleep(Duration::from_millis(50)).await;
                piece(plan)
            });
            Ok::<_, Infallible>(
                Response::builder()
                    .header("vary", "x-plan")
                    .body(StreamBody::new(Box::pin(slow)))
                    .expect("a response"),
            )
        }
    });
    let shop = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let plans: Vec<String> = (0..500).map(|at| (at % 10).to_string()).collect();
    let answers = join_all(plans.iter().map(|plan| async {
        let response = shop.clone().oneshot(get_with("/", &[("x-plan", plan)])).await;
        read(response.expect("infallible")).await
    }));
    for (answer, plan) in answers.await.iter().zip(&plans) {
        assert_eq!(answer.text(), plan);
    }
    assert_eq!(calls.count(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_conditional_follower_gets_a_304_while_the_body_arrives() {
    let world = world(policy(), &[("etag", "\"1\"")]);
    let conditional = || world.shop.clone().oneshot(get_with("/", &[("if-none-match", "\"1\"")]));
    let (one, other) = tokio::join!(world.get(), conditional());
    assert_eq!(other.expect("infallible").status(), 304);
    let mut sender = world.sender();
    let read = tokio::spawn(rest(one.into_body()));
    sender.send(piece("page")).await.expect("a reader is left");
    world.end(sender);
    assert_eq!(read.await.expect("no panic"), Ok(b"page".to_vec()));
    assert_eq!(world.calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_with_a_wrong_content_length_is_not_stored() {
    for (text, stored) in [("page", true), ("pag", false), ("pages", false)] {
        let world = world(policy(), &[("content-length", "4")]);
        let readers = world.many(2).await;
        for reader in &readers {
            assert_eq!(http_body::Body::size_hint(reader).exact(), Some(4));
        }
        let mut sender = world.sender();
        let send = async {
            sender.send(piece(text)).await.expect("a reader is left");
            world.end(sender);
        };
        let (_, read) = tokio::join!(send, join_all(readers.into_iter().map(rest)));
        assert_eq!(read, vec![Ok(text.as_bytes().to_vec()); 2]);
        let after = world.get().await;
        assert_eq!(
            after.headers()["cache-status"].to_str().expect("text").contains("; hit"),
            stored,
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_joins_a_page_that_went_stale_while_arriving() {
    let (cache, manual) = timed();
    let (calls, senders) = (Calls::default(), Arc::new(Mutex::new(Vec::new())));
    let (counted, kept) = (calls.clone(), Arc::clone(&senders));
    let inner = service_fn(move |_: Request<Body>| {
        counted.next();
        let (sender, receiver) = mpsc::channel::<Piece>(0);
        kept.lock().expect("not poisoned").push(sender);
        let response =
            Response::builder().header("cache-control", "max-age=1").body(StreamBody::new(receiver));
        async move { Ok::<_, Infallible>(response.expect("a response")) }
    });
    let shop = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let first = shop.clone().oneshot(get("/")).await.expect("infallible");
    manual.advance(Duration::from_secs(5));
    let second = tokio::spawn(shop.clone().oneshot(get("/")));
    sleep(Duration::from_millis(1)).await;
    drop(first);
    senders.lock().expect("not poisoned").clear();
    let status = second.await.expect("no panic").expect("infallible").headers()["cache-status"].clone();
    assert!(!status.to_str().expect("text").contains("; hit"), "{status:?}");
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn empty_frames_are_skipped_and_an_error_is_returned_once() {
    let world = world(policy(), &[]);
    let mut readers = world.many(2).await;
    let mut sender = world.sender();
    let send = async {
        for _ in 0..100 {
            sender.send(piece("")).await.expect("a reader is left");
        }
        sender.send(Err(io::Error::other("torn"))).await.expect("a reader is left");
    };
    let (_, read) = tokio::join!(send, join_all(readers.iter_mut().map(next)));
    assert!(read.into_iter().all(|frame| frame.is_some_and(|frame| frame.is_err())));
    for reader in &mut readers {
        assert!(next(reader).await.is_none());
        assert!(!http_body::Body::is_end_stream(reader), "an error must not look like a clean end");
    }
}

/// Returns a world whose page is stale, within its stale-while-revalidate window, and the manual
/// clock.
async fn stale_page() -> (World, ManualClock) {
    let (cache, manual) = timed();
    let policy = policy().max_body_bytes(10).default_ttl(10 * S).stale_while_revalidate(60 * S);
    let world = world_over(cache, policy, &[]);
    let reading = tokio::spawn(rest(world.get().await.into_body()));
    let mut sender = world.sender();
    sender.send(piece("old")).await.expect("a reader is left");
    world.end(sender);
    assert_eq!(reading.await.expect("no panic"), Ok(b"old".to_vec()));
    manual.advance(12 * S);
    (world, manual)
}

#[tokio::test(start_paused = true)]
async fn a_page_that_outgrows_the_limit_is_no_longer_served_stale() {
    let (world, _hand) = stale_page().await;
    assert_eq!(rest(world.get().await.into_body()).await, Ok(b"old".to_vec()));
    tokio::task::yield_now().await;
    sleep(Duration::from_millis(1)).await;
    let mut sender = world.sender();
    sender.send(piece("new")).await.expect("a reader is left");
    assert_eq!(
        rest(world.get().await.into_body()).await,
        Ok(b"old".to_vec()),
        "the new page may still be stored"
    );
    sender.send(piece("more than ten bytes")).await.expect("a reader is left");
    sleep(Duration::from_millis(1)).await;
    let calls = world.calls.count();
    drop(world.get().await);
    assert_eq!(world.calls.count(), calls + 1, "the stale page is no longer served");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_whose_body_fails_counts_as_failed() {
    let (world, _hand) = stale_page().await;
    assert_eq!(rest(world.get().await.into_body()).await, Ok(b"old".to_vec()));
    sleep(Duration::from_millis(1)).await;
    let mut sender = world.sender();
    sender.send(piece("new")).await.expect("a reader is left");
    sender.send(Err(io::Error::other("torn"))).await.expect("a reader is left");
    sleep(Duration::from_millis(1)).await;
    assert_eq!((world.cache.refreshes().succeeded(), world.cache.refreshes().failed()), (0, 1));
    assert_eq!(rest(world.get().await.into_body()).await, Ok(b"old".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn requests_stop_joining_a_body_that_hangs() {
    let world = world(policy(), &[]);
    let mut current = world.get().await;
    for _ in 0..200 {
        sleep(3 * S).await;
        current = world.get().await;
    }
    drop(current);
    assert!(world.calls.count() > 1, "for ten minutes, every request joined a body that hangs");
}

#[tokio::test(start_paused = true)]
async fn a_very_slow_reader_does_not_delay_the_others() {
    let world = world(policy().max_body_bytes(1), &[]);
    let mut readers = world.many(2).await;
    let (mut sender, frame) = (world.sender(), Bytes::from(vec![7; 16 << 10]));
    tokio::spawn(async move {
        for _ in 0..64 {
            if sender.send(piece(frame.clone())).await.is_err() {
                break;
            }
        }
    });
    world.senders.lock().expect("not poisoned").clear();
    let mut crawler = readers.pop().expect("two");
    let quick = tokio::spawn(readers.pop().expect("one").collect());
    tokio::spawn(async move {
        loop {
            sleep(Duration::from_secs(9)).await;
            if crawler.frame().await.is_none() {
                break;
            }
        }
    });
    let begun = Instant::now();
    assert_eq!(quick.await.expect("no panic").expect("a body").to_bytes().len(), 1 << 20);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?} for one MiB", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_whose_body_is_truncated_counts_as_failed() {
    let (cache, manual) = timed();
    let policy = policy().default_ttl(10 * S).stale_while_revalidate(60 * S);
    let world = world_over(cache, policy, &[("content-length", "3")]);
    let reading = tokio::spawn(rest(world.get().await.into_body()));
    let mut sender = world.sender();
    sender.send(piece("old")).await.expect("a reader is left");
    world.end(sender);
    assert_eq!(reading.await.expect("no panic"), Ok(b"old".to_vec()));
    manual.advance(12 * S);
    for _ in 0..5 {
        assert_eq!(rest(world.get().await.into_body()).await, Ok(b"old".to_vec()));
        sleep(Duration::from_millis(1)).await;
        let sender = world.senders.lock().expect("not poisoned").first().cloned();
        if let Some(mut sender) = sender {
            sender.send(piece("n")).await.expect("a reader is left");
            world.end(sender);
        }
        sleep(Duration::from_millis(1)).await;
    }
    let refreshes = world.cache.refreshes();
    assert_eq!((refreshes.succeeded(), refreshes.failed(), world.calls.count()), (0, 1, 2));
}

#[test]
fn a_waker_that_owns_its_reader_does_not_deadlock() {
    struct Task(Mutex<Option<ResponseBody<Pieces>>>);
    impl std::task::Wake for Task {
        // Does nothing, like a waker whose executor has been dropped.
        fn wake(self: Arc<Self>) {}
    }
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        futures::executor::block_on(async {
            let world = world(policy(), &[]);
            let mut sender = world.sender_and_two_readers().await;
            let (mut other, first) = (sender.1.pop().expect("two"), sender.1.pop().expect("one"));
            let task = Arc::new(Task(Mutex::new(Some(first))));
            let waker = std::task::Waker::from(Arc::clone(&task));
            {
                let mut first = task.0.lock().expect("free");
                let body = std::pin::Pin::new(first.as_mut().expect("a body"));
                let mut cx = std::task::Context::from_waker(&waker);
                assert!(http_body::Body::poll_frame(body, &mut cx).is_pending());
            }
            drop((task, waker));
            futures::join!(sender.0.send(piece("a")), other.frame()).0.expect("a reader is left");
        });
        done.send(()).expect("the test waits");
    });
    wait.recv_timeout(Duration::from_secs(5)).expect("no deadlock");
}

impl World {
    /// Returns the sender and the two readers of one body.
    async fn sender_and_two_readers(&self) -> (mpsc::Sender<Piece>, Vec<ResponseBody<Pieces>>) {
        let all = self.many(2).await;
        (self.sender(), all)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_across_threads() {
    let mut x: u64 = 88172645463325252;
    let mut draw = move |below: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) % below
    };
    for round in 0..100 {
        let policy = match round % 3 {
            0 => policy(),
            1 => policy().max_body_bytes(1),
            _ => policy().max_body_bytes(300 << 10),
        };
        let world = world(policy, &[]);
        let mut readers = Vec::new();
        for body in join_all((0..12).map(|_| world.get())).await {
            readers.push(body.into_body());
        }
        let senders: Vec<_> = world.senders.lock().expect("not poisoned").drain(..).collect();
        for mut sender in senders {
            let pause = draw(3);
            tokio::spawn(async move {
                for at in 0..60 {
                    if sender.send(piece(vec![7; 16 << 10])).await.is_err() {
                        return;
                    }
                    if pause == 0 && at % 8 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        let mut tasks = Vec::new();
        for mut body in readers {
            let leaves = (draw(3) == 0).then(|| draw(60));
            let slow = draw(4) == 0;
            tasks.push(tokio::spawn(async move {
                let mut all = 0;
                let mut at = 0;
                while leaves != Some(at) {
                    let Some(frame) = body.frame().await else { break };
                    all += frame.expect("no error").into_data().expect("data").len();
                    at += 1;
                    if slow {
                        tokio::task::yield_now().await;
                    }
                }
                assert!(leaves.is_some() || all == 60 * (16 << 10), "{all}");
            }));
        }
        for task in tasks {
            timeout(Duration::from_secs(8), task).await.expect("does not hang").expect("no panic");
        }
        assert_eq!(world.cache.flights(), 0, "{round}");
        assert_eq!(world.cache.recording_bytes(), 0, "{round}");
    }
}

/// After the stale window, requests wait for the new page. Here, the body of that page hangs.
#[tokio::test(start_paused = true)]
async fn a_refresh_with_a_hanging_body_blocks_no_request_for_long() {
    let (world, manual) = stale_page().await;
    assert_eq!(rest(world.get().await.into_body()).await, Ok(b"old".to_vec()));
    sleep(Duration::from_millis(1)).await;
    // The refresh gets a head and a body that hangs. The stale window ends.
    manual.advance(70 * S);
    let mut current = world.get().await;
    let before = world.calls.count();
    for _ in 0..200 {
        sleep(3 * S).await;
        let next = timeout(Duration::from_secs(100), world.get()).await.expect("a head");
        current = next;
    }
    drop(current);
    assert!(world.calls.count() > before);
}
