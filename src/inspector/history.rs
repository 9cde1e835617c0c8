//! Samples of the counters of a cache, from which the numbers of the last hour are computed.
//!
//! No task takes samples: each request to the inspector does, at most once a minute.

use crate::cache::{CacheStats, LayerStats};
use crate::clock::Moment;
use crate::status::ForwardReason;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The longest period that the numbers of the page cover.
const HOUR: Duration = Duration::from_secs(3600);
/// The shortest time between two samples.
const INTERVAL: Duration = Duration::from_secs(60);
/// The largest number of samples: one a minute, with both ends of the hour.
const MAX_SAMPLES: usize = 61;

/// The requests of one layer, by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct OutcomeCounts {
    pub(super) fresh_hits: u64,
    pub(super) stale_hits: u64,
    pub(super) collapsed_hits: u64,
    pub(super) uri_misses: u64,
    pub(super) vary_misses: u64,
    pub(super) request_misses: u64,
    pub(super) stale_misses: u64,
    pub(super) bypasses: u64,
    pub(super) writes: u64,
    pub(super) refused: u64,
}

impl OutcomeCounts {
    pub(super) fn of(layer: &LayerStats) -> Self {
        Self {
            fresh_hits: layer.fresh_hits(),
            stale_hits: layer.stale_hits(),
            collapsed_hits: layer.collapsed_hits(),
            uri_misses: layer.forwards(ForwardReason::UriMiss),
            vary_misses: layer.forwards(ForwardReason::VaryMiss),
            request_misses: layer.forwards(ForwardReason::Request),
            stale_misses: layer.forwards(ForwardReason::Stale),
            bypasses: layer.bypasses(),
            writes: layer.forwards(ForwardReason::Method),
            refused: layer.refused(),
        }
    }

    /// Returns the requests since an earlier count.
    fn since(self, earlier: Self) -> Self {
        Self {
            fresh_hits: self.fresh_hits.saturating_sub(earlier.fresh_hits),
            stale_hits: self.stale_hits.saturating_sub(earlier.stale_hits),
            collapsed_hits: self.collapsed_hits.saturating_sub(earlier.collapsed_hits),
            uri_misses: self.uri_misses.saturating_sub(earlier.uri_misses),
            vary_misses: self.vary_misses.saturating_sub(earlier.vary_misses),
            request_misses: self.request_misses.saturating_sub(earlier.request_misses),
            stale_misses: self.stale_misses.saturating_sub(earlier.stale_misses),
            bypasses: self.bypasses.saturating_sub(earlier.bypasses),
            writes: self.writes.saturating_sub(earlier.writes),
            refused: self.refused.saturating_sub(earlier.refused),
        }
    }

    pub(super) fn hits(&self) -> u64 {
        self.fresh_hits + self.stale_hits + self.collapsed_hits
    }

    pub(super) fn misses(&self) -> u64 {
        self.uri_misses + self.vary_misses + self.request_misses + self.stale_misses
    }

    pub(super) fn requests(&self) -> u64 {
        self.hits() + self.misses() + self.bypasses + self.writes + self.refused
    }

    /// Returns the share of hits among hits and misses, as [`LayerStats::hit_ratio`] does.
    pub(super) fn hit_ratio(&self) -> Option<f64> {
        let all = self.hits() + self.misses();
        (all > 0).then(|| self.hits() as f64 / all as f64)
    }
}

/// The counts of all layers at one moment.
#[derive(Debug, Clone)]
struct CounterSample {
    at: Moment,
    layers: BTreeMap<String, OutcomeCounts>,
}

impl CounterSample {
    fn of(at: Moment, stats: &CacheStats) -> Self {
        let counts = |layer: &LayerStats| (layer.name().to_owned(), OutcomeCounts::of(layer));
        Self { at, layers: stats.layers().iter().map(counts).collect() }
    }
}

/// The requests of the last hour, or of the time for which samples exist.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CountedPeriod {
    pub(super) length: Duration,
    /// Whether the period began when the inspector was created.
    pub(super) is_since_creation: bool,
    /// The requests of each layer, by its name.
    pub(super) layers: Vec<(String, OutcomeCounts)>,
}

/// The samples of one inspector.
#[derive(Debug)]
pub(super) struct CounterHistory {
    /// The sample of the moment at which the inspector was created.
    first: CounterSample,
    /// The later samples that are at most an hour old, oldest first.
    recent: VecDeque<CounterSample>,
}

impl CounterHistory {
    pub(super) fn new(now: Moment, stats: &CacheStats) -> Self {
        Self { first: CounterSample::of(now, stats), recent: VecDeque::new() }
    }

    /// Returns `true` if the last sample is at least a minute old.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        now.since(self.recent.back().unwrap_or(&self.first).at) >= INTERVAL
    }

    /// Adds a sample, if one is due.
    pub(super) fn add(&mut self, now: Moment, stats: &CacheStats) {
        self.forget_old(now);
        if self.is_due(now) {
            if self.recent.len() == MAX_SAMPLES {
                self.recent.pop_front();
            }
            self.recent.push_back(CounterSample::of(now, stats));
        }
    }

    fn forget_old(&mut self, now: Moment) {
        while self.recent.front().is_some_and(|sample| now.since(sample.at) > HOUR) {
            self.recent.pop_front();
        }
    }

    /// Returns the requests of the last hour.
    ///
    /// Without a sample of that hour, the period begins when the inspector was created.
    pub(super) fn period(&mut self, now: Moment, stats: &CacheStats) -> CountedPeriod {
        self.forget_old(now);
        // A sample of this moment would give an empty period.
        let recent = self.recent.front().filter(|sample| sample.at < now);
        let base = match recent {
            Some(sample) if now.since(self.first.at) > HOUR => sample,
            _ => &self.first,
        };
        let counts = |layer: &LayerStats| {
            let earlier = base.layers.get(layer.name()).copied().unwrap_or_default();
            (layer.name().to_owned(), OutcomeCounts::of(layer).since(earlier))
        };
        CountedPeriod {
            length: now.since(base.at),
            is_since_creation: base.at == self.first.at,
            layers: stats.layers().iter().map(counts).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::status::CacheStatus;
    use crate::store::MemoryStore;

    const MINUTE: Duration = INTERVAL;

    /// An inspected cache at a moment that the test sets.
    struct Inspected {
        cache: Cache,
        history: CounterHistory,
        now: Moment,
    }

    impl Inspected {
        fn new() -> Self {
            let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
            let now = cache.clock().now();
            let history = CounterHistory::new(now, &cache.stats());
            Self { cache, history, now }
        }

        /// Counts misses of the layer `site`.
        fn count(&self, misses: u64) {
            let site = self.cache.layer_counters("site", None);
            (0..misses).for_each(|_| site.count_answer(CacheStatus::forward(ForwardReason::UriMiss)));
        }

        /// Requests the numbers after some time. Returns the length of the period, whether it began
        /// when the inspector was created, and the misses in it.
        fn after(&mut self, time: Duration) -> (Duration, bool, u64) {
            self.now = self.now.after(time);
            let stats = self.cache.stats();
            self.history.add(self.now, &stats);
            let period = self.history.period(self.now, &stats);
            let misses = period.layers.iter().map(|(_, counts)| counts.misses()).sum();
            (period.length, period.is_since_creation, misses)
        }
    }

    #[test]
    fn in_the_first_hour_numbers_begin_at_the_creation() {
        let mut inspected = Inspected::new();
        inspected.count(3);
        assert_eq!(inspected.after(Duration::from_secs(5)), (Duration::from_secs(5), true, 3));
        inspected.count(4);
        assert_eq!(inspected.after(HOUR - Duration::from_secs(5)), (HOUR, true, 7));
    }

    #[test]
    fn requests_before_the_creation_are_not_counted() {
        let mut inspected = Inspected::new();
        inspected.count(3);
        inspected.history = CounterHistory::new(inspected.now, &inspected.cache.stats());
        inspected.count(1);
        assert_eq!(inspected.after(MINUTE).2, 1);
    }

    #[test]
    fn polled_numbers_cover_the_last_hour() {
        let mut inspected = Inspected::new();
        for _ in 0..60 {
            inspected.count(1);
            assert!(inspected.after(MINUTE).1);
        }
        inspected.count(1);
        assert_eq!(inspected.after(MINUTE), (HOUR, false, 60));
        inspected.count(9);
        assert_eq!(inspected.after(MINUTE / 2), (HOUR - MINUTE / 2, false, 68));
    }

    #[test]
    fn old_sample_is_not_the_base_of_the_last_hour() {
        let mut inspected = Inspected::new();
        inspected.count(1);
        inspected.after(MINUTE);
        inspected.count(5);
        let (length, is_since_creation, misses) = inspected.after(2 * HOUR);
        assert_eq!((length, is_since_creation, misses), (2 * HOUR + MINUTE, true, 6));
        inspected.count(2);
        assert_eq!(inspected.after(MINUTE), (MINUTE, false, 2));
    }

    #[test]
    fn samples_are_bounded_and_a_minute_apart() {
        let mut inspected = Inspected::new();
        for _ in 0..2000 {
            inspected.after(Duration::from_secs(7));
            assert!(inspected.history.recent.len() <= MAX_SAMPLES);
        }
        let samples: Vec<_> = inspected.history.recent.iter().map(|sample| sample.at).collect();
        assert!(samples.len() > 50, "{}", samples.len());
        assert!(samples.windows(2).all(|pair| pair[1].since(pair[0]) >= MINUTE));
    }
}
