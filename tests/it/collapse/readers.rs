//! Readers of one body: they wake each other, and unread recorded frames count against the budget.

use crate::collapse::streaming::{World, next, piece, rest, world_over};
use crate::stores::unlocked::{PollPinned, two_readers};
use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use bytes::Bytes;
use futures::SinkExt;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use tower_response_cache::Cache;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;

/// A waker that counts its wake-ups.
#[derive(Default)]
struct WakeCount(AtomicUsize);

impl Wake for WakeCount {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl WakeCount {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// The source calls no waker while the second reader waits. The first reader must therefore wake
/// the second.
#[test]
fn reader_of_a_frame_or_the_end_wakes_the_others() {
    let mut step = 0;
    let [mut first, mut second] = two_readers(policy(), move |cx| {
        step += 1;
        match step {
            1 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            2 | 4 => Poll::Pending,
            3 => Poll::Ready(Some(Bytes::from_static(b"a"))),
            _ => Poll::Ready(None),
        }
    });
    let woken = Arc::new(WakeCount::default());
    let waker = Waker::from(Arc::clone(&woken));
    let (mut waits, mut gets) = (Context::from_waker(&waker), Context::from_waker(Waker::noop()));
    assert!(second.frame().poll_pinned(&mut waits).is_pending());
    assert!(matches!(first.frame().poll_pinned(&mut gets), Poll::Ready(Some(Ok(_)))));
    assert_eq!(woken.take(), 1, "a frame");
    assert!(matches!(second.frame().poll_pinned(&mut waits), Poll::Ready(Some(Ok(_)))));
    assert!(second.frame().poll_pinned(&mut waits).is_pending());
    assert!(matches!(first.frame().poll_pinned(&mut gets), Poll::Ready(None)));
    assert_eq!(woken.take(), 1, "the end");
}

/// The source calls its waker, and then the second reader polls before the poll of the source
/// returns.
#[test]
fn wake_up_during_a_poll_also_wakes_late_readers() {
    let woken = Arc::new(WakeCount::default());
    let waker = Waker::from(Arc::clone(&woken));
    let late = Arc::new(Mutex::new(None));
    let (waiting, own) = (Arc::clone(&late), waker.clone());
    let [mut first, second] = two_readers(policy(), move |cx| {
        let reader: Option<ResponseBody<_>> = waiting.lock().expect("not poisoned").take();
        if let Some(mut reader) = reader {
            cx.waker().wake_by_ref();
            assert!(reader.frame().poll_pinned(&mut Context::from_waker(&own)).is_pending());
            *waiting.lock().expect("not poisoned") = Some(reader);
        }
        Poll::Pending
    });
    *late.lock().expect("not poisoned") = Some(second);
    assert!(first.frame().poll_pinned(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(woken.take() > 0);
}

#[test]
fn reader_that_frees_the_window_wakes_waiting_readers() {
    let mut step = 0;
    let [mut fast, mut slow] = two_readers(policy().max_body_bytes(1), move |cx| {
        step += 1;
        if step == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Bytes::from(vec![7; 64 << 10])))
    });
    let woken = Arc::new(WakeCount::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut waits = Context::from_waker(&waker);
    while fast.frame().poll_pinned(&mut waits).is_ready() {}
    woken.take();
    assert!(slow.frame().poll_pinned(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(woken.take(), 1);
    assert!(fast.frame().poll_pinned(&mut waits).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_shared_body_with_trailers_is_not_stored() {
    let world = world_over(memory(), policy(), &[]);
    let mut readers = world.many(2).await;
    let mut sender = world.sender();
    let send = async {
        sender.send(piece("page")).await.expect("a reader is left");
        let trailers =
            HeaderMap::from_iter([("x-a".parse().expect("a name"), "1".parse().expect("a value"))]);
        sender.send(Ok(Frame::trailers(trailers))).await.expect("a reader is left");
        world.end(sender);
    };
    let second = readers.pop().expect("two");
    let read = futures::future::join(readers.remove(0).collect(), second.collect());
    let (_, (first, second)) = tokio::join!(send, read);
    for read in [first, second] {
        let read = read.expect("no error");
        assert_eq!(read.trailers().map(|trailers| trailers.len()), Some(1));
        assert_eq!(read.to_bytes(), "page");
    }
    let status = world.get().await.headers()["cache-status"].to_str().expect("text").to_owned();
    assert!(status.contains("fwd=uri-miss") && !status.contains("collapsed"), "{status}");
}

/// Creates a cache over a remote store. A recorded frame counts against the budget until the last
/// reader has read it.
fn remote() -> Cache {
    Cache::new(Faulty::new(memory_store(8 << 20), Fault::NoGenerations))
}

/// Sends pieces to two readers. One reader reads all pieces. Returns the reader that has read none.
async fn with_a_slow_reader(
    world: &World,
    pieces: usize,
) -> tower_response_cache::response_cache::ResponseBody<crate::collapse::streaming::Pieces> {
    let mut readers = world.many(2).await;
    let (mut sender, slow) = (world.sender(), readers.pop().expect("two"));
    let send = async {
        for _ in 0..pieces {
            sender.send(piece(vec![7; 1000])).await.expect("a reader is left");
        }
        world.end(sender);
    };
    let (_, read) = tokio::join!(send, rest(readers.remove(0)));
    assert_eq!(read.map(|all| all.len()), Ok(1000 * pieces));
    crate::support::stacks::settle().await;
    slow
}

/// Asserts that a slow reader of five pieces uses the budget until it has read the first `recorded`
/// pieces.
async fn assert_reader_holds_budget(cache: Cache, policy: PolicyBuilder, recorded: usize, is_stored: bool) {
    let world = world_over(cache, policy, &[]);
    let mut slow = with_a_slow_reader(&world, 5).await;
    for read in 0..recorded {
        assert!(world.cache.recording_bytes() >= 1000, "{read} of {recorded} pieces are read");
        next(&mut slow).await.expect("a frame").expect("no error");
    }
    assert_eq!(world.cache.recording_bytes(), 0, "all of {recorded} pieces are read");
    assert_eq!(rest(slow).await.map(|all| all.len()), Ok(1000 * (5 - recorded)));
    if is_stored {
        assert!(read(world.get().await).await.is_hit());
    }
}

#[tokio::test(start_paused = true)]
async fn slow_reader_of_a_remotely_stored_body_holds_the_budget() {
    assert_reader_holds_budget(remote(), policy(), 5, true).await;
}

#[tokio::test(start_paused = true)]
async fn slow_reader_of_an_abandoned_recording_holds_the_budget() {
    for cache in [memory(), remote()] {
        // The third piece exceeds `max_body_bytes`, so no later piece counts against the budget.
        assert_reader_holds_budget(cache, policy().max_body_bytes(2500), 3, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_reader_returns_its_share_of_the_budget() {
    let world = world_over(remote(), policy(), &[]);
    let slow = with_a_slow_reader(&world, 5).await;
    assert!(world.cache.recording_bytes() >= 1000);
    drop(slow);
    assert_eq!(world.cache.recording_bytes(), 0);
}
