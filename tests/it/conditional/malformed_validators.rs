//! Malformed validators in responses and requests.

use crate::support::rfc9111::{SECOND, proxy, standing, with_status};
use crate::support::*;
use tower::{Layer, ServiceExt};
use tower_response_cache::{ConditionalGetLayer, SiteCacheLayer};

type Lines = &'static [(&'static str, &'static str)];
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// RFC 9110 section 8.8.3: none of these is an entity tag, so none is a validator.
const MALFORMED: [&str; 9] =
    ["*", "\"a\", \"b\"", "abc", "", "W/abc", "w/\"a\"", "\"a", "\"a\"b", "W/ \"a\""];

/// RFC 9111 section 4.3.1: a revalidation sends only validators.
#[tokio::test]
async fn a_malformed_etag_is_not_sent_to_revalidate() {
    for policy in [policy(), proxy()] {
        for (tag, dated) in MALFORMED.iter().flat_map(|tag| [(*tag, false), (*tag, true)]) {
            let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let log = std::sync::Arc::clone(&seen);
            let (stack, _, manual) = standing(policy.clone(), move |request, call| {
                let conditions =
                    ["if-none-match", "if-modified-since"].map(|n| request.headers().contains_key(n));
                log.lock().expect("no panic").push(conditions);
                let mut lines = vec![("etag", tag), ("cache-control", "max-age=60")];
                lines.extend(dated.then_some(("last-modified", MODIFIED)));
                match conditions[0] {
                    true => with_status(304, with_lines(&lines, "")),
                    false => numbered(&lines, call),
                }
            });
            send(&stack, get("/")).await;
            assert!(send(&stack, get("/")).await.is_hit(), "{tag}");
            manual.advance(61 * SECOND);
            assert_eq!(send(&stack, get("/")).await.text(), "2", "{tag}");
            assert_eq!(*seen.lock().expect("no panic"), [[false; 2], [false, dated]], "{tag}");
        }
    }
}

#[tokio::test]
async fn two_etags_or_a_malformed_date_are_no_validators() {
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
            assert_eq!(
                answer.detail(),
                Some("no-cache"),
                "there is no validator to revalidate with: {lines:?}"
            );
        }
    }
}

/// RFC 9111 section 3.2: a 304 updates stored fields. A malformed `ETag` is no validator.
#[tokio::test]
async fn a_304_with_a_malformed_etag_keeps_the_stored_etag() {
    let (stack, calls, manual) = standing(proxy(), |request, call| {
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
        manual.advance(61 * SECOND);
    }
}

#[tokio::test]
async fn a_malformed_etag_matches_no_condition() {
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
            let (stack, _, manual) = standing(policy, move |_, call| {
                numbered(&[lines, &[("cache-control", "max-age=60")]].concat(), call)
            });
            for call in ["1", "2"] {
                for _ in 0..2 {
                    let page = send(&stack, get("/")).await;
                    assert_eq!((page.text(), page.header("etag") == Some("*")), (call, false), "{lines:?}");
                }
                manual.advance(61 * SECOND);
            }
        }
        let layer: Stack =
            ConditionalGetLayer::new().layer(origin(move |_, call| numbered(lines, call)).0).boxed_clone();
        let page = send(&layer, get("/")).await;
        assert!(page.header("etag").is_some_and(|tag| tag != "*"), "{lines:?}");
    }
}

#[tokio::test]
async fn a_malformed_etag_is_replaced_by_a_generated_one() {
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
