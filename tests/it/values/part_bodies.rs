//! Bodies that read values while they stream, to clients and as parts of pages.

use crate::support::*;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{Cache, SiteCacheLayer, Ttl};

type Frames = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;
type Parts = BoxCloneSyncService<Request<Body>, Response<ResponseBody<Frames>>, Infallible>;

fn frame(text: String) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from(text)))
}

async fn set(cache: &Cache, value: u32) {
    cache.set("v", &value, Ttl::Forever).await.expect("stored");
}

async fn read(cache: &Cache) -> u32 {
    cache.get("v").await.expect("read").expect("a value")
}

/// Creates a part with two frames. Both show the value as it was at the time of the first frame.
fn parts(cache: &Cache, collapses: bool) -> Parts {
    let own = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let first = own.clone();
        let frames = futures::stream::once(async move {
            tokio::task::yield_now().await;
            read(&first).await
        });
        let frames = frames.flat_map(|value| {
            futures::stream::iter(["a", "b"]).then(move |name| async move {
                tokio::task::yield_now().await;
                frame(format!("{name}{value};"))
            })
        });
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(frames.boxed()))) }
    });
    let policy = policy().collapse(collapses);
    BoxCloneSyncService::new(
        SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner),
    )
}

async fn next<B>(body: &mut B) -> String
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let frame = body.frame().await.expect("a frame").expect("no error");
    String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
}

#[tokio::test]
async fn no_request_joins_a_body_computing_from_an_old_value() {
    let cache = memory();
    set(&cache, 1).await;
    let (open, opened) = watch::channel(false);
    let own = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let (cache, opened) = (own.clone(), opened.clone());
        let sum = async move {
            let source = cache.clone();
            let computed = cache.get_or_set("sum", Duration::from_secs(60), || async move {
                let value = read(&source).await;
                opened.clone().wait_for(|open| *open).await.expect("open");
                value
            });
            frame(computed.await.expect("computed").to_string())
        };
        let head = futures::stream::once(async {
            tokio::task::yield_now().await;
            frame("head;".into())
        });
        let frames = head.chain(futures::stream::once(sum)).boxed();
        async move { Ok::<_, Infallible>(Response::new(StreamBody::new(frames))) }
    });
    let site = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(inner);
    let request_page = || async { site.clone().oneshot(get("/part")).await.expect("infallible").into_body() };
    let mut first = request_page().await;
    assert_eq!(next(&mut first).await, "head;");
    assert!(futures::poll!(Box::pin(first.frame())).is_pending(), "the body computes");
    set(&cache, 2).await;
    let mut second = request_page().await;
    assert_eq!(next(&mut second).await, "head;");
    open.send(true).expect("the computation waits");
    let (_, second) = futures::join!(first.collect(), second.collect());
    assert_eq!(second.expect("a body").to_bytes(), "2");
}

/// Requests a page twice, and returns the number of calls of its handler.
async fn calls_of_a_page<F>(cache: &Cache, make: impl Fn() -> F + Clone + Send + Sync + 'static) -> usize
where
    F: Future<Output = String> + Send + 'static,
{
    let calls = Calls::default();
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Body>| {
        counted.next();
        let page = make();
        async move { Ok::<_, Infallible>(Response::new(Body::from(page.await))) }
    });
    let pages = SiteCacheLayer::new(cache)
        .policy(policy().name("pages").build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    for _ in 0..2 {
        send(&pages, get("/page")).await;
        // The tasks that the page has spawned end here.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    calls.count()
}

#[tokio::test]
async fn a_page_depends_on_the_old_value_of_an_earlier_frame() {
    let cache = memory();
    let (parts, own) = (parts(&cache, true), cache.clone());
    let calls = calls_of_a_page(&cache, move || {
        let (parts, cache) = (parts.clone(), own.clone());
        async move {
            set(&cache, 1).await;
            assert_eq!(cache.clear().await, Delivery::Delivered);
            set(&cache, 1).await;
            let mut body = parts.clone().oneshot(get("/part")).await.expect("infallible").into_body();
            let a = next(&mut body).await;
            let _other = parts.oneshot(get("/part")).await.expect("infallible");
            set(&cache, 2).await;
            a + &next(&mut body).await
        }
    });
    assert_eq!(calls.await, 2);
}

#[tokio::test]
async fn a_page_depends_on_a_value_if_another_reader_continues() {
    for collapses in [true, false] {
        let cache = memory();
        set(&cache, 1).await;
        let (parts, own) = (parts(&cache, collapses), cache.clone());
        let calls = calls_of_a_page(&cache, move || {
            let (parts, cache) = (parts.clone(), own.clone());
            async move {
                let mut body = parts.oneshot(get("/part")).await.expect("infallible").into_body();
                let a = next(&mut body).await;
                tokio::spawn(async move {
                    drop(body.collect().await);
                    set(&cache, 2).await;
                });
                a
            }
        });
        assert_eq!(calls.await, 2, "{collapses}");
    }
}
