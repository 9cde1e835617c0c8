//! The marks on requests ([`OuterContext`]), by which inner cache layers know of outer ones.

use super::config::LayerConfig;
use crate::marks::{LazyTargetNames, OuterContext};
use crate::policy::{Cookies, Policy};
use http::Extensions;
use std::sync::Arc;

/// Returns `true` if an outer layer has the ID of this layer.
pub(super) fn is_inside_same_layer(config: &LayerConfig, outer: &OuterContext) -> bool {
    outer.layers.contains(config.id())
}

/// Returns `true` if this layer's policy declares every cookie that the outer layers have found
/// undeclared. A policy declares a cookie if it keys or ignores it, or names it as a credential.
pub(super) fn declares_all_cookies(policy: &Policy, outer: &OuterContext) -> bool {
    let own = Cookies { own: &policy.cookies, outer: None, personal: false };
    outer.undeclared.as_ref().is_none_or(|names| names.iter().all(|name| own.declares(name)))
}

/// Marks a request that this layer forwards, or extends the mark of outer layers. The mark tells
/// inner layers the ID of this layer, the names of the target, and whether the request is
/// identified.
///
/// Without `target`, the mark keeps the names that outer layers gave.
pub(super) fn mark_request(
    config: &LayerConfig,
    request: &mut Extensions,
    identified: bool,
    target: Option<&Arc<LazyTargetNames>>,
) {
    let mark = request.get_mut::<OuterContext>();
    let mark = match mark {
        Some(mark) => {
            mark.layers = match &*mark.layers {
                [] => Arc::clone(config.own_ids()),
                layers => layers.iter().copied().chain([*config.id()]).collect(),
            };
            mark
        }
        None => {
            let layers = Arc::clone(config.own_ids());
            let mark = OuterContext { layers, ..OuterContext::outermost(request) };
            request.get_or_insert_with(|| mark)
        }
    };
    mark.identified |= identified;
    if let Some(target) = target {
        mark.target = Some(Arc::clone(target));
    }
}
