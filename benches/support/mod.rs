//! The request, the responses and the services that the benchmarks share.

#![allow(dead_code, reason = "each benchmark uses a part")]

#[cfg(feature = "compression")]
pub(crate) mod compression;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{AGE, HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Full;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tower::{Layer, Service, service_fn};
use tower_response_cache::error::{StoreError, StoreErrorKind};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer, Store};

pub(crate) type Body = Full<Bytes>;

pub(crate) const SMALL: usize = 2 << 10;
pub(crate) const LARGE: usize = 100 << 10;

const REQUEST_HEADERS: [(&str, &str); 12] = [
    ("host", "www.example.org"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://www.example.org/articles"),
    ("dnt", "1"),
    ("upgrade-insecure-requests", "1"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("priority", "u=0, i"),
];

const RESPONSE_HEADERS: [(&str, &str); 7] = [
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "public, max-age=600"),
    ("etag", "\"5d41402abc4b2a76b9719d911017c592\""),
    ("last-modified", "Tue, 04 Mar 2025 09:12:44 GMT"),
    ("content-language", "en"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

fn lines(lines: &[(&'static str, &str)]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    // Each value has its own buffer, as if a server had parsed it or a handler had formatted it.
    lines.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"))
    })
}

/// Returns a `GET` with 12 header lines, none of which is a credential or a cookie.
pub(crate) fn request() -> Request<Body> {
    let mut request = Request::new(Body::default());
    *request.uri_mut() = Uri::from_static("/articles/on-caching?page=2");
    request.headers_mut().extend(lines(&REQUEST_HEADERS));
    request
}

/// Returns the same request with `If-None-Match`, as from a client that has the response.
pub(crate) fn conditional(request: &Request<Body>) -> Request<Body> {
    let mut request = request.clone();
    let tag = HeaderValue::from_str("\"5d41402abc4b2a76b9719d911017c592\"").expect("a header value");
    request.headers_mut().insert("if-none-match", tag);
    request
}

/// Returns the same request with a session cookie, which bypasses the cache.
pub(crate) fn identified(request: &Request<Body>) -> Request<Body> {
    let mut request = request.clone();
    let cookie = HeaderValue::from_str("sid=b1946ac92492d2347c6235b4d2611184").expect("a header value");
    request.headers_mut().insert("cookie", cookie);
    request
}

/// Returns one of many URIs.
pub(crate) fn uri(number: usize) -> Uri {
    format!("/articles/on-caching-{number}?page=2").parse().expect("a URI")
}

/// Returns a copy of a request, for another URI.
pub(crate) fn with_uri(request: &Request<Body>, uri: &Uri) -> Request<Body> {
    let mut request = request.clone();
    *request.uri_mut() = uri.clone();
    request
}

/// Returns a 200 with 7 header lines, which shares no buffer with other responses.
pub(crate) fn response(size: usize) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(vec![b'x'; size])));
    response.headers_mut().extend(lines(&RESPONSE_HEADERS));
    response
}

/// Returns the same response with `Vary: accept-encoding` in place of one line.
pub(crate) fn varying_response(size: usize) -> Response<Body> {
    let mut response = response(size);
    response.headers_mut().remove("x-frame-options");
    response.headers_mut().insert("vary", HeaderValue::from_static("accept-encoding"));
    response
}

/// Returns the same response with `Cache-Control: no-store`.
pub(crate) fn no_store_response(size: usize) -> Response<Body> {
    let mut response = response(size);
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

/// Returns the floor: a bare service that answers with a clone of one response.
pub(crate) fn floor(
    response: Response<Body>,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    service_fn(move |_: Request<Body>| {
        let response = response.clone();
        async move { Ok(response) }
    })
}

/// Returns the floor behind a cache over a store.
pub(crate) fn cached(
    store: impl Store,
    response: Response<Body>,
) -> impl Service<Request<Body>, Response: Answer, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    cached_with(store, response, Policy::app())
}

fn cached_with(
    store: impl Store,
    response: Response<Body>,
    policy: PolicyBuilder,
) -> impl Service<Request<Body>, Response: Answer, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let policy = policy.default_ttl(Duration::from_secs(600)).build().expect("a policy");
    SiteCacheLayer::new(&Cache::new(store)).policy(policy).layer(floor(response))
}

/// Returns the floor behind a cache that has stored the response to the request.
pub(crate) fn warm(
    request: Request<Body>,
    response: Response<Body>,
) -> impl Service<Request<Body>, Response: Answer, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let mut service = cached(MemoryStore::with_max_bytes(64 << 20), response);
    call(&mut service, request.clone());
    assert!(call(&mut service, request).is_hit(), "the response is stored");
    service
}

/// Returns the same service as [`warm`], but its responses have no `CacheStatus` extension.
pub(crate) fn warm_without_extension(
    request: Request<Body>,
    response: Response<Body>,
) -> impl Service<Request<Body>, Response: Answer, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let policy = Policy::app().status_extension(false);
    let mut service = cached_with(MemoryStore::with_max_bytes(64 << 20), response, policy);
    call(&mut service, request.clone());
    assert!(call(&mut service, request).is_hit(), "the response is stored");
    service
}

/// Returns the floor behind a cache whose store has failed, so that its circuit is open.
pub(crate) fn broken(
    response: Response<Body>,
) -> impl Service<Request<Body>, Response: Answer, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let failures = FailingStore::default();
    let mut service = cached(failures.clone(), response);
    for number in 0..8 {
        assert!(!call(&mut service, with_uri(&request(), &uri(number))).is_hit());
    }
    assert_eq!(failures.0.load(Ordering::Relaxed), 5, "the circuit is open");
    service
}

/// A store outside the process that fails each operation. It counts the operations.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailingStore(Arc<AtomicU64>);

impl FailingStore {
    fn fail<T>(&self) -> StoreFuture<T> {
        self.0.fetch_add(1, Ordering::Relaxed);
        StoreFuture::ready(Err(StoreError::new(StoreErrorKind::Unavailable)))
    }
}

impl Store for FailingStore {
    fn get(&self, _: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.fail()
    }

    fn put(&self, _: KeyRef<'_>, _: Entry, _: Option<Duration>, _: PutMode) -> StoreFuture<bool> {
        self.fail()
    }

    fn remove(&self, _: KeyRef<'_>) -> StoreFuture<bool> {
        self.fail()
    }

    fn increment(&self, _: KeyRef<'_>, _: i64, _: Option<InitialCounter>) -> StoreFuture<i64> {
        self.fail()
    }

    fn compare_and_set(
        &self,
        _: KeyRef<'_>,
        _: Option<&Entry>,
        _: Entry,
        _: Option<Duration>,
    ) -> StoreFuture<bool> {
        self.fail()
    }
}

/// The response of a measured service, which may have a cache.
pub(crate) trait Answer {
    fn is_hit(&self) -> bool;
}

impl<B> Answer for Response<B> {
    fn is_hit(&self) -> bool {
        self.headers().contains_key(AGE)
    }
}

/// Calls a service whose response is ready at the first poll, so that no runtime is needed.
#[inline]
pub(crate) fn call<S>(service: &mut S, request: Request<Body>) -> S::Response
where
    S: Service<Request<Body>, Error = Infallible>,
{
    match service.call(request).now_or_never() {
        Some(Ok(response)) => response,
        None => panic!("not ready at the first poll"),
    }
}
