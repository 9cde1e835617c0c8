//! The header lines of a stored response that are rewritten for clients.

use super::packing::pack_lines;
use super::weight;
use crate::rules::client::ClientCacheControl;
use crate::rules::targeted::is_targeted;
use http::header::{CACHE_CONTROL, EXPIRES, HeaderName, HeaderValue, VARY};

/// The rewrite of a stored response for clients: the new lifetime and `private`, and the original
/// header lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RewrittenHeaders {
    /// The lifetime and `private` for clients.
    pub(crate) client_control: ClientCacheControl,
    /// The origin's lines of the rewritten fields.
    pub(super) original: Vec<(HeaderName, HeaderValue)>,
}

impl RewrittenHeaders {
    /// Copies the original lines, so that they do not keep the buffer of the whole header section
    /// in memory.
    pub(super) fn new(client_control: ClientCacheControl, original: &[(HeaderName, HeaderValue)]) -> Self {
        let original: Vec<_> = original.iter().map(|(name, value)| (name, value)).collect();
        let lines: Box<[_]> = pack_lines(&original).map(|(name, value)| (name.clone(), value)).collect();
        Self { client_control, original: lines.into_vec() }
    }

    /// Returns the memory use in bytes.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + weight::list(&self.original)
    }
}

/// Returns `true` for fields that a rewrite may change.
pub(super) fn is_rewritten(name: &HeaderName) -> bool {
    [CACHE_CONTROL, EXPIRES, VARY].contains(name) || is_targeted(name)
}
