//! Time: a monotonic reading for ages and lifetimes, the wall clock for dates; both by hand in tests.

mod slept;

use slept::Slept;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A point in time of this process, in milliseconds since an arbitrary start.
///
/// It never goes back and does not follow the wall clock: setting that clock makes no response fresh for ever and ends no
/// lock. On Linux, it counts the time that a machine sleeps, from the next second in which the machine is awake; on other
/// systems as [`Instant`](std::time::Instant) does.
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
/// use tower_response_cache::clock::Clock;
///
/// let (clock, hand) = Clock::manual();
/// let start = clock.now();
/// hand.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(start), Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Clock(ClockSource);

#[derive(Debug, Clone, Default)]
enum ClockSource {
    #[default]
    System,
    Manual(Arc<Hand>),
}

/// The clocks of a machine, in milliseconds.
#[derive(Debug, Default)]
struct Hand {
    /// The time that the machine was awake.
    elapsed: AtomicU64,
    /// The time that it slept.
    asleep: AtomicU64,
    /// The part of that which has been noticed.
    noticed: Slept,
    wall_offset: AtomicI64,
}

impl Hand {
    fn now(&self) -> Moment {
        let elapsed = self.elapsed.load(Ordering::SeqCst);
        let slept = self.noticed.millis(elapsed / 1000, || Some(self.asleep.load(Ordering::SeqCst)));
        Moment(MONOTONIC_START.saturating_add(elapsed).saturating_add(slept))
    }

    fn wall(&self) -> SystemTime {
        let millis = MANUAL_START
            .saturating_add(self.elapsed.load(Ordering::SeqCst))
            .saturating_add(self.asleep.load(Ordering::SeqCst))
            .saturating_add_signed(self.wall_offset.load(Ordering::SeqCst));
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }
}

/// Moves a [`Clock::manual`].
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::clock::Clock;
///
/// let (clock, hand) = Clock::manual();
/// let (start, wall) = (clock.now(), clock.wall());
/// // An administrator puts the clock right: no lifetime ends by that.
/// hand.set_wall_forward(Duration::from_secs(3600));
/// assert_eq!(clock.now(), start);
/// // The machine sleeps for an hour, and is awake for a second.
/// hand.sleep(Duration::from_secs(3600));
/// hand.advance(Duration::from_secs(1));
/// assert_eq!(clock.now().since(start), Duration::from_secs(3601));
/// assert_eq!(clock.wall().duration_since(wall).expect("later"), Duration::from_secs(7201));
/// ```
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
    static SLEPT: Slept = Slept::new();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // Neither is ever negative.
    let second = now.tv_sec as u64;
    let slept = SLEPT.millis(second, measure_slept);
    Moment(MONOTONIC_START + second * 1000 + now.tv_nsec as u64 / 1_000_000 + slept)
}

/// Returns by how many milliseconds the time since the machine was started exceeds the time that it was awake.
///
/// Returns `None` if the thread was interrupted in between: it would measure its own pause.
#[cfg(target_os = "linux")]
fn measure_slept() -> Option<u64> {
    use rustix::time::{ClockId, clock_gettime};
    const INTERRUPTED: u64 = 1_000_000;
    let nanos = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let (before, since_start) = (nanos(ClockId::Monotonic), nanos(ClockId::Boottime));
    let is_measured = nanos(ClockId::Monotonic).saturating_sub(before) < INTERRUPTED;
    is_measured.then(|| since_start.saturating_sub(before) / 1_000_000)
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
        Self(ClockSource::System)
    }

    /// Returns a clock that stands still, and the hand that moves it.
    #[must_use]
    pub fn manual() -> (Self, ManualClock) {
        let hand = Arc::new(Hand::default());
        (Self(ClockSource::Manual(Arc::clone(&hand))), ManualClock(hand))
    }

    /// Returns the monotonic time.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Moment {
        match &self.0 {
            ClockSource::System => system_now(),
            ClockSource::Manual(hand) => hand.now(),
        }
    }

    /// Returns the wall-clock time.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            ClockSource::System => SystemTime::now(),
            ClockSource::Manual(hand) => hand.wall(),
        }
    }

    /// Returns how far the wall clock is from the monotonic time.
    pub(crate) fn wall_offset(&self) -> WallOffset {
        let wall = self.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let wall = signed(u64::try_from(wall).unwrap_or(u64::MAX));
        let measured = wall.saturating_sub(signed(self.now().0));
        WallOffset(match &self.0 {
            ClockSource::System => steady(measured),
            ClockSource::Manual(_) => measured,
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

    /// Sends the machine to sleep: the wall clock moves on, the kernel's monotonic clock does not.
    ///
    /// As with the system's clock, a cache counts the pause from the next second in which the machine is awake:
    /// [`advance`](Self::advance) by a second afterwards.
    pub fn sleep(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.asleep.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock alone back, as an administrator or NTP may do.
    pub fn set_wall_back(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.wall_offset.fetch_sub(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock alone forward.
    pub fn set_wall_forward(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.wall_offset.fetch_add(millis, Ordering::SeqCst);
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
    fn time_asleep_counts_from_the_next_second_awake() {
        let (clock, hand) = Clock::manual();
        let (now, wall) = (clock.now(), clock.wall());
        hand.sleep(Duration::from_secs(3600));
        hand.advance(Duration::from_millis(999));
        assert_eq!(clock.now().since(now), Duration::from_millis(999));
        hand.advance(Duration::from_millis(1));
        assert_eq!(clock.now().since(now), Duration::from_secs(3601));
        assert_eq!(clock.wall().duration_since(wall).expect("later"), Duration::from_secs(3601));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_clock_counts_from_when_the_machine_was_started() {
        let boot = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        };
        let (before, now, after) = (boot(), Clock::system().now(), boot());
        let since_start = now.since(Moment(MONOTONIC_START));
        let error = Duration::from_millis(200);
        assert!(since_start + error > before && since_start < after + error, "{since_start:?} {before:?}");
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
