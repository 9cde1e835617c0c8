//! The layer that decides which requests are anonymous for all inner cache layers, and its builder.

use crate::error::ConfigError;
use crate::key::RequestHead;
use crate::policy::request_fields::identifies;
use crate::policy::{CookiePolicy, contradiction, field_names, shared};
use http::HeaderName;
use http::request::Parts;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type IdentityPredicate = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;
pub(super) type AnonymousRequest = Pin<Box<dyn Future<Output = bool> + Send>>;
pub(super) type AsyncIdentityPredicate = dyn Fn(Parts) -> AnonymousRequest + Send + Sync;

/// Lets only anonymous requests use the inner cache layers.
///
/// Use it for a site with a login: anonymous visitors share stored pages, and logged-in visitors
/// receive their own pages from the handlers. It corresponds to Django's
/// `CACHE_MIDDLEWARE_ANONYMOUS_ONLY`.
///
/// # Rules
/// 1. A request is *identified* if it has a credential cookie or a credential field (such as
///    `Authorization`), or if a predicate returns `true`. Predicates may be asynchronous, for
///    example to look up a session.
/// 2. An identified GET or HEAD bypasses every inner cache layer (`detail=identified`). Unsafe
///    requests still invalidate.
/// 3. A response to an identified request gets `Cache-Control: private`, and loses targeted fields,
///    so that downstream caches do not share it. A field is unchanged if it states who may store
///    the response, by `public`, `private`, `s-maxage` or `no-store`. This rule also applies to a
///    response that an inner layer has marked as [`Identified`].
/// 4. All other requests are anonymous. Inner cache layers answer them even if they have cookies
///    that are declared harmless. Such cookies are removed from fetches, the forwarded requests
///    whose response may be stored.
/// 5. An anonymous request with an undeclared cookie bypasses the inner cache layers
///    (`detail=cookie`): an inner layer might identify a visitor by that cookie. This rule applies
///    under [`Policy::app`] and under [`Policy::rfc9111`]. A cookie is declared if this layer or
///    the policy of the cache layer names it.
///
/// # Where the layer belongs
/// Place it outside the cache layers, and place session layers inside them.
///
/// - **A session layer outside a cache** personalizes pages by extensions of the request, which no
///   cache reads. So declare no cookie harmless that such a session layer reads. If the session
///   layer is also outside the `AnonymousOnlyLayer`, a predicate can read its extensions.
/// - **A session layer outside all layers of this crate** sets a cookie that this crate does not
///   see. A page that *begins* such a session (for example a form with a token) would be stored for
///   all visitors. Mark it as [`Identified`] or [`never`], or exclude it with [`store_if`].
/// - **Inside a cache layer**, this layer cannot make requests bypass that cache. It only marks the
///   responses to identified requests, so that the outer cache does not store them. The cache
///   applies its own rules to undeclared cookies.
///
/// # What the layer does not do
/// - It cannot be combined with [`vary_by_identity`]. An identified request bypasses an inner cache
///   layer before that layer determines the identity, so no identified visitor is served from
///   per-identity entries. To store entries per identity, use a cache layer with that option, and
///   no `AnonymousOnlyLayer` outside it.
/// - It does not authenticate requests, and does not check whether a credential is valid.
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
///
/// [`Identified`]: crate::response_cache::Identified
/// [`Policy::app`]: crate::policy::Policy::app
/// [`Policy::rfc9111`]: crate::policy::Policy::rfc9111
/// [`never`]: crate::policy::CacheHints::never
/// [`store_if`]: crate::policy::PolicyBuilder::store_if
/// [`vary_by_identity`]: crate::policy::PolicyBuilder::vary_by_identity
#[doc(alias = "session")]
#[doc(alias = "login")]
#[doc(alias = "CACHE_MIDDLEWARE_ANONYMOUS_ONLY")]
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct AnonymousOnlyLayer(pub(super) Arc<Rules>);

#[derive(Clone, Default)]
pub(super) struct Rules {
    pub(super) cookies: Arc<CookiePolicy>,
    pub(super) credentials: Vec<HeaderName>,
    ignored: Vec<HeaderName>,
    predicates: Vec<Arc<IdentityPredicate>>,
    pub(super) async_predicates: Vec<Arc<AsyncIdentityPredicate>>,
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
    /// Creates a layer that identifies requests by credential fields only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a layer that identifies requests by credential fields and one session cookie.
    ///
    /// A `*` at the end of the name matches any ending. For more options, use
    /// [`builder`](Self::builder).
    ///
    /// # Errors
    /// Returns an error if the name is not a valid cookie name, or if nothing precedes a `*`.
    pub fn session_cookie(name: impl Into<String>) -> Result<Self, ConfigError> {
        Self::builder().credential_cookies([name]).build()
    }

    /// Creates a builder for a layer with other options.
    pub fn builder() -> AnonymousOnlyBuilder {
        AnonymousOnlyBuilder::default()
    }
}

/// A builder for an [`AnonymousOnlyLayer`].
///
/// Setters return no errors: [`build`](Self::build) returns the errors of all options.
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
    /// Returns an error if any option is invalid, or if one cookie or field is declared both as a
    /// credential and as harmless. The error [lists all invalid options](ConfigError::all).
    pub fn build(mut self) -> Result<AnonymousOnlyLayer, ConfigError> {
        let fields = shared(&self.rules.credentials, &self.rules.ignored).map(contradiction);
        self.errors.extend(fields.chain(self.rules.cookies.contradictions()));
        ConfigError::join(self.errors).map_or_else(|| Ok(AnonymousOnlyLayer(Arc::new(self.rules))), Err)
    }

    /// Adds cookies that identify a visitor. A `*` at the end of a name matches any ending.
    ///
    /// [`build`](Self::build) fails if a name is not a valid cookie name, or if nothing precedes a
    /// `*`.
    pub fn credential_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let cookies = Arc::make_mut(&mut self.rules.cookies);
        self.errors
            .extend(cookies.credentials(names.into_iter().map(Into::into)).err().into_iter().flatten());
        self
    }

    /// Declares cookies harmless for all inner cache layers. A `*` at the end of a name matches any
    /// ending.
    ///
    /// [`PolicyBuilder::ignore_cookies`](crate::policy::PolicyBuilder::ignore_cookies) does the
    /// same for one cache layer. The cookies are removed from fetches (forwarded requests whose
    /// response may be stored), so no stored page can depend on them.
    ///
    /// [`build`](Self::build) fails if a name is not a valid cookie name, or if nothing precedes a
    /// `*`.
    pub fn ignore_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let cookies = Arc::make_mut(&mut self.rules.cookies);
        self.errors.extend(cookies.ignore(names.into_iter().map(Into::into)).err().into_iter().flatten());
        self
    }

    /// Treats undeclared cookies as harmless: only credential cookies identify a visitor.
    ///
    /// As with [`ignore_cookies`](Self::ignore_cookies), the cookies are removed from fetches. A
    /// session cookie that is not declared as a credential is then ignored, too.
    pub fn ignore_undeclared_cookies(mut self) -> Self {
        Arc::make_mut(&mut self.rules.cookies).ignore_undeclared();
        self
    }

    /// Adds request fields that identify a visitor, as `Authorization` does.
    ///
    /// Responses with such a field are not stored.
    ///
    /// [`build`](Self::build) fails if a name is not a valid field name.
    pub fn credential_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.rules.credentials.extend(field_names(names, &mut self.errors));
        self
    }

    /// Declares that credential fields do not identify a visitor.
    ///
    /// Also declare them in each cache layer, with
    /// [`PolicyBuilder::ignore_headers`](crate::policy::PolicyBuilder::ignore_headers). A cache
    /// layer without this declaration applies its own rules to the fields, and does not remove them
    /// from the requests that it forwards.
    ///
    /// [`build`](Self::build) fails if a name is not a valid field name.
    pub fn ignore_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.rules.ignored.extend(field_names(names, &mut self.errors));
        self
    }

    /// Adds a predicate that returns `true` if a request is identified.
    ///
    /// Use it to read extensions that an outer layer has added to the request. With several
    /// predicates, one that returns `true` is enough.
    pub fn identified_if(
        mut self,
        predicate: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.rules.predicates.push(Arc::new(predicate));
        self
    }

    /// Treats requests with an extension of this type as identified.
    ///
    /// Use it if an outer authentication layer inserts such an extension.
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

    /// Adds an asynchronous predicate that returns `true` if a request is identified.
    ///
    /// Use it to look up a session. If the look-up fails, return `true`. The predicate runs for
    /// each request that nothing else identifies. It delays even a request that will be a hit.
    /// Several predicates run one after the other until one returns `true`.
    ///
    /// With this option, a session cookie can be [ignored](Self::ignore_cookies) for visitors who
    /// are not logged in. The cookie is then removed from fetches. So return `true` also for a
    /// session that holds anything that a page shows, such as a cart or a token. Place the session
    /// layer inside the cache layer: an outer session layer would already have read the cookie.
    ///
    /// [Sessions](crate::docs::sessions#a-session-cookie-for-every-visitor) has a predicate for
    /// tower-sessions.
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
        self.rules.async_predicates.push(Arc::new(move |parts| Box::pin(predicate(parts))));
        self
    }
}

impl Rules {
    /// Returns `true` if a credential, a cookie or a synchronous predicate identifies the request.
    /// Does not run the asynchronous predicates.
    pub(super) fn identify(&self, request: RequestHead<'_>) -> bool {
        identifies(request.headers, &self.credentials, &self.ignored, |_| false)
            || self.cookies.identifies(request.headers)
            || self.predicates.iter().any(|predicate| predicate(request))
    }
}
