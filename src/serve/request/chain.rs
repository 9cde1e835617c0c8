//! The [`Chain`] of a request, by which loops are detected.

use crate::flight::Chain;
use crate::key::{CacheKey, line_hash};
use crate::serve::config::LayerConfig;
use http::HeaderMap;
use std::sync::Arc;

/// Creates the chain of a request to this layer, as a child of the chain that is current on this
/// thread.
///
/// Two requests count as the same if their keys and all their fields are equal.
pub(in crate::serve) fn chain(config: &LayerConfig, key: CacheKey, headers: &HeaderMap) -> Arc<Chain> {
    chain_of(Chain::current(), config, key, headers)
}

/// Creates the chain of a request to this layer, with a parent.
pub(super) fn chain_of(
    parent: Option<Arc<Chain>>,
    config: &LayerConfig,
    key: CacheKey,
    headers: &HeaderMap,
) -> Arc<Chain> {
    let digest = || {
        let fields = headers.iter().map(|(name, value)| line_hash(name, value));
        // The sum does not depend on the order of the lines. The address of the configuration tells
        // layers with the same keys apart.
        let layer = std::ptr::from_ref(config).addr() as u64;
        fields.fold(layer, u64::wrapping_add)
    };
    Chain::request_of(parent, key, digest)
}
