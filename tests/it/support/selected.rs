//! Layers that evaluate conditional and range requests.

use crate::support::*;
use std::time::{Duration, SystemTime};
use tower::{Layer, ServiceExt};
use tower_response_cache::ConditionalGetLayer;

pub(crate) type Lines = &'static [(&'static str, &'static str)];

pub(crate) fn modified() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
}

/// Returns one page behind each layer that evaluates conditional and range requests: a cache layer
/// that has stored the page, and `ConditionalGetLayer`.
pub(crate) async fn selecting(lines: Lines, body: &'static str) -> [(&'static str, Stack); 2] {
    let page = move || origin(move |_, _| with_lines(lines, body)).0;
    let cache = site_over(&memory(), page());
    send(&cache, get("/")).await;
    assert!(send(&cache, get("/")).await.is_hit());
    [("hit", cache), ("layer", ConditionalGetLayer::new().strong().layer(page()).boxed_clone())]
}

pub(crate) const DIGESTS: [&str; 3] = ["content-digest", "content-md5", "repr-digest"];

pub(crate) const DIGESTED: Lines = &[
    ("etag", "\"a\""),
    ("content-digest", "sha-256=:d29ybGQ=:"),
    ("content-md5", "Q2hlY2sgSW50ZWdyaXR5IQ=="),
    ("repr-digest", "sha-256=:d29ybGQ=:"),
    ("cache-control", "max-age=60"),
];

pub(crate) fn digests(answer: &Answer) -> [bool; 3] {
    DIGESTS.map(|name| answer.header(name).is_some())
}

/// Safe methods besides `GET` and `HEAD`: RFC 9110 section 9.2.1, RFC 4918, RFC 3253, RFC 5323 and
/// the method registry.
pub(crate) const SAFE: [&str; 6] = ["PROPFIND", "REPORT", "SEARCH", "QUERY", "OPTIONS", "TRACE"];
