//! The guard of a flight's leader: it releases the followers even if the leader is dropped.

use super::outcome::{AbandonedOutcome, Outcome, gate};
use super::stream::Stream;
use super::table::{Flight, FlightTable};
use crate::entry::{Generation, StoredResponse};
use crate::key::CacheKey;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The guard of a flight's leader, the request that calls the service for all followers.
///
/// If it is dropped without an outcome, the leader was canceled or, if the thread is unwinding,
/// has panicked. The followers then get [`AbandonedOutcome::abandoned`].
#[derive(Debug)]
pub(crate) struct Leader<O: AbandonedOutcome = Outcome> {
    flights: Arc<FlightTable<O>>,
    key: CacheKey,
    flight: Arc<Flight<O>>,
    /// The flight has its final outcome.
    told: bool,
}

impl<O: AbandonedOutcome> Leader<O> {
    pub(super) fn new(flights: Arc<FlightTable<O>>, key: CacheKey, flight: Arc<Flight<O>>) -> Self {
        Self { flights, key, flight, told: false }
    }

    /// Returns the generation that was current before the call began.
    pub(crate) fn generation(&self) -> Generation {
        self.flight.generation
    }

    /// Stops new requests from joining the flight: they need a newer response. Its followers stay.
    pub(crate) fn close(&self) {
        let removed =
            self.flights.flights.remove_if(&self.key, |_, flight| Arc::ptr_eq(flight, &self.flight));
        if removed.is_some() {
            self.flights.number.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends the flight with an outcome.
    pub(crate) fn end(mut self, outcome: O) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: O) {
        self.told = true;
        // Removed first, so that no request joins a flight that has ended.
        self.close();
        self.flight.tell(outcome);
    }
}

impl Leader {
    /// Returns a function that lets followers read the response while it arrives. It does not end
    /// the flight.
    pub(crate) fn announcement(&self) -> impl FnOnce(&Arc<Stream>) + use<> {
        let flight = Arc::clone(&self.flight);
        move |stream| flight.tell(Outcome::Begun(Arc::downgrade(stream)))
    }

    /// Returns a function that ends the flight, whether the leader still exists or not. Dropping
    /// the function does not end the flight.
    pub(crate) fn ending(&self) -> impl FnOnce(Outcome) + Send + use<> {
        let (flights, key, flight) = (Arc::clone(&self.flights), self.key.clone(), Arc::clone(&self.flight));
        // This second guard exists only inside the call, and must not report an abandoned flight.
        move |outcome| Self { flights, key, flight, told: true }.end(outcome)
    }

    /// Ends the flight with a complete response. Call this only after the write to the store: later
    /// requests do not join the flight, but look the response up in the store.
    pub(crate) fn stored(self, response: Arc<StoredResponse>) {
        self.end(Outcome::Stored(response));
    }

    /// Ends the flight without a shared response: each follower calls the service itself.
    pub(crate) fn pass(self) {
        self.end(Outcome::Pass);
    }

    /// Ends the flight because the service failed.
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
