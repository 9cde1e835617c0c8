//! Joining a flight, as its leader or as a follower.

use super::chain::Chain;
use super::leader::Leader;
use super::outcome::{AbandonedOutcome, Outcome};
use super::table::{Flight, FlightTable};
use crate::entry::Generation;
use crate::key::CacheKey;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Place;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::Notify;

/// The role of a request in a flight.
pub(crate) enum Role<O: AbandonedOutcome = Outcome> {
    Leader(Leader<O>),
    Follower(Arc<Flight<O>>),
    /// There is no flight to join or lead: the table is full, or the store failed while a value was
    /// looked up. The request or computation runs without a flight.
    Alone,
}

/// The flights under way, by key.
#[derive(Debug)]
pub(crate) struct Flights<O = Outcome> {
    table: Arc<FlightTable<O>>,
    /// The most flights in the table.
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

    /// Joins the flight of a key. Leads a new flight if there is none, or if the present one is
    /// `outdated`.
    ///
    /// `generation` must have been read before this call. Any later invalidation then makes the
    /// flight outdated. `attempt` is the number of consecutive flights of the key that failed
    /// before, and `leader` is the chain of the request.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyRef;
    use std::pin::pin;

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
    async fn dropped_leader_releases_its_followers_and_its_place() {
        let flights = Flights::new(10);
        let leader = lead(&flights, None);
        let flight = follow(&flights);
        drop(leader);
        assert!(matches!(flight.outcome().await, Outcome::Dangling));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn ended_waits_until_a_begun_flight_has_its_final_outcome() {
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
    async fn replaced_flight_does_not_remove_its_replacement() {
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
