//! The rest of a recorded body, as the source of a stream that several readers share.

use super::recording::Recording;
use crate::error::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body that has been polled, and therefore stays pinned in its box.
pub(super) struct RecordingSource<B>(Pin<Box<Recording<B>>>);

impl<B> RecordingSource<B> {
    pub(super) fn new(begun: Pin<Box<Recording<B>>>) -> Self {
        Self(begun)
    }
}

impl<B> Body for RecordingSource<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}
