//! The clock of a cache and its store: monotonic time for ages and lifetimes, wall-clock time for
//! dates.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use tower_response_cache::clock::Clock;
//! use tower_response_cache::{Cache, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (clock, hand) = Clock::manual();
//! let store = MemoryStore::builder().clock(clock.clone()).build()?;
//! let cache = Cache::builder(store).clock(clock).build()?;
//!
//! cache.set("greeting", "hello", Duration::from_secs(60)).await?;
//! hand.advance(Duration::from_secs(60));
//! assert_eq!(cache.get::<String>("greeting").await?, None);
//! # Ok(()) }
//! ```
//!
//! # Rules
//! 1. Ages and lifetimes follow the monotonic time. If the wall clock is set, no entry of a process
//!    becomes stale early or stays fresh longer.
//! 2. The unit of all moments is the millisecond.
//! 3. Give the cache and its store the same clock.
//! 4. Entries in a remote store carry wall-clock times: the clocks of all machines must agree.
//!
//! # Caveats
//! - Time limits on waiting, such as
//!   [`CacheBuilder::lookup_timeout`](crate::cache::CacheBuilder::lookup_timeout), use tokio's timer
//!   and not this clock. In tests, pause that timer with `tokio::time::pause`.
//! - tokio's paused time does not move this clock.

mod slept;

use slept::Slept;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A point in time in this process, in milliseconds since an arbitrary start.
///
/// Moments never go back and do not follow the wall clock. If the wall clock is set, no response
/// stays fresh forever and no lock ends early.
///
/// Time during which the machine is suspended counts, too. On Linux, it is added at the first full
/// second after the machine resumes. On other systems, suspended time counts if
/// [`Instant`](std::time::Instant) includes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// A moment that is never reached.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the time from `earlier` to this moment, or zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment that is `duration` later, or [`NEVER`](Self::NEVER) if that is out of
    /// range.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// Returns the moment that is `duration` earlier, or the first moment if that is out of range.
    pub(crate) fn before(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

/// The source of the time for a cache and its store: the system's clock or, in tests, a manual one.
///
/// Set it with [`CacheBuilder::clock`](crate::cache::CacheBuilder::clock).
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
    Manual(Arc<SimulatedClocks>),
}

/// The clocks of a simulated machine, in milliseconds.
#[derive(Debug, Default)]
struct SimulatedClocks {
    /// The time during which the machine was running.
    elapsed: AtomicU64,
    /// The time during which the machine was suspended.
    suspended: AtomicU64,
    /// The part of `suspended` that has been measured.
    measured_sleep: Slept,
    /// The total time by which the wall clock has been set forward; negative if it has been set
    /// back.
    wall_offset: AtomicI64,
}

impl SimulatedClocks {
    fn now(&self) -> Moment {
        let elapsed = self.elapsed.load(Ordering::SeqCst);
        let slept =
            self.measured_sleep.millis(elapsed / 1000, || Some(self.suspended.load(Ordering::SeqCst)));
        Moment(MONOTONIC_START.saturating_add(elapsed).saturating_add(slept))
    }

    fn wall(&self) -> SystemTime {
        let millis = MANUAL_START
            .saturating_add(self.elapsed.load(Ordering::SeqCst))
            .saturating_add(self.suspended.load(Ordering::SeqCst))
            .saturating_add_signed(self.wall_offset.load(Ordering::SeqCst));
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }
}

/// A handle that moves a [`Clock::manual`]. Clones move the same clock.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::clock::Clock;
///
/// let (clock, hand) = Clock::manual();
/// let (start, wall) = (clock.now(), clock.wall());
/// // An administrator corrects the wall clock. No lifetime ends early.
/// hand.set_wall_forward(Duration::from_secs(3600));
/// assert_eq!(clock.now(), start);
/// // The machine is suspended for an hour, then runs for a second.
/// hand.sleep(Duration::from_secs(3600));
/// hand.advance(Duration::from_secs(1));
/// assert_eq!(clock.now().since(start), Duration::from_secs(3601));
/// assert_eq!(clock.wall().duration_since(wall).expect("later"), Duration::from_secs(7201));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<SimulatedClocks>);

/// The first wall-clock time of a manual clock: 2026-01-01 00:00:00 UTC, in milliseconds since the
/// epoch.
const MANUAL_START: u64 = 1_767_225_600_000;

/// The monotonic time in milliseconds at the start of the machine on Linux, and at the start of the
/// process on other systems. Its 139 years let a moment represent an earlier event of another
/// process.
const MONOTONIC_START: u64 = 1 << 42;

/// Returns the time of the last tick of the kernel, which is at most some milliseconds ago.
///
/// A reading with nanosecond precision would take eight times as long, and every hit reads the
/// clock twice.
#[cfg(target_os = "linux")]
#[inline]
fn system_now() -> Moment {
    static SLEPT: Slept = Slept::new();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // The kernel's monotonic time is never negative.
    let second = now.tv_sec as u64;
    let slept = SLEPT.millis(second, measure_slept);
    Moment(MONOTONIC_START + second * 1000 + now.tv_nsec as u64 / 1_000_000 + slept)
}

/// Returns the milliseconds that the machine was suspended since it started.
///
/// The result is the difference between two clocks. Returns `None` if the thread was interrupted
/// between the two readings.
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
    /// Returns the system's clock, which is the default.
    #[must_use]
    pub fn system() -> Self {
        Self(ClockSource::System)
    }

    /// Returns a clock that stands still, and the handle that moves it.
    #[must_use]
    pub fn manual() -> (Self, ManualClock) {
        let manual = Arc::new(SimulatedClocks::default());
        (Self(ClockSource::Manual(Arc::clone(&manual))), ManualClock(manual))
    }

    /// Returns the monotonic time, for ages and lifetimes.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Moment {
        match &self.0 {
            ClockSource::System => system_now(),
            ClockSource::Manual(manual) => manual.now(),
        }
    }

    /// Returns the wall-clock time, for dates in messages.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            ClockSource::System => SystemTime::now(),
            ClockSource::Manual(manual) => manual.wall(),
        }
    }

    /// Returns the difference between the wall clock and the monotonic time. The difference converts
    /// moments for other processes.
    pub(crate) fn wall_offset(&self) -> WallOffset {
        let wall = self.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let wall = signed(u64::try_from(wall).unwrap_or(u64::MAX));
        let measured = wall.saturating_sub(signed(self.now().0));
        WallOffset(match &self.0 {
            ClockSource::System => steady_offset(measured),
            ClockSource::Manual(_) => measured,
        })
    }
}

/// The difference between the wall clock and the monotonic time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WallOffset(i64);

impl WallOffset {
    /// Converts a moment into wall-clock milliseconds since the Unix epoch, which other processes
    /// can read. [`Moment::NEVER`] becomes `u64::MAX`.
    pub(crate) fn wall_millis(self, moment: Moment) -> u64 {
        if moment == Moment::NEVER {
            return u64::MAX;
        }
        moment.0.saturating_add_signed(self.0).min(u64::MAX - 1)
    }

    /// Converts a result of [`wall_millis`](Self::wall_millis), from any process, into a moment of
    /// this process.
    pub(crate) fn moment(self, wall_millis: u64) -> Moment {
        if wall_millis == u64::MAX {
            return Moment::NEVER;
        }
        Moment(wall_millis.saturating_add_signed(self.0.saturating_neg()))
    }
}

/// Offsets that differ by at most this many milliseconds count as equal. Even if no clock was set,
/// measurements differ by the time since the kernel's last tick.
const MAX_JITTER_MILLIS: u64 = 250;

/// Returns the offset of an earlier measurement, or `measured` if the wall clock has been set
/// since. With a steady offset, a wall-clock time from a remote store converts to the same moment
/// each time.
fn steady_offset(measured: i64) -> i64 {
    static LAST_OFFSET: AtomicI64 = AtomicI64::new(i64::MIN);
    let last = LAST_OFFSET.load(Ordering::Relaxed);
    if last.abs_diff(measured) <= MAX_JITTER_MILLIS {
        return last;
    }
    // If several threads measure a new offset, all use the offset of the first thread.
    match LAST_OFFSET.compare_exchange(last, measured, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => measured,
        Err(other) => other,
    }
}

impl ManualClock {
    /// Moves both the monotonic time and the wall clock forward.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.elapsed.fetch_add(millis, Ordering::SeqCst);
    }

    /// Suspends the machine: the wall clock moves forward, the kernel's monotonic clock does not.
    ///
    /// As with the system's clock, [`Clock::now`] includes the suspended time only from the next
    /// full second. So call [`advance`](Self::advance) with one second afterwards.
    pub fn sleep(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.suspended.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets only the wall clock back, as an administrator or NTP may do.
    pub fn set_wall_back(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.wall_offset.fetch_sub(millis, Ordering::SeqCst);
    }

    /// Sets only the wall clock forward.
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
        let (clock, manual) = Clock::manual();
        let (now, wall) = (clock.now(), clock.wall());
        manual.set_wall_back(Duration::from_secs(3600));
        assert_eq!(clock.now(), now);
        assert_eq!(wall.duration_since(clock.wall()).expect("later"), Duration::from_secs(3600));
    }

    #[test]
    fn suspended_time_counts_from_the_next_full_second() {
        let (clock, manual) = Clock::manual();
        let (now, wall) = (clock.now(), clock.wall());
        manual.sleep(Duration::from_secs(3600));
        manual.advance(Duration::from_millis(999));
        assert_eq!(clock.now().since(now), Duration::from_millis(999));
        manual.advance(Duration::from_millis(1));
        assert_eq!(clock.now().since(now), Duration::from_secs(3601));
        assert_eq!(clock.wall().duration_since(wall).expect("later"), Duration::from_secs(3601));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn system_clock_counts_from_the_start_of_the_machine() {
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
        let (there, manual) = Clock::manual();
        manual.advance(Duration::from_secs(1000));
        let hour = Duration::from_secs(3600);
        // The other process began a thousand seconds earlier; both wall clocks agree.
        manual.set_wall_back(Duration::from_secs(1000));
        let (here, now) = (here.wall_offset(), here.now());
        let seen = |moment| there.wall_offset().moment(here.wall_millis(moment));
        assert_eq!(seen(now), there.now());
        assert_eq!(seen(now.after(hour)), there.now().after(hour));
        assert_eq!(there.now().since(seen(Moment(now.0 - 3_600_000))), hour, "before both processes began");
        assert_eq!(seen(Moment::NEVER), Moment::NEVER);
        for absurd in [0, 1, u64::MAX - 1] {
            let _ = here.moment(here.wall_millis(here.moment(absurd)));
        }
    }

    #[test]
    fn a_wall_clock_time_converts_to_the_same_moment_each_time() {
        let clock = Clock::system();
        let (offset, now) = (clock.wall_offset(), clock.now());
        for _ in 0..10_000 {
            assert_eq!(clock.wall_offset().moment(offset.wall_millis(now)), now);
        }
    }
}
