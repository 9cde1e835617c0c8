//! Collapsing: a request that was not answered at once waits for another one's fetch, or leads one.

mod follower;

use crate::entry::StoredResponse;
use crate::flight::{Chain, Flight, HitForMissReason, Leader, Outcome, Role};
use crate::key::CacheKey;
use crate::serve::action::{Action, FetchPlan, Stored};
use crate::serve::lookup::Lookup;
use crate::serve::not_reusable::NotReusable;
use crate::serve::request_state::RequestState;
use crate::status::{CacheStatus, Detail, ForwardReason, Reason};
use crate::store::Validity;
use follower::{Collapse, Progress};
use futures_util::future::{Either, select};
use http::HeaderMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

/// So often a request joins a flight; then it calls the service by itself.
const ROUNDS: usize = 6;
/// Returns the step of a request that bypasses the cache.
pub(in crate::serve) fn bypass(why: Detail) -> Action {
    Action::Forward(CacheStatus::forward(Reason::bypass(why)))
}

impl RequestState {
    /// Finds out what to do next, given what a look-up found if there was one.
    ///
    /// Over a store inside the process, it waits for nothing but other requests' calls. Dropped, it
    /// leaves nothing behind: a leader is only ever returned.
    pub(in crate::serve) async fn next(&self, request: &HeaderMap, first: Option<Lookup>) -> Action {
        if self.chain.is_loop() {
            return Action::Loop;
        }
        if self.facts.needs_current {
            return self.alone(Reason::new(ForwardReason::Request, Detail::RequestNoCache), None).await;
        }
        let mut has_waited = false;
        let mut next = self.find(request, first, &mut has_waited).await;
        match &mut next {
            Action::Fetch(call) => call.has_waited = has_waited,
            Action::Forward(status) if has_waited => *status = status.collapsed(false),
            _ => {}
        }
        next
    }

    async fn find(&self, request: &HeaderMap, first: Option<Lookup>, has_waited: &mut bool) -> Action {
        let mut lookup = match first {
            Some(lookup) => lookup,
            None => self.look(request).await,
        };
        let mut collapse = Collapse::new(self, request);
        for _ in 0..ROUNDS {
            let progress = collapse.round(lookup).await;
            *has_waited = collapse.waited_for.is_some();
            lookup = match progress {
                Progress::Done(action) => return action,
                Progress::LookAgain => self.look(request).await,
                Progress::Known(lookup) => lookup,
            };
        }
        match lookup {
            Lookup::Hit(stored) | Lookup::Stale { stored, .. } => Action::Answer(stored, collapse.waited_for),
            Lookup::Miss { reason, stale, variant } => self.alone(reason, self.place(stale, variant)).await,
            Lookup::Bypass(why) => bypass(why),
        }
    }

    /// Waits for a flight; in vain if the request holds an admission of its own meanwhile.
    pub(super) async fn outcome(&self, flight: &Flight) -> Outcome {
        self.unless_holding(flight.outcome()).await.unwrap_or(Outcome::Pass)
    }

    /// Waits, unless the request holds an admission: whoever it waits for may wait for that one.
    pub(super) async fn unless_holding<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let Some(holds) = self.holds.upgrade() else { return Some(wait.await) };
        match select(pin!(wait), pin!(holds.held())).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    /// Tells whether a cache layer further in answers it.
    pub(super) fn is_handled_within(&self) -> bool {
        let cache = &self.config.cache;
        cache.hit_for_miss().get(self.key.as_ref(), cache.clock().now())
            == Some(HitForMissReason::HandledByInner)
    }

    /// Tells whether this request's call is of no use to others, or theirs to it.
    pub(super) fn goes_alone(&self, reason: Reason) -> bool {
        let now = self.config.cache.clock().now();
        !self.config.policy.collapse
            || self.facts.goes_alone()
            || reason.forward == ForwardReason::Request
            || self.config.cache.hit_for_miss().get(self.key.as_ref(), now).is_some()
    }

    /// Calls the service without others waiting; its response may be stored all the same.
    pub(super) async fn alone(&self, reason: Reason, stored: Option<Stored>) -> Action {
        Action::Fetch(self.call_alone(reason, stored).await)
    }

    /// Returns a call of the service that no others wait for.
    pub(in crate::serve) async fn call_alone(&self, reason: Reason, stored: Option<Stored>) -> FetchPlan {
        // In this order: what was invalidated while this request waited is not asked about, and what
        // is invalidated from now on makes the answer one of before.
        let generation = self.generation().await;
        let stored = match stored {
            Some(stored) if self.is_valid(&stored.0).await => Some(stored),
            _ => None,
        };
        FetchPlan::new(generation, reason, stored)
    }

    /// Joins the flight of a key, unless it began before an invalidation of the request's target.
    pub(in crate::serve) async fn join(
        &self,
        key: &CacheKey,
        mut outdated: Option<Arc<Flight>>,
        attempt: u32,
        chain: &Arc<Chain>,
    ) -> Result<Role, ()> {
        let (cache, leader) = (&self.config.cache, Arc::downgrade(chain));
        loop {
            let generation = cache.generation().await.map_err(drop)?;
            let flight = match cache.flight_table().join(key, outdated.as_ref(), generation, attempt, &leader)
            {
                Role::Follower(flight) => flight,
                role => return Ok(role),
            };
            match cache.validity(flight.generation, &self.scopes, &[]).await {
                Ok(Validity::Valid) => return Ok(Role::Follower(flight)),
                Ok(_) => outdated = Some(flight),
                Err(_) => return Err(()),
            }
        }
    }

    /// Makes the call for all, unless it was made between the look-up and the joining.
    pub(super) async fn lead(&self, request: &HeaderMap, leader: Leader, reason: Reason) -> Action {
        let (reason, stale, variant) = match self.look(request).await {
            Lookup::Hit(stored) => {
                // What is stale is for who asks for it; dropped, the leader leaves the call to another.
                if stored.is_fresh(self.config.cache.clock().now()) {
                    leader.stored(Arc::clone(&stored));
                }
                return Action::Answer(stored, None);
            }
            Lookup::Stale { stored, variant } => (ForwardReason::Stale.into(), Some(stored), variant),
            Lookup::Miss { reason, stale, variant } => (reason, stale, variant),
            Lookup::Bypass(_) => (reason, None, None),
        };
        let stored = self.place(stale, variant);
        let call = FetchPlan::new(Some(leader.generation()), reason, stored);
        Action::Fetch(FetchPlan { leader: Some(leader), ..call })
    }

    /// Releases those who wait for a response that each has to ask about, and has the next ones not wait at all.
    pub(in crate::serve) fn pass_unfresh(&self, leader: Leader) {
        let cache = &self.config.cache;
        if !self.facts.identified {
            cache.hit_for_miss().remember(
                self.key.as_ref(),
                HitForMissReason::Uncacheable,
                cache.clock().now(),
            );
        }
        leader.pass();
    }

    /// Tells whether a response that another request led to is for this one too.
    pub(super) async fn fits(
        &self,
        stored: &StoredResponse,
        request: &HeaderMap,
        arriving: bool,
    ) -> Result<bool, ()> {
        let now = self.config.cache.clock().now();
        let refusal = self.config.refusal(stored, request, self.facts, now).await?;
        // What was made while this request waited is as good as revalidated for it, before an application: all who
        // wait are nobody in particular (RFC 9111 section 5.2.2.4 has each of them ask). What was not is there
        // because the service has failed.
        let is_new = self.config.shares_unfresh() && stored.head().response_time >= self.began;
        let instead = !arriving && stored.serves_on_errors(now);
        let accepts = is_new || (instead && self.config.accepts_stale(stored, request, self.facts, now));
        Ok(matches!(refusal, None | Some(NotReusable::NotFresh)) && (refusal.is_none() || accepts))
    }
}
