//! Functions that write header fields into one response, compared with the layers that write the
//! same fields.

use crate::support::*;
use http::{HeaderName, Response, header::ACCEPT};
use tower::Layer;
use tower_response_cache::cache_headers::{
    AddVaryLayer, CacheControl, SetCacheControlLayer, add_never_cache, patch_cache_control, patch_vary,
};
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::{Identified, NeverCacheLayer, SiteCacheLayer};

type Lines = &'static [(&'static str, &'static str)];

const RESPONSES: [(u16, Lines); 9] = [
    (200, &[]),
    (200, &[("cache-control", "public, max-age=60"), ("cache-control", "no-transform")]),
    (200, &[("cache-control", "private=\"x-a\", max-age=9999"), ("vary", "accept, X-Plan")]),
    (200, &[("cache-control", "no-store"), ("vary", "*")]),
    (200, &[("cache-control", "private;no-store"), ("expires", "soon")]),
    (200, &[("set-cookie", "sid=1"), ("cdn-cache-control", "max-age=60")]),
    (404, &[("surrogate-control", "max-age=60")]),
    (500, &[("vary", "Cookie")]),
    (304, &[("cache-control", "max-age=5, community=\"x\"")]),
];

fn response((status, lines): (u16, Lines), is_identified: bool) -> Response<Body> {
    let mut response = with_lines(lines, "a page".to_owned());
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    if is_identified {
        response.extensions_mut().insert(Identified);
    }
    response
}

fn controls() -> Vec<CacheControl> {
    let hour = CacheControl::new().public().max_age(60 * MINUTE).s_maxage(60 * MINUTE);
    let fields = CacheControl::new().private_fields([ACCEPT]).no_cache_fields([ACCEPT]).immutable();
    let community = CacheControl::new().private().extension("community", "UCI").expect("valid");
    vec![hour, fields, community, CacheControl::new().no_store()]
}

#[tokio::test]
async fn a_function_writes_the_same_fields_as_its_layer() {
    for (made, is_identified) in RESPONSES.iter().flat_map(|made| [(*made, false), (*made, true)]) {
        let inner = || origin(move |_, _| response(made, is_identified)).0;
        for control in controls() {
            let layer = SetCacheControlLayer::new(control.clone()).expect("valid");
            let mut patched = response(made, is_identified);
            patch_cache_control(&mut patched, control.clone()).expect("valid");
            let answer = send(&layer.layer(inner()), get("/")).await;
            assert_eq!(&answer.headers, patched.headers(), "{control} in {made:?}");
        }
        for names in [&["Cookie", "x-plan", "cookie"][..], &["*"]] {
            let mut patched = response(made, is_identified);
            patch_vary(&mut patched, names).expect("valid");
            let answer = send(&AddVaryLayer::new(names).expect("valid").layer(inner()), get("/")).await;
            assert_eq!(&answer.headers, patched.headers(), "{names:?} in {made:?}");
        }
        let mut patched = response(made, is_identified);
        add_never_cache(&mut patched);
        let answer = send(&NeverCacheLayer::new().layer(inner()), get("/")).await;
        assert_eq!(&answer.headers, patched.headers(), "{made:?}");
    }
}

#[tokio::test]
async fn add_never_cache_outranks_a_later_cache_control() {
    let (inner, calls) = origin(|_, call| {
        let mut response = numbered(&[("cache-control", "max-age=60")], call);
        add_never_cache(&mut response);
        response.headers_mut().insert("cache-control", http::HeaderValue::from_static("max-age=60"));
        response
    });
    let policy = policy().build().expect("a policy");
    let stack = SiteCacheLayer::new(&memory()).policy(policy).layer(inner);
    for call in 1..=2 {
        assert!(!send(&stack, get("/")).await.is_hit());
        assert_eq!(calls.count(), call);
    }
}

#[test]
fn an_invalid_argument_leaves_the_response_unchanged() {
    let made = || response(RESPONSES[1], false);
    let mut patched = made();
    let wrong = [
        patch_cache_control(&mut patched, CacheControl::new().public().private()),
        patch_cache_control(&mut patched, CacheControl::new()),
        patch_vary(&mut patched, ["Accept", "not a name"]),
        patch_vary(&mut patched, <[HeaderName; 0]>::default()),
    ];
    let kinds = wrong.map(|result| result.expect_err("invalid").kind());
    let (name, none) = (ConfigErrorKind::InvalidFieldName, ConfigErrorKind::EmptyDirectives);
    assert_eq!(kinds, [ConfigErrorKind::Contradiction, none, name, name]);
    assert_eq!(patched.headers(), made().headers());
}

#[test]
fn a_targeted_field_rejects_an_unstructured_extension() {
    let cdn = HeaderName::from_static("cdn-cache-control");
    let control = |value| CacheControl::new().extension("x-edge", value).expect("valid");
    assert!(SetCacheControlLayer::targeting(cdn.clone(), control("abc")).is_ok());
    let error = SetCacheControlLayer::targeting(cdn, control("1.2.3")).expect_err("not structured");
    assert_eq!((error.kind(), error.value()), (ConfigErrorKind::InvalidDirective, "x-edge=1.2.3"));
    assert!(SetCacheControlLayer::new(control("1.2.3")).is_ok());
}
