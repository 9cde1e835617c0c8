//! Joining a flight, as its leader or as a follower.

use super::chain::Chain;
use super::leader::Leader;
use super::outcome::{AbandonedOutcome, Outcome};
use super::table::{Flight, FlightTable};
use crate::entry::Generation;
use crate::key::CacheKey;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::Notify;

/// The role of a request in a flight.
pub(crate) enum Role<O: AbandonedOutcome = Outcome> {
    Leader(Leader<O>),
    Follower(Arc<Flight<O>>),
    /// The request or computation runs without a flight: the table of flights is full, or the store
    /// failed while a value was looked up.
    TableFull,
}

/// The flights under way, by key.
#[derive(Debug)]
pub(crate) struct Flights<O = Outcome> {
    table: Arc<FlightTable<O>>,
    /// The most flights in the table.
    max_flights: usize,
}

impl<O> Clone for Flights<O> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table), max_flights: self.max_flights }
    }
}

impl<O: AbandonedOutcome> Flights<O> {
    pub(crate) fn new(max_flights: usize) -> Self {
        let table = FlightTable { flights: DashMap::default(), len: AtomicUsize::new(0) };
        Self { table: Arc::new(table), max_flights }
    }

    /// Joins the flight of a key. Leads a new flight if there is none, or if the present one is the
    /// flight `outdated`, whose response does not suit this request.
    ///
    /// - `generation` must have been read before this call, so that any later invalidation makes
    ///   the flight outdated.
    /// - `attempt` is the number of consecutive flights of the key that failed directly before this
    ///   call.
    /// - `leader` is the chain of this request, for the case that it leads a new flight.
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
            MapEntry::Occupied(place) if !outdated.is_some_and(|old| Arc::ptr_eq(old, place.get())) => {
                Role::Follower(Arc::clone(place.get()))
            }
            MapEntry::Vacant(_) if table.len.load(Ordering::Relaxed) >= self.max_flights => Role::TableFull,
            place => {
                if matches!(place, MapEntry::Vacant(_)) {
                    table.len.fetch_add(1, Ordering::Relaxed);
                }
                let (outcome, final_outcome) = (OnceLock::new(), OnceLock::new());
                let (outcome_set, followers) = (Notify::new(), AtomicUsize::new(0));
                let leader = Weak::clone(leader);
                let flight = Arc::new(Flight {
                    generation,
                    leader,
                    attempt,
                    outcome,
                    final_outcome,
                    outcome_set,
                    followers,
                });
                place.insert(Arc::clone(&flight));
                Role::Leader(Leader::new(Arc::clone(table), key.clone(), flight))
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.flights.len()
    }

    /// Returns how many followers wait for an outcome now.
    pub(crate) fn followers(&self) -> usize {
        self.table.flights.iter().map(|flight| flight.followers.load(Ordering::Relaxed)).sum()
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
            Role::Follower(_) | Role::TableFull => panic!("there is a flight already"),
        }
    }

    fn follow(flights: &Flights) -> Arc<Flight> {
        match flights.join(&key(), None, G, 0, &Weak::new()) {
            Role::Follower(flight) => flight,
            Role::Leader(_) | Role::TableFull => panic!("there is no flight"),
        }
    }

    #[tokio::test]
    async fn dropped_leader_releases_its_followers_and_its_place() {
        let flights = Flights::new(10);
        let leader = lead(&flights, None);
        let flight = follow(&flights);
        drop(leader);
        assert!(matches!(flight.outcome().await, Outcome::Abandoned));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn wait_for_end_lasts_until_the_final_outcome_of_a_begun_flight() {
        let flights = Flights::new(10);
        let leader = lead(&flights, None);
        let flight = follow(&flights);
        flight.set_outcome(Outcome::Begun(Weak::new()));
        let mut ended = pin!(flight.wait_for_end());
        assert!(futures_util::poll!(ended.as_mut()).is_pending());
        leader.end_unshared();
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
        !matches!(flights.join(&KeyRef::new(b"other").to_key(), None, G, 0, &Weak::new()), Role::TableFull)
    }

    #[test]
    fn each_ended_flight_makes_room_for_another() {
        let flights = Flights::new(1);
        let ends: [fn(Leader); 4] =
            [Leader::end_unshared, Leader::end_failed, drop, |leader| leader.ender()(Outcome::Unshared)];
        for end in ends {
            let leader = lead(&flights, None);
            assert!(!has_room(&flights));
            end(leader);
            assert!(has_room(&flights));
        }
    }

    #[test]
    fn closed_or_replaced_flight_makes_room_only_once() {
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
    fn each_ended_wait_makes_room_for_another_follower() {
        let flights = Flights::new(1);
        let _leader = lead(&flights, None);
        let flight = follow(&flights);
        for _ in 0..3 {
            let wait = flight.add_follower(1);
            assert!(wait.is_some() && flight.add_follower(1).is_none());
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
        new.end_unshared();
        assert!(matches!(flight.outcome().await, Outcome::Unshared));
        assert_eq!(flights.len(), 0);
    }
}
