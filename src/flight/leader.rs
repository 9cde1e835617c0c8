//! The guard of a flight's leader: it releases the followers even if the leader is dropped.

use super::outcome::{AbandonedOutcome, Outcome, failed_flight_semaphore};
use super::stream::Stream;
use super::table::{Flight, FlightTable};
use crate::entry::{Generation, StoredResponse};
use crate::key::CacheKey;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The guard of a flight's leader. The leader is the request that calls the service for all
/// followers, or the call that computes a value for them.
///
/// If the guard is dropped before the final outcome is set, the leader has panicked or was
/// canceled. The followers then get [`AbandonedOutcome::abandoned`].
#[derive(Debug)]
pub(crate) struct Leader<O: AbandonedOutcome = Outcome> {
    flights: Arc<FlightTable<O>>,
    key: CacheKey,
    flight: Arc<Flight<O>>,
    /// `true` once this guard has set the final outcome.
    has_ended: bool,
}

impl<O: AbandonedOutcome> Leader<O> {
    pub(super) fn new(flights: Arc<FlightTable<O>>, key: CacheKey, flight: Arc<Flight<O>>) -> Self {
        Self { flights, key, flight, has_ended: false }
    }

    /// Returns the generation that was current before the leader called the service or began its
    /// computation.
    pub(crate) fn generation(&self) -> Generation {
        self.flight.generation
    }

    /// Removes the flight from the table, so that no new request joins it. The present followers
    /// stay.
    pub(crate) fn close(&self) {
        let removed =
            self.flights.flights.remove_if(&self.key, |_, flight| Arc::ptr_eq(flight, &self.flight));
        if removed.is_some() {
            self.flights.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn end(mut self, outcome: O) {
        self.set_outcome(outcome);
    }

    fn set_outcome(&mut self, outcome: O) {
        self.has_ended = true;
        // Removed first, so that no request joins a flight that has ended.
        self.close();
        self.flight.set_outcome(outcome);
    }
}

impl Leader {
    /// Returns a function that lets followers read the response while it arrives. It does not end
    /// the flight.
    pub(crate) fn announcer(&self) -> impl FnOnce(&Arc<Stream>) + use<> {
        let flight = Arc::clone(&self.flight);
        move |stream| flight.set_outcome(Outcome::Begun(Arc::downgrade(stream)))
    }

    /// Returns a function that ends the flight, whether the leader still exists or not. Dropping
    /// the function does not end the flight.
    pub(crate) fn ender(&self) -> impl FnOnce(Outcome) + Send + use<> {
        let (flights, key, flight) = (Arc::clone(&self.flights), self.key.clone(), Arc::clone(&self.flight));
        move |outcome| Self { flights, key, flight, has_ended: true }.end(outcome)
    }

    /// Ends the flight with a complete response. Call this only after the write to the store: later
    /// requests do not join the flight, but look the response up in the store.
    pub(crate) fn end_stored(self, response: Arc<StoredResponse>) {
        self.end(Outcome::Stored(response));
    }

    /// Ends the flight without a shared response: each follower calls the service itself.
    pub(crate) fn end_unshared(self) {
        self.end(Outcome::Unshared);
    }

    /// Ends the flight because the service failed.
    pub(crate) fn end_failed(self) {
        self.end(Outcome::Failed(failed_flight_semaphore()));
    }
}

impl<O: AbandonedOutcome> Drop for Leader<O> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.set_outcome(O::abandoned(std::thread::panicking()));
        }
    }
}
