//! Received bodies, which fail if their sender did not end them.

use super::fields::take_off;
use bytes::Bytes;
use http::Version;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type BoxError = Box<dyn Error + Send + Sync>;

/// A received body, without the connection-specific fields of its trailers. Fails if its HTTP/2
/// stream was reset.
///
/// hyper ends a body without an error if its stream is reset with `NO_ERROR` (RFC 9113 section
/// 8.1). A cache would store the received part as a complete body.
#[derive(Debug)]
pub(crate) struct ReceivedBody {
    body: Incoming,
    by_http2: bool,
}

impl ReceivedBody {
    pub(crate) fn new(body: Incoming, received: Version) -> Self {
        Self { body, by_http2: received == Version::HTTP_2 }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None if self.by_http2 && !self.body.is_end_stream() => {
                Some(Err("the stream was reset before the end of the body".into()))
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    take_off(trailers);
                }
                Some(Ok(frame))
            }
            end => end.map(|frame| frame.map_err(Into::into)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
