//! Stale responses: which of them became stale early, and which may be refreshed in the background.

use crate::entry::StoredResponse;
use crate::policy::Policy;
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::freshness::{ExplicitLifetime, explicit_lifetime, fresh_until};
use crate::serve::config::LayerConfig;
use crate::serve::request::{RequestFacts, is_personal};
use http::HeaderMap;

/// Returns `true` if the freshness of a response ends before its own fields state. Possible causes
/// are a soft invalidation, a dependency and a shorter TTL. Also returns `true` if the fields state
/// no positive lifetime.
pub(in crate::serve) fn is_stale_early(config: &LayerConfig, response: &StoredResponse) -> bool {
    let (head, original) = (response.head(), response.head().original_headers());
    let directives = ResponseDirectives::for_targets(&original, &config.policy.targets);
    match explicit_lifetime(&directives, &original, config.cache.clock().wall()) {
        ExplicitLifetime::For(lifetime) => {
            head.fresh_until < fresh_until(head.response_time, lifetime, head.corrected_initial_age)
        }
        ExplicitLifetime::Silent | ExplicitLifetime::Stale => true,
    }
}

/// Returns `true` if a stored response may answer this request and be refreshed in the background.
/// The refresh carries no credentials, so the response must not depend on them.
pub(in crate::serve) fn may_refresh(
    policy: &Policy,
    facts: RequestFacts,
    request: &HeaderMap,
    stored: &StoredResponse,
) -> bool {
    // A refresh carries no personal field, so the response must not vary on one.
    let nominated = stored.head().nominated.iter().map(|field| field.name());
    let varies = nominated.chain(&policy.key.headers).any(|name| is_personal(policy, name));
    let depends_on_visitor = facts.personal
            || facts.authorization
            || facts.identified
            // The extension may personalize the response to a refresh, and no outer layer sees that
            // response.
            || facts.has_foreign_extension
            || varies
            || policy.identifies_by_field(request);
    // A refresh needs a tokio runtime for its task.
    !depends_on_visitor && tokio::runtime::Handle::try_current().is_ok()
}
