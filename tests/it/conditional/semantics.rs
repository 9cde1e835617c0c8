//! Corners of HTTP's semantics (RFC 9110), alike on a hit, in `ConditionalGetLayer` and in `PreconditionLayer`.

use crate::revalidation::corners::{SECOND, proxy, standing, with_status};
use crate::support::*;
use http::{Request, Response};
use std::convert::Infallible;
use std::time::{Duration, SystemTime};
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::{
    AddVaryLayer, CacheControl, ConditionalGetLayer, EntityTag, PreconditionLayer, SetCacheControlLayer,
    SiteCacheLayer,
};

type Lines = &'static [(&'static str, &'static str)];

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn modified() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
}

/// One page behind each layer that selects what a request is sent: stored in a cache, and in `ConditionalGetLayer`.
async fn selecting(lines: Lines, body: &'static str) -> [(&'static str, Stack); 2] {
    let page = move || origin(move |_, _| with_lines(lines, body)).0;
    let cache = site_over(&memory(), page());
    send(&cache, get("/")).await;
    assert!(send(&cache, get("/")).await.is_hit());
    [("hit", cache), ("layer", ConditionalGetLayer::new().strong().layer(page()).boxed_clone())]
}

/// RFC 9110 sections 14.1.2 and 14.2.
#[tokio::test]
async fn a_range_from_the_start_of_an_empty_page_is_the_whole_page() {
    for lines in [&[][..], &[("content-length", "0")], &[("etag", "\"a\"")]] {
        for (by, stack) in selecting(lines, "").await {
            for value in ["bytes=-5", "bytes=0-", "bytes=0-99", "bytes=9-, -1", "BYTES=0-0"] {
                let answer = send(&stack, get_with("/", &[("range", value)])).await;
                let range = answer.header("content-range");
                assert_eq!((answer.status.as_u16(), range), (200, None), "{by}: {value}");
            }
            for value in ["bytes=-0", "bytes=1-", "bytes=5-9"] {
                let answer = send(&stack, get_with("/", &[("range", value)])).await;
                let range = answer.header("content-range");
                assert_eq!((answer.status.as_u16(), range), (416, Some("bytes */0")), "{by}: {value}");
            }
        }
    }
}

const DIGESTS: [&str; 3] = ["content-digest", "content-md5", "repr-digest"];
const DIGESTED: Lines = &[
    ("etag", "\"a\""),
    ("content-digest", "sha-256=:d29ybGQ=:"),
    ("content-md5", "Q2hlY2sgSW50ZWdyaXR5IQ=="),
    ("repr-digest", "sha-256=:d29ybGQ=:"),
    ("cache-control", "max-age=60"),
];

fn digests(answer: &Answer) -> [bool; 3] {
    DIGESTS.map(|name| answer.header(name).is_some())
}

/// RFC 9530 sections 2 and 3: `Content-Digest` is of the content of one message, `Repr-Digest` of the representation.
#[tokio::test]
async fn only_the_whole_content_carries_its_digest() {
    for (by, stack) in selecting(DIGESTED, "0123456789").await {
        let table: [(Lines, u16, [bool; 3]); 6] = [
            (&[], 200, [true; 3]),
            (&[("range", "bytes=1-2")], 206, [false, false, true]),
            (&[("range", "bytes=0-0,-1")], 206, [false, false, true]),
            (&[("range", "bytes=10-")], 416, [false; 3]),
            (&[("if-none-match", "\"a\"")], 304, [false; 3]),
            (&[("if-match", "\"b\"")], 412, [false; 3]),
        ];
        for (conditions, status, expected) in table {
            let answer = send(&stack, get_with("/", conditions)).await;
            assert_eq!(
                (answer.status.as_u16(), digests(&answer)),
                (status, expected),
                "{by}: {conditions:?}"
            );
        }
    }
}

/// RFC 9530 sections 2 and 3: the content of a 304 is empty. `Content-MD5` is one of the fields that RFC 9111 section 3.2
/// updates.
#[tokio::test]
async fn a_304_changes_no_digest_of_the_stored_content() {
    for (policy, digests) in [(policy(), &DIGESTS[..]), (proxy(), &["content-digest", "repr-digest"])] {
        let (stack, _, hand) = standing(policy, |request, _| {
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
        hand.advance(61 * SECOND);
        send(&stack, get("/")).await;
        let hit = send(&stack, get("/")).await;
        assert!(hit.is_hit());
        for (name, value) in DIGESTED.iter().filter(|(name, _)| digests.contains(name)) {
            assert_eq!(hit.header(name), Some(*value), "{name}");
        }
        assert_eq!(hit.header("digest"), None);
    }
}

/// RFC 9110 section 13.1.1: "the condition is false if the origin server does not have a current representation".
#[tokio::test]
async fn if_match_any_is_true_where_a_representation_exists() {
    let any = [("if-match", "*")];
    let all: [Lines; 3] = [&[], &[("last-modified", MODIFIED)], &[("etag", "\"a\"")]];
    for lines in all {
        for (by, stack) in selecting(lines, "page").await {
            assert_eq!(send(&stack, get_with("/", &any)).await.status, 200, "{by}: {lines:?}");
        }
        for (status, expected) in [(200, 200), (404, 412), (410, 412)] {
            let (inner, _) = origin(move |request, _| {
                let status = if request.method() == "GET" { status } else { 200 };
                with_status(status, with_lines(lines, "page"))
            });
            let answer = send(&PreconditionLayer::by_get().layer(inner), request("PUT", "/", &any)).await;
            assert_eq!(answer.status.as_u16(), expected, "by_get, {status}: {lines:?}");
        }
    }
    let dated = PreconditionLayer::new()
        .last_modified(|request| async move { (request.uri.path() != "/none").then(modified) })
        .layer(origin(|_, call| numbered(&[], call)).0);
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(send(&dated, request(method, "/", &any)).await.status, 200, "{method}");
        assert_eq!(send(&dated, request(method, "/none", &any)).await.status, 412, "{method}");
    }
}

/// RFC 9110 sections 8.8.3 and 15.5.13: the client learns what is current.
#[tokio::test]
async fn a_412_carries_the_current_validators() {
    let lines: Lines = &[("etag", "\"a\""), ("last-modified", MODIFIED)];
    let of = |answer: Answer| {
        assert_eq!(answer.status, 412);
        (answer.header("etag").map(str::to_owned), answer.header("last-modified").map(str::to_owned))
    };
    let expected = (Some("\"a\"".to_owned()), Some(MODIFIED.to_owned()));
    for (by, stack) in selecting(lines, "page").await {
        let conditions: [Lines; 2] =
            [&[("if-match", "\"b\"")], &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]];
        for condition in conditions {
            assert_eq!(of(send(&stack, get_with("/", condition)).await), expected, "{by}: {condition:?}");
        }
    }
    let functions = PreconditionLayer::new()
        .etag(|_| async { Some(EntityTag::strong("a")) })
        .last_modified(|_| async { Some(modified()) })
        .layer(origin(|_, call| numbered(&[], call)).0);
    let by_get = PreconditionLayer::by_get().layer(origin(move |_, _| with_lines(lines, "page")).0);
    for condition in [("if-match", "\"b\""), ("if-none-match", "*"), ("if-match", "W/\"a\"")] {
        let put = || request("PUT", "/", &[condition]);
        assert_eq!(of(send(&functions, put()).await), expected, "functions: {condition:?}");
        assert_eq!(of(send(&by_get, put()).await), expected, "by_get: {condition:?}");
    }
}

/// RFC 9110 section 9.2.1, and what RFC 4918, RFC 3253, RFC 5323 and the method registry say is safe.
const SAFE: [&str; 6] = ["PROPFIND", "REPORT", "SEARCH", "QUERY", "OPTIONS", "TRACE"];

/// RFC 9111 section 4.4: unsafe methods invalidate.
#[tokio::test]
async fn a_safe_method_invalidates_nothing() {
    for policy in [policy(), proxy()] {
        let (stack, _) = site(policy, |_, call| numbered(&[("cache-control", "max-age=60")], call));
        send(&stack, get("/")).await;
        for method in SAFE {
            let answer = send(&stack, request(method, "/", &[])).await;
            assert!(
                answer.header("cache-status").is_some_and(|line| line.contains("fwd=method")),
                "{method}"
            );
            assert!(send(&stack, get("/")).await.is_hit(), "{method}");
        }
        for method in ["PROPPATCH", "MKCOL", "propfind", "POST", "SEARCHES"] {
            send(&stack, request(method, "/", &[])).await;
            assert!(!send(&stack, get("/")).await.is_hit(), "{method}");
        }
    }
}

/// RFC 9110 section 13.2.1: the methods select no representation that a precondition is about.
#[tokio::test(start_paused = true)]
async fn a_safe_method_needs_no_precondition_and_waits_for_no_write() {
    let inner = service_fn(|request: Request<Body>| async move {
        if request.method() == "PUT" {
            std::future::pending::<()>().await;
        }
        Ok::<_, Infallible>(Response::new(Body::from("found")))
    });
    let layer =
        PreconditionLayer::new().etag(|_| async { Some(EntityTag::strong("1")) }).require_precondition();
    let stack = layer.layer(inner);
    let write = tokio::spawn(stack.clone().oneshot(request("PUT", "/", &[("if-match", "\"1\"")])));
    tokio::time::sleep(SECOND).await;
    for method in SAFE {
        for lines in [&[][..], &[("if-match", "\"0\"")]] {
            let answer = tokio::time::timeout(SECOND, send(&stack, request(method, "/", lines))).await;
            assert_eq!(answer.expect("no waiting").status, 200, "{method} {lines:?}");
        }
    }
    write.abort();
}

/// RFC 9110 section 5.6.7: "more than 50 years in the future" is "the most recent year in the past that had the same
/// last two digits".
#[tokio::test]
async fn a_year_of_two_digits_is_within_fifty_years() {
    let year = 365 * 24 * 3600;
    let now = SystemTime::now();
    for (after, is_fresh) in
        [(1, true), (30, true), (44, true), (49, true), (52, false), (60, false), (90, false)]
    {
        // "Mon, 30 Nov 2026 09:40:16 GMT"
        let text = httpdate::fmt_http_date(now + Duration::from_secs(after * year));
        let expires = format!("Monday, {}-{}-{} {}", &text[5..7], &text[8..11], &text[14..16], &text[17..]);
        let (stack, _) = site(proxy(), move |_, call| numbered(&[("expires", &expires)], call));
        send(&stack, get("/")).await;
        assert_eq!(send(&stack, get("/")).await.is_hit(), is_fresh, "{text}");
    }
}

/// RFC 9110 section 15.4.5: a 304 has the fields of its 200, which outer layers write into both.
#[tokio::test]
async fn outer_layers_give_the_304_of_a_condition_layer_the_fields_of_its_200() {
    let condition = PreconditionLayer::new().etag(|_| async { Some(EntityTag::strong("1")) });
    let control = SetCacheControlLayer::new(CacheControl::new().max_age(MINUTE)).expect("valid");
    let vary = AddVaryLayer::new(["accept"]).expect("valid");
    let (inner, _) = origin(|_, call| numbered(&[], call));
    let stack = vary.layer(control.layer(condition.layer(inner)));
    for (lines, status) in [(&[][..], 200), (&[("if-none-match", "\"1\"")], 304)] {
        let answer = send(&stack, get_with("/", lines)).await;
        let fields = ["etag", "cache-control", "vary"].map(|name| answer.header(name));
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(fields, [Some("\"1\""), Some("max-age=60"), Some("accept")], "{status}");
    }
}

/// RFC 9110 section 8.8.3: what is no entity tag is no validator.
const MALFORMED: [&str; 9] =
    ["*", "\"a\", \"b\"", "abc", "", "W/abc", "w/\"a\"", "\"a", "\"a\"b", "W/ \"a\""];

/// RFC 9111 section 4.3.1: only the value of a validator is sent.
#[tokio::test]
async fn a_malformed_tag_is_not_asked_about() {
    for policy in [policy(), proxy()] {
        for (tag, dated) in MALFORMED.iter().flat_map(|tag| [(*tag, false), (*tag, true)]) {
            let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let log = std::sync::Arc::clone(&seen);
            let (stack, _, hand) = standing(policy.clone(), move |request, call| {
                let asked = ["if-none-match", "if-modified-since"].map(|n| request.headers().contains_key(n));
                log.lock().expect("no panic").push(asked);
                let mut lines = vec![("etag", tag), ("cache-control", "max-age=60")];
                lines.extend(dated.then_some(("last-modified", MODIFIED)));
                match asked[0] {
                    true => with_status(304, with_lines(&lines, "")),
                    false => numbered(&lines, call),
                }
            });
            send(&stack, get("/")).await;
            assert!(send(&stack, get("/")).await.is_hit(), "{tag}");
            hand.advance(61 * SECOND);
            assert_eq!(send(&stack, get("/")).await.text(), "2", "{tag}");
            assert_eq!(*seen.lock().expect("no panic"), [[false; 2], [false, dated]], "{tag}");
        }
    }
}

#[tokio::test]
async fn two_tags_or_a_malformed_date_are_no_validators() {
    let all: [Lines; 3] = [
        &[("etag", "\"a\""), ("etag", "\"b\"")],
        &[("last-modified", "yesterday")],
        &[("last-modified", "0"), ("etag", "*")],
    ];
    for lines in all {
        let (stack, _) = site(proxy(), move |request, call| {
            for name in ["if-none-match", "if-modified-since"] {
                assert!(!request.headers().contains_key(name), "{name}: {lines:?}");
            }
            numbered(&[lines, &[("cache-control", "no-cache")]].concat(), call)
        });
        for call in 1..=3 {
            let answer = send(&stack, get("/")).await;
            assert_eq!(answer.text(), call.to_string());
            assert_eq!(answer.detail(), Some("no-cache"), "there is no validator to ask with: {lines:?}");
        }
    }
}

/// RFC 9111 section 3.2.
#[tokio::test]
async fn a_304_with_a_malformed_tag_leaves_the_stored_tag() {
    let (stack, calls, hand) = standing(proxy(), |request, call| {
        match request.headers().get("if-none-match").map(|tag| tag.to_str().expect("text")) {
            Some("\"a\"") => {
                with_status(304, with_lines(&[("etag", "*"), ("cache-control", "max-age=60")], ""))
            }
            _ => numbered(&[("etag", "\"a\""), ("cache-control", "max-age=60")], call),
        }
    });
    for call in 1..=3 {
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.header("etag"), calls.count()), ("1", Some("\"a\""), call));
        hand.advance(61 * SECOND);
    }
}

#[tokio::test]
async fn a_cache_is_not_needed_for_a_malformed_tag_to_match_nothing() {
    for tag in MALFORMED.into_iter().filter(|tag| !tag.is_empty()) {
        let inner = origin(move |_, call| numbered(&[("etag", tag)], call)).0;
        let stacks: [Stack; 2] = [
            ConditionalGetLayer::new().layer(inner.clone()).boxed_clone(),
            SiteCacheLayer::new(&memory())
                .policy(policy().build().expect("a policy"))
                .layer(inner)
                .boxed_clone(),
        ];
        for stack in stacks {
            send(&stack, get("/")).await;
            for (condition, status) in [("if-none-match", 200), ("if-match", 412)] {
                let sent = if tag == "*" { "\"*\"" } else { tag };
                let answer = send(&stack, get_with("/", &[(condition, sent)])).await;
                assert_eq!(answer.status.as_u16(), status, "{condition}: {tag}");
            }
        }
    }
}

#[tokio::test]
async fn no_client_gets_an_asterisk_as_etag() {
    let all: [Lines; 2] = [&[("etag", "*")], &[("etag", "*"), ("etag", "\"a\"")]];
    for lines in all {
        for policy in [policy(), policy().etags(true), proxy()] {
            let (stack, _, hand) = standing(policy, move |_, call| {
                numbered(&[lines, &[("cache-control", "max-age=60")]].concat(), call)
            });
            for call in ["1", "2"] {
                for _ in 0..2 {
                    let page = send(&stack, get("/")).await;
                    assert_eq!((page.text(), page.header("etag") == Some("*")), (call, false), "{lines:?}");
                }
                hand.advance(61 * SECOND);
            }
        }
        let layer: Stack =
            ConditionalGetLayer::new().layer(origin(move |_, call| numbered(lines, call)).0).boxed_clone();
        let page = send(&layer, get("/")).await;
        assert!(page.header("etag").is_some_and(|tag| tag != "*"), "{lines:?}");
    }
}

#[tokio::test]
async fn a_malformed_tag_is_replaced_by_a_generated_one() {
    for tag in MALFORMED {
        let inner = || origin(move |_, call| numbered(&[("etag", tag)], call)).0;
        let plain = site_over(&memory(), inner());
        assert_eq!(send(&plain, get("/")).await.header("etag"), Some(tag).filter(|tag| *tag != "*"), "{tag}");
        let generating: [Stack; 2] = [
            SiteCacheLayer::new(&memory())
                .policy(policy().etags(true).build().expect("a policy"))
                .layer(inner())
                .boxed_clone(),
            ConditionalGetLayer::new().layer(inner()).boxed_clone(),
        ];
        for stack in generating {
            let page = send(&stack, get("/")).await;
            let generated = page.header("etag").expect("a tag").to_owned();
            assert!(generated.starts_with("W/\"") && generated != tag, "{tag}: {generated}");
        }
    }
}
