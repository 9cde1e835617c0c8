//! Hostile input: nothing panics, and clients get the responses that the origin sent.

use crate::support::*;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use proptest::prelude::*;
use tower::{Layer, ServiceExt};
use tower_response_cache::{Policy, RouteCacheLayer, SiteCacheLayer};

const NAMES: &[&str] = &[
    "age",
    "date",
    "expires",
    "cache-control",
    "vary",
    "content-length",
    "content-type",
    "connection",
    "etag",
    "content-range",
    "location",
    "x-a",
    "pragma",
    "cache-status",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![Just(b'\t'), 32..=126_u8, 128..=255_u8], 0..24),
        prop::sample::select(vec![
            "max-age=60",
            "max-age=99999999999999999999",
            "s-maxage=5, max-age=\"",
            "private=\"x-a",
            "public",
            "no-cache=\"x-a\"",
            "*",
            "x-a, x-b",
            "Thu, 01 Jan 2026 00:01:00 GMT",
            "0",
            "5",
            "5, 6",
            "close, x-a",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn lines() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    prop::collection::vec((prop::sample::select(NAMES), value()), 0..6)
}

fn respond(status: u16, lines: &[(&'static str, Vec<u8>)], body: &[u8]) -> Response<Body> {
    let mut response = Response::new(Full::from(body.to_vec()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in lines {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    response
}

proptest! {
    #![proptest_config(crate::support::cases(600))]
    /// A hit has the status and the body that the origin sent. All its fields except `Age` and
    /// `Date` are fields that the origin sent.
    #[test]
    fn responses_equal_what_the_origin_sent(
        status in prop::sample::select(vec![200, 203, 204, 206, 301, 404, 410, 500]),
        lines in lines(),
        body in prop::collection::vec(any::<u8>(), 0..40),
        standards in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let sent = respond(status, &lines, &body);
            let headers = sent.headers().clone();
            let (cache, _) = timed();
            let (inner, calls) = origin(move |_, _| sent.clone());
            let policy = if standards { Policy::rfc9111() } else { Policy::app() };
            let stack = SiteCacheLayer::new(&cache).policy(policy.default_ttl(MINUTE).build().expect("a policy")).layer(inner).boxed_clone();
            for _ in 0..3 {
                let answer = send(&stack, get("/")).await;
                assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, &body[..]));
                for name in answer.headers.keys().filter(|name| !["age", "date"].contains(&name.as_str())) {
                    let of = |headers: &http::HeaderMap| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
                    assert_eq!(of(&answer.headers), of(&headers), "{name}");
                }
            }
            assert!(calls.count() == 1 || calls.count() == 3);
        });
    }

    #[test]
    fn no_request_field_panics_or_changes_the_page_of_others(
        requests in prop::collection::vec((prop::sample::select(vec![
            "host", "cookie", "authorization", "cache-control", "range", "if-none-match", "x-forwarded-host",
            "forwarded", "content-length", "accept", "x-original-url", "pragma", "connection", "te",
        ]), value()), 1..12),
        standards in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            // Reflects fields that name the site or identify the visitor, as vulnerable
            // applications do.
            let reflect = |request: &Request<Body>, _: usize| {
                let seen: Vec<_> = ["host", "authorization", "cookie", "x-forwarded-host", "forwarded", "x-original-url"]
                    .iter().flat_map(|name| request.headers().get_all(*name)).map(HeaderValue::as_bytes).collect();
                let lines: &[_] = if seen.is_empty() { &[("cache-control", "max-age=60")] } else { &[("cache-control", "max-age=60"), ("vary", "cookie")] };
                with_lines(lines, seen.join(&b'|'))
            };
            let (inner, _) = origin(reflect);
            let policy = if standards { Policy::rfc9111() } else { Policy::app() };
            let stack = RouteCacheLayer::new(&memory(), MINUTE).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
            for (name, value) in requests {
                let mut request = get("/");
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    request.headers_mut().append(HeaderName::from_static(name), value);
                }
                send(&stack, request).await;
                let plain = send(&stack, get("/")).await;
                assert_eq!(plain.text(), "", "{name}");
            }
        });
    }
}

/// The test would take minutes if the cache compared each name of a list with each field.
#[tokio::test(start_paused = true)]
async fn long_lists_of_field_names_take_linear_time() {
    const FIELDS: usize = 16_000;
    let list =
        |prefix: &str, length| (0..length).map(|number| format!("{prefix}-{number}")).collect::<Vec<_>>();
    let tokens = list("x-token", FIELDS);
    let control = format!("max-age=60, private=\"{}\"", tokens.join(", "));
    // With 16,000 nominated fields, the key of the variant is too long to be stored.
    for (length, is_stored) in [(300, true), (FIELDS, false)] {
        let nominated = list("x-part", length);
        let (control, vary) = (control.clone(), nominated.join(", "));
        let (stack, calls) = site(Policy::app().cache_status(true), {
            let tokens = tokens.clone();
            move |_, call| {
                let lines = tokens.iter().map(|name| (name.as_str(), "secret"));
                let all: Vec<_> =
                    lines.chain([("cache-control", &*control), ("vary", &*vary), ("x-kept", "1")]).collect();
                numbered(&all, call)
            }
        });
        let request =
            || get_with("/", &nominated.iter().map(|name| (name.as_str(), "1")).collect::<Vec<_>>());
        let first = send(&stack, request()).await;
        assert_eq!(first.headers.get("x-token-1").map(HeaderValue::as_bytes), Some(&b"secret"[..]));
        let second = send(&stack, request()).await;
        assert_eq!((second.is_hit(), calls.count()), (is_stored, if is_stored { 1 } else { 2 }));
        assert!(second.headers.contains_key("x-kept"));
        assert_eq!(second.headers.contains_key("x-token-1"), !is_stored);
        assert_eq!(second.detail(), (!is_stored).then_some("key-length"));
    }
}
