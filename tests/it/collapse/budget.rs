//! The recording budget, and the limit on bodies that are recorded without a client.

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{Cache, MemoryStore, SiteCacheLayer};

pub(crate) const PAGE: usize = 300 << 10;

/// A page in `count` frames. Each frame comes after a yield, so that followers can join.
pub(crate) fn frames(
    count: usize,
) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Unpin + 'static {
    let frames = (0..count).map(move |_| Ok(Frame::data(Bytes::from(vec![7; PAGE / count]))));
    let frames = futures::stream::iter(frames);
    Box::pin(futures::StreamExt::then(frames, |frame| async {
        tokio::task::yield_now().await;
        frame
    }))
}

#[tokio::test(start_paused = true)]
async fn stalled_readers_of_a_stored_page_do_not_use_the_budget() {
    for (count, stalled) in [(10, 6), (2, 6), (1, 6)] {
        let store = MemoryStore::with_max_bytes(64 << 20);
        let cache = Cache::builder(store).recording_bytes(1 << 20).build().expect("valid");
        let inner = service_fn(move |_: Request<Body>| async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames(count))))
        });
        let site = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
        let mut waiting = Vec::new();
        for page in 0..8 {
            let request_page =
                || async { site.clone().oneshot(get(&format!("/{page}"))).await.expect("infallible") };
            let (leader, others) = futures::join!(
                request_page(),
                futures::future::join_all((0..stalled).map(|_| request_page()))
            );
            assert_eq!(leader.into_body().collect().await.expect("a body").to_bytes().len(), PAGE);
            // The followers have read only the head.
            waiting.extend(others);
            assert!(is_hit(&request_page().await), "page {page} in {count} frames");
            assert_eq!(cache.recording_bytes(), 0, "page {page} in {count} frames");
        }
        for response in waiting {
            assert_eq!(response.into_body().collect().await.expect("a body").to_bytes().len(), PAGE);
        }
    }
}

pub(crate) fn is_hit<B>(response: &Response<B>) -> bool {
    let status = response.headers().get_all("cache-status").iter().next_back();
    status.is_some_and(|status| status.to_str().is_ok_and(|status| status.contains("; hit")))
}

#[tokio::test]
async fn bodies_recorded_without_a_client_are_limited() {
    let inner = service_fn(|_: Request<Body>| async {
        let frames = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let mut response = Response::new(StreamBody::new(frames));
        response.headers_mut().insert("etag", "\"a\"".parse().expect("a value"));
        Ok::<_, Infallible>(response)
    });
    let stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    let mut statuses = Vec::new();
    for number in 0..70 {
        let request = get_with(&format!("/?{number}"), &[("if-none-match", "\"a\"")]);
        statuses.push(stack.clone().oneshot(request).await.expect("infallible").status().as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 304).count(), 64);
    assert!(statuses[64..].iter().all(|status| *status == 200), "requests past the limit get a streamed 200");
}
