//! Caches over several kinds of stores, and services behind the caches, for tests of invalidation.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::{Clock, ManualClock};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, CacheHints, Invalidation, MemoryStore, Policy, SiteCacheLayer};

pub(crate) const S: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const A: (&str, &str) = ("host", "a.example");
pub(crate) const B: (&str, &str) = ("host", "b.example");

/// The kind of store that keeps entries and invalidations. Tests run over each kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum StoreSetup {
    Local,
    /// A remote store, which answers with a delay.
    Remote,
    /// A store without `Generations`: the cache keeps the invalidations in an entry of the store.
    #[cfg(feature = "testing")]
    Record,
}

pub(crate) const ALL: &[StoreSetup] = &[
    StoreSetup::Local,
    StoreSetup::Remote,
    #[cfg(feature = "testing")]
    StoreSetup::Record,
];

impl StoreSetup {
    /// Creates a cache whose clock advances only by hand.
    pub(crate) fn cache(self, namespace: usize) -> (Cache, ManualClock) {
        let (clock, manual) = Clock::manual();
        let memory =
            MemoryStore::builder().seed(3).max_bytes(32 << 20).clock(clock.clone()).build().expect("valid");
        let builder = match self {
            Self::Local => Cache::builder(memory),
            Self::Remote => Cache::builder(Faulty::new(memory, Fault::Slow)),
            #[cfg(feature = "testing")]
            Self::Record => Cache::builder(Faulty::new(memory, Fault::NoGenerations)),
        };
        let builder = builder.namespace(format!("n{namespace}")).clock(clock).seed(1);
        (builder.build().expect("valid"), manual)
    }
}

/// Lets background work finish. The sleep does not take real time, because the runtime is paused.
pub(crate) async fn settle() {
    sleep(S).await;
}

pub(crate) async fn invalidate(cache: &Cache, what: impl Into<Invalidation>) {
    assert_eq!(cache.invalidate(what).await, Delivery::Delivered);
}

pub(crate) fn layered(cache: &Cache, policy: PolicyBuilder, inner: Inner) -> Stack {
    SiteCacheLayer::new(cache)
        .policy(policy.cache_status(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone()
}

/// Creates a response to which its handler has added tags. Its body is the number of the call.
pub(crate) fn tagged<T: Into<String>>(
    tags: impl IntoIterator<Item = T>,
    lines: &[(&str, &str)],
    call: usize,
) -> Response<Body> {
    let mut response = numbered(lines, call);
    CacheHints::new().tags(tags).add_to(response.extensions_mut());
    response
}

pub(crate) fn with_status(mut response: Response<Body>, status: u16) -> Response<Body> {
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

pub(crate) fn changed(mut response: Response<Body>, what: Invalidation) -> Response<Body> {
    what.on_success().add_to(response.extensions_mut());
    response
}

pub(crate) fn not_modified(lines: &[(&str, &str)]) -> Response<Body> {
    with_status(with_lines(lines, ""), 304)
}

pub(crate) fn has_validators(request: &Request<Body>) -> bool {
    request.headers().contains_key("if-none-match")
}

pub(crate) fn is_stale(answer: &Answer) -> bool {
    answer.is_hit() && answer.detail() == Some("stale")
}

/// Sends a request in a separate task.
pub(crate) fn begin(stack: &Stack, request: Request<Body>) -> tokio::task::JoinHandle<Answer> {
    let call = stack.clone().oneshot(request);
    tokio::spawn(async move { read(call.await.expect("infallible")).await })
}

/// Requests a page, and returns `true` if it was stored.
pub(crate) async fn is_page_stored(stack: &Stack, path: &str) -> bool {
    send(stack, get(path)).await.is_hit()
}

/// Requests pages, so that they are stored.
pub(crate) async fn fill(stack: &Stack, paths: &[&str]) {
    for path in paths {
        send(stack, get(path)).await;
        settle().await;
        assert!(is_page_stored(stack, path).await, "{path}");
    }
}

pub(crate) fn lasting() -> PolicyBuilder {
    Policy::app().default_ttl(3600 * S)
}

pub(crate) fn windowed() -> PolicyBuilder {
    lasting().stale_while_revalidate(30 * S)
}

/// Creates a service that takes 100 ms for each call. Its body is the number of the call, in the
/// order in which the calls begin.
pub(crate) fn slow(
    tags: &'static [&'static str],
    lines: &'static [(&'static str, &'static str)],
) -> (Inner, Calls) {
    let calls = Calls::default();
    let counted = calls.clone();
    let service = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        async move {
            sleep(100 * MS).await;
            Ok::<_, Infallible>(tagged(tags.iter().copied(), lines, call))
        }
    });
    (service.boxed_clone(), calls)
}
