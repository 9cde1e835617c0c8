//! A reader of a body while it arrives.

use super::deferred::Deferred;
use super::item::{Arrived, BodyEnd, BodyItem, BodySource, FRAME_COST};
use super::lock::lock;
use super::readers::{Cursor, Readers};
use super::shared::Stream;
use super::sink::BodySink;
use super::state::{Found, StreamState};
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
use tokio::time::{Instant, Sleep};

/// One who reads a [`Stream`]: a body.
#[derive(Debug)]
pub(crate) struct BodyReader {
    stream: Arc<Stream>,
    number: usize,
    /// How many bytes it has.
    read: u64,
    /// It was told of an error, after which there is nothing.
    failed: bool,
    /// How long it waits for the slowest, and as far as which frame that one has to get meanwhile.
    patience: Option<(Pin<Box<Sleep>>, usize)>,
    /// The wait for the body, where the request that reads it is known to others.
    wait: Option<Wait>,
}

impl Stream {
    /// Begins with the frames that are there already, all of them counted, and returns its first reader.
    pub(crate) fn begin(
        head: Arc<StoredResponse>,
        declared: Option<u64>,
        begun: Vec<Bytes>,
        source: BodySource,
        keep: Box<dyn BodySink>,
    ) -> BodyReader {
        let bytes = begun.iter().map(|data| data.len() + FRAME_COST).sum();
        let frames: VecDeque<_> =
            begun.into_iter().map(|data| BodyItem::Data(body_for_storage(data).0)).collect();
        let (readers, keep) = (Readers::one(frames.len()), Some(keep));
        let state = StreamState {
            source: Some(source),
            polling: false,
            awaited: false,
            frames,
            bytes,
            end: None,
            keep,
            held: None,
            held_until: 0,
            readers,
            moved: Instant::now(),
            read: Instant::now(),
            deferred: Deferred::default(),
        };
        let stream = Self { head, declared, state: Mutex::new(state), wakers: Arc::default() };
        BodyReader { stream: Arc::new(stream), number: 0, read: 0, failed: false, patience: None, wait: None }
    }

    /// Returns a reader from the beginning, while there is one.
    pub(crate) fn join(self: &Arc<Self>) -> Option<BodyReader> {
        let mut state = lock(&self.state);
        if state.keep.is_none() || state.end.is_some() {
            return None;
        }
        let number = state.readers.join();
        Some(BodyReader {
            stream: Arc::clone(self),
            number,
            read: 0,
            failed: false,
            patience: None,
            wait: None,
        })
    }
}

impl BodyReader {
    /// Returns the stream.
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Says by which wait the body is read.
    pub(crate) fn waiting(mut self, wait: Wait) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Reads on for nobody, as long as the body may be stored.
    pub(crate) async fn read_while_kept(mut self) {
        while self.stream.is_kept()
            && let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await
        {
            // A body that is always ready shall not keep a time limit from being seen.
            tokio::task::yield_now().await;
        }
    }

    /// Waits for the slowest reader; ready once that is cut off.
    fn wait_for_the_slowest(
        &mut self,
        slowest: Option<usize>,
        frames: usize,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(slowest) = slowest else { return Poll::Ready(()) };
        if tokio::runtime::Handle::try_current().is_err() {
            return Poll::Pending;
        }
        let gets_on = self.patience.as_ref().is_none_or(|(_, target)| slowest >= *target);
        if gets_on {
            let target = slowest + frames.div_ceil(2);
            self.patience = Some((Box::pin(tokio::time::sleep(STALL_TIMEOUT)), target));
        }
        if let Some((sleep, _)) = &mut self.patience {
            ready!(sleep.as_mut().poll(cx));
        }
        self.stream.change(|state| {
            // It may have got on meanwhile.
            if state.readers.slowest() == Some(slowest) {
                state.cut_off(slowest);
            }
        });
        Poll::Ready(())
    }

    /// Polls the source, without the lock.
    fn drive(&self, mut source: BodySource) -> Poll<()> {
        let stream = &self.stream;
        let (woken, waker) = (stream.wakers.woken(), Waker::from(Arc::clone(&stream.wakers)));
        let mut polling = Polling { stream, ended: false };
        let polled = source.as_mut().poll_frame(&mut Context::from_waker(&waker));
        let at_end = source.is_end_stream();
        let arrived = polled.map(Arrived::of);
        if let Poll::Ready(arrived) = &arrived {
            stream.wakers.forget(self.number);
            if let Arrived::Data(data) = arrived {
                stream.make_room(data);
            }
        }
        // From here on, the state has the source again whatever happens.
        polling.ended = true;
        match arrived {
            Poll::Pending => {
                stream.change(|state| state.put_back(source, stream.wakers.woken() != woken));
                Poll::Pending
            }
            Poll::Ready(arrived) => {
                stream.change(|state| state.arrived(source, arrived, at_end));
                Poll::Ready(())
            }
        }
    }
}

/// A poll of the source. If it panics, the body has failed and is never polled again.
struct Polling<'a> {
    stream: &'a Stream,
    ended: bool,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        if !self.ended {
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
            let found = this.stream.change(|state| state.find(number, registered));
            match found {
                Found::Frame(BodyItem::Data(data)) => {
                    this.read += data.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Found::Frame(BodyItem::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Found::End(BodyEnd::Clean) => return Poll::Ready(None),
                Found::End(BodyEnd::Failed(error)) => {
                    this.failed = true;
                    return Poll::Ready(Some(Err(SharedBodyError(error).into())));
                }
                Found::CutOff => {
                    this.failed = true;
                    return Poll::Ready(Some(Err("too slow for the others that read this body".into())));
                }
                // Before all that waits, so that no wake-up is missed.
                Found::Nothing => {
                    this.stream.wakers.register(number, cx.waker());
                    registered = true;
                }
                Found::Source(source) => {
                    ready!(this.drive(source));
                    registered = false;
                }
                Found::Polled => return Poll::Pending,
                Found::Full(slowest, frames) => ready!(this.wait_for_the_slowest(slowest, frames, cx)),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.stream.state);
        let at_end = state.readers.place(self.number) == Cursor::At(state.readers.end());
        at_end && matches!(state.end, Some(BodyEnd::Clean))
    }

    fn size_hint(&self) -> SizeHint {
        match self.stream.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(self.read)),
            None => SizeHint::new(),
        }
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        // Before somebody else can have its place.
        self.stream.wakers.forget(self.number);
        self.stream.change(|state| {
            state.readers.leave(self.number);
            state.trim();
            // Somebody may have waited for this one.
            state.deferred.wakes = true;
        });
    }
}

/// What a body has failed with, told to each of its readers.
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
