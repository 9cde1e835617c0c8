//! Collapsing: a request that was not answered at once waits for another one's fetch, or leads one.

mod action;
mod follower;
mod leader;

use super::fetch::{FetchPlan, StoredEntry};
use super::lookup::{Lookup, look};
use super::request::RequestState;
use crate::status::{Detail, ForwardReason, Reason};
pub(super) use action::Action;
use follower::{Collapse, Progress};
use http::HeaderMap;

/// So often a request joins a flight; then it calls the service by itself.
const ROUNDS: usize = 6;

/// Finds out what to do next, given what a look-up found if there was one.
///
/// Over a store inside the process, it waits for nothing but other requests' calls. Dropped, it
/// leaves nothing behind: a leader is only ever returned.
pub(super) async fn collapse(state: &RequestState, request: &HeaderMap, first: Option<Lookup>) -> Action {
    if state.chain.is_loop() {
        return Action::Loop;
    }
    if state.facts.needs_current {
        let reason = Reason::new(ForwardReason::Request, Detail::RequestNoCache);
        return Action::Fetch(FetchPlan::alone(state, reason, None).await);
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

async fn find(
    state: &RequestState,
    request: &HeaderMap,
    first: Option<Lookup>,
    has_waited: &mut bool,
) -> Action {
    let mut lookup = match first {
        Some(lookup) => lookup,
        None => look(state, request).await,
    };
    let mut collapse = Collapse::new(state, request);
    for _ in 0..ROUNDS {
        let progress = collapse.round(lookup).await;
        *has_waited = collapse.waited_for.is_some();
        lookup = match progress {
            Progress::Done(action) => return action,
            Progress::LookAgain => look(state, request).await,
            Progress::Known(lookup) => lookup,
        };
    }
    match lookup {
        Lookup::Hit(stored) | Lookup::Stale { stored, .. } => Action::Answer(stored, collapse.waited_for),
        Lookup::Miss { reason, stale, variant } => {
            let stored = StoredEntry::found(stale, variant, state);
            Action::Fetch(FetchPlan::alone(state, reason, stored).await)
        }
        Lookup::Bypass(why) => Action::bypass(why),
    }
}

#[cfg(test)]
mod tests;
