//! The option for the pages that a write invalidates.

use super::PolicyBuilder;

impl PolicyBuilder {
    /// Sets whether a write that is answered with a 302 or 303 invalidates the page that its
    /// `Location` names. On by default.
    ///
    /// A write is a request with an unsafe method, such as POST. The default suits forms that
    /// redirect to the changed page (post-redirect-get).
    ///
    /// A login or logout that redirects to `/` invalidates the front page for all visitors. If your
    /// application has such routes, turn the option off. Then invalidate the changed pages
    /// yourself, by [`InvalidateOnSuccess`](crate::invalidation::InvalidateOnSuccess) or
    /// [`Cache::invalidate`](crate::cache::Cache::invalidate).
    ///
    /// The page must be on the host of the request, or on a host that a keyed forwarded field names
    /// (`Forwarded`, `X-Forwarded-Host`). Under [`app`](crate::policy::Policy::app), `http` and
    /// `https` are one site. If a proxy has removed a prefix (`X-Forwarded-Prefix`), the paths with
    /// and without the prefix are invalidated.
    ///
    /// This option does not affect the other invalidations of a write that is answered with a 2xx
    /// or 3xx (RFC 9111 section 4.4). These apply to its target, to `Content-Location`, and to the
    /// `Location` of a 2xx. The `Location` of a 301, 307 or 308 is never invalidated.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().invalidate_redirects(false);
    /// # let _ = policy;
    /// ```
    #[doc(alias = "purge")]
    pub fn invalidate_redirects(mut self, on: bool) -> Self {
        self.policy.redirects_invalidate = on;
        self
    }
}
