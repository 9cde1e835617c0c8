//! The body of a response that went through a cache layer.

mod commit;
mod empty;
mod frames;
mod recorder;
mod recording;
mod selected;
mod shared_recorder;
mod source;
mod tag;

use frames::Frames;
use recording::Recording;
use shared_recorder::SharedRecorder;
use source::RecordingSource;

pub(crate) use commit::Commit;
pub(crate) use empty::empty;
pub(crate) use recorder::Recorder;
pub(crate) use tag::Tagged;

use crate::cache::{DependencyRelay, Tracker, is_tracked, mark_untrackable};
use crate::entry::Dependencies;
use crate::error::BoxError;
use crate::flight::{BodyReader, Chain};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pin_project! {
    /// A body out of the cache, or one from the wrapped service that streams through.
    ///
    /// Its error is a [`BoxError`]: what the service's body failed with.
    pub struct ResponseBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = Projected]
    enum Inner<B> {
        Stored { data: Option<Bytes> },
        Pieces { pieces: VecDeque<Bytes> },
        Absent,
        Forwarded { #[pin] body: B },
        // The forwarded body of a request that has a key.
        Chained { body: Pin<Box<B>>, chain: Arc<Chain> },
        // Boxed: it is large, and a hit should not carry the room for it about.
        Recording { recording: Pin<Box<Recording<B>>> },
        // With what the body was made from, where that is known.
        Shared { reader: BodyReader, tracker: Option<Tracker>, relay: DependencyRelay },
    }
}

/// What came of reading a body ahead.
pub(crate) enum Peeked<B> {
    Complete(Vec<Bytes>),
    /// There is more, or may be; what was read comes first.
    Begun(ResponseBody<B>),
}

/// So long a body is read for the store alone.
const LONGEST_DRAIN: Duration = Duration::from_secs(30);

impl<B> ResponseBody<B> {
    pub(crate) fn stored(data: Bytes) -> Self {
        Self { inner: Inner::Stored { data: Some(data).filter(|data| !data.is_empty()) } }
    }

    pub(crate) fn pieces(pieces: Vec<Bytes>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { inner: Inner::Pieces { pieces } }
    }

    /// The body of a 304, whose length is not that of the page (RFC 9110 section 8.6): servers that
    /// state the length of what they send are not told one.
    pub(crate) fn absent() -> Self {
        Self { inner: Inner::Absent }
    }

    /// The body that another request's call has begun.
    pub(crate) fn shared(reader: BodyReader) -> Self {
        Self { inner: Inner::Shared { reader, tracker: None, relay: DependencyRelay::default() } }
    }

    pub(crate) fn forwarded(body: B) -> Self {
        Self { inner: Inner::Forwarded { body } }
    }

    /// Makes a forwarded body part of the chain of its request. The requests that the body makes belong to that chain.
    pub(crate) fn in_chain(self, chain: &Arc<Chain>) -> Self
    where
        B: Body,
    {
        match self.inner {
            Inner::Forwarded { body } if !body.is_end_stream() => {
                Self { inner: Inner::Chained { body: Box::pin(body), chain: Arc::clone(chain) } }
            }
            inner => Self { inner },
        }
    }
}

impl<B> ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Reads what of a body is ready at once, up to a limit in bytes, without holding it back.
    ///
    /// It is complete only if it is as long as `declared`, and without trailers.
    pub(crate) fn peek(body: B, declared: Option<u64>, limit: u64, cx: &mut Context<'_>) -> Peeked<B> {
        if body.size_hint().lower() > limit {
            return Peeked::Begun(Self::forwarded(body));
        }
        let mut begun = Box::pin(Recording::new(body, declared, None));
        begun.as_mut().peek(limit, cx);
        if begun.is_whole() {
            let ahead = begun.as_mut().project().ahead;
            let frames = std::iter::from_fn(|| ahead.pop());
            return Peeked::Complete(frames.filter_map(|frame| frame.into_data().ok()).collect());
        }
        Peeked::Begun(Self { inner: Inner::Recording { recording: begun } })
    }

    /// Returns the body with a recorder on it.
    pub(crate) fn recording(body: B, recorder: Recorder) -> Self {
        let declared = recorder.declared();
        Self {
            inner: Inner::Recording { recording: Box::pin(Recording::new(body, declared, Some(recorder))) },
        }
    }

    /// Returns `true` while the body is recorded.
    pub(crate) fn is_recording(&self) -> bool {
        matches!(&self.inner, Inner::Recording { recording } if recording.is_recording())
    }

    /// Reads what of the body is ready, within limits, before its client asks for it. Returns what that was made from.
    pub(crate) fn read_ahead(&mut self, cx: &mut Context<'_>) -> Option<Dependencies> {
        let Inner::Recording { recording } = &mut self.inner else { return None };
        recording.as_mut().read_ahead(cx);
        let reads = recording.reads();
        if recording.is_whole() && recording.ahead.len() <= 1 {
            let data = recording.as_mut().project().ahead.pop().and_then(|frame| frame.into_data().ok());
            *self = Self::stored(data.unwrap_or_default());
        } else {
            recording.as_mut().use_stored_bytes();
            recording.as_mut().register();
        }
        reads
    }
}

impl<B> ResponseBody<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Lets others read the body while it arrives, where some may be waiting and there is more to come.
    pub(crate) fn share(self) -> Self {
        let Inner::Recording { mut recording } = self.inner else { return self };
        if !recording.goes_on() || !recording.recorder.as_ref().is_some_and(SharedRecorder::has_leader) {
            return Self { inner: Inner::Recording { recording } };
        }
        let this = recording.as_mut().project();
        // The budget may have ended the recording since the check.
        let Some(mut recorder) = this.recorder.as_mut().and_then(SharedRecorder::take) else {
            return Self { inner: Inner::Recording { recording } };
        };
        *this.recorder = None;
        let begun = std::mem::take(this.ahead);
        let tracker = recorder.tracker.share();
        *this.tracker = Some(recorder.tracker.share());
        let begun = begun.into_iter().filter_map(|frame| frame.into_data().ok()).collect();
        match recorder.share(begun, Box::pin(RecordingSource::new(recording))) {
            Some(reader) => Self {
                inner: Inner::Shared { reader, tracker: Some(tracker), relay: DependencyRelay::default() },
            },
            None => Self::default(),
        }
    }

    /// Sees a recording to its end though nobody reads the body, within limits; a body that is not
    /// recorded is dropped. Outside a tokio runtime, or where too many are seen to already, it is
    /// returned.
    pub(crate) fn finish_recording(self) -> Result<(), Self> {
        match self.inner {
            Inner::Recording { recording } if recording.is_recording() => {
                let permit = recording.recorder.as_ref().and_then(SharedRecorder::drain_permit);
                let (Ok(runtime), Some(permit)) = (tokio::runtime::Handle::try_current(), permit) else {
                    return Err(Self { inner: Inner::Recording { recording } });
                };
                runtime.spawn(tokio::time::timeout(LONGEST_DRAIN, async move {
                    let _permit = permit;
                    drain(recording).await;
                }));
                Ok(())
            }
            // Others may go on reading; so does this one, for the store.
            Inner::Shared { reader, tracker, relay } => {
                let permit = reader.stream().drain_permit();
                let (Ok(runtime), Some(permit)) = (tokio::runtime::Handle::try_current(), permit) else {
                    return Err(Self { inner: Inner::Shared { reader, tracker, relay } });
                };
                runtime.spawn(tokio::time::timeout(LONGEST_DRAIN, async move {
                    let _permit = permit;
                    reader.read_while_kept().await;
                }));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl<B> ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Returns one more reader of a body that others may be reading.
    pub(crate) fn second_reader(&self) -> Option<BodyReader> {
        match &self.inner {
            Inner::Shared { reader, .. } => reader.stream().join(),
            _ => None,
        }
    }

    /// Sees a recording to its end, in a task that has nothing else to do.
    pub(crate) async fn drain(self) {
        match self.inner {
            Inner::Recording { recording } => drain(recording).await,
            Inner::Shared { reader, .. } => reader.read_while_kept().await,
            _ => {}
        }
    }
}

/// Ends with the body, or where that turns out not to be one to store.
async fn drain<B>(mut recording: Pin<Box<Recording<B>>>)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    *recording.as_mut().project().ahead = Frames::default();
    while recording.is_recording() {
        std::future::poll_fn(|cx| recording.as_mut().poll_body(cx)).await;
        // A body that is always ready shall not keep a time limit from being seen.
        tokio::task::yield_now().await;
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().inner.project() {
            Projected::Stored { data } => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Projected::Pieces { pieces } => {
                Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
            }
            Projected::Absent => Poll::Ready(None),
            Projected::Forwarded { body } => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Projected::Chained { body, chain } => {
                let frame = chain.enter(|| body.as_mut().poll_frame(cx));
                frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Projected::Recording { recording } => recording.as_mut().poll_frame(cx),
            Projected::Shared { reader, tracker, relay } => {
                let frame = Pin::new(reader).poll_frame(cx);
                if is_tracked() {
                    relay.set_waiting(frame.is_pending());
                    // Another reader may have driven the body to here, in its own task.
                    match tracker {
                        Some(tracker) => relay.pass_on(tracker),
                        None if frame.is_ready() => mark_untrackable(),
                        None => {}
                    }
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Stored { data } => data.is_none(),
            Inner::Pieces { pieces } => pieces.is_empty(),
            Inner::Absent => true,
            Inner::Forwarded { body } => body.is_end_stream(),
            Inner::Chained { body, .. } => body.is_end_stream(),
            Inner::Recording { recording } => recording.is_end_stream(),
            Inner::Shared { reader, .. } => reader.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Stored { data } => SizeHint::with_exact(data.as_ref().map_or(0, Bytes::len) as u64),
            Inner::Pieces { pieces } => SizeHint::with_exact(pieces.iter().map(|p| p.len() as u64).sum()),
            Inner::Absent => SizeHint::new(),
            Inner::Forwarded { body } => body.size_hint(),
            Inner::Chained { body, .. } => body.size_hint(),
            Inner::Recording { recording } => recording.size_hint(),
            Inner::Shared { reader, .. } => reader.size_hint(),
        }
    }
}

impl<B> Default for ResponseBody<B> {
    /// Returns an empty body, which layers outside may answer with.
    fn default() -> Self {
        Self::stored(Bytes::new())
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.inner {
            Inner::Stored { .. } => "ResponseBody::Stored",
            Inner::Pieces { .. } => "ResponseBody::Pieces",
            Inner::Absent => "ResponseBody::Absent",
            Inner::Forwarded { .. } | Inner::Chained { .. } => "ResponseBody::Forwarded",
            Inner::Recording { .. } => "ResponseBody::Recording",
            Inner::Shared { .. } => "ResponseBody::Shared",
        })
    }
}
