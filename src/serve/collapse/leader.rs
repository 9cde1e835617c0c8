//! A request that fetches for all others with its key.

use super::action::Action;
use crate::entry::StoredResponse;
use crate::flight::{Chain, Flight, Leader, Role};
use crate::key::CacheKey;
use crate::serve::fetch::{FetchPlan, Refresh, StoredEntry};
use crate::serve::lookup::{Lookup, StoreUnavailable, look};
use crate::serve::request::RequestState;
use crate::status::{Detail, ForwardReason, Reason};
use crate::store::Validity;
use http::HeaderMap;
use std::sync::Arc;

/// Joins the flight of a key, unless it began before an invalidation of the request's target.
pub(super) async fn join(
    state: &RequestState,
    key: &CacheKey,
    mut outdated: Option<Arc<Flight>>,
    attempt: u32,
    chain: &Arc<Chain>,
) -> Result<Role, StoreUnavailable> {
    let (cache, leader) = (&state.config.cache, Arc::downgrade(chain));
    loop {
        let generation = cache.generation().await.map_err(|_| StoreUnavailable)?;
        let flight = match cache.flight_table().join(key, outdated.as_ref(), generation, attempt, &leader) {
            Role::Follower(flight) => flight,
            role => return Ok(role),
        };
        match cache.validity(flight.generation, &state.scopes, &[]).await {
            Ok(Validity::Valid) => return Ok(Role::Follower(flight)),
            Ok(_) => outdated = Some(flight),
            Err(_) => return Err(StoreUnavailable),
        }
    }
}

/// Makes the call for all, unless it was made between the look-up and the joining.
pub(super) async fn lead(
    state: &RequestState,
    request: &HeaderMap,
    leader: Leader,
    reason: Reason,
) -> Action {
    let (reason, stale, variant) = match look(state, request).await {
        Lookup::Hit(stored) => {
            // What is stale is for who asks for it; dropped, the leader leaves the call to another.
            if stored.is_fresh(state.config.cache.clock().now()) {
                leader.stored(Arc::clone(&stored));
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

/// Answers with what is stale, and has a new one made, unless somebody does that already.
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
        Ok(Role::Follower(_) | Role::Alone) => return Action::Answer(stored, None),
        Err(StoreUnavailable) => return Action::bypass(Detail::StoreFailed),
    };
    // Somebody may have made it between the look-up and the joining.
    let known = match look(state, request).await {
        Lookup::Hit(newer) if newer.head().fresh_until > stored.head().fresh_until => {
            leader.stored(Arc::clone(&newer));
            return Action::Answer(newer, None);
        }
        Lookup::Hit(known) => Some(StoredEntry { response: known, key: key.clone() }),
        Lookup::Stale { stored: known, variant } => StoredEntry::found(Some(known), variant, state),
        // What was invalidated meanwhile is not asked about.
        Lookup::Miss { .. } | Lookup::Bypass(_) => None,
    };
    let plan = FetchPlan::new(Some(leader.generation()), ForwardReason::Stale.into(), known);
    let plan = FetchPlan { leader: Some(leader), ..plan };
    Action::Refresh(stored, plan, Refresh::new(&state.config.cache, key, permit, chain))
}
