//! Warnings of mistakes in the order or the options of layers.

use crate::cache::Mistake;
use crate::key::RequestHead;
use crate::marks::is_outermost;
use crate::serve::config::LayerConfig;
use crate::status::{CacheStatus, Detail, ForwardReason};

/// Warns if the reason of a bypass shows a mistake. Each mistake is reported once for all layers
/// with one name.
pub(super) fn warn_of_mistakes(config: &LayerConfig, request: RequestHead<'_>, status: CacheStatus) {
    if status.forward_reason() != Some(ForwardReason::Bypass) {
        return;
    }
    let counters = config.counters();
    match status.detail_value() {
        Some(Detail::SameName) if counters.is_first(Mistake::SameKeys) => {
            warning!(
                layer = counters.name(),
                "two nested cache layers have the same keys, so the inner one is unused: give them names"
            );
        }
        Some(Detail::Cookie)
            if config.is_route_layer()
                && config.policy.cookies.is_default()
                && is_outermost(request.extensions)
                && counters.is_first(Mistake::UnseenCookies) =>
        {
            warning!(
                layer = counters.name(),
                "requests have cookies, but no option declares them and no outer layer of this crate sees \
                 whether responses set some: add an outer `AnonymousOnlyLayer` or `SiteCacheLayer`"
            );
        }
        _ => {}
    }
}
