//! The option for what a write invalidates.

use super::PolicyBuilder;

impl PolicyBuilder {
    /// Sets whether a write that redirects with a 302 or 303 invalidates the page that it redirects
    /// to. On by default.
    ///
    /// The default suits forms that redirect to the changed page (post-redirect-get).
    ///
    /// A login or logout that redirects to `/` invalidates the front page for all visitors. If your
    /// application has such routes, turn the option off. Then invalidate the changed pages by
    /// [`InvalidateOnSuccess`](crate::invalidation::InvalidateOnSuccess) or
    /// [`Cache::invalidate`](crate::cache::Cache::invalidate).
    ///
    /// The page must be on the host of the request, or on a host that a keyed forwarded field names
    /// (`Forwarded`, `X-Forwarded-Host`). Under [`app`](crate::policy::Policy::app), `http` and
    /// `https` are one site. If a proxy has removed a prefix (`X-Forwarded-Prefix`), the paths with
    /// and without the prefix are invalidated.
    ///
    /// The target of the write, `Content-Location`, and the `Location` of a 201 or another 2xx are
    /// invalidated in any case (RFC 9111 section 4.4). The `Location` of a 301, 307 or 308 is not.
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
