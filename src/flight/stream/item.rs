//! The source of a shared body, its frames and its end.

use crate::entry::body_for_storage;
use crate::error::BoxError;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use std::pin::Pin;
use std::sync::Arc;

/// The approximate memory of a frame besides its data, in bytes.
pub(super) const FRAME_COST: usize = 128;

/// A frame of a shared body.
#[derive(Clone)]
pub(super) enum BodyItem {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// The body of the service's response.
pub(super) type BodySource = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// The end of a body.
#[derive(Debug, Clone)]
pub(super) enum BodyEnd {
    Clean,
    Failed(Arc<BoxError>),
}

/// The result of one poll of the source.
pub(super) enum PolledFrame {
    Data(Bytes),
    /// An empty data frame. Empty frames are dropped: a body may have any number of them, and each
    /// would take memory.
    Empty,
    Trailers(HeaderMap),
    /// A frame that is neither data nor trailers.
    Unknown,
    End(BodyEnd),
}

impl PolledFrame {
    /// Classifies the result of a poll.
    pub(super) fn from_poll(polled: Option<Result<Frame<Bytes>, BoxError>>) -> Self {
        let frame = match polled {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Self::End(BodyEnd::Failed(Arc::new(error))),
            None => return Self::End(BodyEnd::Clean),
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => Self::Empty,
            // Copies data that shares its buffer, or that leaves a part of it unused. Otherwise the
            // item would keep the whole buffer in memory.
            Ok(data) => Self::Data(body_for_storage(data).0),
            Err(frame) => frame.into_trailers().map_or(Self::Unknown, Self::Trailers),
        }
    }
}
