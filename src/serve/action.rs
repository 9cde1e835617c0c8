//! What becomes of a request that was not answered at once.

use super::refresh::Refresh;
use crate::entry::{Generation, StoredResponse};
use crate::flight::{BodyReader, Leader};
use crate::key::CacheKey;
use crate::status::{CacheStatus, Reason};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What a request does next.
pub(super) enum Action {
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

/// A call of the service that may fill the cache.
pub(super) struct FetchPlan {
    /// Present where others may wait for it.
    pub(super) leader: Option<Leader>,
    /// What was current before the call; without it nothing can be stored.
    pub(super) generation: Option<Generation>,
    pub(super) reason: Reason,
    /// Whether it has waited for another one's response in vain.
    pub(super) has_waited: bool,
    /// What the service is asked about (RFC 9111 section 4.3.1).
    pub(super) stale: Option<Arc<StoredResponse>>,
    /// What is stored, and where: an answer if the service fails, outdated if it does not.
    pub(super) stored: Option<Stored>,
    /// To be held as long as the call takes.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl FetchPlan {
    pub(super) fn new(generation: Option<Generation>, reason: Reason, stored: Option<Stored>) -> Self {
        // RFC 9110 section 15.4.5: a 304 says that it would be a 200, and of the 200 alone that it still stands.
        let stale = stored.as_ref().map(|(stale, _)| stale);
        let stale = stale.filter(|stale| stale.head().is_revalidatable()).cloned();
        Self { leader: None, generation, reason, has_waited: false, stale, stored, _permit: None }
    }
}

/// A response that is stored, and its key.
pub(super) type Stored = (Arc<StoredResponse>, CacheKey);
