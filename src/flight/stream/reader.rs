//! A reader of a body while it arrives.

use super::deferred::DeferredWork;
use super::item::{BodyEnd, BodyItem, BodySource, FRAME_COST, PolledFrame};
use super::lock::lock;
use super::readers::{Cursor, Readers};
use super::shared::Stream;
use super::sink::BodySink;
use super::state::{ReaderStep, StreamState};
use crate::entry::{StoredResponse, body_for_storage};
use crate::error::BoxError;
use crate::flight::chain::Wait;
use crate::flight::stall::STALL_TIMEOUT;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A reader of a [`Stream`], as a body.
///
/// ```text
/// reading ─┬─► end       the body has ended
///          ├─► failed    the source failed
///          └─► cut off   too slow for the window (see the docs of the module `stream`)
/// ```
#[derive(Debug)]
pub(crate) struct BodyReader {
    stream: Arc<Stream>,
    /// The number that identifies this reader. Another reader may get the number after this one is
    /// dropped.
    number: usize,
    /// The number of bytes that this reader has read.
    bytes_read: u64,
    /// `true` once the reader has returned an error. Nothing follows an error.
    failed: bool,
    /// Present once this reader has waited for the slowest one: a timer, and the number of the
    /// frame that the slowest reader must reach before the timer fires.
    slowest_timer: Option<(Pin<Box<Sleep>>, usize)>,
    /// The follower's registered wait for the leader, if the reader belongs to a follower.
    wait: Option<Wait>,
}

impl Stream {
    /// Creates a stream, and returns its first reader. `first_frames` were read from the source
    /// already, and `sink` has counted them.
    pub(crate) fn begin(
        head: Arc<StoredResponse>,
        declared: Option<u64>,
        first_frames: Vec<Bytes>,
        source: BodySource,
        sink: Box<dyn BodySink>,
    ) -> BodyReader {
        let bytes = first_frames.iter().map(|data| data.len() + FRAME_COST).sum();
        let frames: VecDeque<_> =
            first_frames.into_iter().map(|data| BodyItem::Data(body_for_storage(data).0)).collect();
        let (readers, sink) = (Readers::with_one_reader(frames.len()), Some(sink));
        let state = StreamState {
            source: Some(source),
            is_polled: false,
            has_poll_waiter: false,
            frames,
            bytes,
            end: None,
            sink,
            reservation: None,
            recording_end: 0,
            readers,
            last_progress: Instant::now(),
            last_read: Instant::now(),
            deferred: DeferredWork::default(),
        };
        let stream = Self { head, declared, state: Mutex::new(state), wakers: Arc::default() };
        BodyReader {
            stream: Arc::new(stream),
            number: 0,
            bytes_read: 0,
            failed: false,
            slowest_timer: None,
            wait: None,
        }
    }

    /// Adds a reader that begins with the first frame. Returns `None` if the recording or the body
    /// has ended.
    pub(crate) fn join(self: &Arc<Self>) -> Option<BodyReader> {
        let mut state = lock(&self.state);
        if state.sink.is_none() || state.end.is_some() {
            return None;
        }
        let number = state.readers.join();
        Some(BodyReader {
            stream: Arc::clone(self),
            number,
            bytes_read: 0,
            failed: false,
            slowest_timer: None,
            wait: None,
        })
    }
}

impl BodyReader {
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Attaches the registered wait of a follower. The wait ends when the reader is dropped.
    pub(crate) fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Reads the body and drops its frames, so that the recording continues without a client.
    /// Returns when the recording ends.
    pub(crate) async fn read_while_recorded(mut self) {
        while self.stream.is_recorded()
            && let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await
        {
            // Yields, so that a time limit takes effect even if the body is always ready.
            tokio::task::yield_now().await;
        }
    }

    /// Reads the body and drops its frames, so that the recording continues. Returns when the
    /// recording ends, or when this reader has been the only one for `limit`.
    pub(crate) async fn complete_after_the_others(mut self, limit: Duration) {
        let mut alone: Option<Pin<Box<Sleep>>> = None;
        std::future::poll_fn(|cx| {
            if !self.stream.is_recorded() {
                return Poll::Ready(());
            }
            // When another reader is dropped, it wakes this one, so the count is checked again.
            if !self.stream.has_one_reader() {
                alone = None;
            } else if alone
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)))
                .as_mut()
                .poll(cx)
                .is_ready()
            {
                return Poll::Ready(());
            }
            match ready!(Pin::new(&mut self).poll_frame(cx)) {
                // Yields, so that the limit takes effect even if the body is always ready.
                Some(Ok(_)) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Some(Err(_)) | None => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Waits for the slowest reader. `slowest` is the number of the frame that the slowest reader
    /// needs next. `frames` is the number of kept frames.
    ///
    /// The slowest reader is cut off if it does not read half of these frames within
    /// [`STALL_TIMEOUT`]. Outside a tokio runtime, it has no time limit.
    fn await_slowest(&mut self, slowest: Option<usize>, frames: usize, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slowest) = slowest else { return Poll::Ready(()) };
        if tokio::runtime::Handle::try_current().is_err() {
            return Poll::Pending;
        }
        let makes_progress = self.slowest_timer.as_ref().is_none_or(|(_, target)| slowest >= *target);
        if makes_progress {
            let target = slowest + frames.div_ceil(2);
            self.slowest_timer = Some((Box::pin(tokio::time::sleep(STALL_TIMEOUT)), target));
        }
        if let Some((sleep, _)) = &mut self.slowest_timer {
            ready!(sleep.as_mut().poll(cx));
        }
        self.stream.change(|state| {
            // The slowest reader may have advanced since this step was determined.
            if state.readers.slowest() == Some(slowest) {
                state.cut_off(slowest);
            }
        });
        Poll::Ready(())
    }

    /// Polls the source, without the lock.
    fn poll_source(&self, mut source: BodySource) -> Poll<()> {
        let stream = &self.stream;
        let (woken, waker) = (stream.wakers.woken(), Waker::from(Arc::clone(&stream.wakers)));
        let mut poll = SourcePoll { stream, has_returned: false };
        let polled = source.as_mut().poll_frame(&mut Context::from_waker(&waker));
        let at_end = source.is_end_stream();
        let arrived = polled.map(PolledFrame::from_poll);
        if let Poll::Ready(arrived) = &arrived {
            stream.wakers.forget(self.number);
            if let PolledFrame::Data(data) = arrived {
                stream.make_room(data);
            }
        }
        // From here on, the guard has nothing to do: both arms below return the source to the
        // state.
        poll.has_returned = true;
        match arrived {
            Poll::Pending => {
                stream.change(|state| state.put_back(source, stream.wakers.woken() != woken));
                Poll::Pending
            }
            Poll::Ready(arrived) => {
                stream.change(|state| state.receive(source, arrived, at_end));
                Poll::Ready(())
            }
        }
    }
}

/// The guard of a poll of the source. If the poll panics, the guard ends the body with an error, so
/// that the source is never polled again.
struct SourcePoll<'a> {
    stream: &'a Stream,
    has_returned: bool,
}

impl Drop for SourcePoll<'_> {
    fn drop(&mut self) {
        if !self.has_returned {
            let error = Arc::new("the body panicked".into());
            self.stream.change(|state| state.finish(BodyEnd::Failed(error)));
        }
    }
}

impl Body for BodyReader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.failed {
            return Poll::Ready(None);
        }
        let mut registered = false;
        loop {
            let number = this.number;
            let step = this.stream.change(|state| state.next_step(number, registered));
            match step {
                ReaderStep::Frame(BodyItem::Data(data)) => {
                    this.bytes_read += data.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                ReaderStep::Frame(BodyItem::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                ReaderStep::End(BodyEnd::Clean) => return Poll::Ready(None),
                ReaderStep::End(BodyEnd::Failed(error)) => {
                    this.failed = true;
                    return Poll::Ready(Some(Err(SharedBodyError(error).into())));
                }
                ReaderStep::CutOff => {
                    this.failed = true;
                    return Poll::Ready(Some(Err(
                        "reader cut off: too slow for the other readers of the response body".into(),
                    )));
                }
                // Registered before the reader waits, so that no wake-up is missed.
                ReaderStep::Register => {
                    this.stream.wakers.register(number, cx.waker());
                    registered = true;
                }
                ReaderStep::PollSource(source) => {
                    ready!(this.poll_source(source));
                    registered = false;
                }
                ReaderStep::AwaitPoll => return Poll::Pending,
                ReaderStep::AwaitSlowest { next_frame, kept } => {
                    ready!(this.await_slowest(next_frame, kept, cx))
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.stream.state);
        let at_end = state.readers.cursor(self.number) == Cursor::At(state.readers.end_frame());
        at_end && matches!(state.end, Some(BodyEnd::Clean))
    }

    fn size_hint(&self) -> SizeHint {
        match self.stream.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(self.bytes_read)),
            None => SizeHint::new(),
        }
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        // The waker is removed first, since another reader can get the number right after the
        // change.
        self.stream.wakers.forget(self.number);
        self.stream.change(|state| {
            state.readers.mark_gone(self.number);
            state.trim();
            // Other readers may have waited for this one.
            state.deferred.wakes = true;
        });
    }
}

/// The error of a shared body. All readers get the same error.
#[derive(Debug)]
struct SharedBodyError(Arc<BoxError>);

impl fmt::Display for SharedBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SharedBodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
