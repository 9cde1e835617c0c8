//! Handlers, bodies and computations that need their own result, or each other's result. None of
//! them waits for itself.

use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Barrier;
use tokio::time::{Instant, timeout};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::values::{ComputeError, propagate_dependencies};
use tower_response_cache::{Cache, Policy, RouteCacheLayer, SiteCacheLayer};

type Page = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;
type Shop = BoxCloneSyncService<Request<Body>, Response<ResponseBody<Page>>, Infallible>;

/// A site whose handlers send requests to the site itself.
#[derive(Clone, Default)]
struct Site(Arc<OnceLock<Shop>>);

impl Site {
    async fn get(&self, uri: &str) -> (u16, String) {
        self.send(get(uri)).await
    }

    async fn send(&self, request: Request<Body>) -> (u16, String) {
        let answer = send(self.0.get().expect("built"), request).await;
        (answer.status.as_u16(), answer.text().to_owned())
    }
}

type Handler = BoxCloneSyncService<Request<Body>, Response<Page>, Infallible>;

fn cached(cache: &Cache, policy: PolicyBuilder, inner: Handler) -> Shop {
    BoxCloneSyncService::new(
        SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner),
    )
}

/// Builds a site from its handler, which gets the site, the request and the number of the call.
fn answering<F, Fut>(cached: impl FnOnce(Handler) -> Shop, answer: F) -> (Site, Calls)
where
    F: Fn(Site, Request<Body>, usize) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Page>> + Send + 'static,
{
    let (site, calls) = (Site::default(), Calls::default());
    let (own, counted) = (site.clone(), calls.clone());
    let inner = service_fn(move |request: Request<Body>| {
        let answer = answer(own.clone(), request, counted.next());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    assert!(site.0.set(cached(BoxCloneSyncService::new(inner))).is_ok());
    (site, calls)
}

fn text(text: impl Into<Bytes>) -> Page {
    Body::from(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Builds a site from a function that returns the text of a page. Also returns the count of its
/// calls.
fn built<F, Fut>(policy: PolicyBuilder, make: F) -> (Site, Calls)
where
    F: Fn(Site, String, usize) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = String> + Send + 'static,
{
    answering(
        |inner| cached(&memory(), policy, inner),
        move |site, request, call| {
            let making = make(site, request.uri().path().to_owned(), call);
            async move { Response::new(text(making.await)) }
        },
    )
}

/// Awaits `work` and asserts that it takes less than half a second: no request waits until a
/// timeout.
async fn at_once<T>(work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let done = timeout(Duration::from_secs(60), work).await.expect("does not hang");
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    done
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_request_its_own_page_once() {
    let (site, calls) = built(policy(), |site, path, call| async move {
        match call {
            1 => format!("around {:?}", site.get(&path).await),
            call => call.to_string(),
        }
    });
    assert_eq!(at_once(site.get("/a")).await.1, "around (200, \"2\")");
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_always_requests_its_own_page_gets_508() {
    for policy in [policy(), policy().collapse(false)] {
        let (site, calls) = built(policy, |site, path, _| async move { site.get(&path).await.0.to_string() });
        at_once(site.get("/a")).await;
        assert_eq!(calls.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_need_each_other_do_not_deadlock() {
    for pages in [2, 3] {
        let together = Arc::new(Barrier::new(pages));
        let (site, calls) = built(policy(), move |site, path, call| {
            let together = Arc::clone(&together);
            async move {
                if call > pages {
                    return "end".to_owned();
                }
                // After this line, the handlers of all pages are running.
                together.wait().await;
                let number: usize = path[1..].parse().expect("a number");
                site.get(&format!("/{}", (number + 1) % pages)).await.1
            }
        });
        let uris: Vec<_> = (0..pages).map(|page| format!("/{page}")).collect();
        at_once(futures::future::join_all(uris.iter().map(|uri| site.get(uri)))).await;
        assert!(calls.count() > pages, "at least one nested request does not collapse");
    }
}

#[tokio::test(start_paused = true)]
async fn nested_requests_for_a_shared_part_collapse() {
    let (site, calls) = built(policy(), |site, path, _| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        match &*path {
            "/part" => "part".to_owned(),
            _ => site.get("/part").await.1,
        }
    });
    let (a, b, part) = tokio::join!(site.get("/a"), site.get("/b"), site.get("/part"));
    assert_eq!((&*a.1, &*b.1, &*part.1), ("part", "part", "part"));
    assert_eq!(calls.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_requests_its_own_page_does_not_hang() {
    let (site, calls) = (Site::default(), Calls::default());
    let (own, counted) = (site.clone(), calls.clone());
    let inner = service_fn(move |request: Request<Body>| {
        let (site, path, call) = (own.clone(), request.uri().path().to_owned(), counted.next());
        let rest = async move {
            let text = if call > 1 { "end".to_owned() } else { site.get(&path).await.1 };
            Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(text)))
        };
        let first = futures::future::ready(Ok(http_body::Frame::data(Bytes::from_static(b"<"))));
        let frames = futures::stream::FuturesOrdered::from_iter([
            Box::pin(first) as futures::future::BoxFuture<'static, _>,
            Box::pin(rest),
        ]);
        async move { Ok::<_, Infallible>(Response::new(http_body_util::StreamBody::new(frames).boxed_unsync())) }
    });
    let shop = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    assert!(site.0.set(BoxCloneSyncService::new(shop)).is_ok());
    assert_eq!(at_once(site.get("/a")).await.1, "<<end");
}

/// Requests `/loop` from within its own handler. Returns the status of the answer in a new
/// response.
async fn again(site: Site, method: &str, lines: &[(&str, &str)]) -> Response<Page> {
    let (status, _) = site.send(request(method, "/loop", lines)).await;
    Response::builder().status(status).body(text("text")).expect("a response")
}

/// A cache over a store that is down.
fn failing() -> Cache {
    Cache::new(Faulty::new(memory_store(1 << 20), Fault::Down))
}

#[tokio::test(start_paused = true)]
async fn self_requesting_handler_gets_508_for_any_method() {
    for (methods, policy) in [
        (["GET", "GET"], policy()),
        (["HEAD", "HEAD"], policy()),
        (["HEAD", "HEAD"], policy().collapse(false)),
        (["HEAD", "HEAD"], policy().origin_timeout(MINUTE)),
        (["HEAD", "GET"], policy()),
        (["GET", "HEAD"], policy()),
        (["POST", "POST"], Policy::rfc9111()),
        (["POST", "GET"], Policy::rfc9111()),
    ] {
        let (site, calls) = answering(
            |inner| cached(&memory(), policy, inner),
            move |site, _, call| async move { again(site, methods[call % 2], &[]).await },
        );
        assert_eq!(at_once(site.send(request(methods[0], "/loop", &[]))).await.0, 508, "{methods:?}");
        assert_eq!(calls.count(), 2, "{methods:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn loop_gets_508_despite_cache_directives_and_conditions() {
    for (method, lines) in [
        ("GET", [("cache-control", "no-cache")]),
        ("GET", [("range", "bytes=0-1")]),
        ("GET", [("if-none-match", "\"a\"")]),
        ("HEAD", [("cache-control", "no-cache")]),
        ("HEAD", [("range", "bytes=0-1")]),
    ] {
        let (site, calls) = answering(
            |inner| cached(&memory(), policy(), inner),
            move |site, _, _| async move { again(site, method, &lines).await },
        );
        assert_eq!(at_once(site.send(request(method, "/loop", &lines))).await.0, 508, "{method} {lines:?}");
        assert_eq!(calls.count(), 2, "{method} {lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_with_a_failing_store_gets_508() {
    for method in ["GET", "HEAD"] {
        let (site, calls) = answering(
            |inner| cached(&failing(), policy(), inner),
            move |site, _, _| async move { again(site, method, &[]).await },
        );
        assert_eq!(at_once(site.send(request(method, "/loop", &[]))).await.0, 508, "{method}");
        assert_eq!(calls.count(), 2, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_behind_an_inner_layer_gets_508() {
    for method in ["GET", "HEAD"] {
        let layers = |inner: Handler| {
            let route = RouteCacheLayer::new(&memory(), MINUTE).layer(inner);
            let page = |body: ResponseBody<Page>| body.map_err(std::io::Error::other).boxed_unsync();
            let route = route.map_response(move |response: Response<_>| response.map(page));
            cached(&memory(), policy(), BoxCloneSyncService::new(route))
        };
        let (site, calls) = answering(layers, move |site, request, _| async move {
            if request.headers().contains_key("x-begin") {
                let page = Response::builder().header("cache-control", "no-store");
                return page.body(text("text")).expect("a response");
            }
            again(site, method, &[]).await
        });
        // After this response, the outer layer knows that an inner layer handles the page.
        site.send(get_with("/loop", &[("x-begin", "1")])).await;
        assert_eq!(at_once(site.send(request(method, "/loop", &[]))).await.0, 508, "{method}");
        assert_eq!(calls.count(), 3, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_through_a_spawned_task_gets_508() {
    for method in ["GET", "HEAD"] {
        let (site, calls) = answering(
            |inner| cached(&memory(), policy(), inner),
            move |site, _, _| async move {
                let again = async move { again(site, method, &[]).await };
                tokio::spawn(propagate_dependencies(again)).await.expect("no panic")
            },
        );
        assert_eq!(at_once(site.send(request(method, "/loop", &[]))).await.0, 508, "{method}");
        assert_eq!(calls.count(), 2, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_requests_itself_ends_if_stored_or_not() {
    let too_large = vec![b'a'; 2 << 20];
    for (control, first) in [("max-age=60", "a".into()), ("no-store", "a".into()), ("max-age=60", too_large)]
    {
        let first = Bytes::from(first);
        let (site, calls) = answering(
            |inner| cached(&memory(), policy(), inner),
            move |site, _, _| {
                let first = first.clone();
                async move {
                    let first = futures::future::ready(Ok(http_body::Frame::data(first)));
                    let rest = async move {
                        tokio::task::yield_now().await;
                        let status = site.get("/loop").await.0.to_string();
                        Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(status)))
                    };
                    let frames = futures::stream::FuturesOrdered::from_iter([
                        Box::pin(first) as futures::future::BoxFuture<'static, _>,
                        Box::pin(rest),
                    ]);
                    let body = http_body_util::StreamBody::new(frames).boxed_unsync();
                    Response::builder().header("cache-control", control).body(body).expect("a response")
                }
            },
        );
        assert_eq!(at_once(site.get("/loop")).await.0, 200);
        assert_eq!(calls.count(), 2, "{control}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_variant_may_include_another_variant_of_its_page() {
    let (site, calls) = answering(
        |inner| cached(&memory(), policy(), inner),
        |site, request, _| async move {
            let language = request.headers()["accept-language"].to_str().expect("text").to_owned();
            let next = match &*language {
                "de-CH" => Some("de"),
                "de" => Some("en"),
                _ => None,
            };
            let part = match next {
                Some(next) => format!("<{}>", site.send(get_with("/", &[("accept-language", next)])).await.1),
                None => String::new(),
            };
            let page = Response::builder().header("vary", "accept-language");
            page.body(text(format!("{language}{part}"))).expect("a response")
        },
    );
    for _ in 0..2 {
        let answer = at_once(site.send(get_with("/", &[("accept-language", "de-CH")]))).await;
        assert_eq!(answer, (200, "de-CH<de<en>>".to_owned()));
    }
    assert_eq!(calls.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_changes_a_field_each_time_gets_508() {
    for method in ["GET", "HEAD"] {
        let (site, calls) = answering(
            |inner| cached(&memory(), policy(), inner),
            move |site, _, call| async move { again(site, method, &[("x-counter", &call.to_string())]).await },
        );
        assert_eq!(at_once(site.send(request(method, "/loop", &[]))).await.0, 508);
        assert_eq!(calls.count(), 17, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn nested_sites_with_equal_urls_are_no_loop() {
    let mut site: Option<Site> = None;
    for number in 0..4 {
        let next = site.take();
        let made = answering(
            |inner| cached(&memory(), policy(), inner),
            move |_, request, _| {
                let next = next.clone();
                async move {
                    let rest = match next {
                        Some(next) => next.get(request.uri().path()).await.1,
                        None => String::new(),
                    };
                    Response::new(text(format!("{number}{rest}")))
                }
            },
        );
        site = Some(made.0);
    }
    assert_eq!(at_once(site.expect("made").get("/")).await, (200, "3210".to_owned()));
}

/// Builds a site whose pages all show one value. The value is computed from the page `/b`.
fn showing_a_value() -> (Site, Calls) {
    let cache = memory();
    let values = cache.clone();
    answering(
        move |inner| cached(&cache, policy(), inner),
        move |site, _, _| {
            let values = values.clone();
            async move {
                let compute = || async move { site.get("/b").await.0.to_string() };
                Response::new(text(values.get_or_set("v", MINUTE, compute).await.expect("a value")))
            }
        },
    )
}

#[tokio::test(start_paused = true)]
async fn page_and_value_that_need_each_other_do_not_deadlock() {
    let (site, calls) = showing_a_value();
    assert_eq!(at_once(site.get("/a")).await.0, 200);
    assert!(calls.count() <= 4, "{}", calls.count());
    let (site, _) = showing_a_value();
    let (a, b, c) = at_once(async { tokio::join!(site.get("/a"), site.get("/b"), site.get("/c")) }).await;
    assert_eq!((a.0, b.0, c.0), (200, 200, 200));
}

/// Computes the value `number` of a ring. Each value of the ring needs the next value.
fn ring_value(
    cache: Cache,
    ring: usize,
    number: usize,
    calls: Calls,
) -> futures::future::BoxFuture<'static, Result<u32, String>> {
    Box::pin(async move {
        let next = ring_value(cache.clone(), ring, (number + 1) % ring, calls.clone());
        let compute = || async move {
            calls.next();
            tokio::task::yield_now().await;
            next.await
        };
        match cache.try_get_or_set(number.to_string(), MINUTE, compute).await {
            Ok(value) => Ok(value),
            Err(ComputeError::Failed(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn values_that_need_each_other_fail_at_once() {
    for cache in [memory(), failing()] {
        for ring in 1..4 {
            let calls = Calls::default();
            let all =
                (0..ring).map(|number| tokio::spawn(ring_value(cache.clone(), ring, number, calls.clone())));
            for one in at_once(futures::future::join_all(all)).await {
                assert_eq!(one.expect("no panic"), Err("the value needs itself".to_owned()));
            }
            assert!(calls.count() <= 4 * ring * ring, "{}", calls.count());
        }
    }
}

#[test]
fn a_value_that_needs_itself_fails_without_a_runtime() {
    let error = futures::executor::block_on(ring_value(memory(), 1, 0, Calls::default()));
    assert_eq!(error, Err("the value needs itself".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_computation_may_need_its_own_value_once() {
    let cache = memory();
    let (within, inner) = (cache.clone(), || async { "inner".to_owned() });
    let outer =
        || async move { format!("<{}>", within.get_or_set("v", MINUTE, inner).await.expect("a value")) };
    assert_eq!(at_once(cache.get_or_set("v", MINUTE, outer)).await.expect("a value"), "<inner>");
}
