//! How long a response is fresh here: what it says itself, its handler and the policy, in their order.

use crate::clock::Moment;
use crate::entry::{Head, StoredResponse};
use crate::policy::Ttl;
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::freshness::{ExplicitLifetime, fresh_until, heuristic_lifetime, stated_lifetime};
use crate::rules::stale::{StaleOverrides, Windows};
use crate::serve::config::{LayerConfig, Level};
use crate::status::Detail;
use http::{HeaderMap, StatusCode};
use std::time::Duration;

/// What a moment can tell apart.
const SHORTEST: Duration = Duration::from_millis(1);

/// Returns until when a response is fresh by what it says itself, by the TTL of its route and by the policy.
///
/// The handler's hints and `no-cache` are decided before: see `Candidate::fresh_until`. The TTL of the route and the
/// default replace or fill in lifetimes; they never make fresh what says that it is not.
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
        return until(ttl, now);
    }
    if let (ExplicitLifetime::Silent, Some(ttl)) = (stated, config.policy.negative(status)) {
        return until(Ttl::For(ttl), now);
    }
    let lifetime = match stated {
        ExplicitLifetime::For(_) if !config.policy.stores_with_lifetime(status) => {
            return Err(Detail::Status);
        }
        ExplicitLifetime::For(lifetime) => lifetime,
        ExplicitLifetime::Silent if plain && config.policy.default_ttl != Ttl::Default => {
            return until(config.policy.default_ttl, now);
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

/// Returns until when a variant is fresh that was validated together with another one: no longer than that, or
/// than it says itself; `None` if it is to be validated by itself.
pub(in crate::serve) fn fresh_again_until(
    config: &LayerConfig,
    variant: &StoredResponse,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    like: &Head,
) -> Option<Moment> {
    let (now, wall) = (config.cache.clock().now(), config.cache.clock().wall());
    let stated = stated_lifetime(directives, headers, wall);
    let guessed = || heuristic_lifetime(variant.status(), directives, headers, wall);
    let own = match variant.head().hinted {
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

/// Leaves a part of a lifetime to chance. What is fresh stays so for a moment at least.
pub(super) fn shortened(config: &LayerConfig, fresh_until: Moment, now: Moment) -> Moment {
    let share = config.policy.jitter;
    if share == 0.0 || fresh_until == Moment::NEVER || fresh_until <= now {
        return fresh_until;
    }
    let rest = fresh_until.since(now).mul_f64(1.0 - share * config.cache.draw());
    now.after(rest.max(SHORTEST))
}

/// Returns until when a response was fresh that is not any more when it comes.
pub(super) fn came_stale(stated: ExplicitLifetime, initial_age: Duration, now: Moment) -> Moment {
    match stated {
        ExplicitLifetime::For(lifetime) => fresh_until(now, lifetime, initial_age),
        ExplicitLifetime::Stale | ExplicitLifetime::Silent => fresh_until(now, Duration::ZERO, initial_age),
    }
}

/// Returns `true` if a response is within its own window for use while it is revalidated.
pub(super) fn serves_while_revalidating(
    fresh_until: Moment,
    hinted: StaleOverrides,
    directives: &ResponseDirectives,
    now: Moment,
) -> bool {
    now < fresh_until.after(Windows::new(hinted, directives, StaleOverrides::default()).while_revalidate)
}

pub(super) fn until(ttl: Ttl, now: Moment) -> Result<Moment, Detail> {
    match ttl {
        Ttl::Forever => Ok(Moment::NEVER),
        // In the milliseconds of a moment.
        Ttl::For(ttl) => Some(now.after(ttl)).filter(|until| *until > now).ok_or(Detail::ZeroTtl),
        Ttl::Default => Err(Detail::NoLifetime),
    }
}
