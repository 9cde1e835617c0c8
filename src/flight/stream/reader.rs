//! One of those who read a body while it arrives.

use super::readers::Place;
use super::state::{End, Item, State};
use super::{Stream, lock};
use crate::error::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// So long a body may stand still before others call the service by themselves, and so long the slowest
/// reader may take, while others wait for it, for half of what they wait with.
pub(super) const STALL: Duration = Duration::from_secs(10);

/// One who reads a [`Stream`]: a body.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(super) stream: Arc<Stream>,
    pub(super) number: usize,
    /// How many bytes it has.
    pub(super) read: u64,
    /// It was told of an error, after which there is nothing.
    pub(super) failed: bool,
    /// How long it waits for the slowest, and as far as which frame that one has to get meanwhile.
    pub(super) patience: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Reader {
    /// Returns the stream.
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
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
        patience: &mut Option<(Pin<Box<Sleep>>, usize)>,
        state: &mut State,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(slowest) = state.readers.slowest() else { return Poll::Ready(()) };
        if tokio::runtime::Handle::try_current().is_err() {
            return Poll::Pending;
        }
        let gets_on = patience.as_ref().is_none_or(|(_, target)| slowest >= *target);
        if gets_on {
            let target = slowest + state.frames.len().div_ceil(2);
            *patience = Some((Box::pin(tokio::time::sleep(STALL)), target));
        }
        if let Some((sleep, _)) = patience {
            ready!(sleep.as_mut().poll(cx));
        }
        state.cut_off(slowest);
        Poll::Ready(())
    }
}

impl Body for Reader {
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
        let (stream, number) = (&this.stream, this.number);
        let mut guard = lock(&stream.state);
        let state = &mut *guard;
        loop {
            let Place::At(next) = state.readers.place(number) else {
                state.readers.leave(number);
                this.failed = true;
                return Poll::Ready(Some(Err("too slow for the others that read this body".into())));
            };
            if let Some(item) = state.frames.get(state.readers.index(next)).cloned() {
                let was_full = state.is_full();
                state.readers.advance(number);
                state.trim();
                if was_full && !state.is_full() {
                    stream.wakers.wake_by_ref();
                }
                return Poll::Ready(Some(Ok(match item {
                    Item::Data(data) => {
                        this.read += data.len() as u64;
                        Frame::data(data)
                    }
                    Item::Trailers(trailers) => Frame::trailers(trailers),
                })));
            }
            match &state.end {
                Some(End::Clean) => return Poll::Ready(None),
                Some(End::Failed(error)) => {
                    this.failed = true;
                    return Poll::Ready(Some(Err(Shared(Arc::clone(error)).into())));
                }
                None => {}
            }
            // Registered before it is polled, so that no wake-up is missed.
            stream.wakers.register(number, cx.waker());
            if state.is_full() {
                ready!(Self::wait_for_the_slowest(&mut this.patience, state, cx));
                continue;
            }
            let waker = Waker::from(Arc::clone(&stream.wakers));
            ready!(state.advance(&mut Context::from_waker(&waker)));
            // There is something for all the others.
            stream.wakers.forget(number);
            stream.wakers.wake_by_ref();
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.stream.state);
        let at_end = state.readers.place(self.number) == Place::At(state.readers.end());
        at_end && matches!(state.end, Some(End::Clean))
    }

    fn size_hint(&self) -> SizeHint {
        match self.stream.declared {
            Some(declared) => SizeHint::with_exact(declared.saturating_sub(self.read)),
            None => SizeHint::new(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.stream.state);
        // Before somebody else can have its place.
        self.stream.wakers.forget(self.number);
        state.readers.leave(self.number);
        state.trim();
        drop(state);
        // Somebody may have waited for this one.
        self.stream.wakers.wake_by_ref();
    }
}

/// What a body has failed with, told to each of its readers.
#[derive(Debug)]
struct Shared(Arc<BoxError>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
