//! Request collapsing: a request that missed leads a flight, or follows the flight of another
//! request.
//!
//! ```text
//!    ┌─ look up ◄───────────────────────┐
//!    │     │ miss                       │
//!    │     ▼                            │
//!    │   join ─── leader ─► fetch       │
//!    │     │ follower                   │
//!    │     ▼                            │
//!    │   wait ─┬─ Stored ─┬─► answer    │
//!    │         │          └─ no fit ────┤
//!    │         ├─ Begun ──┬─► read      │
//!    │         │          └─ no fit ────┤
//!    │         ├─ Abandoned ────────────┤
//!    │         ├─ Failed ─┬─ once ──────┘
//!    │         │          └─ again ─► fetch, a few requests at a time
//!    │         └─ Unshared, timeout ─► fetch without a flight
//!    └─► answer, refresh, forward, refuse, or fetch without a flight
//! ```

mod action;
mod follower;
mod leader;

use super::fetch::{FetchPlan, StoredEntry};
use super::lookup::{Lookup, look_up};
use super::request::RequestState;
use crate::status::{Detail, ForwardReason, Reason};
pub(super) use action::Action;
use follower::{Collapse, Progress};
use http::HeaderMap;

/// The number of rounds after which a miss joins no further flight.
const MAX_ROUNDS: usize = 6;

/// Decides the action of a request. `first` is the result of its first look-up; if it is `None`,
/// this function looks the request up.
///
/// # Cancel safety
/// The future may be dropped at any time. If the request leads a flight, its followers are
/// released.
pub(super) async fn collapse(state: &RequestState, request: &HeaderMap, first: Option<Lookup>) -> Action {
    if state.chain.is_loop() {
        return Action::Loop;
    }
    if state.config.is_dry_run() {
        return dry_run(state, look_up(state, request).await).await;
    }
    if state.facts.needs_current {
        return fetch_new(state, Reason::new(ForwardReason::Request, Detail::RequestNoCache)).await;
    }
    let mut has_waited = false;
    let mut action = find(state, request, first, &mut has_waited).await;
    match &mut action {
        Action::Fetch(plan) => plan.has_waited = has_waited,
        Action::Forward(status) if has_waited => *status = status.collapsed(false),
        _ => {}
    }
    action
}

/// Returns the action of a request in a dry run: the service answers even if a stored response
/// could.
///
/// If the request would be a hit, the new response is not stored. Storing it would extend the
/// freshness lifetime, and later requests would be reported as hits for too long.
async fn dry_run(state: &RequestState, lookup: Lookup) -> Action {
    match lookup {
        Lookup::Hit(_) => Action::bypass(Detail::DryRun),
        Lookup::Stale { .. } if state.facts.head => Action::bypass(Detail::DryRun),
        Lookup::Stale { .. } => fetch_new(state, Reason::bypass(Detail::DryRun)).await,
        Lookup::Miss { reason, .. } => fetch_new(state, reason).await,
        Lookup::Bypass(why) => Action::bypass(why),
    }
}

/// Returns the action that fetches a response without a flight and without the stored response.
async fn fetch_new(state: &RequestState, reason: Reason) -> Action {
    // The response to a HEAD has no body to store.
    Action::Fetch(match state.facts.head {
        true => FetchPlan::new(None, reason, None),
        false => FetchPlan::without_flight(state, reason, None).await,
    })
}

async fn find(
    state: &RequestState,
    request: &HeaderMap,
    first: Option<Lookup>,
    has_waited: &mut bool,
) -> Action {
    let mut lookup = match first {
        Some(lookup) => lookup,
        None => look_up(state, request).await,
    };
    let mut collapse = Collapse::new(state, request);
    for _ in 0..MAX_ROUNDS {
        let progress = collapse.round(lookup).await;
        *has_waited = collapse.waited_reason.is_some();
        lookup = match progress {
            Progress::Done(action) => return action,
            Progress::LookAgain => look_up(state, request).await,
            Progress::LookedUp(lookup) => lookup,
        };
    }
    match lookup {
        Lookup::Hit(stored) | Lookup::Stale { stored, .. } => Action::Answer(stored, collapse.waited_reason),
        Lookup::Miss { reason, stale, variant } => {
            let stored = StoredEntry::found(stale, variant, state);
            Action::Fetch(FetchPlan::without_flight(state, reason, stored).await)
        }
        Lookup::Bypass(why) => Action::bypass(why),
    }
}

#[cfg(test)]
mod tests;
