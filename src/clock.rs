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

    /// Returns the moment a duration earlier, or the first one there is.
    pub(crate) fn before(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
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

/// What monotonic clocks show at first, at least. As many milliseconds are 139 years, so that what another
/// process did long before this one began, or before the machine was started, has its moment, too.
const MONOTONIC_START: u64 = 1 << 42;

/// As of the last tick of the kernel, some milliseconds ago at most: reading the clock to the
/// nanosecond takes eight times as long, and every hit reads it twice.
#[cfg(target_os = "linux")]
#[inline]
fn system_now() -> Moment {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // Neither is ever negative.
    Moment(MONOTONIC_START + now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000)
}

#[cfg(not(target_os = "linux"))]
fn system_now() -> Moment {
    static PROCESS_START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    Moment(MONOTONIC_START).after(PROCESS_START.elapsed())
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
            Source::Manual(hand) => {
                Moment(MONOTONIC_START.saturating_add(hand.elapsed.load(Ordering::SeqCst)))
            }
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

    /// Returns how far the wall clock is from the monotonic time.
    pub(crate) fn wall_offset(&self) -> WallOffset {
        let wall = self.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let wall = signed(u64::try_from(wall).unwrap_or(u64::MAX));
        let measured = wall.saturating_sub(signed(self.now().0));
        WallOffset(match &self.0 {
            Source::System => steady(measured),
            Source::Manual(_) => measured,
        })
    }
}

/// How far the wall clock is from the monotonic time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WallOffset(i64);

impl WallOffset {
    /// Returns a moment in milliseconds since the epoch, as other processes understand it.
    pub(crate) fn wall_millis(self, moment: Moment) -> u64 {
        if moment == Moment::NEVER {
            return u64::MAX;
        }
        moment.0.saturating_add_signed(self.0).min(u64::MAX - 1)
    }

    /// Returns the moment in this process of what [`wall_millis`](Self::wall_millis) gave in whichever.
    pub(crate) fn moment(self, wall_millis: u64) -> Moment {
        if wall_millis == u64::MAX {
            return Moment::NEVER;
        }
        Moment(wall_millis.saturating_add_signed(self.0.saturating_neg()))
    }
}

/// What differs by no more is measured in error: one clock is read to the tick, the other after it.
const TOLERATED: u64 = 250;

/// Returns the offset measured before unless the clock was set meanwhile, so that what is stored elsewhere is
/// read twice as the same.
fn steady(measured: i64) -> i64 {
    static HELD: AtomicI64 = AtomicI64::new(i64::MIN);
    let held = HELD.load(Ordering::Relaxed);
    if held.abs_diff(measured) <= TOLERATED {
        return held;
    }
    // Whoever is first has measured for all.
    match HELD.compare_exchange(held, measured, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => measured,
        Err(other) => other,
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

    #[test]
    fn a_moment_has_the_same_wall_clock_time_in_another_process() {
        let (here, _) = Clock::manual();
        let (there, hand) = Clock::manual();
        hand.advance(Duration::from_secs(1000));
        let hour = Duration::from_secs(3600);
        // The other process began a thousand seconds before; both clocks show the same.
        hand.set_wall_back(Duration::from_secs(1000));
        let (here, now) = (here.wall_offset(), here.now());
        let seen = |moment| there.wall_offset().moment(here.wall_millis(moment));
        assert_eq!(seen(now), there.now());
        assert_eq!(seen(now.after(hour)), there.now().after(hour));
        assert_eq!(there.now().since(seen(Moment(now.0 - 3_600_000))), hour, "long before either began");
        assert_eq!(seen(Moment::NEVER), Moment::NEVER);
        for absurd in [0, 1, u64::MAX - 1] {
            let _ = here.moment(here.wall_millis(here.moment(absurd)));
        }
    }

    #[test]
    fn the_wall_clock_time_of_a_moment_does_not_flicker() {
        let clock = Clock::system();
        let (offset, now) = (clock.wall_offset(), clock.now());
        for _ in 0..10_000 {
            assert_eq!(clock.wall_offset().moment(offset.wall_millis(now)), now);
        }
    }
}
