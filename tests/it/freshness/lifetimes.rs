//! Freshness lifetimes from each source, and the `Age` and `Date` of hits.

use crate::support::rfc9111::{SECOND, date, proxy, standing};
use crate::support::*;
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{Policy, RouteCacheLayer, SiteCacheLayer, Ttl};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Returns the freshness lifetime, in seconds, of a response with these header lines.
///
/// Returns zero if the response is not stored, and `u64::MAX` if it is fresh for at least 10,000
/// seconds.
async fn fresh_for(
    lines: &'static [(&'static str, &'static str)],
    route: Option<Ttl>,
    policy: PolicyBuilder,
) -> u64 {
    let (cache, manual) = timed();
    let (inner, _) = origin(move |_, call| numbered(lines, call));
    let policy = policy.cache_status(true);
    let stack = match route {
        Some(ttl) => RouteCacheLayer::new(&cache, ttl)
            .policy(policy.build().expect("a policy"))
            .layer(inner)
            .boxed_clone(),
        None => {
            SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone()
        }
    };
    send(&stack, get("/")).await;
    for second in 0..10_000 {
        if !send(&stack, get("/")).await.is_hit() {
            return second;
        }
        manual.advance(secs(1));
    }
    u64::MAX
}

/// Header lines, the TTL of the route, the default TTL, and the expected lifetime, all in seconds.
type Row = (&'static [(&'static str, &'static str)], Option<u64>, Option<u64>, u64);

#[tokio::test]
async fn lifetime_sources_rank_in_the_documented_order() {
    // The manual clock starts at 2026-01-01 00:00:00.
    let table: &[Row] = &[
        (&[], None, None, 0),
        (&[], None, Some(9), 9),
        (&[], Some(5), Some(9), 5),
        (&[("cache-control", "max-age=7")], None, Some(9), 7),
        (&[("cache-control", "max-age=7")], Some(5), Some(9), 5),
        (&[("cache-control", "max-age=7")], Some(20), None, 20),
        (&[("cache-control", "max-age=7, s-maxage=3")], None, None, 3),
        (&[("cache-control", "s-maxage=0, max-age=7")], None, Some(9), 0),
        (&[("expires", "Thu, 01 Jan 2026 00:01:00 GMT")], None, Some(9), 60),
        (&[("expires", "Thursday, 01-Jan-26 00:01:00 GMT")], None, Some(9), 60),
        (&[("expires", "Thu Jan  1 00:01:00 2026")], None, Some(9), 60),
        (
            &[("expires", "Thu, 01 Jan 2026 00:01:00 GMT"), ("date", "Thu, 01 Jan 2026 00:00:30 GMT")],
            None,
            None,
            30,
        ),
        (&[("expires", "Thu, 01 Jan 2026 00:01:00 GMT"), ("cache-control", "max-age=7")], None, None, 7),
        (&[("cache-control", "max-age=7"), ("age", "4")], None, None, 3),
        (&[("cache-control", "max-age=7"), ("age", "7")], None, None, 0),
        (&[("cache-control", "max-age=7"), ("date", "Wed, 31 Dec 2025 23:59:58 GMT")], None, None, 5),
        (&[("cache-control", "max-age=7"), ("date", "Thu, 01 Jan 2026 09:00:00 GMT")], None, None, 7),
        (&[("cache-control", "max-age=9, max-age=4")], None, None, 4),
        (&[("cache-control", "max-age=9"), ("cache-control", "max-age=4")], None, None, 4),
        (&[("cache-control", "MAX-AGE=\"6\"")], None, None, 6),
    ];
    for (lines, route, default, expected) in table {
        let policy = default.map_or(Policy::app(), |ttl| Policy::app().default_ttl(secs(ttl)));
        let route = route.map(|ttl| Ttl::For(secs(ttl)));
        assert_eq!(fresh_for(lines, route, policy).await, *expected, "{lines:?} {route:?} {default:?}");
    }
}

#[tokio::test]
async fn default_ttl_does_not_apply_to_stale_or_malformed_lifetimes() {
    let table: &[&[(&str, &str)]] = &[
        &[("cache-control", "max-age=0")],
        &[("cache-control", "s-maxage=0, max-age=60")],
        &[("cache-control", "max-age=abc")],
        &[("cache-control", "max-age=-1")],
        &[("cache-control", "max-age=1.5")],
        &[("cache-control", "max-age=")],
        &[("cache-control", "max-age")],
        &[("cache-control", "max-age=60, max-age=x")],
        &[("expires", "0")],
        &[("expires", "-1")],
        &[("expires", "yesterday")],
        &[("expires", "Thu, 01 Jan 1970 00:00:00 GMT")],
        &[("expires", "Thu, 01 Jan 2026 00:01:00 GMT"), ("expires", "Thu, 01 Jan 2026 00:02:00 GMT")],
        &[("cache-control", "no-store")],
        &[("cache-control", "no-cache")],
        &[("cache-control", "private")],
    ];
    for lines in table {
        let generous = Policy::app().default_ttl(secs(100));
        assert_eq!(fresh_for(lines, None, generous.clone()).await, 0, "{lines:?}");
        assert_eq!(
            fresh_for(lines, Some(Ttl::For(secs(100))), generous.clone()).await,
            0,
            "route: {lines:?}"
        );
        assert_eq!(fresh_for(lines, Some(Ttl::Forever), generous).await, 0, "forever: {lines:?}");
    }
}

#[tokio::test]
async fn a_zero_ttl_stores_nothing_and_forever_never_expires() {
    assert_eq!(fresh_for(&[], Some(Ttl::For(Duration::ZERO)), policy()).await, 0);
    assert_eq!(fresh_for(&[], None, Policy::app().default_ttl(Duration::ZERO)).await, 0);
    assert_eq!(fresh_for(&[], Some(Ttl::Forever), Policy::app()).await, u64::MAX);
    assert_eq!(fresh_for(&[], None, Policy::app().default_ttl(Ttl::Forever)).await, u64::MAX);
    assert_eq!(fresh_for(&[], Some(Ttl::Default), Policy::app().default_ttl(secs(4))).await, 4);
}

#[tokio::test]
async fn a_huge_lifetime_is_clamped_and_does_not_overflow() {
    let huge = &[("cache-control", "max-age=99999999999999999999999999")];
    assert_eq!(fresh_for(huge, None, Policy::app()).await, u64::MAX);
    assert_eq!(fresh_for(&[], Some(Ttl::For(Duration::MAX)), Policy::app()).await, u64::MAX);
}

#[tokio::test]
async fn a_hit_has_its_age_and_the_date_of_the_origin() {
    let (cache, manual) = timed();
    let date = "Wed, 31 Dec 2025 23:59:50 GMT";
    let (inner, _) = origin(move |_, call| {
        numbered(&[("date", date), ("age", "3"), ("cache-control", "max-age=600")], call)
    });
    let stack = site_over(&cache, inner);
    assert_eq!(
        send(&stack, get("/")).await.header("age"),
        Some("3"),
        "a miss passes the `Age` of the origin on"
    );
    manual.advance(secs(5));
    let hit = send(&stack, get("/")).await;
    // RFC 9111 section 4.2.3: an `apparent_age` of 10 s, and a `resident_time` of 5 s.
    assert_eq!((hit.header("age"), hit.header("date")), (Some("15"), Some(date)));
    assert_eq!(hit.headers.get_all("age").iter().count(), 1);
}

#[tokio::test]
async fn a_response_stored_without_a_date_gets_one() {
    let (cache, manual) = timed();
    let stack = site_over(&cache, origin(|_, call| numbered(&[], call)).0);
    send(&stack, get("/")).await;
    manual.advance(secs(7));
    let hit = send(&stack, get("/")).await;
    assert_eq!((hit.header("date"), hit.header("age")), (Some("Thu, 01 Jan 2026 00:00:00 GMT"), Some("7")));
}

#[tokio::test]
async fn a_wall_clock_set_back_changes_no_lifetime_or_age() {
    let (cache, manual) = timed();
    let stack = site_over(&cache, origin(|_, call| numbered(&[("cache-control", "max-age=10")], call)).0);
    send(&stack, get("/")).await;
    manual.set_wall_back(secs(86_400));
    manual.advance(secs(9));
    assert_eq!(send(&stack, get("/")).await.header("age"), Some("9"));
    manual.advance(secs(1));
    assert!(!send(&stack, get("/")).await.is_hit());
}

#[tokio::test]
async fn malformed_ages_are_ignored_and_a_huge_one_is_stale() {
    let table =
        [("abc", true), ("-5", true), ("", true), ("1, 999999", true), ("99999999999999999999", false)];
    for (age, stored) in table {
        let (stack, _) =
            site(policy(), move |_, call| numbered(&[("cache-control", "max-age=600"), ("age", age)], call));
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{age:?}");
    }
}

#[tokio::test]
async fn a_miss_passes_the_inner_response_unchanged() {
    let (stack, _) = site(Policy::app().default_ttl(MINUTE), |_, call| numbered(&[("x-a", "1")], call));
    let answer = send(&stack, get("/")).await;
    assert_eq!(answer.headers.len(), 1, "{:?}", answer.headers);
}

/// RFC 9111 sections 1.2.2, 4.2.1 and 4.2.3. Each row has the `Age` of the second response, or
/// `None` if that response is no hit.
#[tokio::test]
async fn malformed_and_extreme_ages_and_dates_follow_rfc9111() {
    let [ago, ahead, far] = [date(-100), date(1_000_000), "Fri, 31 Dec 9999 23:59:59 GMT".to_owned()];
    type Lines<'a> = Vec<(&'a str, &'a str)>;
    let table: Vec<(Lines<'_>, Option<&str>)> = vec![
        (vec![("cache-control", "max-age=60"), ("age", "10, 20")], Some("11")),
        (vec![("cache-control", "max-age=60"), ("age", "10"), ("age", "50")], Some("11")),
        (vec![("cache-control", "max-age=60"), ("age", "-1")], Some("1")),
        (vec![("cache-control", "max-age=60"), ("age", "1.5")], Some("1")),
        (vec![("cache-control", "max-age=60"), ("age", "99999999999999999999999")], None),
        (vec![("cache-control", "max-age=99999999999"), ("age", "2147483647")], None),
        (vec![("cache-control", "max-age=99999999999"), ("age", "2147483600")], Some("2147483601")),
        (vec![("cache-control", "max-age=60"), ("date", &ago)], None),
        (vec![("cache-control", "max-age=200"), ("date", &ago)], Some("101")),
        (vec![("cache-control", "max-age=200"), ("date", &ago), ("age", "150")], Some("151")),
        (vec![("cache-control", "max-age=60"), ("date", &ahead)], Some("1")),
        (vec![("expires", &far), ("date", &ahead)], Some("1")),
        (vec![("expires", &ahead), ("date", &ahead)], None),
        (vec![("expires", &far), ("date", &far)], None),
        (vec![("expires", &ahead), ("date", "Thu, 01 Jan 1970 00:00:00 GMT")], Some("1767225601")),
        (vec![("expires", &far), ("date", "Thu, 01 Jan 1970 00:00:00 GMT")], Some("1767225601")),
        (vec![("expires", &ahead), ("expires", &far)], None),
        (vec![("expires", &ahead), ("date", "nonsense")], Some("1")),
        (vec![("cache-control", "max-age=60"), ("cache-control", "max-age=x")], None),
        (vec![("cache-control", "s-maxage=0, max-age=60")], None),
        (vec![("last-modified", &far), ("date", &ahead)], None),
    ];
    let mut failed = Vec::new();
    for (lines, age) in table {
        let own: Vec<_> = lines.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let (stack, _, manual) = standing(proxy(), move |_, call| {
            let lines: Vec<_> = own.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            numbered(&lines, call)
        });
        send(&stack, get("/")).await;
        manual.advance(SECOND);
        let answer = send(&stack, get("/")).await;
        let found = answer.header("age").filter(|_| answer.is_hit()).map(str::to_owned);
        if found.as_deref() != age {
            failed.push((lines, age.map(str::to_owned), found));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
