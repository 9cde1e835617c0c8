//! Collapse: concurrent requests for one key share one call of the service.
//!
//! A request that misses joins the flight of its key. The first is its leader: it calls the service
//! in its own task, as if there were no cache. The others follow: they wait for what becomes of it.
//! A leader that is dropped, for whatever reason, tells its followers by that alone.

mod chain;
mod hit_for_miss;
mod leader;
mod stall;
mod stream;

pub(crate) use chain::{Chain, Wait};
pub(crate) use hit_for_miss::{HitForMiss, HitForMissReason, Remembered};
pub(crate) use leader::Leader;
pub(crate) use stall::{BudgetedRecording, STALL_TIMEOUT};
pub(crate) use stream::{BodyReader, BodySink, Stream};

use crate::entry::{Generation, StoredResponse};
use crate::key::{BuildPrehashed, CacheKey};
use crate::waker_relay::relay_waker;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Place;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::{Notify, Semaphore};

/// What became of a flight.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The response has begun, and whoever it fits may read it while it arrives.
    Begun(Weak<Stream>),
    /// The response is complete and may be shared with those whom it fits.
    Stored(Arc<StoredResponse>),
    /// It may not be shared: every follower calls the service itself, at once.
    Pass,
    /// The service failed. The gate lets a few call it at a time.
    Failed(Arc<Semaphore>),
    /// The leader went away before there was a response.
    Dangling,
}

/// What may become of a flight.
pub(crate) trait AbandonedOutcome: Clone {
    /// Returns what has become of one whose leader has gone without a word.
    fn abandoned(panicking: bool) -> Self;
}

impl AbandonedOutcome for Outcome {
    fn abandoned(panicking: bool) -> Self {
        if panicking { Self::Failed(gate()) } else { Self::Dangling }
    }
}

/// So many of the followers of a failed flight call the service at a time.
const FAILED_AT_ONCE: usize = 8;

/// The call of a service that others may wait for.
#[derive(Debug)]
pub(crate) struct Flight<O = Outcome> {
    /// What was current before the call began.
    pub(crate) generation: Generation,
    /// The request that leads it.
    pub(crate) leader: Weak<Chain>,
    /// How many flights failed before this one, for the request that leads it.
    pub(crate) attempt: u32,
    outcome: OnceLock<O>,
    /// What became of it after it had begun.
    end: OnceLock<O>,
    told: Notify,
    waiting: AtomicUsize,
}

/// One who waits for a flight.
#[derive(Debug)]
pub(crate) struct WaitingFollower<'a>(&'a AtomicUsize);

impl Drop for WaitingFollower<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The part a request has in a flight.
pub(crate) enum Role<O: AbandonedOutcome = Outcome> {
    Leader(Leader<O>),
    Follower(Arc<Flight<O>>),
    /// There are as many flights as there may be.
    Alone,
}

#[derive(Debug)]
struct FlightTable<O> {
    flights: DashMap<CacheKey, Arc<Flight<O>>, BuildPrehashed>,
    /// Counted apart: the map would have to lock all its parts for it.
    number: AtomicUsize,
}

/// The flights under way, by key.
#[derive(Debug)]
pub(crate) struct Flights<O = Outcome> {
    table: Arc<FlightTable<O>>,
    most: usize,
}

impl<O> Clone for Flights<O> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table), most: self.most }
    }
}

impl<O: AbandonedOutcome> Flights<O> {
    pub(crate) fn new(most: usize) -> Self {
        let table = FlightTable { flights: DashMap::default(), number: AtomicUsize::new(0) };
        Self { table: Arc::new(table), most }
    }

    /// Joins the flight of a key, or leads a new one if there is none, or only `outdated`.
    ///
    /// `generation` must have been read before.
    pub(crate) fn join(
        &self,
        key: &CacheKey,
        outdated: Option<&Arc<Flight<O>>>,
        generation: Generation,
        attempt: u32,
        leader: &Weak<Chain>,
    ) -> Role<O> {
        let table = &self.table;
        match table.flights.entry(key.clone()) {
            Place::Occupied(place) if !outdated.is_some_and(|old| Arc::ptr_eq(old, place.get())) => {
                Role::Follower(Arc::clone(place.get()))
            }
            Place::Vacant(_) if table.number.load(Ordering::Relaxed) >= self.most => Role::Alone,
            place => {
                if matches!(place, Place::Vacant(_)) {
                    table.number.fetch_add(1, Ordering::Relaxed);
                }
                let (outcome, end) = (OnceLock::new(), OnceLock::new());
                let (told, waiting) = (Notify::new(), AtomicUsize::new(0));
                let leader = Weak::clone(leader);
                let flight = Arc::new(Flight { generation, leader, attempt, outcome, end, told, waiting });
                place.insert(Arc::clone(&flight));
                Role::Leader(Leader::new(Arc::clone(table), key.clone(), flight))
            }
        }
    }

    /// Returns how many flights are under way.
    pub(crate) fn len(&self) -> usize {
        self.table.flights.len()
    }
}

impl<O: Clone> Flight<O> {
    /// Waits until the flight is over.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn outcome(&self) -> O {
        loop {
            let mut told = pin!(self.told.notified());
            // From here on no word is missed, be it before the first poll.
            told.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            relay_waker(told).await;
        }
    }

    /// Counts one more who waits, unless there are so many already.
    pub(crate) fn wait_in(&self, most: usize) -> Option<WaitingFollower<'_>> {
        let waiting = WaitingFollower(&self.waiting);
        (self.waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(waiting)
    }

    /// Says what became of the flight.
    fn tell(&self, outcome: O) {
        // The first word may be that it has begun, the next one is the last.
        if let Err(end) = self.outcome.set(outcome) {
            let _ = self.end.set(end);
        }
        self.told.notify_waiters();
    }

    /// Waits until one that had begun has ended, too.
    pub(crate) async fn ended(&self) {
        loop {
            let mut told = pin!(self.told.notified());
            told.as_mut().enable();
            if self.end.get().is_some() {
                return;
            }
            relay_waker(told).await;
        }
    }
}

pub(super) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(FAILED_AT_ONCE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyRef;

    const G: Generation = Generation::new(1, 0);

    fn key() -> CacheKey {
        KeyRef::new(b"k").to_key()
    }

    fn lead(flights: &Flights, outdated: Option<&Arc<Flight>>) -> Leader {
        match flights.join(&key(), outdated, G, 0, &Weak::new()) {
            Role::Leader(leader) => leader,
            Role::Follower(_) | Role::Alone => panic!("there is a flight already"),
        }
    }

    fn follow(flights: &Flights) -> Arc<Flight> {
        match flights.join(&key(), None, G, 0, &Weak::new()) {
            Role::Follower(flight) => flight,
            Role::Leader(_) | Role::Alone => panic!("there is no flight"),
        }
    }

    #[tokio::test]
    async fn a_leader_that_is_dropped_releases_its_followers_and_its_place() {
        let flights = Flights::new(10);
        let leader = lead(&flights, None);
        let flight = follow(&flights);
        drop(leader);
        assert!(matches!(flight.outcome().await, Outcome::Dangling));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn who_comes_after_the_end_of_a_body_waits_until_it_is_said_what_became_of_it() {
        let flights = Flights::new(10);
        let leader = lead(&flights, None);
        let flight = follow(&flights);
        flight.tell(Outcome::Begun(Weak::new()));
        let mut ended = pin!(flight.ended());
        assert!(futures_util::poll!(ended.as_mut()).is_pending());
        leader.pass();
        assert!(futures_util::poll!(ended.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn a_leader_that_panics_counts_as_failed() {
        let flights = Flights::new(10);
        let leader = lead(&flights, None);
        let flight = follow(&flights);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _leader = leader;
            std::panic::resume_unwind(Box::new("handler"));
        }));
        assert!(panicked.is_err());
        assert!(matches!(flight.outcome().await, Outcome::Failed(_)));
        assert_eq!(flights.len(), 0);
    }

    /// Returns `true` if another flight may begin.
    fn has_room(flights: &Flights) -> bool {
        !matches!(flights.join(&KeyRef::new(b"other").to_key(), None, G, 0, &Weak::new()), Role::Alone)
    }

    #[test]
    fn each_ended_flight_makes_room_for_one() {
        let flights = Flights::new(1);
        let ends: [fn(Leader); 4] =
            [Leader::pass, Leader::failed, drop, |leader| leader.ending()(Outcome::Pass)];
        for end in ends {
            let leader = lead(&flights, None);
            assert!(!has_room(&flights));
            end(leader);
            assert!(has_room(&flights));
        }
    }

    #[test]
    fn closed_or_replaced_flight_counts_once() {
        let flights = Flights::new(1);
        let closed = lead(&flights, None);
        closed.close();
        let old = lead(&flights, None);
        closed.close();
        drop(closed);
        assert!(!has_room(&flights), "closed");
        let outdated = follow(&flights);
        let new = lead(&flights, Some(&outdated));
        drop(old);
        assert!(!has_room(&flights), "replaced");
        drop(new);
        assert!(has_room(&flights));
    }

    #[test]
    fn each_ended_wait_makes_room_for_one() {
        let flights = Flights::new(1);
        let _leader = lead(&flights, None);
        let flight = follow(&flights);
        for _ in 0..3 {
            let wait = flight.wait_in(1);
            assert!(wait.is_some() && flight.wait_in(1).is_none());
        }
    }

    #[tokio::test]
    async fn a_flight_removes_exactly_itself_and_not_the_one_that_took_its_place() {
        let flights = Flights::new(10);
        let old = lead(&flights, None);
        let outdated = follow(&flights);
        let new = lead(&flights, Some(&outdated));
        drop(old);
        assert_eq!(flights.len(), 1);
        let flight = follow(&flights);
        new.pass();
        assert!(matches!(flight.outcome().await, Outcome::Pass));
        assert_eq!(flights.len(), 0);
    }
}
