//! A body that is read ahead, and recorded while it streams. The [parent module](super) explains
//! the words.
//!
//! ```text
//! recording ─┬─ clean end ─> ended: the frames ahead are sent, then the end
//!            ├─ failure ───> ended: the frames ahead are sent, then the error
//!            ├─ too large, trailers, no room, refused ─> the body streams on without a recorder
//!            └─ shared ────> a shared stream polls this body, and has its recorder
//! ```

use super::frames::Frames;
use super::recorder::{Recorder, RecordingEnd};
use super::shared_recorder::SharedRecorder;
use crate::cache::{DependencyRelay, Tracker, is_tracked};
use crate::entry::{Dependencies, body_for_storage};
use crate::error::BoxError;
use crate::flight::Chain;
use crate::status::Detail;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

pin_project! {
    /// A body with its recorder. Also holds the frames of the body that were read ahead and are not
    /// sent yet.
    pub(super) struct Recording<B> {
        // Frames that were ready before the head was sent.
        pub(super) frames_ahead: Frames,
        #[pin]
        body: B,
        // The value of `Content-Length`.
        declared: Option<u64>,
        pub(super) recorder: Option<SharedRecorder>,
        ended: bool,
        // `false` if the body was read to its end and does not have the declared length.
        has_declared_length: bool,
        // The error with which the body failed while it was read ahead. The client gets the error
        // after the frames ahead.
        error: Option<BoxError>,
        // The stored bytes of the complete body. They may replace the frames ahead, until the
        // client reads the first frame.
        stored: Option<Bytes>,
        // The recorder after its end. It holds its reservation in the memory budget until the
        // frames read ahead are sent.
        ended_recorder: Option<SharedRecorder>,
        // Tracks the dependencies of the body while a shared stream records it, instead of
        // `recorder`.
        pub(super) tracker: Option<Tracker>,
        // The dependencies that the recorder knew at its end.
        ended_tracker: Option<Tracker>,
        // Relays the dependencies to a page that reads the body.
        relay: DependencyRelay,
        // The chain of the request that the body answers. A body without a tracker is polled in
        // this chain.
        chain: Option<Arc<Chain>>,
    }
}

/// Reading ahead stops once this many bytes are read. A shorter body that is ready at once is
/// stored even if its client reads slowly.
const MAX_AHEAD_BYTES: u64 = 256 << 10;
const MAX_AHEAD_FRAMES: usize = 64;
/// The most frames that `peek` reads, including empty ones.
const MAX_PEEKED_FRAMES: usize = 256;

impl<B> Recording<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B, declared: Option<u64>, recorder: Option<Recorder>) -> Self {
        let frames_ahead = Frames::default();
        let chain = recorder.as_ref().and_then(|recorder| recorder.tracker.chain());
        Self {
            frames_ahead,
            body,
            declared,
            recorder: recorder.map(SharedRecorder::new),
            ended: false,
            has_declared_length: true,
            error: None,
            stored: None,
            ended_recorder: None,
            tracker: None,
            ended_tracker: None,
            relay: DependencyRelay::default(),
            chain,
        }
    }

    fn ahead_bytes(&self) -> u64 {
        self.frames_ahead.iter().map(|frame| frame.data_ref().map_or(0, Bytes::len) as u64).sum()
    }

    /// Returns `true` if the whole body was read ahead, and has the declared length and no
    /// trailers.
    pub(super) fn is_whole(&self) -> bool {
        self.ended
            && self.has_declared_length
            && self.error.is_none()
            && self.frames_ahead.iter().all(Frame::is_data)
    }

    /// Reads ahead while the body is ready and recorded, within limits.
    pub(super) fn read_ahead(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.read_while_ready(cx, |recording, bytes| {
            recording.is_recording()
                && bytes < MAX_AHEAD_BYTES
                && recording.frames_ahead.len() < MAX_AHEAD_FRAMES
        });
    }

    /// Reads ahead while the body is ready. Stops after more than `limit` bytes, after
    /// [`MAX_PEEKED_FRAMES`] frames, and after trailers, which are the last frame.
    pub(super) fn peek(self: Pin<&mut Self>, limit: u64, cx: &mut Context<'_>) {
        self.read_while_ready(cx, |recording, bytes| {
            bytes <= limit
                && recording.frames_ahead.len() < MAX_PEEKED_FRAMES
                && recording.frames_ahead.last().is_none_or(Frame::is_data)
        });
    }

    fn read_while_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        continues: impl Fn(&Self, u64) -> bool,
    ) {
        if self.body.is_end_stream() {
            self.as_mut().end();
        }
        let mut bytes = 0;
        while !self.ended && continues(&self, bytes) {
            match self.as_mut().poll_body(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                    let frames_ahead = self.as_mut().project().frames_ahead;
                    // From the second frame on, frames may be small slices of large buffers, and
                    // would keep these buffers in memory.
                    let compacts = !frames_ahead.is_empty();
                    frames_ahead
                        .push(frame.map_data(|data| if compacts { body_for_storage(data).0 } else { data }));
                }
                Poll::Ready(Some(Err(error))) => {
                    *self.as_mut().project().error = Some(error);
                    break;
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        // If the length is not the declared one, `is_end_stream` and `size_hint` do not report the
        // end. The server then polls the body and notices the wrong length.
        let length = self.ahead_bytes();
        let has_declared_length = !self.ended || self.declared.is_none_or(|declared| declared == length);
        *self.project().has_declared_length = has_declared_length;
    }

    pub(super) fn poll_body(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.recorder.is_some() && !self.is_recording() {
            // The budget has ended the recording.
            self.as_mut().end_recording(RecordingEnd::NoRoom);
        }
        let this = self.as_mut().project();
        let tracker = this.recorder.as_mut().map(|recorder| &mut recorder.tracker);
        let polled = match (tracker.or(this.tracker.as_mut()), &*this.chain) {
            (Some(tracker), _) => tracker.enter(|| this.body.poll_frame(cx)),
            // Without a tracker, no dependencies are recorded. A request that the body makes must
            // still have the chain as its parent, so that loops are detected.
            (None, Some(chain)) => chain.enter(|| this.body.poll_frame(cx)),
            (None, None) => this.body.poll_frame(cx),
        };
        if polled.is_pending()
            && let Some(recorder) = this.recorder
        {
            recorder.register();
        }
        let frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                *this.ended = true;
                self.end_recording(RecordingEnd::Failed);
                return Poll::Ready(Some(Err(error.into())));
            }
            None => {
                self.end();
                return Poll::Ready(None);
            }
        };
        let frame = match frame.into_data() {
            Ok(data) => Frame::data(self.as_mut().record(data)),
            Err(trailers) => {
                // Trailers are not stored, so neither is a response that has them.
                self.as_mut().end_recording(RecordingEnd::NotStorable(Detail::Trailers));
                trailers
            }
        };
        // hyper does not poll for the end if `is_end_stream` returns `true`.
        if self.body.is_end_stream() {
            self.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn end(mut self: Pin<&mut Self>) {
        *self.as_mut().project().ended = true;
        self.end_recording(RecordingEnd::Clean);
    }

    /// Records a frame and returns it for sending. Ends the recording at a limit.
    fn record(mut self: Pin<&mut Self>, data: Bytes) -> Bytes {
        let Some(recorder) = self.as_mut().project().recorder else { return data };
        let (sent, end) = recorder.push(data);
        if let Some(end) = end {
            self.end_recording(end);
        }
        sent
    }

    fn end_recording(self: Pin<&mut Self>, how: RecordingEnd) {
        let this = self.project();
        if let Some(mut recorder) = this.recorder.take() {
            *this.ended_tracker = recorder.tracker.share_if_read();
            *this.stored = recorder.end(how);
            *this.ended_recorder = Some(recorder);
        }
    }

    /// Replaces the frames read ahead by the stored bytes, if the frames are the complete body.
    ///
    /// The bytes count against the budget until they are sent, since the store may evict the entry
    /// while the client reads.
    pub(super) fn use_stored_bytes(self: Pin<&mut Self>) {
        let ahead_bytes = self.ahead_bytes();
        let this = self.project();
        let is_ahead = |body: &mut Bytes| {
            body.len() as u64 == ahead_bytes && this.frames_ahead.iter().all(Frame::is_data)
        };
        if let Some(body) = this.stored.take_if(is_ahead) {
            *this.frames_ahead = Frames::one(body);
        }
    }

    /// Registers the recorders that still hold bytes of the budget, so that the budget can reclaim
    /// them.
    pub(super) fn register(self: Pin<&mut Self>) {
        let this = self.project();
        for recorder in [this.recorder, this.ended_recorder].into_iter().flatten() {
            recorder.register();
        }
    }

    /// Returns `true` until the recording ends.
    pub(super) fn is_recording(&self) -> bool {
        self.recorder.as_ref().is_some_and(SharedRecorder::is_recording)
    }

    /// Returns the dependencies of the body so far.
    pub(super) fn reads(&self) -> Option<Dependencies> {
        let recorder = self.recorder.as_ref().map(|recorder| &recorder.tracker);
        recorder.or(self.tracker.as_ref()).or(self.ended_tracker.as_ref())?.peek()
    }

    /// Returns `true` if more frames may follow.
    pub(super) fn may_have_more_frames(&self) -> bool {
        !self.ended && self.error.is_none() && self.frames_ahead.iter().all(Frame::is_data)
    }

    /// Returns `true` if the body is known to be at its end.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    pub(super) fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.as_mut().project();
        let frame = match this.frames_ahead.pop() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if *this.ended => Poll::Ready(this.error.take().map(Err)),
            None => self.as_mut().poll_body(cx),
        };
        let this = self.project();
        if is_tracked() {
            this.relay.set_waiting(frame.is_pending());
            let tracker = this.recorder.as_ref().map(|recorder| &recorder.tracker);
            tracker
                .or(this.ended_tracker.as_ref())
                .into_iter()
                .for_each(|tracker| this.relay.pass_on(tracker));
        }
        this.stored.take();
        if this.frames_ahead.is_empty() {
            this.ended_recorder.take();
        }
        frame
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.frames_ahead.is_empty() && self.ended && self.has_declared_length && self.error.is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead_bytes();
        if self.ended && self.error.is_none() {
            return if self.has_declared_length { SizeHint::with_exact(ahead) } else { SizeHint::new() };
        }
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ahead));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(ahead));
        }
        hint
    }
}
