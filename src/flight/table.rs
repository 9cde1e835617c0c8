//! A flight, and the table of all flights under way.

use super::chain::Chain;
use super::outcome::Outcome;
use crate::entry::Generation;
use crate::key::{BuildPrehashed, CacheKey};
use crate::waker_relay::relay_waker;
use dashmap::DashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::Notify;

/// The call of a service that others may wait for.
#[derive(Debug)]
pub(crate) struct Flight<O = Outcome> {
    /// What was current before the call began.
    pub(crate) generation: Generation,
    /// The request that leads it.
    pub(crate) leader: Weak<Chain>,
    /// How many flights failed before this one, for the request that leads it.
    pub(crate) attempt: u32,
    pub(super) outcome: OnceLock<O>,
    /// What became of it after it had begun.
    pub(super) end: OnceLock<O>,
    pub(super) told: Notify,
    pub(super) waiting: AtomicUsize,
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
    pub(super) fn tell(&self, outcome: O) {
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

/// One who waits for a flight.
#[derive(Debug)]
pub(crate) struct WaitingFollower<'a>(&'a AtomicUsize);

impl Drop for WaitingFollower<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The flights under way, by key.
#[derive(Debug)]
pub(super) struct FlightTable<O> {
    pub(super) flights: DashMap<CacheKey, Arc<Flight<O>>, BuildPrehashed>,
    /// Counted apart: the map would have to lock all its parts for it.
    pub(super) number: AtomicUsize,
}
