//! Encoded variants: one handler call for all codings, made from the stored response.

mod codings;
mod conditions;
mod entries;
mod random_clients;
mod responses;

use crate::support::*;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::decompression::DecompressionLayer;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseEncoder;
use tower_response_cache::{Cache, SiteCacheLayer};

/// The codings of tower-http, in its order of preference.
pub(super) const CODINGS: [&str; 4] = ["zstd", "br", "gzip", "deflate"];

/// A page that is long enough to be encoded. Pages with different numbers differ.
pub(super) fn text(number: usize) -> String {
    format!("page {number}: {}", "vanilla, chocolate, strawberry. ".repeat(200))
}

pub(super) fn html(number: usize) -> Response<Body> {
    with_lines(&[("content-type", "text/html")], text(number))
}

/// Creates a site-wide cache that encodes with the default options.
pub(super) fn encoding(cache: &Cache, policy: PolicyBuilder, inner: Inner) -> Stack {
    encoding_by(cache, policy, CompressionLayer::new(), inner)
}

pub(super) fn encoding_by(
    cache: &Cache,
    policy: PolicyBuilder,
    encoder: impl Into<ResponseEncoder>,
    inner: Inner,
) -> Stack {
    let policy = policy.build().expect("a policy");
    SiteCacheLayer::new(cache).encode(encoder).policy(policy).layer(inner).boxed_clone()
}

pub(super) fn accepting(uri: &str, codings: &str) -> Request<Body> {
    get_with(uri, &[("accept-encoding", codings)])
}

/// Sends a request that accepts these codings, and waits until the encoding that it starts is done.
pub(super) async fn ask(cache: &Cache, stack: &Stack, codings: &str) -> Answer {
    let answer = send(stack, accepting("/", codings)).await;
    cache.wait_idle().await;
    answer
}

/// Requests the page until it is stored in a coding, and returns the last answer.
pub(super) async fn encoded(cache: &Cache, stack: &Stack, coding: &str) -> Answer {
    for _ in 0..3 {
        ask(cache, stack, coding).await;
    }
    let answer = ask(cache, stack, coding).await;
    assert_eq!(answer.header("content-encoding"), Some(coding));
    answer
}

/// Decodes an answer by its `Content-Encoding`.
pub(super) async fn decoded(answer: &Answer) -> Bytes {
    let mut response = Response::new(Body::from(answer.body.clone()));
    *response.headers_mut() = answer.headers.clone();
    let mut response = Some(response);
    let service = service_fn(move |_: Request<Body>| {
        let response = response.take().expect("one call");
        async move { Ok::<_, Infallible>(response) }
    });
    let response = DecompressionLayer::new().layer(service).oneshot(get("/")).await.expect("infallible");
    read(response).await.body
}

pub(super) fn vary(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all("vary").iter().map(|line| line.to_str().expect("text").to_ascii_lowercase());
    lines.flat_map(|line| line.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()).collect()
}
