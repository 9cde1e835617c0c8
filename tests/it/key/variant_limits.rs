//! The number of variants and the length of their keys are limited. Variants that were used again
//! stay.

use crate::status::field::status_of;
use crate::support::faulty::{Fault, Faulty};
use crate::support::*;
use http::{HeaderName, Request};
use proptest::prelude::{prop, prop_assert_eq, proptest};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Cache, CacheHints, Invalidation, MemoryStore, Policy, SiteCacheLayer, Ttl};

const X_A: HeaderName = HeaderName::from_static("x-a");
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Returns a site whose responses have this `Vary`, and its store.
fn over_store(policy: PolicyBuilder, vary: &'static str) -> (Stack, MemoryStore) {
    let store = memory_store(32 << 20);
    let (inner, _) =
        origin(move |_, call| numbered(&[("vary", vary), ("cache-control", "max-age=60")], call));
    (
        SiteCacheLayer::new(&Cache::new(store.clone()))
            .policy(policy.build().expect("a policy"))
            .layer(inner)
            .boxed_clone(),
        store,
    )
}

/// Policies, each with the `Vary` of the responses and a request field. A field that `Vary` names
/// selects the variant, and any other field enters the key.
fn selections() -> Vec<(PolicyBuilder, &'static str, &'static str)> {
    let many = || policy().max_variants(2000);
    let rfc9111 = || Policy::rfc9111().cache_status(true).max_variants(2000);
    vec![
        (many(), "x-a", "x-a"),
        (rfc9111(), "x-a", "x-a"),
        (rfc9111(), "accept-language", "accept-language"),
        (rfc9111(), "cookie", "cookie"),
        (many().vary_on_headers([X_A]), "", "x-a"),
        (rfc9111().vary_on_headers([HeaderName::from_static("client-cert")]), "", "client-cert"),
        (many(), "", "x-original-url"),
    ]
}

fn get_with_value(name: &'static str, value: &str) -> Request<Body> {
    get_with("/", &[(name, value)])
}

/// A value: a slash, `length` letters, and a number.
fn long(length: usize, number: usize) -> String {
    format!("/{}{number}", "v".repeat(length))
}

#[tokio::test]
async fn long_values_take_little_more_memory() {
    for (policy, vary, name) in selections() {
        for (requests, length) in [(80, 20_000), (1000, 4096)] {
            let weigh = async |length| {
                let (stack, store) = over_store(policy.clone(), vary);
                for number in 0..requests {
                    send(&stack, get_with_value(name, &long(length, number))).await;
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

/// The lines of one field count as one long value, even if each line is short.
#[tokio::test]
async fn many_lines_take_little_more_memory() {
    for (policy, vary, name) in selections().into_iter().filter(|(.., name)| *name == "x-a") {
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
async fn long_values_with_a_common_prefix_select_different_pages() {
    for (policy, vary, name) in selections() {
        let (stack, _) = over_store(policy, vary);
        let values: Vec<_> = [126, 127, 128, 129, 200, 4000, 50_000]
            .into_iter()
            .flat_map(|length| (0..3).map(move |number| long(length, number)))
            .collect();
        for hits in [false, true] {
            for (at, value) in values.iter().enumerate() {
                let answer = send(&stack, get_with_value(name, value)).await;
                assert_eq!(answer.is_hit(), hits, "{name}: {} bytes", value.len());
                assert_eq!(answer.text(), (at + 1).to_string(), "{name}: {} bytes", value.len());
            }
        }
    }
}

/// Returns a site, its store, and a path so long that only short field values fit in a variant's
/// key.
fn at_the_limit(policy: PolicyBuilder) -> (Stack, MemoryStore, String) {
    let (stack, store) = over_store(policy, "x-a");
    (stack, store, format!("/{}", "p".repeat(8100)))
}

#[tokio::test]
async fn variant_with_too_long_a_key_bypasses_the_cache() {
    let (stack, store, path) = at_the_limit(policy());
    let (short, long) =
        (|| get_with(&path, &[("x-a", "v")]), || get_with(&path, &[("x-a", &"v".repeat(100))]));
    // No index of variants exists yet, so the `Vary` of the response decides.
    assert_eq!(status_of(&stack, long()).await, "fwd=uri-miss; fwd-status=200; detail=key-length");
    assert!(store.is_empty());
    assert!(status_of(&stack, short()).await.contains("; stored;"));
    assert!(send(&stack, short()).await.is_hit());
    let weight = store.weight();
    for _ in 0..3 {
        assert_eq!(status_of(&stack, long()).await, "fwd=bypass; fwd-status=200; detail=key-length");
    }
    assert_eq!(store.weight(), weight);
    assert!(send(&stack, short()).await.is_hit());
}

#[tokio::test]
async fn only_if_cached_refuses_a_variant_with_too_long_a_key() {
    let (stack, _, path) = at_the_limit(Policy::rfc9111().cache_status(true));
    send(&stack, get_with(&path, &[("x-a", "v")])).await;
    let value = "v".repeat(100);
    let refused =
        send(&stack, get_with(&path, &[("x-a", &value), ("cache-control", "only-if-cached")])).await;
    assert_eq!(refused.status, 504);
}

/// Returns a site that stores at most `most` variants by `x-a`, its cache and its clock.
fn varying(most: usize) -> (Stack, Cache, tower_response_cache::clock::ManualClock) {
    let (cache, manual) = timed();
    let (inner, _) = origin(|_, call| numbered(&[("vary", "x-a"), ("cache-control", "max-age=600")], call));
    let stack = SiteCacheLayer::new(&cache)
        .policy(policy().max_variants(most).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    (stack, cache, manual)
}

async fn hits(stack: &Stack, value: &str) -> bool {
    send(stack, get_with_value("x-a", value)).await.is_hit()
}

#[tokio::test]
async fn made_up_values_evict_no_used_variant() {
    for made_up in [64, 1000] {
        let (stack, ..) = varying(64);
        // After 300 requests, the thread has its own copies of the three variants.
        for value in ["de", "en", "fr"].repeat(100) {
            hits(&stack, value).await;
        }
        for number in 0..made_up {
            assert!(!hits(&stack, &format!("made-up {number}")).await);
            assert!(hits(&stack, ["de", "en", "fr"][number % 3]).await, "after {number}");
        }
    }
}

#[tokio::test]
async fn new_variant_is_not_stored_if_all_others_were_used() {
    let (stack, ..) = varying(3);
    for value in ["a", "b", "c"].repeat(2) {
        hits(&stack, value).await;
    }
    let newcomer = || get_with_value("x-a", "new");
    assert_eq!(status_of(&stack, newcomer()).await, "fwd=vary-miss; fwd-status=200; detail=variants");
    assert!(hits(&stack, "b").await, "not evicted");
    assert_eq!(status_of(&stack, newcomer()).await, "fwd=vary-miss; fwd-status=200; stored; ttl=600");
    assert!(send(&stack, newcomer()).await.is_hit(), "the new variant has replaced the oldest unused one");
    assert!(hits(&stack, "b").await && hits(&stack, "c").await);
    assert!(status_of(&stack, get_with_value("x-a", "a")).await.contains("fwd=vary-miss"));
}

#[tokio::test]
async fn unstored_variant_does_not_affect_the_status_of_others() {
    let (stack, cache, _) = varying(2);
    for value in ["a", "b"].repeat(2) {
        hits(&stack, value).await;
    }
    assert!(status_of(&stack, get_with_value("x-a", "new")).await.contains("detail=variants"));
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    assert!(status_of(&stack, get_with_value("x-a", "a")).await.contains("; stored;"));
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    assert!(status_of(&stack, get_with_value("x-a", "new")).await.contains("; stored;"));
}

#[tokio::test]
async fn expired_and_invalidated_variants_are_evicted_first() {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| {
        let value = request.headers()["x-a"].to_str().expect("text").to_owned();
        let lifetime = if value == "brief" { "max-age=5" } else { "max-age=600" };
        let mut response = numbered(&[("vary", "x-a"), ("cache-control", lifetime)], call);
        CacheHints::new().tags([value]).add_to(response.extensions_mut());
        response
    });
    let stack = SiteCacheLayer::new(&cache)
        .policy(policy().max_variants(4).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    for value in ["once", "brief", "b", "named"] {
        hits(&stack, value).await;
    }
    for value in ["brief", "b", "named"] {
        assert!(hits(&stack, value).await, "{value}");
    }
    manual.advance(6 * SECOND);
    assert!(!hits(&stack, "first").await, "the new variant replaces the expired one");
    assert_eq!(cache.invalidate(Invalidation::tag("named")).await, Delivery::Delivered);
    assert!(!hits(&stack, "second").await, "the new variant replaces the invalidated one");
    for value in ["once", "b", "first", "second"] {
        assert!(hits(&stack, value).await, "{value}");
    }
}

#[tokio::test]
async fn refetched_variant_counts_as_used() {
    let (stack, cache, _) = varying(2);
    hits(&stack, "a").await;
    assert_eq!(cache.invalidate(Invalidation::path("/")).await, Delivery::Delivered);
    assert!(!hits(&stack, "a").await, "a second miss");
    for number in 0..10 {
        hits(&stack, &number.to_string()).await;
    }
    assert!(hits(&stack, "a").await);
}

#[tokio::test]
async fn remote_store_evicts_the_oldest_variant() {
    let store = Faulty::new(memory_store(8 << 20), Fault::NoGenerations);
    let (inner, _) = origin(|_, call| numbered(&[("vary", "x-a")], call));
    let layer =
        SiteCacheLayer::new(&Cache::new(store)).policy(policy().max_variants(2).build().expect("a policy"));
    let stack = layer.layer(inner).boxed_clone();
    let is_hit = async |value| {
        let hit = hits(&stack, value).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        hit
    };
    for (value, hit) in [("a", false), ("b", false), ("a", true), ("c", false), ("a", false), ("c", true)] {
        assert_eq!(is_hit(value).await, hit, "{value}");
    }
}

proptest! {
    #![proptest_config(crate::support::default_cases())]
    /// If `most` variants are stored, a new one replaces the oldest unused variant. If all were
    /// used, the new variant is not stored, and all count as unused again.
    #[test]
    fn variants_follow_the_clock_algorithm(
        most in 1..5_usize,
        values in prop::collection::vec(0..8_usize, 1..120),
    ) {
        let (stack, _, _) = varying(most);
        // The variants in the order of their storage, each with `true` if it was used.
        let mut kept: Vec<(usize, bool)> = Vec::new();
        for value in values {
            let hit = futures::executor::block_on(hits(&stack, &value.to_string()));
            let place = kept.iter().position(|(known, _)| *known == value);
            prop_assert_eq!(hit, place.is_some(), "{} among {:?}", value, kept);
            match place {
                Some(place) => kept[place].1 = true,
                None if kept.len() < most => kept.push((value, false)),
                None => match kept.iter().position(|(_, used)| !used) {
                    Some(unused) => {
                        kept.remove(unused);
                        kept.push((value, false));
                    }
                    None => kept.iter_mut().for_each(|(_, used)| *used = false),
                },
            }
        }
    }

    #[test]
    fn store_holds_at_most_max_variants(
        most in 1..6_usize,
        requests in prop::collection::vec((0..4_usize, 0..12_usize), 1..80),
    ) {
        let store = memory_store(8 << 20);
        // `Vary` nominates those of the three fields that the request has.
        let (inner, _) = origin(|request, call| {
            let names = ["x-a", "x-b", "x-c"].into_iter().filter(|name| request.headers().contains_key(*name));
            numbered(&[("vary", &names.collect::<Vec<_>>().join(", ")), ("cache-control", "max-age=60")], call)
        });
        let layer = SiteCacheLayer::new(&Cache::new(store.clone())).policy(policy().max_variants(most).build().expect("a policy"));
        let stack = layer.layer(inner).boxed_clone();
        for (fields, value) in requests {
            let value = value.to_string();
            let lines: Vec<_> = ["x-a", "x-b", "x-c"].iter().take(fields).map(|name| (*name, &*value)).collect();
            futures::executor::block_on(send(&stack, get_with("/", &lines)));
            // The index of the variants is one more entry.
            assert!(store.len() <= most + 1, "{} entries for {most}", store.len());
        }
    }
}

/// Returns a site that varies on `x-a`, its cache and its clock. The lifetime of a page is the
/// value of `x-a` in seconds. If the value is empty, the page never expires.
fn lifetimes() -> (Stack, Cache, tower_response_cache::clock::ManualClock) {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| {
        let value = request.headers()["x-a"].to_str().expect("text").to_owned();
        let mut response = numbered(&[("vary", "x-a")], call);
        let ttl = value.parse().map_or(Ttl::Forever, |seconds: u32| Ttl::For(seconds * SECOND));
        CacheHints::new().ttl(ttl).add_to(response.extensions_mut());
        response
    });
    (site_over(&cache, inner), cache, manual)
}

#[tokio::test]
async fn variant_lives_for_its_whole_lifetime() {
    let (stack, _, manual) = lifetimes();
    let (week, short) = ((7 * DAY).as_secs().to_string(), "60");
    assert!(!hits(&stack, &week).await);
    // A later variant with a shorter lifetime does not shorten the lifetime of the index.
    assert!(!hits(&stack, short).await);
    for _ in 0..6 {
        manual.advance(DAY);
        assert!(hits(&stack, &week).await);
        assert!(!hits(&stack, short).await);
    }
    manual.advance(DAY);
    assert!(
        status_of(&stack, get_with_value("x-a", &week)).await.starts_with("fwd=uri-miss"),
        "the index has expired, too"
    );
}

#[tokio::test]
async fn unexpiring_variant_keeps_its_index() {
    let (stack, _, manual) = lifetimes();
    for value in ["", "60"] {
        hits(&stack, value).await;
    }
    for _ in 0..5 {
        manual.advance(1000 * DAY);
        assert!(hits(&stack, "").await);
        assert!(!hits(&stack, "60").await);
    }
}

/// Returns a site whose page has one entity tag for all variants, and its clock.
///
/// From the third fetch on, the lifetime of the page is longer.
fn site_with_growing_lifetime(policy: PolicyBuilder) -> (Stack, tower_response_cache::clock::ManualClock) {
    let (cache, manual) = timed();
    let (inner, _) = origin(|request, call| {
        let lifetime = if call <= 2 { "max-age=60" } else { "max-age=864000" };
        let lines = [("vary", "x-a"), ("etag", "\"a\""), ("cache-control", lifetime)];
        let mut response = with_lines(&lines, if request.method() == "HEAD" { "" } else { "page" });
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        }
        response
    });
    (SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone(), manual)
}

#[tokio::test]
async fn freshened_variant_keeps_its_index() {
    for method in ["GET", "HEAD"] {
        let (stack, manual) = site_with_growing_lifetime(Policy::rfc9111().cache_status(true));
        for value in ["a", "b"] {
            send(&stack, get_with_value("x-a", value)).await;
        }
        manual.advance(61 * SECOND);
        send(&stack, request(method, "/", &[("x-a", "a")])).await;
        manual.advance(3 * DAY);
        assert!(hits(&stack, "a").await, "{method}");
        // A 304 also freshens other variants with the same entity tag.
        assert_eq!(hits(&stack, "b").await, method == "GET", "{method}");
    }
}
