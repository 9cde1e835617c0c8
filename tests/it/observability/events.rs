//! Events of the feature `tracing`: one for each answered request, and warnings of mistakes.

use crate::status::events::{listen, recorded_events};
use crate::support::rfc9111::with_status;
use crate::support::*;
use http::{Request, Response};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::status::EVENT_TARGET;
use tower_response_cache::{Cache, CacheStatus, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer};
use tracing::field::Empty;

fn plain(_: &Request<Body>, call: usize) -> Response<Body> {
    numbered(&[], call)
}

/// Returns the fields of the events of answered requests, without the fields that `without` names.
fn answers(without: &[&str]) -> Vec<String> {
    let prefix = format!("DEBUG {EVENT_TARGET} message=answered ");
    let events = recorded_events();
    let answers = events.iter().filter_map(|line| line.strip_prefix(&prefix));
    let kept = |field: &&str| !without.iter().any(|name| field.starts_with(&format!("{name}=")));
    answers.map(|fields| fields.split_whitespace().filter(kept).collect::<Vec<_>>().join(" ")).collect()
}

fn warnings() -> Vec<String> {
    let events = recorded_events();
    events.into_iter().filter(|line| line.starts_with("WARN")).collect()
}

async fn send_all<S, B>(stack: &S, requests: impl IntoIterator<Item = Request<Body>>)
where
    S: tower::Service<Request<Body>, Response = Response<B>, Error: std::fmt::Debug> + Clone,
    B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Debug>,
{
    for request in requests {
        read(stack.clone().oneshot(request).await.expect("an answer")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_answered_request_makes_one_event() {
    let (cache, manual) = timed();
    let (inner, _) = origin(move |request, call| match request.uri().path() {
        "/private" => numbered(&[("cache-control", "private")], call),
        _ => numbered(&[], call),
    });
    let stack = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    listen();
    send_all(&stack, [get("/a?x=1")]).await;
    manual.advance(Duration::from_secs(3));
    send_all(&stack, [get("/a?x=1"), get("/private"), request("POST", "/a", &[]), get("/a?x=1")]).await;
    let stored = "hit=false fwd=uri-miss fwd_status=200 stored=true collapsed=false ttl=60";
    let expected = [
        format!("layer=route path=/a {stored}"),
        "layer=route path=/a hit=true stored=false collapsed=false age=3 ttl=57".to_owned(),
        "layer=route path=/private hit=false fwd=uri-miss fwd_status=200 stored=false collapsed=false \
         detail=private"
            .to_owned(),
        "layer=route path=/a hit=false fwd=method fwd_status=200 stored=false collapsed=false".to_owned(),
        "layer=route path=/a hit=false fwd=stale fwd_status=200 stored=true collapsed=false ttl=60 \
         detail=invalidated"
            .to_owned(),
    ];
    assert_eq!(answers(&[]), expected);
}

#[tokio::test]
async fn bypass_event_names_the_field_or_cookie() {
    listen();
    let policy = Policy::app()
        .default_ttl(MINUTE)
        .credential_headers(["x-tenant"])
        .credential_cookies(["sid"])
        .ignore_cookies(["_ga*"]);
    let (stack, _) = site(policy, plain);
    let long = format!("a%0a{}", "x".repeat(100));
    let lines = [
        ("cookie", "_ga=1; sid=1".to_owned()),
        ("cookie", format!("{long}=1")),
        ("cookie", "token-without-a-name".to_owned()),
        ("authorization", "Basic x".to_owned()),
        ("x-api-key", "1".to_owned()),
        ("x-tenant", "1".to_owned()),
        ("x-acme-session", "1".to_owned()),
    ];
    send_all(&stack, lines.iter().map(|(name, value)| get_with("/", &[(*name, value.as_str())]))).await;
    let others = ["layer", "path", "hit", "fwd", "fwd_status", "stored", "collapsed"];
    let expected = [
        "detail=cookie identified_by=cookie sid".to_owned(),
        format!("detail=cookie identified_by=cookie {}", &long[..64]),
        "detail=cookie identified_by=cookie without a name".to_owned(),
        "detail=authorization identified_by=header authorization".to_owned(),
        "detail=x-api-key identified_by=header x-api-key".to_owned(),
        "detail=credentials identified_by=header x-tenant".to_owned(),
        "detail=x-acme-session identified_by=header x-acme-session".to_owned(),
    ];
    assert_eq!(answers(&others), expected);
}

#[tokio::test(start_paused = true)]
async fn background_refresh_makes_no_answer_event() {
    let (cache, manual) = timed();
    let policy = Policy::app().stale_while_revalidate(MINUTE).build().expect("a policy");
    let stack = RouteCacheLayer::new(&cache, MINUTE).policy(policy).layer(origin(plain).0);
    send_all(&stack, [get("/")]).await;
    manual.advance(MINUTE + Duration::from_secs(1));
    listen();
    send_all(&stack, [get("/")]).await;
    cache.wait_idle().await;
    let others = ["layer", "path", "hit", "stored", "collapsed", "age"];
    assert_eq!(answers(&others), ["ttl=-1 detail=stale"]);
}

#[tokio::test]
async fn invalidation_event_names_its_scopes() {
    listen();
    let cache = memory();
    let what = Invalidation::tag("news").and(Invalidation::subtree("/blog").host("shop.example"));
    let _ = cache.invalidate(what).await;
    let many: Invalidation = (0..20).map(|number| Invalidation::path(format!("/{number}"))).collect();
    let _ = cache.invalidate(many.soft()).await;
    let events = recorded_events();
    let has = |text: &str| events.iter().any(|line| line.contains(text));
    assert!(has("buckets=5 names=tag news, subtree /blog on shop.example strength=Hard"), "{events:#?}");
    assert!(has("buckets=80 names=path /0, "), "{events:#?}");
    assert!(has("path /7, … strength=Soft"), "{events:#?}");
}

#[tokio::test]
async fn status_is_recorded_into_the_fields_that_a_span_declares() {
    listen();
    let stack = RouteCacheLayer::new(&timed().0, MINUTE).layer(origin(plain).0);
    for _ in 0..2 {
        let answer = stack.clone().oneshot(get("/")).await.expect("an answer");
        let status = *answer.extensions().get::<CacheStatus>().expect("the extension");
        read(answer).await;
        let span = tracing::info_span!("request", cache.hit = Empty, cache.fwd = Empty, cache.ttl = Empty);
        status.record(&span);
    }
    let events = recorded_events();
    let recorded: Vec<_> =
        events.iter().filter_map(|line| line.strip_prefix("SPAN ")).map(str::trim).collect();
    let expected =
        ["cache.hit=false", "cache.fwd=uri-miss", "cache.ttl=60", "cache.hit=true", "cache.ttl=60"];
    assert_eq!(recorded, expected);
}

#[tokio::test]
async fn switches_are_events_of_level_info() {
    listen();
    let cache = memory();
    cache.set_enabled(false);
    cache.set_enabled(false);
    let events = recorded_events();
    let switched: Vec<_> = events.iter().filter(|line| line.contains("cache switched")).collect();
    assert_eq!(switched.len(), 1, "{events:?}");
    assert!(switched[0].starts_with("INFO "), "{switched:?}");
}

#[tokio::test]
async fn site_without_ttl_that_stores_nothing_is_warned_of_once() {
    listen();
    let cache = memory();
    let stack = SiteCacheLayer::new(&cache).layer(origin(plain).0);
    for (numbers, expected) in [(0..999, 0), (999..1000, 1), (1000..1500, 1)] {
        send_all(&stack, numbers.map(|number| get(&format!("/{number}")))).await;
        assert_eq!(warnings().len(), expected, "{:?}", warnings());
    }
    assert!(warnings()[0].contains("`default_ttl`"), "{:?}", warnings());

    listen();
    let stack = SiteCacheLayer::new(&memory()).layer(
        origin(|request, call| match request.uri().path() {
            "/0" => numbered(&[("cache-control", "max-age=60")], call),
            _ => numbered(&[], call),
        })
        .0,
    );
    send_all(&stack, (0..1500).map(|number| get(&format!("/{number}")))).await;
    assert_eq!(warnings(), [""; 0], "one response was stored");
}

/// Redirects, bypasses and writes have no lifetime either, and another process may have stored the pages.
#[tokio::test]
async fn site_without_ttl_is_not_warned_of_for_other_requests() {
    listen();
    let cache = memory();
    let stack = SiteCacheLayer::new(&cache).layer(
        origin(|request, call| match request.uri().path() {
            "/stored" => numbered(&[("cache-control", "max-age=60")], call),
            "/redirect" => with_status(302, numbered(&[("location", "/")], call)),
            _ => numbered(&[], call),
        })
        .0,
    );
    let cookie = || get_with("/", &[("cookie", "sid=1")]);
    for _ in 0..500 {
        send_all(&stack, [get("/redirect"), cookie(), request("POST", "/", &[]), get("/")]).await;
    }
    assert_eq!(warnings(), [""; 0]);
    let other = SiteCacheLayer::new(&cache).layer(origin(plain).0);
    send_all(&stack, [get("/stored")]).await;
    send_all(&other, [get("/stored")]).await;
    send_all(&stack, (0..600).map(|_| get("/"))).await;
    assert_eq!(warnings(), [""; 0], "one response was stored");
}

#[tokio::test]
async fn entry_with_a_ttl_does_not_make_a_site_layer_look_like_a_route() {
    listen();
    let cache = memory();
    let stack = SiteCacheLayer::new(&cache).layer(origin(plain).0);
    let table = serde_json::from_str(r#"{ "entries": [{ "layer": "site", "ttl": 60 }] }"#);
    cache.set_policy_table(table.expect("a table")).expect("known layers");
    send_all(&stack, [get_with("/", &[("cookie", "sid=1")])]).await;
    assert_eq!(warnings(), [""; 0]);
}

#[tokio::test]
async fn contradictory_layers_of_one_name_are_warned_of() {
    listen();
    let cache: Cache = memory();
    let named = |cookie| Policy::app().name("shop").ignore_cookies([cookie]).build().expect("a policy");
    for (cookie, expected) in [("a", 0), ("a", 0), ("b", 1), ("c", 1)] {
        let stack = SiteCacheLayer::new(&cache).policy(named(cookie)).layer(origin(plain).0);
        send_all(&stack, [get("/")]).await;
        let warnings = warnings();
        assert_eq!(warnings.len(), expected, "{cookie}: {warnings:?}");
        assert!(warnings.iter().all(|line| line.contains("layer=shop")), "{warnings:?}");
    }
}

#[tokio::test]
async fn nested_layers_with_the_same_keys_are_warned_of_once() {
    listen();
    let cache = memory();
    let inner = RouteCacheLayer::new(&cache, MINUTE).layer(origin(plain).0);
    let stack = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    send_all(&stack, [get("/a"), get("/b")]).await;
    let warnings = warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("same keys"), "{warnings:?}");
}

#[tokio::test]
async fn cookies_that_no_outer_layer_sees_are_warned_of_once() {
    listen();
    let cookie = || [get_with("/", &[("cookie", "sid=1")]), get_with("/", &[("cookie", "sid=2")])];
    let alone = RouteCacheLayer::new(&memory(), MINUTE).layer(origin(plain).0);
    send_all(&alone, cookie()).await;
    assert_eq!(warnings().len(), 1, "{:?}", warnings());

    listen();
    let declared = Policy::app().ignore_cookies(["_ga"]).build().expect("a policy");
    let declares = RouteCacheLayer::new(&memory(), MINUTE).policy(declared).layer(origin(plain).0);
    send_all(&declares, cookie()).await;
    let cache = memory();
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(origin(plain).0);
    send_all(&SiteCacheLayer::new(&cache).layer(route), cookie()).await;
    assert_eq!(warnings(), [""; 0]);
}
