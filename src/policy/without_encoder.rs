//! The encoder of stored responses without feature `compression`: there is none.

use crate::rules::accept_encoding::{Coding, CodingSet};
use bytes::Bytes;
use http::{Response, response};
use http_body_util::Full;

/// The encoder that no layer has.
#[derive(Debug, Clone)]
pub(crate) enum NoEncoder {}

impl NoEncoder {
    pub(crate) fn offered(&self) -> CodingSet {
        match *self {}
    }

    pub(crate) fn requests_before_encoding(&self) -> u32 {
        match *self {}
    }

    pub(crate) fn is_eager(&self) -> bool {
        match *self {}
    }

    pub(crate) fn encodes_per_identity(&self) -> bool {
        match *self {}
    }

    pub(crate) fn encodes_length(&self, _: u64) -> bool {
        match *self {}
    }

    pub(crate) fn compresses(&self, _: &response::Parts, _: Option<u64>) -> bool {
        match *self {}
    }

    pub(crate) async fn encode(&self, _: Coding, _: Response<Full<Bytes>>) -> Option<Response<Bytes>> {
        match *self {}
    }
}
