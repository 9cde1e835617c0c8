//! What a shared body consists of.

use crate::entry::body_for_storage;
use crate::error::BoxError;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use std::pin::Pin;
use std::sync::Arc;

/// What a frame takes besides its bytes, about.
pub(super) const FRAME_COST: usize = 128;

/// A frame of a shared body.
#[derive(Clone)]
pub(super) enum BodyItem {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// The body itself.
pub(super) type BodySource = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// How a body has ended.
#[derive(Debug, Clone)]
pub(super) enum BodyEnd {
    Clean,
    Failed(Arc<BoxError>),
}

/// What one poll of the source has come to.
pub(super) enum Arrived {
    Data(Bytes),
    /// They say nothing, and there is no end to them.
    Empty,
    Trailers(HeaderMap),
    /// A frame of neither kind.
    Unknown,
    End(BodyEnd),
}

impl Arrived {
    /// Takes a frame apart.
    pub(super) fn of(polled: Option<Result<Frame<Bytes>, BoxError>>) -> Self {
        let frame = match polled {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Self::End(BodyEnd::Failed(Arc::new(error))),
            None => return Self::End(BodyEnd::Clean),
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => Self::Empty,
            // A small piece of a large buffer would keep all of that.
            Ok(data) => Self::Data(body_for_storage(data).0),
            Err(frame) => frame.into_trailers().map_or(Self::Unknown, Self::Trailers),
        }
    }
}
