//! The leader's guard: whatever happens to it, its followers learn of it.

use super::{CacheKey, Flight, Outcome, StoredResponse, Stream, Table, gate};
use crate::entry::Generation;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Held by the request that calls the service for all.
///
/// Dropped without a word, it means that the leader was cancelled or, while unwinding, that it
/// panicked.
#[derive(Debug)]
pub(crate) struct Leader {
    flights: Arc<Table>,
    key: CacheKey,
    flight: Arc<Flight>,
    told: bool,
}

impl Leader {
    pub(super) fn new(flights: Arc<Table>, key: CacheKey, flight: Arc<Flight>) -> Self {
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

    /// Returns what shares the response while it arrives. What becomes of it is still to be told.
    pub(crate) fn announcement(&self) -> impl FnOnce(&Arc<Stream>) + use<> {
        let flight = Arc::clone(&self.flight);
        move |stream| flight.tell(Outcome::Begun(Arc::downgrade(stream)))
    }

    /// Shares the response, which must be in the store already: who comes later looks there.
    pub(crate) fn stored(mut self, response: Arc<StoredResponse>) {
        self.tell(Outcome::Stored(response));
    }

    /// Releases the followers: the response is not for them.
    pub(crate) fn pass(mut self) {
        self.tell(Outcome::Pass);
    }

    /// Tells the followers that the service failed.
    pub(crate) fn failed(mut self) {
        self.tell(Outcome::Failed(gate()));
    }

    fn tell(&mut self, outcome: Outcome) {
        self.told = true;
        // Removed first, so that nobody joins what is over.
        self.close();
        self.flight.tell(outcome);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.told {
            let outcome = if std::thread::panicking() { Outcome::Failed(gate()) } else { Outcome::Dangling };
            self.tell(outcome);
        }
    }
}
