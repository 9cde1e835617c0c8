//! The cache confirms by a background request that a page is gone, before it removes the page. If
//! the cache cannot create a request body of the service's type, requests of other visitors confirm
//! that the page is gone.

use crate::support::*;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::util::MapRequestLayer;
use tower::{Layer, ServiceExt};
use tower_response_cache::clock::ManualClock;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, Policy, SiteCacheLayer};

const S: Duration = Duration::from_secs(1);

/// A request body that the cache cannot create, like the body type of a server.
struct Opaque(Body);

impl http_body::Body for Opaque {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

struct World {
    stack: Stack,
    cache: Cache,
    manual: ManualClock,
    /// The status of responses to requests without the field value `evil`.
    status: Arc<AtomicU16>,
}

/// Creates a site. Any request field with the value `evil` provokes the status `provoked`.
fn world(policy: PolicyBuilder, provoked: u16) -> World {
    let (cache, manual) = timed();
    let status = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&status);
    let (inner, _) = origin(move |request, call| {
        let is_evil = request.headers().values().any(|value| value == "evil");
        let status = if is_evil { provoked } else { now.load(Ordering::SeqCst) };
        let mut response = numbered(&[("location", "/login")], call);
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
    });
    let inner = MapRequestLayer::new(|request: Request<Opaque>| request.map(|body| body.0)).layer(inner);
    let site =
        SiteCacheLayer::new(&cache).policy(policy.cache_status(true).build().expect("a policy")).layer(inner);
    let stack = MapRequestLayer::new(|request: Request<Body>| request.map(Opaque)).layer(site).boxed_clone();
    World { stack, cache, manual, status }
}

impl World {
    async fn send(&self, lines: &[(&str, &str)]) -> Answer {
        let answer = send(&self.stack, get_with("/", lines)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        answer
    }

    fn answer_all_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

fn lasting() -> PolicyBuilder {
    Policy::app().default_ttl(10 * S).stale_if_error(1000 * S)
}

async fn stale(provoked: u16) -> World {
    let world = world(lasting(), provoked);
    world.send(&[]).await;
    world.manual.advance(12 * S);
    world
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_gone_is_removed_by_the_second_visitor() {
    for gone in [404, 410, 403, 302, 204] {
        let world = stale(503).await;
        world.answer_all_with(gone);
        for agent in ["one", "two"] {
            assert_eq!(world.send(&[("user-agent", agent)]).await.status.as_u16(), gone);
        }
        world.answer_all_with(503);
        assert_eq!(world.send(&[("user-agent", "one")]).await.status.as_u16(), 503, "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn equal_requests_a_minute_apart_remove_a_page_that_is_gone() {
    let world = stale(503).await;
    world.answer_all_with(404);
    world.send(&[("user-agent", "one")]).await;
    world.manual.advance(61 * S);
    world.send(&[("user-agent", "one")]).await;
    world.answer_all_with(503);
    assert_eq!(world.send(&[("user-agent", "one")]).await.status.as_u16(), 503);
}

#[tokio::test(start_paused = true)]
async fn one_visitor_does_not_remove_the_page_of_the_others() {
    for provoked in [404, 410, 403, 302, 204] {
        let world = stale(provoked).await;
        for id in ["1", "2", "3"] {
            // Each request has another ID, but all are from one visitor.
            let answer = world.send(&[("user-agent", "evil"), ("x-request-id", id)]).await;
            assert_eq!(answer.status.as_u16(), provoked);
        }
        world.answer_all_with(503);
        assert_eq!(world.send(&[("user-agent", "kind")]).await.status.as_u16(), 200, "{provoked}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_about_an_earlier_entry_do_not_count() {
    let world = stale(404).await;
    world.send(&[("user-agent", "evil")]).await;
    // This request stores a new entry.
    assert_eq!(world.send(&[("user-agent", "kind")]).await.status.as_u16(), 200);
    world.manual.advance(12 * S);
    world.send(&[("user-agent", "evil"), ("x-other", "1")]).await;
    world.answer_all_with(503);
    assert_eq!(world.send(&[("user-agent", "kind")]).await.status.as_u16(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_omits_fields_after_an_earlier_one_failed() {
    for pause in [S, 9 * S, 10 * S, 11 * S, 300 * S] {
        let world = world(lasting().stale_while_revalidate(1000 * S), 503);
        world.send(&[]).await;
        world.manual.advance(12 * S);
        for _ in 0..2 {
            assert_eq!(world.send(&[("user-agent", "evil")]).await.text(), "1", "{pause:?}");
            world.manual.advance(pause);
        }
        assert_eq!(world.cache.refreshes().succeeded(), 1, "{pause:?}");
    }
}
