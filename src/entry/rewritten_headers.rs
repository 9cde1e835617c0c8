//! The header lines of a stored response that are rewritten for clients.

use super::packing::packed_lines;
use super::weight;
use crate::rules::client::ClientCacheControl;
use crate::rules::targeted::is_targeted;
use http::header::{CACHE_CONTROL, EXPIRES, HeaderName, HeaderValue, VARY};

/// What is told, and what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RewrittenHeaders {
    pub(crate) told: ClientCacheControl,
    /// The lines that were rewritten, as they came.
    pub(super) said: Vec<(HeaderName, HeaderValue)>,
}

impl RewrittenHeaders {
    /// Copies the lines, so that the header section that they are of can be dropped.
    pub(super) fn new(told: ClientCacheControl, said: &[(HeaderName, HeaderValue)]) -> Self {
        let lines = packed_lines(|| said.iter().map(|(name, value)| (name, value)));
        let lines: Box<[_]> = lines.map(|(name, value)| (name.clone(), value)).collect();
        Self { told, said: lines.into_vec() }
    }

    /// Returns the bytes of memory that it takes.
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + weight::list(&self.said)
    }
}

/// Returns `true` for the fields that are rewritten.
pub(super) fn is_rewritten(name: &HeaderName) -> bool {
    [CACHE_CONTROL, EXPIRES, VARY].contains(name) || is_targeted(name)
}
