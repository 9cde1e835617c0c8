//! The bodies that the proxy sends to the upstream, or receives from it.

use super::received_body::ReceivedBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request to the upstream, or of a response from it. Fails if its sender stalls. The
/// bodies of a request and its response share one permit, which is free again once both are
/// dropped.
#[derive(Debug)]
pub(crate) struct Leg {
    body: ReceivedBody,
    limit: Duration,
    stalls: Option<Pin<Box<Sleep>>>,
    _place: Arc<OwnedSemaphorePermit>,
}

impl Leg {
    pub(crate) fn new(body: ReceivedBody, limit: Duration, place: Arc<OwnedSemaphorePermit>) -> Self {
        Self { body, limit, stalls: None, _place: place }
    }
}

impl Body for Leg {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.stalls = None;
            return frame;
        }
        let limit = self.limit;
        let stalls = self.stalls.get_or_insert_with(|| Box::pin(sleep(limit)));
        stalls.as_mut().poll(cx).map(|()| Some(Err("the sender stalls".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
