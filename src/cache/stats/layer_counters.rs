//! The counters of all layers with one name.

use super::sharded_counters::ShardedCounters;
use crate::status::{CacheStatus, Detail, ForwardReason};
use std::sync::Arc;
use std::sync::atomic::Ordering;
#[cfg(feature = "tracing")]
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

/// The counters with a fixed meaning. A variant is the index of its counter. A hit changes only the
/// first five counters, which share a cache line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counter {
    FreshHits,
    StaleHits,
    CollapsedHits,
    BytesServed,
    SavedMillis,
    Writes,
    Refused,
    UriMiss,
    VaryMiss,
    Request,
    Stale,
    Invalidated,
    Revalidated,
    StaleOnErrors,
    Stored,
    FailedStores,
}

/// The index of the first counter of bypasses. Each word of [`Detail`] has one counter of bypasses.
pub(super) const BYPASSES: usize = Counter::FailedStores as usize + 1;
/// The index of the first counter of responses that are not stored. Each word of [`Detail`] has one
/// such counter.
pub(super) const NOT_STORED: usize = BYPASSES + Detail::WORDS.len();
pub(super) const COUNTERS: usize = NOT_STORED + Detail::WORDS.len();

/// The most handler time that one hit can save.
const LONGEST_SAVED: Duration = Duration::from_secs(3600);

/// The kind of a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HitKind {
    Fresh,
    Stale,
    Collapsed,
}

/// A mistake in the order or the options of layers.
#[cfg(feature = "tracing")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mistake {
    /// Two nested layers have the same keys.
    SameKeys,
    /// Requests to a route layer have cookies. No option declares cookies, and no outer layer of
    /// this crate sees whether responses set cookies.
    UnseenCookies,
}

/// The number of responses without a lifetime after which
/// [`LayerCounters::stores_nothing_without_ttl`] reports layers that have stored no response.
#[cfg(feature = "tracing")]
const RESPONSES_BEFORE_WARNING: u64 = 1000;

/// The counters of all layers with one name.
#[derive(Debug)]
pub(crate) struct LayerCounters {
    name: Arc<str>,
    counters: ShardedCounters<COUNTERS>,
    /// The number of calls of [`stores_nothing_without_ttl`](Self::stores_nothing_without_ttl).
    #[cfg(feature = "tracing")]
    without_lifetime: AtomicU64,
    /// Whether each kind of [`Mistake`] was reported.
    #[cfg(feature = "tracing")]
    mistakes: [AtomicBool; 2],
}

impl LayerCounters {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            counters: ShardedCounters::new(),
            #[cfg(feature = "tracing")]
            without_lifetime: AtomicU64::new(0),
            #[cfg(feature = "tracing")]
            mistakes: Default::default(),
        }
    }

    /// Returns the name of the layers.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of the layers, without a copy.
    #[cfg(feature = "metrics")]
    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    #[inline]
    fn add(&self, counter: Counter, number: u64) {
        self.counters.own()[counter as usize].fetch_add(number, Ordering::Relaxed);
    }

    /// Counts a hit. `bytes` is the length of the body that the client gets. `saved` is the time
    /// that the service took to begin the stored response. Returns the number of hits of this kind
    /// that the current shard of the counters had before.
    #[inline]
    pub(crate) fn count_hit(&self, kind: HitKind, bytes: usize, saved: Duration) -> u64 {
        let own = self.counters.own();
        let counter = match kind {
            HitKind::Fresh => Counter::FreshHits,
            HitKind::Stale => Counter::StaleHits,
            HitKind::Collapsed => Counter::CollapsedHits,
        };
        let before = own[counter as usize].fetch_add(1, Ordering::Relaxed);
        if bytes > 0 {
            own[Counter::BytesServed as usize].fetch_add(bytes as u64, Ordering::Relaxed);
        }
        if !saved.is_zero() {
            // The cost of an entry in a store outside the process may be wrong.
            let saved = saved.min(LONGEST_SAVED);
            let millis = saved.as_secs() * 1000 + u64::from(saved.subsec_millis());
            own[Counter::SavedMillis as usize].fetch_add(millis, Ordering::Relaxed);
        }
        before
    }

    /// Counts a request that was forwarded or refused. Also counts whether a stale response
    /// answered the request because the service failed.
    pub(crate) fn count_answer(&self, status: CacheStatus) {
        let counter = match status.forward_reason() {
            Some(ForwardReason::Bypass) => {
                let why = status.detail_value().unwrap_or(Detail::Skipped);
                self.counters.own()[BYPASSES + why.index()].fetch_add(1, Ordering::Relaxed);
                return;
            }
            Some(ForwardReason::Method) => Counter::Writes,
            Some(ForwardReason::UriMiss) => Counter::UriMiss,
            Some(ForwardReason::VaryMiss) => Counter::VaryMiss,
            Some(ForwardReason::Request) => Counter::Request,
            Some(ForwardReason::Stale) => Counter::Stale,
            None => Counter::Refused,
        };
        self.add(counter, 1);
        if status.detail_value() == Some(Detail::StaleIfError) {
            self.add(Counter::StaleOnErrors, 1);
        }
    }

    /// Counts a response of the service that is not stored.
    pub(crate) fn count_not_stored(&self, why: Detail) {
        self.counters.own()[NOT_STORED + why.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a response that the store has accepted.
    pub(super) fn count_stored(&self) {
        self.add(Counter::Stored, 1);
    }

    /// Counts a response that was reported as stored, but is not.
    pub(super) fn count_failed_store(&self) {
        self.add(Counter::FailedStores, 1);
    }

    /// Counts a 304 of the service that confirmed a stored response.
    pub(crate) fn count_revalidation(&self) {
        self.add(Counter::Revalidated, 1);
    }

    /// Counts a fetch for a request that found an invalidated response.
    pub(crate) fn count_invalidated(&self) {
        self.add(Counter::Invalidated, 1);
    }

    /// Returns the sums of all counters.
    pub(super) fn sums(&self) -> Vec<u64> {
        (0..COUNTERS).map(|counter| self.counters.sum(counter)).collect()
    }

    /// Returns `true` for the first report of a mistake.
    #[cfg(feature = "tracing")]
    pub(crate) fn is_first(&self, mistake: Mistake) -> bool {
        let was_reported = &self.mistakes[mistake as usize];
        !was_reported.load(Ordering::Relaxed) && !was_reported.swap(true, Ordering::Relaxed)
    }

    /// Returns `true`, once, if these layers have had 1,000 responses without a freshness lifetime, but
    /// neither a hit nor a stored response. Call it for each such response with status 200, in a layer
    /// without a TTL.
    #[cfg(feature = "tracing")]
    pub(crate) fn stores_nothing_without_ttl(&self) -> bool {
        use Counter::{CollapsedHits, FreshHits, StaleHits, Stored};
        let is_last = self.without_lifetime.fetch_add(1, Ordering::Relaxed) + 1 == RESPONSES_BEFORE_WARNING;
        let is_unused = |counter: Counter| self.counters.sum(counter as usize) == 0;
        is_last && [FreshHits, StaleHits, CollapsedHits, Stored].into_iter().all(is_unused)
    }
}
