//! Which stored responses a 304 freshens (RFC 9111 section 4.3.4), and for how long.

use crate::support::rfc9111::{app, date, field, proxy, standing, with_status};
use crate::support::selected::DIGESTED;
use crate::support::*;
use http::{Response, StatusCode};
use std::time::Duration;
use tower_response_cache::invalidation::Delivery;
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
async fn a_304_keeps_the_dependencies_of_the_page() {
    let (cache, manual) = timed();
    cache.set("price", &1, Ttl::Forever).await.expect("stored");
    let handle = cache.clone();
    let inner = tower::service_fn(move |request: http::Request<Body>| {
        let cache = handle.clone();
        async move {
            if is_conditional(&request) {
                return Ok::<_, std::convert::Infallible>(not_modified(TAGGED));
            }
            let price: u32 = cache.get("price").await.expect("read").expect("a value");
            Ok(with_lines(TAGGED, price.to_string()))
        }
    });
    let stack = site_over(&cache, tower::ServiceExt::boxed_clone(inner));
    assert_eq!(send(&stack, get("/")).await.text(), "1");
    manual.advance(61 * SECOND);
    assert!(send(&stack, get("/")).await.header("cache-status").is_some_and(|line| line.contains("=304")));
    assert!(send(&stack, get("/")).await.is_hit(), "fresh again");
    cache.set("price", &2, Ttl::Forever).await.expect("stored");
    let after = send(&stack, get("/")).await;
    assert_eq!((after.text(), after.is_hit()), ("2", false));
}

#[tokio::test]
async fn a_304_for_one_variant_freshens_no_invalidated_variant() {
    let (cache, manual) = timed();
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
    assert_eq!(cache.invalidate(Invalidation::tag("de")).await, Delivery::Delivered);
    manual.advance(61 * SECOND);
    let validated = send(&stack, in_language("en")).await;
    assert_eq!((validated.text(), calls.count()), ("1", 4));
    assert!(send(&stack, in_language("fr")).await.is_hit(), "freshened by the same 304");
    let invalidated = send(&stack, in_language("de")).await;
    assert_eq!((invalidated.text(), invalidated.is_hit()), ("5", false));
}

#[tokio::test]
async fn a_304_freshens_variants_no_longer_than_the_validated_one() {
    let (cache, manual) = timed();
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
    manual.advance(hour + SECOND);
    send(&stack, in_language("en")).await;
    assert_eq!(calls.count(), 3);
    assert!(send(&stack, in_language("de")).await.is_hit(), "freshened by the same 304");
    manual.advance(minute + SECOND);
    assert!(!send(&stack, in_language("de")).await.is_hit());
    assert_eq!(calls.count(), 4);
}

#[tokio::test]
async fn a_304_with_no_cache_does_not_renew_a_hinted_lifetime() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, call| match is_conditional(request) {
        true => not_modified(&[("etag", "\"a\""), ("cache-control", "no-cache")]),
        false => hinted(numbered(&[("etag", "\"a\"")], call), 60 * SECOND),
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    manual.advance(61 * SECOND);
    for expected in [2, 3] {
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.is_hit(), calls.count()), ("1", false, expected));
    }
}

/// RFC 9111 sections 4.2.1, 4.3.4 and 5.2.2.4.
#[tokio::test]
async fn a_304_for_one_variant_does_not_freshen_a_no_cache_variant() {
    let mut failed = Vec::new();
    for (cc, wait) in [("no-cache", 1), ("max-age=0", 1), ("max-age=5", 10)] {
        let (stack, calls, manual) = standing(proxy(), move |request, call| {
            let strict = field(request, "x-a") == "strict";
            let control = if strict { cc } else { "max-age=60" };
            let lines = [("cache-control", control), ("etag", "\"1\""), ("vary", "x-a")];
            match request.headers().contains_key("if-none-match") {
                true => with_status(304, with_lines(&[("etag", "\"1\""), ("vary", "x-a")], "")),
                false => numbered(&lines, call),
            }
        });
        let request_page = async |a| send(&stack, get_with("/", &[("x-a", a)])).await;
        request_page("strict").await;
        request_page("lax").await;
        manual.advance(61 * SECOND);
        request_page("lax").await;
        assert_eq!(calls.count(), 3);
        manual.advance(wait * SECOND);
        let answer = request_page("strict").await;
        if (answer.header("cache-control"), answer.is_hit(), calls.count()) != (Some(cc), false, 4) {
            failed.push(answer.headers);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// RFC 9111 section 4.3.4.
#[tokio::test]
async fn a_304_with_other_validators_updates_nothing() {
    type Lines = Vec<(&'static str, String)>;
    let table: [(Lines, Lines); 4] = [
        // The validators of the first response, and of the later responses.
        (
            vec![("last-modified", date(-1000))],
            vec![("etag", "\"b\"".into()), ("last-modified", date(-2000))],
        ),
        (vec![("last-modified", date(-1000))], vec![("etag", "\"b\"".into())]),
        (
            vec![("etag", "\"a\"".into()), ("last-modified", date(-1000))],
            vec![("last-modified", date(-2000))],
        ),
        (vec![("etag", "\"a\"".into())], vec![("last-modified", date(-2000))]),
    ];
    let mut failed = Vec::new();
    for (own, given) in table {
        let (first, later) = (own.clone(), given.clone());
        let (stack, _, manual) = standing(proxy(), move |request, call| {
            let revalidates =
                ["if-none-match", "if-modified-since"].iter().any(|n| request.headers().contains_key(*n));
            let lines = if call == 1 { &first } else { &later };
            let mut lines: Vec<_> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
            lines.push(("cache-control", "max-age=60"));
            if revalidates {
                with_status(304, with_lines(&lines, ""))
            } else {
                with_lines(&lines, if call == 1 { "old" } else { "new" })
            }
        });
        send(&stack, get("/")).await;
        manual.advance(61 * SECOND);
        send(&stack, get("/")).await;
        // A client that has the page "new" from elsewhere sends the validators of that page.
        let condition = match given[0].0 {
            "etag" => ("if-none-match", "\"b\"".to_owned()),
            _ => ("if-modified-since", date(-2000)),
        };
        let answer = send(&stack, get("/")).await;
        let relabelled =
            given.iter().any(|(name, value)| answer.header(name) == Some(value)) && answer.text() == "old";
        let conditional = send(&stack, get_with("/", &[(condition.0, &condition.1)])).await;
        if relabelled {
            failed.push((
                own,
                given,
                conditional.status,
                conditional.header("cache-status").map(str::to_owned),
            ));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// RFC 9110 section 15.4.5: without its condition, a request that gets a 304 "would have resulted
/// in a 200". A stored error or redirect is no 200.
#[tokio::test]
async fn a_304_does_not_confirm_an_error_or_a_redirect() {
    let mut failed = Vec::new();
    for code in [404, 410, 301, 503] {
        let (stack, calls, manual) = standing(proxy(), move |request, call| {
            let lm = date(-10_000);
            let lines = [("cache-control", "max-age=10"), ("last-modified", lm.as_str())];
            match call {
                // A server may send an error page from a file, with its `Last-Modified`.
                1 => with_status(code, with_lines(&lines, "an error")),
                _ if request.headers().contains_key("if-modified-since") => {
                    with_status(304, with_lines(&lines, ""))
                }
                _ => with_lines(&lines, "the page"),
            }
        });
        send(&stack, get("/")).await;
        manual.advance(11 * SECOND);
        let answer = send(&stack, get("/")).await;
        let later = send(&stack, get("/")).await;
        if (answer.text(), later.text()) != ("the page", "the page") {
            failed.push((
                code,
                answer.status,
                later.status,
                later.header("cache-status").map(str::to_owned),
                calls.count(),
            ));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// RFC 9111 section 4.2.3.
#[tokio::test]
async fn the_age_field_of_a_304_shortens_the_remaining_lifetime() {
    let (stack, calls, manual) = standing(proxy(), |request, call| {
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\""), ("age", "50")];
        match request.headers().contains_key("if-none-match") {
            true => with_status(304, with_lines(&lines, "")),
            false => numbered(&lines, call),
        }
    });
    send(&stack, get("/")).await;
    manual.advance(11 * SECOND);
    assert_eq!(send(&stack, get("/")).await.header("age"), Some("50"));
    manual.advance(9 * SECOND);
    assert_eq!((send(&stack, get("/")).await.header("age"), calls.count()), (Some("59"), 2));
    manual.advance(2 * SECOND);
    send(&stack, get("/")).await;
    assert_eq!(calls.count(), 3);
}

/// A 304 may repeat some or none of the stored validators.
#[tokio::test]
async fn a_304_with_the_stored_validators_freshens() {
    let same = date(-1000);
    type Lines = Vec<(&'static str, String)>;
    let table: [(Lines, Lines); 4] = [
        (vec![("last-modified", same.clone())], vec![("last-modified", same.clone())]),
        (vec![("last-modified", same.clone())], vec![]),
        (
            vec![("etag", "\"a\"".into()), ("last-modified", same.clone())],
            vec![("last-modified", same.clone())],
        ),
        (vec![("etag", "\"a\"".into())], vec![]),
    ];
    for (own, given) in table {
        let (first, later) = (own.clone(), given.clone());
        let (stack, calls, manual) = standing(proxy(), move |_, call| {
            let lines = if call == 1 { &first } else { &later };
            let mut lines: Vec<_> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
            lines.push(("cache-control", "max-age=60"));
            if call == 1 { with_lines(&lines, "old") } else { with_status(304, with_lines(&lines, "")) }
        });
        send(&stack, get("/")).await;
        manual.advance(61 * SECOND);
        assert_eq!(send(&stack, get("/")).await.text(), "old");
        assert!(send(&stack, get("/")).await.is_hit(), "{own:?} {given:?}");
        assert_eq!(calls.count(), 2);
    }
}

/// RFC 9111 section 3.2.
#[tokio::test]
async fn a_304_updates_content_type_only_under_rfc9111() {
    for (policy, expected) in [(proxy(), "text/plain"), (app(), "text/html")] {
        let (stack, _, manual) = standing(policy, |request, call| {
            let again = request.headers().contains_key("if-none-match");
            let of = if again { "text/plain" } else { "text/html" };
            let lines = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-type", of)];
            with_status(if again { 304 } else { 200 }, numbered(&lines, call))
        });
        send(&stack, get("/")).await;
        manual.advance(MINUTE);
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.header("content-type")), ("1", Some(expected)));
    }
}

const DIGESTS: [&str; 3] = ["content-digest", "content-md5", "repr-digest"];

/// RFC 9530 sections 2 and 3: the content of a 304 is empty. Under RFC 9111 section 3.2, a 304
/// updates `Content-MD5`.
#[tokio::test]
async fn a_304_changes_no_digest_of_the_stored_content() {
    for (policy, digests) in [(policy(), &DIGESTS[..]), (proxy(), &["content-digest", "repr-digest"])] {
        let (stack, _, manual) = standing(policy, |request, _| {
            let mut lines = DIGESTED.to_vec();
            if !request.headers().contains_key("if-none-match") {
                return with_lines(&lines, "page");
            }
            for (_, value) in lines.iter_mut().filter(|(name, _)| DIGESTS.contains(name)) {
                *value = "sha-256=:bm9uZQ==:";
            }
            lines.push(("digest", "sha-256=bm9uZQ=="));
            with_status(304, with_lines(&lines, ""))
        });
        send(&stack, get("/")).await;
        manual.advance(61 * SECOND);
        send(&stack, get("/")).await;
        let hit = send(&stack, get("/")).await;
        assert!(hit.is_hit());
        for (name, value) in DIGESTED.iter().filter(|(name, _)| digests.contains(name)) {
            assert_eq!(hit.header(name), Some(*value), "{name}");
        }
        assert_eq!(hit.header("digest"), None);
    }
}

#[tokio::test]
async fn a_304_freshens_all_variants_with_its_strong_etag() {
    for (tag, calls_in_all) in [("\"same\"", 3), ("W/\"same\"", 4)] {
        let (cache, manual) = timed();
        let (inner, calls) = origin(move |request, _| {
            let lines = [("cache-control", "max-age=60"), ("etag", tag), ("vary", "user-agent")];
            let revalidates = request.headers().contains_key("if-none-match");
            if revalidates { not_modified(&lines) } else { with_lines(&lines, "page") }
        });
        let stack = site_over(&cache, inner);
        let page = async |agent| send(&stack, get_with("/", &[("user-agent", agent)])).await;
        page("a").await;
        page("b").await;
        manual.advance(MINUTE);
        for agent in ["a", "b"] {
            let answer = page(agent).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "page"), "{tag} {agent}");
        }
        assert_eq!(calls.count(), calls_in_all, "{tag}");
    }
}

#[tokio::test]
async fn hints_persist_through_a_304_without_hints() {
    let day = Duration::from_secs(24 * 3600);
    let (cache, manual) = timed();
    let clock = manual.clone();
    let (inner, _) = origin(move |request, _| {
        let tenant = request.headers()["x-tenant"].to_str().expect("text").to_owned();
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        if request.headers().contains_key("if-none-match") {
            // The validation takes four seconds.
            clock.advance(Duration::from_secs(4));
            return not_modified(&lines);
        }
        let mut response = with_lines(&lines, tenant);
        let tenant = http::HeaderName::from_static("x-tenant");
        response.extensions_mut().insert(CacheHints::new().ttl(Duration::from_secs(10)).vary([tenant]));
        response
    });
    let stack = site_over(&cache, inner);
    let page = async |tenant| send(&stack, get_with("/", &[("x-tenant", tenant)])).await;
    page("a").await;
    manual.advance(day - Duration::from_secs(2));
    assert_eq!(page("a").await.detail(), Some("revalidated"));
    assert_eq!(page("b").await.text(), "b", "only the hint separates the two");
    manual.advance(Duration::from_secs(10));
    assert!(!page("a").await.is_hit(), "the TTL of the hint applies, not `max-age`");
}

#[tokio::test]
async fn a_304_whose_handler_hints_never_is_not_stored() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, _| {
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        if !request.headers().contains_key("if-none-match") {
            return with_lines(&lines, "page");
        }
        let mut response = not_modified(&lines);
        response.extensions_mut().insert(CacheHints::new().never());
        response
    });
    let stack = site_over(&cache, inner);
    send(&stack, get("/")).await;
    manual.advance(MINUTE);
    for call in 2..=3 {
        assert_eq!((send(&stack, get("/")).await.text(), calls.count()), ("page", call));
    }
}

#[tokio::test]
async fn a_304_for_one_variant_keeps_the_cors_fields_of_others() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, _| {
        let own = request.headers()["origin"].to_str().expect("text").to_owned();
        let allow = ("access-control-allow-origin", own.as_str());
        let lines = [("cache-control", "max-age=60"), ("etag", "\"1\""), ("vary", "origin"), allow];
        let revalidates = request.headers().contains_key("if-none-match");
        if revalidates { not_modified(&lines) } else { with_lines(&lines, "page") }
    });
    let stack = site_over(&cache, inner);
    let page = async |own| send(&stack, get_with("/", &[("origin", own)])).await;
    for own in ["https://a", "https://b"] {
        page(own).await;
    }
    manual.advance(MINUTE);
    page("https://a").await;
    let other = page("https://b").await;
    assert_eq!((other.is_hit(), other.header("access-control-allow-origin")), (true, Some("https://b")));
}
