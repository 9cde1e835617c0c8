//! Counters that many threads increment without contention.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The most shards. Beyond this number, threads share shards.
const MAX_SHARDS: usize = 32;

const UNASSIGNED: usize = usize::MAX;

thread_local! {
    /// The number that selects the shard of this thread.
    static THREAD_NUMBER: Cell<usize> = const { Cell::new(UNASSIGNED) };
}

#[inline]
fn thread_number() -> usize {
    THREAD_NUMBER
        .try_with(|number| match number.get() {
            UNASSIGNED => assign(number),
            assigned => assigned,
        })
        .unwrap_or_default()
}

#[cold]
fn assign(number: &Cell<usize>) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    number.set(next);
    next
}

/// `N` counters. Each shard holds a part of each count. A thread counts in its own shard.
pub(super) struct ShardedCounters<const N: usize> {
    /// The number of shards is a power of two.
    shards: Box<[Shard<N>]>,
}

/// The counters of one shard. The alignment separates the shards: two shards share neither a cache
/// line nor a pair of lines that the processor loads together.
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> ShardedCounters<N> {
    pub(super) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = threads.min(MAX_SHARDS).next_power_of_two();
        let shard = || Shard(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { shards: (0..shards).map(|_| shard()).collect() }
    }

    /// Returns the counters of this thread.
    #[inline]
    pub(super) fn own(&self) -> &[AtomicU64; N] {
        &self.shards[thread_number() & (self.shards.len() - 1)].0
    }

    /// Returns the sum of a counter over all shards.
    pub(super) fn sum(&self, counter: usize) -> u64 {
        let parts = self.shards.iter().map(|shard| shard.0[counter].load(Ordering::Relaxed));
        parts.fold(0, u64::wrapping_add)
    }
}

impl<const N: usize> fmt::Debug for ShardedCounters<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardedCounters").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_has_the_counts_of_all_threads() {
        let counters = ShardedCounters::<2>::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counters.own()[1].fetch_add(2, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!((counters.sum(0), counters.sum(1)), (0, 16_000));
    }
}
