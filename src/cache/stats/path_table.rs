//! The paths with the most misses, the most handler time and the most hits.

use super::path_stats::{PathCounts, PathStats};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most bytes of a path. Longer paths are cut.
const MAX_PATH: usize = 512;

/// The counts of the most important paths.
///
/// A path is important if it has many misses, much handler time or many hits. When the table has
/// twice `limit` paths, it keeps about a third of `limit` by each of these counts. So the table is
/// bounded, and its cost for a request does not depend on the number of paths.
#[derive(Debug)]
pub(crate) struct PathTable {
    /// The most paths that remain when the table forgets paths, or three if the limit is lower.
    /// With zero, no path is counted.
    limit: usize,
    paths: Mutex<HashMap<Box<str>, PathCounts>>,
}

impl PathTable {
    pub(in crate::cache) fn new(limit: usize) -> Self {
        Self { limit, paths: Mutex::default() }
    }

    /// Returns `true` if paths are counted.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.limit > 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, PathCounts>> {
        // No code panics under this lock.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that the service has answered after `took`.
    pub(crate) fn count_forwarded(&self, path: &str, is_miss: bool, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.count(path, |counts| {
            counts.misses += u64::from(is_miss);
            counts.forwarded += 1;
            counts.handler_millis = counts.handler_millis.saturating_add(millis);
        });
    }

    /// Counts a hit that stands for [`HITS_PER_SAMPLE`](super::path_stats::HITS_PER_SAMPLE) hits.
    pub(crate) fn count_sampled_hit(&self, path: &str) {
        self.count(path, |counts| counts.sampled_hits += 1);
    }

    fn count(&self, path: &str, change: impl FnOnce(&mut PathCounts)) {
        let mut length = path.len().min(MAX_PATH);
        while !path.is_char_boundary(length) {
            length -= 1;
        }
        let path = &path[..length];
        let mut paths = self.lock();
        if let Some(counts) = paths.get_mut(path) {
            return change(counts);
        }
        if paths.len() >= 2 * self.limit {
            self.forget_least(&mut paths);
        }
        change(paths.entry(path.into()).or_default());
    }

    /// Keeps the first paths by each of the three counts, and forgets the other paths. By each
    /// count, it keeps a third of `limit`, but at least one path.
    fn forget_least(&self, paths: &mut HashMap<Box<str>, PathCounts>) {
        let third = (self.limit / 3).max(1);
        let orders: [fn(&PathCounts) -> u64; 3] =
            [|counts| counts.misses, |counts| counts.handler_millis, |counts| counts.sampled_hits];
        let mut kept = HashMap::with_capacity(self.limit);
        for order in orders {
            let mut rest: Vec<_> = paths.drain().collect();
            rest.sort_unstable_by_key(|(_, counts)| Reverse(order(counts)));
            paths.extend(rest.split_off(third.min(rest.len())));
            // A path whose count is zero is not among the best.
            let (best, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(_, counts)| order(counts) > 0);
            kept.extend(best);
            paths.extend(others);
        }
        *paths = kept;
    }

    pub(super) fn all(&self) -> Vec<PathStats> {
        self.lock().iter().map(|(path, counts)| PathStats::new(path, *counts)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(table: &PathTable, path: &str) -> Option<PathStats> {
        table.all().into_iter().find(|stats| stats.path() == path)
    }

    #[test]
    fn table_stays_bounded_and_keeps_the_top_paths() {
        let table = PathTable::new(30);
        let second = Duration::from_secs(1);
        for number in 0..10_000 {
            table.count_forwarded("/popular", true, Duration::ZERO);
            table.count_forwarded("/slow", false, second);
            table.count_sampled_hit("/hot");
            table.count_forwarded(&format!("/{number}"), true, Duration::ZERO);
            assert!(table.all().len() <= 60);
        }
        assert_eq!(find(&table, "/popular").map(|stats| stats.misses()), Some(10_000));
        assert_eq!(find(&table, "/slow").map(|stats| stats.handler_time()), Some(10_000 * second));
        assert_eq!(find(&table, "/hot").map(|stats| stats.estimated_hits()), Some(1_280_000));
    }

    #[test]
    fn long_path_is_cut_between_characters() {
        let table = PathTable::new(1);
        table.count_sampled_hit(&format!("/{}", "é".repeat(400)));
        assert_eq!(table.all()[0].path().len(), 511);
    }
}
