//! Incarnations: numbers that identify the histories of a namespace's invalidations.
//!
//! While a store keeps the invalidations of a namespace, their incarnation stays the same. If the
//! store loses invalidations, it begins a new incarnation, in which all older entries are invalid.
//!
//! The upper 32 bits of an incarnation are its start in seconds since 1970. The lower 32 bits are
//! random.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The start of 2026, in seconds since 1970. A clock with an earlier time is not set.
const EARLIEST_START: u64 = 1_767_225_600;
/// Ten years in seconds. The clocks of processes that share a store are assumed to differ by less
/// than this.
pub(super) const MAX_SECONDS_AHEAD: u64 = 10 * 365 * 86_400;

/// The last incarnation that [`next_incarnation`] returned.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Returns an unpredictable number: a hash whose keys are random numbers of the operating system.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().max(EARLIEST_START)
}

/// Returns `true` if a store may have begun an incarnation: its start is at most ten years in the
/// future.
///
/// A store that finds an entry of a later incarnation begins an even later one. Without this limit,
/// one damaged entry could leave no later incarnation, and disable the cache for good.
pub(super) fn is_believable(incarnation: u64) -> bool {
    incarnation >> 32 <= seconds_now() + MAX_SECONDS_AHEAD
}

/// Returns a new incarnation. It is later than `after` if `after` [is believable](is_believable).
pub(super) fn new_incarnation(after: Option<u64>) -> u64 {
    let earliest = after.map_or(0, |incarnation| (incarnation >> 32) + 1);
    let start = seconds_now().max(earliest).min(u32::MAX.into());
    start << 32 | u64::from(random() as u32)
}

/// Returns a new incarnation. It is later than all incarnations that this function has returned in
/// this process.
pub(super) fn next_incarnation() -> u64 {
    let new = new_incarnation(None);
    let later = |last: u64| new.max(last.saturating_add(1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last)));
    last.map_or(new, later)
}

#[cfg(test)]
mod tests {
    use super::next_incarnation;

    #[test]
    fn incarnations_of_a_process_are_distinct_and_ascending() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..10_000).map(|_| next_incarnation()).collect::<Vec<_>>()))
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            let own = thread.join().expect("no panic");
            assert!(own.is_sorted_by(|a, b| a < b));
            all.extend(own);
        }
        all.sort_unstable();
        assert!(all.is_sorted_by(|a, b| a < b));
    }
}
