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

/// A call of the service, or the computation of a value, whose result others may wait for.
///
/// The diagram and the events below describe a flight that calls the service:
///
/// ```text
/// under way ─┬─► begun ─┬─► ended: Stored, Unshared, Failed or Abandoned
///            └──────────┘
/// ```
///
/// Once the response has begun, followers may read its body while it arrives. New requests join the
/// flight until one of these events:
///
/// - The flight ends.
/// - The leader closes the flight, because the response is not fresh enough for new requests.
/// - Another flight replaces this one, because the body of this one makes no progress, or because
///   this one began before an invalidation.
///
/// A flight that is closed or replaced keeps its present followers.
#[derive(Debug)]
pub(crate) struct Flight<O = Outcome> {
    /// The generation from before the call of the service, or from before the computation.
    pub(crate) generation: Generation,
    /// The chain of the request or computation that leads the flight.
    pub(crate) leader: Weak<Chain>,
    /// The number of consecutive flights that failed before this one, as far as its leader knows.
    pub(crate) attempt: u32,
    /// The first outcome: `Begun`, or the final one.
    pub(super) outcome: OnceLock<O>,
    /// The final outcome of a flight that had begun.
    pub(super) final_outcome: OnceLock<O>,
    /// Notifies the followers of each outcome.
    pub(super) outcome_set: Notify,
    /// The number of followers that wait now.
    pub(super) followers: AtomicUsize,
}

impl<O: Clone> Flight<O> {
    /// Waits for the first outcome: the response has begun, or the flight has ended.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time.
    pub(crate) async fn outcome(&self) -> O {
        loop {
            let mut notified = pin!(self.outcome_set.notified());
            // Enabled before the check below, so that no notification after the check is missed.
            notified.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            relay_waker(notified).await;
        }
    }

    /// Counts one more follower. Returns `None` if `max_followers` followers wait already.
    pub(crate) fn add_follower(&self, max_followers: usize) -> Option<WaitingFollower<'_>> {
        let waiting = WaitingFollower(&self.followers);
        (self.followers.fetch_add(1, Ordering::Relaxed) < max_followers).then_some(waiting)
    }

    /// Sets the first outcome, or the final outcome of a flight that had begun. Further calls have
    /// no effect on followers.
    pub(super) fn set_outcome(&self, outcome: O) {
        if let Err(end) = self.outcome.set(outcome) {
            let _ = self.final_outcome.set(end);
        }
        self.outcome_set.notify_waiters();
    }

    /// Waits for the final outcome of a flight whose first outcome was `Begun`. Never returns if
    /// the first outcome is the final one, because `final_outcome` then stays empty.
    pub(crate) async fn wait_for_end(&self) {
        loop {
            let mut notified = pin!(self.outcome_set.notified());
            notified.as_mut().enable();
            if self.final_outcome.get().is_some() {
                return;
            }
            relay_waker(notified).await;
        }
    }
}

/// A follower that waits for a flight, counted until it is dropped.
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
    /// The number of flights in the map. The map's own `len` would lock all its shards.
    pub(super) len: AtomicUsize,
}
