//! Invalidation of paths and of the whole namespace.

use crate::support::*;
use http::Request;
use tower::{Layer, ServiceExt};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::{Cache, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer};

#[tokio::test]
async fn a_path_covers_its_queries_hosts_variants_and_layers() {
    let cache = memory();
    let vary = |_: &Request<Body>, call| numbered(&[("vary", "accept-language")], call);
    let site = site_over(&cache, origin(vary).0);
    let route = route_over(&cache, MINUTE, origin(vary).0);
    let requests = || {
        [
            get_with("/page", &[("host", "a.example")]),
            get_with("/page", &[("host", "b.example")]),
            get_with("/page?q=1", &[("host", "a.example")]),
            get_with("/page", &[("host", "a.example"), ("accept-language", "de")]),
            get("https://a.example/page"),
        ]
    };
    for stack in [&site, &route] {
        for request in requests() {
            send(stack, request).await;
        }
        for request in requests() {
            assert!(send(stack, request).await.is_hit());
        }
        send(stack, get("/other")).await;
    }
    assert_eq!(cache.invalidate(Invalidation::path("/page")).await, Delivery::Delivered);
    for stack in [&site, &route] {
        for request in requests() {
            assert!(!send(stack, request).await.is_hit());
        }
        assert!(!send(stack, request("HEAD", "/page", &[("host", "c.example")])).await.is_hit());
        assert!(send(stack, get("/other")).await.is_hit(), "other paths stay stored");
    }
}

#[tokio::test]
async fn an_invalidation_of_all_clears_one_namespace_only() {
    let store = memory_store(1 << 20);
    let cache = |namespace: &str| Cache::builder(store.clone()).namespace(namespace).build().expect("valid");
    let (one, two) = (cache("one"), cache("two"));
    let stacks = [&one, &two].map(|cache| site_over(cache, origin(|_, call| numbered(&[], call)).0));
    for stack in &stacks {
        assert!(shares(stack, get("/"), get("/")).await);
    }
    assert_eq!(one.invalidate(Invalidation::all()).await, Delivery::Delivered);
    assert!(!send(&stacks[0], get("/")).await.is_hit());
    assert!(send(&stacks[1], get("/")).await.is_hit());
}

#[tokio::test]
async fn namespaces_and_versions_share_nothing() {
    let store = memory_store(1 << 20);
    let mut stacks = Vec::new();
    for (namespace, version) in [("a", 1), ("a", 2), ("b", 1), ("ab", 1)] {
        let cache =
            Cache::builder(store.clone()).namespace(namespace).version(version).build().expect("valid");
        let page = format!("{namespace}{version}");
        stacks.push((page.clone(), site_over(&cache, origin(move |_, _| with_lines(&[], page.clone())).0)));
    }
    for _ in 0..2 {
        for (page, stack) in &stacks {
            assert_eq!(send(stack, get("/")).await.text(), page);
        }
    }
}

#[tokio::test]
async fn a_path_matches_in_encoded_and_decoded_form() {
    let cache = memory();
    let stack = site_over(&cache, origin(|_, call| numbered(&[], call)).0);
    let table = [
        ("/f/what%3F", "/f/what?"),
        ("/f/c%23", "/f/c#"),
        ("/f/50%2541", "/f/50%41"),
        ("/f/50%2541", "/f/50%2541"),
        ("/f/caf%C3%A9", "/f/café"),
        ("/f/a?x=1", "/f/a?x=2"),
    ];
    for (requested, named) in table {
        send(&stack, get(requested)).await;
        assert_eq!(cache.invalidate(Invalidation::path(named)).await, Delivery::Delivered);
        assert!(!send(&stack, get(requested)).await.is_hit(), "{named}");
    }
}

#[tokio::test]
async fn nested_layers_are_cleared_together() {
    let cache = memory();
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let route = RouteCacheLayer::new(&cache, MINUTE).layer(inner);
    let stack = SiteCacheLayer::new(&cache)
        .policy(Policy::app().default_ttl(MINUTE).build().expect("a policy"))
        .layer(route)
        .boxed_clone();
    let text = async || {
        let response = stack.clone().oneshot(get("/page")).await.expect("infallible");
        read(response).await.text().to_owned()
    };
    assert_eq!((text().await, text().await), ("1".to_owned(), "1".to_owned()));
    assert_eq!(cache.invalidate(Invalidation::path("/page")).await, Delivery::Delivered);
    assert_eq!((text().await, calls.count()), ("2".to_owned(), 2));
}

#[tokio::test]
async fn an_invalidation_without_paths_changes_nothing() {
    let cache = memory();
    let stack = site_over(&cache, origin(|_, call| numbered(&[], call)).0);
    send(&stack, get("/")).await;
    assert_eq!(cache.invalidate(Invalidation::from([""; 0])).await, Delivery::Delivered);
    assert!(send(&stack, get("/")).await.is_hit());
}
