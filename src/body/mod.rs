//! Response bodies of the cache layers: stored, forwarded, recorded or shared.
//!
//! ```text
//! hit ───────────────────> Stored, Pieces (multipart ranges), Absent (304)
//! forward ─┬─ not stored ─> Forwarded, Chained
//!          └─ recorded ───> Recording ─┬─ read ahead to its end ─> Stored
//!                                      └─ share() ───────────────> Shared (several readers)
//! follower ──────────────> Shared
//! ```
//!
//! Words of this module and of its submodules:
//! - A *recording* copies a body while it streams, so that the response can be stored.
//! - The *budget* limits the memory of all recordings of a cache.
//! - A *flight* is a fetch that concurrent requests with one key share. The *leader* forwards its
//!   request, and the *followers* wait for the leader's response. Followers are *released* if they
//!   must forward their own requests.
//! - The *verdict* is the decision of the outermost layer of this crate whether a response may be
//!   stored. It is open until that layer has examined the head of the response.
//! - The *dependencies* of a response are the cached values from which it was made. A *tracker*
//!   records the values that a body reads.
//! - The *chain* of a request links it to the requests that led to it, so that loops are detected.

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
pub(crate) use tag::GeneratedTag;

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
    /// The body of a response from a cache layer.
    ///
    /// The body is a stored one, or it streams from the inner service and may be recorded for the
    /// store. The bytes of a stored body are not copied. A failure of the inner body is returned as
    /// a [`BoxError`], which is the same type as `tower::BoxError`. Dropping the body early leaves
    /// no partial response in the store.
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
        // A forwarded body. The chain is that of the answered request; requests that the body makes
        // belong to it.
        Chained { body: Pin<Box<B>>, chain: Arc<Chain> },
        // Boxed, since it is large, and hits would pay for its size.
        Recording { recording: Pin<Box<Recording<B>>> },
        // The tracker has the dependencies of the body; `None` if they are unknown.
        Shared { reader: BodyReader, tracker: Option<Tracker>, relay: DependencyRelay },
    }
}

/// The result of reading a body ahead.
pub(crate) enum PeekedBody<B> {
    /// The whole body.
    Complete(Vec<Bytes>),
    /// A body that may have more frames. It begins with the frames that were read.
    Begun(ResponseBody<B>),
}

/// How long the rest of a body is read for the store after its client has disconnected. For a
/// detached fetch, `complete_after_disconnect` of the policy applies instead.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(30);

impl<B> ResponseBody<B> {
    pub(crate) fn stored(data: Bytes) -> Self {
        Self { inner: Inner::Stored { data: Some(data).filter(|data| !data.is_empty()) } }
    }

    pub(crate) fn pieces(pieces: Vec<Bytes>) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { inner: Inner::Pieces { pieces } }
    }

    /// Returns the body of a 304. Its size hint is unknown, so that servers add no `Content-Length`
    /// of zero (RFC 9110 section 8.6).
    pub(crate) fn absent() -> Self {
        Self { inner: Inner::Absent }
    }

    /// Returns the body for a follower, which reads the stream of the leader's response.
    pub(crate) fn shared(reader: BodyReader) -> Self {
        Self { inner: Inner::Shared { reader, tracker: None, relay: DependencyRelay::default() } }
    }

    pub(crate) fn forwarded(body: B) -> Self {
        Self { inner: Inner::Forwarded { body } }
    }

    /// Adds a forwarded body to the chain of the request that it answers. Requests that the body
    /// makes belong to that chain.
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
    /// Reads the ready frames of a body, up to a limit in bytes, without waiting.
    ///
    /// Returns [`PeekedBody::Complete`] only if the whole body was read, has the `declared` length
    /// and has no trailers.
    pub(crate) fn peek(body: B, declared: Option<u64>, limit: u64, cx: &mut Context<'_>) -> PeekedBody<B> {
        if body.size_hint().lower() > limit {
            return PeekedBody::Begun(Self::forwarded(body));
        }
        let mut begun = Box::pin(Recording::new(body, declared, None));
        begun.as_mut().peek(limit, cx);
        if begun.is_whole() {
            let ahead = begun.as_mut().project().frames_ahead;
            let frames = std::iter::from_fn(|| ahead.pop());
            return PeekedBody::Complete(frames.filter_map(|frame| frame.into_data().ok()).collect());
        }
        PeekedBody::Begun(Self { inner: Inner::Recording { recording: begun } })
    }

    /// Returns a body that records `body` while it streams.
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

    /// Reads the frames that are ready, within limits, before the client reads. Returns the
    /// dependencies of the body so far.
    pub(crate) fn read_ahead(&mut self, cx: &mut Context<'_>) -> Option<Dependencies> {
        let Inner::Recording { recording } = &mut self.inner else { return None };
        recording.as_mut().read_ahead(cx);
        let reads = recording.reads();
        if recording.is_whole() && recording.frames_ahead.len() <= 1 {
            let data =
                recording.as_mut().project().frames_ahead.pop().and_then(|frame| frame.into_data().ok());
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
    /// Shares the rest of a recording with followers while it arrives.
    ///
    /// Returns the body unchanged if the recording has ended or has no flight, or if no more frames
    /// may follow.
    pub(crate) fn share(self) -> Self {
        let Inner::Recording { mut recording } = self.inner else { return self };
        if !recording.may_have_more_frames()
            || !recording.recorder.as_ref().is_some_and(SharedRecorder::has_leader)
        {
            return Self { inner: Inner::Recording { recording } };
        }
        let this = recording.as_mut().project();
        // The budget may have ended the recording since the check.
        let Some(mut recorder) = this.recorder.as_mut().and_then(SharedRecorder::take) else {
            return Self { inner: Inner::Recording { recording } };
        };
        *this.recorder = None;
        let begun = std::mem::take(this.frames_ahead);
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

    /// Finishes a recording in a new task, without a client, for at most [`MAX_DRAIN_TIME`].
    ///
    /// Drops a body that is not recorded.
    ///
    /// # Errors
    /// Returns the body, still recorded, if there is no tokio runtime, or if too many recordings
    /// are finished in this way already.
    pub(crate) fn finish_recording(self) -> Result<(), Self> {
        match self.inner {
            Inner::Recording { recording } if recording.is_recording() => {
                let permit = recording.recorder.as_ref().and_then(SharedRecorder::drain_permit);
                let (Ok(runtime), Some(permit)) = (tokio::runtime::Handle::try_current(), permit) else {
                    return Err(Self { inner: Inner::Recording { recording } });
                };
                runtime.spawn(tokio::time::timeout(MAX_DRAIN_TIME, async move {
                    let _permit = permit;
                    drain(recording).await;
                }));
                Ok(())
            }
            // The other readers may stop before the end, so this reader continues for the store.
            Inner::Shared { reader, tracker, relay } => {
                let permit = reader.stream().drain_permit();
                let (Ok(runtime), Some(permit)) = (tokio::runtime::Handle::try_current(), permit) else {
                    return Err(Self { inner: Inner::Shared { reader, tracker, relay } });
                };
                runtime.spawn(tokio::time::timeout(MAX_DRAIN_TIME, async move {
                    let _permit = permit;
                    reader.read_while_recorded().await;
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
    /// Returns another reader of a shared body, if further readers may join.
    pub(crate) fn second_reader(&self) -> Option<BodyReader> {
        match &self.inner {
            Inner::Shared { reader, .. } => reader.stream().join(),
            _ => None,
        }
    }

    /// Finishes a recording in the current task, without a client.
    pub(crate) async fn drain(self) {
        match self.inner {
            Inner::Recording { recording } => drain(recording).await,
            Inner::Shared { reader, .. } => reader.read_while_recorded().await,
            _ => {}
        }
    }
}

/// Reads a body until it ends or its recording ends.
async fn drain<B>(mut recording: Pin<Box<Recording<B>>>)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    *recording.as_mut().project().frames_ahead = Frames::default();
    while recording.is_recording() {
        std::future::poll_fn(|cx| recording.as_mut().poll_body(cx)).await;
        // Without this yield, a body that is always ready would keep a time limit from firing.
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
                    // The body's own tracker records the dependencies, whichever reader polls the
                    // body. Without a tracker, the dependencies are unknown.
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
    /// Returns an empty body, for responses that an outer layer makes itself.
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
