//! A request that waits for the fetches of others: one function for each outcome of a flight.

use super::bypass;
use crate::entry::StoredResponse;
use crate::flight::{Flight, HitForMissReason, Outcome, Role, Stream, Wait};
use crate::key::CacheKey;
use crate::serve::action::{Action, FetchPlan, Stored};
use crate::serve::limit::Limit;
use crate::serve::lookup::Lookup;
use crate::serve::request_state::RequestState;
use crate::status::{Detail, Reason};
use crate::waker_relay::relay_waker;
use http::HeaderMap;
use std::sync::{Arc, Weak};
use tokio::sync::Semaphore;

/// A follower whose flights failed so often calls the service itself, a few at a time.
const FAILURES: u32 = 2;

/// A request that looks for a response, and joins the flights of others.
pub(super) struct Collapse<'a> {
    state: &'a RequestState,
    request: &'a HeaderMap,
    limit: Limit,
    /// How many flights of its key have failed one after the other.
    failures: u32,
    /// A flight that no request is to join any more.
    outdated: Option<Arc<Flight>>,
    /// Why the request would have been forwarded, once it has waited.
    pub(super) waited_for: Option<Reason>,
}

/// What a round has come to.
pub(super) enum Progress {
    Done(Action),
    LookAgain,
    /// The result of the next look-up is known already.
    Known(Lookup),
}

/// A miss that may join a flight.
struct FlightMiss {
    reason: Reason,
    /// The key of the flight.
    key: CacheKey,
    stale: Option<Stored>,
}

/// What a look-up without a stale response leads to.
enum LookupOutcome {
    Flight(FlightMiss),
    Done(Action),
}

impl<'a> Collapse<'a> {
    pub(super) fn new(state: &'a RequestState, request: &'a HeaderMap) -> Self {
        let limit = Limit::new(state.config.policy.max_wait);
        Self { state, request, limit, failures: 0, outdated: None, waited_for: None }
    }

    /// Decides by a look-up; a miss joins the flight of its key, and waits for it.
    pub(super) async fn round(&mut self, lookup: Lookup) -> Progress {
        let state = self.state;
        if let Lookup::Stale { stored, variant } = lookup {
            return Progress::Done(state.stale(self.request, stored, variant).await);
        }
        let FlightMiss { reason, key, stale } = match self.missed(lookup) {
            LookupOutcome::Flight(miss) => miss,
            LookupOutcome::Done(action) => return Progress::Done(action),
        };
        if state.goes_alone(reason) {
            return Progress::Done(state.alone(reason, stale).await);
        }
        let flight = match state.join(&key, self.outdated.take(), self.failures, &state.chain).await {
            Err(()) => return Progress::Done(bypass(Detail::StoreFailed)),
            Ok(Role::Leader(leader)) => {
                return Progress::Done(state.lead(self.request, leader, reason).await);
            }
            Ok(Role::Alone) => return Progress::Done(state.alone(reason, stale).await),
            Ok(Role::Follower(flight)) => flight,
        };
        let Some(wait) = state.chain.wait_for(&flight.leader) else {
            return Progress::Done(state.alone(reason, stale).await);
        };
        let Some(_waiting) = flight.wait_in(state.config.policy.max_waiters) else {
            return Progress::Done(state.alone(reason, stale).await);
        };
        self.waited_for = Some(reason);
        match self.limit.within(state.outcome(&flight)).await {
            Some(Outcome::Stored(stored)) => self.after_stored(stored).await,
            Some(Outcome::Begun(stream)) => self.after_begun(&stream, wait, &flight, reason, stale).await,
            Some(Outcome::Dangling) => Progress::LookAgain,
            Some(Outcome::Failed(gate)) => self.after_failed(gate, &flight, reason).await,
            Some(Outcome::Pass) => Progress::Done(state.alone(reason, stale).await),
            None => {
                // Later requests shall not wait as long in vain; a response that is stored makes this forgotten.
                let cache = &state.config.cache;
                let (passes, now) = (cache.hit_for_miss(), cache.clock().now());
                passes.remember(state.key.as_ref(), HitForMissReason::Uncacheable, now);
                Progress::Done(state.alone(reason, stale).await)
            }
        }
    }

    /// Returns a miss that may join a flight, or what any other look-up leads to.
    fn missed(&self, lookup: Lookup) -> LookupOutcome {
        let state = self.state;
        match lookup {
            Lookup::Hit(stored) | Lookup::Stale { stored, .. } => {
                LookupOutcome::Done(Action::Answer(stored, self.waited_for))
            }
            Lookup::Bypass(_) | Lookup::Miss { .. }
                if state.config.wants_only_what_is_cached(self.request, state.facts.directives)
                    && !state.is_handled_within() =>
            {
                LookupOutcome::Done(Action::Refuse)
            }
            Lookup::Bypass(why) => LookupOutcome::Done(bypass(why)),
            // A HEAD has no body to store, so it can't fill the cache, and nobody waits for it.
            Lookup::Miss { reason, variant, stale } if state.facts.head => {
                let stored = state.place(stale, variant);
                LookupOutcome::Done(Action::Fetch(FetchPlan {
                    stale: None,
                    ..FetchPlan::new(None, reason, stored)
                }))
            }
            Lookup::Miss { reason, variant, stale } => {
                let key = variant.unwrap_or_else(|| state.key.clone());
                let stale = stale.map(|stale| (stale, key.clone()));
                LookupOutcome::Flight(FlightMiss { reason, key, stale })
            }
        }
    }

    async fn after_stored(&self, stored: Arc<StoredResponse>) -> Progress {
        match self.state.fits(&stored, self.request, false).await {
            Ok(true) => {
                stored.note_use();
                Progress::Done(Action::Answer(stored, self.waited_for))
            }
            Ok(false) => Progress::LookAgain,
            Err(()) => Progress::Done(bypass(Detail::StoreFailed)),
        }
    }

    /// Reads a body while it arrives.
    async fn after_begun(
        &mut self,
        stream: &Weak<Stream>,
        wait: Wait,
        flight: &Arc<Flight>,
        reason: Reason,
        stale: Option<Stored>,
    ) -> Progress {
        let state = self.state;
        let stream = stream.upgrade();
        if stream.as_ref().is_some_and(|stream| stream.is_stalled()) {
            // Its body may never end: neither this request nor later ones wait for it.
            self.outdated = Some(Arc::clone(flight));
            return Progress::LookAgain;
        }
        let Some(reader) = stream.and_then(|stream| stream.join()) else {
            // It is over, and about to be stored, or not.
            self.limit.within(state.unless_holding(flight.ended())).await;
            return Progress::LookAgain;
        };
        // It may have been made from what has changed since, or can't be shared for that.
        let Some(head) = reader.stream().head_so_far() else {
            return Progress::Done(state.alone(reason, stale).await);
        };
        match state.fits(&head, self.request, true).await {
            Ok(true) => Progress::Done(Action::Read(head, reader.waiting(wait), reason)),
            // Another variant; once it is known by what, others of that one collapse again.
            Ok(false) if !state.config.selects(&head, self.request) => {
                Progress::Known(state.config.other_variant(&head, state.key.as_ref(), self.request))
            }
            // By its tags, it is older than an invalidation: a new flight takes its place.
            Ok(false) if state.is_outdated(&head).await => {
                self.outdated = Some(Arc::clone(flight));
                Progress::LookAgain
            }
            Ok(false) => Progress::LookAgain,
            Err(()) => Progress::Done(bypass(Detail::StoreFailed)),
        }
    }

    /// Leads the next flight, or fetches by itself after too many failures, a few at a time.
    async fn after_failed(&mut self, gate: Arc<Semaphore>, flight: &Flight, reason: Reason) -> Progress {
        let state = self.state;
        self.failures = flight.attempt + 1;
        if self.failures < FAILURES {
            return Progress::LookAgain;
        }
        // The gate is never closed. A request that waited for it long enough goes through.
        let permit = self.limit.within(relay_waker(gate.acquire_owned())).await.and_then(Result::ok);
        let generation = state.generation().await;
        let (reason, stale) = match state.look(self.request).await {
            Lookup::Hit(stored) | Lookup::Stale { stored, .. } => {
                return Progress::Done(Action::Answer(stored, self.waited_for));
            }
            Lookup::Miss { reason, stale, variant } => (reason, state.place(stale, variant)),
            Lookup::Bypass(_) => (reason, None),
        };
        let plan = FetchPlan { _permit: permit, ..FetchPlan::new(generation, reason, stale) };
        Progress::Done(Action::Fetch(plan))
    }
}
