//! Nested cache layers, layers of tower-http outside and inside them, and bodies and errors of any
//! type.

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::time::Duration;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::normalize_path::NormalizePathLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::{ResponseBody, ResponseCache};
use tower_response_cache::{Cache, Policy, RouteCacheLayer, SiteCacheLayer};

#[tokio::test]
async fn a_cache_layer_works_between_layers_of_tower_http() {
    let (inner, calls) = origin(|_, _| with_lines(&[("content-type", "text/html")], "x".repeat(4000)));
    let cache = memory();
    let stack = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(TimeoutLayer::with_status_code(http::StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(5)))
        .layer(CorsLayer::permissive())
        .layer(NormalizePathLayer::trim_trailing_slash())
        .layer(SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")))
        .layer(CompressionLayer::new())
        .layer(SetResponseHeaderLayer::overriding(
            http::header::SERVER,
            http::HeaderValue::from_static("shop"),
        ))
        .service(inner);
    let zipped = || get_with("/", &[("accept-encoding", "gzip")]);
    for request in [zipped(), get("/"), zipped(), get("/")] {
        let coded = request.headers().contains_key("accept-encoding");
        let response = stack.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.headers().contains_key("content-encoding"), coded);
        let length = response.into_body().collect().await.expect("a body").to_bytes().len();
        assert_eq!(length < 4000, coded, "each coding has its own entry");
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn outer_compression_encodes_the_plain_entry_on_each_hit() {
    let (inner, calls) = origin(|_, _| with_lines(&[("content-type", "text/html")], "x".repeat(4000)));
    let stack = ServiceBuilder::new()
        .layer(CompressionLayer::new())
        .layer(SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")))
        .service(inner);
    for coding in ["gzip", "identity", "gzip"] {
        let response =
            stack.clone().oneshot(get_with("/", &[("accept-encoding", coding)])).await.expect("infallible");
        assert_eq!(response.headers().contains_key("content-encoding"), coding == "gzip");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn a_layer_caches_between_a_body_limit_and_a_panic_catcher() {
    let (cache, calls) = (memory(), Calls::default());
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<tower_http::body::Limited<Body>>| {
        counted.next();
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("page"))) }
    });
    let stack = ServiceBuilder::new()
        .layer(RequestBodyLimitLayer::new(1000))
        .layer(SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")))
        .layer(CatchPanicLayer::new())
        .service(inner);
    for _ in 0..2 {
        let response = stack.clone().oneshot(get("/")).await.expect("infallible");
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "page");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test]
async fn an_outer_request_id_is_not_stored() {
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")))
        .layer(PropagateRequestIdLayer::x_request_id())
        .service(inner);
    let id = async || {
        stack.clone().oneshot(get("/")).await.expect("infallible").headers().get("x-request-id").cloned()
    };
    assert!(id().await.is_some(), "the response to a miss has the request ID");
    assert!(id().await.is_none(), "a hit has no request ID");
}

#[tokio::test]
async fn nested_layers_store_one_entry_by_the_inner_policy() {
    let store = memory_store(1 << 20);
    let cache = Cache::new(store.clone());
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    let stack =
        SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(route).boxed_clone();
    for _ in 0..5 {
        let answer = send(&stack, get("/")).await;
        assert_eq!(answer.text(), "1");
    }
    assert_eq!((calls.count(), store.len()), (1, 1));
    // If the inner layer refuses to store a response, the outer layer does not store it either.
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let refusing = RouteCacheLayer::new(&cache, Duration::ZERO).layer(inner);
    let stack = SiteCacheLayer::new(&cache)
        .policy(policy().name("other").build().expect("a policy"))
        .layer(refusing)
        .boxed_clone();
    for call in 1..=3 {
        assert_eq!(send(&stack, get("/refused")).await.text(), call.to_string());
    }
    assert_eq!((calls.count(), store.len()), (3, 1));
}

#[tokio::test]
async fn only_the_outer_of_two_layers_with_the_same_name_caches() {
    let (cache, _) = timed();
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let layer = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy"));
    let stack = layer.layer(layer.layer(inner)).boxed_clone();
    let first = send(&stack, get("/")).await;
    let statuses: Vec<_> = first.headers.get_all("cache-status").iter().collect();
    assert_eq!(
        statuses,
        [
            "tower-response-cache; fwd=bypass; fwd-status=200; detail=same-name",
            "tower-response-cache; fwd=uri-miss; fwd-status=200; stored; ttl=60",
        ]
    );
    let again = send(&stack, get("/")).await;
    let last = again.headers.get_all("cache-status").iter().next_back().expect("a status");
    assert_eq!((last.to_str().expect("text"), calls.count()), ("tower-response-cache; hit; ttl=60", 1));
}

#[tokio::test]
async fn an_entry_behind_authentication_never_serves_an_outer_layer() {
    let cache = memory();
    // A layer that checks the credential and removes it, as proxies do.
    let guarded = |inner: Stack| {
        service_fn(move |mut request: Request<Body>| {
            let inner = inner.clone();
            async move {
                if request.headers_mut().remove("authorization").is_none() {
                    let mut refused = Response::new(ResponseBody::default());
                    *refused.status_mut() = http::StatusCode::UNAUTHORIZED;
                    return Ok(refused);
                }
                inner.oneshot(request).await
            }
        })
    };
    let site = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy"));
    for third_between in [false, true] {
        let inner = site.layer(origin(|_, _| with_lines(&[], "private")).0).boxed_clone();
        let guard = guarded(inner);
        let stacked = async |request: Request<Body>| {
            if third_between {
                let route = RouteCacheLayer::new(&cache, MINUTE).layer(guard.clone());
                read(site.layer(route).oneshot(request).await.expect("infallible")).await
            } else {
                read(site.layer(guard.clone()).oneshot(request).await.expect("infallible")).await
            }
        };
        for _ in 0..2 {
            assert_eq!(stacked(get("/p")).await.status, 401);
            assert_eq!(stacked(get_with("/p", &[("authorization", "x")])).await.text(), "private");
        }
    }
}

#[tokio::test]
async fn identification_by_an_outer_layer_reaches_inner_layers() {
    let cache = memory();
    for (name, value) in [("authorization", "alice"), ("cookie", "sid=alice"), ("x-api-key", "alice")] {
        for policy in [policy(), Policy::rfc9111().cache_status(true)] {
            let (page, _) = origin(|request, _| {
                let user = request.extensions().get::<String>().map_or("anybody", String::as_str);
                with_lines(&[("cache-control", "public, max-age=60")], user.to_owned())
            });
            let route = RouteCacheLayer::new(&cache, MINUTE).layer(page);
            let login = service_fn(move |mut request: Request<Body>| {
                if let Some(user) = request.headers_mut().remove(name) {
                    request.extensions_mut().insert(user.to_str().expect("text").to_owned());
                }
                route.clone().oneshot(request)
            });
            let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(login);
            let path = format!("/{name}");
            for _ in 0..2 {
                assert_eq!(send(&stack, get_with(&path, &[(name, value)])).await.text(), value);
                assert_eq!(send(&stack, get(&path)).await.text(), "anybody");
            }
        }
        assert_eq!(cache.invalidate(tower_response_cache::Invalidation::all()).await, Delivery::Delivered);
    }
}

#[tokio::test]
async fn an_inner_route_keeps_its_own_ttl() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let short = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    let stack = RouteCacheLayer::new(&cache, 60 * MINUTE).layer(short);
    for expected in [1, 1, 2] {
        let answer = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
        assert_eq!((answer.text().parse().ok(), calls.count()), (Some(expected), expected));
        manual.advance(MINUTE / 2);
    }
}

#[tokio::test]
async fn the_outermost_layer_removes_the_mark_of_an_inner_layer() {
    let cache = memory();
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(origin(|_, call| numbered(&[], call)).0);
    let stack = SiteCacheLayer::new(&cache).layer(route);
    for _ in 0..2 {
        let response = stack.clone().oneshot(get("/")).await.expect("infallible");
        // At most one extension besides `CacheStatus` is left.
        assert!(response.extensions().len() <= 2, "{:?}", response.extensions());
    }
}

#[tokio::test]
async fn bodies_that_are_not_sync_and_custom_errors_are_supported() {
    struct UnsyncBody(Option<Bytes>, std::marker::PhantomData<Cell<()>>);
    impl http_body::Body for UnsyncBody {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<io::Result<http_body::Frame<Bytes>>>> {
            std::task::Poll::Ready(self.0.take().map(|data| Ok(http_body::Frame::data(data))))
        }
    }
    #[derive(Debug, PartialEq)]
    struct CustomError;
    let inner = service_fn(|request: Request<Body>| async move {
        match request.uri().path() {
            "/" => Ok(Response::new(UnsyncBody(Some(Bytes::from("page")), std::marker::PhantomData))),
            _ => Err(CustomError),
        }
    });
    let mut stack = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner);
    assert_eq!(read(stack.call(get("/")).await.expect("ok")).await.text(), "page");
    assert!(read(stack.call(get("/")).await.expect("ok")).await.is_hit());
    assert_eq!(stack.call(get("/x")).await.err(), Some(CustomError));
}

#[tokio::test]
async fn services_made_per_request_share_the_cache_of_their_layer() {
    let layer = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy"));
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    for _ in 0..3 {
        assert_eq!(send(&layer.layer(inner.clone()).boxed_clone(), get("/")).await.text(), "1");
    }
    assert_eq!(calls.count(), 1);
}

#[test]
fn a_default_response_body_needs_no_default_inner_body() {
    struct NoDefault;
    let body: ResponseBody<NoDefault> = ResponseBody::default();
    assert!(format!("{body:?}").contains("Stored"));
}

#[test]
fn handles_and_layers_can_be_shared_between_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Cache>();
    shared::<PolicyBuilder>();
    shared::<SiteCacheLayer>();
    shared::<RouteCacheLayer>();
    shared::<tower_response_cache::response_cache::ResponseCache<()>>();
}

#[tokio::test]
async fn a_disabled_layer_forwards_reads_and_invalidates_by_writes() {
    let cache = memory();
    let policy = policy().build().expect("a policy");
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let on = SiteCacheLayer::new(&cache).policy(policy.clone()).layer(inner.clone()).boxed_clone();
    let off = SiteCacheLayer::new(&cache).enabled(false).policy(policy).layer(inner).boxed_clone();
    assert_eq!(send(&on, get("/")).await.text(), "1");
    let passed = send(&off, get("/")).await;
    assert_eq!((passed.text(), passed.detail()), ("2", Some("disabled")));
    send(&off, request("POST", "/", &[])).await;
    assert!(!send(&on, get("/")).await.is_hit());
    assert_eq!(calls.count(), 4);
}

#[tokio::test]
async fn layers_without_a_policy_use_the_policy_of_their_cache() {
    let policy = policy().build().expect("a policy");
    let store = tower_response_cache::MemoryStore::with_max_bytes(1 << 20);
    let cache = Cache::builder(store).policy(policy).build().expect("valid");
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let hour = Duration::from_secs(3600);
    let stacks = [
        SiteCacheLayer::new(&cache).layer(inner.clone()).boxed_clone(),
        ResponseCache::site(inner.clone(), &cache).boxed_clone(),
        RouteCacheLayer::new(&cache, hour).layer(inner.clone()).boxed_clone(),
        ResponseCache::route(inner, &cache, hour).boxed_clone(),
    ];
    let mut hits = Vec::new();
    for stack in stacks {
        hits.push(send(&stack, get("/")).await.is_hit());
    }
    assert_eq!(hits, [false, true, false, true]);
}

#[tokio::test]
async fn an_outer_layer_leaves_a_route_to_a_disabled_layer() {
    let cache = memory();
    let policy = policy().build().expect("a policy");
    let (inner, calls) = origin(|_, call| numbered(&[("cache-control", "max-age=60")], call));
    let route = RouteCacheLayer::new(&cache, Duration::from_secs(60)).policy(policy.clone()).enabled(false);
    let site = SiteCacheLayer::new(&cache).policy(policy).layer(route.layer(inner)).boxed_clone();
    for text in ["1", "2"] {
        assert_eq!(send(&site, get("/")).await.text(), text);
    }
    assert_eq!(calls.count(), 2);
}

/// A layer between the two cache layers replaces the credential by an extension. The handler makes
/// the page of the user that the extension names.
#[tokio::test]
async fn a_disabled_layer_reports_credentials_to_inner_layers() {
    let cache = memory();
    let policy = policy().build().expect("a policy");
    let (inner, _) = origin(|request, _| {
        let user = request.extensions().get::<&str>().copied().unwrap_or("nobody");
        with_lines(&[("cache-control", "max-age=60")], user.to_owned())
    });
    let route = RouteCacheLayer::new(&cache, Duration::from_secs(60)).policy(policy.clone()).layer(inner);
    let recognize = tower::util::MapRequestLayer::new(|mut request: Request<Body>| {
        if request.headers_mut().remove("authorization").is_some() {
            request.extensions_mut().insert("alice");
        }
        request
    });
    let site = SiteCacheLayer::new(&cache).policy(policy).enabled(false).layer(recognize.layer(route));
    let site = site.boxed_clone();
    assert_eq!(send(&site, get_with("/", &[("authorization", "Bearer a")])).await.text(), "alice");
    for _ in 0..2 {
        assert_eq!(send(&site, get("/")).await.text(), "nobody");
    }
}
