//! Exchange fields, such as a request ID, describe one exchange. The cache neither stores exchange
//! fields nor sends them with hits.

use crate::support::*;
use http::Response;
use tower_response_cache::{CacheHints, Policy};

const OF_ONE_EXCHANGE: &[&str] = &[
    "x-ratelimit-remaining",
    "ratelimit",
    "x-amzn-requestid",
    "x-amz-id-2",
    "cf-ray",
    "x-b3-traceid",
    "traceresponse",
    "server-timing",
    "x-runtime",
    "ms-cv",
    "x-varnish",
    "x-nws-log-uuid",
    "x-ot-span-context",
    "x-upstream-response-time",
];
const OF_THE_PAGE: &[&str] =
    &["x-amz-version-id", "timing-allow-origin", "x-build-id", "last-response-timezone", "etag"];

fn page(call: usize) -> Response<Body> {
    let mut response = numbered(&[("cache-control", "max-age=60")], call);
    for name in OF_ONE_EXCHANGE.iter().chain(OF_THE_PAGE) {
        response.headers_mut().insert(*name, "\"1\"".parse().expect("a value"));
    }
    response
}

#[tokio::test]
async fn exchange_fields_reach_only_their_own_client() {
    for policy in [policy(), Policy::rfc9111().cache_status(true)] {
        let (stack, _) = site(policy, |_, call| page(call));
        let miss = send(&stack, get("/")).await;
        let hit = send(&stack, get("/")).await;
        assert!(hit.is_hit() && !miss.is_hit());
        for name in OF_ONE_EXCHANGE {
            assert_eq!((miss.header(name), hit.header(name)), (Some("\"1\""), None), "{name}");
        }
        for name in OF_THE_PAGE {
            assert_eq!(hit.header(name), Some("\"1\""), "{name}");
        }
    }
}

/// RFC 9111 section 4.3.4: a 304 updates the stored response, but not with fields that describe
/// only the validation.
#[tokio::test]
async fn exchange_fields_of_a_304_are_not_stored() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| {
        let mut response = page(call);
        if call > 1 {
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::default();
        }
        response
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    manual.advance(2 * MINUTE);
    for _ in 0..2 {
        let answer = send(&stack, get("/")).await;
        assert_eq!(answer.text(), "1");
        assert!(OF_ONE_EXCHANGE.iter().all(|name| answer.header(name).is_none()), "{answer:?}");
    }
}

/// RFC 6585 section 4: on a 429, `Retry-After` depends on the requests of one client. On a 503, it
/// describes the service.
#[tokio::test]
async fn retry_after_is_stored_except_on_a_429() {
    for (status, kept) in [(429, None), (503, Some("9")), (301, Some("9"))] {
        let status = http::StatusCode::from_u16(status).expect("a status");
        let (stack, _) = site(policy(), move |_, call| {
            let mut response = numbered(&[("retry-after", "9")], call);
            *response.status_mut() = status;
            CacheHints::new().ttl(MINUTE).statuses([status]).add_to(response.extensions_mut());
            response
        });
        assert_eq!(send(&stack, get("/")).await.header("retry-after"), Some("9"));
        let hit = send(&stack, get("/")).await;
        assert!(hit.is_hit());
        assert_eq!(hit.header("retry-after"), kept, "{status}");
    }
}
