//! The plan of a fetch, and the state that it keeps until the service answers.

use crate::cache::{RefreshOutcome, UnstoredAction};
use crate::entry::{Generation, StoredResponse};
use crate::flight::Leader;
use crate::key::CacheKey;
use crate::serve::request::RequestState;
use crate::status::{CacheStatus, Detail, Reason};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A stored response and its key: the key of the URL, or of the variant.
#[derive(Debug, Clone)]
pub(in crate::serve) struct StoredEntry {
    pub(in crate::serve) response: Arc<StoredResponse>,
    pub(in crate::serve) key: CacheKey,
}

impl StoredEntry {
    /// Creates an entry from the result of a look-up. Without a variant key, the entry has the key
    /// of the request.
    pub(in crate::serve) fn found(
        response: Option<Arc<StoredResponse>>,
        variant: Option<CacheKey>,
        state: &RequestState,
    ) -> Option<Self> {
        response.map(|response| Self { response, key: variant.unwrap_or_else(|| state.key.clone()) })
    }
}

/// The plan of a fetch.
pub(in crate::serve) struct FetchPlan {
    /// Present if other requests may follow this fetch.
    pub(in crate::serve) leader: Option<Leader>,
    /// The generation read before the fetch. Without it, nothing can be stored.
    pub(in crate::serve) generation: Option<Generation>,
    pub(in crate::serve) reason: Reason,
    /// `true` if the request followed a flight that did not answer it.
    pub(in crate::serve) has_waited: bool,
    /// The stored response that the conditional request validates (RFC 9111 section 4.3.1).
    pub(in crate::serve) stale: Option<Arc<StoredResponse>>,
    /// The stored entry, which may answer the request if the service fails.
    pub(in crate::serve) stored: Option<StoredEntry>,
    /// The permit of a follower after repeated failures. It limits how many followers fetch at a
    /// time.
    pub(in crate::serve) _permit: Option<OwnedSemaphorePermit>,
}

impl FetchPlan {
    pub(in crate::serve) fn new(
        generation: Option<Generation>,
        reason: Reason,
        stored: Option<StoredEntry>,
    ) -> Self {
        // RFC 9110 section 15.4.5: a 304 is sent in place of a 200, so it validates only a stored
        // 200.
        let stale = stored.as_ref().map(|stored| &stored.response);
        let stale = stale.filter(|stale| stale.head().is_revalidatable()).cloned();
        Self { leader: None, generation, reason, has_waited: false, stale, stored, _permit: None }
    }

    /// Returns the plan of a fetch that no other request follows. Its response may still be stored.
    pub(in crate::serve) async fn without_flight(
        state: &RequestState,
        reason: Reason,
        stored: Option<StoredEntry>,
    ) -> Self {
        // The generation is read before `is_valid`. In the other order, an invalidation between the
        // two would be missed.
        let generation = state.generation().await;
        let stored = match stored {
            Some(stored) if state.is_valid(&stored.response).await => Some(stored),
            _ => None,
        };
        Self::new(generation, reason, stored)
    }
}

/// A fetch: its plan, and the state of its request.
pub(in crate::serve) struct Fetch {
    pub(in crate::serve) state: RequestState,
    pub(in crate::serve) plan: FetchPlan,
    pub(in crate::serve) status: CacheStatus,
    /// The outcome of a background refresh, in which no client waits for the response. The fetch
    /// marks the outcome as successful if it stores a new response or removes the stored one.
    pub(in crate::serve) background: Option<RefreshOutcome>,
    /// `true` if the fetch runs in its own task. The tracker of a page that includes the response
    /// is then on the client's task, so this fetch collects dependencies even without a tracker on
    /// its own task.
    pub(in crate::serve) is_detached: bool,
    /// The action on the stored response if the fetched response is not stored.
    pub(in crate::serve) unstored_action: UnstoredAction,
}

impl Fetch {
    pub(in crate::serve) fn new(state: RequestState, plan: FetchPlan) -> Self {
        if plan.reason.detail == Some(Detail::Invalidated) {
            state.config.counters().count_invalidated();
        }
        let status = CacheStatus::forward(plan.reason);
        let status = if plan.has_waited { status.collapsed(false) } else { status };
        Self {
            state,
            plan,
            status,
            background: None,
            is_detached: false,
            unstored_action: UnstoredAction::Remove,
        }
    }

    pub(in crate::serve) fn detached(self) -> Self {
        Self { is_detached: true, ..self }
    }

    pub(in crate::serve) fn with_action(self, unstored_action: UnstoredAction) -> Self {
        Self { unstored_action, ..self }
    }

    pub(in crate::serve) fn in_background(self, outcome: RefreshOutcome) -> Self {
        Self { background: Some(outcome), ..self }
    }
}
