//! Variants are bounded in what their keys take.

use crate::status::ask;
use crate::support::*;
use http::{HeaderName, Request};
use tower::{Layer, ServiceExt};
use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};

const X_A: HeaderName = HeaderName::from_static("x-a");

/// A page over a store of its own that says in `Vary` what is given.
fn over_store(policy: Policy, vary: &'static str) -> (Stack, MemoryStore) {
    let store = memory_store(32 << 20);
    let (inner, _) =
        origin(move |_, call| numbered(&[("vary", vary), ("cache-control", "max-age=60")], call));
    (SiteCacheLayer::new(&Cache::new(store.clone())).policy(policy).layer(inner).boxed_clone(), store)
}

/// The ways in which a field selects a page, and the field.
fn ways() -> Vec<(Policy, &'static str, &'static str)> {
    let many = || policy().max_variants(2000);
    let rfc9111 = || Policy::rfc9111().cache_status(true).max_variants(2000);
    vec![
        (many(), "x-a", "x-a"),
        (rfc9111(), "x-a", "x-a"),
        (rfc9111(), "accept-language", "accept-language"),
        (rfc9111(), "cookie", "cookie"),
        (many().vary_on_headers([X_A]).expect("valid"), "", "x-a"),
        (
            rfc9111().vary_on_headers([HeaderName::from_static("client-cert")]).expect("valid"),
            "",
            "client-cert",
        ),
        (many(), "", "x-original-url"),
    ]
}

fn valued(name: &'static str, value: &str) -> Request<Body> {
    get_with("/", &[(name, value)])
}

/// A value of some length that ends with a number.
fn long(length: usize, number: usize) -> String {
    format!("/{}{number}", "v".repeat(length))
}

#[tokio::test]
async fn long_values_take_hardly_more_room_than_short_ones() {
    for (policy, vary, name) in ways() {
        for (requests, length) in [(80, 20_000), (1000, 4096)] {
            let weigh = async |length| {
                let (stack, store) = over_store(policy.clone(), vary);
                for number in 0..requests {
                    send(&stack, valued(name, &long(length, number))).await;
                }
                (store.weight(), store.len())
            };
            let ((short, count), (large, same)) = (weigh(1).await, weigh(length).await);
            assert_eq!(count, same, "{name}");
            assert!(count >= requests, "{name}: {count} entries");
            assert!(large <= short + 300 * requests as u64, "{name}: {large} for {short}");
        }
    }
}

/// So are short lines whose number makes the field long.
#[tokio::test]
async fn many_lines_take_hardly_more_room_than_one() {
    for (policy, vary, name) in ways().into_iter().filter(|(.., name)| *name == "x-a") {
        let (stack, store) = over_store(policy, vary);
        for number in 0..80 {
            let (line, last) = ("v".repeat(100), number.to_string());
            let mut lines = vec![(name, line.as_str()); 70];
            lines.push((name, &last));
            assert!(!send(&stack, get_with("/", &lines)).await.is_hit());
            assert!(send(&stack, get_with("/", &lines)).await.is_hit());
        }
        assert!(store.weight() < 80 * 3000, "{}", store.weight());
    }
}

#[tokio::test]
async fn long_values_that_begin_alike_select_different_pages() {
    for (policy, vary, name) in ways() {
        let (stack, _) = over_store(policy, vary);
        let values: Vec<_> = [126, 127, 128, 129, 200, 4000, 50_000]
            .into_iter()
            .flat_map(|length| (0..3).map(move |number| long(length, number)))
            .collect();
        for hits in [false, true] {
            for (at, value) in values.iter().enumerate() {
                let answer = send(&stack, valued(name, value)).await;
                assert_eq!(answer.is_hit(), hits, "{name}: {} bytes", value.len());
                assert_eq!(answer.text(), (at + 1).to_string(), "{name}: {} bytes", value.len());
            }
        }
    }
}

/// A page whose variants have usable keys for short values alone.
fn at_the_limit(policy: Policy) -> (Stack, MemoryStore, String) {
    let (stack, store) = over_store(policy, "x-a");
    (stack, store, format!("/{}", "p".repeat(8100)))
}

#[tokio::test]
async fn a_variant_whose_key_would_be_too_long_is_neither_stored_nor_looked_up() {
    let (stack, store, path) = at_the_limit(policy());
    let (short, long) =
        (|| get_with(&path, &[("x-a", "v")]), || get_with(&path, &[("x-a", &"v".repeat(100))]));
    // By its own `Vary`, before any index is there.
    assert_eq!(ask(&stack, long()).await, "fwd=uri-miss; fwd-status=200; detail=key-length");
    assert!(store.is_empty());
    assert!(ask(&stack, short()).await.contains("; stored;"));
    assert!(send(&stack, short()).await.is_hit());
    let weight = store.weight();
    for _ in 0..3 {
        assert_eq!(ask(&stack, long()).await, "fwd=bypass; fwd-status=200; detail=key-length");
    }
    assert_eq!(store.weight(), weight);
    assert!(send(&stack, short()).await.is_hit());
}

#[tokio::test]
async fn a_request_for_a_variant_whose_key_would_be_too_long_may_refuse_to_be_forwarded() {
    let (stack, _, path) = at_the_limit(Policy::rfc9111().cache_status(true));
    send(&stack, get_with(&path, &[("x-a", "v")])).await;
    let value = "v".repeat(100);
    let refused =
        send(&stack, get_with(&path, &[("x-a", &value), ("cache-control", "only-if-cached")])).await;
    assert_eq!(refused.status, 504);
}
