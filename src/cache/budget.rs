//! The budget of recordings: a limit on the bytes of all response bodies that are recorded at a
//! time.
//!
//! A recording copies a response body while the body streams, so that the cache can store the body
//! at the end. A recording is stalled if it makes no progress for [`STALL_TIMEOUT`].

use super::Tracker;
use crate::flight::{BudgetedRecording, STALL_TIMEOUT};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::time::Instant;

/// The most bytes of a small recording, or a quarter of the budget if that is less. A larger
/// recording may not grow if all recordings would then take more than three quarters of the budget.
const SMALL_BYTES: u64 = 256 << 10;

/// The limit on the bytes of all recordings together, and the recordings that may be ended to make
/// room.
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
    recordings: Mutex<Recordings>,
}

/// The recordings that may hold bytes of the budget.
struct Recordings {
    all: Vec<Weak<dyn BudgetedRecording>>,
    /// The length at which `all` is swept: dropped recordings are removed from it.
    sweep_at: usize,
    /// The earliest time at which a recording may be stalled, or `None` if it is unknown.
    earliest: Option<Instant>,
}

/// The bytes of the budget that one recording holds. Dropping the reservation releases the bytes.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

/// The smallest value of `sweep_at`.
const MIN_SWEEP: usize = 64;

impl Budget {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        let recordings = Recordings { all: Vec::new(), sweep_at: MIN_SWEEP, earliest: None };
        Arc::new(Self { limit, used: AtomicU64::new(0), recordings: Mutex::new(recordings) })
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns the number of recordings that may hold bytes of the budget.
    pub(super) fn recordings(&self) -> usize {
        self.lock().all.iter().filter(|recording| recording.strong_count() > 0).count()
    }

    /// Registers a recording that may be ended if another one needs room.
    pub(crate) fn register(&self, recording: Weak<dyn BudgetedRecording>) {
        let mut recordings = self.lock();
        if recordings.all.len() >= recordings.sweep_at {
            recordings.all.retain(|recording| recording.strong_count() > 0);
            recordings.sweep_at = MIN_SWEEP.max(2 * recordings.all.len());
        }
        recordings.all.push(recording);
    }

    /// Ends all stalled recordings, to make room for others. The caller must not hold a lock, because
    /// this function calls stores and wakers.
    pub(crate) fn make_room(&self) {
        let now = Instant::now();
        let all: Vec<_> = {
            let recordings = self.lock();
            if recordings.earliest.is_some_and(|earliest| now < earliest) {
                return;
            }
            recordings.all.iter().filter_map(Weak::upgrade).collect()
        };
        // The end of a recording passes dependencies to the tracker that is entered on this thread.
        // The caller's page does not depend on these recordings, so this call enters an empty tracker.
        let next = Tracker::default().enter(|| {
            let next = all.iter().filter_map(|recording| end_recording(&**recording, now)).min();
            drop(all);
            next
        });
        // A recording that begins from now on is not stalled before this time.
        let begun = now + STALL_TIMEOUT;
        // `earliest` is set only after the bytes are released. Otherwise, a concurrent caller would
        // return before there is room.
        self.lock().earliest = Some(next.map_or(begun, |next| next.min(begun)));
    }

    fn lock(&self) -> MutexGuard<'_, Recordings> {
        // No code panics under this lock.
        self.recordings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a recording if it is stalled. Otherwise returns the time at which it will be stalled.
///
/// Foreign code runs here: the store and wakers of the recording. Their panics must not reach the
/// caller, which records another response.
fn end_recording(recording: &dyn BudgetedRecording, now: Instant) -> Option<Instant> {
    catch_unwind(AssertUnwindSafe(|| recording.end_if_stalled(now))).unwrap_or_default()
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("limit", &self.limit).field("used", &self.used).finish_non_exhaustive()
    }
}

impl Reservation {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Reserves more bytes. If they exceed the limit, reserves none of them and returns `false`.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let within = |used| self.sum_within_limit(used, bytes);
        let taken = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }

    /// Returns `true` if this many more bytes fit into the budget now.
    pub(crate) fn can_grow(&self, bytes: u64) -> bool {
        self.sum_within_limit(self.budget.used(), bytes).is_some()
    }

    /// Returns `true` if this many more bytes would fit if there were no other recordings.
    pub(crate) fn fits_empty_budget(&self, bytes: u64) -> bool {
        self.sum_within_limit(self.bytes, bytes).is_some()
    }

    /// Returns `used` plus `bytes`, or `None` if the sum exceeds the limit.
    ///
    /// Large recordings leave a quarter of the budget to small ones.
    fn sum_within_limit(&self, used: u64, bytes: u64) -> Option<u64> {
        let limit = self.budget.limit;
        let large = self.bytes.saturating_add(bytes) > SMALL_BYTES.min(limit / 4);
        let limit = if large { limit - limit / 4 } else { limit };
        used.checked_add(bytes).filter(|sum| *sum <= limit)
    }
}

impl Reservation {
    /// Releases the reserved bytes beyond `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        self.budget.used.fetch_sub(more, Ordering::Relaxed);
    }

    /// Moves the bytes into a new reservation.
    pub(crate) fn take(&mut self) -> Self {
        Self { budget: Arc::clone(&self.budget), bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_stay_within_the_budget_and_release_their_bytes() {
        let budget = Budget::new(16);
        let mut a = Reservation::new(&budget);
        let mut b = Reservation::new(&budget);
        assert!(a.grow(8) && b.grow(4));
        assert!(!b.grow(1) && !b.grow(u64::MAX));
        drop(a);
        assert!(b.grow(8));
        drop(b);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn large_recordings_leave_room_for_small_ones() {
        let budget = Budget::new(4 * SMALL_BYTES);
        let mut large = Reservation::new(&budget);
        assert!(large.grow(3 * SMALL_BYTES) && !large.grow(1));
        let mut small = Reservation::new(&budget);
        assert!(small.grow(SMALL_BYTES) && !small.grow(1));
    }
}
