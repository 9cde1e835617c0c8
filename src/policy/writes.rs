//! The option that decides what a write invalidates.

use super::PolicyBuilder;

impl PolicyBuilder {
    /// Sets whether a write that redirects with a 302 or 303 invalidates the page that it redirects to. The default is
    /// `true`, for forms that show what they have changed (post-redirect-get).
    ///
    /// A login or logout that redirects to `/` clears the front page for every visitor. Set this to `false` if your
    /// application has such routes, and invalidate what a write has changed by
    /// [`InvalidateOnSuccess`](crate::invalidation::InvalidateOnSuccess) or [`Cache::invalidate`](crate::cache::Cache::invalidate).
    ///
    /// The page has to be on the host of the request, or on one that a keyed forwarded field names (`Forwarded`,
    /// `X-Forwarded-Host`). Under [`app`](crate::policy::Policy::app), `http` and `https` are one site. If a proxy says that it has removed a
    /// prefix (`X-Forwarded-Prefix`), paths with the prefix and without it count.
    ///
    /// The target of the write itself, `Content-Location`, and the `Location` of a 201 or another 2xx are invalidated in any case (RFC
    /// 9111 section 4.4). The `Location` of a 301, 307 or 308 is not.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().invalidate_redirects(false);
    /// ```
    pub fn invalidate_redirects(mut self, on: bool) -> Self {
        self.policy.redirects_invalidate = on;
        self
    }
}
