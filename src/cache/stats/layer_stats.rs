//! The statistics of the layers of one name.

use super::layer_counters::{BYPASSES, Counter, LayerCounters, NOT_STORED};
use crate::status::{Detail, ForwardReason};
use std::time::Duration;

/// The name under which the statistics count all further layers once 256 names have counters.
pub(super) const OTHER_LAYERS: &str = "other";

/// The number of requests by outcome, of all layers with one name, since the cache was built.
/// [`CacheStats::layers`](super::CacheStats::layers) returns it.
///
/// A layer has the name that [`PolicyBuilder::name`](crate::policy::PolicyBuilder::name) sets.
/// Without that option, the name is `site` for a site-wide cache and `route` for a per-route cache.
/// Layers in different namespaces share the counters of a name. Once 256 names are known, layers
/// with further names are counted as `other`.
///
/// Background refreshes do not count as requests. Their responses count as [`stored`](Self::stored) or
/// [`not_stored`](Self::not_stored).
///
/// # Words
/// The words of [`bypasses_by_detail`](Self::bypasses_by_detail) and
/// [`not_stored_by_detail`](Self::not_stored_by_detail) are the values of `detail` in
/// `Cache-Status` ([`CacheStatus`](crate::CacheStatus) explains them). All field names count as
/// `credentials`.
///
/// # Example
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_response_cache::{Cache, MemoryStore, RouteCacheLayer};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let page = service_fn(|_: http::Request<String>| async {
///     Ok::<_, Infallible>(http::Response::new(http_body_util::Full::from("hello")))
/// });
/// let service = RouteCacheLayer::new(&cache, Duration::from_secs(60)).layer(page);
/// for (name, value) in [("accept", "*/*"), ("accept", "*/*"), ("cookie", "sid=1")] {
///     let request = http::Request::builder().header(name, value).body(String::new())?;
///     let response = service.clone().oneshot(request).await?;
///     let _ = http_body_util::BodyExt::collect(response.into_body()).await;
/// }
///
/// let stats = cache.stats();
/// let route = stats.layer("route").expect("a layer of this name has answered");
/// assert_eq!((route.requests(), route.misses(), route.fresh_hits(), route.stored()), (3, 1, 1, 1));
/// assert_eq!(route.bypasses_by_detail().collect::<Vec<_>>(), [("cookie", 1)]);
/// assert_eq!((route.bytes_served(), route.hit_ratio()), (5, Some(0.5)));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct LayerStats {
    name: String,
    /// The sums of all counters, in the order of their indices.
    counts: Vec<u64>,
}

impl LayerStats {
    pub(super) fn of(counters: &LayerCounters) -> Self {
        Self { name: counters.name().to_owned(), counts: counters.sums() }
    }

    fn get(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }

    /// Returns the non-zero counters of the words of `detail`. `first` is the index of the first
    /// counter.
    fn words(&self, first: usize) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = Detail::WORDS.iter().copied().zip(self.counts[first..].iter().copied());
        counts.filter(|(_, count)| *count > 0)
    }

    /// Returns the name of the layers.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of requests that the layers have answered.
    ///
    /// A forwarded request whose future is dropped before its answer, or whose service fails with an
    /// error, is not answered. A hit counts when the service is called.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let writes = self.forwards(ForwardReason::Method);
        self.hits() + self.misses() + self.bypasses() + writes + self.refused()
    }

    /// Returns the number of requests that were answered from the cache: fresh, stale and collapsed
    /// hits.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.fresh_hits() + self.stale_hits() + self.collapsed_hits()
    }

    /// Returns the number of requests that got a fresh stored response.
    #[must_use]
    pub fn fresh_hits(&self) -> u64 {
        self.get(Counter::FreshHits)
    }

    /// Returns the number of requests that got a stale stored response, e.g. during a background
    /// refresh. Stale responses after a failure are counted by
    /// [`stale_on_error`](Self::stale_on_error).
    #[must_use]
    #[doc(alias = "SWR")]
    pub fn stale_hits(&self) -> u64 {
        self.get(Counter::StaleHits)
    }

    /// Returns the number of followers that got the response of their leader.
    #[must_use]
    #[doc(alias = "single-flight")]
    pub fn collapsed_hits(&self) -> u64 {
        self.get(Counter::CollapsedHits)
    }

    /// Returns the number of requests that were forwarded because no stored response could be used.
    #[must_use]
    pub fn misses(&self) -> u64 {
        use ForwardReason::{Request, Stale, UriMiss, VaryMiss};
        [UriMiss, VaryMiss, Request, Stale].into_iter().map(|reason| self.forwards(reason)).sum()
    }

    /// Returns the number of requests that were forwarded for a reason.
    #[must_use]
    pub fn forwards(&self, reason: ForwardReason) -> u64 {
        match reason {
            ForwardReason::Bypass => self.bypasses(),
            ForwardReason::Method => self.get(Counter::Writes),
            ForwardReason::UriMiss => self.get(Counter::UriMiss),
            ForwardReason::VaryMiss => self.get(Counter::VaryMiss),
            ForwardReason::Request => self.get(Counter::Request),
            ForwardReason::Stale => self.get(Counter::Stale),
        }
    }

    /// Returns the share of hits among hits and misses; `None` if there are neither.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let all = self.hits() + self.misses();
        (all > 0).then(|| self.hits() as f64 / all as f64)
    }

    /// Returns the number of requests that bypassed the cache.
    #[must_use]
    pub fn bypasses(&self) -> u64 {
        self.bypasses_by_detail().map(|(_, count)| count).sum()
    }

    /// Returns the number of requests that bypassed the cache, by the word of the reason. Words with
    /// the number zero are left out.
    pub fn bypasses_by_detail(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.words(BYPASSES)
    }

    /// Returns the number of requests that the layer answered itself: with 504 to `only-if-cached`,
    /// or with 508 to a loop.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.get(Counter::Refused)
    }

    /// Returns the number of misses that got a stale stored response, because the service failed
    /// (RFC 5861 section 4).
    #[must_use]
    pub fn stale_on_error(&self) -> u64 {
        self.get(Counter::StaleOnErrors)
    }

    /// Returns the number of 304 responses that confirmed a stored response.
    #[must_use]
    #[doc(alias = "conditional GET")]
    pub fn revalidations(&self) -> u64 {
        self.get(Counter::Revalidated)
    }

    /// Returns the number of fetches that found an invalidated response: the requests on which
    /// invalidations had an effect.
    ///
    /// An invalidation does not visit the entries, so the number of entries that it covers is not
    /// known.
    #[must_use]
    #[doc(alias = "purge")]
    pub fn invalidated(&self) -> u64 {
        self.get(Counter::Invalidated)
    }

    /// Returns the number of responses that the store has accepted.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.get(Counter::Stored)
    }

    /// Returns the number of responses that were fetched but not stored.
    #[must_use]
    pub fn not_stored(&self) -> u64 {
        self.not_stored_by_detail().map(|(_, count)| count).sum()
    }

    /// Returns the number of responses that were fetched but not stored, by the word of their
    /// reason. Words with the number zero are left out.
    pub fn not_stored_by_detail(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.words(NOT_STORED)
    }

    /// Returns the number of responses whose [`CacheStatus`](crate::CacheStatus) reported them as
    /// stored, although they were not stored in the end. They are a part of
    /// [`not_stored`](Self::not_stored).
    ///
    /// The status is sent before the body: the body may then fail or be too large, or the client
    /// may disconnect.
    #[must_use]
    pub fn failed_stores(&self) -> u64 {
        self.get(Counter::FailedStores)
    }

    /// Returns the time that hits have saved: for each hit, the time that the service took to begin
    /// the stored response.
    ///
    /// The resolution of the clock is a millisecond, and on Linux a tick of the kernel.
    #[must_use]
    pub fn handler_time_saved(&self) -> Duration {
        Duration::from_millis(self.get(Counter::SavedMillis))
    }

    /// Returns the bytes of response bodies that hits have served. Bodies that were still arriving
    /// at the time of the hit are not counted.
    #[must_use]
    pub fn bytes_served(&self) -> u64 {
        self.get(Counter::BytesServed)
    }
}
