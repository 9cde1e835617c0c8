//! The options for entity tags that the cache generates.

use super::{Policy, PolicyBuilder};
use crate::rules::entity_tag::Comparison;

impl PolicyBuilder {
    /// Sets whether stored responses without an `ETag` get one (RFC 9110 section 8.8.3). Off by
    /// default.
    ///
    /// Clients can then revalidate their copy. The tag is weak by default, since an outer layer
    /// that compresses may send several byte sequences with the same tag; see
    /// [`strong_etags`](Self::strong_etags).
    ///
    /// The tag is computed while the body is recorded. If the body is ready with the head, the
    /// first response has the tag, too. If the body streams, only hits have it.
    /// [`ConditionalGetLayer`](crate::conditional_get::ConditionalGetLayer) generates tags for
    /// responses that are not stored.
    #[doc(alias = "conditional GET")]
    #[doc(alias = "304")]
    pub fn etags(mut self, on: bool) -> Self {
        self.policy.etags = on;
        self
    }

    /// Sets whether the tags that the cache generates are strong. Off by default.
    ///
    /// This option alone generates no tags. The options that generate tags are
    /// [`etags`](Self::etags), [`client_max_age`](Self::client_max_age) and
    /// [`CacheHints::client_max_age`](crate::policy::CacheHints::client_max_age).
    ///
    /// With this option, you promise that no outer layer changes the bytes of a response, by
    /// compression or an injected script. Only with a strong tag may a client resume a download
    /// (`If-Range`) or protect a write (`If-Match`). Both fields compare tags strongly (RFC 9110
    /// sections 13.1.1 and 13.1.5). Under [`app`](crate::policy::Policy::app), this option also
    /// lets clients resume a download by a date in `If-Range`.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().etags(true).strong_etags(true);
    /// # let _ = policy;
    /// ```
    pub fn strong_etags(mut self, on: bool) -> Self {
        self.policy.strong_etags = on;
        self
    }
}

impl Policy {
    /// Returns whether the tags that the cache generates are strong or weak.
    pub(crate) fn comparison(&self) -> Comparison {
        if self.strong_etags { Comparison::Strong } else { Comparison::Weak }
    }
}
