//! A request that was not answered at once: it looks again, waits for another's call, or calls.

use super::action::{Action, FetchPlan, Stored};
use super::limit::Limit;
use super::lookup::Lookup;
use super::not_reusable::NotReusable;
use super::request_state::RequestState;
use crate::entry::StoredResponse;
use crate::flight::{Chain, Flight, HitForMissReason, Leader, Outcome, Role};
use crate::key::CacheKey;
use crate::status::{CacheStatus, Detail, ForwardReason, Reason};
use crate::store::Validity;
use crate::waker_relay::relay_waker;
use futures_util::future::{Either, select};
use http::HeaderMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

/// So often a request joins a flight; then it calls the service by itself.
const ROUNDS: usize = 6;
/// A follower whose flights failed so often calls the service itself, a few at a time.
const FAILURES: u32 = 2;

/// Returns the step of a request that bypasses the cache.
pub(super) fn bypass(why: Detail) -> Action {
    Action::Forward(CacheStatus::forward(Reason::bypass(why)))
}

impl RequestState {
    /// Finds out what to do next, given what a look-up found if there was one.
    ///
    /// Over a store inside the process, it waits for nothing but other requests' calls. Dropped, it
    /// leaves nothing behind: a leader is only ever returned.
    pub(super) async fn next(&self, request: &HeaderMap, first: Option<Lookup>) -> Action {
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
        let mut limit = Limit::new(self.config.policy.max_wait);
        let mut lookup = match first {
            Some(lookup) => lookup,
            None => self.look(request).await,
        };
        let mut failures = 0;
        let mut outdated = None;
        // Why it would have been forwarded, once it has waited.
        let mut waited_for = None;
        for _ in 0..ROUNDS {
            let (reason, flight_key, stale) = match lookup {
                Lookup::Hit(stored) => return Action::Answer(stored, waited_for),
                Lookup::Bypass(_) | Lookup::Miss { .. }
                    if self.config.wants_only_what_is_cached(request, self.facts.directives)
                        && !self.is_handled_within() =>
                {
                    return Action::Refuse;
                }
                Lookup::Bypass(why) => return bypass(why),
                // A HEAD has no body to store, so it can't fill the cache, and nobody waits for it.
                Lookup::Miss { reason, variant, stale } if self.facts.head => {
                    let stored = self.place(stale, variant);
                    return Action::Fetch(FetchPlan { stale: None, ..FetchPlan::new(None, reason, stored) });
                }
                Lookup::Stale { stored, variant } => return self.stale(request, stored, variant).await,
                Lookup::Miss { reason, variant, stale } => {
                    let key = variant.unwrap_or_else(|| self.key.clone());
                    let stored = stale.map(|stale| (stale, key.clone()));
                    (reason, key, stored)
                }
            };
            if self.goes_alone(reason) {
                return self.alone(reason, stale).await;
            }
            let flight = match self.join(&flight_key, outdated.take(), failures, &self.chain).await {
                Err(()) => return bypass(Detail::StoreFailed),
                Ok(Role::Leader(leader)) => return self.lead(request, leader, reason).await,
                Ok(Role::Alone) => return self.alone(reason, stale).await,
                Ok(Role::Follower(flight)) => flight,
            };
            let Some(wait) = self.chain.wait_for(&flight.leader) else {
                return self.alone(reason, stale).await;
            };
            let Some(_waiting) = flight.wait_in(self.config.policy.max_waiters) else {
                return self.alone(reason, stale).await;
            };
            (*has_waited, waited_for) = (true, Some(reason));
            match limit.within(self.outcome(&flight)).await {
                Some(Outcome::Stored(stored)) => match self.fits(&stored, request, false).await {
                    Ok(true) => {
                        stored.note_use();
                        return Action::Answer(stored, waited_for);
                    }
                    Ok(false) => {}
                    Err(()) => return bypass(Detail::StoreFailed),
                },
                Some(Outcome::Begun(stream)) => {
                    let stream = stream.upgrade();
                    if stream.as_ref().is_some_and(|stream| stream.is_stalled()) {
                        // Its body may never end, and this one shall not wait for it, nor those who come.
                        outdated = Some(Arc::clone(&flight));
                    } else if let Some(reader) = stream.and_then(|stream| stream.join()) {
                        // It may have been made from what has changed since, or can't be shared for that.
                        let Some(head) = reader.stream().head_so_far() else {
                            return self.alone(reason, stale).await;
                        };
                        match self.fits(&head, request, true).await {
                            Ok(true) => return Action::Read(head, reader.waiting(wait), reason),
                            // Another variant; once it is known by what, others of that one collapse again.
                            Ok(false) if !self.config.selects(&head, request) => {
                                lookup = self.config.other_variant(&head, self.key.as_ref(), request);
                                continue;
                            }
                            // By its tags, it is older than an invalidation: a new flight takes its place.
                            Ok(false) if self.is_outdated(&head).await => {
                                outdated = Some(Arc::clone(&flight))
                            }
                            Ok(false) => {}
                            Err(()) => return bypass(Detail::StoreFailed),
                        }
                    } else {
                        // It is over, and about to be stored, or not.
                        limit.within(self.unless_holding(flight.ended())).await;
                    }
                }
                Some(Outcome::Dangling) => {}
                Some(Outcome::Failed(gate)) => {
                    failures = flight.attempt + 1;
                    if failures >= FAILURES {
                        // The gate is never closed; who stood before it long enough goes through.
                        let permit =
                            limit.within(relay_waker(gate.acquire_owned())).await.and_then(Result::ok);
                        let generation = self.generation().await;
                        let (reason, stale) = match self.look(request).await {
                            Lookup::Hit(stored) | Lookup::Stale { stored, .. } => {
                                return Action::Answer(stored, waited_for);
                            }
                            Lookup::Miss { reason, stale, variant } => (reason, self.place(stale, variant)),
                            Lookup::Bypass(_) => (reason, None),
                        };
                        return Action::Fetch(FetchPlan {
                            _permit: permit,
                            ..FetchPlan::new(generation, reason, stale)
                        });
                    }
                }
                Some(Outcome::Pass) => return self.alone(reason, stale).await,
                None => {
                    // Who comes next shall not wait as long in vain; a response that is stored after
                    // all makes this forgotten.
                    let cache = &self.config.cache;
                    cache.hit_for_miss().remember(
                        self.key.as_ref(),
                        HitForMissReason::Uncacheable,
                        cache.clock().now(),
                    );
                    return self.alone(reason, stale).await;
                }
            }
            lookup = self.look(request).await;
        }
        match lookup {
            Lookup::Hit(stored) | Lookup::Stale { stored, .. } => Action::Answer(stored, waited_for),
            Lookup::Miss { reason, stale, variant } => self.alone(reason, self.place(stale, variant)).await,
            Lookup::Bypass(why) => bypass(why),
        }
    }

    /// Waits for a flight; in vain if the request holds an admission of its own meanwhile.
    async fn outcome(&self, flight: &Flight) -> Outcome {
        self.unless_holding(flight.outcome()).await.unwrap_or(Outcome::Pass)
    }

    /// Waits, unless the request holds an admission: whoever it waits for may wait for that one.
    async fn unless_holding<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let Some(holds) = self.holds.upgrade() else { return Some(wait.await) };
        match select(pin!(wait), pin!(holds.held())).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    /// Tells whether a cache layer further in answers it.
    fn is_handled_within(&self) -> bool {
        let cache = &self.config.cache;
        cache.hit_for_miss().get(self.key.as_ref(), cache.clock().now())
            == Some(HitForMissReason::HandledByInner)
    }

    /// Tells whether this request's call is of no use to others, or theirs to it.
    fn goes_alone(&self, reason: Reason) -> bool {
        let now = self.config.cache.clock().now();
        !self.config.policy.collapse
            || self.facts.goes_alone()
            || reason.forward == ForwardReason::Request
            || self.config.cache.hit_for_miss().get(self.key.as_ref(), now).is_some()
    }

    /// Calls the service without others waiting; its response may be stored all the same.
    async fn alone(&self, reason: Reason, stored: Option<Stored>) -> Action {
        Action::Fetch(self.call_alone(reason, stored).await)
    }

    /// Returns a call of the service that no others wait for.
    pub(super) async fn call_alone(&self, reason: Reason, stored: Option<Stored>) -> FetchPlan {
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
    pub(super) async fn join(
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
    async fn lead(&self, request: &HeaderMap, leader: Leader, reason: Reason) -> Action {
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
    pub(super) fn pass_unfresh(&self, leader: Leader) {
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
    async fn fits(&self, stored: &StoredResponse, request: &HeaderMap, arriving: bool) -> Result<bool, ()> {
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
