//! Readiness: a hit never waits for a busy service, and an unready service is never called.

use crate::support::*;
use http::{Request, Response};
use std::convert::Infallible;
use std::future::Ready;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tower::buffer::BufferLayer;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_response_cache::SiteCacheLayer;

fn slow(
    request: &Request<Body>,
    call: usize,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    let wait = if request.uri().path() == "/slow" { Duration::from_secs(1) } else { Duration::ZERO };
    async move {
        sleep(wait).await;
        Ok(numbered(&[], call))
    }
}

#[tokio::test(start_paused = true)]
async fn hits_do_not_wait_for_a_busy_service() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| slow(&request, counted.next()));
    let limited = ConcurrencyLimitLayer::new(1).layer(inner);
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(limited);
    send(&stack, get("/page")).await;
    let busy = tokio::spawn(stack.clone().oneshot(get("/slow")));
    sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    // The clone is ready although the inner service is busy. The clone serves a hit at once, and
    // forwards a miss when the inner service is free.
    let mut kept = stack.clone();
    let hit = kept.ready().await.expect("ready").call(get("/page")).await.expect("infallible");
    assert!(read(hit).await.is_hit());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let miss = kept.ready().await.expect("ready").call(get("/other"));
    let miss = timeout(Duration::from_secs(10), miss).await.expect("not starved").expect("infallible");
    assert_eq!(read(miss).await.text(), "3");
    assert!(begun.elapsed() >= Duration::from_millis(900), "the limit applies to forwarded requests");
    busy.await.expect("no panic").expect("infallible");
}

#[tokio::test(start_paused = true)]
async fn requests_are_forwarded_to_a_buffered_service() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let answer = slow(&request, counted.next());
        async move { Ok::<_, BoxError>(answer.await.expect("infallible")) }
    });
    let buffered = BufferLayer::new(1).layer(inner);
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(buffered);
    for _ in 0..3 {
        let response = stack.clone().oneshot(get("/page")).await.expect("ok");
        assert_eq!(read(response).await.text(), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_readiness_error_is_returned_by_the_response_future() {
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let answer = slow(&request, counted.next());
        async move { Ok::<_, BoxError>(answer.await.expect("infallible")) }
    });
    let shedding = LoadShedLayer::new().layer(ConcurrencyLimitLayer::new(1).layer(inner));
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(shedding);
    read(stack.clone().oneshot(get("/page")).await.expect("ok")).await;
    let busy = tokio::spawn(stack.clone().oneshot(get("/slow")));
    sleep(Duration::from_millis(10)).await;
    assert!(stack.clone().oneshot(get("/other")).await.is_err(), "shed");
    assert!(stack.clone().oneshot(request("POST", "/other", &[])).await.is_err(), "shed");
    assert!(read(stack.clone().oneshot(get("/page")).await.expect("a hit")).await.is_hit());
    busy.await.expect("no panic").expect("ok");
}

/// A service that panics if it is called before it is ready. A new clone is not ready.
#[derive(Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Ready<io::Result<Response<Body>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it is ready");
        std::future::ready(Ok(numbered(&[], 1)))
    }
}

#[tokio::test]
async fn a_service_is_never_called_before_it_is_ready() {
    let mut stack =
        SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(Strict::default());
    for request in [
        get("/"),
        get("/"),
        request("POST", "/", &[]),
        request("HEAD", "/x", &[]),
        get_with("/", &[("cookie", "a=b")]),
    ] {
        stack.ready().await.expect("ready").call(request).await.expect("ok");
    }
}
