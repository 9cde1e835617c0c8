//! The options for entity tags that the cache generates.

use super::{Policy, PolicyBuilder};
use crate::rules::entity_tag::Comparison;

impl PolicyBuilder {
    /// Sets whether stored responses that have no `ETag` are given one (RFC 9110 section 8.8.3), so that clients can
    /// revalidate their copy. Off by default.
    ///
    /// The tag is weak, since a compressing layer outside of the cache gives several byte sequences the same tag; see
    /// [`strong_etags`](Self::strong_etags).
    ///
    /// The tag is computed while the body is recorded. If the body is ready with the head, the first response carries the
    /// tag, too; if it streams, only hits do.
    /// [`ConditionalGetLayer`](crate::conditional_get::ConditionalGetLayer) does the same for responses that are not stored.
    pub fn etags(mut self, on: bool) -> Self {
        self.policy.etags = on;
        self
    }

    /// Sets whether the tags that the cache generates are strong: those of [`etags`](Self::etags), of
    /// [`client_max_age`](Self::client_max_age), and of a handler's own
    /// [`client_max_age`](crate::policy::CacheHints::client_max_age). Off by default; this option alone generates no tags.
    ///
    /// A strong tag promises that no outer layer changes the bytes of a response (compression, an injected script).
    /// Only then may a client resume a download by it (`If-Range`) or protect a write (`If-Match`): both compare
    /// strongly (RFC 9110 sections 13.1.1 and 13.1.5). Without the option, a date in `If-Range` resumes nothing under
    /// [`app`](crate::policy::Policy::app) either.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().etags(true).strong_etags(true);
    /// ```
    pub fn strong_etags(mut self, on: bool) -> Self {
        self.policy.strong_etags = on;
        self
    }
}

impl Policy {
    /// Returns how generated tags compare.
    pub(crate) fn comparison(&self) -> Comparison {
        if self.strong_etags { Comparison::Strong } else { Comparison::Weak }
    }
}
