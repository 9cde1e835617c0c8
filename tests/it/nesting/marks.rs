//! Inner layers report to outer layers by marks on responses. The marks survive a layer that builds
//! a new response, and never reach clients.

use crate::support::*;
use http::{Request, Response};
use std::convert::Infallible;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt};
use tower_response_cache::cache_headers::{AddVaryLayer, CacheControl, SetCacheControlLayer};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{
    AnonymousOnlyLayer, CacheHints, ConditionalGetLayer, Identified, NeverCacheLayer, Policy,
    PreconditionLayer, RouteCacheLayer, SiteCacheLayer,
};

const FIELD: &str = "tower-response-cache";
type Any<B> = BoxCloneService<Request<Body>, Response<B>, Infallible>;

/// Wraps `inner` in a middleware that keeps status, fields and body of a response, but not its
/// extensions.
fn rebuilt<S, B>(inner: S) -> Any<B>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    let rebuild = |response: Response<B>| {
        let (parts, body) = response.into_parts();
        let mut new = Response::new(body);
        (*new.status_mut(), *new.headers_mut()) = (parts.status, parts.headers);
        new
    };
    inner.map_response(rebuild).boxed_clone()
}

fn presets() -> [PolicyBuilder; 2] {
    [policy(), Policy::rfc9111().cache_status(true)]
}

fn fresh(_: &Request<Body>, call: usize) -> Response<Body> {
    numbered(&[("cache-control", "max-age=60")], call)
}

async fn is_stored<B>(policy: PolicyBuilder, marked: Any<B>) -> bool
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tower_response_cache::error::BoxError>,
{
    let stack =
        SiteCacheLayer::new(&memory()).policy(policy.build().expect("a policy")).layer(rebuilt(marked));
    let first = send(&stack, get("/")).await;
    assert_eq!(first.header(FIELD), None);
    send(&stack, get("/")).await.is_hit()
}

#[tokio::test]
async fn a_mark_survives_a_rebuilt_response() {
    for policy in presets() {
        assert!(is_stored(policy.clone(), origin(fresh).0).await, "no mark");
        let hinted = origin(|request, call| {
            let mut response = fresh(request, call);
            CacheHints::new().never().add_to_response(&mut response);
            response
        });
        assert!(!is_stored(policy.clone(), hinted.0).await, "a hint of a handler");
        let marked = origin(|request, call| {
            let mut response = fresh(request, call);
            Identified.add_to_response(&mut response);
            response
        });
        assert!(!is_stored(policy.clone(), marked.0).await, "a mark of a handler");
        let never = NeverCacheLayer::new().layer(origin(fresh).0);
        // The mark alone must decide, so the `Cache-Control` of `NeverCacheLayer` is replaced.
        let never = never.map_response(|mut response: Response<Body>| {
            response.headers_mut().insert("cache-control", "max-age=60".parse().expect("a value"));
            response
        });
        assert!(!is_stored(policy.clone(), never.boxed_clone()).await, "NeverCacheLayer");
        let anonymous = AnonymousOnlyLayer::builder()
            .identified_if(|_| true)
            .build()
            .expect("valid options")
            .layer(origin(fresh).0);
        let anonymous = anonymous.map_response(|mut response: Response<Body>| {
            response.headers_mut().insert("cache-control", "max-age=60".parse().expect("a value"));
            response
        });
        assert!(!is_stored(policy, anonymous.boxed_clone()).await, "AnonymousOnlyLayer");
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn marks_of_an_axum_handler_survive_a_rebuilt_response() {
    use axum::response::IntoResponse;
    type Page = fn() -> axum::response::Response;
    let pages: [(Page, bool); 3] = [
        (|| "page".into_response(), true),
        (|| (CacheHints::new().never(), "page").into_response(), false),
        (|| (Identified, "page").into_response(), false),
    ];
    for (page, stored) in pages {
        let inner = tower::service_fn(move |_: Request<Body>| async move { Ok::<_, Infallible>(page()) });
        assert_eq!(is_stored(policy(), inner.boxed_clone()).await, stored);
    }
}

#[tokio::test]
async fn an_inner_cache_layer_turns_extensions_into_marks() {
    for identified in [false, true] {
        let (inner, calls) = origin(move |request, call| {
            let mut response = fresh(request, call);
            if identified {
                response.extensions_mut().insert(Identified);
            } else {
                CacheHints::new().never().add_to(response.extensions_mut());
            }
            response
        });
        let route = RouteCacheLayer::new(&memory(), MINUTE).layer(inner);
        let stack =
            SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(rebuilt(route));
        for _ in 0..2 {
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.is_hit(), answer.header(FIELD)), (false, None));
        }
        assert_eq!(calls.count(), 2);
    }
}

#[tokio::test]
async fn an_outermost_layer_of_any_kind_removes_the_mark_field() {
    let marked = || {
        origin(|request, call| {
            let mut response = fresh(request, call);
            Identified.add_to_response(&mut response);
            CacheHints::new().never().add_to_response(&mut response);
            response
        })
        .0
    };
    let control = SetCacheControlLayer::new(CacheControl::new().no_cache()).expect("valid");
    let answers = [
        send(&SiteCacheLayer::new(&memory()).layer(marked()), get("/")).await,
        send(&SiteCacheLayer::new(&memory()).layer(marked()), request("POST", "/", &[])).await,
        send(&SiteCacheLayer::new(&memory()).layer(marked()), get_with("/", &[("cookie", "a=1")])).await,
        send(&RouteCacheLayer::new(&memory(), MINUTE).layer(marked()), request("HEAD", "/", &[])).await,
        send(&AnonymousOnlyLayer::new().layer(marked()), get("/")).await,
        send(&NeverCacheLayer::new().layer(marked()), get("/")).await,
        send(&control.layer(marked()), get("/")).await,
        send(&AddVaryLayer::on_cookie().layer(marked()), get("/")).await,
        send(&ConditionalGetLayer::new().layer(marked()), get("/")).await,
        send(&PreconditionLayer::by_get().layer(marked()), get("/")).await,
        send(&AnonymousOnlyLayer::new().layer(NeverCacheLayer::new().layer(rebuilt(marked()))), get("/"))
            .await,
    ];
    for answer in answers {
        assert_eq!((answer.status.as_u16(), answer.header(FIELD)), (200, None));
    }
}

#[tokio::test]
async fn marks_sent_by_a_client_have_no_effect() {
    let echo = || {
        origin(|request, call| {
            let mut response = fresh(request, call);
            for value in request.headers().get_all(FIELD) {
                response.headers_mut().append(FIELD, value.clone());
            }
            response
        })
        .0
    };
    for mark in ["never", "identified"] {
        let site = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(echo());
        send(&site, get_with("/", &[(FIELD, mark)])).await;
        assert!(send(&site, get("/")).await.is_hit());
        let anonymous = AnonymousOnlyLayer::new().layer(echo());
        let answer = send(&anonymous, get_with("/", &[(FIELD, mark)])).await;
        assert_eq!(answer.header("cache-control"), Some("max-age=60"));
    }
}
