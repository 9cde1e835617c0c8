//! Slow services behind a cache, and requests that run in separate tasks.

use crate::support::*;
use futures::future::join_all;
use http::{Request, Response, StatusCode};
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::{Cache, SiteCacheLayer};

/// Creates a cached service from a handler, which receives the number of the call.
pub(crate) fn slow<F, Fut>(handler: F) -> (impl CachedService, Calls, Cache)
where
    F: Fn(usize, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, io::Error>> + Send + 'static,
{
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| handler(counted.next(), request));
    (SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner), calls, cache)
}

pub(crate) trait CachedService:
    Service<
        Request<Body>,
        Response = Response<tower_response_cache::response_cache::ResponseBody<Body>>,
        Error = io::Error,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> CachedService for S where
    S: Service<
            Request<Body>,
            Response = Response<tower_response_cache::response_cache::ResponseBody<Body>>,
            Error = io::Error,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

pub(crate) fn page(call: usize) -> Response<Body> {
    numbered(&[], call)
}

pub(crate) fn status(code: u16, call: usize) -> Response<Body> {
    let mut response = numbered(&[], call);
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

/// Starts a request in a task and lets it proceed until it waits.
pub(crate) async fn start(
    service: &impl CachedService,
    request: Request<Body>,
) -> JoinHandle<io::Result<Answer>> {
    let call = service.clone().oneshot(request);
    let task = tokio::spawn(async move { Ok(read(call.await?).await) });
    settle().await;
    task
}

pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn start_many(
    service: &impl CachedService,
    count: usize,
) -> Vec<JoinHandle<io::Result<Answer>>> {
    let mut tasks = Vec::new();
    for _ in 0..count {
        tasks.push(start(service, get("/")).await);
    }
    tasks
}

/// Waits for all tasks, and panics if one hangs.
pub(crate) async fn all(tasks: Vec<JoinHandle<io::Result<Answer>>>) -> Vec<io::Result<Answer>> {
    let joined = timeout(Duration::from_secs(100), join_all(tasks)).await.expect("no request hangs");
    joined.into_iter().map(|task| task.unwrap_or_else(|_| Err(io::Error::other("panicked")))).collect()
}
