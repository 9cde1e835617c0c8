//! The time that a machine was suspended, which the kernel's monotonic clock does not count.

use std::sync::atomic::{AtomicU64, Ordering};

/// The milliseconds that a machine was suspended, measured at most once per second.
///
/// The value never decreases. The low bits hold the second of the last measurement and the high
/// bits the milliseconds, so that one load reads both.
#[derive(Debug, Default)]
pub(super) struct Slept(AtomicU64);

/// The number of low bits for the second, modulo 2^24 (194 days). A measurement exactly 194 days
/// after the last one is delayed by a second.
const SECOND_BITS: u32 = 24;
const MAX_SECONDS: u64 = (1 << SECOND_BITS) - 1;

/// The longest time that the high bits can hold: 34 years.
const MAX_MILLIS: u64 = u64::MAX >> SECOND_BITS;

/// An increase by at most this many milliseconds counts as a measurement error, and is ignored.
const TOLERATED_MILLIS: u64 = 10;

impl Slept {
    #[cfg(target_os = "linux")]
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns the milliseconds that the machine was suspended. Calls `measure` if there was no
    /// successful measurement in this `second`. `measure` returns `None` if it fails.
    #[inline]
    pub(super) fn millis(&self, second: u64, measure: impl FnOnce() -> Option<u64>) -> u64 {
        let held = self.0.load(Ordering::Relaxed);
        if held & MAX_SECONDS == second & MAX_SECONDS {
            return held >> SECOND_BITS;
        }
        self.update(held, second, measure())
    }

    #[cold]
    fn update(&self, held: u64, second: u64, measured: Option<u64>) -> u64 {
        let before = held >> SECOND_BITS;
        // A failed measurement leaves the second unchanged, so the next call of `millis` measures
        // again.
        let Some(measured) = measured.map(|measured| measured.min(MAX_MILLIS)) else { return before };
        let slept = if measured > before + TOLERATED_MILLIS { measured } else { before };
        let new = slept << SECOND_BITS | (second & MAX_SECONDS);
        match self.0.compare_exchange(held, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => slept,
            Err(other) => other >> SECOND_BITS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_MILLIS, MAX_SECONDS, Slept};
    use std::cell::Cell;

    #[test]
    fn suspended_time_is_measured_at_most_once_a_second() {
        let (slept, measured) = (Slept::default(), Cell::new(0));
        let read = |second, found| {
            slept.millis(second, || {
                measured.set(measured.get() + 1);
                Some(found)
            })
        };
        assert_eq!(read(1, 0), 0);
        assert_eq!(read(1, 60_000), 0, "the time was measured in this second already");
        assert_eq!(read(2, 60_000), 60_000);
        for _ in 0..1000 {
            assert_eq!(read(2, 90_000), 60_000);
        }
        assert_eq!((read(3, 90_000), measured.get()), (90_000, 3));
    }

    #[test]
    fn a_failed_measurement_is_repeated_in_the_same_second() {
        let slept = Slept::default();
        assert_eq!(slept.millis(1, || None), 0);
        assert_eq!(slept.millis(1, || Some(60_000)), 60_000);
    }

    #[test]
    fn suspended_time_never_decreases() {
        let slept = Slept::default();
        assert_eq!(slept.millis(1, || Some(5000)), 5000);
        for (second, found) in [(2, Some(0)), (3, None), (4, Some(5001)), (5, Some(4999))] {
            assert_eq!(slept.millis(second, || found), 5000, "{found:?}");
        }
        assert_eq!(slept.millis(5, || None), 5000);
        assert_eq!(slept.millis(6, || Some(u64::MAX)), MAX_MILLIS);
        assert_eq!(slept.millis(MAX_SECONDS + 7, || None), MAX_MILLIS, "seconds count modulo 2^24");
    }
}
