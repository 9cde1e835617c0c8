//! Tables of the freshness and the stale windows of a candidate.

use super::{SampleExchange, app, rfc, seconds};
use crate::clock::Moment;
use crate::policy::CacheHints;
use crate::serve::admission::candidate::Candidate;
use crate::status::Detail;
use http::StatusCode;
use std::time::Duration;

const FOREVER: i64 = i64::MAX;

/// The seconds until the response is stale (negative if it is stale), and its two stale windows in
/// seconds.
type Lifetime = Result<(i64, u64, u64), Detail>;

fn lifetime(candidate: &Candidate<'_>) -> Lifetime {
    let freshness = candidate.freshness()?;
    let (until, now) = (freshness.until, candidate.now);
    let remaining = until.since(now).as_secs() as i64 - now.since(until).as_secs() as i64;
    let remaining = if until == Moment::NEVER { FOREVER } else { remaining };
    let windows = freshness.windows;
    Ok((remaining, windows.while_revalidate.as_secs(), windows.if_error.as_secs()))
}

fn check(table: impl IntoIterator<Item = (SampleExchange, Lifetime)>) {
    super::check(table, |candidate| lifetime(&candidate));
}

fn response_field(directives: &str) -> SampleExchange {
    app().response_field("cache-control", directives)
}

/// The handler's TTL outranks the fields. RFC 9111 section 5.2.2.4: a response with `no-cache` is
/// validated before each use, so it is stale on arrival.
#[test]
fn handler_ttl_outranks_the_fields() {
    let ttl = |ttl: u64| CacheHints::new().ttl(seconds(ttl));
    let for_503 = || ttl(60).statuses([StatusCode::SERVICE_UNAVAILABLE]);
    let no_cache = || response_field("no-cache, stale-if-error=9").response_field("etag", "\"a\"");
    check([
        (response_field("max-age=0").hints(ttl(60)), Ok((60, 0, 0))),
        (response_field("max-age=5, stale-if-error=9").hints(ttl(60)), Ok((60, 0, 9))),
        (response_field("max-age=5").response_field("age", "4").hints(ttl(60)), Ok((60, 0, 0))),
        (app().hints(CacheHints::new().ttl(crate::policy::Ttl::Forever)), Ok((FOREVER, 0, 0))),
        (response_field("max-age=5").hints(ttl(0)), Err(Detail::ZeroTtl)),
        (
            response_field("max-age=5").hints(CacheHints::new().ttl(Duration::from_nanos(1))),
            Err(Detail::ZeroTtl),
        ),
        (app().status(503).hints(ttl(60)), Err(Detail::Status)),
        (app().status(503).hints(for_503()), Ok((60, 0, 0))),
        (app().status(404).hints(ttl(60)), Ok((60, 0, 0))),
        (rfc().status(503).hints(ttl(60)), Ok((60, 0, 0))),
        (no_cache(), Ok((0, 0, 0))),
        (no_cache().hints(ttl(60)), Ok((60, 0, 0))),
        (no_cache().response_field("cache-control", "max-age=9"), Ok((0, 0, 0))),
        (no_cache().policy(|policy| policy.default_ttl(seconds(9))), Ok((0, 0, 0))),
    ]);
}

/// A TTL of the policy and a heuristic do not apply to identified requests, unless the identity is
/// part of the key.
#[test]
fn identified_request_needs_an_explicit_lifetime() {
    let identified = |sample: SampleExchange| sample.facts(|facts| facts.identified = true);
    let silent = || identified(rfc().policy(|policy| policy.default_ttl(seconds(60))));
    check([
        (silent(), Err(Detail::NoLifetime)),
        (silent().facts(|facts| facts.personal = true), Ok((60, 0, 0))),
        (silent().response_field("cache-control", "max-age=9"), Ok((9, 0, 0))),
        (silent().hints(CacheHints::new().ttl(seconds(8))), Ok((8, 0, 0))),
        (silent().response_field("last-modified", "Wed, 31 Dec 2025 00:00:00 GMT"), Err(Detail::NoLifetime)),
    ]);
}

/// RFC 9111 section 4.2.1: the first of `s-maxage`, `max-age` and `Expires` decides. Section 4.2.2:
/// a heuristic applies only without them. Section 4.2.3: "corrected_age_value = age_value +
/// response_delay". RFC 9213 section 2.2: a targeted field comes first.
#[test]
fn age_reduces_the_lifetime_of_the_fields() {
    let slow = |sample| SampleExchange { delay: seconds(5), ..sample };
    let expires = |date: &'static str| {
        response_field("")
            .response_field("expires", "Thu, 01 Jan 2026 00:01:00 GMT")
            .response_field("date", date)
    };
    let modified = || rfc().response_field("last-modified", "Wed, 31 Dec 2025 23:43:20 GMT");
    check([
        (response_field("max-age=60"), Ok((60, 0, 0))),
        (response_field("max-age=60, s-maxage=30"), Ok((30, 0, 0))),
        (response_field("max-age=60").response_field("age", "10"), Ok((50, 0, 0))),
        (
            response_field("max-age=60").response_field("date", "Wed, 31 Dec 2025 23:59:40 GMT"),
            Ok((40, 0, 0)),
        ),
        (slow(response_field("max-age=60")), Ok((55, 0, 0))),
        (slow(response_field("max-age=60").response_field("age", "10")), Ok((45, 0, 0))),
        (response_field("max-age=60").response_field("age", "60"), Err(Detail::NotFresh)),
        (expires("Thu, 01 Jan 2026 00:00:00 GMT"), Ok((60, 0, 0))),
        (expires("Wed, 31 Dec 2025 23:59:40 GMT"), Ok((60, 0, 0))),
        (response_field("max-age=9").response_field("expires", "0"), Ok((9, 0, 0))),
        (app(), Err(Detail::NoLifetime)),
        (modified(), Ok((100, 0, 0))),
        (slow(modified()), Ok((95, 0, 0))),
        (modified().status(302), Err(Detail::NoLifetime)),
        (modified().response_field("cache-control", "max-age=9"), Ok((9, 0, 0))),
        (modified().policy(|policy| policy.heuristic_freshness(seconds(50))), Ok((50, 0, 0))),
        (
            modified()
                .response_field("cdn-cache-control", "max-age=7")
                .response_field("cache-control", "max-age=9"),
            Ok((7, 0, 0)),
        ),
        (response_field("max-age=60").response_field("cdn-cache-control", "max-age=7"), Ok((60, 0, 0))),
        (response_field("max-age=60").status(302), Err(Detail::Status)),
        (
            response_field("max-age=60")
                .status(302)
                .policy(|p| p.negative_ttl(StatusCode::FOUND, seconds(5))),
            Ok((60, 0, 0)),
        ),
    ]);
}

/// RFC 9111 section 4.3.1: a response with a validator can be revalidated, so it is stored even if
/// it is stale. RFC 5861 section 3: "caches MAY serve the response in which it appears after it
/// becomes stale, up to the indicated number of seconds".
#[test]
fn stale_response_is_stored_to_be_revalidated_or_served_stale() {
    let tagged = |sample: SampleExchange| sample.response_field("etag", "\"a\"");
    let window = || response_field("max-age=5, stale-while-revalidate=20");
    check([
        (response_field("max-age=0"), Err(Detail::NotFresh)),
        (tagged(response_field("max-age=0")), Ok((0, 0, 0))),
        (tagged(response_field("max-age=0")).response_field("age", "7"), Ok((-7, 0, 0))),
        (tagged(response_field("max-age=5")).response_field("age", "7"), Ok((-2, 0, 0))),
        (tagged(response_field("max-age=5")).response_field("age", "7").status(404), Err(Detail::NotFresh)),
        (tagged(app()), Err(Detail::NoLifetime)),
        (window().response_field("age", "24"), Ok((-19, 20, 0))),
        (window().response_field("age", "25"), Err(Detail::NotFresh)),
        (response_field("max-age=5, stale-if-error=20").response_field("age", "9"), Err(Detail::NotFresh)),
        (
            window().response_field("age", "24").response_field("cache-control", "must-revalidate"),
            Err(Detail::NotFresh),
        ),
        (window().response_field("age", "24").status(302), Err(Detail::Status)),
        (window().response_field("cache-control", "max-age=0").status(302), Err(Detail::NotFresh)),
        (
            response_field("max-age=5")
                .response_field("age", "9")
                .hints(CacheHints::new().stale_while_revalidate(seconds(9))),
            Ok((-4, 9, 0)),
        ),
        // The policy's stale window does not make a response storable that is stale on arrival.
        (
            response_field("max-age=5")
                .response_field("age", "9")
                .policy(|p| p.stale_while_revalidate(seconds(99))),
            Err(Detail::NotFresh),
        ),
    ]);
}

/// RFC 9111 section 4.2.4: "A cache MUST NOT generate a stale response if it is prohibited by an
/// explicit in-protocol directive". The policy's windows apply to fresh responses without an error
/// status.
#[test]
fn policy_windows_apply_to_fresh_pages() {
    let own = |sample: SampleExchange| {
        sample.policy(|policy| policy.stale_while_revalidate(seconds(20)).stale_if_error(seconds(30)))
    };
    let not_found = |sample: SampleExchange| sample.status(404);
    check([
        (own(response_field("max-age=9")), Ok((9, 20, 30))),
        (own(response_field("max-age=9, stale-if-error=3")), Ok((9, 20, 3))),
        (
            own(response_field("max-age=9")).hints(CacheHints::new().stale_if_error(seconds(4))),
            Ok((9, 20, 4)),
        ),
        (own(not_found(response_field("max-age=9"))), Ok((9, 0, 0))),
        (own(not_found(response_field("max-age=9, stale-if-error=3"))), Ok((9, 0, 3))),
        (own(rfc().response_field("cache-control", "max-age=9").status(503)), Ok((9, 0, 0))),
        (own(response_field("max-age=9").status(301)), Ok((9, 20, 30))),
        (own(response_field("max-age=0").response_field("etag", "\"a\"")), Ok((0, 0, 0))),
        (own(response_field("max-age=9, must-revalidate")), Ok((9, 0, 0))),
        (own(response_field("max-age=9, proxy-revalidate")), Ok((9, 0, 0))),
        (own(response_field("s-maxage=9")), Ok((9, 0, 0))),
    ]);
}

/// RFC 9111 section 4.3: a response that can be revalidated is retained beyond its stale windows.
#[test]
fn retention_covers_stale_windows_and_revalidation() {
    let retention = |sample: SampleExchange| {
        let admission = sample.run(|candidate| candidate.admit());
        admission.map(|admission| admission.retention.as_secs())
    };
    let fresh = |sample: SampleExchange| sample.response_field("cache-control", "max-age=9");
    let windows = |sample: SampleExchange| {
        sample.policy(|policy| policy.stale_while_revalidate(seconds(20)).stale_if_error(seconds(3000)))
    };
    let day = 24 * 3600;
    let table = [
        (fresh(app()), Ok(0)),
        (windows(fresh(app())), Ok(3000)),
        (fresh(app()).response_field("etag", "\"a\""), Ok(day)),
        (windows(fresh(app())).response_field("etag", "\"a\""), Ok(day)),
        (fresh(app()).response_field("etag", "\"a\"").status(404), Ok(0)),
        (fresh(rfc()), Ok(600)),
        (windows(fresh(rfc())), Ok(3000)),
        (app(), Err(Detail::NoLifetime)),
    ];
    for (row, (sample, expected)) in table.into_iter().enumerate() {
        assert_eq!(retention(sample), expected, "row {row}");
    }
}
