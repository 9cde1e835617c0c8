//! What a shared body consists of.

use crate::error::BoxError;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use std::pin::Pin;

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
