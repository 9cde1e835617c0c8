//! The layers that write header fields: `NeverCacheLayer`, `SetCacheControlLayer` and
//! `AddVaryLayer`.

use crate::support::*;
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::cache_headers::{AddVaryLayer, CacheControl, SetCacheControlLayer};
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::{Identified, NeverCacheLayer, Policy, SiteCacheLayer};

#[tokio::test]
async fn a_never_cached_page_is_stored_nowhere() {
    let (inner, calls) = origin(|_, call| numbered(&[("cache-control", "public, max-age=3600")], call));
    let once = NeverCacheLayer::new().layer(inner);
    let twice = NeverCacheLayer::new().layer(once.clone()).boxed_clone();
    let stack =
        SiteCacheLayer::new(&memory()).policy(policy().build().expect("a policy")).layer(twice).boxed_clone();
    for call in 1..=2 {
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.is_hit(), calls.count()), (call.to_string().as_str(), false, call));
        assert_eq!(answer.header("expires"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        let marked = answer.header("cache-control");
        assert_eq!(marked, Some("max-age=0, no-cache, no-store, must-revalidate, private"));
    }
    assert_eq!(
        send(&once, get("/")).await.header("cache-control"),
        send(&stack, get("/")).await.header("cache-control")
    );
}

#[tokio::test]
async fn directives_outside_the_cache_apply_to_clients_only() {
    let minute = SetCacheControlLayer::new(CacheControl::new().max_age(MINUTE)).expect("valid");
    let private = SetCacheControlLayer::new(CacheControl::new().private()).expect("valid");
    let (cache, manual) = timed();
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let cached = SiteCacheLayer::new(&cache).layer(minute.layer(inner)).boxed_clone();
    let stack = private.layer(cached);
    for _ in 0..2 {
        assert_eq!(send(&stack, get("/")).await.header("cache-control"), Some("max-age=60, private"));
    }
    assert_eq!(calls.count(), 1);
    manual.advance(MINUTE);
    assert_eq!(send(&stack, get("/")).await.text(), "2");
}

#[tokio::test]
async fn a_layer_for_a_targeted_field_leaves_cache_control() {
    let cdn = http::HeaderName::from_static("cdn-cache-control");
    let control = CacheControl::new().max_age(Duration::from_secs(9));
    let layer = SetCacheControlLayer::targeting(cdn, control).expect("valid");
    let stack = layer.layer(origin(|_, call| numbered(&[("cache-control", "no-cache")], call)).0);
    let answer = send(&stack, get("/")).await;
    assert_eq!(
        (answer.header("cdn-cache-control"), answer.header("cache-control")),
        (Some("max-age=9"), Some("no-cache"))
    );
}

#[tokio::test]
async fn fields_of_an_inner_vary_layer_select_variants() {
    let (inner, calls) = origin(|request, _| {
        let plan = request.headers().get("x-plan").map_or("none", |plan| plan.to_str().expect("text"));
        with_lines(&[("vary", "Accept")], plan.to_owned())
    });
    let varied = AddVaryLayer::new(["X-Plan", "accept"]).expect("valid").layer(inner).boxed_clone();
    let stack = SiteCacheLayer::new(&memory())
        .policy(policy().build().expect("a policy"))
        .layer(varied)
        .boxed_clone();
    for _ in 0..2 {
        for plan in ["free", "paid"] {
            let answer = send(&stack, get_with("/", &[("x-plan", plan)])).await;
            assert_eq!((answer.text(), answer.header("vary")), (plan, Some("Accept, X-Plan")));
        }
    }
    assert_eq!(calls.count(), 2);
    let by_cookie = AddVaryLayer::on_cookie().layer(origin(|_, call| numbered(&[], call)).0);
    assert_eq!(send(&by_cookie, get("/")).await.header("vary"), Some("Cookie"));
}

#[test]
fn invalid_configuration_is_an_error_with_the_value() {
    let contradictory =
        SetCacheControlLayer::new(CacheControl::new().public().private()).expect_err("refused");
    assert_eq!(
        (contradictory.kind(), contradictory.value()),
        (ConfigErrorKind::Contradiction, "public, private")
    );
    let wrong = AddVaryLayer::new(["Accept", "not a name"]).expect_err("refused");
    assert_eq!((wrong.kind(), wrong.value()), (ConfigErrorKind::InvalidFieldName, "not a name"));
    assert!(AddVaryLayer::new(Vec::<String>::new()).is_err());
    assert!(AddVaryLayer::new(["*"]).is_ok());
}

/// RFC 9213 section 2.2: a targeted field outranks `Cache-Control`.
#[tokio::test]
async fn outer_layers_cannot_make_a_never_cached_page_storable() {
    let cdn = http::HeaderName::from_static("cdn-cache-control");
    for policy in [policy(), Policy::rfc9111().cache_status(true)] {
        let (inner, _) = origin(|_, call| numbered(&[("cdn-cache-control", "max-age=60")], call));
        let hour = || CacheControl::new().public().max_age(60 * MINUTE);
        let targeted = SetCacheControlLayer::targeting(cdn.clone(), hour()).expect("valid");
        let plain = SetCacheControlLayer::new(hour()).expect("valid");
        let patched = plain.layer(targeted.layer(NeverCacheLayer::new().layer(inner)));
        let stack = SiteCacheLayer::new(&memory())
            .policy(policy.targeted_fields([cdn.clone()]).build().expect("a policy"))
            .layer(patched);
        for call in ["1", "2"] {
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.text(), answer.header("cdn-cache-control")), (call, None));
            assert_eq!(
                answer.header("cache-control"),
                Some("max-age=0, no-cache, no-store, must-revalidate, private")
            );
        }
    }
}

#[tokio::test]
async fn errors_and_personalized_responses_get_no_shared_lifetime() {
    let hour = CacheControl::new().public().max_age(60 * MINUTE).s_maxage(60 * MINUTE).no_transform();
    for (status, identified, client_control) in [
        (200, false, Some("public, max-age=3600, s-maxage=3600, no-transform")),
        (302, false, Some("public, max-age=3600, s-maxage=3600, no-transform")),
        (404, false, Some("no-transform")),
        (503, false, Some("no-transform")),
        (200, true, Some("max-age=3600, no-transform")),
    ] {
        let (inner, _) = origin(move |_, call| {
            let mut response = numbered(&[], call);
            *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
            if identified {
                response.extensions_mut().insert(Identified);
            }
            response
        });
        let stack = SetCacheControlLayer::new(hour.clone()).expect("valid").layer(inner);
        assert_eq!(send(&stack, get("/")).await.header("cache-control"), client_control, "{status}");
    }
}

#[test]
fn empty_and_contradictory_directives_are_an_error() {
    let error = SetCacheControlLayer::new(CacheControl::new()).expect_err("empty");
    assert_eq!((error.kind(), error.value()), (ConfigErrorKind::EmptyDirectives, "cache-control"));
    let both = CacheControl::new().public().private_fields([]);
    assert_eq!(SetCacheControlLayer::new(both).expect_err("both").value(), "public, private");
}
