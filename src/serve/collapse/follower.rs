//! A request that missed: it looks up, joins flights and acts on their outcomes.

use super::action::Action;
use super::leader::{join, lead, serve_stale};
use crate::entry::StoredResponse;
use crate::flight::{Flight, HitForMissReason, Outcome, Role, Stream, Wait};
use crate::key::CacheKey;
use crate::serve::deadline::Deadline;
use crate::serve::fetch::{FetchPlan, StoredEntry};
use crate::serve::lookup::{Lookup, NotReusable, Reuse, StoreUnavailable, look_up, other_variant, selects};
use crate::serve::request::RequestState;
use crate::status::{Detail, ForwardReason, Reason};
use crate::waker_relay::relay_waker;
use futures_util::future::{Either, select};
use http::HeaderMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use tokio::sync::Semaphore;

/// The number of consecutive failed flights after which followers fetch without a flight.
const MAX_FAILED_FLIGHTS: u32 = 2;

/// A request that looks for a stored response, and joins flights.
pub(super) struct Collapse<'a> {
    state: &'a RequestState,
    request: &'a HeaderMap,
    deadline: Deadline,
    /// The number of consecutive flights that have failed for the key of the request.
    failures: u32,
    /// A flight that the next call of [`round`](Self::round) replaces instead of joining it: its
    /// response was invalidated, or its body has stalled.
    outdated: Option<Arc<Flight>>,
    /// The reason for which the request would have been forwarded without collapsing. Present if
    /// the request has waited for a flight.
    pub(super) waited_reason: Option<Reason>,
}

/// The result of [`Collapse::round`].
pub(super) enum Progress {
    Done(Action),
    LookAgain,
    /// The next round begins with this look-up result.
    LookedUp(Lookup),
}

impl Progress {
    /// Returns the action to fetch without a flight.
    async fn fetch_without_flight(state: &RequestState, reason: Reason, stored: Option<StoredEntry>) -> Self {
        Self::Done(Action::Fetch(FetchPlan::without_flight(state, reason, stored).await))
    }
}

/// A miss that may join a flight.
struct FlightMiss {
    reason: Reason,
    /// The key of the flight: the key of the variant if it is known, otherwise the key of the URL.
    key: CacheKey,
    stale: Option<StoredEntry>,
}

/// The consequence of a look-up other than `Lookup::Stale`.
enum LookupOutcome {
    Flight(FlightMiss),
    Done(Action),
}

impl<'a> Collapse<'a> {
    pub(super) fn new(state: &'a RequestState, request: &'a HeaderMap) -> Self {
        let deadline = Deadline::new(state.config.policy.collapse_timeout);
        Self { state, request, deadline, failures: 0, outdated: None, waited_reason: None }
    }

    /// Acts on the result of a look-up. A miss joins the flight of its key, and a follower waits
    /// for the outcome.
    pub(super) async fn round(&mut self, lookup: Lookup) -> Progress {
        let state = self.state;
        if let Lookup::Stale { stored, variant } = lookup {
            return Progress::Done(serve_stale(state, self.request, stored, variant).await);
        }
        let FlightMiss { reason, key, stale } = match self.classify(lookup) {
            LookupOutcome::Flight(miss) => miss,
            LookupOutcome::Done(action) => return Progress::Done(action),
        };
        if !is_collapsible(state, reason) {
            return Progress::fetch_without_flight(state, reason, stale).await;
        }
        let flight = match join(state, &key, self.outdated.take(), self.failures, &state.chain).await {
            Err(StoreUnavailable) => return Progress::Done(Action::bypass(Detail::StoreFailed)),
            Ok(Role::Leader(leader)) => {
                return Progress::Done(lead(state, self.request, leader, reason).await);
            }
            Ok(Role::TableFull) => return Progress::fetch_without_flight(state, reason, stale).await,
            Ok(Role::Follower(flight)) => flight,
        };
        let Some(wait) = state.chain.wait_for(&flight.leader) else {
            return Progress::fetch_without_flight(state, reason, stale).await;
        };
        let Some(_waiting) = flight.add_follower(state.config.policy.max_followers) else {
            return Progress::fetch_without_flight(state, reason, stale).await;
        };
        self.waited_reason = Some(reason);
        match self.deadline.run(await_outcome(state, &flight)).await {
            Some(Outcome::Stored(stored)) => self.after_stored(stored).await,
            Some(Outcome::Begun(stream)) => self.after_begun(&stream, wait, &flight, reason, stale).await,
            Some(Outcome::Abandoned) => Progress::LookAgain,
            Some(Outcome::Failed(semaphore)) => self.after_failed(semaphore, &flight, reason).await,
            Some(Outcome::Unshared) => Progress::fetch_without_flight(state, reason, stale).await,
            None => {
                // The key becomes hit-for-miss, which spares later requests the same wait.
                let cache = &state.config.cache;
                let (hit_for_miss, now) = (cache.hit_for_miss(), cache.clock().now());
                hit_for_miss.remember(state.key.as_ref(), HitForMissReason::Uncacheable, now);
                Progress::fetch_without_flight(state, reason, stale).await
            }
        }
    }

    /// Returns the miss if it may join a flight, otherwise the action that the look-up leads to.
    fn classify(&self, lookup: Lookup) -> LookupOutcome {
        let state = self.state;
        match lookup {
            Lookup::Hit(stored) | Lookup::Stale { stored, .. } => {
                LookupOutcome::Done(Action::Answer(stored, self.waited_reason))
            }
            Lookup::Bypass(_) | Lookup::Miss { .. }
                if state.facts.directives
                    && state.config.policy.wants_only_if_cached(self.request)
                    && !is_handled_by_inner(state) =>
            {
                LookupOutcome::Done(Action::Refuse)
            }
            Lookup::Bypass(why) => LookupOutcome::Done(Action::bypass(why)),
            Lookup::Miss { .. } if is_handled_by_inner(state) => {
                LookupOutcome::Done(Action::bypass(Detail::HandledByInner))
            }
            // The response to a HEAD has no body to store, so the request leads no flight.
            Lookup::Miss { reason, variant, stale } if state.facts.head => {
                let stored = StoredEntry::found(stale, variant, state);
                LookupOutcome::Done(Action::Fetch(FetchPlan {
                    stale: None,
                    ..FetchPlan::new(None, reason, stored)
                }))
            }
            Lookup::Miss { reason, variant, stale } => {
                let key = variant.unwrap_or_else(|| state.key.clone());
                let stale = stale.map(|response| StoredEntry { response, key: key.clone() });
                LookupOutcome::Flight(FlightMiss { reason, key, stale })
            }
        }
    }

    /// Answers with the stored response if it fits the request, else looks up again.
    async fn after_stored(&self, stored: Arc<StoredResponse>) -> Progress {
        match answers_request(self.state, &stored, self.request, false).await {
            Ok(true) => {
                stored.note_use();
                Progress::Done(Action::Answer(stored, self.waited_reason))
            }
            Ok(false) => Progress::LookAgain,
            Err(StoreUnavailable) => Progress::Done(Action::bypass(Detail::StoreFailed)),
        }
    }

    /// Reads the response while it arrives, if it fits the request.
    async fn after_begun(
        &mut self,
        stream: &Weak<Stream>,
        wait: Wait,
        flight: &Arc<Flight>,
        reason: Reason,
        stale: Option<StoredEntry>,
    ) -> Progress {
        let state = self.state;
        let stream = stream.upgrade();
        if stream.as_ref().is_some_and(|stream| stream.is_stalled()) {
            // The body may never end, so the next round replaces the flight.
            self.outdated = Some(Arc::clone(flight));
            return Progress::LookAgain;
        }
        let Some(reader) = stream.and_then(|stream| stream.join()) else {
            // No reader can join any more, because the body or its recording has ended. The flight
            // ends once the response is stored or dropped.
            self.deadline.run(unless_admission_held(state, flight.wait_for_end())).await;
            return Progress::LookAgain;
        };
        // The response can't be shared now: a value is still being read, or the dependencies can't
        // be tracked.
        let Some(head) = reader.stream().head_so_far() else {
            return Progress::fetch_without_flight(state, reason, stale).await;
        };
        match answers_request(state, &head, self.request, true).await {
            Ok(true) => Progress::Done(Action::Read(head, reader.with_wait(wait), reason)),
            // The arriving response is another variant. The key of this request's variant follows
            // from the nominated fields of the response. The next round uses that key.
            Ok(false) if !selects(&state.config, &head, self.request) => {
                Progress::LookedUp(other_variant(&state.config, &head, state.key.as_ref(), self.request))
            }
            // The response was invalidated after its flight began: the next round replaces the
            // flight.
            Ok(false) if state.is_outdated(&head).await => {
                self.outdated = Some(Arc::clone(flight));
                Progress::LookAgain
            }
            Ok(false) => Progress::LookAgain,
            Err(StoreUnavailable) => Progress::Done(Action::bypass(Detail::StoreFailed)),
        }
    }

    /// Looks up again in the next round. After [`MAX_FAILED_FLIGHTS`] failures, looks up here, and
    /// fetches without a flight on a miss. The semaphore limits how many followers fetch at a time.
    async fn after_failed(&mut self, semaphore: Arc<Semaphore>, flight: &Flight, reason: Reason) -> Progress {
        let state = self.state;
        self.failures = flight.attempt + 1;
        if self.failures < MAX_FAILED_FLIGHTS {
            return Progress::LookAgain;
        }
        // If the deadline passes before a permit is free, the request fetches without a permit.
        // `acquire_owned` cannot fail, because the semaphore is never closed.
        let permit = self.deadline.run(relay_waker(semaphore.acquire_owned())).await.and_then(Result::ok);
        let generation = state.generation().await;
        let (reason, stale) = match look_up(state, self.request).await {
            Lookup::Hit(stored) | Lookup::Stale { stored, .. } => {
                return Progress::Done(Action::Answer(stored, self.waited_reason));
            }
            Lookup::Miss { reason, stale, variant } => (reason, StoredEntry::found(stale, variant, state)),
            Lookup::Bypass(_) => (reason, None),
        };
        let plan = FetchPlan { _permit: permit, ..FetchPlan::new(generation, reason, stale) };
        Progress::Done(Action::Fetch(plan))
    }
}

/// Waits for the outcome of a flight. Returns `Unshared` if the wait ends early because of a held
/// admission (see [`unless_admission_held`]).
async fn await_outcome(state: &RequestState, flight: &Flight) -> Outcome {
    unless_admission_held(state, flight.outcome()).await.unwrap_or(Outcome::Unshared)
}

/// Awaits a future. Returns `None` as soon as an inner layer holds an admission for the outermost
/// layer around this request, since further waiting could be a deadlock.
async fn unless_admission_held<T>(state: &RequestState, wait: impl Future<Output = T>) -> Option<T> {
    let Some(holds) = state.holds.upgrade() else { return Some(wait.await) };
    match select(pin!(wait), pin!(holds.wait_for_pending())).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// Returns `true` if an inner cache layer answers requests for this key.
fn is_handled_by_inner(state: &RequestState) -> bool {
    let cache = &state.config.cache;
    cache.hit_for_miss().get(state.key.as_ref(), cache.clock().now())
        == Some(HitForMissReason::HandledByInner)
}

/// Returns `true` if the request may lead or join a flight.
fn is_collapsible(state: &RequestState, reason: Reason) -> bool {
    let now = state.config.cache.clock().now();
    state.config.policy.collapse
        && state.facts.is_collapsible()
        && reason.forward != ForwardReason::Request
        && state.config.cache.hit_for_miss().get(state.key.as_ref(), now).is_none()
}

/// Returns `true` if the response to another request's fetch also answers this one.
async fn answers_request(
    state: &RequestState,
    stored: &StoredResponse,
    request: &HeaderMap,
    arriving: bool,
) -> Result<bool, StoreUnavailable> {
    let now = state.config.cache.clock().now();
    let reuse =
        Reuse { config: &state.config, request, facts: state.facts, now, read: None, is_read_only: false };
    let refusal = reuse.refusal(stored).await?;
    // Under `app`, a response that was made while this request waited counts as validated for it.
    // Under `rfc9111`, each request validates a stale response itself (RFC 9111 section 5.2.2.4).
    let is_new = state.config.policy.followers_accept_stale() && stored.head().response_time >= state.began;
    // If a flight ends with a stale response that is older than this request, the service failed.
    // The response then answers within its `stale-if-error` window.
    let instead = !arriving && stored.serves_on_errors(now);
    let accepts = is_new || (instead && reuse.accepts_stale(stored));
    Ok(matches!(refusal, None | Some(NotReusable::NotFresh)) && (refusal.is_none() || accepts))
}
