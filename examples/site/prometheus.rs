//! `/metrics`: the metrics of the cache in the text format of Prometheus.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use std::error::Error;
use tower_response_cache::{Cache, NeverCacheLayer};

/// The upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Returns the route `/metrics`. No cache stores its responses.
pub(crate) fn route(cache: &Cache) -> Result<Router, Box<dyn Error>> {
    let fetches = Matcher::Full("http_cache_fetch_duration_seconds".to_owned());
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(fetches, &BUCKETS)?.build_recorder();
    let prometheus = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    let cache = cache.clone();
    let scrape = move || async move {
        cache.publish_metrics();
        prometheus.run_upkeep();
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], prometheus.render())
    };
    Ok(Router::new().route("/metrics", get(scrape)).layer(NeverCacheLayer::new()))
}
