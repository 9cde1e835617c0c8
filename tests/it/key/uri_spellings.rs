//! Spellings of a query that a form parser treats as equal. An invalidation by URI covers all
//! spellings, but each spelling has its own key.

use crate::support::stacks::*;
use crate::support::*;
use tower::{Layer, ServiceExt};
use tower_response_cache::key::QueryKey;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, Invalidation, PurgeService, SiteCacheLayer};

/// Groups of queries. A form parser treats the queries of a group as equal.
const ALIKE: &[&[&str]] = &[
    &["q=caf%C3%A9", "q=caf%c3%a9", "q=c%61f%C3%a9", "%71=caf%C3%A9", "q=caf%C3%A9&", "&&q=caf%C3%A9"],
    &["q=a+b", "q=a%20b", "q=%61+b", "q=a%20%62"],
    &["q=a%2Bb", "q=a%2bb", "%71=a%2Bb"],
    &["q=%E2%82%AC&page=2", "page=2&q=%e2%82%ac", "p%61ge=%32&q=%E2%82%aC"],
    &["q=", "q", "%71", "q&"],
    &["q=100%", "q=100%25", "q=%3100%"],
    &["q=~-._*", "q=%7E%2D%2E%5F%2A", "q=%7e-._%2a"],
];

/// Decoded queries, each with the index of its group in [`ALIKE`].
const DECODED: &[(&str, usize)] =
    &[("q=café", 0), ("q=a b", 1), ("q=a+b", 2), ("q=€&page=2", 3), ("q=100%", 5)];

fn uri(query: &str) -> String {
    format!("/search?{query}")
}

fn site_of(cache: &Cache) -> (Stack, Calls) {
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    (site_over(cache, inner), calls)
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_covers_every_equivalent_form_encoding() {
    for kept in ALL {
        for (number, line) in ALIKE.iter().enumerate() {
            for named in *line {
                let (cache, _) = kept.cache(number);
                let (stack, _) = site_of(&cache);
                for stored in *line {
                    send(&stack, get(&uri(stored))).await;
                }
                send(&stack, get("/search?q=other")).await;
                invalidate(&cache, Invalidation::uri(uri(named))).await;
                for stored in *line {
                    assert!(!send(&stack, get(&uri(stored))).await.is_hit(), "{kept:?} {named}: {stored}");
                }
                assert!(send(&stack, get("/search?q=other")).await.is_hit(), "{kept:?} {named}");
            }
        }
    }
}

#[tokio::test]
async fn invalidations_and_purge_requests_accept_decoded_uris() {
    for (text, line) in DECODED {
        for by_purge in [false, true] {
            let cache = memory();
            let (stack, _) = site_of(&cache);
            for stored in ALIKE[*line] {
                send(&stack, get(&uri(stored))).await;
            }
            if by_purge {
                let encoded: String = form_urlencoded(&uri(text));
                let purge = PurgeService::with_secret(&cache, "s3cret").expect("a secret");
                let request =
                    request("POST", &format!("/?uri={encoded}"), &[("authorization", "Bearer s3cret")]);
                assert_eq!(send(&purge, request).await.status, 204, "{text}");
            } else {
                invalidate(&cache, Invalidation::uri(uri(text))).await;
            }
            for stored in ALIKE[*line] {
                assert!(!send(&stack, get(&uri(stored))).await.is_hit(), "{text} {by_purge}: {stored}");
            }
        }
    }
}

fn form_urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn an_invalidation_keeps_queries_that_a_form_parser_separates() {
    let cache = memory();
    let (stack, _) = site_of(&cache);
    let others = ["q=cafe", "q=caf%C3%A9&q=caf%C3%A9", "Q=caf%C3%A9", "q=caf%E9", "qcaf%C3%A9", ""];
    for other in others {
        send(&stack, get(&uri(other))).await;
    }
    invalidate(&cache, Invalidation::uri("/search?q=caf%C3%A9")).await;
    for other in others {
        assert!(send(&stack, get(&uri(other))).await.is_hit(), "{other}");
    }
}

#[tokio::test]
async fn spellings_have_different_keys_in_every_query_mode() {
    for mode in [QueryKey::raw(), QueryKey::sorted(), QueryKey::only(["q", "%71"]), QueryKey::without(["x"])]
    {
        let cache = memory();
        let (inner, calls) = origin(|_, call| numbered(&[], call));
        let policy: PolicyBuilder = policy().query(mode.clone());
        let stack =
            SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
        for spelling in ["q=a+b", "q=a%20b", "%71=a+b"] {
            assert!(!send(&stack, get(&uri(spelling))).await.is_hit(), "{mode:?} {spelling}");
        }
        invalidate(&cache, Invalidation::uri("/search?q=a b")).await;
        for spelling in ["q=a+b", "q=a%20b", "%71=a+b"] {
            assert!(!send(&stack, get(&uri(spelling))).await.is_hit(), "{mode:?} {spelling}");
        }
        assert_eq!(calls.count(), 6, "{mode:?}");
    }
}

#[tokio::test]
async fn an_invalidation_treats_an_empty_query_as_none() {
    let cache = memory();
    let (stack, _) = site_of(&cache);
    for named in ["/search", "/search?", "/search?&", "https://shop.example/search?"] {
        for stored in ["/search", "/search?", "/search?&&"] {
            send(&stack, get_with(stored, &[("host", "shop.example")])).await;
        }
        invalidate(&cache, Invalidation::uri(named)).await;
        for stored in ["/search", "/search?", "/search?&&"] {
            let answer = send(&stack, get_with(stored, &[("host", "shop.example")])).await;
            assert!(!answer.is_hit(), "{named}: {stored}");
        }
    }
}

/// The path and the query of an invalidation by URI each match as given or percent-encoded.
#[tokio::test]
async fn a_uri_matches_with_path_and_query_encoded_or_decoded() {
    let pages = ["/50%25?q=a+b", "/50%25?q=a%2Bb", "/50%2525?q=a+b", "/50%2525?q=a%2Bb"];
    let cache = memory();
    let (stack, _) = site_of(&cache);
    for page in pages {
        send(&stack, get(page)).await;
    }
    send(&stack, get("/50%25?q=ab")).await;
    invalidate(&cache, Invalidation::uri("/50%25?q=a+b")).await;
    for page in pages {
        assert!(!send(&stack, get(page)).await.is_hit(), "{page}");
    }
    assert!(send(&stack, get("/50%25?q=ab")).await.is_hit());
}

#[tokio::test]
async fn paths_of_requests_and_locations_are_not_decoded_twice() {
    for (written, location) in [("/50%25", "/"), ("/write", "/50%25"), ("/write", "/%35%30%25")] {
        let cache = memory();
        let (inner, _) = origin(move |_, call| numbered(&[("content-location", location)], call));
        let stack = site_over(&cache, inner);
        for page in ["/50%25", "/50%2525"] {
            send(&stack, get(page)).await;
        }
        send(&stack, request("POST", written, &[])).await;
        assert!(send(&stack, get("/50%2525")).await.is_hit(), "{written} {location}");
        assert!(!send(&stack, get("/50%25")).await.is_hit(), "{written} {location}");
    }
}
