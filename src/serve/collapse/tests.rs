//! The consequences of each outcome of a flight for a follower.

mod arriving;
mod lookups;

use super::follower::{Collapse, Progress};
use super::{Action, MAX_ROUNDS, collapse};
use crate::cache::Delivery;
use crate::clock::Clock;
use crate::entry::{Entry, EntryKind, Generation, Head, NominatedField, StoredResponse, headers_for_storage};
use crate::flight::{Chain, HitForMissReason, Leader, Outcome, Role};
use crate::key::{CacheKey, KeyRef};
use crate::policy::{Policy, PolicyBuilder};
use crate::serve::config::{LayerConfig, Level};
use crate::serve::lookup::Lookup;
use crate::serve::request::{RequestFacts, RequestState};
use crate::status::{Detail, ForwardReason};
use crate::store::PutMode;
use crate::{Cache, Invalidation, MemoryStore};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use std::sync::{Arc, Weak};
use std::time::Duration;

const COLLAPSE_TIMEOUT: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
const X_A: HeaderName = HeaderName::from_static("x-a");

fn app() -> PolicyBuilder {
    Policy::app().collapse_timeout(COLLAPSE_TIMEOUT)
}

fn rfc() -> PolicyBuilder {
    Policy::rfc9111().collapse_timeout(COLLAPSE_TIMEOUT)
}

type Lines = &'static [(&'static str, &'static str)];

/// A change to a stored response.
type HeadChange = fn(&mut Head);

/// A request that missed, with a cache on a manual clock.
struct Follower {
    state: RequestState,
    request: HeaderMap,
}

impl Follower {
    fn new(policy: PolicyBuilder) -> Self {
        Self::with(policy, RequestFacts::default(), &[])
    }

    fn with(policy: PolicyBuilder, facts: RequestFacts, lines: Lines) -> Self {
        let clock = Clock::manual().0;
        let store = MemoryStore::builder().max_bytes(1 << 20).clock(clock.clone()).build().expect("a store");
        Self::of(Cache::builder(store).clock(clock).build().expect("a cache"), policy, facts, lines)
    }

    fn of(cache: Cache, policy: PolicyBuilder, facts: RequestFacts, lines: Lines) -> Self {
        let config = LayerConfig::new(cache, policy.build().expect("a policy"), Level::Site);
        let mut request = Request::get("/p").body(()).expect("a request");
        for (name, value) in lines {
            request.headers_mut().append(*name, value.parse().expect("a value"));
        }
        let state = RequestState::new(&config, key(), facts, Vec::new(), (&request).into());
        Self { state, request: request.into_parts().0.headers }
    }

    fn cache(&self) -> &Cache {
        &self.state.config.cache
    }

    async fn generation(&self) -> Generation {
        self.cache().generation().await.expect("the store answers")
    }

    /// Leads the flight that the request will follow.
    async fn lead(&self, attempt: u32) -> Leader {
        let generation = self.generation().await;
        match self.cache().flight_table().join(&key(), None, generation, attempt, &Weak::new()) {
            Role::Leader(leader) => leader,
            Role::Follower(_) | Role::TableFull => panic!("there is a flight already"),
        }
    }

    /// Follows a flight that `end` ends. Returns the [`name`] of the follower's progress.
    async fn follow(&self, end: impl AsyncFnOnce(Leader)) -> &'static str {
        let leader = self.lead(0).await;
        let mut collapse = Collapse::new(&self.state, &self.request);
        let (progress, ()) = tokio::join!(collapse.round(missed()), end(leader));
        name(&progress)
    }

    /// Runs one round with the result of a look-up. Returns the [`name`] of the progress.
    async fn round(&self, lookup: Lookup) -> &'static str {
        name(&Collapse::new(&self.state, &self.request).round(lookup).await)
    }

    /// Returns a stored response that arrived now and is fresh for a minute, with `change` applied.
    async fn stored(&self, change: impl FnOnce(&mut Head)) -> Arc<StoredResponse> {
        let now = self.cache().clock().now();
        let headers = headers_for_storage(&HeaderMap::new(), &[]);
        let mut head = Head::new(StatusCode::OK, headers, self.generation().await, now);
        head.fresh_until = now.after(MINUTE);
        head.scopes = self.state.target.scopes.clone().into();
        change(&mut head);
        Arc::new(StoredResponse::new(head, Bytes::new()))
    }

    /// Returns a change to a response. The changed response is a variant that the request does not
    /// select.
    fn other_variant(&self) -> impl FnOnce(&mut Head) {
        let other = HeaderMap::from_iter([(X_A, "other".parse().expect("a value"))]);
        let nominated = NominatedField::from_request(&X_A, &other, self.state.config.selection());
        |head| head.nominated = [nominated].into()
    }

    async fn put(&self, stored: &Arc<StoredResponse>) {
        let entry = Entry(EntryKind::Response(Arc::clone(stored)));
        self.cache()
            .store()
            .put(key().as_ref(), entry, None, PutMode::Always)
            .await
            .expect("the store answers");
    }

    async fn invalidate(&self, what: Invalidation) {
        assert_eq!(self.cache().invalidate(what).await, Delivery::Delivered);
    }
}

fn key() -> CacheKey {
    KeyRef::new(b"key").to_key()
}

fn missed() -> Lookup {
    Lookup::miss(ForwardReason::UriMiss, None)
}

/// Makes a response stale.
fn stale(head: &mut Head) {
    head.fresh_until = head.response_time;
}

/// Makes a response stale, and older than the request.
fn old(head: &mut Head) {
    head.response_time = head.response_time.before(MINUTE);
    head.fresh_until = head.response_time;
}

fn name(progress: &Progress) -> &'static str {
    match progress {
        Progress::LookAgain => "look again",
        Progress::LookedUp(Lookup::Miss { variant: Some(_), .. }) => "miss of a variant",
        Progress::LookedUp(_) => "known",
        Progress::Done(action) => action_name(action),
    }
}

fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Answer(_, Some(_)) => "answer after a wait",
        Action::Answer(_, None) => "answer",
        Action::Read(..) => "read",
        Action::Refresh(..) => "refresh",
        Action::Fetch(plan) if plan.leader.is_some() => "lead",
        Action::Fetch(plan) if plan._permit.is_some() => "fetch with a permit",
        Action::Fetch(_) => "fetch alone",
        Action::Forward(status) => status.detail_word().unwrap_or("forward"),
        Action::Refuse => "refuse",
        Action::Loop => "loop",
    }
}

/// RFC 9111 section 4: a stored response answers a follower only if the response may be reused.
/// Under `app`, a response that was made while the follower waited counts as validated.
#[tokio::test(start_paused = true)]
async fn stored_response_answers_a_follower_that_it_fits() {
    let on_errors: HeadChange = |head| {
        old(head);
        head.windows.if_error = 2 * MINUTE;
    };
    let table: [(PolicyBuilder, Lines, HeadChange, &str); 9] = [
        (app(), &[], |_| {}, "answer after a wait"),
        (rfc(), &[], |_| {}, "answer after a wait"),
        (app(), &[], stale, "answer after a wait"),
        // Section 5.2.2.4: each follower validates the response.
        (rfc(), &[], stale, "look again"),
        (app(), &[], old, "look again"),
        (app(), &[], on_errors, "answer after a wait"),
        (rfc(), &[], on_errors, "answer after a wait"),
        (rfc(), &[("cache-control", "max-age=0")], on_errors, "look again"),
        (rfc(), &[("cache-control", "min-fresh=90")], |_| {}, "look again"),
    ];
    for (row, (policy, lines, change, expected)) in table.into_iter().enumerate() {
        let facts = RequestFacts { directives: !lines.is_empty(), ..RequestFacts::default() };
        let follower = Follower::with(policy, facts, lines);
        let stored = follower.stored(change).await;
        assert_eq!(follower.follow(async |leader| leader.end_stored(stored)).await, expected, "row {row}");
    }
}

/// A follower gets neither another variant (RFC 9111 section 4.1) nor a response that was
/// invalidated before the outcome.
#[tokio::test(start_paused = true)]
async fn stored_response_that_does_not_fit_is_not_an_answer() {
    let follower = Follower::new(app());
    let other = follower.stored(follower.other_variant()).await;
    assert_eq!(follower.follow(async |leader| leader.end_stored(other)).await, "look again");
    let stored = follower.stored(|_| {}).await;
    let outcome = follower.follow(async |leader| {
        follower.invalidate(Invalidation::path("/p")).await;
        leader.end_stored(stored);
    });
    assert_eq!(outcome.await, "look again");
}

#[tokio::test(start_paused = true)]
async fn outcomes_without_a_response_release_the_follower() {
    type End = fn(Leader);
    let table: [(End, &str); 3] =
        [(drop, "look again"), (Leader::end_unshared, "fetch alone"), (Leader::end_failed, "look again")];
    for (end, expected) in table {
        assert_eq!(Follower::new(app()).follow(async |leader| end(leader)).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn second_failure_lets_eight_followers_fetch_at_a_time() {
    let follower = Follower::new(app());
    let leader = follower.lead(1).await;
    let rounds = (0..9).map(|_| async {
        let progress = Collapse::new(&follower.state, &follower.request).round(missed()).await;
        // The progress holds the permit, which must stay held until all rounds have ended.
        (name(&progress), tokio::time::Instant::now(), progress)
    });
    let began = tokio::time::Instant::now();
    let (outcomes, ()) = tokio::join!(futures_util::future::join_all(rounds), async { leader.end_failed() });
    let count = |expected| outcomes.iter().filter(|(found, ..)| *found == expected).count();
    assert_eq!((count("fetch with a permit"), count("fetch alone")), (8, 1));
    let last = outcomes.iter().map(|(_, at, _)| at.duration_since(began)).max();
    assert_eq!(last, Some(COLLAPSE_TIMEOUT), "the ninth waits until its deadline");
}

#[tokio::test(start_paused = true)]
async fn follower_looks_up_once_more_after_a_second_failure() {
    let follower = Follower::new(app());
    let leader = follower.lead(1).await;
    let stored = follower.stored(|_| {}).await;
    let mut collapse = Collapse::new(&follower.state, &follower.request);
    let (progress, ()) = tokio::join!(collapse.round(missed()), async {
        follower.put(&stored).await;
        leader.end_failed();
    });
    assert_eq!(name(&progress), "answer after a wait");
}

/// After a failed flight, the follower leads the next flight, which counts the failed attempt.
#[tokio::test(start_paused = true)]
async fn follower_of_a_failed_flight_leads_the_next_attempt() {
    let follower = Follower::new(app());
    let leader = follower.lead(0).await;
    let mut collapse = Collapse::new(&follower.state, &follower.request);
    let (progress, ()) = tokio::join!(collapse.round(missed()), async { leader.end_failed() });
    assert_eq!(name(&progress), "look again");
    let Progress::Done(Action::Fetch(plan)) = collapse.round(missed()).await else { panic!("no fetch") };
    assert!(plan.leader.is_some());
    let generation = follower.generation().await;
    match follower.cache().flight_table().join(&key(), None, generation, 0, &Weak::new()) {
        Role::Follower(flight) => assert_eq!(flight.attempt, 1),
        Role::Leader(_) | Role::TableFull => panic!("there is no flight"),
    }
}

/// The key becomes hit-for-miss, so later requests do not wait for the same flight.
#[tokio::test(start_paused = true)]
async fn deadline_of_a_follower_makes_its_key_hit_for_miss() {
    let follower = Follower::new(app());
    let _leader = follower.lead(0).await;
    let began = tokio::time::Instant::now();
    assert_eq!(follower.round(missed()).await, "fetch alone");
    assert_eq!(began.elapsed(), COLLAPSE_TIMEOUT);
    let now = follower.cache().clock().now();
    let remembered = follower.cache().hit_for_miss().get(key().as_ref(), now);
    assert_eq!(remembered, Some(HitForMissReason::Uncacheable));
    assert_eq!(follower.round(missed()).await, "fetch alone");
    assert_eq!(began.elapsed(), COLLAPSE_TIMEOUT, "the second request does not wait");
}

/// A request joins a limited number of flights, and then fetches without a flight.
#[tokio::test(start_paused = true)]
async fn request_that_followed_too_many_flights_fetches_alone() {
    let follower = Follower::new(app());
    let mut leader = follower.lead(0).await;
    let endless = async {
        for flight in 1.. {
            // Lets the request follow the new flight.
            tokio::task::yield_now().await;
            leader.ender()(Outcome::Abandoned);
            drop(std::mem::replace(&mut leader, follower.lead(0).await));
            if flight == MAX_ROUNDS * 2 {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let action = tokio::select! {
        action = collapse(&follower.state, &follower.request, Some(missed())) => action,
        () = endless => panic!("the request never stops joining flights"),
    };
    assert_eq!(action_name(&action), "fetch alone");
    assert!(matches!(action, Action::Fetch(plan) if plan.has_waited));
}

#[tokio::test(start_paused = true)]
async fn loops_and_requests_that_need_a_new_response_join_no_flight() {
    let follower = Follower::new(app());
    let _leader = follower.lead(0).await;
    let facts = RequestFacts { needs_current: true, ..RequestFacts::default() };
    let current = Follower::of(follower.cache().clone(), app(), facts, &[]);
    let action = collapse(&current.state, &current.request, None).await;
    let Action::Fetch(plan) = action else { panic!("no fetch") };
    assert_eq!(
        (plan.reason.forward, plan.reason.detail),
        (ForwardReason::Request, Some(Detail::RequestNoCache))
    );
    assert!(plan.leader.is_none() && plan.generation.is_some());
    let identical = || Chain::request(key(), 7);
    let nested = identical().enter(|| identical().enter(identical));
    let state = RequestState { chain: nested, ..follower.state };
    assert_eq!(action_name(&collapse(&state, &follower.request, None).await), "loop");
}
