//! `Cache::set_policy_table`: options that are replaced at run time, by layer and path.

use crate::support::stacks::{ALL, S, invalidate, layered, settle};
use crate::support::*;
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::policy::PolicyTable;
use tower_response_cache::{Cache, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer};

fn set(cache: &Cache, entries: &str) {
    let table = serde_json::from_str(&format!(r#"{{ "entries": [{entries}] }}"#)).expect(entries);
    cache.set_policy_table(table).expect(entries);
}

/// Returns the outcome and the remaining TTL that `Cache-Status` reports.
fn outcome(answer: &Answer) -> &str {
    answer.header("cache-status").expect("a status").trim_start_matches("tower-response-cache; ")
}

#[tokio::test]
async fn first_matching_entry_sets_the_lifetime_of_new_responses() {
    let (cache, _) = timed();
    let (inner, _) = origin(|_, call| numbered(&[("cache-control", "max-age=30")], call));
    let stack = SiteCacheLayer::new(&cache)
        .policy(policy().name("shop").build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    send(&stack, get("/before")).await;
    set(
        &cache,
        r#"{ "path": "/news/*", "ttl": "5s" }, { "layer": "shop", "path": "/about", "ttl": "forever" },
           { "path": "/other", "default_ttl": 7 }"#,
    );
    let cases = [
        ("/news/1", "fwd=uri-miss; fwd-status=200; stored; ttl=5"),
        ("/news", "fwd=uri-miss; fwd-status=200; stored; ttl=30"),
        ("/other", "fwd=uri-miss; fwd-status=200; stored; ttl=30"),
        ("/before", "hit; ttl=30"),
    ];
    for (path, expected) in cases {
        assert_eq!(outcome(&send(&stack, get(path)).await), expected, "{path}");
    }
    send(&stack, get("/about")).await;
    // The keys do not depend on the table, so the entries are found without it.
    cache.set_policy_table(PolicyTable::new()).expect("an empty table");
    assert_eq!(outcome(&send(&stack, get("/news/1")).await), "hit; ttl=5");
    assert!(send(&stack, get("/about")).await.is_hit());
    assert_eq!(outcome(&send(&stack, get("/news/2")).await), "fwd=uri-miss; fwd-status=200; stored; ttl=30");
}

#[tokio::test]
async fn entry_turns_one_path_of_a_layer_off_or_on() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let layer = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy"));
    let (on, off) = (layer.clone().layer(inner.clone()), layer.enabled(false).layer(inner));
    for _ in 0..2 {
        send(&on, get("/cart")).await;
    }
    set(&cache, r#"{ "path": "/cart*", "enabled": false }, { "layer": "site", "enabled": true }"#);
    assert_eq!(send(&on, get("/cart")).await.detail(), Some("disabled"));
    assert_eq!(send(&off, get("/cart/2")).await.detail(), Some("disabled"));
    for (service, path) in [(&on, "/a"), (&off, "/b")] {
        assert!(!send(service, get(path)).await.is_hit(), "{path}");
        assert!(send(service, get(path)).await.is_hit(), "{path}");
    }
    cache.set_enabled(false);
    assert_eq!(send(&on, get("/a")).await.detail(), Some("disabled"), "the switch outranks the table");
    cache.set_enabled(true);
    assert!(send(&on, get("/a")).await.is_hit());
    cache.set_policy_table(PolicyTable::new()).expect("an empty table");
    assert!(send(&on, get("/cart")).await.is_hit(), "stored before the table");
    assert_eq!(send(&off, get("/b")).await.detail(), Some("disabled"));
}

#[tokio::test]
async fn dry_run_decides_and_reports_but_serves_nothing() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, call| match request.uri().path() {
        "/private" => numbered(&[("cache-control", "private")], call),
        _ => numbered(&[], call),
    });
    let stack = site_over(&cache, inner);
    set(&cache, r#"{ "dry_run": true }"#);
    let again = "fwd=bypass; fwd-status=200; detail=dry-run";
    for expected in ["fwd=uri-miss; fwd-status=200; stored; ttl=60", again, again] {
        assert_eq!(outcome(&send(&stack, get("/")).await), expected);
    }
    // The dry-run hit has not extended the lifetime of the stored response.
    manual.advance(30 * S);
    assert_eq!(outcome(&send(&stack, get("/")).await), again);
    manual.advance(31 * S);
    assert_eq!(outcome(&send(&stack, get("/")).await), "fwd=uri-miss; fwd-status=200; stored; ttl=60");
    assert_eq!(send(&stack, get("/private")).await.detail(), Some("private"));
    assert_eq!(send(&stack, get_with("/", &[("cookie", "sid=1")])).await.detail(), Some("cookie"));
    assert_eq!(outcome(&send(&stack, request("HEAD", "/", &[])).await), again);
    assert_eq!(send(&stack, request("HEAD", "/other", &[])).await.detail(), Some("head"));
    assert_eq!(calls.count(), 9, "each request reached the handler");
    cache.set_policy_table(PolicyTable::new()).expect("an empty table");
    assert_eq!(send(&stack, get("/")).await.text(), "5", "the last stored response");
}

#[tokio::test]
async fn dry_run_keeps_its_word_if_the_response_is_not_stored() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| match call {
        1 => numbered(&[], call),
        _ => numbered(&[("cache-control", "private")], call),
    });
    let stack = layered(&cache, policy().stale_while_revalidate(MINUTE), inner);
    set(&cache, r#"{ "dry_run": true }"#);
    send(&stack, get("/")).await;
    manual.advance(70 * S);
    assert_eq!(outcome(&send(&stack, get("/")).await), "fwd=bypass; fwd-status=200; detail=dry-run");
    let stats = cache.stats();
    let site = &stats.layers()[0];
    assert_eq!(site.bypasses_by_detail().collect::<Vec<_>>(), [("dry-run", 1)]);
    assert_eq!(site.not_stored_by_detail().collect::<Vec<_>>(), [("private", 1)]);
}

/// A remote store answers later, so the layer decides on its hits at another place.
#[tokio::test(start_paused = true)]
async fn dry_run_and_switch_hold_over_every_kind_of_store() {
    for setup in ALL {
        let (cache, _) = setup.cache(0);
        let (inner, calls) = origin(|_, call| numbered(&[], call));
        let stack = site_over(&cache, inner);
        send(&stack, get("/")).await;
        settle().await;
        assert!(send(&stack, get("/")).await.is_hit(), "{setup:?}");
        set(&cache, r#"{ "dry_run": true }"#);
        for expected in ["2", "3", "4"] {
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.text(), answer.detail()), (expected, Some("dry-run")), "{setup:?}");
            settle().await;
        }
        cache.set_policy_table(PolicyTable::new()).expect("an empty table");
        cache.set_enabled(false);
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.detail()), ("5", Some("disabled")), "{setup:?}");
        cache.set_enabled(true);
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.is_hit(), calls.count()), ("1", true, 5), "{setup:?}");
    }
}

#[tokio::test]
async fn dry_run_stores_in_place_of_a_stale_response() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = layered(&cache, policy().stale_while_revalidate(MINUTE), inner);
    send(&stack, get("/")).await;
    set(&cache, r#"{ "dry_run": true }"#);
    manual.advance(61 * S);
    let head = send(&stack, request("HEAD", "/", &[])).await;
    assert_eq!(outcome(&head), "fwd=bypass; fwd-status=200; detail=dry-run");
    let stored = "fwd=bypass; fwd-status=200; stored; ttl=60; detail=dry-run";
    assert_eq!(outcome(&send(&stack, get("/")).await), stored);
    cache.set_policy_table(PolicyTable::new()).expect("an empty table");
    assert_eq!(outcome(&send(&stack, get("/")).await), "hit; ttl=60");
}

#[tokio::test]
async fn dry_run_miss_is_forwarded_without_the_clients_conditions() {
    let cache = memory();
    let (inner, _) = origin(|request, call| {
        let conditions = ["if-none-match", "if-modified-since"];
        assert!(conditions.iter().all(|name| !request.headers().contains_key(*name)));
        numbered(&[("etag", "\"a\"")], call)
    });
    let stack = site_over(&cache, inner);
    set(&cache, r#"{ "dry_run": true }"#);
    let own = [("if-none-match", "\"a\""), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")];
    assert_eq!(send(&stack, get_with("/", &own)).await.status, 304);
    cache.set_policy_table(PolicyTable::new()).expect("an empty table");
    let hit = send(&stack, get("/")).await;
    assert_eq!((hit.text(), hit.is_hit()), ("1", true));
}

#[tokio::test(start_paused = true)]
async fn dry_run_collapses_no_requests() {
    let cache = memory();
    let calls = Calls::default();
    let counted = calls.clone();
    let slow = tower::service_fn(move |_: http::Request<Body>| {
        let call = counted.next();
        async move {
            tokio::time::sleep(S).await;
            Ok::<_, std::convert::Infallible>(numbered(&[], call))
        }
    });
    let stack = site_over(&cache, slow.boxed_clone());
    set(&cache, r#"{ "path": "/dry", "dry_run": true }"#);
    for (path, expected) in [("/dry", 2), ("/wet", 3)] {
        tokio::join!(send(&stack, get(path)), send(&stack, get(path)));
        assert_eq!(calls.count(), expected, "{path}");
    }
}

#[tokio::test]
async fn stale_windows_and_client_lifetimes_come_from_the_entry() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = RouteCacheLayer::new(&cache, MINUTE)
        .policy(Policy::app().cache_status(true).build().expect("a policy"))
        .layer(inner);
    set(&cache, r#"{ "layer": "route", "client_max_age": 9, "ttl": 10, "stale_while_revalidate": "20s" }"#);
    let answer = send(&stack, get("/")).await;
    assert_eq!(answer.header("cache-control"), Some("max-age=9"));
    manual.advance(15 * S);
    let stale = send(&stack, get("/")).await;
    assert_eq!((stale.text(), outcome(&stale)), ("1", "hit; ttl=-5; detail=stale"));
    settle().await;
    assert_eq!(send(&stack, get("/")).await.text(), "2");
}

#[tokio::test]
async fn unknown_layers_are_refused_and_the_old_table_stays() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let named = |name: &str| policy().name(name).build().expect("a policy");
    let stack = SiteCacheLayer::new(&cache).policy(named("shop")).layer(inner.clone());
    drop(RouteCacheLayer::new(&cache, Duration::ZERO).policy(named("gone")).layer(inner));
    set(&cache, r#"{ "layer": "shop", "enabled": false }"#);
    let table = r#"{ "entries": [{ "layer": "shop", "ttl": 1 }, { "layer": "gone", "path": "/x" },
                                 { "layer": "shpo", "ttl": 2 }] }"#;
    let refused = cache.set_policy_table(serde_json::from_str(table).expect("valid")).expect_err("unknown");
    let all: Vec<_> = refused.all().map(|error| (error.kind(), error.value())).collect();
    let unknown = ConfigErrorKind::UnknownLayer;
    assert_eq!(
        all,
        [(unknown, r#"entry 2 (layer "gone", path "/x")"#), (unknown, r#"entry 3 (layer "shpo")"#)]
    );
    assert_eq!(send(&stack, get("/")).await.detail(), Some("disabled"));
}

#[tokio::test]
async fn unsafe_requests_invalidate_under_every_table() {
    for entries in [r#"{ "enabled": false }"#, r#"{ "dry_run": true }"#, r#"{ "ttl": 5 }"#] {
        let cache = memory();
        let (inner, _) = origin(|_, call| numbered(&[], call));
        let stack = site_over(&cache, inner);
        for path in ["/a", "/b"] {
            send(&stack, get(path)).await;
        }
        set(&cache, entries);
        send(&stack, request("POST", "/a", &[])).await;
        invalidate(&cache, Invalidation::path("/b")).await;
        cache.set_policy_table(PolicyTable::new()).expect("an empty table");
        for path in ["/a", "/b"] {
            assert!(!send(&stack, get(path)).await.is_hit(), "{entries} {path}");
        }
    }
}
