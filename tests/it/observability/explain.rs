//! `Cache::explain`: the decision of each layer about a request. The request is not sent.

use crate::support::faulty::{Fault, Faulty};
use crate::support::stacks::{ALL, S, invalidate, layered, settle, tagged};
use crate::support::*;
use http::Request;
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::cache::Explanation;
use tower_response_cache::policy::{PolicyBuilder, PolicyTable};
use tower_response_cache::{Cache, Invalidation, MemoryStore, Policy, RouteCacheLayer, SiteCacheLayer};

async fn explain(cache: &Cache, request: &Request<Body>) -> Explanation {
    let mut all = cache.explain(request).await;
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

/// The `fwd` and the `detail` of a request that is forwarded.
type Reason = (&'static str, Option<&'static str>);

/// The `fwd` and the `detail` of an explanation.
fn words(explanation: &Explanation) -> (Option<&'static str>, Option<&'static str>) {
    let status = explanation.status();
    (status.forward_reason().map(|reason| reason.as_str()), status.detail_word())
}

#[tokio::test]
async fn explanation_equals_the_decision_on_the_request() {
    let long = format!("/{}", "x".repeat(9000));
    let plain = |name, value| get_with("/", &[(name, value)]);
    let rfc = || Policy::rfc9111().cache_status(true);
    let table: Vec<(PolicyBuilder, Request<Body>, Reason)> = vec![
        (policy(), get("/"), ("uri-miss", None)),
        (policy(), request("HEAD", "/", &[]), ("uri-miss", Some("head"))),
        (policy(), request("POST", "/", &[]), ("method", None)),
        (policy(), request("OPTIONS", "/", &[]), ("method", None)),
        (policy(), plain("authorization", "Bearer x"), ("bypass", Some("authorization"))),
        (policy(), plain("x-api-key", "x"), ("bypass", Some("x-api-key"))),
        (policy(), plain("cookie", "sid=alice"), ("bypass", Some("cookie"))),
        (policy(), plain("expect", "100-continue"), ("bypass", Some("expect"))),
        (policy(), plain("host", "Shop.Example"), ("bypass", Some("host"))),
        (policy().hosts(["shop.example"]), get("/"), ("bypass", Some("unknown-host"))),
        (policy(), get(&long), ("bypass", Some("key-length"))),
        (policy().bypass_if(|_| true), get("/"), ("bypass", Some("skipped"))),
        (rfc(), plain("cache-control", "no-store"), ("bypass", Some("request-no-store"))),
    ];
    for (policy, request, (forward, detail)) in table {
        let cache = memory();
        let (inner, calls) = origin(|_, call| numbered(&[], call));
        let stack = layered(&cache, policy, inner);
        let explanation = explain(&cache, &request).await;
        assert_eq!(words(&explanation), (Some(forward), detail));
        assert!(!explanation.is_hit() && calls.count() == 0);
        assert!(!explanation.meaning().is_empty() && explanation.guide().contains("/docs/"));
        let answer = send(&stack, request).await;
        let status = answer.header("cache-status").expect("a status");
        assert!(status.contains(&format!("; fwd={forward};")), "{status}");
        assert_eq!(answer.detail(), detail, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn found_response_is_described_over_every_store() {
    for (number, setup) in ALL.iter().enumerate() {
        let (cache, manual) = setup.cache(number);
        let (inner, calls) = origin(|_, call| tagged(["flavors"], &[("vary", "accept-language")], call));
        let stack = layered(&cache, policy().stale_while_revalidate(10 * S), inner);
        for language in ["de", "en"] {
            send(&stack, get_with("/flavors?page=2", &[("accept-language", language)])).await;
            settle().await;
        }
        manual.advance(7 * S);
        let request = get_with("/flavors?page=2", &[("accept-language", "de")]);
        let fresh = explain(&cache, &request).await;
        assert!(fresh.is_hit(), "{setup:?}: {fresh:#?}");
        assert_eq!((fresh.variants(), fresh.variant_fields().len()), (2, 1));
        let stored = fresh.stored().expect("a stored response");
        assert_eq!((stored.status().as_u16(), stored.body_bytes()), (200, 1));
        assert_eq!((stored.age(), stored.ttl_seconds()), (7 * S, Some(53)));
        assert!(stored.weight() > stored.body_bytes());
        let named = [
            Invalidation::tag("flavors"),
            Invalidation::path("/flavors"),
            Invalidation::uri("/flavors?page=2"),
            Invalidation::subtree("/"),
            Invalidation::all(),
        ];
        for what in named {
            assert!(stored.is_named_by(what.clone()), "{what:?}");
        }
        for what in [Invalidation::tag("cakes"), Invalidation::path("/"), Invalidation::subtree("/cakes")] {
            assert!(!stored.is_named_by(what.clone()), "{what:?}");
        }
        let other = explain(&cache, &get_with("/flavors?page=2", &[("accept-language", "fr")])).await;
        assert_eq!((words(&other), other.stored().is_none()), ((Some("vary-miss"), None), true));
        manual.advance(60 * S);
        let stale = explain(&cache, &request).await;
        assert_eq!((stale.is_hit(), words(&stale)), (true, (None, Some("stale"))));
        manual.advance(10 * S);
        let expired = explain(&cache, &request).await;
        assert_eq!((expired.is_hit(), calls.count()), (false, 2), "{setup:?}");
    }
}

#[tokio::test]
async fn invalidated_response_is_shown_but_is_no_hit() {
    for (what, is_hit) in [(Invalidation::path("/"), false), (Invalidation::path("/").soft(), true)] {
        let store = memory_store(1 << 20);
        let cache = Cache::new(store.clone());
        let (inner, calls) = origin(|_, call| numbered(&[], call));
        let stack = layered(&cache, policy().stale_while_revalidate(10 * S), inner);
        send(&stack, get("/")).await;
        invalidate(&cache, what.clone()).await;
        let before = (store.len(), store.weight(), cache.flights());
        let explanation = explain(&cache, &get("/")).await;
        assert_eq!(explanation.is_hit(), is_hit, "{what:?}");
        let detail = if is_hit { "stale" } else { "invalidated" };
        assert_eq!(words(&explanation).1, Some(detail));
        assert_eq!(explanation.stored().expect("shown").ttl_seconds().map(|ttl| ttl > 50), Some(true));
        assert_eq!((store.len(), store.weight(), cache.flights()), before);
        assert_eq!(calls.count(), 1, "the handler does not run");
    }
}

#[tokio::test]
async fn key_is_shown_by_named_inputs_without_secrets() {
    const SECRET: &str = "s3cret";
    let policy = policy()
        .cache_status_key(true)
        .vary_on_cookies(["plan"])
        .vary_on_headers(["x-theme", "x-secret-token"])
        .vary_by("tenant", |_| Some(SECRET.to_owned()))
        .vary_by_identity("user", |_| Some(SECRET.to_owned()));
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = layered(&cache, policy, inner);
    let request = get_with(
        "/a?b=1",
        &[
            ("host", "shop.example"),
            ("x-theme", "dark"),
            ("x-secret-token", SECRET),
            ("cookie", "plan=s3cret; sid=s3cret"),
            ("authorization", "Bearer s3cret"),
        ],
    );
    let explanation = explain(&cache, &request).await;
    assert!(!format!("{explanation:?}").contains(SECRET), "{explanation:#?}");
    let plain: Vec<_> =
        explanation.key().iter().filter(|input| !input.is_digest()).map(ToString::to_string).collect();
    let expected = [
        "namespace \"default\"",
        "version \"1\"",
        "layer \"site\"",
        "scheme absent",
        "host \"shop.example\"",
        "path \"/a\"",
        "query \"b=1\"",
        "header x-theme \"dark\"",
    ];
    assert_eq!(plain, expected);
    let digests: Vec<_> = explanation.key().iter().filter(|input| input.is_digest()).collect();
    let names: Vec<_> = digests.iter().map(|input| input.name()).collect();
    assert_eq!(names, ["header x-secret-token", "vary_by tenant", "cookie plan", "identity user"]);
    assert!(digests.iter().all(|input| input.value().is_some_and(|digest| digest.len() == 16)));
    assert_eq!(
        explanation.unknown_inputs(),
        [
            "vary_by_identity user",
            "vary_by tenant",
            "marks of outer layers",
            "rewrites by routers and outer layers"
        ]
    );
    let answer = send(&stack, request).await;
    let digest = explanation.key_digest().expect("a key");
    assert!(answer.header("cache-status").expect("a status").contains(&format!("#{digest}\"")));
}

#[tokio::test]
async fn bypass_names_cookies_and_fields_without_their_values() {
    let policy = || policy().ignore_cookies(["_ga"]).vary_on_cookies(["lang"]).credential_headers(["x-shop"]);
    let table = [
        (("cookie", "_ga=1; sid=s3cret; lang=de"), vec!["cookie sid"]),
        (("cookie", "c2VjcmV0="), vec!["cookie without a value"]),
        (("cookie", "c2VjcmV0=="), vec!["cookie without a value"]),
        (("cookie", "lang=de; lang=s3cret"), vec!["cookie lang"]),
        (("cookie", "s3cret"), vec!["cookie without a name"]),
        (("cookie", "s3cret="), vec!["cookie without a value"]),
        (("cookie", "s3cret=="), vec!["cookie without a value"]),
        (("authorization", "Bearer s3cret"), vec!["header authorization"]),
        (("x-acme-session", "s3cret"), vec!["header x-acme-session"]),
        (("x-shop", "s3cret"), vec!["header x-shop"]),
        (("expect", "100-continue"), vec![]),
    ];
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let _stack = layered(&cache, policy(), inner);
    for (line, expected) in table {
        let explanation = explain(&cache, &get_with("/", &[line])).await;
        assert_eq!(explanation.identified_by(), expected, "{line:?}");
        assert!(!format!("{explanation:?}").contains("s3cret"), "{explanation:?}");
        assert!(explanation.key().is_empty() && explanation.key_digest().is_none());
    }
    let many: Vec<_> = (0..99).map(|at| format!("{at}{}\u{e9}=1", "x".repeat(99))).collect();
    let line = http::HeaderValue::from_bytes(many.join("; ").as_bytes()).expect("a value");
    let mut request = get("/");
    request.headers_mut().insert("cookie", line);
    let explanation = explain(&cache, &request).await;
    assert_eq!(explanation.identified_by().len(), 16);
    assert!(explanation.identified_by().iter().all(|name| name.is_ascii() && name.len() <= 7 + 64));
}

#[tokio::test]
async fn every_living_layer_of_the_namespace_is_explained_once() {
    let cache = memory();
    let blog = cache.with_namespace("blog").expect("a namespace");
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let named = |name: &str| policy().name(name).build().expect("a policy");
    let layer = SiteCacheLayer::new(&cache).policy(named("shop"));
    let services = [layer.layer(inner.clone()), layer.clone().layer(inner.clone())];
    drop(layer);
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(inner.clone());
    let other = SiteCacheLayer::new(&blog).policy(named("posts")).layer(inner);
    let layers = async |cache: &Cache| {
        let all = cache.explain(&get("/")).await;
        all.iter().map(|explanation| explanation.layer().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(layers(&cache).await, ["shop", "route"]);
    assert_eq!(layers(&blog).await, ["posts"]);
    assert!(layers(&cache.with_version(2)).await.is_empty());
    drop((services, other));
    assert_eq!(layers(&cache).await, ["route"]);
    assert!(layers(&blog).await.is_empty());
    drop(route);
}

#[tokio::test]
async fn same_key_layers_are_explained_twice_if_one_is_disabled() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let layer = SiteCacheLayer::new(&cache);
    let services = [layer.clone().enabled(false).layer(inner.clone()), layer.layer(inner)];
    let all = cache.explain(&get("/")).await;
    let mut details: Vec<_> = all.iter().map(|explanation| words(explanation).1).collect();
    details.sort_unstable();
    assert_eq!(details, [None, Some("disabled")]);
    drop(services);
}

#[tokio::test]
async fn explained_only_if_cached_equals_the_decision_on_a_request() {
    let only = || get_with("/", &[("cache-control", "only-if-cached")]);
    let down = Cache::new(Faulty::new(memory_store(1 << 20), Fault::Down));
    for cache in [memory(), down] {
        let (inner, calls) = origin(|_, call| numbered(&[], call));
        let stack = layered(&cache, Policy::rfc9111().cache_status(true), inner);
        let explanation = explain(&cache, &only()).await;
        assert_eq!(words(&explanation).1, Some("only-if-cached"));
        assert_eq!((send(&stack, only()).await.status.as_u16(), calls.count()), (504, 0));
    }
}

#[tokio::test]
async fn explained_refusal_of_a_bypass_equals_the_decision_on_a_request() {
    let cache = memory();
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let stack = layered(&cache, Policy::rfc9111().cache_status(true), inner);
    let only = || get_with("/", &[("cache-control", "only-if-cached, no-store")]);
    assert_eq!(words(&explain(&cache, &only()).await).1, Some("only-if-cached"));
    assert_eq!((send(&stack, only()).await.status.as_u16(), calls.count()), (504, 0));
}

#[tokio::test(start_paused = true)]
async fn reason_of_the_last_unstored_response_is_remembered() {
    let cache = memory();
    let slow = service_fn(|_: Request<Body>| async {
        tokio::time::sleep(S).await;
        Ok::<_, Infallible>(numbered(&[], 1))
    });
    let stack = site_over(&cache, slow.boxed_clone());
    let invalidation = async {
        tokio::time::sleep(S / 2).await;
        invalidate(&cache, "/").await;
    };
    tokio::join!(send(&stack, get("/")), invalidation);
    let explanation = explain(&cache, &get("/")).await;
    assert_eq!(
        (words(&explanation).0, explanation.last_not_stored()),
        (Some("uri-miss"), Some("invalidated"))
    );
    send(&stack, get("/")).await;
    let explanation = explain(&cache, &get("/")).await;
    assert_eq!((explanation.is_hit(), explanation.last_not_stored()), (true, None));
}

#[tokio::test]
async fn key_that_does_not_collapse_is_marked() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[("cache-control", "no-store")], call));
    let stack = site_over(&cache, inner);
    assert!(!explain(&cache, &get("/")).await.is_hit_for_miss());
    send(&stack, get("/")).await;
    assert!(explain(&cache, &get("/")).await.is_hit_for_miss());
}

#[tokio::test]
async fn switches_and_the_policy_table_are_explained() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = site_over(&cache, inner);
    send(&stack, get("/dry/1")).await;
    let table =
        r#"{ "entries": [{ "path": "/off", "enabled": false }, { "path": "/dry/*", "dry_run": true }] }"#;
    cache.set_policy_table(serde_json::from_str(table).expect("valid")).expect("known layers");
    let cases = [
        ("/off", (Some("bypass"), Some("disabled")), Some(1), false),
        ("/dry/1", (Some("bypass"), Some("dry-run")), Some(2), true),
        ("/dry/2", (Some("uri-miss"), None), Some(2), true),
        ("/", (Some("uri-miss"), None), None, false),
    ];
    for (path, expected, entry, is_dry_run) in cases {
        let explanation = explain(&cache, &get(path)).await;
        assert_eq!(words(&explanation), expected, "{path}");
        assert_eq!((explanation.policy_entry(), explanation.is_dry_run()), (entry, is_dry_run), "{path}");
    }
    cache.set_policy_table(PolicyTable::new()).expect("an empty table");
    cache.set_enabled(false);
    assert_eq!(words(&explain(&cache, &get("/dry/1")).await), (Some("bypass"), Some("disabled")));
}

#[tokio::test]
async fn failing_store_is_the_reason_for_a_bypass() {
    let cache = Cache::new(Faulty::new(memory_store(1 << 20), Fault::Down));
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let _stack = site_over(&cache, inner);
    assert_eq!(words(&explain(&cache, &get("/")).await), (Some("bypass"), Some("store-failed")));
}

#[tokio::test]
async fn explained_entry_is_not_protected_from_eviction() {
    explain_often(Cache::new(MemoryStore::with_max_bytes(1 << 20))).await;
}

#[cfg(feature = "testing")]
#[tokio::test]
async fn explain_through_a_faulty_store_protects_no_entry() {
    use tower_response_cache::store::faulty::FaultyStore;
    explain_often(Cache::new(FaultyStore::new(MemoryStore::with_max_bytes(1 << 20)).local())).await;
}

/// Explains a request again and again while other pages are stored. Panics if the explanations
/// protect the entry from eviction.
async fn explain_often(cache: Cache) {
    let (inner, _) = origin(|_, _| with_lines(&[], "x".repeat(2000)));
    let stack = site_over(&cache, inner);
    for number in 0..3000 {
        send(&stack, get(&format!("/{number}"))).await;
        if number == 1000 {
            // The store is full, so it soon evicts a new entry that is not looked up again.
            send(&stack, get("/explained")).await;
            let explanation = explain(&cache, &get("/explained")).await;
            assert!(explanation.is_hit());
            assert!(!format!("{explanation:?}").contains("xxxx"), "no body is shown");
        }
        explain(&cache, &get("/explained")).await;
    }
    assert!(explain(&cache, &get("/explained")).await.stored().is_none());
}

#[test]
fn explain_returns_a_sendable_future() {
    fn check<T: Send>(_: T) {}
    let (cache, request) = (memory(), get("/"));
    check(cache.explain(&request));
}

/// RFC 9111 section 4.1.
#[tokio::test]
async fn stored_variants_are_listed_without_secrets() {
    let cache = memory();
    let lines = [("vary", "accept-language, cookie"), ("cache-control", "public, max-age=60")];
    let (inner, calls) = origin(move |_, call| numbered(&lines, call));
    let stack = layered(&cache, Policy::rfc9111(), inner);
    for (language, cookie) in [("de", "sid=s3cret"), ("en", "sid=other")] {
        send(&stack, get_with("/", &[("accept-language", language), ("cookie", cookie)])).await;
    }
    send(&stack, get("/")).await;
    let explanation = explain(&cache, &get("/")).await;
    assert!(!format!("{explanation:?}").contains("s3cret"));
    let fields = explanation.stored_variants().iter().map(|variant| {
        let values = variant.selected_by().iter();
        let values =
            values.map(|input| (input.name().to_owned(), input.value().is_some(), input.is_digest()));
        (values.collect::<Vec<_>>(), variant.stored().body_bytes())
    });
    let of = |is_there: bool| {
        let language = ("header accept-language".to_owned(), is_there, false);
        (vec![language, ("header cookie".to_owned(), is_there, is_there)], 1)
    };
    assert_eq!(fields.collect::<Vec<_>>(), [of(false), of(true), of(true)], "the newest first");
    assert_eq!(explanation.stored_variants()[1].selected_by()[0].value(), Some("en"));
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn response_without_vary_is_one_variant() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = layered(&cache, policy(), inner);
    assert!(explain(&cache, &get("/")).await.stored_variants().is_empty());
    send(&stack, get("/")).await;
    let explanation = explain(&cache, &get("/")).await;
    let [variant] = explanation.stored_variants() else { panic!("one variant") };
    assert!(variant.selected_by().is_empty() && variant.stored().status() == 200);
}

#[tokio::test]
async fn listed_variants_are_bounded() {
    let cache = memory();
    let (inner, _) = origin(|_, call| numbered(&[("vary", "accept-language")], call));
    let stack = layered(&cache, policy().max_variants(50), inner);
    for number in 0..40 {
        send(&stack, get_with("/", &[("accept-language", &*format!("x-{number}"))])).await;
    }
    let explanation = explain(&cache, &get("/")).await;
    assert_eq!((explanation.variants(), explanation.stored_variants().len()), (40, 32));
    assert_eq!(explanation.stored_variants()[0].selected_by()[0].value(), Some("x-39"));
}
