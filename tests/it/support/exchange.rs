//! An origin that counts its calls, and a client that reads complete answers.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::clock::{Clock, ManualClock};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{Cache, MemoryStore, Policy, RouteCacheLayer, SiteCacheLayer};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) type Body = Full<Bytes>;
pub(crate) type Inner = BoxCloneService<Request<Body>, Response<Body>, Infallible>;
pub(crate) type Stack = BoxCloneService<Request<Body>, Response<ResponseBody<Body>>, Infallible>;

/// The number of calls to an origin.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<AtomicUsize>);

impl Calls {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// Returns `true` if the response came from the cache or from another request's fetch.
    pub(crate) fn is_hit(&self) -> bool {
        let answered = |status: &str| status.contains("; hit") || status.contains("; collapsed;");
        self.header("cache-status").is_some_and(answered)
    }

    /// Returns the `detail` of `Cache-Status`, the reason for a forward or for not storing.
    pub(crate) fn detail(&self) -> Option<&str> {
        self.header("cache-status")?.split("detail=").nth(1)
    }
}

pub(crate) fn memory() -> Cache {
    Cache::new(memory_store(32 << 20))
}

/// Creates a store with a fixed seed. Scopes that share a bucket do so in every run.
pub(crate) fn memory_store(capacity: u64) -> MemoryStore {
    MemoryStore::builder().seed(3).max_bytes(capacity).build().expect("valid")
}

/// Creates a cache whose clock advances only by hand.
pub(crate) fn timed() -> (Cache, ManualClock) {
    let (clock, manual) = Clock::manual();
    let store =
        MemoryStore::builder().seed(3).max_bytes(32 << 20).clock(clock.clone()).build().expect("valid");
    (Cache::builder(store).clock(clock).build().expect("valid"), manual)
}

/// The application preset with a default TTL of one minute and `Cache-Status`.
pub(crate) fn policy() -> PolicyBuilder {
    Policy::app().default_ttl(MINUTE).cache_status(true)
}

/// Creates an origin that answers at once. `answer` receives the number of the call.
pub(crate) fn origin(
    answer: impl Fn(&Request<Body>, usize) -> Response<Body> + Clone + Send + Sync + 'static,
) -> (Inner, Calls) {
    let calls = Calls::default();
    let counted = calls.clone();
    let service = service_fn(move |request: Request<Body>| {
        let response = answer(&request, counted.next());
        async move { Ok::<_, Infallible>(response) }
    });
    (service.boxed_clone(), calls)
}

/// Creates a site-wide cache in front of an origin that answers at once.
pub(crate) fn site(
    policy: PolicyBuilder,
    answer: impl Fn(&Request<Body>, usize) -> Response<Body> + Clone + Send + Sync + 'static,
) -> (Stack, Calls) {
    let (inner, calls) = origin(answer);
    (
        SiteCacheLayer::new(&memory()).policy(policy.build().expect("a policy")).layer(inner).boxed_clone(),
        calls,
    )
}

pub(crate) fn site_over(cache: &Cache, inner: Inner) -> Stack {
    SiteCacheLayer::new(cache).policy(policy().build().expect("a policy")).layer(inner).boxed_clone()
}

pub(crate) fn route_over(cache: &Cache, ttl: Duration, inner: Inner) -> Stack {
    RouteCacheLayer::new(cache, ttl)
        .policy(Policy::app().cache_status(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone()
}

/// Creates a response with some header lines. Its body is the number of the call.
pub(crate) fn numbered(lines: &[(&str, &str)], call: usize) -> Response<Body> {
    with_lines(lines, call.to_string())
}

pub(crate) fn with_lines(lines: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::builder();
    for (name, value) in lines {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into())).expect("a response")
}

pub(crate) fn get(uri: &str) -> Request<Body> {
    request("GET", uri, &[])
}

pub(crate) fn get_with(uri: &str, lines: &[(&str, &str)]) -> Request<Body> {
    request("GET", uri, lines)
}

pub(crate) fn request(method: &str, uri: &str, lines: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).expect("a request")
}

/// Sends a request and reads the complete answer.
pub(crate) async fn send<S, B>(service: &S, request: Request<Body>) -> Answer
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let response = service.clone().oneshot(request).await.expect("infallible");
    read(response).await
}

pub(crate) async fn read<B>(response: Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Sends two requests one after the other and returns `true` if the second is a hit.
pub(crate) async fn shares(stack: &Stack, first: Request<Body>, second: Request<Body>) -> bool {
    send(stack, first).await;
    send(stack, second).await.is_hit()
}

/// Creates a cached page whose body `make` computes with the cache.
pub(crate) fn page<F, Fut>(cache: &Cache, make: F) -> (Stack, Calls)
where
    F: Fn(Cache) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = String> + Send + 'static,
{
    let (calls, handle) = (Calls::default(), cache.clone());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        counted.next();
        let made = make(handle.clone());
        async move { Ok::<_, Infallible>(Response::new(Body::from(made.await))) }
    });
    (site_over(cache, inner.boxed_clone()), calls)
}
