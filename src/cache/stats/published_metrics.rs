//! The metrics that a cache publishes to the recorder of the crate `metrics`.
//!
//! Their names, labels and units are a stable interface: the page `observability` of the guide
//! lists them.

use super::cache_stats::CacheStats;
use super::layer_counters::LayerCounters;
use super::layer_stats::LayerStats;
use crate::cache::guard::CircuitState;
use crate::cache::handle::Cache;
use crate::status::ForwardReason;
use metrics::{SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use std::sync::Arc;
use std::time::Duration;

const REQUESTS: &str = "http_cache_requests_total";
const NOT_STORED: &str = "http_cache_not_stored_total";
const FETCH_DURATION: &str = "http_cache_fetch_duration_seconds";
const SERVED_BYTES: &str = "http_cache_served_bytes_total";
const STORED_BYTES: &str = "http_cache_stored_bytes";
const ENTRIES: &str = "http_cache_entries";
const EVICTIONS: &str = "http_cache_evictions_total";
const INVALIDATIONS: &str = "http_cache_invalidations_total";
const STORE_ERRORS: &str = "http_cache_store_errors_total";
const STORE_BREAKER: &str = "http_cache_store_breaker";

impl Cache {
    /// Publishes the [statistics](Self::stats) to the recorder of the crate `metrics`: counters as
    /// absolute values, and gauges. The [guide](crate::docs::observability#metrics) lists the
    /// metrics.
    ///
    /// Call it when a scraper reads the metrics, or let
    /// [`publish_metrics_every`](Self::publish_metrics_every) call it. The metrics change only when
    /// it is called: a hit never calls the recorder. The exception is the histogram of fetch durations:
    /// each fetch adds its duration when it ends.
    ///
    /// Install the recorder before the first call. This call also describes the metrics.
    ///
    /// # Labels
    /// The label `cache` is the namespace with which the cache was built. Handles that are derived
    /// by [`with_namespace`](Self::with_namespace) publish the same numbers under the same label.
    /// If a process has several caches, give each its own namespace.
    ///
    /// The label `layer` is the [name](crate::policy::PolicyBuilder::name) of a layer. A cache has
    /// at most 257 such names ([`LayerStats`](crate::cache::LayerStats)). The values of every other
    /// label come from a fixed list.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    /// let prometheus = recorder.handle();
    /// let _ = metrics::set_global_recorder(recorder); // fails if there is another recorder
    ///
    /// let cache = Cache::builder(MemoryStore::with_max_bytes(64 << 20)).namespace("shop").build()?;
    /// cache.publish_metrics(); // in the handler of `/metrics`
    /// assert!(prometheus.render().contains(r#"http_cache_entries{cache="shop"} 0"#));
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "prometheus")]
    #[doc(alias = "OpenTelemetry")]
    pub fn publish_metrics(&self) {
        let counters = &self.0.counters;
        if counters.is_first_publication() {
            describe_metrics();
        }
        let (cache, stats) = (SharedString::from_shared(counters.name()), self.stats());
        for layer in stats.layers() {
            publish_layer(&cache, layer);
        }
        publish_totals(&cache, &stats);
    }

    /// Adds the duration of a fetch to the histogram. The caller must not hold a lock, because the
    /// recorder is code of the application.
    pub(crate) fn record_fetch(&self, layer: &LayerCounters, took: Duration) {
        let labels = [self.0.counters.name(), layer.shared_name()].map(SharedString::from_shared);
        let [cache, layer] = labels;
        metrics::histogram!(FETCH_DURATION, "cache" => cache, "layer" => layer).record(took.as_secs_f64());
    }
}

fn describe_metrics() {
    describe_counter!(REQUESTS, Unit::Count, "The requests that a cache layer has answered, by outcome.");
    describe_counter!(NOT_STORED, Unit::Count, "The fetched responses that were not stored, by reason.");
    describe_histogram!(FETCH_DURATION, Unit::Seconds, "The time in which the service began its response.");
    describe_counter!(SERVED_BYTES, Unit::Bytes, "The bytes of response bodies that hits have served.");
    describe_gauge!(STORED_BYTES, Unit::Bytes, "The bytes that all entries of the store take.");
    describe_gauge!(ENTRIES, Unit::Count, "The entries of the store.");
    describe_counter!(EVICTIONS, Unit::Count, "The entries that the store has evicted to make room.");
    describe_counter!(INVALIDATIONS, Unit::Count, "The invalidated scopes, by kind.");
    describe_counter!(STORE_ERRORS, Unit::Count, "The failed operations of the store, by operation.");
    describe_gauge!(STORE_BREAKER, Unit::Count, "1 for the state of the store's circuit breaker, else 0.");
}

fn publish_layer(cache: &SharedString, layer: &LayerStats) {
    let name = SharedString::from_shared(Arc::from(layer.name()));
    for (outcome, count) in outcomes(layer) {
        counter!(REQUESTS, "cache" => cache.clone(), "layer" => name.clone(), "outcome" => outcome)
            .absolute(count);
    }
    for (reason, count) in layer.not_stored_by_detail() {
        counter!(NOT_STORED, "cache" => cache.clone(), "layer" => name.clone(), "reason" => reason)
            .absolute(count);
    }
    counter!(SERVED_BYTES, "cache" => cache.clone(), "layer" => name).absolute(layer.bytes_served());
}

/// Returns the number of requests by outcome. Each request has one outcome. The outcome of a
/// forwarded request is the value of `fwd` in `Cache-Status` (RFC 9211 section 2.2).
fn outcomes(layer: &LayerStats) -> [(&'static str, u64); 10] {
    use ForwardReason::{Bypass, Method, Request, Stale, UriMiss, VaryMiss};
    let forwarded = |reason: ForwardReason| (reason.as_str(), layer.forwards(reason));
    [
        ("hit", layer.fresh_hits()),
        ("hit-stale", layer.stale_hits()),
        ("hit-collapsed", layer.collapsed_hits()),
        forwarded(UriMiss),
        forwarded(VaryMiss),
        forwarded(Stale),
        forwarded(Request),
        forwarded(Bypass),
        forwarded(Method),
        ("refused", layer.refused()),
    ]
}

fn publish_totals(cache: &SharedString, stats: &CacheStats) {
    let store = stats.store();
    if let Some(bytes) = store.bytes() {
        gauge!(STORED_BYTES, "cache" => cache.clone()).set(bytes as f64);
    }
    if let Some(entries) = store.entries() {
        gauge!(ENTRIES, "cache" => cache.clone()).set(entries as f64);
    }
    if let Some(evictions) = store.evictions() {
        counter!(EVICTIONS, "cache" => cache.clone()).absolute(evictions);
    }
    for (kind, count) in stats.invalidations_by_kind() {
        counter!(INVALIDATIONS, "cache" => cache.clone(), "kind" => kind).absolute(count);
    }
    for (operation, count) in stats.store_errors_by_operation() {
        counter!(STORE_ERRORS, "cache" => cache.clone(), "op" => operation).absolute(count);
    }
    let states = [
        ("closed", CircuitState::Closed),
        ("open", CircuitState::Open),
        ("half-open", CircuitState::HalfOpen),
    ];
    for (word, state) in states {
        let is_state = if stats.circuit() == state { 1.0 } else { 0.0 };
        gauge!(STORE_BREAKER, "cache" => cache.clone(), "state" => word).set(is_state);
    }
}
