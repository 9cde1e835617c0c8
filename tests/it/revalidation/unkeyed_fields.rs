//! The unkeyed fields of one visitor's request may cause a response that contradicts the stored
//! page. Such a response does not replace the page of the other visitors.
//!
//! Before the cache removes the page, it confirms the response by a background request without
//! unkeyed fields.

use crate::support::*;
use http::header::USER_AGENT;
use http::{HeaderName, Request, StatusCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::Layer;
use tower_response_cache::clock::ManualClock;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, Policy, SiteCacheLayer};

const S: Duration = Duration::from_secs(1);
/// Answers that are not stored: a status, or a value of `Cache-Control`.
const UNSTORED: [&str; 10] = ["500", "503", "404", "403", "410", "302", "204", "400", "private", "no-store"];

/// A site whose service gives a bad answer to requests with the field value `evil`. While the
/// service is down, all requests get a bad answer.
struct World {
    stack: Stack,
    cache: Cache,
    manual: ManualClock,
    calls: Calls,
    /// The index in `UNSTORED` of the answer to all requests. The service is up while the index is
    /// out of range.
    down: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Request<()>>>>,
}

fn bad(what: &str) -> http::Response<Body> {
    match what.parse::<u16>() {
        Ok(code) => {
            let mut response = with_lines(&[("location", "/login")], "bad");
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
            response
        }
        Err(_) => with_lines(&[("cache-control", what)], "bad"),
    }
}

fn world(policy: PolicyBuilder, provoked: &'static str) -> World {
    let (cache, manual) = timed();
    let (down, seen) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(Mutex::new(Vec::new())));
    let (now, log) = (Arc::clone(&down), Arc::clone(&seen));
    let (inner, calls) = origin(move |request, call| {
        let mut copy = Request::new(());
        *copy.headers_mut() = request.headers().clone();
        log.lock().expect("not poisoned").push(copy);
        if request.headers().values().any(|value| value == "evil") {
            return bad(provoked);
        }
        match UNSTORED.get(now.load(Ordering::SeqCst)) {
            Some(what) => bad(what),
            None => numbered(&[], call),
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
    World { stack: tower::util::BoxCloneService::new(stack), cache, manual, calls, down, seen }
}

impl World {
    async fn send(&self, lines: &[(&str, &str)]) -> Answer {
        let answer = send(&self.stack, get_with("/", lines)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        answer
    }

    fn answer_all_with(&self, what: &str) {
        let place = UNSTORED.iter().position(|each| *each == what).unwrap_or(usize::MAX);
        self.down.store(place, Ordering::SeqCst);
    }
}

fn lasting() -> PolicyBuilder {
    Policy::app().default_ttl(10 * S).cache_status(true)
}

fn swr() -> PolicyBuilder {
    lasting().stale_while_revalidate(100 * S)
}

#[tokio::test(start_paused = true)]
async fn no_unkeyed_field_prevents_a_background_refresh() {
    for field in ["x-evil", "user-agent", "accept", "accept-language", "x-named", "referer", "te"] {
        for provoked in UNSTORED {
            let policy = swr().refresh_headers([HeaderName::from_static("x-named")]);
            let world = world(policy, provoked);
            world.send(&[]).await;
            world.manual.advance(12 * S);
            assert_eq!(world.send(&[(field, "evil")]).await.text(), "1", "{field} {provoked}");
            let answer = world.send(&[]).await;
            assert!(answer.is_hit() && answer.text() != "1", "{field} {provoked}: {answer:?}");
            assert_eq!(answer.header("age"), Some("0"), "{field} {provoked}");
            assert_eq!(world.cache.refreshes().succeeded(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_provoked_response_keeps_the_stale_if_error_entry() {
    for field in ["x-evil", "user-agent", "accept", "cache-control", "referer"] {
        for provoked in ["404", "403", "410", "302", "204", "400", "private", "no-store"] {
            let world = world(lasting().stale_if_error(100 * S), provoked);
            world.send(&[]).await;
            world.manual.advance(12 * S);
            // Only `no-store` has an even length. For `no-store`, the background request gets a 503,
            // which does not show whether the page still exists.
            let bare_fails = provoked.len() % 2 == 0;
            world.answer_all_with(if bare_fails { "503" } else { "" });
            assert_eq!(world.send(&[(field, "evil")]).await.text(), "bad", "{field} {provoked}");
            world.answer_all_with("503");
            let answer = world.send(&[(field, "kind")]).await;
            assert_eq!(answer.status, StatusCode::OK, "{field} {provoked}");
            let expected = if bare_fails || provoked == "400" { "1" } else { "3" };
            assert_eq!(answer.text(), expected, "{field} {provoked}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_gone_for_all_visitors_no_longer_serves_stale() {
    for gone in ["404", "403", "410", "302", "204", "private", "no-store"] {
        for lines in [&[][..], &[("user-agent", "kind")]] {
            let world = world(lasting().stale_if_error(100 * S), "503");
            world.send(&[]).await;
            world.manual.advance(12 * S);
            world.answer_all_with(gone);
            assert_eq!(world.send(lines).await.text(), "bad", "{gone}");
            world.answer_all_with("503");
            assert_eq!(world.send(lines).await.status, StatusCode::SERVICE_UNAVAILABLE, "{gone} {lines:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_confirmed_at_most_once_in_ten_seconds() {
    let world = world(lasting().stale_if_error(1000 * S), "404");
    world.send(&[]).await;
    world.manual.advance(12 * S);
    world.answer_all_with("503");
    for _ in 0..20 {
        world.send(&[("x-evil", "evil")]).await;
    }
    assert_eq!((world.calls.count(), world.cache.refreshes().failed()), (22, 1));
    world.manual.advance(11 * S);
    world.send(&[("x-evil", "evil")]).await;
    assert_eq!((world.calls.count(), world.cache.refreshes().failed()), (24, 2));
}

#[tokio::test(start_paused = true)]
async fn concurrent_confirmations_are_limited_like_refreshes() {
    let (clock, manual) = tower_response_cache::clock::Clock::manual();
    let cache = Cache::builder(memory_store(1 << 20)).clock(clock).max_refreshes(0).build().expect("valid");
    let (inner, calls) = origin(|request, call| match request.headers().contains_key("x-evil") {
        true => bad("404"),
        false => numbered(&[], call),
    });
    let stack = SiteCacheLayer::new(&cache)
        .policy(lasting().stale_if_error(100 * S).build().expect("a policy"))
        .layer(inner);
    send(&stack, get("/")).await;
    manual.advance(12 * S);
    send(&stack, get_with("/", &[("x-evil", "1")])).await;
    tokio::time::sleep(S).await;
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_sends_nominated_fields_and_refresh_headers() {
    let policy = swr()
        .refresh_headers([HeaderName::from_static("x-named")])
        .vary_on_headers([HeaderName::from_static("x-keyed")])
        .vary_by("tenant", |request| Some(request.headers.get("x-tenant")?.to_str().ok()?.to_owned()));
    let world = world(policy, "503");
    let lines = [
        ("host", "shop.example"),
        ("x-forwarded-proto", "https"),
        ("x-keyed", "1"),
        ("x-tenant", "blue"),
        ("x-named", "1"),
        ("user-agent", "kind"),
        ("accept-encoding", "br"),
        ("referer", "/"),
        ("cache-control", "max-age=0"),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    world.send(&lines).await;
    world.manual.advance(12 * S);
    world.send(&lines).await;
    let seen = world.seen.lock().expect("not poisoned");
    let mut names: Vec<_> = seen[1].headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let mut carried: Vec<_> = lines[..7].iter().map(|(name, _)| *name).collect();
    carried.sort_unstable();
    assert_eq!((seen.len(), names), (2, carried));
    assert_eq!(seen[1].headers()[USER_AGENT], "kind");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_keeps_its_variant_if_vary_shrinks() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, call| {
        let vary = if request.headers().contains_key("x-b") { "x-a, x-b" } else { "x-a" };
        numbered(&[("vary", vary)], call)
    });
    let stack = SiteCacheLayer::new(&cache).policy(swr().build().expect("a policy")).layer(inner);
    let narrow = || get_with("/", &[("x-a", "1")]);
    send(&stack, get_with("/", &[("x-a", "1"), ("x-b", "1")])).await;
    send(&stack, narrow()).await;
    manual.advance(12 * S);
    assert_eq!(send(&stack, narrow()).await.text(), "2");
    tokio::time::sleep(S).await;
    assert_eq!((send(&stack, narrow()).await.text(), calls.count()), ("3", 3));
    let wide = get_with("/", &[("x-a", "1"), ("x-b", "1")]);
    assert_eq!(send(&stack, wide).await.text(), "1");
    tokio::time::sleep(S).await;
    let wide = get_with("/", &[("x-a", "1"), ("x-b", "1")]);
    assert_eq!(send(&stack, wide).await.text(), "4");
}

/// Computes a part of the key from a field that every request has, and counts its calls.
fn by_tenant(
    computed: &Arc<AtomicUsize>,
) -> impl Fn(tower_response_cache::key::RequestHead<'_>) -> Option<String> + use<> {
    let computed = Arc::clone(computed);
    move |request| {
        computed.fetch_add(1, Ordering::SeqCst);
        Some(request.headers["x-tenant"].to_str().expect("text").to_owned())
    }
}

fn of_tenant(others: usize) -> Vec<(String, String)> {
    let others = (0..others).map(|at| (format!("x-other-{at}"), "1".to_owned()));
    std::iter::once(("x-tenant".to_owned(), "blue".to_owned())).chain(others).collect()
}

fn borrowed(lines: &[(String, String)]) -> Vec<(&str, &str)> {
    lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_function_runs_once_on_the_path_of_a_request() {
    let computed = Arc::new(AtomicUsize::new(0));
    let policy = lasting().stale_if_error(100 * S).vary_by("tenant", by_tenant(&computed));
    let world = world(policy, "503");
    let lines = of_tenant(98);
    let lines = borrowed(&lines);
    world.send(&lines).await;
    world.manual.advance(12 * S);
    world.answer_all_with("404");
    computed.store(0, Ordering::SeqCst);
    assert_eq!(send(&world.stack, get_with("/", &lines)).await.text(), "bad");
    assert_eq!(computed.load(Ordering::SeqCst), 1, "once, for the key of the request");
    tokio::time::sleep(S).await;
    assert!(computed.load(Ordering::SeqCst) <= 40, "{computed:?}");
    assert_eq!((world.calls.count(), world.cache.refreshes().succeeded()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_sends_the_fields_of_computed_key_parts() {
    for others in [0, 5, 98] {
        let computed = Arc::new(AtomicUsize::new(0));
        let world = world(swr().vary_by("tenant", by_tenant(&computed)), "503");
        let lines = of_tenant(others);
        let lines = borrowed(&lines);
        world.send(&lines).await;
        world.manual.advance(12 * S);
        assert_eq!(world.send(&lines).await.text(), "1", "{others}");
        let answer = world.send(&lines).await;
        assert_eq!((answer.text(), answer.is_hit()), ("2", true), "{others}");
        let seen = world.seen.lock().expect("not poisoned");
        assert_eq!(seen[1].headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-tenant"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_key_function_keeps_the_stale_page() {
    let policy = swr().vary_by("all", |request| {
        assert!(request.headers.contains_key("pragma"), "a request has all of its fields");
        None
    });
    let world = world(policy, "503");
    let lines = [("pragma", "x"), ("x-tenant", "blue")];
    world.send(&lines).await;
    world.manual.advance(12 * S);
    for _ in 0..2 {
        assert_eq!(world.send(&lines).await.text(), "1");
    }
}

/// A site whose page has an `ETag`. Its bad answers are:
/// - A 304 with another tag, to conditional requests with the field value `evil`.
/// - A 304 with another tag, to all conditional requests while `down` is 1.
/// - A 503, to all requests while `down` is 2.
fn tagged(policy: PolicyBuilder) -> World {
    let (cache, manual) = timed();
    let (down, seen) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let now = Arc::clone(&down);
    let (inner, calls) = origin(move |request, call| {
        let asks = request.headers().contains_key("if-none-match");
        let is_evil = request.headers().values().any(|value| value == "evil");
        match (now.load(Ordering::SeqCst), asks && is_evil) {
            (2, _) => bad("503"),
            (1, _) if asks => unchanged("\"other\""),
            (_, true) => unchanged("\"other\""),
            _ => numbered(&[("etag", "\"page\"")], call),
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
    World { stack: tower::util::BoxCloneService::new(stack), cache, manual, calls, down, seen }
}

fn unchanged(tag: &str) -> http::Response<Body> {
    let mut response = with_lines(&[("etag", tag)], "");
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

#[tokio::test(start_paused = true)]
async fn a_provoked_mismatched_304_removes_no_entry() {
    let in_background = |policy: PolicyBuilder| policy.stale_while_revalidate(100 * S);
    for policy in [lasting().stale_if_error(100 * S), in_background(lasting().stale_if_error(100 * S))] {
        let world = tagged(policy);
        world.send(&[]).await;
        world.manual.advance(12 * S);
        let others = || [get("/?page=2"), get_with("/", &[("host", "other.example")])];
        for other in others() {
            send(&world.stack, other).await;
        }
        world.send(&[("user-agent", "evil")]).await;
        for other in others() {
            assert!(send(&world.stack, other).await.is_hit());
        }
        world.down.store(2, Ordering::SeqCst);
        world.manual.advance(12 * S);
        assert_eq!(world.send(&[]).await.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_mismatched_304_removes_the_entry() {
    for lines in [&[][..], &[("user-agent", "kind")]] {
        let world = tagged(lasting().stale_if_error(100 * S));
        world.send(&[]).await;
        send(&world.stack, get("/?page=2")).await;
        world.manual.advance(12 * S);
        world.down.store(1, Ordering::SeqCst);
        world.send(lines).await;
        world.down.store(2, Ordering::SeqCst);
        assert_eq!(world.send(lines).await.status, StatusCode::SERVICE_UNAVAILABLE, "{lines:?}");
        assert_eq!(send(&world.stack, get("/?page=2")).await.status, StatusCode::OK, "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_with_all_its_attempts_ends_within_a_minute() {
    for lines in [&[][..], &[("user-agent", "kind")]] {
        let (cache, manual) = timed();
        let calls = Calls::default();
        let counted = calls.clone();
        let inner = tower::service_fn(move |_: Request<Body>| {
            let call = counted.next();
            async move {
                if call > 1 {
                    std::future::pending::<()>().await;
                }
                Ok::<_, std::convert::Infallible>(numbered(&[], call))
            }
        });
        let stack = SiteCacheLayer::new(&cache).policy(swr().build().expect("a policy")).layer(inner);
        send(&stack, get_with("/", lines)).await;
        manual.advance(12 * S);
        send(&stack, get_with("/", lines)).await;
        tokio::time::sleep(59 * S).await;
        assert_eq!(cache.refreshes().running(), 1, "{lines:?}");
        tokio::time::sleep(2 * S).await;
        assert_eq!((cache.refreshes().running(), cache.refreshes().failed()), (0, 1), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_refresh_omits_a_field_that_made_a_refresh_hang() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let inner = tower::service_fn(move |request: Request<Body>| {
        let inner = inner.clone();
        async move {
            if request.headers().contains_key(USER_AGENT) {
                std::future::pending::<()>().await;
            }
            tower::ServiceExt::oneshot(inner, request).await
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(swr().build().expect("a policy")).layer(inner);
    send(&stack, get("/")).await;
    manual.advance(12 * S);
    let evil = || get_with("/", &[("user-agent", "evil")]);
    send(&stack, evil()).await;
    tokio::time::sleep(61 * S).await;
    assert_eq!(send(&stack, evil()).await.text(), "1");
    tokio::time::sleep(S).await;
    assert_eq!(send(&stack, evil()).await.text(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_after_a_timeout_starts_without_extra_fields() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let inner = tower::service_fn(move |request: Request<Body>| {
        let inner = inner.clone();
        async move {
            if request.headers().contains_key(USER_AGENT) {
                tokio::time::sleep(58 * S).await;
                return Ok(bad("503"));
            }
            tokio::time::sleep(5 * S).await;
            tower::ServiceExt::oneshot(inner, request).await
        }
    });
    let stack = SiteCacheLayer::new(&cache).policy(swr().build().expect("a policy")).layer(inner);
    send(&stack, get("/")).await;
    manual.advance(12 * S);
    let evil = || get_with("/", &[("user-agent", "evil")]);
    send(&stack, evil()).await;
    tokio::time::sleep(61 * S).await;
    assert_eq!((send(&stack, evil()).await.text(), cache.refreshes().failed()), ("1", 1));
    tokio::time::sleep(6 * S).await;
    assert_eq!((send(&stack, evil()).await.text(), cache.refreshes().succeeded()), ("2", 1));
}

#[tokio::test(start_paused = true)]
async fn without_refreshes_a_second_visitor_confirms_a_removal() {
    let (clock, manual) = tower_response_cache::clock::Clock::manual();
    let cache = Cache::builder(memory_store(1 << 20)).clock(clock).max_refreshes(0).build().expect("valid");
    let (inner, _) = origin(|request, call| match call {
        1 => numbered(&[], call),
        _ if request.headers().contains_key("x-down") => bad("503"),
        _ => bad("404"),
    });
    let stack = SiteCacheLayer::new(&cache)
        .policy(lasting().stale_if_error(100 * S).build().expect("a policy"))
        .layer(inner);
    let status = async |lines: &[(&str, &str)]| send(&stack, get_with("/", lines)).await.status.as_u16();
    assert_eq!(status(&[]).await, 200);
    manual.advance(12 * S);
    assert_eq!((status(&[("user-agent", "one")]).await, status(&[("x-down", "1")]).await), (404, 200));
    assert_eq!((status(&[("user-agent", "two")]).await, status(&[("x-down", "1")]).await), (404, 503));
}
