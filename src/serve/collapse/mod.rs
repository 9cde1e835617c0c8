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

/// Decides the action of a request. `first` is the result of its first look-up; without it, the
/// request is looked up here.
///
/// # Cancel safety
/// The future may be dropped at any time. If the request leads a flight, its followers are
/// released.
pub(super) async fn collapse(state: &RequestState, request: &HeaderMap, first: Option<Lookup>) -> Action {
    if state.chain.is_loop() {
        return Action::Loop;
    }
    if state.facts.needs_current {
        let reason = match state.config.is_dry_run() {
            true => dry_run_reason(&look_up(state, request).await),
            false => Reason::new(ForwardReason::Request, Detail::RequestNoCache),
        };
        // The response to a HEAD has no body to store.
        return Action::Fetch(match state.facts.head {
            true => FetchPlan::new(None, reason, None),
            false => FetchPlan::without_flight(state, reason, None).await,
        });
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

/// Returns the reason for forwarding a request in a dry run. If the look-up found a usable
/// response, fresh or stale, the reason is the dry run. Otherwise, it is the reason of the look-up.
fn dry_run_reason(lookup: &Lookup) -> Reason {
    match lookup {
        Lookup::Hit(_) | Lookup::Stale { .. } => Reason::bypass(Detail::DryRun),
        Lookup::Miss { reason, .. } => *reason,
        Lookup::Bypass(why) => Reason::bypass(*why),
    }
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
