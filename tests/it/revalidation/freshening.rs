//! What a 304 may freshen (RFC 9111 section 4.3.4), and for how long.

use crate::support::*;
use http::{Response, StatusCode};
use std::time::Duration;
use tower_response_cache::{CacheHints, Invalidation, Ttl};

const TAGGED: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("etag", "\"a\"")];
const SECOND: Duration = Duration::from_secs(1);

fn not_modified(lines: &[(&str, &str)]) -> Response<Body> {
    let mut response = with_lines(lines, "");
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

fn is_conditional(request: &http::Request<Body>) -> bool {
    request.headers().contains_key("if-none-match")
}

fn hinted(mut response: Response<Body>, ttl: Duration) -> Response<Body> {
    CacheHints::new().ttl(ttl).add_to(response.extensions_mut());
    response
}

fn in_language(language: &str) -> http::Request<Body> {
    get_with("/", &[("accept-language", language)])
}

#[tokio::test]
async fn a_page_validated_by_a_304_depends_on_the_values_it_was_made_from() {
    let (cache, hand) = timed();
    cache.set("price", &1, Ttl::Forever).await.expect("stored");
    let handle = cache.clone();
    let inner = tower::service_fn(move |request: http::Request<Body>| {
        let cache = handle.clone();
        async move {
            if is_conditional(&request) {
                return Ok::<_, std::convert::Infallible>(not_modified(TAGGED));
            }
            let price: u32 = cache.get("price").await.expect("a value");
            Ok(with_lines(TAGGED, price.to_string()))
        }
    });
    let stack = site_over(&cache, tower::ServiceExt::boxed_clone(inner));
    assert_eq!(send(&stack, get("/")).await.text(), "1");
    hand.advance(61 * SECOND);
    assert!(send(&stack, get("/")).await.header("cache-status").is_some_and(|line| line.contains("=304")));
    assert!(send(&stack, get("/")).await.is_hit(), "fresh again");
    cache.set("price", &2, Ttl::Forever).await.expect("stored");
    let after = send(&stack, get("/")).await;
    assert_eq!((after.text(), after.is_hit()), ("2", false));
}

#[tokio::test]
async fn a_304_for_one_variant_freshens_no_invalidated_variant() {
    let (cache, hand) = timed();
    let (inner, calls) = origin(|request, call| {
        let language = request.headers()["accept-language"].to_str().expect("text").to_owned();
        let lines = [TAGGED, &[("vary", "accept-language")]].concat();
        if is_conditional(request) {
            return not_modified(&lines);
        }
        let mut response = numbered(&lines, call);
        CacheHints::new().tags([language]).add_to(response.extensions_mut());
        response
    });
    let stack = site_over(&cache, inner);
    for language in ["en", "de", "fr"] {
        send(&stack, in_language(language)).await;
    }
    cache.invalidate(Invalidation::tag("de")).await.expect("the store answers");
    hand.advance(61 * SECOND);
    let validated = send(&stack, in_language("en")).await;
    assert_eq!((validated.text(), calls.count()), ("1", 4));
    assert!(send(&stack, in_language("fr")).await.is_hit(), "freshened with it");
    let invalidated = send(&stack, in_language("de")).await;
    assert_eq!((invalidated.text(), invalidated.is_hit()), ("5", false));
}

#[tokio::test]
async fn a_variant_stays_fresh_no_longer_than_the_one_that_was_validated() {
    let (cache, hand) = timed();
    let (minute, hour) = (60 * SECOND, 3600 * SECOND);
    let (inner, calls) = origin(move |request, call| {
        let ttl = if request.headers()["accept-language"] == "en" { minute } else { hour };
        let lines = [("etag", "\"a\""), ("vary", "accept-language")];
        match is_conditional(request) {
            true => hinted(not_modified(&lines), ttl),
            false => hinted(numbered(&lines, call), ttl),
        }
    });
    let stack = site_over(&cache, inner);
    send(&stack, in_language("en")).await;
    send(&stack, in_language("de")).await;
    hand.advance(hour + SECOND);
    send(&stack, in_language("en")).await;
    assert_eq!(calls.count(), 3);
    assert!(send(&stack, in_language("de")).await.is_hit(), "freshened with it");
    hand.advance(minute + SECOND);
    assert!(!send(&stack, in_language("de")).await.is_hit());
    assert_eq!(calls.count(), 4);
}

#[tokio::test]
async fn a_304_with_no_cache_ends_the_lifetime_that_a_hint_gave() {
    let (cache, hand) = timed();
    let (inner, calls) = origin(|request, call| match is_conditional(request) {
        true => not_modified(&[("etag", "\"a\""), ("cache-control", "no-cache")]),
        false => hinted(numbered(&[("etag", "\"a\"")], call), 60 * SECOND),
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    hand.advance(61 * SECOND);
    for expected in [2, 3] {
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.is_hit(), calls.count()), ("1", false, expected));
    }
}
