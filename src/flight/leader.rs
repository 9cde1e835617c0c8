//! The leader's guard: whatever happens to it, its followers learn of it.

use super::outcome::{AbandonedOutcome, Outcome, gate};
use super::stream::Stream;
use super::table::{Flight, FlightTable};
use crate::entry::{Generation, StoredResponse};
use crate::key::CacheKey;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Held by the request that calls the service for all.
///
/// Dropped without a word, it means that the leader was cancelled or, while unwinding, that it
/// panicked.
#[derive(Debug)]
pub(crate) struct Leader<O: AbandonedOutcome = Outcome> {
    flights: Arc<FlightTable<O>>,
    key: CacheKey,
    flight: Arc<Flight<O>>,
    told: bool,
}

impl<O: AbandonedOutcome> Leader<O> {
    pub(super) fn new(flights: Arc<FlightTable<O>>, key: CacheKey, flight: Arc<Flight<O>>) -> Self {
        Self { flights, key, flight, told: false }
    }

    pub(crate) fn generation(&self) -> Generation {
        self.flight.generation
    }

    /// Lets nobody join any more: who comes from now on wants an answer that is newer.
    pub(crate) fn close(&self) {
        let removed =
            self.flights.flights.remove_if(&self.key, |_, flight| Arc::ptr_eq(flight, &self.flight));
        if removed.is_some() {
            self.flights.number.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Says what became of the flight.
    pub(crate) fn end(mut self, outcome: O) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: O) {
        self.told = true;
        // Removed first, so that nobody joins what is over.
        self.close();
        self.flight.tell(outcome);
    }
}

impl Leader {
    /// Returns what shares the response while it arrives. What becomes of it is still to be told.
    pub(crate) fn announcement(&self) -> impl FnOnce(&Arc<Stream>) + use<> {
        let flight = Arc::clone(&self.flight);
        move |stream| flight.tell(Outcome::Begun(Arc::downgrade(stream)))
    }

    /// Returns what ends the flight, whatever the leader does later.
    pub(crate) fn ending(&self) -> impl FnOnce(Outcome) + Send + use<> {
        let (flights, key, flight) = (Arc::clone(&self.flights), self.key.clone(), Arc::clone(&self.flight));
        // Told already, so that a flight is not ended by dropping this.
        move |outcome| Self { flights, key, flight, told: true }.end(outcome)
    }

    /// Shares the response, which must be in the store already: who comes later looks there.
    pub(crate) fn stored(self, response: Arc<StoredResponse>) {
        self.end(Outcome::Stored(response));
    }

    /// Releases the followers: the response is not for them.
    pub(crate) fn pass(self) {
        self.end(Outcome::Pass);
    }

    /// Tells the followers that the service failed.
    pub(crate) fn failed(self) {
        self.end(Outcome::Failed(gate()));
    }
}

impl<O: AbandonedOutcome> Drop for Leader<O> {
    fn drop(&mut self) {
        if !self.told {
            self.tell(O::abandoned(std::thread::panicking()));
        }
    }
}
