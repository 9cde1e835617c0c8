//! Tags: the fields they are read from, the fields they are emitted in, and the effect of a 304.

use crate::support::rfc9111::{proxy, standing};
use crate::support::stacks::*;
use crate::support::*;
use tower::{Layer, ServiceExt};
use tower_response_cache::policy::TagField;
use tower_response_cache::{CacheHints, Invalidation, Policy, RouteCacheLayer, SiteCacheLayer};

/// Every field that can contain tags: the option that enables it, its name, and a value with the
/// tag `t`.
const FIELDS: [(TagField, &str, &str); 3] = [
    (TagField::CacheGroups, "cache-groups", "\"s\", \"t\";x=1"),
    (TagField::SurrogateKey, "surrogate-key", "s t"),
    (TagField::CacheTag, "cache-tag", "s, t"),
];

#[tokio::test(start_paused = true)]
async fn tags_in_a_field_count_only_if_the_field_is_enabled() {
    for (field, name, value) in FIELDS {
        for enabled in [vec![], vec![TagField::CacheGroups], vec![field], FIELDS.map(|(f, ..)| f).to_vec()] {
            let cache = memory();
            let (inner, _) = origin(move |request, call| match request.uri().path() {
                "/" => numbered(&[(name, value)], call),
                _ => tagged(["t"], &[], call),
            });
            let reads = enabled.contains(&field);
            let stack = layered(&cache, lasting().read_tags_from(enabled), inner);
            fill(&stack, &["/", "/hinted"]).await;
            invalidate(&cache, Invalidation::tag("t")).await;
            assert_eq!(is_page_stored(&stack, "/").await, !reads, "{name}");
            assert!(!is_page_stored(&stack, "/hinted").await, "tags from hints always count");
        }
    }
    // By default, only `Cache-Groups` is read.
    for (field, name, value) in FIELDS {
        let cache = memory();
        let stack = layered(&cache, lasting(), origin(move |_, call| numbered(&[(name, value)], call)).0);
        fill(&stack, &["/"]).await;
        invalidate(&cache, Invalidation::tag("t")).await;
        assert_eq!(is_page_stored(&stack, "/").await, field != TagField::CacheGroups, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_with_malformed_or_excessive_tags_is_not_stored() {
    let many = |count: usize| (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>();
    let list = |tags: &[String]| tags.iter().map(|tag| format!("\"{tag}\"")).collect::<Vec<_>>().join(", ");
    // `Cache-Groups`, tags from hints, and whether the response is stored.
    let table: Vec<(Option<String>, Vec<String>, bool)> = vec![
        (Some("\"a\"".to_owned()), vec![], true),
        (Some(String::new()), vec![], true),
        (Some("a".to_owned()), vec![], false),
        (Some("\"a".to_owned()), vec![], false),
        (Some("\"a\", 1".to_owned()), vec![], false),
        (Some("(\"a\")".to_owned()), vec![], false),
        (None, many(256), true),
        (None, many(257), false),
        (Some(list(&many(256))), vec![], true),
        (Some(list(&many(257))), vec![], false),
        // A repeated tag counts once.
        (Some(list(&many(256))), many(256), true),
        (Some("\"other\"".to_owned()), many(256), false),
        (None, vec!["x".repeat(1024)], true),
        (None, vec!["x".repeat(1025)], false),
        (Some(format!("\"{}\"", "x".repeat(1025))), vec![], false),
    ];
    for (groups, hinted, stored) in table {
        let cache = memory();
        let (line, tags) = (groups.clone(), hinted.clone());
        let (inner, _) = origin(move |_, call| {
            let lines: Vec<_> = line.iter().map(|line| ("cache-groups", line.as_str())).collect();
            tagged(tags.clone(), &lines, call)
        });
        let stack = layered(&cache, lasting(), inner);
        let first = send(&stack, get("/")).await;
        let shown = (groups.map(|line| line.len()), hinted.len());
        assert_eq!(is_page_stored(&stack, "/").await, stored, "{shown:?}");
        assert_eq!(first.detail(), (!stored).then_some("tags"), "{shown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tags_of_all_field_lines_and_all_hints_are_combined() {
    let cache = memory();
    let (inner, _) = origin(|_, call| {
        let mut response =
            tagged(["inner"], &[("cache-groups", "\"one\""), ("cache-groups", "\"two\"")], call);
        CacheHints::new().tags(["outer"]).add_to(response.extensions_mut());
        response
    });
    let stack = layered(&cache, lasting(), inner);
    for tag in ["one", "two", "inner", "outer"] {
        fill(&stack, &["/"]).await;
        invalidate(&cache, Invalidation::tag(tag)).await;
        assert!(!is_page_stored(&stack, "/").await, "{tag}");
    }
}

/// RFC 9875 section 3: the `Cache-Group-Invalidation` field.
#[tokio::test(start_paused = true)]
async fn a_write_invalidates_cache_groups_on_its_own_host_only() {
    for &kept in ALL {
        // Method, status, `Cache-Group-Invalidation`, and whether the group `g` is invalidated.
        let table = [
            ("POST", 200, "\"g\"", true),
            ("PUT", 201, "\"x\", \"g\";p=1", true),
            ("DELETE", 204, "\"g\"", true),
            ("PATCH", 303, "\"g\"", true),
            ("POST", 404, "\"g\"", false),
            ("POST", 500, "\"g\"", false),
            ("POST", 200, "\"G\"", false),
            ("POST", 200, "g", false),
            ("POST", 200, "\"g\", 1", false),
            ("GET", 200, "\"g\"", false),
            ("HEAD", 200, "\"g\"", false),
            ("OPTIONS", 200, "\"g\"", false),
        ];
        for (method, status, line, goes) in table {
            let (cache, _manual) = kept.cache(0);
            let (inner, _) = origin(move |request, call| match request.uri().path() {
                "/action" => with_status(
                    numbered(&[("cache-group-invalidation", line), ("cache-control", "no-store")], call),
                    status,
                ),
                "/hinted" => tagged(["g"], &[], call),
                "/without" => numbered(&[("cache-groups", "\"other\"")], call),
                _ => numbered(&[("cache-groups", "\"g\", \"h\"")], call),
            });
            let stack = layered(&cache, lasting(), inner);
            for (path, host) in [("/page", A), ("/hinted", A), ("/page", B), ("/without", A)] {
                send(&stack, get_with(path, &[host])).await;
            }
            settle().await;
            send(&stack, request(method, "/action", &[("host", "A.EXAMPLE:80")])).await;
            settle().await;
            for (path, host, named) in
                [("/page", A, true), ("/hinted", A, true), ("/page", B, false), ("/without", A, false)]
            {
                let hit = send(&stack, get_with(path, &[host])).await.is_hit();
                assert_eq!(hit, !(goes && named), "{kept:?} {method} {status} {line} {path} {host:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_host_invalidates_no_groups() {
    let cache = memory();
    let (inner, _) = origin(|request, call| match request.method().as_str() {
        "GET" => numbered(&[("cache-groups", "\"g\"")], call),
        _ => numbered(&[("cache-group-invalidation", "\"g\"")], call),
    });
    let stack = layered(&cache, lasting(), inner);
    send(&stack, get_with("/", &[A])).await;
    send(&stack, request("POST", "/action", &[])).await;
    assert!(send(&stack, get_with("/", &[A])).await.is_hit());
}

fn tag_fields(answer: &Answer) -> [Option<&str>; 3] {
    ["cache-groups", "surrogate-key", "cache-tag"].map(|name| answer.header(name))
}

#[tokio::test(start_paused = true)]
async fn tags_are_emitted_in_the_selected_fields_only() {
    type ClientTags = [Option<&'static str>; 3];
    let unchanged: ClientTags = [Some("\"g\""), Some("k"), None];
    let table: [(Option<Vec<TagField>>, ClientTags); 5] = [
        (None, unchanged),
        (Some(vec![]), [None, None, None]),
        (Some(vec![TagField::CacheGroups]), [Some("\"g\", \"h\""), None, None]),
        (Some(vec![TagField::SurrogateKey]), [None, Some("g h"), None]),
        (
            Some(vec![TagField::CacheTag, TagField::SurrogateKey, TagField::CacheGroups]),
            [Some("\"g\", \"h\""), Some("g h"), Some("g,h")],
        ),
    ];
    for (fields, expected) in table {
        for control in ["max-age=600", "private", "no-store"] {
            let cache = memory();
            let (inner, _) = origin(move |_, call| {
                let lines = [("cache-groups", "\"g\""), ("surrogate-key", "k"), ("cache-control", control)];
                tagged(["h"], &lines, call)
            });
            let policy = match &fields {
                Some(fields) => lasting().emit_tags_in(fields.iter().copied()),
                None => lasting(),
            };
            let stack = layered(&cache, policy, inner);
            for _ in 0..3 {
                let answer = send(&stack, get("/")).await;
                assert_eq!(tag_fields(&answer), expected, "{fields:?} {control} {}", answer.is_hit());
            }
            let head = send(&stack, request("HEAD", "/", &[])).await;
            assert_eq!(tag_fields(&head), expected, "{fields:?} {control} HEAD");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stored_tags_are_emitted_after_a_304_without_tags() {
    for background in [false, true] {
        for fields in [vec![TagField::SurrogateKey], vec![TagField::CacheGroups], vec![]] {
            let (cache, manual) = timed();
            let (inner, calls) = origin(|request, call| match has_validators(request) {
                true => not_modified(&[("etag", "\"1\""), ("cache-control", "max-age=10")]),
                false => {
                    let lines =
                        [("etag", "\"1\""), ("cache-control", "max-age=10"), ("cache-groups", "\"g\"")];
                    tagged(["h"], &lines, call)
                }
            });
            let policy = if background { windowed() } else { lasting() };
            let stack = layered(&cache, policy.emit_tags_in(fields.clone()), inner);
            let first = send(&stack, get("/")).await;
            for round in 1..=3 {
                manual.advance(12 * S);
                for moment in ["at once", "after", "later"] {
                    let answer = send(&stack, get("/")).await;
                    settle().await;
                    assert_eq!(
                        tag_fields(&answer),
                        tag_fields(&first),
                        "{background} {fields:?} {round} {moment}"
                    );
                }
                assert_eq!(calls.count(), 1 + round);
            }
        }
    }
}

/// The policy emits no tag fields, so the client does not get the `Cache-Groups` of the 304.
#[tokio::test(start_paused = true)]
async fn a_304_that_is_not_stored_emits_no_internal_tags() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| match has_validators(request) {
        true => not_modified(&[("etag", "\"1\""), ("cache-control", "private"), ("cache-groups", "\"g\"")]),
        false => {
            let lines = [("etag", "\"1\""), ("cache-control", "max-age=10"), ("cache-groups", "\"g\"")];
            numbered(&lines, call)
        }
    });
    let stack = layered(&cache, lasting().emit_tags_in([]), inner);
    assert_eq!(tag_fields(&send(&stack, get("/")).await), [None; 3]);
    manual.advance(12 * S);
    assert_eq!(tag_fields(&send(&stack, get("/")).await), [None; 3]);
}

/// Both layers emit the tags of the inner layer.
#[tokio::test(start_paused = true)]
async fn nested_layers_emit_the_same_tags_on_misses_and_hits() {
    let fields = [TagField::SurrogateKey];
    let cache = memory();
    let (inner, calls) = origin(|_, call| tagged(["h"], &[("cache-groups", "\"g\"")], call));
    let route = RouteCacheLayer::new(&cache, MINUTE)
        .policy(Policy::app().emit_tags_in(fields).build().expect("a policy"))
        .layer(inner);
    let stack = SiteCacheLayer::new(&cache)
        .policy(lasting().emit_tags_in(fields).build().expect("a policy"))
        .layer(route)
        .boxed_clone();
    for round in 0..3 {
        let answer = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
        assert_eq!(tag_fields(&answer), [None, Some("g h"), None], "{round}");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outer_layer_removes_tag_fields_of_an_inner_layer() {
    let cache = memory();
    let (inner, calls) = origin(|_, call| numbered(&[("cache-groups", "\"g\"")], call));
    let route =
        RouteCacheLayer::new(&cache, MINUTE).policy(Policy::app().build().expect("a policy")).layer(inner);
    let stack = SiteCacheLayer::new(&cache)
        .policy(lasting().emit_tags_in([]).build().expect("a policy"))
        .layer(route)
        .boxed_clone();
    for round in 0..3 {
        let answer = read(stack.clone().oneshot(get("/")).await.expect("infallible")).await;
        assert_eq!(tag_fields(&answer), [None; 3], "{round}");
    }
    assert_eq!(calls.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_304_without_tags_keeps_the_stored_tags() {
    for &kept in ALL {
        for (by, lines) in [
            ("hints", &[][..]),
            ("cache-groups", &[("cache-groups", "\"t\"")]),
            ("surrogate-key", &[("surrogate-key", "t")]),
        ] {
            for tells in [None, Some([TagField::CacheTag; 0])] {
                let (cache, manual) = kept.cache(0);
                let (inner, calls) = origin(move |request, call| {
                    let own = [("etag", "\"1\""), ("cache-control", "max-age=10")];
                    let all: Vec<_> = own.iter().chain(lines).copied().collect();
                    match (has_validators(request), by) {
                        (true, _) => not_modified(&own),
                        (false, "hints") => tagged(["t"], &all, call),
                        (false, _) => numbered(&all, call),
                    }
                });
                let policy = lasting().read_tags_from([TagField::CacheGroups, TagField::SurrogateKey]);
                let policy = match tells {
                    Some(fields) => policy.emit_tags_in(fields),
                    None => policy,
                };
                let stack = layered(&cache, policy, inner);
                send(&stack, get_with("/", &[A])).await;
                for _ in 0..2 {
                    settle().await;
                    manual.advance(12 * S);
                    let confirmed = send(&stack, get_with("/", &[A])).await;
                    assert_eq!((confirmed.text(), confirmed.is_hit()), ("1", false), "{kept:?} {by}");
                }
                settle().await;
                assert!(send(&stack, get_with("/", &[A])).await.is_hit());
                assert_eq!(calls.count(), 3);
                invalidate(&cache, Invalidation::tag("t").host("b.example")).await;
                assert!(send(&stack, get_with("/", &[A])).await.is_hit());
                invalidate(&cache, Invalidation::tag("t").host("a.example")).await;
                let after = send(&stack, get_with("/", &[A])).await;
                assert_eq!((after.text(), after.is_hit()), ("4", false), "{kept:?} {by}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_304_can_add_tags_and_malformed_ones_remove_the_page() {
    for (line, kept) in [("\"new\"", true), ("new", false)] {
        for tag in ["old", "new"] {
            let (cache, manual) = timed();
            let (inner, _) = origin(move |request, call| match has_validators(request) {
                true => not_modified(&[("etag", "\"1\""), ("cache-groups", line)]),
                false => numbered(
                    &[("etag", "\"1\""), ("cache-control", "max-age=10"), ("cache-groups", "\"old\"")],
                    call,
                ),
            });
            let stack = layered(&cache, lasting(), inner);
            send(&stack, get("/")).await;
            manual.advance(12 * S);
            assert_eq!(send(&stack, get("/")).await.text(), "1");
            assert_eq!(is_page_stored(&stack, "/").await, kept, "{line}");
            if kept {
                invalidate(&cache, Invalidation::tag(tag)).await;
                assert!(!is_page_stored(&stack, "/").await, "{tag}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_variant_freshened_by_the_304_of_another_keeps_its_tags() {
    let (cache, manual) = timed();
    let (inner, calls) = origin(|request, call| {
        let lines = [("etag", "\"1\""), ("cache-control", "max-age=10"), ("vary", "x-a")];
        if has_validators(request) {
            return not_modified(&lines);
        }
        let variant = request.headers().get("x-a").map_or("none", |value| value.to_str().expect("text"));
        tagged([variant], &lines, call)
    });
    let stack = layered(&cache, lasting(), inner);
    let request_page = async |variant: &str| send(&stack, get_with("/", &[("x-a", variant)])).await;
    request_page("one").await;
    request_page("two").await;
    manual.advance(12 * S);
    request_page("one").await;
    assert!(request_page("two").await.is_hit(), "freshened");
    invalidate(&cache, Invalidation::tag("two")).await;
    assert!(request_page("one").await.is_hit());
    assert_eq!((request_page("two").await.text(), calls.count()), ("4", 4));
}

/// RFC 9110 section 4.2.4: userinfo is not part of the host.
#[tokio::test]
async fn a_target_with_userinfo_invalidates_its_cache_groups() {
    for policy in [policy(), proxy().default_ttl(MINUTE)] {
        let (stack, _, _) = standing(policy, |request, call| match request.method().as_str() {
            "GET" => numbered(&[("cache-groups", "\"g\"")], call),
            _ => numbered(&[("cache-group-invalidation", "\"g\"")], call),
        });
        send(&stack, get_with("/page", &[("host", "shop.example")])).await;
        assert!(send(&stack, get_with("/page", &[("host", "shop.example")])).await.is_hit());
        send(&stack, request("POST", "http://me@shop.example/other", &[])).await;
        let after = send(&stack, get_with("/page", &[("host", "shop.example")])).await;
        assert!(!after.is_hit(), "{after:?}");
    }
}
