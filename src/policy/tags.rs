//! Tags in header fields: where they are read from, and where clients are told them.

use super::PolicyBuilder;
use crate::rules::groups::TagField;

impl PolicyBuilder {
    /// Sets which response fields say what tags a response has, besides
    /// [`CacheHints::tags`](crate::policy::CacheHints::tags). The default is `Cache-Groups` (RFC 9875) alone. A response
    /// with a field that can't be read is not stored.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// use tower_response_cache::policy::TagField;
    ///
    /// let policy = Policy::app().read_tags_from([TagField::CacheGroups, TagField::SurrogateKey]);
    /// ```
    pub fn read_tags_from(mut self, fields: impl IntoIterator<Item = TagField>) -> Self {
        self.policy.tags_read = fields.into_iter().collect();
        self
    }

    /// Sets in which fields responses say their tags on the way out, those from hints included, and in no
    /// others: so that a CDN in front can be told to purge by the same names. None is told none. Without it,
    /// fields go out as they come, and tags from hints do not.
    ///
    /// A field that can't hold a tag of the response (a comma in `Cache-Tag`, say) is left out.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// use tower_response_cache::policy::TagField;
    ///
    /// let for_a_cdn = Policy::app().emit_tags_in([TagField::SurrogateKey]);
    /// let for_nobody = Policy::app().emit_tags_in([]);
    /// ```
    pub fn emit_tags_in(mut self, fields: impl IntoIterator<Item = TagField>) -> Self {
        self.policy.tags_told = Some(fields.into_iter().collect());
        self
    }
}
