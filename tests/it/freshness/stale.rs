//! Stale responses: served during a background refresh, or if the service fails.

use crate::support::rfc9111::{proxy, standing, with_status};
use crate::support::*;
use http::{Request, Response, StatusCode};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::{Clock, ManualClock};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{
    Cache, CacheHints, CacheStatus, Invalidation, MemoryStore, Policy, SiteCacheLayer,
};

const S: Duration = Duration::from_secs(1);

/// How the service behaves from the next call on.
#[derive(Clone, Copy, PartialEq)]
enum ServiceBehavior {
    Well,
    /// Responds after a second.
    Slow,
    Status(u16),
    Headers(&'static str),
    Error,
    Panic,
    Hangs,
}

type Shop = BoxCloneService<Request<Body>, Response<ResponseBody<Body>>, io::Error>;

struct World {
    shop: Shop,
    cache: Cache,
    manual: ManualClock,
    calls: Calls,
    behavior: Arc<Mutex<ServiceBehavior>>,
    seen: Arc<Mutex<Vec<http::request::Parts>>>,
}

/// Creates a cached service that sends these header lines. `set_behavior` can make the service slow
/// or let it fail.
fn world(policy: PolicyBuilder, lines: &'static [(&'static str, &'static str)]) -> World {
    world_with(policy, lines, 64)
}

fn world_with(
    policy: PolicyBuilder,
    lines: &'static [(&'static str, &'static str)],
    max_refreshes: u32,
) -> World {
    let (clock, manual) = Clock::manual();
    let store =
        MemoryStore::builder().seed(3).max_bytes(32 << 20).clock(clock.clone()).build().expect("valid");
    let cache =
        Cache::builder(store).clock(clock).seed(1).max_refreshes(max_refreshes).build().expect("valid");
    let (calls, behavior, seen) =
        (Calls::default(), Arc::new(Mutex::new(ServiceBehavior::Well)), Arc::new(Mutex::new(Vec::new())));
    let (counted, now, log) = (calls.clone(), Arc::clone(&behavior), Arc::clone(&seen));
    let inner = service_fn(move |request: Request<Body>| {
        let (call, behavior) = (counted.next(), *now.lock().expect("not poisoned"));
        log.lock().expect("not poisoned").push(request.into_parts().0);
        async move {
            // Lets followers join.
            tokio::task::yield_now().await;
            let mut response = numbered(lines, call);
            match behavior {
                ServiceBehavior::Well => {}
                ServiceBehavior::Slow => tokio::time::sleep(S).await,
                ServiceBehavior::Status(status) => {
                    *response.status_mut() = StatusCode::from_u16(status).expect("a status")
                }
                ServiceBehavior::Headers(value) => {
                    response.headers_mut().insert("cache-control", value.parse().expect("a value"));
                }
                ServiceBehavior::Error => return Err(io::Error::other("down")),
                ServiceBehavior::Panic => panic!("handler"),
                ServiceBehavior::Hangs => std::future::pending().await,
            }
            Ok(response)
        }
    });
    let shop = SiteCacheLayer::new(&cache)
        .policy(policy.cache_status(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    World { shop, cache, manual, calls, behavior, seen }
}

impl World {
    async fn get(&self) -> Answer {
        self.send(get("/")).await.expect("an answer")
    }

    async fn send(&self, request: Request<Body>) -> io::Result<Answer> {
        Ok(read(self.shop.clone().oneshot(request).await?).await)
    }

    fn set_behavior(&self, behavior: ServiceBehavior) {
        *self.behavior.lock().expect("not poisoned") = behavior;
    }

    /// Lets background tasks run as far as they can.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

/// A policy with a lifetime of ten seconds.
fn short() -> PolicyBuilder {
    Policy::app().default_ttl(10 * S)
}

/// [`short`] with a stale-while-revalidate window of 30 seconds.
fn swr() -> PolicyBuilder {
    short().stale_while_revalidate(30 * S)
}

/// [`short`] with a stale-if-error window of 30 seconds.
fn sie() -> PolicyBuilder {
    short().stale_if_error(30 * S)
}

#[tokio::test(start_paused = true)]
async fn a_stale_hit_starts_exactly_one_background_refresh() {
    let world = world(swr(), &[]);
    world.get().await;
    world.manual.advance(12 * S);
    world.set_behavior(ServiceBehavior::Slow);
    for _ in 0..20 {
        let answer = world.get().await;
        assert_eq!((answer.text(), answer.is_hit(), answer.header("age")), ("1", true, Some("12")));
        assert!(answer.header("cache-status").is_some_and(|status| status.contains("ttl=-2; detail=stale")));
    }
    world.settle().await;
    assert_eq!((world.calls.count(), world.cache.refreshes().running()), (2, 1));
    tokio::time::sleep(2 * S).await;
    let fresh = world.get().await;
    assert_eq!((fresh.text(), fresh.header("age"), world.calls.count()), ("2", Some("0"), 2));
    let refreshes = world.cache.refreshes();
    assert_eq!((refreshes.running(), refreshes.succeeded(), refreshes.failed()), (0, 1, 0));
    assert_eq!(world.cache.flights(), 0);
}

#[tokio::test(start_paused = true)]
async fn past_the_stale_window_a_request_waits_for_the_new_page() {
    for lines in [&[][..], &[("etag", "\"1\"")]] {
        let world = world(swr(), lines);
        world.get().await;
        world.manual.advance(40 * S);
        let answer = world.get().await;
        assert_eq!((answer.text(), answer.is_hit()), ("2", false));
    }
}

#[tokio::test(start_paused = true)]
async fn stale_windows_of_responses_and_hints_outrank_the_layer() {
    for (lines, hinted, served) in [
        (&[("cache-control", "max-age=10, stale-while-revalidate=5")][..], None, false),
        (&[("cache-control", "max-age=10, stale-while-revalidate=8")], None, true),
        (&[("cache-control", "max-age=10, stale-while-revalidate=8")], Some(0), false),
        (&[("cache-control", "max-age=10")], Some(9), true),
        (&[("cache-control", "max-age=10, must-revalidate")], Some(9), false),
        (&[("cache-control", "max-age=10, proxy-revalidate")], None, false),
        (&[("cache-control", "s-maxage=10")], None, false),
        (&[("cache-control", "max-age=10")], None, true),
    ] {
        let (cache, manual) = timed();
        let (inner, _) = origin(move |_, call| {
            let mut response = numbered(lines, call);
            if let Some(seconds) = hinted {
                response.extensions_mut().insert(CacheHints::new().stale_while_revalidate(seconds * S));
            }
            response
        });
        let stack = SiteCacheLayer::new(&cache)
            .policy(swr().cache_status(true).build().expect("a policy"))
            .layer(inner);
        send(&stack, get("/")).await;
        manual.advance(16 * S);
        assert_eq!(send(&stack, get("/")).await.is_hit(), served, "{lines:?} {hinted:?}");
    }
}

/// A background refresh copies no credential, condition or range from the visitor's request.
#[tokio::test(start_paused = true)]
async fn a_background_refresh_is_a_get_without_personal_fields() {
    #[derive(Clone)]
    struct Session;
    #[derive(Clone)]
    struct PathParameters;
    let policy = Policy::rfc9111().default_ttl(10 * S).stale_while_revalidate(30 * S);
    let world = world(
        policy.refresh_request(|request| {
            request.extensions.remove::<Session>();
            request.headers.insert("x-background", "1".parse().expect("a value"));
        }),
        &[("vary", "accept"), ("etag", "\"1\"")],
    );
    let lines = [
        ("accept", "text/html"),
        ("if-none-match", "\"1\""),
        ("range", "bytes=0-0"),
        ("x-forwarded-host", "shop.example"),
    ];
    world.send(get_with("/", &[lines[0], lines[3]])).await.expect("an answer");
    world.manual.advance(12 * S);
    let mut request = request("HEAD", "/", &lines);
    request.extensions_mut().insert(Session);
    request.extensions_mut().insert(PathParameters);
    assert!(world.send(request).await.expect("an answer").is_hit());
    world.settle().await;
    let seen = world.seen.lock().expect("not poisoned");
    let request = seen.last().expect("a request");
    assert_eq!((seen.len(), &request.method), (2, &http::Method::GET));
    let mut names: Vec<_> = request.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    // `if-none-match` is the cache's own condition.
    assert_eq!(names, ["accept", "if-none-match", "x-background", "x-forwarded-host"]);
    assert!(
        request.extensions.get::<Session>().is_none() && request.extensions.get::<PathParameters>().is_some()
    );
}

/// A stale response would start a background refresh, whose extensions may hold data from the
/// visitor's cookie.
#[tokio::test(start_paused = true)]
async fn under_rfc9111_requests_with_cookies_get_no_stale_response() {
    let world = world(Policy::rfc9111().stale_while_revalidate(30 * S), &[("cache-control", "max-age=10")]);
    world.get().await;
    world.manual.advance(12 * S);
    let answer = world.send(get_with("/", &[("cookie", "sid=alice")])).await.expect("an answer");
    assert_eq!(answer.text(), "2");
    let seen = world.seen.lock().expect("not poisoned");
    assert!(seen.last().is_some_and(|request| request.headers.contains_key("cookie")));
}

#[tokio::test(start_paused = true)]
async fn error_predicate_can_make_a_200_a_failure_by_its_fields() {
    let failing = sie().error_predicate(|response| response.headers.contains_key("x-failed"));
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| numbered(if call == 1 { &[] } else { &[("x-failed", "1")] }, call));
    let stack = SiteCacheLayer::new(&cache)
        .policy(failing.cache_status(true).build().expect("a policy"))
        .layer(inner);
    send(&stack, get("/")).await;
    manual.advance(12 * S);
    assert_eq!(send(&stack, get("/")).await.text(), "1");
}

#[tokio::test(start_paused = true)]
async fn under_rfc9111_authorized_requests_get_no_stale_response() {
    let policy = Policy::rfc9111().stale_while_revalidate(30 * S);
    let world = world(policy, &[("cache-control", "public, max-age=10")]);
    let with_token = || get_with("/", &[("authorization", "Bearer x")]);
    world.send(with_token()).await.expect("an answer");
    world.manual.advance(12 * S);
    let answer = world.send(with_token()).await.expect("an answer");
    assert_eq!((answer.text(), answer.is_hit()), ("2", false));
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_is_counted_and_not_retried_at_once() {
    for behavior in
        [ServiceBehavior::Error, ServiceBehavior::Panic, ServiceBehavior::Status(503), ServiceBehavior::Hangs]
    {
        let world = world(swr(), &[]);
        world.get().await;
        world.manual.advance(12 * S);
        world.set_behavior(behavior);
        for _ in 0..5 {
            assert_eq!(world.get().await.text(), "1", "the stale page is still served");
            world.settle().await;
        }
        tokio::time::sleep(100 * S).await;
        assert_eq!((world.calls.count(), world.cache.refreshes().failed()), (2, 1));
        assert_eq!((world.cache.flights(), world.cache.refreshes().running()), (0, 0));
        // A failed or cancelled refresh does not extend the lifetime.
        assert_eq!(world.get().await.header("age"), Some("12"));
        world.manual.advance(10 * S);
        world.set_behavior(ServiceBehavior::Well);
        world.get().await;
        world.settle().await;
        assert_eq!(world.get().await.header("age"), Some("0"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_became_unstorable_is_not_served_stale() {
    for behavior in [
        ServiceBehavior::Headers("private"),
        ServiceBehavior::Headers("no-store"),
        ServiceBehavior::Status(404),
        ServiceBehavior::Status(403),
    ] {
        let world = world(swr().stale_if_error(30 * S), &[]);
        world.get().await;
        world.manual.advance(12 * S);
        world.set_behavior(behavior);
        world.get().await;
        world.settle().await;
        assert!(!world.get().await.is_hit());
        world.set_behavior(ServiceBehavior::Status(503));
        assert_eq!(world.get().await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_page_is_never_served_stale() {
    let world = world(swr().stale_if_error(60 * S).origin_timeout(5 * S), &[]);
    world.get().await;
    assert_eq!(world.cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    world.set_behavior(ServiceBehavior::Error);
    assert!(world.send(get("/")).await.is_err());
    world.set_behavior(ServiceBehavior::Well);
    assert_eq!(world.get().await.text(), "3");
    world.manual.advance(80 * S);
    world.set_behavior(ServiceBehavior::Well);
    world.get().await;
    // The stale-while-revalidate window has ended, and the stale-if-error window has not.
    world.manual.advance(45 * S);
    world.set_behavior(ServiceBehavior::Hangs);
    let (answer, ()) = tokio::join!(world.send(get("/")), async {
        world.settle().await;
        assert_eq!(world.cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    });
    assert_eq!(answer.expect("an answer").status, StatusCode::GATEWAY_TIMEOUT);
}

/// RFC 5861 section 4.
#[tokio::test(start_paused = true)]
async fn a_stale_page_answers_if_the_service_fails_in_any_way() {
    for behavior in [
        ServiceBehavior::Error,
        ServiceBehavior::Status(500),
        ServiceBehavior::Status(502),
        ServiceBehavior::Status(503),
        ServiceBehavior::Status(504),
        ServiceBehavior::Hangs,
    ] {
        let world = world(sie().origin_timeout(5 * S), &[]);
        world.get().await;
        world.manual.advance(12 * S);
        world.set_behavior(behavior);
        let (one, other) = tokio::join!(world.get(), world.get());
        for answer in [one, other] {
            assert_eq!(
                (answer.status, answer.text(), answer.header("age")),
                (StatusCode::OK, "1", Some("12"))
            );
        }
        assert_eq!(world.calls.count(), 2, "the follower gets the stale page, too");
        let tag = get_with("/", &[("range", "bytes=0-0")]);
        assert_eq!(world.send(tag).await.expect("an answer").status, StatusCode::PARTIAL_CONTENT);
        world.manual.advance(28 * S);
        match (behavior, world.send(get("/")).await) {
            (ServiceBehavior::Error, answer) => assert!(answer.is_err()),
            (ServiceBehavior::Status(status), answer) => {
                assert_eq!(answer.expect("an answer").status, status)
            }
            (_, answer) => assert_eq!(answer.expect("an answer").status, StatusCode::GATEWAY_TIMEOUT),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_decides_which_statuses_are_failures() {
    for (behavior, by_default, by_classifier) in [
        (ServiceBehavior::Status(401), false, false),
        (ServiceBehavior::Status(403), false, false),
        (ServiceBehavior::Status(404), false, false),
        (ServiceBehavior::Status(429), false, true),
        (ServiceBehavior::Status(501), false, true),
        (ServiceBehavior::Status(503), true, false),
    ] {
        // With the feature, a classifier of tower-http decides. Otherwise an equal predicate does.
        #[cfg(feature = "tower-http")]
        let classified =
            sie().error_classifier(tower_http::classify::StatusInRangeAsFailures::new(400..=501));
        #[cfg(not(feature = "tower-http"))]
        let classified = sie().error_predicate(|parts| (400..=501).contains(&parts.status.as_u16()));
        for (policy, served) in [(sie(), by_default), (classified, by_classifier)] {
            let world = world(policy, &[]);
            world.get().await;
            world.manual.advance(12 * S);
            world.set_behavior(behavior);
            let answer = world.get().await;
            let ServiceBehavior::Status(status) = behavior else { unreachable!("a status") };
            assert_eq!(answer.status == StatusCode::OK, served, "{status}");
            assert_eq!(answer.detail() == Some("stale-if-error"), served);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn negative_ttl_stores_responses_with_its_status() {
    let world = world(
        short()
            .negative_ttl(StatusCode::NOT_FOUND, 5 * S)
            .negative_ttl(StatusCode::SERVICE_UNAVAILABLE, 2 * S),
        &[],
    );
    for (status, seconds) in [(404, 5), (503, 2), (403, 0), (405, 0)] {
        world.set_behavior(ServiceBehavior::Status(status));
        assert_eq!(world.cache.invalidate(Invalidation::all()).await, Delivery::Delivered);
        world.get().await;
        let before = world.calls.count();
        if seconds > 0 {
            world.manual.advance((seconds - 1) * S);
            assert_eq!(world.get().await.status, status);
            assert_eq!(world.calls.count(), before, "{status}");
            world.manual.advance(S);
        }
        world.get().await;
        assert_eq!(world.calls.count(), before + 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_refreshes_are_limited_and_shutdown_waits() {
    let world = world_with(swr(), &[], 2);
    let request_page = |path: &'static str| world.send(get(path));
    for path in ["/a", "/b", "/c"] {
        request_page(path).await.expect("an answer");
    }
    world.manual.advance(12 * S);
    world.set_behavior(ServiceBehavior::Slow);
    for path in ["/a", "/b", "/c"] {
        assert!(request_page(path).await.expect("an answer").is_hit());
    }
    world.settle().await;
    assert_eq!((world.calls.count(), world.cache.refreshes().running()), (5, 2));
    world.cache.shutdown().await;
    assert_eq!((world.cache.refreshes().running(), world.cache.refreshes().succeeded()), (0, 2));
    // After the shutdown, the cache still answers and starts no refresh.
    assert!(request_page("/c").await.expect("an answer").is_hit());
    world.settle().await;
    assert_eq!(world.calls.count(), 5);
    world.cache.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn without_tokio_a_stale_page_is_refreshed_in_the_foreground() {
    let world = world(swr(), &[]);
    world.get().await;
    world.manual.advance(12 * S);
    let shop = world.shop.clone();
    let answer = std::thread::spawn(move || {
        futures::executor::block_on(async { read(shop.oneshot(get("/")).await.expect("an answer")).await })
    });
    assert_eq!(answer.join().expect("no panic").text(), "2");
}

/// XFetch: `rest` seconds before the end of the lifetime, a refresh starts with the probability
/// `exp(-rest / (delta * beta))`. Here, `delta` is the second that the service takes.
#[tokio::test(start_paused = true)]
async fn early_refresh_gets_likelier_near_the_end_of_the_lifetime() {
    for (beta, rest, expected) in [(1.0, 1.0, 0.368), (1.0, 3.0, 0.050), (2.0, 1.0, 0.607)] {
        let mut early = 0;
        for seed in 0..300 {
            let (clock, manual) = Clock::manual();
            let store = MemoryStore::builder()
                .seed(3)
                .max_bytes(1 << 22)
                .clock(clock.clone())
                .build()
                .expect("valid");
            let cache = Cache::builder(store).clock(clock).seed(seed * 7919).build().expect("valid");
            let takes = manual.clone();
            // The service takes a second.
            let (inner, calls) = origin(move |_, call| {
                takes.advance(S);
                numbered(&[], call)
            });
            let stack = SiteCacheLayer::new(&cache)
                .policy(short().early_refresh(beta).build().expect("a policy"))
                .layer(inner);
            send(&stack, get("/")).await;
            manual.advance(Duration::from_secs_f64(10.0 - rest));
            assert_eq!(send(&stack, get("/")).await.text(), "1", "the request does not wait for the refresh");
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            early += calls.count() - 1;
        }
        let share = early as f64 / 300.0;
        assert!((share - expected).abs() < 0.09, "{share} for {beta} {rest}");
    }
}

#[tokio::test]
async fn ttl_jitter_shortens_lifetimes_evenly_up_to_its_share() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let policy = Policy::app().default_ttl(100 * S).ttl_jitter(0.5).cache_status(true);
    let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
    let uris: Vec<_> = (0..1000).map(|at| format!("/{at}")).collect();
    for uri in &uris {
        send(&stack, get(uri)).await;
    }
    let mut ttls = Vec::new();
    for uri in &uris {
        let response = stack.clone().oneshot(get(uri)).await.expect("infallible");
        let status = response.extensions().get::<CacheStatus>().copied().expect("a status");
        ttls.push(status.ttl_seconds().expect("a hit"));
    }
    let mean = ttls.iter().sum::<i64>() as f64 / 1000.0;
    assert!(ttls.iter().all(|ttl| (49..=100).contains(ttl)) && (72.0..77.0).contains(&mean), "{mean}");
    manual.advance(100 * S);
    assert!(!send(&stack, get(&uris[0])).await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn past_the_flight_and_follower_limits_requests_do_not_collapse() {
    let world = world(short().max_followers(3), &[]);
    world.set_behavior(ServiceBehavior::Slow);
    let requests = futures::future::join_all((0..10).map(|_| world.get()));
    assert_eq!(requests.await.len(), 10);
    assert_eq!(world.calls.count(), 1 + 6, "three followers wait for the first request");

    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let slow = service_fn(move |request: Request<Body>| {
        let inner = inner.clone();
        async move {
            tokio::time::sleep(S).await;
            inner.oneshot(request).await
        }
    });
    let cache = Cache::builder(memory_store(32 << 20)).max_flights(1).build().expect("valid");
    let stack = SiteCacheLayer::new(&cache).policy(short().build().expect("a policy")).layer(slow);
    let requests = futures::future::join_all(["/a", "/a", "/b", "/b"].map(|uri| send(&stack, get(uri))));
    requests.await;
    assert_eq!(calls.count(), 3, "only one of the two keys has a flight");
}

#[tokio::test(start_paused = true)]
async fn a_background_error_does_not_replace_the_stale_page() {
    for early in [false, true] {
        let policy = swr().negative_ttl(StatusCode::SERVICE_UNAVAILABLE, 60 * S);
        let world = world(if early { policy.early_refresh(1e9) } else { policy }, &[]);
        world.set_behavior(if early { ServiceBehavior::Slow } else { ServiceBehavior::Well });
        world.get().await;
        world.manual.advance(if early { 9 * S } else { 12 * S });
        world.set_behavior(ServiceBehavior::Status(503));
        for _ in 0..3 {
            let answer = world.get().await;
            assert_eq!((answer.status, answer.text()), (StatusCode::OK, "1"), "{early}");
            world.settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stale_windows_of_the_policy_exclude_errors_and_max_age_0() {
    let own = || swr().stale_if_error(30 * S).negative_ttl(StatusCode::NOT_FOUND, 5 * S);
    let errors = world(own(), &[]);
    errors.set_behavior(ServiceBehavior::Status(404));
    errors.get().await;
    errors.manual.advance(6 * S);
    errors.set_behavior(ServiceBehavior::Well);
    assert_eq!(errors.get().await.status, StatusCode::OK);
    let always = world(own(), &[("cache-control", "max-age=0"), ("etag", "\"1\"")]);
    always.get().await;
    assert_eq!(always.get().await.text(), "2");
    let allowed =
        world(own(), &[("cache-control", "max-age=0, stale-while-revalidate=9"), ("etag", "\"1\"")]);
    allowed.get().await;
    assert_eq!(allowed.get().await.text(), "1", "the response has its own stale window");
}

#[tokio::test(start_paused = true)]
async fn a_304_that_makes_a_page_private_ends_its_stale_windows() {
    for background in [true, false] {
        let (cache, manual) = timed();
        let (inner, _) = origin(|request, call| match call {
            1 => numbered(&[("cache-control", "max-age=10"), ("etag", "\"1\"")], call),
            2 => {
                assert!(request.headers().contains_key("if-none-match"));
                let mut response = with_lines(&[("cache-control", "private"), ("etag", "\"1\"")], "");
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
            _ => numbered(&[("cache-control", "private")], call),
        });
        let policy = if background { swr() } else { short() };
        let stack = SiteCacheLayer::new(&cache)
            .policy(policy.stale_if_error(60 * S).cache_status(true).build().expect("a policy"))
            .layer(inner);
        send(&stack, get("/")).await;
        manual.advance(12 * S);
        send(&stack, get("/")).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let after = send(&stack, get("/")).await;
        assert_eq!((after.text(), after.is_hit()), ("3", false), "{background}");
    }
}

#[tokio::test(start_paused = true)]
async fn hinted_stale_windows_survive_a_304() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, call| {
        let mut response = numbered(&[("cache-control", "max-age=10"), ("etag", "\"1\"")], call);
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            CacheHints::new().stale_while_revalidate(30 * S).add_to(response.extensions_mut());
        }
        response
    });
    let stack = SiteCacheLayer::new(&cache)
        .policy(short().cache_status(true).build().expect("a policy"))
        .layer(inner);
    send(&stack, get("/")).await;
    for _ in 0..3 {
        manual.advance(12 * S);
        assert!(send(&stack, get("/")).await.is_hit());
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(calls.count(), 4);
}

/// Under `Policy::rfc9111`, a credential is an unkeyed input.
#[tokio::test(start_paused = true)]
async fn a_response_to_a_bogus_credential_removes_no_page() {
    let world = world(
        Policy::rfc9111().stale_if_error(60 * S),
        &[("cache-control", "max-age=10"), ("etag", "\"1\"")],
    );
    world.get().await;
    world.manual.advance(12 * S);
    world.set_behavior(ServiceBehavior::Headers("no-store"));
    let bogus = world.send(get_with("/", &[("x-api-key", "bogus")])).await.expect("an answer");
    assert_eq!(bogus.text(), "2");
    world.set_behavior(ServiceBehavior::Error);
    assert_eq!(world.get().await.text(), "1", "the page is still served if the service fails");
}

#[tokio::test(start_paused = true)]
async fn a_follower_with_max_age_gets_no_older_response() {
    let world = world(
        Policy::rfc9111().stale_if_error(60 * S).origin_timeout(5 * S),
        &[("cache-control", "max-age=10")],
    );
    world.get().await;
    world.manual.advance(12 * S);
    world.set_behavior(ServiceBehavior::Hangs);
    let strict = || world.send(get_with("/", &[("cache-control", "max-age=11")]));
    let (lenient, strict) = tokio::join!(world.get(), strict());
    assert_eq!(lenient.status, StatusCode::OK);
    assert_eq!(strict.expect("an answer").status, StatusCode::GATEWAY_TIMEOUT);
}

/// A background refresh is sent without fields of the visitor, so it could not fetch such a page.
#[tokio::test(start_paused = true)]
async fn pages_keyed_by_fields_of_the_visitor_are_not_served_stale() {
    let by_part = || {
        Policy::rfc9111()
            .stale_while_revalidate(60 * S)
            .vary_by("lang", |request| Some(request.headers.get("cookie")?.to_str().ok()?.to_owned()))
    };
    let by_field = || {
        let policy = Policy::app().stale_while_revalidate(60 * S);
        policy.vary_on_headers([http::header::CACHE_CONTROL])
    };
    let by_vary = || Policy::rfc9111().stale_while_revalidate(60 * S);
    for (policy, lines, line) in [
        (by_part(), &[("cache-control", "max-age=10")][..], ("cookie", "lang=de")),
        (by_vary(), &[("cache-control", "max-age=10"), ("vary", "cookie")], ("cookie", "lang=de")),
        (by_vary(), &[("cache-control", "max-age=10"), ("vary", "cache-control")], ("cache-control", "x=1")),
        (by_field(), &[("cache-control", "max-age=10")], ("cache-control", "x=1")),
    ] {
        let world = world(policy, lines);
        world.send(get_with("/", &[line])).await.expect("an answer");
        world.manual.advance(12 * S);
        assert_eq!(world.send(get_with("/", &[line])).await.expect("an answer").text(), "2", "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_head_gets_the_stale_page_and_replaces_nothing() {
    for behavior in [ServiceBehavior::Error, ServiceBehavior::Status(503), ServiceBehavior::Hangs] {
        let world = world(sie().origin_timeout(5 * S), &[]);
        world.get().await;
        world.manual.advance(12 * S);
        world.set_behavior(behavior);
        let head = world.send(request("HEAD", "/", &[])).await.expect("an answer");
        assert_eq!(
            (head.status, head.text(), head.header("content-length")),
            (StatusCode::OK, "", Some("1"))
        );
        world.set_behavior(ServiceBehavior::Well);
        assert_eq!(world.send(request("HEAD", "/", &[])).await.expect("an answer").detail(), Some("head"));
        world.set_behavior(behavior);
        assert_eq!(world.get().await.text(), "1", "the HEAD request has replaced nothing");
    }
    let world = world(short().origin_timeout(5 * S), &[]);
    world.set_behavior(ServiceBehavior::Hangs);
    let head = world.send(request("HEAD", "/", &[])).await.expect("an answer");
    assert_eq!(head.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(world.cache.flights(), 0);
}

#[tokio::test]
async fn a_refresh_is_sent_without_an_excluded_extension() {
    #[derive(Clone)]
    struct Session;
    #[derive(Clone)]
    struct Route;
    let world = world(swr().refresh_without::<Session>(), &[]);
    world.get().await;
    world.manual.advance(12 * S);
    let mut request = get("/");
    request.extensions_mut().insert(Session);
    request.extensions_mut().insert(Route);
    world.send(request).await.expect("an answer");
    world.settle().await;
    let seen = world.seen.lock().expect("not poisoned");
    let extensions = &seen[1].extensions;
    assert!(extensions.get::<Session>().is_none() && extensions.get::<Route>().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_failed_head_with_range_gets_the_whole_stale_head() {
    let world = world(sie(), &[]);
    world.get().await;
    let fresh = world.send(request("HEAD", "/", &[("range", "bytes=0-0")])).await.expect("an answer");
    assert_eq!((fresh.status, fresh.text()), (StatusCode::OK, ""));
    world.manual.advance(12 * S);
    world.set_behavior(ServiceBehavior::Status(503));
    let head = world.send(request("HEAD", "/", &[("range", "bytes=0-0")])).await.expect("an answer");
    assert_eq!((head.status, head.text()), (StatusCode::OK, ""));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_times_out_counts_as_failed() {
    let world = world(swr().origin_timeout(5 * S).error_predicate(|r| r.status == 500), &[]);
    world.get().await;
    world.manual.advance(12 * S);
    world.set_behavior(ServiceBehavior::Hangs);
    world.get().await;
    tokio::time::sleep(6 * S).await;
    let refreshes = world.cache.refreshes();
    assert_eq!((refreshes.succeeded(), refreshes.failed()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_leaves_the_page_stale_is_not_repeated_at_once() {
    let mut found = Vec::new();
    for status in [429, 501, 400, 405, 505] {
        let world = world(swr(), &[]);
        world.get().await;
        world.manual.advance(12 * S);
        world.set_behavior(ServiceBehavior::Status(status));
        for _ in 0..20 {
            assert_eq!(world.get().await.text(), "1");
            world.settle().await;
        }
        found.push((status, world.calls.count()));
    }
    assert!(found.iter().all(|(_, calls)| *calls == 2), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_304_to_a_bogus_credential_removes_no_page() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| {
        let bogus = request.headers().contains_key("x-api-key");
        let mut response = match bogus {
            true => with_lines(&[("cache-control", "no-store"), ("etag", "\"1\"")], ""),
            false => numbered(&[("cache-control", "max-age=10"), ("etag", "\"1\"")], call),
        };
        if bogus {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if call > 1 {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    });
    let policy = Policy::rfc9111().stale_if_error(60 * S).cache_status(true);
    let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
    send(&stack, get("/")).await;
    manual.advance(12 * S);
    send(&stack, get_with("/", &[("x-api-key", "bogus")])).await;
    let after = send(&stack, get("/")).await;
    assert_eq!((after.status, after.text()), (StatusCode::OK, "1"));
}

#[tokio::test(start_paused = true)]
async fn a_must_revalidate_variant_is_not_served_stale() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| {
        if request.headers().contains_key("if-none-match") {
            let mut response = with_lines(&[("etag", "\"1\""), ("vary", "x-a")], "");
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let strict = request.headers().get("x-a").is_some_and(|a| a == "strict");
        let cc = if strict { "max-age=10, must-revalidate" } else { "max-age=10" };
        numbered(&[("cache-control", cc), ("etag", "\"1\""), ("vary", "x-a")], call)
    });
    let stack =
        SiteCacheLayer::new(&cache).policy(swr().cache_status(true).build().expect("a policy")).layer(inner);
    let request_page = |a: &'static str| {
        let stack = stack.clone();
        async move { send(&stack, get_with("/", &[("x-a", a)])).await }
    };
    request_page("strict").await;
    request_page("lax").await;
    manual.advance(12 * S);
    request_page("lax").await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    manual.advance(5 * S);
    let fresh = request_page("strict").await;
    assert!(fresh.is_hit());
    manual.advance(7 * S);
    let stale = request_page("strict").await;
    assert!(
        !stale.header("cache-status").expect("the field is set").contains("detail=stale"),
        "{:?}",
        stale.headers
    );
}

#[tokio::test(start_paused = true)]
async fn stale_responses_get_no_lifetime_for_downstream_caches() {
    let world = world(sie().client_max_age(3600 * S), &[]);
    world.get().await;
    world.manual.advance(30 * S);
    world.set_behavior(ServiceBehavior::Status(503));
    let answer = world.get().await;
    assert_eq!(answer.header("cache-control"), Some("max-age=0, must-revalidate"));
}

#[test]
fn a_stale_page_is_served_on_a_runtime_without_a_timer() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let world = world(swr(), &[]);
        world.get().await;
        world.manual.advance(12 * S);
        assert_eq!(world.get().await.text(), "1");
    });
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_refresh_request_does_not_fail_the_request() {
    let world = world(swr().refresh_request(|_| panic!("hook")), &[]);
    world.get().await;
    world.manual.advance(12 * S);
    let shop = world.shop.clone();
    let answer =
        tokio::spawn(async move { read(shop.oneshot(get("/")).await.expect("an answer")).await }).await;
    assert_eq!(answer.expect("no panic").text(), "1");
}

/// RFC 9111 section 5.2.1.2, RFC 5861 sections 3 and 4: a stale window begins when the lifetime
/// ends, even before the response arrives.
#[tokio::test(start_paused = true)]
async fn staleness_on_arrival_counts_against_stale_windows() {
    let mut failed = Vec::new();
    for (response_control, request_control, fails) in [
        ("max-age=10", "max-stale=5", false),
        ("max-age=10, stale-while-revalidate=20", "", false),
        ("max-age=10, stale-if-error=20", "", true),
    ] {
        let (stack, calls, _) = standing(proxy(), move |_, call| match call {
            1 => numbered(&[("cache-control", response_control), ("etag", "\"1\""), ("age", "5000")], call),
            _ if fails => with_status(503, numbered(&[], call)),
            _ => numbered(&[("cache-control", response_control), ("etag", "\"2\"")], call),
        });
        send(&stack, get("/")).await;
        let lines: &[_] =
            if request_control.is_empty() { &[] } else { &[("cache-control", request_control)] };
        let answer = send(&stack, get_with("/", lines)).await;
        if answer.text() != "2" {
            failed.push((response_control, request_control, answer.headers, calls.count()));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
