//! The leader of a flight: it fetches for all requests with its key.

use super::action::Action;
use crate::entry::StoredResponse;
use crate::flight::{Chain, Flight, Leader, Role};
use crate::key::CacheKey;
use crate::serve::fetch::{FetchPlan, Refresh, StoredEntry};
use crate::serve::lookup::{Lookup, StoreUnavailable, look_up};
use crate::serve::request::RequestState;
use crate::status::{Detail, ForwardReason, Reason};
use crate::store::Validity;
use http::HeaderMap;
use std::sync::Arc;

/// Joins the flight of a key. A flight that began before an invalidation of the request's target is
/// replaced by a new one.
pub(super) async fn join(
    state: &RequestState,
    key: &CacheKey,
    mut outdated: Option<Arc<Flight>>,
    attempt: u32,
    chain: &Arc<Chain>,
) -> Result<Role, StoreUnavailable> {
    let (cache, weak_chain) = (&state.config.cache, Arc::downgrade(chain));
    loop {
        let generation = cache.generation().await.map_err(|_| StoreUnavailable)?;
        let flight = match cache.flight_table().join(key, outdated.as_ref(), generation, attempt, &weak_chain)
        {
            Role::Follower(flight) => flight,
            role => return Ok(role),
        };
        match cache.validity(flight.generation, &state.target.scopes, &[]).await {
            Ok(Validity::Valid) => return Ok(Role::Follower(flight)),
            Ok(_) => outdated = Some(flight),
            Err(_) => return Err(StoreUnavailable),
        }
    }
}

/// Plans the fetch of a leader, after another look-up: a response may have been stored between the
/// first look-up and joining.
pub(super) async fn lead(
    state: &RequestState,
    request: &HeaderMap,
    leader: Leader,
    reason: Reason,
) -> Action {
    let (reason, stale, variant) = match look_up(state, request).await {
        Lookup::Hit(stored) => {
            // A stale response is a hit only because of this request's `max-stale`, so followers do
            // not get it. Dropping the leader lets a follower lead.
            if stored.is_fresh(state.config.cache.clock().now()) {
                leader.end_stored(Arc::clone(&stored));
            }
            return Action::Answer(stored, None);
        }
        Lookup::Stale { stored, variant } => (ForwardReason::Stale.into(), Some(stored), variant),
        Lookup::Miss { reason, stale, variant } => (reason, stale, variant),
        Lookup::Bypass(_) => (reason, None, None),
    };
    let stored = StoredEntry::found(stale, variant, state);
    let plan = FetchPlan::new(Some(leader.generation()), reason, stored);
    Action::Fetch(FetchPlan { leader: Some(leader), ..plan })
}

/// Answers with a stored response that is due for a refresh: it is stale, or an early refresh is
/// due. Only a request that leads the flight of the key also plans the background refresh. If the
/// store fails, the request bypasses the cache.
pub(super) async fn serve_stale(
    state: &RequestState,
    request: &HeaderMap,
    stored: Arc<StoredResponse>,
    variant: Option<CacheKey>,
) -> Action {
    let key = variant.unwrap_or_else(|| state.key.clone());
    let Some(permit) = state.config.cache.refresh_permit(key.as_ref()) else {
        return Action::Answer(stored, None);
    };
    let chain = Chain::root(state.key.clone());
    let leader = match join(state, &key, None, 0, &chain).await {
        Ok(Role::Leader(leader)) => leader,
        Ok(Role::Follower(_) | Role::TableFull) => return Action::Answer(stored, None),
        Err(StoreUnavailable) => return Action::bypass(Detail::StoreFailed),
    };
    // Another request may have refreshed the response between the look-up and joining.
    let known = match look_up(state, request).await {
        Lookup::Hit(newer) if newer.head().fresh_until > stored.head().fresh_until => {
            leader.end_stored(Arc::clone(&newer));
            return Action::Answer(newer, None);
        }
        Lookup::Hit(known) => Some(StoredEntry { response: known, key: key.clone() }),
        Lookup::Stale { stored: known, variant } => StoredEntry::found(Some(known), variant, state),
        // The response was invalidated or removed, its stale window has ended, or the store failed. So
        // the refresh fetches without a condition.
        Lookup::Miss { .. } | Lookup::Bypass(_) => None,
    };
    let plan = FetchPlan::new(Some(leader.generation()), ForwardReason::Stale.into(), known);
    let plan = FetchPlan { leader: Some(leader), ..plan };
    Action::Refresh(stored, plan, Refresh::new(&state.config.cache, key, permit, chain))
}
