//! Incarnations: numbers that identify each start of a namespace's invalidations. A restart gets a new one.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The start of 2026, in seconds since 1970. A clock that shows an earlier time was never set.
const EARLIEST: u64 = 1_767_225_600;
/// Ten years in seconds. Clocks differ by less.
pub(super) const MOST_AHEAD: u64 = 10 * 365 * 86_400;

/// The last incarnation that [`next_incarnation`] returned.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Returns a number nobody can guess: the standard library's hash keys are the operating system's.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().max(EARLIEST)
}

/// Returns `false` if an incarnation begins in so far a future that no store has begun it. The last ones have no
/// successor, so that a single damaged entry could turn the cache off for good.
pub(super) fn is_believable(incarnation: u64) -> bool {
    incarnation >> 32 <= seconds_now() + MOST_AHEAD
}

/// Returns a new incarnation, later than a believable one.
pub(super) fn new_incarnation(after: Option<u64>) -> u64 {
    let earliest = after.map_or(0, |incarnation| (incarnation >> 32) + 1);
    let start = seconds_now().max(earliest).min(u32::MAX.into());
    start << 32 | u64::from(random() as u32)
}

/// Returns a new incarnation, later than all that this function has returned in this process.
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
    fn incarnations_of_one_process_are_distinct_and_in_order() {
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
