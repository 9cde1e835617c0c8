//! The bytes that may be recorded at a time, so that many large responses at once stay bounded too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A recording of at most so many bytes is small.
const SMALL: u64 = 256 << 10;

#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: AtomicU64,
}

/// What one recording holds of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Reservation {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Takes more; `false` if that would be too much.
    ///
    /// Large recordings leave a quarter of the budget to small ones, so that clients who read large
    /// bodies slowly do not keep pages from being stored.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let limit = self.budget.limit;
        let large = self.bytes.saturating_add(bytes) > SMALL.min(limit / 4);
        let limit = if large { limit - limit / 4 } else { limit };
        let within = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok();
        self.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Reservation {
    /// Gives back what is more than this.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        self.budget.used.fetch_sub(more, Ordering::Relaxed);
    }

    /// Returns a reservation that holds what this one held.
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
    fn reservations_together_stay_within_the_budget_and_give_back_what_they_took() {
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
        let budget = Budget::new(4 * SMALL);
        let mut large = Reservation::new(&budget);
        assert!(large.grow(3 * SMALL) && !large.grow(1));
        let mut small = Reservation::new(&budget);
        assert!(small.grow(SMALL) && !small.grow(1));
    }
}
