//! The options that decide which requests are answered from the cache, and which responses are
//! stored.

use super::PolicyBuilder;
use super::cookies::add_names;
use crate::key::RequestHead;
use http::response;
use std::sync::Arc;

impl PolicyBuilder {
    /// Declares fields that identify a visitor, as `Authorization` does.
    ///
    /// A request with such a field bypasses the cache, unless
    /// [`vary_by_identity`](Self::vary_by_identity) finds an ID. A response with such a field is
    /// not stored.
    ///
    /// Under [`app`](crate::policy::Policy::app), many fields identify a visitor without this
    /// option. These are known credentials such as `X-Api-Key`, and fields whose name contains a
    /// word such as `auth`, `token`, `session`, `user` or `cert`. A name that ends in `key`, but
    /// not in `cache-key`, counts as well. [`ignore_headers`](Self::ignore_headers) declares a
    /// field harmless. A [keyed](Self::vary_on_headers) field identifies a visitor only if it is a
    /// known credential.
    ///
    /// [`build`](Self::build) fails if a name is not a valid field name, is replaced by a
    /// [part](Self::vary_by_part) of the key, or is also declared by
    /// [`vary_on_headers`](Self::vary_on_headers), [`ignore_headers`](Self::ignore_headers),
    /// [`allow_unkeyed_headers`](Self::allow_unkeyed_headers),
    /// [`refresh_headers`](Self::refresh_headers) or [`unstored_headers`](Self::unstored_headers).
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().credential_headers(["x-badge"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "authorization")]
    pub fn credential_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.credentials.extend(names);
        self
    }

    /// Treats requests with an extension of type `T` as identified.
    ///
    /// Use it if an outer authentication layer inserts such an extension. Requests with the
    /// extension bypass the cache, unless [`vary_by_identity`](Self::vary_by_identity) finds an ID.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// # #[derive(Clone)] struct CurrentUser;
    ///
    /// let policy = Policy::app().identified_if_extension::<CurrentUser>();
    /// # let _ = policy;
    /// ```
    #[doc(alias = "authentication")]
    #[doc(alias = "session")]
    pub fn identified_if_extension<T: Send + Sync + 'static>(mut self) -> Self {
        self.policy.predicates.extensions.push(|request| request.get::<T>().is_some());
        self
    }

    /// Declares cookies that the cache ignores. A `*` at the end of a name matches any ending.
    ///
    /// These cookies do not identify a visitor and do not enter the key. They are removed from
    /// fetches, so that no stored response depends on them. A request with a cookie that is not
    /// declared by any option bypasses the cache.
    ///
    /// [`build`](Self::build) fails if a name is not a valid cookie name, has nothing before the
    /// `*`, or is also declared by [`vary_on_cookies`](Self::vary_on_cookies) or
    /// [`credential_cookies`](Self::credential_cookies).
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().ignore_cookies(["_ga*", "theme"]).vary_on_cookies(["lang"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "analytics")]
    pub fn ignore_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let result = self.policy.cookies.ignore(names.into_iter().map(Into::into));
        self.check(result)
    }

    /// Declares cookies that a stored response may set. A `*` at the end of a name matches any
    /// ending.
    ///
    /// By default, a response with `Set-Cookie` is not stored. If all cookies that a response sets
    /// are declared here, the response is stored without the field. The client whose request was
    /// forwarded receives the cookies.
    ///
    /// Use it for cookies that do not identify a visitor, and that the page does not depend on.
    ///
    /// [`build`](Self::build) fails if a name is not a valid cookie name, or has nothing before the
    /// `*`.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().ignore_response_cookies(["lb_node", "exp_*"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "Set-Cookie")]
    pub fn ignore_response_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let result = add_names(&mut self.policy.response_cookies, names.into_iter().map(Into::into));
        self.check(result)
    }

    /// Declares cookies whose values enter the key, such as a language.
    ///
    /// These cookies do not identify a visitor. On a fetch, the handler receives only these
    /// cookies, in a fixed order. Only digests of their values enter the key. A request with two
    /// cookies of one such name bypasses the cache.
    ///
    /// [`build`](Self::build) fails if a name is not a valid cookie name, is a pattern with `*`, or
    /// is also declared by [`ignore_cookies`](Self::ignore_cookies) or
    /// [`credential_cookies`](Self::credential_cookies).
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().vary_on_cookies(["lang", "currency"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn vary_on_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let result = self.policy.cookies.key(names.into_iter().map(Into::into));
        self.check(result)
    }

    /// Declares cookies that identify a visitor. A `*` at the end of a name matches any ending.
    ///
    /// A request with such a cookie bypasses the cache, unless
    /// [`vary_by_identity`](Self::vary_by_identity) finds an ID. The declaration outranks
    /// [`ignore_undeclared_cookies`](Self::ignore_undeclared_cookies). It also outranks a pattern
    /// of [`ignore_cookies`](Self::ignore_cookies) that matches the cookie.
    ///
    /// [`build`](Self::build) fails if a name is not a valid cookie name, has nothing before the
    /// `*`, or is also declared by [`vary_on_cookies`](Self::vary_on_cookies) or
    /// [`ignore_cookies`](Self::ignore_cookies).
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().ignore_cookies(["app_*"]).credential_cookies(["app_session"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    #[doc(alias = "session")]
    pub fn credential_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let result = self.policy.cookies.credentials(names.into_iter().map(Into::into));
        self.check(result)
    }

    /// Treats all undeclared cookies as [ignored](Self::ignore_cookies).
    ///
    /// Only cookies that are [declared as credentials](Self::credential_cookies) identify a visitor
    /// then. Like other ignored cookies, undeclared ones are removed from fetches.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().credential_cookies(["sid"]).ignore_undeclared_cookies().build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn ignore_undeclared_cookies(mut self) -> Self {
        self.policy.cookies.ignore_undeclared();
        self
    }

    /// Makes requests bypass this cache layer if the predicate returns `true`.
    ///
    /// Such a request is not answered from the cache, and its response is not stored. Existing
    /// entries stay. If you set several predicates, a request bypasses the cache if any of them
    /// returns `true`. An inner cache layer decides by its own policy.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().bypass_if(|request| request.uri.path().starts_with("/admin/"));
    /// # let _ = policy;
    /// ```
    #[doc(alias = "exclude")]
    #[doc(alias = "skip")]
    pub fn bypass_if(mut self, predicate: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.policy.predicates.bypass.push(Arc::new(predicate));
        self
    }

    /// Stores a response only if the predicate returns `true`.
    ///
    /// The predicate sees the request and the head of the response. It can refuse a storable
    /// response, but can't make another response storable. If you set several predicates, all must
    /// return `true`.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// # #[derive(Clone)] struct Session;
    /// # impl Session { fn is_modified(&self) -> bool { false } }
    ///
    /// // If the session was modified, an outer session layer adds a `Set-Cookie` later.
    /// let policy = Policy::app().store_if(|request, _| {
    ///     request.extensions.get::<Session>().is_none_or(|session| !session.is_modified())
    /// });
    /// # let _ = policy;
    /// ```
    #[doc(alias = "admission")]
    #[doc(alias = "exclude")]
    pub fn store_if(
        mut self,
        predicate: impl Fn(RequestHead<'_>, &response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy.predicates.store.push(Arc::new(predicate));
        self
    }

    /// Adds response fields that are not stored, since they belong to one exchange.
    ///
    /// `X-Request-Id`, `Traceparent`, `Server-Timing`, fields of the same kind, and hop-by-hop
    /// fields are never stored. A response with a field that is named here is stored without the
    /// field, even if the name of the field looks like a credential.
    ///
    /// [`build`](Self::build) fails if a name is not a valid field name, or is also declared by
    /// [`credential_headers`](Self::credential_headers).
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().unstored_headers(["x-served-by-pod"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn unstored_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.unstored_headers.extend(names);
        self
    }
}
