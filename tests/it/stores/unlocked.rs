//! Bodies, their buffers, and wakers are foreign code. The cache runs no foreign code under its
//! locks.

use crate::support::*;
use bytes::Bytes;
use futures::executor::block_on;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::SiteCacheLayer;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;

/// The longest wait for another thread. A test that waits longer fails.
const LONGEST: Duration = Duration::from_secs(30);

type Steps = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Send>;

/// A body that gets each frame from a function.
pub(crate) struct Stepped(Steps);

impl http_body::Body for Stepped {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        (self.0)(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}

type Shop = BoxCloneService<Request<Body>, Response<ResponseBody<Stepped>>, Infallible>;

/// Returns two readers of one body.
pub(crate) fn two_readers(
    policy: PolicyBuilder,
    steps: impl FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Send + 'static,
) -> [ResponseBody<Stepped>; 2] {
    let steps: Arc<Mutex<Option<Steps>>> = Arc::new(Mutex::new(Some(Box::new(steps))));
    let inner = service_fn(move |_: Request<Body>| {
        let steps = Arc::clone(&steps);
        async move {
            tokio::task::yield_now().await;
            let steps = steps.lock().expect("not poisoned").take().expect("one call");
            Ok::<_, Infallible>(Response::new(Stepped(steps)))
        }
    });
    let shop: Shop =
        SiteCacheLayer::new(&memory()).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
    let ask = || async { shop.clone().oneshot(get("/")).await.expect("infallible").into_body() };
    let (first, second) = block_on(async { futures::join!(ask(), ask()) });
    [first, second]
}

fn next(body: &mut ResponseBody<Stepped>) -> Option<Bytes> {
    block_on(body.frame()).map(|frame| frame.expect("a frame").into_data().expect("data"))
}

#[test]
fn a_computing_body_does_not_block_other_readers() {
    let (entered, is_in): (Sender<()>, Receiver<()>) = channel();
    let (go, may_go): (Sender<()>, Receiver<()>) = channel();
    let mut step = 0;
    let [mut first, mut second] = two_readers(policy(), move |cx| {
        step += 1;
        match step {
            // The first poll is pending, so that both readers get the head before any frame.
            1 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            2 => Poll::Ready(Some(Bytes::from_static(b"a"))),
            3 => {
                entered.send(()).expect("a test");
                may_go.recv_timeout(LONGEST).expect("no reader is blocked");
                Poll::Ready(Some(Bytes::from_static(b"b")))
            }
            _ => Poll::Ready(None),
        }
    });
    assert_eq!(next(&mut first).as_deref(), Some(&b"a"[..]));
    let driver = std::thread::spawn(move || next(&mut first));
    is_in.recv_timeout(LONGEST).expect("the body is polled");
    assert_eq!(next(&mut second).as_deref(), Some(&b"a"[..]));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(second.frame().poll_pinned(&mut cx).is_pending());
    go.send(()).expect("the body waits");
    assert_eq!(driver.join().expect("no panic").as_deref(), Some(&b"b"[..]));
    assert_eq!(next(&mut second).as_deref(), Some(&b"b"[..]));
    assert_eq!(next(&mut second), None);
}

type Shared = Arc<Mutex<Option<ResponseBody<Stepped>>>>;

/// Polls the other reader, which needs the lock of the body.
fn poll_other(other: &Shared) {
    if let Ok(mut other) = other.try_lock()
        && let Some(body) = other.as_mut()
    {
        let _ = http_body::Body::poll_frame(Pin::new(body), &mut Context::from_waker(Waker::noop()));
    }
}

/// Serves as a waker and as a buffer. Polls the other reader when it is woken or dropped.
struct Meddling(Shared);

impl Wake for Meddling {
    fn wake(self: Arc<Self>) {
        poll_other(&self.0);
    }
}

impl Drop for Meddling {
    fn drop(&mut self) {
        poll_other(&self.0);
    }
}

impl AsRef<[u8]> for Meddling {
    fn as_ref(&self) -> &[u8] {
        &[b'x'; 4096]
    }
}

/// Runs a test in a thread, and panics if it hangs.
pub(crate) fn in_time(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = channel();
    std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    wait.recv_timeout(LONGEST).expect("no deadlock, no panic");
}

#[test]
fn wakers_and_buffers_that_use_the_body_do_not_hang() {
    in_time(|| {
        let shared = Shared::default();
        let (owned, mut step) = (Arc::clone(&shared), 0);
        let [mut first, second] = two_readers(policy(), move |cx| {
            step += 1;
            match step {
                1..=9 if step % 2 == 1 => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                // The buffer uses the body when it is dropped.
                2..=8 => Poll::Ready(Some(Bytes::from_owner(Meddling(Arc::clone(&owned))))),
                _ => Poll::Ready(None),
            }
        });
        *shared.lock().expect("not poisoned") = Some(second);
        let mut frames = 0;
        loop {
            let waker = Waker::from(Arc::new(Meddling(Arc::clone(&shared))));
            match first.frame().poll_pinned(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(frame)) => frames += usize::from(frame.is_ok()),
                Poll::Ready(None) => break,
                Poll::Pending => {}
            }
        }
        assert_eq!(frames, 4);
    });
}

pub(crate) trait PollPinned: Future + Unpin + Sized {
    fn poll_pinned(mut self, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self).poll(cx)
    }
}

impl<F: Future + Unpin> PollPinned for F {}
