//! What becomes of a request that was not answered at once.

use crate::entry::StoredResponse;
use crate::flight::BodyReader;
use crate::serve::fetch::{FetchPlan, Refresh};
use crate::status::{CacheStatus, Detail, Reason};
use std::sync::Arc;

/// What a request does next.
pub(in crate::serve) enum Action {
    /// With a reason, it answers a request that would have been forwarded for that, had it not waited.
    Answer(Arc<StoredResponse>, Option<Reason>),
    /// A response that is arriving, and why the request would have been forwarded.
    Read(Arc<StoredResponse>, BodyReader, Reason),
    /// An answer now, and a call for those who come later.
    Refresh(Arc<StoredResponse>, FetchPlan, Refresh),
    Fetch(FetchPlan),
    /// There might as well be no cache.
    Forward(CacheStatus),
    /// Nothing is stored, and the request does not want to wait.
    Refuse,
    /// The handler of its page makes it again and again.
    Loop,
}

impl Action {
    /// Returns what a request does that bypasses the cache.
    pub(in crate::serve) fn bypass(why: Detail) -> Self {
        Self::Forward(CacheStatus::forward(Reason::bypass(why)))
    }
}
