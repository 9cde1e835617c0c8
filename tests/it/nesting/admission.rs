//! The outermost layer of this crate admits or refuses the responses that inner layers hold back.

use crate::support::*;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::cache_headers::{AddVaryLayer, CacheControl, SetCacheControlLayer};
use tower_response_cache::error::BoxError;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::precondition::EntityTag;
use tower_response_cache::{
    AnonymousOnlyLayer, Cache, CacheHints, ConditionalGetLayer, Identified, Invalidation, NeverCacheLayer,
    PreconditionLayer, RouteCacheLayer, SiteCacheLayer,
};

type Boxed = UnsyncBoxBody<bytes::Bytes, BoxError>;
type Any = BoxCloneService<Request<Body>, Response<Boxed>, Infallible>;

fn boxed<S, B>(inner: S) -> Any
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let boxed = |response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync());
    inner.map_response(boxed).boxed_clone()
}

fn anonymous(inner: Any) -> Any {
    AnonymousOnlyLayer::new().layer(inner).boxed_clone()
}

fn route(cache: &Cache, policy: PolicyBuilder, inner: Any) -> Any {
    boxed(RouteCacheLayer::new(cache, MINUTE).policy(policy.build().expect("a policy")).layer(inner))
}

#[derive(Clone, Copy)]
struct Token(usize);

/// Wraps `inner` in a session layer, which gives each request a token as an extension and a cookie.
fn session(inner: Any, tokens: &Calls) -> Any {
    let tokens = tokens.clone();
    service_fn(move |mut request: Request<Body>| {
        let token = tokens.next();
        request.extensions_mut().insert(Token(token));
        let call = inner.clone().oneshot(request);
        async move {
            let mut response = call.await?;
            let cookie = HeaderValue::try_from(format!("id={token}")).expect("a value");
            response.headers_mut().append("set-cookie", cookie);
            Ok(response)
        }
    })
    .boxed_clone()
}

fn form() -> Any {
    boxed(
        origin(|request, _| {
            let token = request.extensions().get::<Token>().map_or(0, |token| token.0);
            Response::new(Body::from(format!("token {token}")))
        })
        .0,
    )
}

#[tokio::test]
async fn every_outermost_layer_admits_or_refuses_inner_responses() {
    type Outer = fn(Any) -> Any;
    let outer: [(&str, Outer); 6] = [
        ("anonymous", anonymous),
        ("conditional", |inner| boxed(ConditionalGetLayer::new().layer(inner))),
        ("never", |inner| boxed(NeverCacheLayer::new().layer(inner))),
        ("vary", |inner| boxed(AddVaryLayer::new(["Accept"]).expect("valid").layer(inner))),
        ("control", |inner| {
            let control = CacheControl::new().public().max_age(MINUTE);
            boxed(SetCacheControlLayer::new(control).expect("valid").layer(inner))
        }),
        ("condition", |inner| {
            let tag = |_| async { Some(EntityTag::strong("1")) };
            boxed(PreconditionLayer::new().etag(tag).layer(inner))
        }),
    ];
    for (name, outer) in outer {
        let stack = outer(session(route(&memory(), policy(), form()), &Calls::default()));
        for visitor in 1..=3 {
            assert_eq!(send(&stack, get("/")).await.text(), format!("token {visitor}"), "{name}");
        }
    }
}

/// Requests a page under a session layer twice; the stored page is stale for the second request.
///
/// Returns the second body and the number of calls.
async fn stale_under_a_session(policy: PolicyBuilder, session: impl Fn(Any) -> Any) -> (String, usize) {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|_, call| numbered(&[("cache-control", "max-age=10")], call));
    let policy = policy.stale_while_revalidate(10 * MINUTE);
    let site = boxed(SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner));
    let stack = anonymous(session(site));
    // A server may add an extension outside all layers.
    let stack = stack.map_request(|mut request: Request<Body>| {
        request.extensions_mut().insert(Pool);
        request
    });
    send(&stack, get("/")).await;
    manual.advance(MINUTE);
    let second = send(&stack, get("/")).await.text().to_owned();
    tokio::time::sleep(Duration::from_secs(1)).await;
    (second, calls.count())
}

#[derive(Clone, Copy)]
struct Pool;

fn extending(inner: Any) -> Any {
    inner
        .map_request(|mut request: Request<Body>| {
            request.extensions_mut().insert(Token(1));
            request
        })
        .boxed_clone()
}

/// A background refresh does not pass the outer layers, so none of them can refuse its response. An
/// extension that an outer layer adds must therefore be declared or removed.
#[tokio::test(start_paused = true)]
async fn undeclared_extensions_prevent_background_refreshes() {
    let in_background = ("1".to_owned(), 2);
    assert_eq!(stale_under_a_session(policy(), |inner| inner).await, in_background);
    let declared = policy().refresh_with::<Token>();
    assert_eq!(stale_under_a_session(declared, extending).await, in_background);
    let removed = policy().refresh_without::<Token>();
    assert_eq!(stale_under_a_session(removed, extending).await, in_background);
    assert_eq!(stale_under_a_session(policy(), extending).await, ("2".to_owned(), 2));
    let masking = policy().refresh_with::<Pool>().refresh_with::<Pool>();
    assert_eq!(stale_under_a_session(masking, extending).await, ("2".to_owned(), 2));
    let early = policy().early_refresh(1e9);
    assert_eq!(stale_under_a_session(early, extending).await, ("2".to_owned(), 2));
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn extensions_of_an_axum_router_allow_background_refreshes() {
    use axum::{Router, routing::get};
    let ((cache, manual), calls) = (timed(), Calls::default());
    let counted = calls.clone();
    let page = move || {
        let call = counted.next();
        async move { ([("cache-control", "max-age=10")], call.to_string()) }
    };
    let policy = policy().stale_while_revalidate(10 * MINUTE);
    let page =
        get(page).layer(RouteCacheLayer::new(&cache, MINUTE).policy(policy.build().expect("a policy")));
    let shop = Router::new().route("/{page}", page);
    let stack = AnonymousOnlyLayer::new().layer(Router::new().nest("/shop", shop));
    let mut texts = Vec::new();
    for _ in 0..2 {
        let request = Request::get("/shop/news").body(axum::body::Body::empty()).expect("a request");
        let response = stack.clone().oneshot(request).await.expect("infallible");
        texts.push(response.into_body().collect().await.expect("a body").to_bytes());
        manual.advance(2 * MINUTE);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((texts, calls.count()), (vec!["1".into(), "1".into()], 2));
}

#[tokio::test]
async fn credential_fields_declared_by_outer_layers_are_not_stored() {
    let secret = HeaderName::from_static("x-acme");
    let page = || boxed(origin(|_, call| numbered(&[("x-acme", "secret")], call)).0);
    let anonymous =
        AnonymousOnlyLayer::builder().credential_headers([secret.clone()]).build().expect("valid options");
    let declaring = policy().credential_headers([secret]);
    let inner = |cache: &Cache| {
        boxed(SiteCacheLayer::new(cache).policy(policy().build().expect("a policy")).layer(page()))
    };
    let site = SiteCacheLayer::new(&memory()).policy(declaring.build().expect("a policy"));
    let stacks = [
        anonymous.layer(inner(&memory())).boxed_clone(),
        boxed(site.layer(route(&memory(), policy(), page()))),
    ];
    for stack in stacks {
        for _ in 0..2 {
            let answer = send(&stack, get("/")).await;
            assert!(!answer.is_hit(), "{:?}", answer.headers);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_marks_of_a_304_reach_outer_layers() {
    type Mark = fn(&mut Response<Body>);
    let marks: [Mark; 2] = [
        |response| _ = response.extensions_mut().insert(Identified),
        |response| CacheHints::new().never().add_to_response(response),
    ];
    for (mark, expected) in marks.into_iter().zip(["private", ""]) {
        let (inner, _) = origin(move |request, call| {
            let mut response = numbered(&[("cache-control", "max-age=0"), ("etag", "\"1\"")], call);
            if request.headers().contains_key("if-none-match") {
                *response.status_mut() = http::StatusCode::NOT_MODIFIED;
                mark(&mut response);
            }
            response
        });
        let site =
            boxed(SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner));
        let control = CacheControl::new().public().max_age(MINUTE);
        let stack = SetCacheControlLayer::new(control).expect("valid").layer(anonymous(site));
        send(&stack, get("/")).await;
        let second = send(&stack, get("/")).await;
        let control = second.header("cache-control").unwrap_or_default();
        assert_eq!(second.text(), "1", "the stored body");
        assert!(control.contains(expected) && !control.contains("public"), "{control}");
    }
}

#[tokio::test]
async fn an_outer_cache_reads_marks_of_a_rebuilt_response() {
    let by_language = policy().vary_on_headers([http::header::ACCEPT_LANGUAGE]);
    let (inner, _) = origin(|request, _| {
        Response::new(Body::from(format!("{:?}", request.headers().get("accept-language"))))
    });
    let rebuilt = route(&memory(), by_language, boxed(inner)).map_response(|response: Response<Boxed>| {
        let (parts, body) = response.into_parts();
        let mut rebuilt = Response::new(body);
        *rebuilt.headers_mut() = parts.headers;
        rebuilt
    });
    let stack = boxed(
        SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(boxed(rebuilt)),
    );
    for language in ["de", "en", "de"] {
        let answer = send(&stack, get_with("/", &[("accept-language", language)])).await;
        assert_eq!(answer.text(), format!("Some({language:?})"));
        assert_eq!(answer.header("vary"), Some("accept-language"));
        assert_eq!(answer.header("tower-response-cache"), None);
    }
}

fn spawn_request(stack: &Any) -> tokio::task::JoinHandle<Answer> {
    let stack = stack.clone();
    tokio::spawn(async move { read(stack.oneshot(get("/")).await.expect("infallible")).await })
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Returns a page, the number of calls, and a notification. A layer around the page delays each
/// response until the notification.
fn held_back() -> (Any, Calls, Arc<Notify>) {
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let go = Arc::new(Notify::new());
    let waiting = Arc::clone(&go);
    let between = route(&memory(), policy(), boxed(inner)).and_then(move |response| {
        let go = Arc::clone(&waiting);
        async move {
            go.notified().await;
            Ok(response)
        }
    });
    (anonymous(between.boxed_clone()), calls, go)
}

#[tokio::test(start_paused = true)]
async fn one_follower_retries_if_the_client_of_a_held_response_leaves() {
    let (stack, calls, go) = held_back();
    let leader = spawn_request(&stack);
    settle().await;
    let followers: Vec<_> = (0..10).map(|_| spawn_request(&stack)).collect();
    settle().await;
    leader.abort();
    assert!(leader.await.is_err());
    settle().await;
    assert_eq!(calls.count(), 2);
    for _ in 0..20 {
        go.notify_one();
        settle().await;
    }
    for follower in followers {
        assert_eq!(follower.await.expect("an answer").text(), "2");
    }
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_a_response_that_it_holds() {
    for at_once in [false, true] {
        let (inner, calls) = origin(|_, call| numbered(&[], call));
        let slow = inner.and_then(|response| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(response)
        });
        let cache = memory();
        let cached = route(&cache, policy(), boxed(slow));
        let twice = service_fn(move |request: Request<Body>| {
            let (first, second) = (cached.clone().oneshot(copy(&request)), cached.clone().oneshot(request));
            async move {
                let (first, second) = match at_once {
                    true => tokio::join!(first, second),
                    false => (first.await, second.await),
                };
                drop(first);
                second
            }
        });
        let site =
            SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(twice.clone());
        for (visit, stack) in
            [(1, anonymous(twice.boxed_clone())), (2, boxed(site.clone())), (3, boxed(site))]
        {
            let started = tokio::time::Instant::now();
            send(&stack, get("/")).await;
            assert!(started.elapsed() < Duration::from_millis(100), "{:?}, {at_once}", started.elapsed());
            assert_eq!(calls.count(), 2 * visit);
            assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
        }
    }
}

fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::default());
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

#[tokio::test(start_paused = true)]
async fn a_response_that_never_reaches_the_outermost_layer_is_refused() {
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = route(&memory(), policy(), boxed(inner)).map_response(move |response: Response<Boxed>| {
        let (parts, body) = response.into_parts();
        kept.lock().expect("not poisoned").push(parts.extensions);
        Response::new(body)
    });
    let stack = anonymous(keeping.boxed_clone());
    let started = tokio::time::Instant::now();
    for visitor in 1..=3 {
        assert_eq!(send(&stack, get("/")).await.text(), visitor.to_string());
    }
    assert_eq!((started.elapsed(), calls.count()), (Duration::ZERO, 3));
}

/// Makes the bodies of responses arrive after their heads.
fn late_bodies(inner: Any) -> Any {
    let late = |body: Boxed| {
        let frame = futures::stream::once(async move {
            tokio::task::yield_now().await;
            Ok::<_, BoxError>(http_body::Frame::data(body.collect().await?.to_bytes()))
        });
        http_body_util::StreamBody::new(frame).boxed_unsync()
    };
    inner.map_response(move |response: Response<Boxed>| response.map(late)).boxed_clone()
}

#[tokio::test(start_paused = true)]
async fn a_refused_response_removes_the_entry_it_would_replace() {
    for is_late in [false, true] {
        assert_eq!(statuses_around_a_refusal(is_late).await, [200, 200, 500], "late body: {is_late}");
    }
}

/// Returns the statuses of three responses. The second one is refused, and the third is an error,
/// which the first response would replace if it were still stored.
async fn statuses_around_a_refusal(is_late: bool) -> Vec<u16> {
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| {
        let mut response = numbered(&[("cache-control", "max-age=10"), ("x-call", &call.to_string())], call);
        if call == 3 {
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    });
    let stale = policy().stale_if_error(10 * MINUTE);
    let inner = if is_late { late_bodies(boxed(inner)) } else { boxed(inner) };
    let private = route(&cache, stale, inner).map_response(|mut response: Response<Boxed>| {
        if response.headers().get("x-call").is_some_and(|call| call == "2") {
            response.headers_mut().insert("cache-control", HeaderValue::from_static("private"));
        }
        response
    });
    let stack = anonymous(private.boxed_clone());
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(send(&stack, get("/")).await.status.as_u16());
        manual.advance(MINUTE);
    }
    statuses
}

#[tokio::test]
async fn vary_of_an_outermost_layer_is_for_clients_only() {
    let site = SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(form());
    let stack = boxed(AddVaryLayer::on_cookie().layer(site));
    send(&stack, get("/")).await;
    let second = send(&stack, get("/")).await;
    assert!(second.is_hit());
    assert_eq!(second.header("vary"), Some("Cookie"));
}

/// The response to a background request does not pass the outer layer, which could refuse it.
#[tokio::test(start_paused = true)]
async fn a_refused_response_is_not_fetched_again_in_the_background() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|_, call| numbered(&[("cache-control", "max-age=10")], call));
    let stale = policy().stale_if_error(10 * MINUTE);
    let private = route(&cache, stale, boxed(inner)).map_response(|mut response: Response<Boxed>| {
        response.headers_mut().insert("cache-control", HeaderValue::from_static("private"));
        response
    });
    // The page is stored before the middle layer begins to add `private`.
    let (plain, _) = origin(|_, call| numbered(&[("cache-control", "max-age=10")], call));
    send(&route(&cache, policy().stale_if_error(10 * MINUTE), boxed(plain)), get("/")).await;
    let stack = anonymous(private.boxed_clone());
    for agent in ["a", "b"] {
        manual.advance(MINUTE);
        send(&stack, get_with("/", &[("user-agent", agent)])).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(calls.count(), 2, "one call for each visitor");
}
