//! A page that includes a part inherits the dependencies and the lifetime of the part, on hits and
//! misses of the part's cache, and on all other outcomes.

use crate::support::streamed_pages::Pieces;
use crate::support::*;
use Exit::*;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::clock::ManualClock;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{Cache, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer, Ttl};

const S: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Exit {
    Miss,
    Hit,
    HitCalledElsewhere,
    HitPolledElsewhere,
    MissPolledElsewhere,
    Revalidated,
    StaleIfError,
    StaleWhileRevalidate,
    Detached,
    DetachedRevalidated,
    DetachedStaleIfError,
    Follower,
    HeadHit,
    HeadMiss,
    Range,
    NotModified,
    Variant,
    Nested,
    Unstored,
    DetachedUnstored,
    Alone,
    Bypass,
}

/// Each way in which the cache of the part may answer, and `true` if the page with that part is
/// stored.
const EXITS: [(Exit, bool); 22] = [
    (Miss, true),
    (Hit, true),
    (HitCalledElsewhere, true),
    (HitPolledElsewhere, true),
    (MissPolledElsewhere, true),
    (Revalidated, true),
    (StaleIfError, false),
    (StaleWhileRevalidate, false),
    (Detached, true),
    (DetachedRevalidated, true),
    (DetachedStaleIfError, false),
    (Follower, true),
    (HeadHit, true),
    (HeadMiss, false),
    (Range, true),
    (NotModified, true),
    (Variant, true),
    (Nested, true),
    (Unstored, true),
    (DetachedUnstored, true),
    (Alone, true),
    (Bypass, true),
];

impl Exit {
    fn policy(self) -> PolicyBuilder {
        let policy = Policy::app().default_ttl(10 * S).cache_status(true);
        match self {
            StaleIfError => policy.stale_if_error(100 * S),
            StaleWhileRevalidate => policy.stale_while_revalidate(100 * S),
            Detached | DetachedRevalidated | DetachedUnstored => policy.complete_after_disconnect(100 * S),
            DetachedStaleIfError => policy.complete_after_disconnect(100 * S).stale_if_error(100 * S),
            Alone => policy.collapse(false),
            _ => policy,
        }
    }

    fn request(self) -> Request<Body> {
        match self {
            HeadHit | HeadMiss => request("HEAD", "/part", &[]),
            Range => get_with("/part", &[("range", "bytes=0-0")]),
            NotModified => get_with("/part", &[("if-none-match", "\"1\"")]),
            Variant => get_with("/part", &[("accept-language", "de")]),
            _ => get("/part"),
        }
    }

    fn stored_before(self) -> bool {
        !matches!(
            self,
            Miss | MissPolledElsewhere
                | Detached
                | Follower
                | HeadMiss
                | Nested
                | Unstored
                | DetachedUnstored
                | Alone
                | Bypass
        )
    }

    fn stale_before(self) -> bool {
        matches!(
            self,
            Revalidated | StaleIfError | StaleWhileRevalidate | DetachedRevalidated | DetachedStaleIfError
        )
    }

    fn fails(self) -> bool {
        matches!(self, StaleIfError | DetachedStaleIfError)
    }
}

struct World {
    cache: Cache,
    manual: ManualClock,
    page: Stack,
}

/// Makes the page from a part. `exit` names the way in which the part's cache answers.
async fn made_by(exit: Exit) -> World {
    let (cache, manual) = timed();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let inner = service_fn(move |request: Request<Body>| {
        let failing = Arc::clone(&failing);
        async move {
            if exit == Follower {
                sleep(S).await;
            }
            let mut response = match exit {
                Unstored | DetachedUnstored => with_lines(&[("cache-control", "no-store")], "part"),
                Variant => with_lines(&[("etag", "\"1\""), ("vary", "accept-language")], "part"),
                _ => with_lines(&[("etag", "\"1\"")], "part"),
            };
            if failing.load(Ordering::SeqCst) {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            } else if request.headers().contains_key("if-none-match") {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                *response.body_mut() = Body::default();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let layer = SiteCacheLayer::new(&cache).policy(exit.policy().build().expect("a policy"));
    let part: Stack = if exit == Nested {
        let route = RouteCacheLayer::new(&cache, 10 * S)
            .policy(Policy::app().build().expect("a policy"))
            .layer(inner);
        let flat = service_fn(move |request| {
            let route = route.clone();
            async move { Ok::<_, Infallible>(collected(route.oneshot(request).await?).await) }
        });
        let anonymous = layer.layer(flat);
        tower::util::BoxCloneService::new(anonymous)
    } else {
        tower::util::BoxCloneService::new(layer.layer(inner))
    };
    if exit.stored_before() {
        let before = if exit == Variant { exit.request() } else { get("/part") };
        send(&part, before).await;
    }
    if exit.stale_before() {
        manual.advance(12 * S);
    }
    fails.store(exit.fails(), Ordering::SeqCst);
    let called = part.clone();
    let handler = service_fn(move |_: Request<Body>| {
        let mut part = called.clone();
        async move {
            let answer = match exit {
                HitCalledElsewhere => {
                    let call = std::thread::spawn(move || part.call(exit.request()));
                    call.join().expect("no panic").await
                }
                HitPolledElsewhere | MissPolledElsewhere => {
                    tokio::spawn(part.call(exit.request())).await.expect("no panic")
                }
                _ => part.oneshot(exit.request()).await,
            };
            let body = collected(answer?).await.into_body();
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let policy = Policy::app().name("page").default_ttl(1000 * S).cache_status(true);
    let page: Stack =
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(handler).boxed_clone();
    if exit == Follower {
        tokio::join!(send(&part, get("/part")), send(&page, get("/page")));
    } else {
        send(&page, get("/page")).await;
    }
    sleep(S).await;
    World { cache, manual, page }
}

async fn collected<B>(response: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    Response::from_parts(parts, Body::from(bytes))
}

impl World {
    async fn is_hit(&self) -> bool {
        send(&self.page, get("/page")).await.is_hit()
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_invalidated_with_its_part_on_any_cache_outcome() {
    for (exit, _) in EXITS {
        if exit == Bypass {
            continue;
        }
        let what = [
            Invalidation::path("/part"),
            Invalidation::uri("/part"),
            Invalidation::subtree("/part"),
            Invalidation::path("/part").soft(),
        ];
        for what in what {
            let world = made_by(exit).await;
            assert_eq!(world.cache.invalidate(what.clone()).await, Delivery::Delivered);
            assert!(!world.is_hit().await, "{exit:?} {what:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_stored_if_the_dependencies_of_its_part_are_known() {
    for (exit, is_stored) in EXITS {
        assert_eq!(made_by(exit).await.is_hit().await, is_stored, "{exit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_is_fresh_no_longer_than_its_part() {
    for (exit, _) in EXITS {
        if matches!(exit, Unstored | DetachedUnstored | Bypass) {
            continue;
        }
        let world = made_by(exit).await;
        world.manual.advance(11 * S);
        assert!(!world.is_hit().await, "{exit:?}");
    }
}

type Frames =
    StreamBody<std::pin::Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;

/// Creates a part whose second frame depends on a value.
fn streamed(
    cache: &Cache,
    policy: PolicyBuilder,
) -> tower_response_cache::response_cache::ResponseCache<impl Streams> {
    let handle = cache.clone();
    SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(service_fn(
        move |_: Request<Body>| {
            let cache = handle.clone();
            async move {
                let frames = futures::stream::unfold(0, move |n| {
                    let cache = cache.clone();
                    async move {
                        sleep(S).await;
                        let price: u32 =
                            if n == 1 { cache.get("price").await.ok().flatten().unwrap_or(0) } else { 0 };
                        (n < 3).then(|| (Ok(Frame::data(Bytes::from(format!("{price} ")))), n + 1))
                    }
                });
                Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
            }
        },
    ))
}

trait Streams:
    Service<Request<Body>, Response = Response<Frames>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<T> Streams for T where
    T: Service<Request<Body>, Response = Response<Frames>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

#[tokio::test(start_paused = true)]
async fn a_page_depends_on_values_read_by_another_parts_reader() {
    for carries_on in [false, true] {
        let cache = memory();
        cache.set("price", &7_u32, MINUTE).await.expect("set");
        let policy = policy();
        let part =
            streamed(&cache, if carries_on { policy.complete_after_disconnect(MINUTE) } else { policy });
        let called = part.clone();
        let handler = service_fn(move |_: Request<Body>| {
            let part = called.clone();
            async move {
                let response = part.oneshot(get("/part")).await?;
                // During the sleep, the other reader polls the body and reads the value.
                sleep(10 * S).await;
                Ok::<_, Infallible>(Response::new(collected(response).await.into_body()))
            }
        });
        let page = SiteCacheLayer::new(&cache)
            .policy(
                Policy::app().name("page").default_ttl(MINUTE).cache_status(true).build().expect("a policy"),
            )
            .layer(handler);
        let reader = async {
            sleep(S / 2).await;
            send(&part, get("/part")).await
        };
        let (first, part) = tokio::join!(send(&page, get("/page")), reader);
        assert_eq!((first.text(), part.text()), ("0 7 0 ", "0 7 0 "));
        assert!(send(&page, get("/page")).await.is_hit(), "{carries_on}");
        cache.set("price", &8_u32, MINUTE).await.expect("set");
        assert!(!send(&page, get("/page")).await.is_hit(), "{carries_on}");
    }
}

type Shop = BoxCloneService<Request<Body>, Response<ResponseBody<Pieces>>, Infallible>;

#[tokio::test]
async fn a_page_inherits_the_dependencies_of_a_cached_part() {
    let cache = memory();
    for warm in [false, true] {
        assert_eq!(cache.clear().await, Delivery::Delivered);
        let (part, _) = page(&cache, |cache| async move {
            cache.get::<u32>("price").await.ok().flatten().unwrap_or(0).to_string()
        });
        let within = Arc::new(std::sync::Mutex::new(part.clone()));
        let inner = service_fn(move |_: Request<Body>| {
            let part = within.lock().expect("not poisoned").clone();
            async move {
                let text = read(part.oneshot(get("/part")).await.expect("infallible")).await;
                Ok::<_, Infallible>(Response::new(Body::from(text.body)))
            }
        });
        let page = site_over(&cache, inner.boxed_clone());
        cache.set("price", &1_u32, Ttl::Forever).await.expect("set");
        if warm {
            send(&part, get("/part")).await;
        }
        assert_eq!(send(&page, get("/whole")).await.text(), "1");
        cache.set("price", &2_u32, Ttl::Forever).await.expect("set");
        assert_eq!(send(&part, get("/part")).await.text(), "2");
        assert_eq!(send(&page, get("/whole")).await.text(), "2", "warm {warm}");
    }
}

/// The page reads the part while it streams. The part turns out to be too large for the cache.
#[tokio::test(start_paused = true)]
async fn a_page_depends_on_values_read_by_its_unstored_part() {
    let cache = memory();
    let handle = cache.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let cache = handle.clone();
        async move {
            let frames = futures::stream::unfold((0, cache), |(at, cache)| async move {
                tokio::time::sleep(S).await;
                let text = match at {
                    0 => cache.get::<u32>("price").await.ok().flatten().unwrap_or(0).to_string(),
                    1 => "x".repeat(100),
                    _ => return None,
                };
                Some((Ok(Frame::data(Bytes::from(text))), (at + 1, cache)))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(Box::pin(frames) as _)))
        }
    });
    let part: Shop = SiteCacheLayer::new(&cache)
        .policy(policy().max_body_bytes(10).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    let part = Arc::new(std::sync::Mutex::new(part));
    let inner = service_fn(move |_: Request<Body>| {
        let part = part.lock().expect("not poisoned").clone();
        async move {
            let text = read(part.oneshot(get("/part")).await.expect("infallible")).await;
            Ok::<_, Infallible>(Response::new(Body::from(text.body.slice(..1))))
        }
    });
    let page = site_over(&cache, inner.boxed_clone());
    for price in [1_u32, 2] {
        cache.set("price", &price, Ttl::Forever).await.expect("set");
        assert_eq!(send(&page, get("/whole")).await.text(), price.to_string());
        assert!(send(&page, get("/whole")).await.is_hit());
    }
}
