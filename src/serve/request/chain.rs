//! A request among those that led to it, by which loops are found.

use crate::flight::Chain;
use crate::key::{CacheKey, Prehashed};
use crate::serve::config::LayerConfig;
use http::HeaderMap;
use std::hash::Hasher;
use std::sync::Arc;

/// Creates a request to this layer, as a child of what runs on this thread. It is identified by its key
/// and all fields: the fields that select its response are not known yet.
pub(in crate::serve) fn chain(config: &LayerConfig, key: CacheKey, headers: &HeaderMap) -> Arc<Chain> {
    let fields = headers.iter().map(|(name, value)| {
        let mut line = Prehashed::default();
        line.write(name.as_str().as_bytes());
        line.write(value.as_bytes());
        line.finish()
    });
    // In any order. Another service of the process may have the same keys.
    let layer = std::ptr::from_ref(config).addr() as u64;
    Chain::request(key, fields.fold(layer, u64::wrapping_add))
}
