//! Pages that stream while one of their values changes. No request after the change joins their
//! flights.

use crate::support::streamed_pages::Pieces;
use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::time::Duration;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{Invalidation, SiteCacheLayer, Ttl};

const S: Duration = Duration::from_secs(1);
type Shop = BoxCloneService<Request<Body>, Response<ResponseBody<Pieces>>, Infallible>;

/// Either the handler or the body reads the value.
#[tokio::test(start_paused = true)]
async fn no_request_joins_a_page_whose_value_was_set_meanwhile() {
    for in_head in [true, false] {
        let cache = memory();
        let handle = cache.clone();
        let inner = service_fn(move |_: Request<Body>| {
            let cache = handle.clone();
            async move {
                let seen = match in_head {
                    true => Some(cache.get::<u32>("price").await.ok().flatten().unwrap_or_default()),
                    false => None,
                };
                let frames = futures::stream::unfold((0, cache, seen), |(at, cache, mut seen)| async move {
                    if seen.is_none() {
                        seen = cache.get::<u32>("price").await.ok().flatten();
                    }
                    if at > 0 {
                        tokio::time::sleep(S).await;
                    }
                    let text = seen.unwrap_or_default().to_string();
                    (at < 3).then(|| (Ok(Frame::data(Bytes::from(text))), (at + 1, cache, seen)))
                });
                Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
            }
        });
        let shop: Shop = SiteCacheLayer::new(&cache)
            .policy(policy().cache_status(true).build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        cache.set("price", &1, Ttl::Forever).await.expect("set");
        let first = shop.clone().oneshot(get("/")).await.expect("infallible");
        let (parts, mut body) = first.into_parts();
        drop(parts);
        let _ = body.frame().await;
        cache.set("price", &2, Ttl::Forever).await.expect("set");
        // This request begins after `set` returned.
        let (second, _) = tokio::join!(send(&shop, get("/")), body.collect());
        assert_eq!(second.text(), "222", "in_head {in_head}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_joins_a_page_whose_value_tag_was_invalidated() {
    let cache = memory();
    let handle = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let cache = handle.clone();
        async move {
            let seen = cache.get::<u32>("price").await.ok().flatten().unwrap_or_default();
            let frames = futures::stream::unfold(0, move |at| async move {
                if at > 0 {
                    tokio::time::sleep(S).await;
                }
                (at < 3).then(|| (Ok(Frame::data(Bytes::from(seen.to_string()))), at + 1))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
        }
    });
    let shop: Shop = SiteCacheLayer::new(&cache)
        .policy(policy().cache_status(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    cache.value("price").tags(["t"]).set(&1).await.expect("set");
    let first = shop.clone().oneshot(get("/")).await.expect("infallible");
    let mut body = first.into_body();
    let _ = body.frame().await;
    assert_eq!(cache.invalidate(Invalidation::tag("t")).await, Delivery::Delivered);
    let (second, _) = tokio::join!(send(&shop, get("/")), body.collect());
    assert_eq!(second.text(), "000");
}

#[tokio::test(start_paused = true)]
async fn no_request_joins_a_body_whose_value_was_set_meanwhile() {
    let cache = memory();
    let handle = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let cache = handle.clone();
        async move {
            let frames = futures::stream::unfold((0, cache), |(at, cache)| async move {
                if at > 0 {
                    tokio::time::sleep(S).await;
                }
                let text = cache.get::<u32>("price").await.ok().flatten().unwrap_or_default().to_string();
                (at < 3).then(|| (Ok(Frame::data(Bytes::from(text))), (at + 1, cache)))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
        }
    });
    let shop: Shop = SiteCacheLayer::new(&cache)
        .policy(policy().cache_status(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    cache.set("price", &1, Ttl::Forever).await.expect("set");
    let first = shop.clone().oneshot(get("/")).await.expect("infallible");
    let mut body = first.into_body();
    let _ = body.frame().await;
    cache.set("price", &2, Ttl::Forever).await.expect("set");
    let (second, _) = tokio::join!(send(&shop, get("/")), body.collect());
    assert_eq!(second.text(), "222");
}
