//! What a look-up came to.

use crate::entry::StoredResponse;
use crate::key::CacheKey;
use crate::status::{Detail, ForwardReason, Reason};
use std::sync::Arc;

/// What a look-up came to.
#[derive(Debug)]
pub(in crate::serve) enum Lookup {
    Hit(Arc<StoredResponse>),
    /// To be answered with, while a new one is made.
    Stale {
        stored: Arc<StoredResponse>,
        variant: Option<CacheKey>,
    },
    Miss {
        reason: Reason,
        /// The key of the variant, where it is known which fields select it.
        variant: Option<CacheKey>,
        /// What is stored and can be revalidated (RFC 9111 section 4.3), or used where the service fails.
        stale: Option<Arc<StoredResponse>>,
    },
    /// The store failed or timed out, or the key is too long: the request bypasses the cache.
    Bypass(Detail),
}

impl Lookup {
    /// Returns a miss where nothing is stored.
    pub(in crate::serve) fn missed(reason: ForwardReason, variant: Option<CacheKey>) -> Self {
        Self::Miss { reason: reason.into(), variant, stale: None }
    }
}
