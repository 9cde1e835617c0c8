//! `Cache::publish_metrics`: names, labels and units are stable, and a hit never calls the recorder.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use http::{Request, Response};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit, set_default_local_recorder,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::{Cache, MemoryStore, Policy, RouteCacheLayer};

/// The calls that a recorder has received, and their values.
#[derive(Debug, Default)]
struct Recorded {
    calls: usize,
    /// The values of counters and gauges, and the number of records of histograms, by
    /// `name{label=value}`.
    values: BTreeMap<String, f64>,
    /// The kinds and units by name.
    described: Vec<(String, &'static str, Option<Unit>)>,
}

#[derive(Debug, Default, Clone)]
struct TestRecorder(Arc<Mutex<Recorded>>);

/// A handle to one metric.
struct TestMetric(TestRecorder, String);

impl TestRecorder {
    fn called(&self) -> std::sync::MutexGuard<'_, Recorded> {
        let mut recorded = self.0.lock().expect("no panic");
        recorded.calls += 1;
        recorded
    }

    fn calls(&self) -> usize {
        self.0.lock().expect("no panic").calls
    }

    fn values(&self) -> BTreeMap<String, f64> {
        self.0.lock().expect("no panic").values.clone()
    }

    fn value(&self, id: &str) -> Option<f64> {
        self.values().get(id).copied()
    }

    fn metric(&self, key: &Key) -> Arc<TestMetric> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let id = format!("{}{{{}}}", key.name(), labels.join(","));
        drop(self.called());
        Arc::new(TestMetric(self.clone(), id))
    }

    fn described(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>) {
        self.called().described.push((name.as_str().to_owned(), kind, unit));
    }
}

impl Recorder for TestRecorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described("counter", &name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described("gauge", &name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described("histogram", &name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.metric(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.metric(key))
    }
}

impl CounterFn for TestMetric {
    fn increment(&self, _: u64) {
        panic!("{} is an absolute counter", self.1);
    }

    fn absolute(&self, value: u64) {
        let before = self.0.called().values.insert(self.1.clone(), value as f64);
        assert!(before.unwrap_or(0.0) <= value as f64, "{} decreases", self.1);
    }
}

impl GaugeFn for TestMetric {
    fn increment(&self, _: f64) {
        panic!("{} is an absolute gauge", self.1);
    }

    fn decrement(&self, _: f64) {
        panic!("{} is an absolute gauge", self.1);
    }

    fn set(&self, value: f64) {
        self.0.called().values.insert(self.1.clone(), value);
    }
}

impl HistogramFn for TestMetric {
    fn record(&self, value: f64) {
        assert!((0.0..60.0).contains(&value), "{value} seconds");
        *self.0.called().values.entry(self.1.clone()).or_default() += 1.0;
    }
}

const FETCHES: &str = "http_cache_fetch_duration_seconds{cache=default,layer=site}";

fn plain(_: &Request<Body>, call: usize) -> Response<Body> {
    numbered(&[], call)
}

/// The names, kinds and units of all metrics. They are a stable interface.
#[tokio::test]
async fn metrics_are_described_once_with_their_units() {
    let recorder = TestRecorder::default();
    let _guard = set_default_local_recorder(&recorder);
    let cache = memory();
    cache.publish_metrics();
    cache.with_namespace("blog").expect("a name").publish_metrics();
    let described = recorder.0.lock().expect("no panic").described.clone();
    let expected = [
        ("http_cache_requests_total", "counter", Unit::Count),
        ("http_cache_not_stored_total", "counter", Unit::Count),
        ("http_cache_fetch_duration_seconds", "histogram", Unit::Seconds),
        ("http_cache_served_bytes_total", "counter", Unit::Bytes),
        ("http_cache_stored_bytes", "gauge", Unit::Bytes),
        ("http_cache_entries", "gauge", Unit::Count),
        ("http_cache_evictions_total", "counter", Unit::Count),
        ("http_cache_invalidations_total", "counter", Unit::Count),
        ("http_cache_store_errors_total", "counter", Unit::Count),
        ("http_cache_store_breaker", "gauge", Unit::Count),
    ];
    assert_eq!(described, expected.map(|(name, kind, unit)| (name.to_owned(), kind, Some(unit))));
}

/// The labels of all metrics. They are a stable interface.
#[tokio::test]
async fn each_metric_has_its_labels_and_the_number_of_the_statistics() {
    let recorder = TestRecorder::default();
    let _guard = set_default_local_recorder(&recorder);
    let cache = memory();
    let (inner, _) = origin(|request, call| match request.uri().path() {
        "/private" => numbered(&[("cache-control", "private")], call),
        _ => numbered(&[], call),
    });
    let stack = site_over(&cache, inner);
    for request in [
        get("/"),
        get("/"),
        get_with("/", &[("cookie", "sid=1")]),
        get("/private"),
        request("POST", "/", &[]),
        get("/"),
    ] {
        send(&stack, request).await;
    }
    cache.publish_metrics();

    let mut values = recorder.values();
    let bytes = values.remove("http_cache_stored_bytes{cache=default}").expect("the store knows its size");
    assert!(bytes > 0.0);
    let values: Vec<_> = values.iter().map(|(id, value)| (id.as_str(), *value)).collect();
    let expected = [
        ("http_cache_entries{cache=default}", 1.0),
        ("http_cache_evictions_total{cache=default}", 0.0),
        (FETCHES, 3.0),
        ("http_cache_invalidations_total{cache=default,kind=all}", 0.0),
        ("http_cache_invalidations_total{cache=default,kind=path}", 1.0),
        ("http_cache_invalidations_total{cache=default,kind=subtree}", 0.0),
        ("http_cache_invalidations_total{cache=default,kind=tag}", 0.0),
        ("http_cache_invalidations_total{cache=default,kind=uri}", 0.0),
        ("http_cache_invalidations_total{cache=default,kind=values}", 0.0),
        ("http_cache_not_stored_total{cache=default,layer=site,reason=private}", 1.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=bypass}", 1.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=hit-collapsed}", 0.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=hit-stale}", 0.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=hit}", 1.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=method}", 1.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=refused}", 0.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=request}", 0.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=stale}", 1.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=uri-miss}", 2.0),
        ("http_cache_requests_total{cache=default,layer=site,outcome=vary-miss}", 0.0),
        ("http_cache_served_bytes_total{cache=default,layer=site}", 1.0),
        ("http_cache_store_breaker{cache=default,state=closed}", 1.0),
        ("http_cache_store_breaker{cache=default,state=half-open}", 0.0),
        ("http_cache_store_breaker{cache=default,state=open}", 0.0),
        ("http_cache_store_errors_total{cache=default,op=invalidation}", 0.0),
        ("http_cache_store_errors_total{cache=default,op=lookup}", 0.0),
        ("http_cache_store_errors_total{cache=default,op=write}", 0.0),
    ];
    assert_eq!(values, expected);
}

#[tokio::test]
async fn hit_never_calls_the_recorder() {
    let recorder = TestRecorder::default();
    let _guard = set_default_local_recorder(&recorder);
    let cache = memory();
    let (inner, _) = origin(plain);
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    cache.publish_metrics();
    let calls = recorder.calls();
    for _ in 0..300 {
        assert!(send(&stack, get("/")).await.is_hit());
    }
    assert_eq!(recorder.calls(), calls);
    let hits = "http_cache_requests_total{cache=default,layer=site,outcome=hit}";
    assert_eq!(recorder.value(hits), Some(0.0));
    cache.publish_metrics();
    assert_eq!((recorder.value(hits), recorder.value(FETCHES)), (Some(300.0), Some(1.0)));
}

#[tokio::test(start_paused = true)]
async fn failed_and_background_fetches_are_recorded_unlike_bypasses() {
    let recorder = TestRecorder::default();
    let _guard = set_default_local_recorder(&recorder);
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| match request.uri().path() {
        "/stale" => numbered(&[("cache-control", "max-age=1, stale-while-revalidate=60")], call),
        _ => numbered(&[], call),
    });
    let stack = site_over(&cache, inner);
    send(&stack, get_with("/", &[("cookie", "sid=1")])).await;
    send(&stack, request("POST", "/", &[])).await;
    assert_eq!(recorder.value(FETCHES), None);
    send(&stack, get("/stale")).await;
    manual.advance(Duration::from_secs(2));
    assert!(send(&stack, get("/stale")).await.is_hit());
    cache.wait_idle().await;
    assert_eq!(recorder.value(FETCHES), Some(2.0));

    let policy = Policy::app().name("slow").origin_timeout(Duration::from_secs(1)).build().expect("valid");
    let hangs = tower::service_fn(|_: Request<Body>| {
        std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
    });
    let slow = RouteCacheLayer::new(&cache, MINUTE).policy(policy).layer(hangs);
    let response = slow.oneshot(get("/hangs")).await.expect("infallible");
    assert_eq!(response.status(), 504);
    assert_eq!(recorder.value("http_cache_fetch_duration_seconds{cache=default,layer=slow}"), Some(1.0));
}

#[tokio::test]
async fn all_namespaces_have_the_label_of_the_cache() {
    let recorder = TestRecorder::default();
    let _guard = set_default_local_recorder(&recorder);
    let cache =
        Cache::builder(MemoryStore::with_max_bytes(1 << 20)).namespace("shop").build().expect("valid");
    let blog = cache.with_namespace("blog").expect("a name");
    let (inner, _) = origin(plain);
    let stack = site_over(&blog, inner);
    send(&stack, get("/")).await;
    for handle in [&cache, &blog] {
        handle.publish_metrics();
    }
    let values = recorder.values();
    assert!(values.keys().all(|id| id.contains("{cache=shop")), "{values:?}");
    assert_eq!(values["http_cache_fetch_duration_seconds{cache=shop,layer=site}"], 1.0);
}

#[tokio::test(start_paused = true)]
async fn state_of_the_circuit_is_one_of_three_gauges() {
    let recorder = TestRecorder::default();
    let _guard = set_default_local_recorder(&recorder);
    let cache = Cache::new(Faulty::new(MemoryStore::with_max_bytes(1 << 20), Fault::Down));
    for _ in 0..100 {
        let _ = cache.get::<u8>("value").await;
    }
    cache.publish_metrics();
    let states = ["closed", "open", "half-open"]
        .map(|state| recorder.value(&format!("http_cache_store_breaker{{cache=default,state={state}}}")));
    assert_eq!(states, [Some(0.0), Some(1.0), Some(0.0)]);
    let errors = recorder.value("http_cache_store_errors_total{cache=default,op=lookup}");
    assert!(errors > Some(0.0), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn task_publishes_until_the_cache_is_dropped() {
    const INTERVAL: Duration = Duration::from_secs(10);
    let recorder = TestRecorder::default();
    let _guard = set_default_local_recorder(&recorder);
    let cache = memory();
    cache.publish_metrics_every(INTERVAL).expect("a runtime");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let first = recorder.calls();
    assert!(first > 0, "the first publication is immediate");
    tokio::time::sleep(INTERVAL / 2).await;
    assert_eq!(recorder.calls(), first);
    tokio::time::sleep(INTERVAL).await;
    let second = recorder.calls();
    assert!(second > first);
    drop(cache);
    tokio::time::sleep(10 * INTERVAL).await;
    assert_eq!(recorder.calls(), second);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn interval_of_the_task_is_at_least_a_second() {
    let recorder = TestRecorder::default();
    let _guard = set_default_local_recorder(&recorder);
    let cache = memory();
    cache.publish_metrics_every(Duration::ZERO).expect("a runtime");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let first = recorder.calls();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(recorder.calls(), first);
}

#[test]
fn task_needs_a_runtime() {
    let error = memory().publish_metrics_every(MINUTE).expect_err("no runtime");
    assert_eq!(error.kind(), ConfigErrorKind::NoRuntime);
}

/// Returns the words of a text that begin like the metrics.
fn metric_names(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    words.filter(|word| word.starts_with("http_cache_")).collect()
}

#[test]
fn dashboard_and_alerts_use_published_metrics() {
    let recorder = TestRecorder::default();
    metrics::with_local_recorder(&recorder, || memory().publish_metrics());
    let described = recorder.0.lock().expect("no panic").described.clone();
    let dashboard = include_str!("../../../src/docs/dashboard.json");
    let _: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
    for text in [dashboard, include_str!("../../../src/docs/alerts.yml")] {
        let names = metric_names(text);
        assert!(names.len() > 4, "{names:?}");
        for name in names {
            let name = name.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
            assert!(described.iter().any(|(known, ..)| known == name), "{name}");
        }
    }
    let guide = metric_names(include_str!("../../../src/docs/observability.md"));
    assert!(described.iter().all(|(name, ..)| guide.contains(&name.as_str())), "{guide:?}");
}
