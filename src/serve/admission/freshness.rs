//! The freshness lifetime of a response, from its fields, its handler and the policy.

use crate::clock::Moment;
use crate::entry::{Head, StoredResponse};
use crate::policy::Ttl;
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::freshness::{ExplicitLifetime, explicit_lifetime, fresh_until, heuristic_lifetime};
use crate::rules::stale::{StaleOverrides, Windows};
use crate::serve::config::{LayerConfig, Level};
use crate::status::Detail;
use http::{HeaderMap, StatusCode};
use std::time::Duration;

/// The shortest freshness lifetime, which is the resolution of a [`Moment`].
const MIN_LIFETIME: Duration = Duration::from_millis(1);

/// Returns the end of freshness (RFC 9111 section 4.2.1). The first rule that applies decides:
///
/// 1. A response that states that it is stale is not fresh.
/// 2. The TTL of the route, for a 200.
/// 3. `negative_ttl` of the status, if the response states no lifetime.
/// 4. The lifetime that the response states, less its age.
/// 5. `default_ttl`, for a 200.
/// 6. A heuristic lifetime, less the age, if the policy enables heuristics.
///
/// The TTLs of rules 2, 3 and 5 begin now. Under rules 4 and 6, a response is refused if
/// `Policy::stores_with_lifetime` is `false` for its status. `Candidate::fresh_until` applies the
/// handler's hints and `no-cache` before these rules.
pub(super) fn fresh_by_policy_until(
    config: &LayerConfig,
    (stated, heuristic): (ExplicitLifetime, impl FnOnce() -> Option<Duration>),
    status: StatusCode,
    initial_age: Duration,
    now: Moment,
) -> Result<Moment, Detail> {
    let plain = status == StatusCode::OK;
    if matches!(stated, ExplicitLifetime::Stale) {
        return Err(Detail::NotFresh);
    }
    if let (Level::Route(ttl @ (Ttl::For(_) | Ttl::Forever)), true) = (config.level, plain) {
        return fresh_until_ttl(ttl, now);
    }
    if let (ExplicitLifetime::Silent, Some(ttl)) = (stated, config.policy.negative(status)) {
        return fresh_until_ttl(Ttl::For(ttl), now);
    }
    let lifetime = match stated {
        ExplicitLifetime::For(_) if !config.policy.stores_with_lifetime(status) => {
            return Err(Detail::Status);
        }
        ExplicitLifetime::For(lifetime) => lifetime,
        ExplicitLifetime::Silent if plain && config.policy.default_ttl != Ttl::Default => {
            return fresh_until_ttl(config.policy.default_ttl, now);
        }
        ExplicitLifetime::Silent | ExplicitLifetime::Stale => {
            let most = config.policy.heuristic.ok_or(Detail::NoLifetime)?;
            let lifetime = heuristic().ok_or(Detail::NoLifetime)?.min(most);
            match config.policy.stores_with_lifetime(status) {
                true => lifetime,
                false => return Err(Detail::Status),
            }
        }
    };
    let until = fresh_until(now, lifetime, initial_age);
    if until > now { Ok(until) } else { Err(Detail::NotFresh) }
}

/// Returns the end of freshness of a variant after the validation of `like`, another response with
/// the same strong entity tag (RFC 9111 section 4.3.4).
///
/// The result is the end of freshness of `like`, or the end of the variant's own lifetime if that
/// is earlier. Returns `None` if the variant's own lifetime is missing or over, or if the variant
/// has `no-cache`. The variant must then be validated itself.
pub(in crate::serve) fn fresh_again_until(
    config: &LayerConfig,
    variant: &StoredResponse,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    like: &Head,
) -> Option<Moment> {
    let (now, wall) = (config.cache.clock().now(), config.cache.clock().wall());
    let stated = explicit_lifetime(directives, headers, wall);
    let guessed = || heuristic_lifetime(variant.status(), directives, headers, wall);
    let own = match variant.head().hinted_ttl {
        Some(ttl) => now.after(ttl),
        None if directives.no_cache == Qualified::All => return None,
        None => fresh_by_policy_until(
            config,
            (stated, guessed),
            variant.status(),
            like.corrected_initial_age,
            now,
        )
        .ok()?,
    };
    Some(own.min(like.fresh_until))
}

/// Shortens a freshness lifetime by a random part of it (`ttl_jitter`). A fresh response stays
/// fresh for at least a millisecond.
pub(super) fn shortened(config: &LayerConfig, fresh_until: Moment, now: Moment) -> Moment {
    let share = config.policy.jitter;
    if share == 0.0 || fresh_until == Moment::NEVER || fresh_until <= now {
        return fresh_until;
    }
    let rest = fresh_until.since(now).mul_f64(1.0 - share * config.cache.draw());
    now.after(rest.max(MIN_LIFETIME))
}

/// Returns the past moment at which a response that is stale on arrival became stale.
pub(super) fn stale_since(stated: ExplicitLifetime, initial_age: Duration, now: Moment) -> Moment {
    match stated {
        ExplicitLifetime::For(lifetime) => fresh_until(now, lifetime, initial_age),
        ExplicitLifetime::Stale | ExplicitLifetime::Silent => fresh_until(now, Duration::ZERO, initial_age),
    }
}

/// Returns `true` if a response is within its own stale-while-revalidate window
/// (RFC 5861 section 3). The policy's window does not count.
pub(super) fn serves_while_revalidating(
    fresh_until: Moment,
    hinted: StaleOverrides,
    directives: &ResponseDirectives,
    now: Moment,
) -> bool {
    now < fresh_until.after(Windows::new(hinted, directives, StaleOverrides::default()).while_revalidate)
}

/// Returns the end of a TTL that begins now.
///
/// # Errors
/// Returns `ZeroTtl` for a TTL below a millisecond, and `NoLifetime` for `Ttl::Default`.
pub(super) fn fresh_until_ttl(ttl: Ttl, now: Moment) -> Result<Moment, Detail> {
    match ttl {
        Ttl::Forever => Ok(Moment::NEVER),
        // A `Moment` counts milliseconds.
        Ttl::For(ttl) => Some(now.after(ttl)).filter(|until| *until > now).ok_or(Detail::ZeroTtl),
        Ttl::Default => Err(Detail::NoLifetime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::entry::{Generation, headers_for_storage};
    use crate::policy::PolicyBuilder;
    use crate::store::NullStore;
    use crate::{Cache, Policy};
    use ExplicitLifetime::{Silent, Stale};
    use std::sync::Arc;

    const FOREVER: u64 = u64::MAX;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn stated(lifetime: u64) -> ExplicitLifetime {
        ExplicitLifetime::For(seconds(lifetime))
    }

    fn config(policy: PolicyBuilder, level: Level) -> Arc<LayerConfig> {
        let cache = Cache::builder(NullStore::new()).clock(Clock::manual().0).seed(1).build();
        LayerConfig::new(cache.expect("a cache"), policy.build().expect("a policy"), level)
    }

    fn remaining(until: Result<Moment, Detail>, now: Moment) -> Result<u64, Detail> {
        until.map(|until| if until == Moment::NEVER { FOREVER } else { until.since(now).as_secs() })
    }

    /// The stated lifetime of a response, its heuristic lifetime in seconds, its status and its age
    /// in seconds.
    type Known = (ExplicitLifetime, Option<u64>, u16, u64);

    fn check(table: impl IntoIterator<Item = (PolicyBuilder, Level, Known, Result<u64, Detail>)>) {
        for (row, (policy, level, known, expected)) in table.into_iter().enumerate() {
            let config = config(policy, level);
            let now = config.cache.clock().now();
            let (stated, guessed, status, age) = known;
            let status = StatusCode::from_u16(status).expect("a status");
            let heuristic = || guessed.map(seconds);
            let until = fresh_by_policy_until(&config, (stated, heuristic), status, seconds(age), now);
            assert_eq!(remaining(until, now), expected, "row {row}: {known:?}");
        }
    }

    fn defaulted(ttl: u64) -> PolicyBuilder {
        Policy::app().default_ttl(seconds(ttl))
    }

    fn negative(status: u16) -> PolicyBuilder {
        defaulted(60).negative_ttl(StatusCode::from_u16(status).expect("a status"), seconds(5))
    }

    /// RFC 9111 section 4.2.1, combined with the policy: the route's TTL, `negative_ttl`, the
    /// explicit lifetime, `default_ttl`, a heuristic.
    #[test]
    fn lifetimes_apply_in_their_order_of_precedence() {
        let (app, rfc, site) = (Policy::app, Policy::rfc9111, Level::Site);
        let route = |ttl: u64| Level::Route(Ttl::For(seconds(ttl)));
        let (forever, unset) = (Level::Route(Ttl::Forever), Level::Route(Ttl::Default));
        check([
            (defaulted(60), route(60), (Stale, Some(9), 200, 0), Err(Detail::NotFresh)),
            (negative(200), forever, (Stale, None, 200, 0), Err(Detail::NotFresh)),
            (negative(200), route(30), (stated(10), None, 200, 0), Ok(30)),
            (negative(200), route(30), (Silent, None, 200, 0), Ok(30)),
            (app(), forever, (stated(10), None, 200, 0), Ok(FOREVER)),
            (app(), route(0), (stated(10), None, 200, 0), Err(Detail::ZeroTtl)),
            (app(), unset, (stated(10), None, 200, 0), Ok(10)),
            (defaulted(60), unset, (Silent, None, 200, 0), Ok(60)),
            (app(), route(30), (stated(10), None, 404, 0), Ok(10)),
            (app(), route(30), (Silent, None, 404, 0), Err(Detail::NoLifetime)),
            (negative(404), route(30), (Silent, None, 404, 0), Ok(5)),
            (negative(200), site, (Silent, Some(100), 200, 0), Ok(5)),
            (negative(503), site, (Silent, None, 503, 0), Ok(5)),
            (negative(503), site, (stated(10), None, 503, 0), Ok(10)),
            (negative(404), site, (stated(10), None, 503, 0), Err(Detail::Status)),
            (app(), site, (stated(10), None, 503, 0), Err(Detail::Status)),
            (rfc(), site, (stated(10), None, 503, 0), Ok(10)),
            (defaulted(60), site, (stated(10), None, 200, 0), Ok(10)),
            (defaulted(60), site, (Silent, Some(100), 200, 0), Ok(60)),
            (defaulted(60), site, (Silent, None, 404, 0), Err(Detail::NoLifetime)),
            (defaulted(0), site, (Silent, None, 200, 0), Err(Detail::ZeroTtl)),
            (app().default_ttl(Ttl::Forever), site, (Silent, None, 200, 0), Ok(FOREVER)),
            (app(), site, (Silent, Some(100), 200, 0), Err(Detail::NoLifetime)),
        ]);
    }

    /// RFC 9111 section 4.2.2: a heuristic lifetime, which the policy limits. Section 4.2:
    /// "response_is_fresh = (freshness_lifetime > current_age)". A TTL of the policy begins when
    /// the response arrives.
    #[test]
    fn age_reduces_heuristic_and_explicit_lifetimes() {
        let (app, rfc, site) = (Policy::app, Policy::rfc9111, Level::Site);
        let most = |policy: PolicyBuilder| policy.heuristic_freshness(seconds(50));
        check([
            (rfc(), site, (Silent, Some(100), 200, 0), Ok(100)),
            (most(rfc()), site, (Silent, Some(100), 200, 0), Ok(50)),
            (most(app()), site, (Silent, Some(40), 200, 0), Ok(40)),
            (most(app()), site, (Silent, None, 200, 0), Err(Detail::NoLifetime)),
            (most(app()), site, (Silent, Some(40), 302, 0), Err(Detail::Status)),
            (rfc(), site, (Silent, Some(40), 302, 0), Ok(40)),
            (rfc(), site, (Silent, Some(100), 200, 30), Ok(70)),
            (rfc(), site, (Silent, Some(100), 200, 100), Err(Detail::NotFresh)),
            (app(), site, (stated(10), None, 200, 4), Ok(6)),
            (app(), site, (stated(10), None, 200, 10), Err(Detail::NotFresh)),
            (defaulted(60), site, (Silent, None, 200, 100), Ok(60)),
            (negative(404), site, (Silent, None, 404, 100), Ok(5)),
            (app(), Level::Route(Ttl::For(seconds(60))), (stated(10), None, 200, 100), Ok(60)),
        ]);
    }

    /// The jitter keeps a fresh response fresh, and lengthens no lifetime.
    #[test]
    fn jitter_shortens_a_lifetime_by_its_share_at_most() {
        let config = |share| config(Policy::app().ttl_jitter(share), Level::Site);
        let now = config(0.0).cache.clock().now();
        let (later, earlier) = (now.after(seconds(100)), now.before(seconds(5)));
        let same = [(0.0, later), (0.5, Moment::NEVER), (0.5, now), (0.5, earlier)];
        for (share, until) in same {
            assert_eq!(shortened(&config(share), until, now), until, "{share} {until:?}");
        }
        for (share, least) in [(0.5, 50_000), (1.0, 1), (0.01, 99_000)] {
            let config = config(share);
            let rests: Vec<_> =
                (0..100).map(|_| shortened(&config, later, now).since(now).as_millis()).collect();
            assert!(rests.iter().all(|rest| (least..=100_000).contains(rest)), "{share}: {rests:?}");
            assert!(rests.iter().any(|rest| *rest < 100_000), "{share}: {rests:?}");
        }
        let shortest = now.after(MIN_LIFETIME);
        assert!((0..100).all(|_| shortened(&config(1.0), shortest, now) == shortest));
    }

    /// A response that is stale on arrival became stale in the past. The stale windows of RFC 5861
    /// begin at that moment.
    #[test]
    fn response_stale_on_arrival_keeps_its_end_of_freshness() {
        let now = Clock::manual().0.now();
        for (stated, age, ago) in
            [(stated(10), 15, 5), (Stale, 15, 15), (Silent, 15, 15), (stated(10), 10, 0)]
        {
            assert_eq!(stale_since(stated, seconds(age), now), now.before(seconds(ago)), "{stated:?}");
        }
    }

    /// RFC 5861 section 3: a response may be used within its `stale-while-revalidate` window. RFC
    /// 9111 section 4.2.4: a directive can prohibit stale responses.
    #[test]
    fn stale_response_is_used_within_its_own_window() {
        let now = Clock::manual().0.now();
        let table = [
            (5, None, "stale-while-revalidate=10", true),
            (9, None, "stale-while-revalidate=10", true),
            (10, None, "stale-while-revalidate=10", false),
            (5, None, "stale-if-error=10", false),
            (5, None, "max-age=1", false),
            (5, Some(10), "max-age=1", true),
            (5, Some(0), "stale-while-revalidate=10", false),
            (5, Some(10), "must-revalidate", false),
            (5, None, "stale-while-revalidate=10, s-maxage=1", false),
        ];
        for (ago, hinted, directives, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert("cache-control", directives.parse().expect("a value"));
            let directives = ResponseDirectives::from_headers(&headers);
            let hinted = StaleOverrides { while_revalidate: hinted.map(seconds), if_error: None };
            let until = now.before(seconds(ago));
            let found = serves_while_revalidating(until, hinted, &directives, now);
            assert_eq!(found, expected, "{headers:?} {hinted:?}");
        }
    }

    /// RFC 9111 section 4.3.4: a 304 may freshen further variants. Each of them stays fresh no
    /// longer than its own lifetime allows, and no longer than the validated response.
    #[test]
    fn variant_is_fresh_no_longer_than_the_validated_response() {
        let table = [
            (Policy::app(), None, "max-age=9", 60, Some(9)),
            (Policy::app(), None, "max-age=90", 60, Some(60)),
            (Policy::app(), Some(30), "max-age=9", 60, Some(30)),
            (Policy::app(), Some(90), "no-cache", 60, Some(60)),
            (Policy::app(), None, "no-cache, max-age=9", 60, None),
            (Policy::app(), None, "max-age=0", 60, None),
            (Policy::app(), None, "public", 60, None),
            (defaulted(20), None, "public", 60, Some(20)),
            (Policy::app(), None, "max-age=4", 60, None),
        ];
        for (policy, hinted, directives, like_until, expected) in table {
            let config = config(policy, Level::Site);
            let now = config.cache.clock().now();
            let mut headers = HeaderMap::new();
            headers.insert("cache-control", directives.parse().expect("a value"));
            let head =
                || Head::new(StatusCode::OK, headers_for_storage(&headers, &[]), Generation::new(1, 0), now);
            let (mut own, mut like) = (head(), head());
            own.hinted_ttl = hinted.map(seconds);
            like.fresh_until = now.after(seconds(like_until));
            // The age of the validated response also counts for the other variants.
            like.corrected_initial_age = if directives == "max-age=4" { seconds(4) } else { Duration::ZERO };
            let variant = StoredResponse::new(own, bytes::Bytes::new());
            let read = ResponseDirectives::from_headers(&headers);
            let until = fresh_again_until(&config, &variant, &headers, &read, &like);
            assert_eq!(until.map(|until| until.since(now).as_secs()), expected, "{directives} {hinted:?}");
        }
    }
}
