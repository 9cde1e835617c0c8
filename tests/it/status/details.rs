//! Requests that provoke each documented `fwd` and `detail` value of `Cache-Status`.

use crate::status::field::{members, status_of};
use crate::status::not_stored::{
    not_stored_after_streaming, not_stored_by_its_head, not_stored_for_other_reasons,
    with_untracked_dependencies,
};
use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use http::{HeaderName, Request, Response, StatusCode};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::{Clock, ManualClock};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{
    AnonymousOnlyLayer, Cache, Identified, Invalidation, MemoryStore, Policy, RouteCacheLayer, SiteCacheLayer,
};

const S: Duration = Duration::from_secs(1);
const X_MINE: HeaderName = HeaderName::from_static("x-mine");

pub(crate) type Lines = &'static [(&'static str, &'static str)];

/// The `Cache-Status` members of the responses, one for each request.
pub(crate) type Statuses = Vec<String>;

pub(crate) fn rfc9111() -> PolicyBuilder {
    Policy::rfc9111().cache_status(true)
}

pub(crate) fn status(code: u16, lines: &[(&str, &str)]) -> Response<Body> {
    let mut response = with_lines(lines, "page");
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

/// Creates a cached page with an entity tag. The service answers conditional requests with a 304
/// that has the fields `validated`.
pub(crate) fn tagged(policy: PolicyBuilder, lines: Lines, validated: Lines) -> (Stack, Cache, ManualClock) {
    let (cache, manual) = timed();
    let (inner, _) = origin(move |request, _| match request.headers().contains_key("if-none-match") {
        true => status(304, validated),
        false => with_lines(lines, "page"),
    });
    let stack =
        SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
    (stack, cache, manual)
}

async fn bypassing_requests() -> Statuses {
    let long = format!("/{}", "x".repeat(9000));
    let plain = |name, value| get_with("/", &[(name, value)]);
    let twice = |name| get_with("/", &[(name, "shop.example"), (name, "shop.example")]);
    let mut full = get("/");
    *full.body_mut() = Body::from("content");
    let table: Vec<(PolicyBuilder, Request<Body>, &str)> = vec![
        (policy(), plain("authorization", "Bearer x"), "authorization"),
        (policy(), plain("proxy-authorization", "Basic x"), "proxy-authorization"),
        (policy(), plain("x-api-key", "x"), "x-api-key"),
        (policy(), plain("client-cert", "x"), "client-cert"),
        (policy(), plain("x-acme-session", "x"), "x-acme-session"),
        (policy(), full, "body"),
        (policy(), plain("transfer-encoding", "chunked"), "body"),
        (policy(), plain("cookie", "sid=alice"), "cookie"),
        (policy().credential_headers([X_MINE]), plain("x-mine", "x"), "credentials"),
        (policy(), plain("expect", "100-continue"), "expect"),
        (policy(), plain("upgrade", "websocket"), "upgrade"),
        (policy(), plain("x-http-method-override", "DELETE"), "method-override"),
        (policy(), plain("x-forwarded-host", "a/b"), "forwarded"),
        (policy(), twice("x-original-url"), "forwarded"),
        (policy(), twice("host"), "host"),
        (policy(), plain("host", "Shop.Example"), "host"),
        (policy(), get_with("http://shop.example/", &[("host", "other.example")]), "host"),
        (policy().hosts(["shop.example"]), plain("host", "other.example"), "unknown-host"),
        (policy().hosts(["shop.example"]), get("/"), "unknown-host"),
        (policy(), get(&long), "key-length"),
        (policy().bypass_if(|_| true), get("/"), "skipped"),
    ];
    let mut statuses = Statuses::new();
    for (policy, request, word) in table {
        let (stack, _) = site(policy, |_, call| numbered(&[], call));
        let expected = format!("fwd=bypass; fwd-status=200; detail={word}");
        statuses.push(status_of(&stack, request).await);
        assert_eq!(statuses.last(), Some(&expected));
    }
    statuses
}

#[tokio::test]
async fn bypassed_requests_report_the_reason() {
    bypassing_requests().await;
}

/// A request that would be a hit, under a policy table with a dry run.
async fn dry_run() -> Statuses {
    let (cache, _) = timed();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    let table = serde_json::from_str(r#"{ "entries": [{ "dry_run": true }] }"#).expect("a table");
    cache.set_policy_table(table).expect("no layer is named");
    vec![status_of(&stack, get("/")).await]
}

#[tokio::test]
async fn hit_in_a_dry_run_is_reported_as_a_bypass() {
    assert_eq!(dry_run().await, ["fwd=bypass; fwd-status=200; detail=dry-run"]);
}

async fn left_to_another_layer() -> Statuses {
    let (cache, page) = (memory(), || origin(|_, call| numbered(&[], call)).0);
    let site = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy"));
    let known = AnonymousOnlyLayer::session_cookie("sid").expect("a name").layer(site.layer(page()));
    let alice = status_of(&known, get_with("/identified", &[("cookie", "sid=alice")])).await;
    assert_eq!(alice, "fwd=bypass; fwd-status=200; detail=identified");
    let login = site.layer(service_fn(|_: Request<Body>| async {
        let mut response = numbered(&[], 1);
        response.extensions_mut().insert(Identified);
        Ok::<_, Infallible>(response)
    }));
    let found_out = status_of(&login, get("/login")).await;
    assert_eq!(found_out, "fwd=uri-miss; fwd-status=200; detail=identified");

    let mut statuses = vec![alice, found_out];
    let route = RouteCacheLayer::new(&cache, MINUTE)
        .policy(Policy::app().cache_status(true).build().expect("a policy"))
        .layer(page());
    let nested = site.layer(route);
    let twice = site.layer(site.layer(page()));
    let off = site.clone().enabled(false).layer(page());
    let table: [(&str, &[&str]); 4] = [
        ("/off", &["fwd=bypass; fwd-status=200; detail=disabled"]),
        (
            "/nested",
            &[
                "fwd=uri-miss; fwd-status=200; stored; ttl=60",
                "fwd=uri-miss; fwd-status=200; detail=inner-layer",
            ],
        ),
        ("/nested", &["hit; ttl=60", "fwd=bypass; fwd-status=200; detail=inner-layer"]),
        (
            "/twice",
            &["fwd=bypass; fwd-status=200; detail=same-name", "fwd=uri-miss; fwd-status=200; stored; ttl=60"],
        ),
    ];
    for (path, expected) in table {
        let answer = match path {
            "/nested" => send(&nested, get(path)).await,
            "/off" => send(&off, get(path)).await,
            _ => send(&twice, get(path)).await,
        };
        // This cache is on the system clock, so a second may have passed.
        let all: Statuses =
            members(&answer).into_iter().map(|member| member.replace("ttl=59", "ttl=60")).collect();
        assert_eq!(all, expected, "{path}");
        statuses.extend(all);
    }
    statuses
}

#[tokio::test]
async fn requests_left_to_another_layer_report_so() {
    left_to_another_layer().await;
}

/// Creates a site over a store with a fault that is switched on.
fn at_fault(fault: Fault) -> (Stack, Faulty) {
    let (clock, _) = Clock::manual();
    let store = Faulty::new(
        MemoryStore::builder().seed(3).max_bytes(8 << 20).clock(clock.clone()).build().expect("valid"),
        fault,
    );
    let cache = Cache::builder(store.clone()).clock(clock).build().expect("valid");
    (site_over(&cache, origin(|_, call| numbered(&[], call)).0), store)
}

async fn with_a_failing_store() -> Statuses {
    let mut statuses = Statuses::new();
    for fault in [Fault::Down, Fault::Hangs, Fault::LostGenerations] {
        let (stack, _) = at_fault(fault);
        statuses.push(status_of(&stack, get("/")).await);
        assert_eq!(
            statuses.last().expect("a member"),
            "fwd=bypass; fwd-status=200; detail=store-failed",
            "{fault:?}"
        );
        // A range request may be forwarded before the cache notices that the generations are lost.
        let alone = status_of(&stack, get_with("/", &[("range", "bytes=0-1")])).await;
        let forward = if fault == Fault::LostGenerations { "uri-miss" } else { "bypass" };
        assert_eq!(alone, format!("fwd={forward}; fwd-status=200; detail=store-failed"), "{fault:?}");
    }
    let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::CantInvalidate));
    let stack = site_over(&cache, origin(|_, call| numbered(&[], call)).0);
    statuses.push(status_of(&stack, request("POST", "/", &[])).await);
    assert_eq!(statuses.last().expect("a member"), "fwd=method; fwd-status=200; detail=invalidation-queued");
    statuses
}

#[tokio::test(start_paused = true)]
async fn store_failures_are_reported() {
    with_a_failing_store().await;
}

async fn forwarding_conditions() -> Statuses {
    let lines: Lines = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let (stack, _, manual) = tagged(rfc9111(), lines, lines);
    let nested = |directives| get_with("/", &[("cache-control", directives)]);
    let mut statuses = vec![status_of(&stack, nested("only-if-cached")).await];
    assert_eq!(statuses[0], "detail=only-if-cached");
    assert_eq!(status_of(&stack, get("/")).await, "fwd=uri-miss; fwd-status=200; stored; ttl=60");
    manual.advance(20 * S);
    let precondition = |name| get_with("/", &[(name, "\"b\"")]);
    let table = [
        (nested("no-store"), "fwd=bypass; fwd-status=200; detail=request-no-store"),
        (precondition("if-match"), "fwd=request; fwd-status=200; stored; ttl=60; detail=precondition"),
        (get("/"), "hit; ttl=60"),
    ];
    for (request, expected) in table {
        statuses.push(status_of(&stack, request).await);
        assert_eq!(statuses.last().expect("a member"), expected);
    }
    // Without a validator, no response is revalidated.
    for (directives, word) in [
        ("no-cache", "request-no-cache"),
        ("max-age=10", "request-max-age"),
        ("min-fresh=50", "request-min-fresh"),
    ] {
        let (stack, _, manual) = tagged(rfc9111(), &[("cache-control", "max-age=60")], &[]);
        status_of(&stack, get("/")).await;
        manual.advance(20 * S);
        statuses.push(status_of(&stack, nested(directives)).await);
        let expected = format!("fwd=request; fwd-status=200; stored; ttl=60; detail={word}");
        assert_eq!(statuses.last(), Some(&expected));
    }
    statuses
}

#[tokio::test]
async fn conditions_that_forward_a_request_are_reported() {
    forwarding_conditions().await;
}

async fn outcomes_of_forwarding() -> Statuses {
    let lines: Lines = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let (stack, cache, manual) = tagged(policy(), lines, lines);
    let mut statuses = vec![status_of(&stack, get("/")).await];
    manual.advance(70 * S);
    statuses.push(status_of(&stack, get("/")).await);
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    statuses.push(status_of(&stack, get("/")).await);
    statuses.push(status_of(&stack, request("POST", "/", &[])).await);
    statuses.push(status_of(&stack, request("OPTIONS", "/", &[])).await);
    assert_eq!(
        statuses,
        [
            "fwd=uri-miss; fwd-status=200; stored; ttl=60",
            "fwd=stale; fwd-status=304; stored; ttl=60; detail=revalidated",
            "fwd=stale; fwd-status=200; stored; ttl=60; detail=invalidated",
            "fwd=method; fwd-status=200",
            "fwd=method; fwd-status=200",
        ]
    );

    let (stack, _) = site(policy(), |_, call| numbered(&[("vary", "x-a")], call));
    status_of(&stack, get_with("/", &[("x-a", "1")])).await;
    let other = status_of(&stack, get_with("/", &[("x-a", "2")])).await;
    assert!(other.starts_with("fwd=vary-miss; fwd-status=200; stored; ttl="), "{other}");
    statuses.push(other);

    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| if call == 1 { numbered(&[], call) } else { status(503, &[]) });
    let kept = policy().stale_while_revalidate(10 * S).stale_if_error(30 * S);
    let stack =
        SiteCacheLayer::new(&cache).policy(kept.build().expect("a policy")).layer(inner).boxed_clone();
    status_of(&stack, get("/")).await;
    for (later, expected) in [
        (65, "hit; ttl=-5; detail=stale"),
        (10, "fwd=stale; fwd-status=503; ttl=-15; detail=stale-if-error"),
        (20, "fwd=uri-miss; fwd-status=503; detail=no-lifetime"),
    ] {
        manual.advance(later * S);
        statuses.push(status_of(&stack, get("/")).await);
        assert_eq!(statuses.last().expect("a member"), expected);
        // Lets the background refresh of the stale hit fail.
        tokio::time::sleep(S).await;
    }

    let (stack, _) = site(policy(), |_, call| numbered(&[], call));
    let stack = stack.map_response(|mut response| {
        response.headers_mut().insert("vary", http::HeaderValue::from_static("cookie"));
        response
    });
    let stack = tower_response_cache::AnonymousOnlyLayer::new().layer(stack);
    statuses.push(status_of(&stack, get("/")).await);
    assert_eq!(statuses.last().expect("a member"), "fwd=uri-miss; fwd-status=200; detail=vary-on-credential");

    let inner = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let stack = SiteCacheLayer::new(&memory())
        .policy(policy().origin_timeout(S).build().expect("a policy"))
        .layer(inner);
    for method in ["GET", "HEAD"] {
        statuses.push(status_of(&stack, request(method, "/", &[])).await);
        assert_eq!(statuses.last().expect("a member"), "fwd=uri-miss; detail=origin-timeout");
    }
    statuses.push(request_loop().await);
    statuses
}

/// Returns the status of a request that the handler of a page sends for the same page.
async fn request_loop() -> String {
    type LoopingService = BoxCloneSyncService<Request<Body>, Response<ResponseBody<Body>>, Infallible>;
    let own = Arc::new(OnceLock::<LoopingService>::new());
    let outer = Arc::clone(&own);
    let inner = service_fn(move |_: Request<Body>| {
        let nested = outer.get().expect("built").clone().oneshot(get("/"));
        let nested: futures::future::BoxFuture<'static, _> = Box::pin(nested);
        async move {
            let answer = read(nested.await?).await;
            let line = answer.headers.get_all("cache-status").iter().next_back().cloned();
            let text = match answer.status.as_u16() {
                508 => line.expect("a status").to_str().expect("text").to_owned(),
                _ => answer.text().to_owned(),
            };
            Ok::<_, Infallible>(Response::new(Body::from(text)))
        }
    });
    let stack = BoxCloneSyncService::new(
        SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(inner),
    );
    assert!(own.set(stack.clone()).is_ok());
    let line = read(stack.oneshot(get("/")).await.expect("infallible")).await.text().to_owned();
    assert_eq!(line, "tower-response-cache; detail=loop");
    line.split_once("; ").expect("a parameter").1.to_owned()
}

#[tokio::test(start_paused = true)]
async fn forwarded_requests_report_the_outcome() {
    outcomes_of_forwarding().await;
}

/// Returns the values in the tables of `details.md` that begin with a column `kind`.
fn explained(kind: &str) -> BTreeSet<String> {
    let text = include_str!("../../../src/status/details.md");
    let tables = text.split("\n\n").filter(|table| table.starts_with(&format!("| `{kind}`")));
    let rows = tables.flat_map(|table| table.lines().skip(2));
    let cells = rows.map(|row| row.split('|').nth(1).expect("a cell"));
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    // The tests in `compression::codings` cover the words of encoded variants.
    words.filter(|word| !word.starts_with("encoded-")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn every_documented_fwd_and_detail_value_is_reported() {
    let statuses = [
        bypassing_requests().await,
        dry_run().await,
        left_to_another_layer().await,
        with_a_failing_store().await,
        forwarding_conditions().await,
        outcomes_of_forwarding().await,
        not_stored_by_its_head().await,
        not_stored_for_other_reasons().await,
        not_stored_after_streaming().await,
        with_untracked_dependencies().await,
    ]
    .concat();
    for (kind, least) in [("fwd", 6), ("detail", 50)] {
        let parameters = statuses.iter().flat_map(|member| member.split("; "));
        let values = parameters.filter_map(|text| text.strip_prefix(&format!("{kind}=")));
        let provoked: BTreeSet<_> = values.map(str::to_owned).collect();
        assert_eq!(provoked, explained(kind), "values of {kind}");
        assert!(provoked.len() >= least, "the tables have rows");
    }
}
