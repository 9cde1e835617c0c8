//! The services of the layers, created without their layers.

use crate::support::*;
use http::HeaderName;
use tower_response_cache::anonymous_only::AnonymousOnly;
use tower_response_cache::cache_headers::{AddVary, AddVaryLayer, CacheControl, NeverCache, SetCacheControl};
use tower_response_cache::conditional_get::ConditionalGet;
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::precondition::Precondition;
use tower_response_cache::response_cache::ResponseCache;

#[test]
fn each_service_gives_access_to_its_inner_service() {
    macro_rules! check {
        ($($service:expr),* $(,)?) => {$({
            let mut service = $service;
            *service.get_mut() += 1;
            assert_eq!((*service.get_ref(), service.clone().into_inner()), (8, 8));
            assert!(!format!("{service:?}").is_empty());
        })*};
    }
    let control = || CacheControl::new().private();
    let field = HeaderName::from_static("cdn-cache-control");
    check!(
        AddVary::new(7, ["Accept"]).expect("valid"),
        AnonymousOnly::new(7),
        ConditionalGet::new(7),
        NeverCache::new(7),
        Precondition::new(7),
        Precondition::by_get(7),
        ResponseCache::route(7, &memory(), MINUTE),
        ResponseCache::site(7, &memory()),
        SetCacheControl::new(7, control()).expect("valid"),
        SetCacheControl::replacing(7, control()).expect("valid"),
        SetCacheControl::targeting(7, field, control()).expect("valid"),
    );
}

#[tokio::test]
async fn a_service_works_like_the_service_of_its_layer() {
    let inner = || origin(|_, call| numbered(&[("cache-control", "max-age=60")], call)).0;
    macro_rules! check {
        ($($service:expr, $layer:expr;)*) => {$({
            let layer = $layer;
            let made = send(&tower::Layer::layer(&layer, inner()), get("/")).await;
            assert_eq!(send(&$service, get("/")).await.headers, made.headers);
        })*};
    }
    let control = || CacheControl::new().private();
    check!(
        AddVary::new(inner(), ["Accept"]).expect("valid"), AddVary::layer(["Accept"]).expect("valid");
        AnonymousOnly::new(inner()), AnonymousOnly::layer();
        ConditionalGet::new(inner()), ConditionalGet::layer();
        NeverCache::new(inner()), NeverCache::layer();
        Precondition::new(inner()), Precondition::layer();
        SetCacheControl::new(inner(), control()).expect("valid"), SetCacheControl::layer(control()).expect("valid");
    );
    let replaced = SetCacheControl::replacing(inner(), CacheControl::new().public()).expect("valid");
    assert_eq!(send(&replaced, get("/")).await.header("cache-control"), Some("public"));
}

#[test]
fn field_names_can_be_text_or_header_names() {
    let accept = http::header::ACCEPT;
    assert!(AddVaryLayer::new([accept.clone()]).is_ok() && AddVaryLayer::new([&accept]).is_ok());
    assert!(AddVaryLayer::new(["Accept".to_owned()]).is_ok() && AddVaryLayer::new(["Accept"]).is_ok());
    let policy = policy().vary_on_headers(["Accept".to_owned()]).vary_on_headers(["X-Plan"]);
    assert!(policy.vary_on_headers([&accept]).vary_on_headers([accept]).build().is_ok());
    let error = AddVary::new((), ["no name"]).expect_err("invalid");
    assert_eq!((error.kind(), error.value()), (ConfigErrorKind::InvalidFieldName, "no name"));
}
