//! The options for the response fields that tags are read from and written to.

use super::PolicyBuilder;
use crate::rules::groups::TagField;

impl PolicyBuilder {
    /// Sets which response fields the tags of a response are read from.
    ///
    /// The tags of [`CacheHints::tags`](crate::policy::CacheHints::tags) are added to the tags of
    /// the fields. The default is `Cache-Groups` (RFC 9875) alone. A response is not stored if one
    /// of these fields is malformed.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// use tower_response_cache::policy::TagField;
    ///
    /// let policy = Policy::app().read_tags_from([TagField::CacheGroups, TagField::SurrogateKey]);
    /// # let _ = policy;
    /// ```
    #[doc(alias = "surrogate key")]
    #[doc(alias = "cache tag")]
    #[doc(alias = "cache group")]
    pub fn read_tags_from(mut self, fields: impl IntoIterator<Item = TagField>) -> Self {
        self.policy.tag_fields_read = fields.into_iter().collect();
        self
    }

    /// Sets the response fields in which clients receive the tags, including tags from hints.
    ///
    /// The tags are written to these fields, and the other tag fields are removed. Use it to let a
    /// CDN in front of this layer purge by the same tags. An empty list hides the tags from
    /// clients. Without this option, fields are forwarded unchanged, and tags from hints are not
    /// written.
    ///
    /// A field that can't represent a tag of the response is left out. For example, `Cache-Tag`
    /// can't represent a tag with a comma.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// use tower_response_cache::policy::TagField;
    ///
    /// let for_a_cdn = Policy::app().emit_tags_in([TagField::SurrogateKey]);
    /// let hidden = Policy::app().emit_tags_in([]);
    /// # let _ = (for_a_cdn, hidden);
    /// ```
    #[doc(alias = "surrogate key")]
    #[doc(alias = "cache tag")]
    #[doc(alias = "cache group")]
    pub fn emit_tags_in(mut self, fields: impl IntoIterator<Item = TagField>) -> Self {
        self.policy.tag_fields_emitted = Some(fields.into_iter().collect());
        self
    }
}
