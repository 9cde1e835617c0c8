//! The options for entity tags that the cache generates.

use super::Policy;
use crate::rules::entity_tag::Comparison;

impl Policy {
    /// Sets whether stored responses that have no `ETag` are given one (RFC 9110 section 8.8.3), so that clients can ask
    /// whether their copy still stands. Off by default.
    ///
    /// The tag is weak, since a compressing layer outside of the cache gives several byte sequences the same tag; see
    /// [`strong_etags`](Self::strong_etags).
    ///
    /// It is computed once, frame by frame, while the body is recorded. A response whose body is ready with its head
    /// carries the tag of its later hits; one that streams to the first client carries none there, and hits have it.
    /// [`ConditionalLayer`](crate::ConditionalLayer) does the same for responses that are not stored.
    pub fn etags(mut self, on: bool) -> Self {
        self.etags = on;
        self
    }

    /// Sets whether the tags that the cache generates are strong: those of [`etags`](Self::etags), of
    /// [`client_max_age`](Self::client_max_age), and of a handler's own
    /// [`client_max_age`](crate::CacheHints::client_max_age). Off by default; it generates none by itself.
    ///
    /// A strong tag promises that no outer layer changes the bytes of a response (compression, an injected script).
    /// Only then may a client resume a download by it (`If-Range`) or protect a write (`If-Match`): both compare
    /// strongly (RFC 9110 sections 13.1.1 and 13.1.5).
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().etags(true).strong_etags(true);
    /// ```
    pub fn strong_etags(mut self, on: bool) -> Self {
        self.strong_etags = on;
        self
    }

    /// Returns how the tags compare that the cache generates.
    pub(crate) fn comparison(&self) -> Comparison {
        if self.strong_etags { Comparison::Strong } else { Comparison::Weak }
    }
}
