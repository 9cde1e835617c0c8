//! Variants are bounded: in number, in what their keys take, and by what requests ask for again.

use crate::faulty::{Fault, Faulty};
use crate::status::ask;
use crate::support::*;
use http::{HeaderName, Request};
use proptest::prelude::{prop, prop_assert_eq, proptest};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::{Cache, CacheHints, Invalidation, MemoryStore, Policy, SiteCacheLayer, Ttl};

const X_A: HeaderName = HeaderName::from_static("x-a");
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

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

/// A page that varies on `x-a`, and the cache it is in.
fn varying(most: usize) -> (Stack, Cache, tower_response_cache::ManualClock) {
    let (cache, hand) = timed();
    let (inner, _) = origin(|_, call| numbered(&[("vary", "x-a"), ("cache-control", "max-age=600")], call));
    let stack = SiteCacheLayer::new(&cache).policy(policy().max_variants(most)).layer(inner).boxed_clone();
    (stack, cache, hand)
}

async fn hits(stack: &Stack, value: &str) -> bool {
    send(stack, valued("x-a", value)).await.is_hit()
}

#[tokio::test]
async fn values_that_are_made_up_displace_none_that_requests_ask_for() {
    for made_up in [64, 1000] {
        let (stack, ..) = varying(64);
        // Often enough for copies of a thread's own.
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
async fn where_all_variants_are_used_a_newcomer_is_not_stored_and_the_next_may_be() {
    let (stack, ..) = varying(3);
    for value in ["a", "b", "c"].repeat(2) {
        hits(&stack, value).await;
    }
    let newcomer = || valued("x-a", "new");
    assert_eq!(ask(&stack, newcomer()).await, "fwd=vary-miss; fwd-status=200; detail=variants");
    assert!(hits(&stack, "b").await, "not displaced");
    assert_eq!(ask(&stack, newcomer()).await, "fwd=vary-miss; fwd-status=200; stored; ttl=600");
    assert!(
        send(&stack, newcomer()).await.is_hit(),
        "in the place of the oldest that nobody has asked for since"
    );
    assert!(hits(&stack, "b").await && hits(&stack, "c").await);
    assert!(ask(&stack, valued("x-a", "a")).await.contains("fwd=vary-miss"));
}

/// The reason is of one variant, and forgotten once that is stored.
#[tokio::test]
async fn a_variant_that_was_not_stored_says_nothing_of_the_others() {
    let (stack, cache, _) = varying(2);
    for value in ["a", "b"].repeat(2) {
        hits(&stack, value).await;
    }
    assert!(ask(&stack, valued("x-a", "new")).await.contains("detail=variants"));
    cache.invalidate(Invalidation::path("/")).await.expect("local");
    assert!(ask(&stack, valued("x-a", "a")).await.contains("; stored;"));
    cache.invalidate(Invalidation::path("/")).await.expect("local");
    assert!(ask(&stack, valued("x-a", "new")).await.contains("; stored;"));
}

#[tokio::test]
async fn a_variant_that_is_gone_is_displaced_first() {
    let (cache, hand) = timed();
    let (inner, _) = origin(|request, call| {
        let value = request.headers()["x-a"].to_str().expect("text").to_owned();
        let lifetime = if value == "brief" { "max-age=5" } else { "max-age=600" };
        let mut response = numbered(&[("vary", "x-a"), ("cache-control", lifetime)], call);
        CacheHints::new().tags([value]).add_to(response.extensions_mut());
        response
    });
    let stack = SiteCacheLayer::new(&cache).policy(policy().max_variants(4)).layer(inner).boxed_clone();
    for value in ["once", "brief", "b", "named"] {
        hits(&stack, value).await;
    }
    for value in ["brief", "b", "named"] {
        assert!(hits(&stack, value).await, "{value}");
    }
    hand.advance(6 * SECOND);
    assert!(!hits(&stack, "first").await, "in the place of what has expired");
    cache.invalidate(Invalidation::tag("named")).await.expect("local");
    assert!(!hits(&stack, "second").await, "in the place of what was invalidated");
    for value in ["once", "b", "first", "second"] {
        assert!(hits(&stack, value).await, "{value}");
    }
}

#[tokio::test]
async fn a_variant_that_is_made_again_counts_as_used() {
    let (stack, cache, _) = varying(2);
    hits(&stack, "a").await;
    cache.invalidate(Invalidation::path("/")).await.expect("local");
    assert!(!hits(&stack, "a").await, "asked for a second time");
    for number in 0..10 {
        hits(&stack, &number.to_string()).await;
    }
    assert!(hits(&stack, "a").await);
}

#[tokio::test]
async fn in_a_remote_store_the_oldest_variant_goes() {
    let store = Faulty::new(memory_store(8 << 20), Fault::NoGenerations);
    let (inner, _) = origin(|_, call| numbered(&[("vary", "x-a")], call));
    let layer = SiteCacheLayer::new(&Cache::new(store)).policy(policy().max_variants(2));
    let stack = layer.layer(inner).boxed_clone();
    let asked = async |value| {
        let hit = hits(&stack, value).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        hit
    };
    for (value, hit) in [("a", false), ("b", false), ("a", true), ("c", false), ("a", false), ("c", true)] {
        assert_eq!(asked(value).await, hit, "{value}");
    }
}

proptest! {
    /// The clock algorithm: what was asked for since the flags were cleared stays.
    #[test]
    fn variants_are_kept_as_requests_ask_for_them(
        most in 1..5_usize,
        asked in prop::collection::vec(0..8_usize, 1..120),
    ) {
        let (stack, _, _) = varying(most);
        // The variants, the oldest first, and whether each was asked for.
        let mut kept: Vec<(usize, bool)> = Vec::new();
        for value in asked {
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
    fn a_store_holds_no_more_variants_than_a_url_may_have(
        most in 1..6_usize,
        asked in prop::collection::vec((0..4_usize, 0..12_usize), 1..80),
    ) {
        let store = memory_store(8 << 20);
        // Fields are learnt one after the other.
        let (inner, _) = origin(|request, call| {
            let names = ["x-a", "x-b", "x-c"].into_iter().filter(|name| request.headers().contains_key(*name));
            numbered(&[("vary", &names.collect::<Vec<_>>().join(", ")), ("cache-control", "max-age=60")], call)
        });
        let layer = SiteCacheLayer::new(&Cache::new(store.clone())).policy(policy().max_variants(most));
        let stack = layer.layer(inner).boxed_clone();
        for (fields, value) in asked {
            let value = value.to_string();
            let lines: Vec<_> = ["x-a", "x-b", "x-c"].iter().take(fields).map(|name| (*name, &*value)).collect();
            futures::executor::block_on(send(&stack, get_with("/", &lines)));
            // The index is one more.
            assert!(store.len() <= most + 1, "{} entries for {most}", store.len());
        }
    }
}

/// A page that varies on `x-a`, whose lifetime its value says, for ever if it is empty.
fn lifetimes() -> (Stack, Cache, tower_response_cache::ManualClock) {
    let (cache, hand) = timed();
    let (inner, _) = origin(|request, call| {
        let value = request.headers()["x-a"].to_str().expect("text").to_owned();
        let mut response = numbered(&[("vary", "x-a")], call);
        let ttl = value.parse().map_or(Ttl::Forever, |seconds: u32| Ttl::For(seconds * SECOND));
        CacheHints::new().ttl(ttl).add_to(response.extensions_mut());
        response
    });
    (site_over(&cache, inner), cache, hand)
}

#[tokio::test]
async fn a_variant_lives_as_long_as_it_says() {
    let (stack, _, hand) = lifetimes();
    let (week, short) = ((7 * DAY).as_secs().to_string(), "60");
    assert!(!hits(&stack, &week).await);
    // What is stored later and lives shorter does not end the index sooner.
    assert!(!hits(&stack, short).await);
    for _ in 0..6 {
        hand.advance(DAY);
        assert!(hits(&stack, &week).await);
        assert!(!hits(&stack, short).await);
    }
    hand.advance(DAY);
    assert!(ask(&stack, valued("x-a", &week)).await.starts_with("fwd=uri-miss"), "with the last variant");
}

#[tokio::test]
async fn a_variant_for_ever_keeps_its_index_for_ever() {
    let (stack, _, hand) = lifetimes();
    for value in ["", "60"] {
        hits(&stack, value).await;
    }
    for _ in 0..5 {
        hand.advance(1000 * DAY);
        assert!(hits(&stack, "").await);
        assert!(!hits(&stack, "60").await);
    }
}

/// An origin whose page has one tag for all languages, and a lifetime that grows with the calls.
fn growing(policy: Policy) -> (Stack, tower_response_cache::ManualClock) {
    let (cache, hand) = timed();
    let (inner, _) = origin(|request, call| {
        let lifetime = if call <= 2 { "max-age=60" } else { "max-age=864000" };
        let lines = [("vary", "x-a"), ("etag", "\"a\""), ("cache-control", lifetime)];
        let mut response = with_lines(&lines, if request.method() == "HEAD" { "" } else { "page" });
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        }
        response
    });
    (SiteCacheLayer::new(&cache).policy(policy).layer(inner).boxed_clone(), hand)
}

#[tokio::test]
async fn a_variant_that_a_304_or_a_head_makes_live_longer_keeps_its_index() {
    for method in ["GET", "HEAD"] {
        let (stack, hand) = growing(Policy::rfc9111().cache_status(true));
        for value in ["a", "b"] {
            send(&stack, valued("x-a", value)).await;
        }
        hand.advance(61 * SECOND);
        send(&stack, request(method, "/", &[("x-a", "a")])).await;
        hand.advance(3 * DAY);
        assert!(hits(&stack, "a").await, "{method}");
        // A 304 freshens what has the same tag with it.
        assert_eq!(hits(&stack, "b").await, method == "GET", "{method}");
    }
}
