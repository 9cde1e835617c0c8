//! Stale responses: which are stale before their time, and which may be made anew behind a request's back.

use crate::entry::StoredResponse;
use crate::policy::Policy;
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::freshness::{ExplicitLifetime, fresh_until, stated_lifetime};
use crate::serve::config::LayerConfig;
use crate::serve::request::{RequestFacts, is_personal};
use http::HeaderMap;

/// Returns `true` if a response is stale sooner than it says itself: by a soft invalidation, or what it was made from.
pub(in crate::serve) fn was_cut_short(config: &LayerConfig, response: &StoredResponse) -> bool {
    let (head, said) = (response.head(), response.head().said());
    let directives = ResponseDirectives::for_targets(&said, &config.policy.targets);
    match stated_lifetime(&directives, &said, config.cache.clock().wall()) {
        ExplicitLifetime::For(lifetime) => {
            head.fresh_until < fresh_until(head.response_time, lifetime, head.corrected_initial_age)
        }
        ExplicitLifetime::Silent | ExplicitLifetime::Stale => true,
    }
}

/// Returns `true` if a request may be answered with a response that is made anew behind its back: the
/// new one is made without the request's credentials, so they must not matter.
pub(in crate::serve) fn may_refresh(
    policy: &Policy,
    facts: RequestFacts,
    request: &HeaderMap,
    stored: &StoredResponse,
) -> bool {
    // Nor may what the page varies by, or is keyed by. What a cookie means to layers further out is still in the
    // request's extensions when it is taken off, so who has one waits.
    let nominated = stored.head().nominated.iter().map(|field| field.name());
    let varies = nominated.chain(&policy.key.headers).any(|name| is_personal(policy, name));
    let counts = facts.personal
            || facts.authorization
            || facts.identified
            // Nobody would judge what a layer in between makes of the answer.
            || facts.is_extended
            || varies
            || policy.identifies_by_field(request);
    // There is a runtime to make it on.
    !counts && tokio::runtime::Handle::try_current().is_ok()
}
