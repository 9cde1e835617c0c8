//! The options that decide whose requests are answered from the cache, and what is stored.

use super::PolicyBuilder;
use super::cookies::extend;
use crate::key::RequestHead;
use http::response;
use std::sync::Arc;

impl PolicyBuilder {
    /// Adds request fields that identify a visitor, as `Authorization` does: requests that carry
    /// one bypass the cache, and responses that carry one are not stored.
    ///
    /// Under [`app`](crate::policy::Policy::app), fields with a known name, or with a word such as `auth`, `token`, `session`, `user` or
    /// `cert` or a final `key` in the name, identify a visitor even without this option.
    /// [`ignore_headers`](Self::ignore_headers) declares a field harmless. A [keyed](Self::vary_on_headers) field is
    /// harmless unless it is a known credential, or is declared here, before or after.
    pub fn credential_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.credentials.extend(names);
        self
    }

    /// Treats requests with an extension of this type as identified, for outer authentication layers that insert one.
    /// They bypass the cache, unless [`vary_by_identity`](Self::vary_by_identity) finds an identity.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// # #[derive(Clone)] struct CurrentUser;
    ///
    /// let policy = Policy::app().identified_if_extension::<CurrentUser>();
    /// ```
    pub fn identified_if_extension<T: Send + Sync + 'static>(mut self) -> Self {
        self.policy.predicates.extensions.push(|request| request.get::<T>().is_some());
        self
    }

    /// Declares cookies that count for nothing, by name; `*` at the end stands for any ending. They
    /// identify nobody, do not enter the key, and are removed from requests that fill the cache, so
    /// that no page depends on them. A cookie that is declared nowhere makes a request bypass the cache.
    ///
    /// [`build`](Self::build) fails if a name can't be that of a cookie, or there is nothing before a `*`.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().ignore_cookies(["_ga*", "theme"]).vary_on_cookies(["lang"]);
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn ignore_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let result = self.policy.cookies.ignore(names.into_iter().map(Into::into));
        self.check(result)
    }

    /// Declares cookies whose `Set-Cookie` does not prevent storing, by name; `*` at the end stands for any ending. The
    /// field reaches the client whose request was forwarded, and is not stored.
    ///
    /// Use it for cookies that do not identify a visitor and that the page does not depend on. A response that
    /// sets any other cookie is not stored.
    ///
    /// [`build`](Self::build) fails if a name can't be that of a cookie, or there is nothing before a `*`.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().ignore_response_cookies(["lb_node", "exp_*"]);
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn ignore_response_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let result = extend(&mut self.policy.response_cookies, names.into_iter().map(Into::into));
        self.check(result)
    }

    /// Declares cookies whose values enter the key, in an order of their own: a language, say. They
    /// identify nobody, and reach the handler alone of all cookies when a request fills the cache.
    ///
    /// [`build`](Self::build) fails if a name can't be that of a cookie; patterns are not possible here.
    pub fn vary_on_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let result = self.policy.cookies.key(names.into_iter().map(Into::into));
        self.check(result)
    }

    /// Declares cookies that identify a visitor, whatever else is declared: requests with one bypass
    /// the cache. `*` at the end of a name stands for any ending.
    ///
    /// [`build`](Self::build) fails if a name can't be that of a cookie, or there is nothing before a `*`.
    pub fn credential_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let result = self.policy.cookies.credentials(names.into_iter().map(Into::into));
        self.check(result)
    }

    /// Makes cookies that are declared nowhere count for nothing: only those declared as credentials
    /// identify. They are removed from requests that fill the cache like those declared harmless.
    pub fn ignore_undeclared_cookies(mut self) -> Self {
        self.policy.cookies.ignore_undeclared();
        self
    }

    /// Lets requests pass that a predicate picks: they are neither answered from the cache nor stored, nor
    /// is anything that was stored before. With several, one is enough. A cache layer further in has rules
    /// of its own.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().bypass_if(|request| request.uri.path().starts_with("/admin/"));
    /// ```
    pub fn bypass_if(mut self, predicate: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.policy.predicates.skip.push(Arc::new(predicate));
        self
    }

    /// Stores only what a predicate of the request and the head of its response picks, of what may be
    /// stored at all. With several, all have to.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// # #[derive(Clone)] struct Session;
    /// # impl Session { fn is_modified(&self) -> bool { false } }
    ///
    /// // A session layer further out will set a cookie that this layer never sees.
    /// let policy = Policy::app().store_if(|request, _| {
    ///     request.extensions.get::<Session>().is_none_or(|session| !session.is_modified())
    /// });
    /// ```
    pub fn store_if(
        mut self,
        predicate: impl Fn(RequestHead<'_>, &response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy.predicates.store.push(Arc::new(predicate));
        self
    }

    /// Adds response fields that are of one exchange alone and not stored with the rest, as `X-Request-Id`,
    /// `Traceparent`, `Server-Timing` and the fields of a connection are by themselves.
    pub fn unstored_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.unstored.extend(names);
        self
    }
}
