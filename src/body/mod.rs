//! The body of a response that went through a cache layer.

mod recorder;

use recorder::End;

pub(crate) use recorder::{Commit, Recorder};

use crate::cache::Reservation;
use crate::error::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

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
        Forwarded { #[pin] body: B },
        // Boxed: it is large, and a hit should not carry the room for it about.
        Recording { recording: Pin<Box<Recording<B>>> },
    }
}

pin_project! {
    struct Recording<B> {
        // Frames that were ready before the head was sent.
        ahead: VecDeque<Frame<Bytes>>,
        #[pin]
        body: B,
        // What `Content-Length` says.
        declared: Option<u64>,
        recorder: Option<Recorder>,
        ended: bool,
        // Whether what was read ahead is all that was declared.
        consistent: bool,
        // What the body failed with while it was read ahead; its reader gets it in its turn.
        error: Option<BoxError>,
        // Of the budget, for what was read ahead and is not sent yet.
        held: Option<Reservation>,
    }
}

/// How far a body is read ahead while it is ready, so that what is there at once is stored at once,
/// however slowly its client reads.
const AHEAD_BYTES: usize = 256 << 10;
const AHEAD_FRAMES: usize = 64;

impl<B> ResponseBody<B> {
    pub(crate) fn stored(data: Bytes) -> Self {
        Self { inner: Inner::Stored { data: Some(data).filter(|data| !data.is_empty()) } }
    }

    pub(crate) fn forwarded(body: B) -> Self {
        Self { inner: Inner::Forwarded { body } }
    }
}

impl<B> ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Returns the body with a recorder on it.
    pub(crate) fn recording(body: B, recorder: Recorder) -> Self {
        let recording = Box::pin(Recording {
            ahead: VecDeque::new(),
            body,
            declared: recorder.declared(),
            recorder: Some(recorder),
            ended: false,
            consistent: true,
            error: None,
            held: None,
        });
        Self { inner: Inner::Recording { recording } }
    }

    /// Reads what of the body is ready, within limits, before its client asks for it.
    pub(crate) fn read_ahead(&mut self, cx: &mut Context<'_>) {
        let Inner::Recording { recording } = &mut self.inner else { return };
        recording.as_mut().read_ahead(cx);
        let length: usize = recording.ahead.iter().map(|f| f.data_ref().map_or(0, Bytes::len)).sum();
        // A length that contradicts the declared one is left for the server to find out.
        let consistent = recording.declared.is_none_or(|declared| declared == length as u64);
        *recording.as_mut().project().consistent = consistent;
        if recording.ended
            && consistent
            && recording.error.is_none()
            && recording.ahead.len() <= 1
            && recording.ahead.iter().all(Frame::is_data)
        {
            let data =
                recording.as_mut().project().ahead.pop_front().and_then(|frame| frame.into_data().ok());
            *self = Self::stored(data.unwrap_or_default());
        }
    }
}

impl<B> Recording<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        if self.body.is_end_stream() {
            self.as_mut().end();
        }
        let mut bytes = 0;
        while !self.ended && self.recorder.is_some() && bytes < AHEAD_BYTES && self.ahead.len() < AHEAD_FRAMES
        {
            match self.as_mut().poll_body(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    self.as_mut().project().ahead.push_back(frame);
                }
                Poll::Ready(Some(Err(error))) => {
                    *self.project().error = Some(error);
                    return;
                }
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    fn poll_body(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.as_mut().project();
        let frame = match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                *this.ended = true;
                self.end_recording(End::Failed);
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
                self.as_mut().end_recording(End::Unfit);
                trailers
            }
        };
        // hyper does not poll again for the end of a body that says it is at its end.
        if self.body.is_end_stream() {
            self.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn end(mut self: Pin<&mut Self>) {
        *self.as_mut().project().ended = true;
        self.end_recording(End::Clean);
    }

    /// Records a frame and returns it for sending; past a limit, the recording ends.
    fn record(mut self: Pin<&mut Self>, data: Bytes) -> Bytes {
        let Some(recorder) = self.as_mut().project().recorder else { return data };
        let (sent, end) = recorder.push(data);
        if let Some(end) = end {
            self.end_recording(end);
        }
        sent
    }

    fn end_recording(self: Pin<&mut Self>, how: End) {
        let this = self.project();
        if let Some(recorder) = this.recorder.take() {
            *this.held = Some(recorder.end(how));
        }
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
            Projected::Forwarded { body } => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Projected::Recording { recording } => {
                let this = recording.as_mut().project();
                let frame = match this.ahead.pop_front() {
                    Some(frame) => Poll::Ready(Some(Ok(frame))),
                    None if *this.ended => Poll::Ready(this.error.take().map(Err)),
                    None => recording.as_mut().poll_body(cx),
                };
                if recording.ahead.is_empty() {
                    recording.as_mut().project().held.take();
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Stored { data } => data.is_none(),
            Inner::Forwarded { body } => body.is_end_stream(),
            Inner::Recording { recording } => {
                recording.ahead.is_empty()
                    && recording.ended
                    && recording.consistent
                    && recording.error.is_none()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Stored { data } => SizeHint::with_exact(data.as_ref().map_or(0, Bytes::len) as u64),
            Inner::Forwarded { body } => body.size_hint(),
            Inner::Recording { recording } => recording.size_hint(),
        }
    }
}

impl<B: Body> Recording<B> {
    fn size_hint(&self) -> SizeHint {
        let ahead: u64 = self.ahead.iter().map(|frame| frame.data_ref().map_or(0, Bytes::len) as u64).sum();
        if self.ended && self.error.is_none() {
            return if self.consistent { SizeHint::with_exact(ahead) } else { SizeHint::new() };
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
            Inner::Forwarded { .. } => "ResponseBody::Forwarded",
            Inner::Recording { .. } => "ResponseBody::Recording",
        })
    }
}
