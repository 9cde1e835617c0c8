//! Time: a monotonic reading for ages and lifetimes, the wall clock for dates; both by hand in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A point in time of this process, in milliseconds since an arbitrary start.
///
/// It never goes back, so that setting the system's clock back makes no response fresh for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the time from `earlier` until this moment, or zero.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment a duration later; one too far away is [`NEVER`](Self::NEVER).
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// Where a cache and its store read the time.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::Clock;
///
/// let (clock, hand) = Clock::manual();
/// let start = clock.now();
/// hand.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(start), Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<Hand>),
}

#[derive(Debug, Default)]
struct Hand {
    elapsed: AtomicU64,
    wall_offset: AtomicI64,
}

/// Moves a [`Clock::manual`].
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Hand>);

/// What a manual clock shows at first: 2026-01-01 00:00:00 UTC, in milliseconds since the epoch.
const MANUAL_START: u64 = 1_767_225_600_000;

/// As of the last tick of the kernel, some milliseconds ago at most: reading the clock to the
/// nanosecond takes eight times as long, and every hit reads it twice.
#[cfg(target_os = "linux")]
#[inline]
fn system_now() -> Moment {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // Neither is ever negative.
    Moment(now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000)
}

#[cfg(not(target_os = "linux"))]
fn system_now() -> Moment {
    static PROCESS_START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    Moment(u64::try_from(PROCESS_START.elapsed().as_millis()).unwrap_or(u64::MAX))
}

impl Clock {
    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a clock that stands still, and the hand that moves it.
    #[must_use]
    pub fn manual() -> (Self, ManualClock) {
        let hand = Arc::new(Hand::default());
        (Self(Source::Manual(Arc::clone(&hand))), ManualClock(hand))
    }

    /// Returns the monotonic time.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System => system_now(),
            Source::Manual(hand) => Moment(hand.elapsed.load(Ordering::SeqCst)),
        }
    }

    /// Returns the wall-clock time.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::System => SystemTime::now(),
            Source::Manual(hand) => {
                let millis = MANUAL_START
                    .saturating_add(hand.elapsed.load(Ordering::SeqCst))
                    .saturating_add_signed(hand.wall_offset.load(Ordering::SeqCst));
                SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
            }
        }
    }
}

impl ManualClock {
    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.elapsed.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock alone back, as an administrator or NTP may do.
    pub fn set_wall_back(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.wall_offset.fetch_sub(millis, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_wall_clock_back_does_not_move_the_monotonic_time() {
        let (clock, hand) = Clock::manual();
        let (now, wall) = (clock.now(), clock.wall());
        hand.set_wall_back(Duration::from_secs(3600));
        assert_eq!(clock.now(), now);
        assert_eq!(wall.duration_since(clock.wall()).expect("later"), Duration::from_secs(3600));
    }

    #[test]
    fn moments_saturate_instead_of_overflowing() {
        let now = Clock::system().now();
        assert_eq!(now.after(Duration::MAX), Moment::NEVER);
        assert_eq!(now.since(Moment::NEVER), Duration::ZERO);
    }
}
