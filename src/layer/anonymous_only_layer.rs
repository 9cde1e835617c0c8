//! Who is anonymous: decided once, for all cache layers further in.

use crate::error::ConfigError;
use crate::key::RequestHead;
use crate::policy::request_fields::identifies;
use crate::policy::{CookiePolicy, field_names};
use http::HeaderName;
use http::request::Parts;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type IdentityPredicate = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;
pub(super) type AnonymousRequest = Pin<Box<dyn Future<Output = bool> + Send>>;
pub(super) type Asks = dyn Fn(Parts) -> AnonymousRequest + Send + Sync;

/// Lets only anonymous visitors use the caches further in: what Django's
/// `CACHE_MIDDLEWARE_ANONYMOUS_ONLY` was for.
///
/// A request is *identified* by a session cookie, a credential field (`Authorization` and the like), a
/// predicate, or an asynchronous one (a session look-up). Identified requests bypass every cache layer
/// further in, and their responses get `Cache-Control: private` unless they say themselves who may store
/// them, so that no cache downstream shares them either. The same goes for a response that an
/// authentication layer further in has marked as [`Identified`](crate::response_cache::Identified).
///
/// All others are anonymous. They are answered from the cache even if they carry cookies that are
/// declared harmless, which are removed from requests that fill it. A request with a cookie that is
/// declared nowhere, here or in the [`Policy`](crate::policy::Policy) of a cache layer, is not answered from the
/// cache and not stored, by whatever preset: nobody knows whom a layer further in finds behind it.
///
/// # Where it belongs
/// Outside of the cache layers, with session layers inside of those. A session layer outside of a cache
/// makes pages personal by what it leaves in the request's extensions, which no cache sees, so no
/// cookie that it reads may be declared harmless. If it stands outside of all layers of this crate, its own cookie is not seen:
/// mark pages that *begin* a session there (a form with a token) as [`Identified`](crate::response_cache::Identified) or
/// [never](crate::policy::CacheHints::never), or exclude them by [`PolicyBuilder::store_if`](crate::policy::PolicyBuilder::store_if).
/// A predicate here can ask what it has left. Inside of a cache layer, it can't keep requests from that one, but its responses are marked,
/// so that nothing identified is stored.
///
/// # Example
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_response_cache::{AnonymousOnlyLayer, Cache, MemoryStore, SiteCacheLayer};
///
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let anonymous = AnonymousOnlyLayer::builder().credential_cookies(["sid"]).ignore_cookies(["_ga*"]).build()?;
/// let app: Router = Router::new()
///     .route("/", get(|| async { "a page" }))
///     .layer(SiteCacheLayer::new(&cache))
///     .layer(anonymous);
/// # }
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct AnonymousOnlyLayer(pub(super) Arc<Rules>);

#[derive(Clone, Default)]
pub(super) struct Rules {
    pub(super) cookies: Arc<CookiePolicy>,
    pub(super) credentials: Vec<HeaderName>,
    ignored: Vec<HeaderName>,
    predicates: Vec<Arc<IdentityPredicate>>,
    pub(super) asks: Vec<Arc<Asks>>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("cookies", &self.cookies)
            .field("credentials", &self.credentials)
            .field("ignored", &self.ignored)
            .finish_non_exhaustive()
    }
}

impl AnonymousOnlyLayer {
    /// Creates a layer that identifies visitors by credential fields alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a layer that identifies visitors by credential fields and a session cookie.
    ///
    /// # Errors
    /// If the name is not that of a cookie.
    pub fn session_cookie(name: impl Into<String>) -> Result<Self, ConfigError> {
        Self::builder().credential_cookies([name]).build()
    }

    /// Creates a builder for a layer with other options.
    pub fn builder() -> AnonymousOnlyBuilder {
        AnonymousOnlyBuilder::default()
    }
}

/// The options of an [`AnonymousOnlyLayer`].
///
/// # Example
/// ```
/// use tower_response_cache::AnonymousOnlyLayer;
///
/// let layer = AnonymousOnlyLayer::builder()
///     .credential_cookies(["sid"])
///     .ignore_cookies(["_ga*", "theme"])
///     .build()?;
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct AnonymousOnlyBuilder {
    rules: Rules,
    errors: Vec<ConfigError>,
}

impl AnonymousOnlyBuilder {
    /// Builds the layer.
    ///
    /// # Errors
    /// If any option is invalid. The error [lists all invalid options](ConfigError::all).
    pub fn build(self) -> Result<AnonymousOnlyLayer, ConfigError> {
        ConfigError::join(self.errors).map_or_else(|| Ok(AnonymousOnlyLayer(Arc::new(self.rules))), Err)
    }

    /// Adds cookies that identify a visitor. A `*` at the end of a name matches any ending.
    ///
    /// [`build`](Self::build) fails if a name is not that of a cookie, or nothing precedes a `*`.
    pub fn credential_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let cookies = Arc::make_mut(&mut self.rules.cookies);
        self.errors.extend(cookies.credentials(names.into_iter().map(Into::into)).err());
        self
    }

    /// Declares cookies harmless for all inner cache layers, as
    /// [`PolicyBuilder::ignore_cookies`](crate::policy::PolicyBuilder::ignore_cookies) does for one.
    ///
    /// [`build`](Self::build) fails if a name is not that of a cookie, or nothing precedes a `*`.
    pub fn ignore_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let cookies = Arc::make_mut(&mut self.rules.cookies);
        self.errors.extend(cookies.ignore(names.into_iter().map(Into::into)).err());
        self
    }

    /// Makes cookies that are declared nowhere count for nothing: only those declared as credentials
    /// identify. They are removed from requests that fill a cache.
    pub fn ignore_undeclared_cookies(mut self) -> Self {
        Arc::make_mut(&mut self.rules.cookies).ignore_undeclared();
        self
    }

    /// Adds request fields that identify a visitor, as `Authorization` does.
    ///
    /// [`build`](Self::build) fails if a name is not that of a field.
    pub fn credential_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.rules.credentials.extend(field_names(names, &mut self.errors));
        self
    }

    /// Makes credential fields identify nobody here. A cache layer needs
    /// [to know as well](crate::policy::PolicyBuilder::ignore_headers), so that it takes them off requests that fill it.
    ///
    /// [`build`](Self::build) fails if a name is not that of a field.
    pub fn ignore_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.rules.ignored.extend(field_names(names, &mut self.errors));
        self
    }

    /// Adds a predicate that tells whether a request is identified: by what a layer further out left in
    /// its extensions, say.
    pub fn identified_if(
        mut self,
        predicate: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rules.predicates.push(Arc::new(predicate));
        self
    }

    /// Treats requests with an extension of this type as identified, for outer authentication layers that insert one.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::AnonymousOnlyLayer;
    /// # #[derive(Clone)] struct CurrentUser;
    ///
    /// let layer = AnonymousOnlyLayer::builder().identified_if_extension::<CurrentUser>().build()?;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn identified_if_extension<T: Send + Sync + 'static>(self) -> Self {
        self.identified_if(|request| request.extensions.get::<T>().is_some())
    }

    /// Adds an asynchronous predicate that tells whether a request is identified: a look-up of its session,
    /// say. It is asked about every request that nothing else identifies, those that will be hits included; where
    /// it can't find out, it should say `true`. With several, one is enough.
    ///
    /// A session cookie that is [ignored](Self::ignore_cookies) for visitors who are not logged in is taken off
    /// what fills a cache: the session layer has to be inside of that, or it has read the cookie already.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::AnonymousOnlyLayer;
    ///
    /// # async fn is_logged_in(_: Option<http::HeaderValue>) -> bool { false }
    /// let layer = AnonymousOnlyLayer::builder()
    ///     .ignore_cookies(["sid"])
    ///     .identified_if_async(|request| async move { is_logged_in(request.headers.get("cookie").cloned()).await })
    ///     .build()?;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn identified_if_async<F, Fut>(mut self, predicate: F) -> Self
    where
        F: Fn(Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        self.rules.asks.push(Arc::new(move |parts| Box::pin(predicate(parts))));
        self
    }
}

impl Rules {
    /// Returns `true` if a request is identified, as far as that takes no waiting.
    pub(super) fn identify(&self, request: RequestHead<'_>) -> bool {
        identifies(request.headers, &self.credentials, &self.ignored, |_| false)
            || self.cookies.identifies(request.headers)
            || self.predicates.iter().any(|predicate| predicate(request))
    }
}
