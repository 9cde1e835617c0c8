//! The result of a look-up.

use crate::entry::StoredResponse;
use crate::key::CacheKey;
use crate::status::{Detail, ForwardReason, Reason};
use std::sync::Arc;

/// The result of a look-up.
#[derive(Debug)]
pub(in crate::serve) enum Lookup {
    /// A stored response that answers the request.
    Hit(Arc<StoredResponse>),
    /// A stored response that answers the request while it is refreshed in the background. It is
    /// stale, or it is fresh and due for an early refresh.
    Stale { stored: Arc<StoredResponse>, variant: Option<CacheKey> },
    Miss {
        reason: Reason,
        /// The key of the variant that the request selects, if the nominated fields are known.
        variant: Option<CacheKey>,
        /// A stored response that does not answer the request now. The fetch may revalidate it (RFC
        /// 9111 section 4.3), use it if the service fails, or update it from a HEAD.
        stale: Option<Arc<StoredResponse>>,
    },
    /// The store failed or timed out, or the key is too long: the request bypasses the cache.
    Bypass(Detail),
}

impl Lookup {
    /// Returns a miss without a stored response.
    pub(in crate::serve) fn miss(reason: ForwardReason, variant: Option<CacheKey>) -> Self {
        Self::Miss { reason: reason.into(), variant, stale: None }
    }
}
