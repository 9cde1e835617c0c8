//! The statistics of one path.

use std::time::Duration;

/// The statistics of paths count one of this many hits of the same layer name, kind and shard.
pub(crate) const HITS_PER_SAMPLE: u64 = 128;

/// Returns `true` for one of [`HITS_PER_SAMPLE`] hits, by the number of hits before.
///
/// The products of consecutive numbers and an odd constant near 2^64 divided by the golden ratio are
/// spread evenly, also those of every second or every tenth number. So a path that recurs at regular
/// distances is sampled as often as any other.
#[inline]
pub(crate) const fn is_sampled(before: u64) -> bool {
    // The offset puts the first sample in the middle of the first 128 hits.
    before.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1 << 62) < u64::MAX / HITS_PER_SAMPLE
}

/// The counts of one path.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PathCounts {
    pub(super) misses: u64,
    pub(super) forwarded: u64,
    pub(super) handler_millis: u64,
    pub(super) sampled_hits: u64,
}

/// The statistics of one path, on all hosts and with any query.
/// [`CacheStats::paths`](super::CacheStats::paths) returns it.
#[derive(Debug, Clone)]
pub struct PathStats {
    path: String,
    counts: PathCounts,
}

impl PathStats {
    pub(super) fn new(path: &str, counts: PathCounts) -> Self {
        Self { path: path.to_owned(), counts }
    }

    /// Returns the path that clients requested, cut to 512 bytes.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the number of requests that were forwarded because no stored response could be used.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.counts.misses
    }

    /// Returns the number of requests that were forwarded for any reason: misses, bypasses and
    /// writes.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.counts.forwarded
    }

    /// Returns the time that the service took to begin its responses to forwarded requests.
    #[must_use]
    pub fn handler_time(&self) -> Duration {
        Duration::from_millis(self.counts.handler_millis)
    }

    /// Returns the estimated number of hits: a multiple of 128, since one of 128 hits is counted.
    #[must_use]
    pub fn estimated_hits(&self) -> u64 {
        self.counts.sampled_hits * HITS_PER_SAMPLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_at_regular_distances_are_sampled_alike() {
        for distance in [1, 2, 3, 5, 7, 10, 64, 100, 128, 256] {
            for start in 0..distance {
                let hits = (0..4096).map(|number| start + number * distance);
                let sampled = hits.filter(|before| is_sampled(*before)).count();
                assert!((24..=40).contains(&sampled), "{start} + n * {distance}: {sampled}");
            }
        }
    }
}
