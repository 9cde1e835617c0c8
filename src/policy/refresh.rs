//! The options for background requests: their fields and extensions.
//!
//! A background request renews a stored response while a client gets the stale response. It also
//! confirms an answer that is not stored. See
//! [`stale_while_revalidate`](PolicyBuilder::stale_while_revalidate) and
//! [`stale_if_error`](PolicyBuilder::stale_if_error).

use super::PolicyBuilder;
use std::any::TypeId;
use std::sync::Arc;

impl PolicyBuilder {
    /// Sets a function that changes background requests before the service receives them.
    ///
    /// Use it to remove extensions that belong to one visitor, such as a session or an identity. A
    /// background request has the extensions of the request that found the stale response.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// # #[derive(Clone)] struct Session;
    ///
    /// let policy = Policy::app().refresh_request(|request| {
    ///     request.extensions.remove::<Session>();
    /// });
    /// # let _ = policy;
    /// ```
    pub fn refresh_request(
        mut self,
        change: impl Fn(&mut http::request::Parts) + Send + Sync + 'static,
    ) -> Self {
        self.policy.predicates.refresh.push(Arc::new(change));
        self
    }

    /// Adds request fields that background refreshes carry.
    ///
    /// A refresh carries
    /// - keyed fields, and fields that the `Vary` of the stored response names,
    /// - `Host` and keyed forwarded fields,
    /// - `Accept`, `Accept-*` and `User-Agent`,
    /// - the [allowed](Self::allow_unkeyed_headers) unkeyed fields, if
    ///   [`strip_unkeyed_inputs`](Self::strip_unkeyed_inputs) is on, and
    /// - the fields that are named here.
    ///
    /// A refresh never carries fields that identify a visitor.
    ///
    /// If a refresh fails or its response is not stored, an unkeyed field may be the cause. So a
    /// second request is sent with keyed fields alone. If this request can't be sent at once, the
    /// next refresh of the key sends only keyed fields instead. If the response to the second
    /// request is not stored either, such as a 404, the stale response is removed. If the second
    /// request fails, the stale response stays.
    ///
    /// [`build`](Self::build) fails if a name is not a valid field name, or is also declared by
    /// [`ignore_headers`](Self::ignore_headers) or
    /// [`credential_headers`](Self::credential_headers).
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().refresh_headers(["x-api-version"]).build()?;
    /// # let _ = policy;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn refresh_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.refresh_headers.extend(names);
        self
    }

    /// Removes extensions of type `T` from background requests.
    ///
    /// Use it for an extension of an outer layer that belongs to one visitor.
    /// [`refresh_request`](Self::refresh_request) makes other changes.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    /// use tower_sessions::Session;
    ///
    /// let policy = Policy::app()
    ///     .stale_while_revalidate(Duration::from_secs(60))
    ///     .refresh_without::<Session>();
    /// # let _ = policy;
    /// ```
    pub fn refresh_without<T: Clone + Send + Sync + 'static>(self) -> Self {
        self.refresh_request(|request| drop(request.extensions.remove::<T>()))
    }

    /// Declares that extensions of type `T` do not depend on the visitor, such as a database pool
    /// or the time of the request.
    ///
    /// An extension may be added by a layer between this one and an outer layer of this crate. If
    /// the type of that extension is not declared here, no background refresh runs, and requests
    /// wait for a new response. The reason: a background request and its response do not pass
    /// through that layer.
    ///
    /// Extensions of axum's router need no declaration. If the policy uses
    /// [`refresh_without`](Self::refresh_without) or [`refresh_request`](Self::refresh_request), no
    /// extension needs a declaration: these options remove the extensions of a visitor.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    /// # #[derive(Clone)] struct Pool;
    ///
    /// let policy = Policy::app().stale_while_revalidate(Duration::from_secs(60)).refresh_with::<Pool>();
    /// # let _ = policy;
    /// ```
    pub fn refresh_with<T: Send + Sync + 'static>(mut self) -> Self {
        let own = TypeId::of::<T>();
        // The layer counts the extensions of known types, so each type must be listed only once.
        if self.policy.known_extensions.iter().all(|(known, _)| *known != own) {
            self.policy.known_extensions.push((own, |request| request.get::<T>().is_some()));
        }
        self
    }
}
