//! Statistics and explanations as JSON.
//!
//! Names of layers, paths and fields may contain any character. JSON escapes them, and the page
//! shows them as text only.

use super::history::{CountedPeriod, OutcomeCounts};
use crate::cache::{
    Cache, CacheStats, CircuitState, Delivery, Explanation, LayerStats, PathStats, StoredSummary,
    StoredVariant,
};
use crate::key::KeyInput;
use crate::status::detail_meaning;
use http::Request;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::time::Duration;

/// The most paths in the statistics.
const MAX_PATHS: usize = 100;

/// Returns the statistics of a cache.
pub(super) fn stats(cache: &Cache, stats: &CacheStats, period: &CountedPeriod) -> Value {
    let store = stats.store();
    let refreshes = stats.refreshes();
    json!({
        "namespace": cache.namespace(),
        "enabled": cache.is_enabled(),
        "period": {
            "seconds": period.length.as_secs(),
            "since": if period.is_since_creation { "creation" } else { "sample" },
            "layers": period.layers.iter().map(|(name, counts)| outcomes(name, counts)).collect::<Vec<_>>(),
        },
        "totals": stats.layers().iter().map(layer).collect::<Vec<_>>(),
        "paths": cache.path_table().is_on().then(|| top_paths(stats.paths())),
        "store": {
            "entries": store.entries(),
            "bytes": store.bytes(),
            "evictions": store.evictions(),
            "expirations": store.expirations(),
            "errors": by_word(stats.store_errors_by_operation()),
            "circuit": match stats.circuit() {
                CircuitState::Closed => "closed",
                CircuitState::Open => "open",
                CircuitState::HalfOpen => "half-open",
            },
            "undelivered": stats.undelivered(),
        },
        "work": {
            "flights": stats.flights(),
            "followers": stats.followers(),
            "recordings": stats.recordings(),
            "recording_bytes": stats.recording_bytes(),
            "refreshes": {
                "running": refreshes.running(),
                "succeeded": refreshes.succeeded(),
                "failed": refreshes.failed(),
            },
        },
        "invalidations": {
            "total": stats.invalidations(),
            "scopes": by_word(stats.invalidations_by_kind()),
            "failed": stats.failed_invalidations(),
        },
        "unreadable_values": stats.unreadable_values(),
    })
}

/// Returns the requests of one layer by outcome.
fn outcomes(name: &str, counts: &OutcomeCounts) -> Value {
    json!({
        "name": name,
        "requests": counts.requests(),
        "hit_ratio": counts.hit_ratio(),
        "hits": {
            "fresh": counts.fresh_hits,
            "stale": counts.stale_hits,
            "collapsed": counts.collapsed_hits,
        },
        "misses": {
            "uri-miss": counts.uri_misses,
            "vary-miss": counts.vary_misses,
            "request": counts.request_misses,
            "stale": counts.stale_misses,
        },
        "bypasses": counts.bypasses,
        "writes": counts.writes,
        "refused": counts.refused,
    })
}

/// Returns all counters of one layer since the cache was built.
fn layer(layer: &LayerStats) -> Value {
    let mut value = outcomes(layer.name(), &OutcomeCounts::of(layer));
    let more = json!({
        "bypasses_by_detail": with_meaning(layer.bypasses_by_detail(), true),
        "stored": layer.stored(),
        "not_stored": with_meaning(layer.not_stored_by_detail(), false),
        "failed_stores": layer.failed_stores(),
        "stale_on_error": layer.stale_on_error(),
        "revalidations": layer.revalidations(),
        "invalidated": layer.invalidated(),
        "handler_seconds_saved": layer.handler_time_saved().as_secs_f64(),
        "bytes_served": layer.bytes_served(),
    });
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}

fn by_word(counts: impl Iterator<Item = (&'static str, u64)>) -> Value {
    Value::Object(counts.map(|(word, count)| (word.to_owned(), count.into())).collect::<Map<_, _>>())
}

/// Returns the counts of words with their meanings, the largest count first.
fn with_meaning(counts: impl Iterator<Item = (&'static str, u64)>, is_bypass: bool) -> Vec<Value> {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    let row =
        |(word, count)| json!({ "detail": word, "count": count, "meaning": detail_meaning(word, is_bypass) });
    counts.into_iter().map(row).collect()
}

/// Returns the paths with the most requests, hits included.
fn top_paths(paths: &[PathStats]) -> Vec<Value> {
    let mut paths: Vec<_> = paths.iter().collect();
    paths.sort_by_key(|path| (Reverse(path.forwarded() + path.estimated_hits()), path.path().to_owned()));
    paths.truncate(MAX_PATHS);
    let row = |path: &PathStats| {
        json!({
            "path": path.path(),
            "misses": path.misses(),
            "forwarded": path.forwarded(),
            "estimated_hits": path.estimated_hits(),
            "handler_seconds": path.handler_time().as_secs_f64(),
        })
    };
    paths.into_iter().map(row).collect()
}

/// Returns the decisions of all layers on a request. The values of its header fields are not
/// repeated, except for keyed fields, as [`KeyInput`] shows them.
pub(super) fn explanations(request: &Request<()>, all: &[Explanation]) -> Value {
    json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "fields": request.headers().keys().map(|name| name.as_str()).collect::<Vec<_>>(),
        "layers": all.iter().map(explanation).collect::<Vec<_>>(),
    })
}

fn explanation(layer: &Explanation) -> Value {
    let status = layer.status();
    let last = layer.last_not_stored();
    json!({
        "layer": layer.layer(),
        "policy_entry": layer.policy_entry(),
        "is_dry_run": layer.is_dry_run(),
        "is_hit": layer.is_hit(),
        "status": status.to_string(),
        "meaning": layer.meaning(),
        "guide": layer.guide(),
        "identified_by": layer.identified_by(),
        "key": layer.key().iter().map(key_input).collect::<Vec<_>>(),
        "key_digest": layer.key_digest(),
        "stored": layer.stored().map(stored),
        "variants": layer.variants(),
        "variant_fields": layer.variant_fields().iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "stored_variants": layer.stored_variants().iter().map(variant).collect::<Vec<_>>(),
        "last_not_stored": last.map(|word| json!({ "detail": word, "meaning": detail_meaning(word, false) })),
        "is_hit_for_miss": layer.is_hit_for_miss(),
        "unknown_inputs": layer.unknown_inputs(),
    })
}

fn key_input(input: &KeyInput) -> Value {
    json!({ "name": input.name(), "value": input.value(), "is_digest": input.is_digest() })
}

fn variant(variant: &StoredVariant) -> Value {
    json!({
        "stored": stored(variant.stored()),
        "selected_by": variant.selected_by().iter().map(key_input).collect::<Vec<_>>(),
    })
}

fn stored(stored: &StoredSummary) -> Value {
    let seconds = |time: Duration| time.as_secs();
    json!({
        "status": stored.status().as_u16(),
        "age": seconds(stored.age()),
        "ttl": stored.ttl_seconds(),
        "body_bytes": stored.body_bytes(),
        "weight": stored.weight(),
    })
}

/// Returns the result of a purge.
pub(super) fn delivery(delivery: Delivery) -> Value {
    json!({ "delivery": match delivery { Delivery::Delivered => "delivered", Delivery::Queued => "queued" } })
}
