//! An inspector inside the cache layers of this crate, which store and share none of its answers.

use super::*;
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::{ConditionalGetLayer, Policy, RouteCacheLayer, SiteCacheLayer};

const ADDRESSES: [&str; 5] = ["/", "/inspector.js", "/stats.json", "/token.json", "/explain.json?url=/"];

#[tokio::test]
async fn no_layer_stores_an_answer() {
    let cache = memory();
    let service = inspector(&cache);
    let policy = |builder: tower_response_cache::policy::PolicyBuilder| {
        builder.cache_status(true).build().expect("a policy")
    };
    let presets = [
        policy(Policy::app().default_ttl(MINUTE).client_max_age(MINUTE)),
        policy(Policy::rfc9111().default_ttl(MINUTE).heuristic_freshness(60 * MINUTE)),
    ];
    for preset in presets {
        let site = SiteCacheLayer::new(&cache).policy(preset.clone()).layer(service.clone());
        let route = RouteCacheLayer::new(&cache, MINUTE).policy(preset).layer(service.clone());
        let both = SiteCacheLayer::new(&cache).layer(route.clone());
        for address in ADDRESSES {
            for lines in [&[OPERATOR][..], &[]] {
                let expected = if lines.is_empty() { 404 } else { 200 };
                for _ in 0..2 {
                    let answers = [
                        send(&site, get_with(address, lines)).await,
                        send(&route, get_with(address, lines)).await,
                        send(&both, get_with(address, lines)).await,
                    ];
                    for answer in answers {
                        assert_eq!(answer.status, expected, "{address}");
                        assert!(!answer.is_hit(), "{address} {:?}", answer.headers);
                        let control = answer.header("cache-control").expect("a field");
                        assert!(control.contains("no-store"), "{control}");
                        assert_eq!(answer.header("age"), None);
                    }
                }
            }
        }
    }
    assert_eq!(cache.stats().store().entries(), Some(0));
}

#[tokio::test]
async fn concurrent_requests_are_each_asked_for() {
    let cache = memory();
    let service = inspector(&cache);
    let slow = tower::service_fn(move |request: Request<Body>| {
        let service = service.clone();
        async move {
            tokio::task::yield_now().await;
            service.oneshot(request).await
        }
    });
    let policy =
        Policy::app().default_ttl(MINUTE).collapse_timeout(Duration::from_secs(5)).build().expect("a policy");
    let stack = SiteCacheLayer::new(&cache).policy(policy).layer(slow);
    for address in ADDRESSES {
        let (operator, visitor, other) = tokio::join!(
            send(&stack, get_with(address, &[OPERATOR])),
            send(&stack, get(address)),
            send(&stack, get_with(address, &[OPERATOR])),
        );
        assert_eq!(
            (operator.status.as_u16(), visitor.status.as_u16(), other.status.as_u16()),
            (200, 404, 200)
        );
        assert_eq!(visitor.text(), "", "{address}");
    }
}

#[tokio::test]
async fn posts_work_inside_a_cache_layer() {
    let cache = memory();
    let service = inspector(&cache);
    let page = site_over(&cache, origin(|_, call| numbered(&[], call)).0);
    send(&page, get("/page")).await;
    let stack = ConditionalGetLayer::new().layer(SiteCacheLayer::new(&cache).layer(service.clone()));
    let token = token(&service).await;
    let purge = operator_request("POST", "/purge", &[FORM, ("x-inspector-token", &token)], "path=/page");
    assert_eq!(send(&stack, purge).await.status, 200);
    assert!(!send(&page, get("/page")).await.is_hit());
}
