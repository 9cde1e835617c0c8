//! The possible actions for a request that was not answered at once.

use crate::entry::StoredResponse;
use crate::flight::BodyReader;
use crate::serve::fetch::{FetchPlan, Refresh};
use crate::status::{CacheStatus, Detail, Reason};
use std::sync::Arc;

/// The action that completes a request in this layer.
pub(in crate::serve) enum Action {
    /// Answer with a stored response. The reason is present if the request has waited for a flight:
    /// otherwise, the request would have been forwarded for this reason.
    Answer(Arc<StoredResponse>, Option<Reason>),
    /// Answer with a response that is arriving. Otherwise, the request would have been forwarded
    /// for this reason.
    Read(Arc<StoredResponse>, BodyReader, Reason),
    /// Answer with a stored response, and refresh it in the background.
    Refresh(Arc<StoredResponse>, FetchPlan, Refresh),
    /// Forward the request, and store the response if it is storable.
    Fetch(FetchPlan),
    /// Forward the request without storing its response.
    Forward(CacheStatus),
    /// Answer 504 to `only-if-cached`: no stored response can be used (RFC 9111 section 5.2.1.7).
    Refuse,
    /// Answer 508 to a loop: the handler, the body or a computation of the request leads to the
    /// same request repeatedly.
    Loop,
}

impl Action {
    /// Returns the action of a request that bypasses the cache.
    pub(in crate::serve) fn bypass(why: Detail) -> Self {
        Self::Forward(CacheStatus::forward(Reason::bypass(why)))
    }
}
