//! What a fetch is to do, and what it has to know once the service has answered.

use crate::cache::{RefreshOutcome, UnstoredAction};
use crate::entry::{Generation, StoredResponse};
use crate::flight::Leader;
use crate::key::CacheKey;
use crate::serve::request::RequestState;
use crate::status::{CacheStatus, Reason};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A stored response, and the key that it is stored under: that of the URL, or of the variant.
#[derive(Debug, Clone)]
pub(in crate::serve) struct StoredEntry {
    pub(in crate::serve) response: Arc<StoredResponse>,
    pub(in crate::serve) key: CacheKey,
}

impl StoredEntry {
    /// Creates it from what a look-up found; without the key of a variant, the response has the key of the request.
    pub(in crate::serve) fn found(
        response: Option<Arc<StoredResponse>>,
        variant: Option<CacheKey>,
        state: &RequestState,
    ) -> Option<Self> {
        response.map(|response| Self { response, key: variant.unwrap_or_else(|| state.key.clone()) })
    }
}

/// A call of the service that may fill the cache.
pub(in crate::serve) struct FetchPlan {
    /// Present where others may wait for it.
    pub(in crate::serve) leader: Option<Leader>,
    /// What was current before the call; without it nothing can be stored.
    pub(in crate::serve) generation: Option<Generation>,
    pub(in crate::serve) reason: Reason,
    /// Whether it has waited for another one's response in vain.
    pub(in crate::serve) has_waited: bool,
    /// What the service is asked about (RFC 9111 section 4.3.1).
    pub(in crate::serve) stale: Option<Arc<StoredResponse>>,
    /// What is stored, and where: an answer if the service fails, outdated if it does not.
    pub(in crate::serve) stored: Option<StoredEntry>,
    /// To be held as long as the call takes.
    pub(in crate::serve) _permit: Option<OwnedSemaphorePermit>,
}

impl FetchPlan {
    pub(in crate::serve) fn new(
        generation: Option<Generation>,
        reason: Reason,
        stored: Option<StoredEntry>,
    ) -> Self {
        // RFC 9110 section 15.4.5: a 304 says that it would be a 200, and of the 200 alone that it still stands.
        let stale = stored.as_ref().map(|stored| &stored.response);
        let stale = stale.filter(|stale| stale.head().is_revalidatable()).cloned();
        Self { leader: None, generation, reason, has_waited: false, stale, stored, _permit: None }
    }

    /// Returns a fetch that no other request waits for; its response may be stored all the same.
    pub(in crate::serve) async fn alone(
        state: &RequestState,
        reason: Reason,
        stored: Option<StoredEntry>,
    ) -> Self {
        // In this order: what was invalidated while this request waited is not asked about, and what
        // is invalidated from now on makes the answer one of before.
        let generation = state.generation().await;
        let stored = match stored {
            Some(stored) if state.is_valid(&stored.response).await => Some(stored),
            _ => None,
        };
        Self::new(generation, reason, stored)
    }
}

/// A fill: everything that has to outlive the plan.
pub(in crate::serve) struct Fetch {
    pub(in crate::serve) state: RequestState,
    pub(in crate::serve) plan: FetchPlan,
    pub(in crate::serve) status: CacheStatus,
    /// Where nobody waits for its answer, so that there is no use in another one: what it comes to.
    pub(in crate::serve) background: Option<RefreshOutcome>,
    /// It runs in a task of its own, where nobody notes what a page is made from.
    pub(in crate::serve) is_detached: bool,
    /// What becomes of what is stored, if the answer is not.
    pub(in crate::serve) action: UnstoredAction,
}

impl Fetch {
    pub(in crate::serve) fn new(state: RequestState, plan: FetchPlan) -> Self {
        event!(
            reason = plan.reason.forward.as_str(),
            detail = plan.reason.detail.map(tracing::field::display),
            stored = plan.stored.is_some(),
            "miss"
        );
        let status = CacheStatus::forward(plan.reason);
        let status = if plan.has_waited { status.collapsed(false) } else { status };
        Self { state, plan, status, background: None, is_detached: false, action: UnstoredAction::Forget }
    }

    pub(in crate::serve) fn detached(self) -> Self {
        Self { is_detached: true, ..self }
    }

    pub(in crate::serve) fn with_action(self, action: UnstoredAction) -> Self {
        Self { action, ..self }
    }

    pub(in crate::serve) fn in_background(self, settled: RefreshOutcome) -> Self {
        Self { background: Some(settled), ..self }
    }
}
