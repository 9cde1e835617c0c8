//! The response of an inner layer is stored and shared with followers only after the outermost
//! layer admits its head.

use crate::support::*;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::cache_headers::{AddVaryLayer, CacheControl, SetCacheControlLayer};
use tower_response_cache::error::BoxError;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{
    AnonymousOnlyLayer, Cache, CacheHints, CacheStatus, ConditionalGetLayer, Identified, NeverCacheLayer,
    Policy, RouteCacheLayer, SiteCacheLayer,
};

type Any<B> = BoxCloneService<Request<Body>, Response<B>, Infallible>;
type Routed = Any<ResponseBody<Body>>;

fn route(cache: &Cache, inner: Inner) -> Routed {
    RouteCacheLayer::new(cache, MINUTE).policy(policy().build().expect("a policy")).layer(inner).boxed_clone()
}

/// Wraps `inner` in a layer that changes each response.
fn changing<B: Send + 'static>(
    inner: Any<B>,
    change: impl Fn(&mut Response<B>) + Clone + Send + Sync + 'static,
) -> Any<B> {
    inner
        .map_response(move |mut response| {
            change(&mut response);
            response
        })
        .boxed_clone()
}

fn adding<B: Send + 'static>(inner: Any<B>, name: &'static str, value: &'static str) -> Any<B> {
    changing(inner, move |response| {
        response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    })
}

fn anonymous<B: Send + 'static>(inner: Any<B>) -> Any<B> {
    AnonymousOnlyLayer::new().layer(inner).boxed_clone()
}

/// Returns the `Cache-Status` member of the innermost cache layer.
fn inner_status(answer: &Answer) -> String {
    let all = answer.headers.get_all("cache-status").iter();
    let all: Vec<_> = all.map(|line| line.to_str().expect("text")).collect();
    all.join(", ").split(", ").next().expect("a member").to_owned()
}

async fn twice<B>(stack: &Any<B>) -> [Answer; 2]
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    [send(stack, get("/")).await, send(stack, get("/")).await]
}

fn pages() -> Inner {
    origin(|_, call| numbered(&[], call)).0
}

#[tokio::test]
async fn fields_of_a_middle_layer_prevent_storing_in_the_inner_cache() {
    for (name, value, why) in [
        ("set-cookie", "id=1", "set-cookie"),
        ("set-cookie2", "id=1", "set-cookie"),
        ("cache-control", "private", "private"),
        ("cache-control", "no-store", "no-store"),
        ("cache-control", "private=\"x-user\"", "private"),
        ("cdn-cache-control", "no-store", "no-store"),
        ("cdn-cache-control", "No-Store", "no-store"),
        ("surrogate-control", "no-store", "no-store"),
        ("edge-control", "max-age=5, private", "private"),
        ("x-accel-expires", "0", "no-store"),
        ("vary", "*", "vary-any"),
        ("vary", "Accept, Cookie", "vary-on-credential"),
        ("vary", "authorization", "vary-on-credential"),
    ] {
        let [first, second] = twice(&anonymous(adding(route(&memory(), pages()), name, value))).await;
        for answer in [first, second] {
            let status = inner_status(&answer);
            assert!(status.ends_with(&format!("detail={why}")), "{name}: {value}: {status}");
            assert!(!status.contains("; stored") && !status.contains("; hit"), "{status}");
        }
    }
    for name in ["x-auth-token", "authentication-info"] {
        let [_, second] = twice(&anonymous(adding(route(&memory(), pages()), name, "secret"))).await;
        assert!(!second.is_hit(), "{name}");
    }
}

#[tokio::test]
async fn marks_of_a_middle_layer_prevent_storing_in_the_inner_cache() {
    type Mark = fn(&mut Response<ResponseBody<Body>>);
    let marks: [(Mark, &str); 4] = [
        (|response| _ = response.extensions_mut().insert(Identified), "identified"),
        (|response| Identified.add_to_response(response), "identified"),
        (|response| CacheHints::new().never().add_to(response.extensions_mut()), "hint"),
        (|response| CacheHints::new().never().add_to_response(response), "hint"),
    ];
    for (mark, why) in marks {
        let [first, second] = twice(&anonymous(changing(route(&memory(), pages()), mark))).await;
        assert!(!first.text().is_empty() && !second.is_hit(), "{why}");
        assert!(inner_status(&second).ends_with(&format!("detail={why}")), "{}", inner_status(&second));
    }
}

#[tokio::test]
async fn fields_unrelated_to_the_visitor_allow_storing() {
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("vary", "Accept-Encoding"),
        ("cache-control", "max-age=5"),
        ("cache-control", "public"),
    ] {
        let [first, second] = twice(&anonymous(adding(route(&memory(), pages()), name, value))).await;
        assert!(inner_status(&first).contains("; stored"), "{name}: {}", inner_status(&first));
        assert!(second.is_hit(), "{name}: {value}");
    }
}

#[tokio::test]
async fn fields_that_layers_write_only_for_clients_allow_storing() {
    let private = SetCacheControlLayer::new(CacheControl::new().private()).expect("valid");
    let stack = anonymous(private.layer(route(&memory(), pages())).boxed_clone());
    assert!(twice(&stack).await[1].is_hit(), "SetCacheControlLayer");
    // Clients receive per-identity entries with `private`.
    let own = policy().vary_by_identity("user", |_| Some("alice".to_owned()));
    let own = RouteCacheLayer::new(&memory(), MINUTE)
        .policy(own.build().expect("a policy"))
        .layer(pages())
        .boxed_clone();
    assert!(twice(&anonymous(own)).await[1].is_hit(), "vary_by_identity");
    let tagged = anonymous(ConditionalGetLayer::new().layer(route(&memory(), pages())).boxed_clone());
    assert!(twice(&tagged).await[1].is_hit(), "ConditionalGetLayer");
    // These layers write their fields for inner caches, too.
    let never = anonymous(NeverCacheLayer::new().layer(route(&memory(), pages())).boxed_clone());
    assert!(!twice(&never).await[1].is_hit(), "NeverCacheLayer");
    let vary = anonymous(AddVaryLayer::on_cookie().layer(route(&memory(), pages())).boxed_clone());
    assert!(!twice(&vary).await[1].is_hit(), "AddVaryLayer");
}

#[tokio::test]
async fn private_from_a_handler_with_a_ttl_hint_allows_storing() {
    let (inner, _) = origin(|_, call| {
        let mut response = numbered(&[("cache-control", "private")], call);
        CacheHints::new().ttl(MINUTE).add_to(response.extensions_mut());
        response
    });
    assert!(twice(&anonymous(route(&memory(), inner))).await[1].is_hit());
}

#[tokio::test]
async fn an_ignored_response_cookie_allows_storing() {
    let declared = || policy().ignore_response_cookies(["lb", "exp_*"]);
    for (cookie, hit) in [("lb=7; Path=/", true), ("exp_a=1", true), ("sid=1", false), ("lb", false)] {
        let inner = RouteCacheLayer::new(&memory(), MINUTE)
            .policy(declared().build().expect("a policy"))
            .layer(pages())
            .boxed_clone();
        let [first, second] = twice(&anonymous(adding(inner, "set-cookie", cookie))).await;
        assert_eq!((first.header("set-cookie"), second.is_hit()), (Some(cookie), hit), "{cookie}");
        // Here, the handler sets the cookie, not a layer.
        let (inner, _) = origin(move |_, call| numbered(&[("set-cookie", cookie)], call));
        let stack = SiteCacheLayer::new(&memory())
            .policy(declared().build().expect("a policy"))
            .layer(inner)
            .boxed_clone();
        let [first, second] = twice(&stack).await;
        assert_eq!((first.header("set-cookie"), second.is_hit()), (Some(cookie), hit), "{cookie}");
        assert_eq!(second.header("set-cookie").is_some(), !hit, "the cookie is not stored");
    }
    assert!(Policy::app().ignore_response_cookies(["a=b"]).build().is_err());
}

#[tokio::test]
async fn a_refused_hit_leaves_the_entry_in_place() {
    let cache = memory();
    let inner = route(&cache, pages());
    assert!(inner_status(&send(&anonymous(inner.clone()), get("/")).await).contains("; stored"));
    let refusing = anonymous(adding(inner.clone(), "set-cookie", "id=1"));
    assert!(send(&refusing, get("/")).await.is_hit());
    assert!(send(&anonymous(inner), get("/")).await.is_hit());
}

#[tokio::test]
async fn a_rebuilt_or_dropped_response_is_not_stored() {
    let rebuilt = route(&memory(), pages()).map_response(|response| {
        let (parts, body) = response.into_parts();
        let mut new = Response::new(body);
        *new.headers_mut() = parts.headers;
        new
    });
    for answer in twice(&anonymous(rebuilt.boxed_clone())).await {
        assert!(!inner_status(&answer).contains("; stored") && !answer.is_hit());
    }
    let cache = memory();
    let inner = route(&cache, pages());
    let replaced = inner.clone().map_response(|_| Response::new(Body::from("error page")));
    send(&anonymous(replaced.boxed_clone()), get("/")).await;
    assert!(!send(&anonymous(inner), get("/")).await.is_hit());
}

#[tokio::test]
async fn a_response_with_copied_extensions_can_be_admitted() {
    let copied = route(&memory(), pages()).map_response(|response| {
        let extensions = response.extensions().clone();
        let (parts, body) = response.into_parts();
        let mut new = Response::new(body);
        (*new.headers_mut(), *new.extensions_mut()) = (parts.headers, extensions);
        new
    });
    assert!(twice(&anonymous(copied.boxed_clone())).await[1].is_hit());
}

#[tokio::test]
async fn a_response_with_a_collected_body_is_stored() {
    let collected = route(&memory(), pages()).and_then(|response: Response<ResponseBody<Body>>| async {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Ok(Response::from_parts(parts, Full::new(body)))
    });
    let [first, second] = twice(&anonymous(collected.boxed_clone())).await;
    assert!(inner_status(&first).contains("; stored") && second.is_hit());
}

type Slow = BoxCloneService<Request<Body>, Response<ResponseBody<Streamed>>, Infallible>;

/// Returns a cached handler, the number of its calls, and the cache.
///
/// The handler responds once `answers` is notified. Its body ends once `ends` is notified.
fn slow(answers: &Arc<Notify>, ends: &Arc<Notify>) -> (Slow, Calls, Cache) {
    let (calls, cache) = (Calls::default(), memory());
    let (counted, answers, ends) = (calls.clone(), Arc::clone(answers), Arc::clone(ends));
    let inner = service_fn(move |_: Request<Body>| {
        let call = counted.next();
        let (answers, ends) = (Arc::clone(&answers), Arc::clone(&ends));
        async move {
            answers.notified().await;
            let first =
                futures_util::stream::iter([Ok(http_body::Frame::data(Bytes::from(call.to_string())))]);
            let rest = async move {
                ends.notified().await;
                Ok(http_body::Frame::data(Bytes::from_static(b".")))
            };
            Ok::<_, Infallible>(Response::new(StreamBody::new(first.chain(rest.into_stream()).boxed())))
        }
    });
    let route = RouteCacheLayer::new(&cache, MINUTE).policy(policy().build().expect("a policy")).layer(inner);
    (route.boxed_clone(), calls, cache)
}

type Streamed =
    StreamBody<futures_util::stream::BoxStream<'static, Result<http_body::Frame<Bytes>, BoxError>>>;

/// Wraps `inner` in a layer that delays each response until `go` is notified, and may set a cookie.
fn holding<B: Send + 'static>(inner: Any<B>, go: &Arc<Notify>, sets_cookie: bool) -> Any<B> {
    let go = Arc::clone(go);
    inner
        .and_then(move |mut response: Response<B>| {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                if sets_cookie {
                    response.headers_mut().insert("set-cookie", HeaderValue::from_static("id=1"));
                }
                Ok(response)
            }
        })
        .boxed_clone()
}

fn spawn_request<S, B>(stack: &S) -> tokio::task::JoinHandle<Answer>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Debug,
{
    let stack = stack.clone();
    tokio::spawn(async move { read(stack.oneshot(get("/")).await.expect("infallible")).await })
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn followers_await_admission_and_forward_if_it_is_refused() {
    for (sets_cookie, calls_made) in [(false, 1), (true, 3)] {
        let (answers, ends, go) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
        let (inner, calls, _) = slow(&answers, &ends);
        let stack = anonymous(holding(inner, &go, sets_cookie));
        let leader = spawn_request(&stack);
        settle().await;
        let followers = [spawn_request(&stack), spawn_request(&stack)];
        answers.notify_one();
        settle().await;
        ends.notify_one();
        settle().await;
        assert!(!followers.iter().any(|follower| follower.is_finished()), "the admission is pending");
        assert_eq!(calls.count(), 1);
        go.notify_one();
        settle().await;
        for _ in 0..4 {
            answers.notify_one();
            ends.notify_one();
            go.notify_one();
            settle().await;
            go.notify_one();
            settle().await;
        }
        let mut texts = vec![leader.await.expect("an answer").text().to_owned()];
        for follower in followers {
            texts.push(follower.await.expect("an answer").text().to_owned());
        }
        texts.sort();
        texts.dedup();
        assert_eq!((calls.count(), texts.len()), (calls_made, calls_made), "sets a cookie: {sets_cookie}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_is_shared_after_admission() {
    let (answers, ends, go) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
    let (inner, calls, _) = slow(&answers, &ends);
    let stack = anonymous(holding(inner, &go, false));
    let leader = tokio::spawn(stack.clone().oneshot(get("/")));
    settle().await;
    let follower = tokio::spawn(stack.clone().oneshot(get("/")));
    answers.notify_one();
    settle().await;
    assert!(!follower.is_finished());
    go.notify_one();
    settle().await;
    go.notify_one();
    let leader = leader.await.expect("a task").expect("infallible");
    let follower = follower.await.expect("a task").expect("infallible");
    ends.notify_one();
    let (leader, follower) = tokio::join!(read(leader), read(follower));
    assert_eq!((leader.text(), follower.text(), calls.count()), ("1.", "1.", 1));
}

#[tokio::test(start_paused = true)]
async fn followers_stop_waiting_if_the_leader_ends_unadmitted() {
    for panics in [false, true] {
        let (answers, ends, go) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
        let (inner, calls, _) = slow(&answers, &ends);
        let held = holding(inner.clone(), &go, false);
        let leading: Any<_> = match panics {
            true => held.map_response(|_| panic!("a middleware")).boxed_clone(),
            false => held,
        };
        let leader = spawn_request(&anonymous(leading));
        settle().await;
        let follower = spawn_request(&anonymous(inner));
        answers.notify_one();
        settle().await;
        assert!(!follower.is_finished() && calls.count() == 1);
        if panics {
            go.notify_one()
        } else {
            leader.abort()
        }
        assert!(leader.await.is_err());
        settle().await;
        assert_eq!(calls.count(), 2, "the follower forwards its request, panics: {panics}");
        answers.notify_one();
        settle().await;
        ends.notify_one();
        assert_eq!(follower.await.expect("an answer").text(), "2.");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_for_admission_as_long_as_for_a_response() {
    let (answers, ends, go) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
    let (inner, calls, _) = slow(&answers, &ends);
    let leader = spawn_request(&anonymous(holding(inner.clone(), &go, false)));
    settle().await;
    let follower = spawn_request(&anonymous(inner));
    answers.notify_one();
    settle().await;
    tokio::time::advance(Duration::from_secs(11)).await;
    settle().await;
    assert_eq!(calls.count(), 2);
    answers.notify_one();
    settle().await;
    ends.notify_waiters();
    settle().await;
    assert_eq!(follower.await.expect("an answer").text(), "2.");
    leader.abort();
}

#[tokio::test]
async fn a_revalidated_response_is_stored_after_admission() {
    for sets_cookie in [false, true] {
        let (cache, manual) = timed();
        let (inner, _) = origin(|request, call| {
            let status = if request.headers().contains_key("if-none-match") { 304 } else { 200 };
            let mut response = numbered(&[("etag", "\"a\""), ("x-call", &call.to_string())], call);
            *response.status_mut() = http::StatusCode::from_u16(status).expect("valid");
            response
        });
        let inner = route(&cache, inner);
        send(&anonymous(inner.clone()), get("/")).await;
        manual.advance(MINUTE + MINUTE);
        let between: Routed =
            if sets_cookie { adding(inner.clone(), "set-cookie", "id=1") } else { inner.clone() };
        let freshened = send(&anonymous(between), get("/")).await;
        assert_eq!(inner_status(&freshened).contains("; stored"), !sets_cookie);
        let next = send(&anonymous(inner), get("/")).await;
        assert_eq!(next.is_hit(), !sets_cookie, "{:?}", next.header("cache-status"));
        assert_eq!(next.text(), "1", "the entry stays in place");
    }
}

#[tokio::test]
async fn a_head_response_updates_the_entry_after_admission() {
    for sets_cookie in [false, true] {
        let cache = memory();
        let (inner, _) = origin(|request, call| {
            let cached = if request.method() == "HEAD" { "max-age=9, must-revalidate" } else { "max-age=9" };
            numbered(&[("cache-control", cached), ("etag", "\"a\"")], call)
        });
        let rfc = || Policy::rfc9111().cache_status(true);
        let inner =
            SiteCacheLayer::new(&cache).policy(rfc().build().expect("a policy")).layer(inner).boxed_clone();
        send(&anonymous(inner.clone()), get("/")).await;
        let between = if sets_cookie { adding(inner.clone(), "set-cookie", "id=1") } else { inner.clone() };
        send(&anonymous(between), request("HEAD", "/", &[("cache-control", "no-cache")])).await;
        let next = send(&anonymous(inner), get("/")).await;
        let learnt = next.header("cache-control").is_some_and(|value| value.contains("must-revalidate"));
        assert_eq!(learnt, !sets_cookie);
    }
}

#[tokio::test]
async fn the_status_extension_reflects_the_admission() {
    for (cookie, stored) in [(None, true), (Some("id=1"), false)] {
        let inner = route(&memory(), pages());
        let stack = match cookie {
            Some(cookie) => anonymous(adding(inner, "set-cookie", cookie)),
            None => anonymous(inner),
        };
        let response = stack.oneshot(get("/")).await.expect("infallible");
        let status = *response.extensions().get::<CacheStatus>().expect("a status");
        assert_eq!((status.is_stored(), status.detail_word().is_some()), (stored, !stored));
    }
}

/// Wraps `inner` in a session layer. The layer gives each request a token, and sets a cookie with
/// the token in the response.
fn session<B: Send + 'static>(inner: Any<B>, number: &Calls) -> Any<B> {
    let number = number.clone();
    service_fn(move |mut request: Request<Body>| {
        let token = number.next();
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

#[derive(Clone, Copy)]
struct Token(usize);

type Boxed = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

fn boxed<S, B>(inner: S) -> Any<Boxed>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let boxed = |response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync());
    inner.map_response(boxed).boxed_clone()
}

/// Covers all orders of the recommended layers. The page is a form that contains the session token.
#[tokio::test]
async fn a_session_token_reaches_one_visitor_in_every_layer_order() {
    let names = ["anonymous", "site", "route", "session"];
    let mut orders = vec![vec![]];
    for name in names {
        let insert = |order: Vec<&'static str>| {
            (0..=order.len()).map(move |at| {
                let mut order = order.clone();
                order.insert(at, name);
                order
            })
        };
        orders = orders.into_iter().flat_map(insert).collect();
    }
    assert_eq!(orders.len(), 24);
    for order in orders {
        let at = |name| order.iter().position(|other| *other == name).expect("a layer");
        // No layer of this crate sees the cookies of an outermost session layer.
        if at("session") == 0 {
            continue;
        }
        let (inner, _) = origin(|request, _| {
            let token = request.extensions().get::<Token>().map_or(0, |token| token.0);
            Response::new(Body::from(format!("token {token}")))
        });
        let (cache, sessions) = (memory(), Calls::default());
        let mut stack = boxed(inner);
        for name in order.iter().rev() {
            stack = match *name {
                "anonymous" => AnonymousOnlyLayer::new().layer(stack).boxed_clone(),
                "site" => boxed(
                    SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(stack),
                ),
                "route" => boxed(
                    RouteCacheLayer::new(&cache, MINUTE)
                        .policy(policy().build().expect("a policy"))
                        .layer(stack),
                ),
                _ => session(stack, &sessions),
            };
        }
        for visitor in 1..=3 {
            let answer = send(&stack, get("/form")).await;
            assert_eq!(answer.text(), format!("token {visitor}"), "{order:?}");
            assert_eq!(answer.header("set-cookie"), Some(&*format!("id={visitor}")), "{order:?}");
            assert!(!inner_status(&answer).contains("; stored"), "{order:?}: {}", inner_status(&answer));
        }
    }
}
