//! The layer that caches the responses of a whole site.

use crate::cache::Cache;
use crate::policy::Policy;
#[cfg(feature = "compression")]
use crate::policy::ResponseEncoder;
use crate::serve::{LayerConfig, Level, ResponseCache};
use std::sync::Arc;
use tower::Layer;

/// Caches every storable response of a site.
///
/// Use it once, around the whole router or service. The response's header fields or the handler's
/// [`CacheHints`] set its freshness lifetime. [`default_ttl`] applies to 200 responses without one.
/// If the policy sets no default, responses without a lifetime are not stored.
///
/// The layer does not store responses that a [`RouteCacheLayer`] inside it has handled, and does
/// not share them among concurrent requests.
///
/// # Where the layer belongs
/// Place it outside all layers whose work a hit should save, and inside all layers that must see
/// every request. A typical order, from the outside in: tracing, layers that refuse requests,
/// compression, this layer, sessions, the router.
///
/// - **A layer that refuses requests** belongs outside. An inner layer does not run for hits, so
///   every client would receive the stored pages that it protects. There is one exception. A layer
///   that admits only requests with a credential or an undeclared cookie may be inside, next to its
///   session layer: such requests bypass the cache. The exception does not apply with
///   [`vary_by_identity`] or [`Policy::rfc9111`], because such requests may then be hits.
/// - **A layer that removes credentials** from requests hides from this layer that pages differ by
///   user. If it is outside this layer, set [`vary_by_identity`], or place an
///   [`AnonymousOnlyLayer`] outside the layer that removes credentials.
/// - **Compression** belongs outside, or into this layer (`encode`, with feature `compression`). If it
///   is inside, the cache stores one variant for each
///   encoding, because compressed responses have `Vary: Accept-Encoding`.
///
/// # Nested cache layers
/// Two nested cache layers of this type need different [names]. With equal names, the inner layer
/// forwards every request (`detail=same-name`). Otherwise, the outer layer could answer with a
/// response that the inner one has stored, and skip the layers between them. Equal names are
/// permitted if the layers differ in another option that enters the key: the preset
/// ([`Policy::app`] or [`Policy::rfc9111`]), credentials, cookies or query, among others. These
/// rules also apply to layers of two caches with the same namespace.
///
/// # Rewritten URIs
/// With feature `axum`, the key contains the URI that the client sent (`OriginalUri`). If the
/// handler sees a different URI, the key contains that one, too. So a layer between the router and
/// this layer can select a tenant by rewriting the URI. A layer that rewrites the URI to one of
/// several backends at random belongs inside this layer. If such a layer is outside, the cache
/// stores one copy of each page for each backend. Unsafe requests invalidate the paths of both
/// URIs.
///
/// # Forwarded fields
/// The key contains the request target as proxies report it:
/// - `proto` and `host` of `Forwarded` (RFC 7239),
/// - `X-Forwarded-Host`, `X-Forwarded-Proto`, `X-Forwarded-Scheme`, `X-Forwarded-Port` and
///   `X-Forwarded-Prefix`,
/// - `X-Host`, `X-Original-URL` and `X-Rewrite-URL`.
///
/// The layer parses all lines of these fields. The key does not contain client addresses: `for`,
/// `by` and `X-Forwarded-For`.
///
/// In a forwarded request whose response may be stored, the handler sees these fields in their
/// canonical form. Each field has one line, hosts and schemes are in lower case, and the default
/// port of a known scheme is removed. `for` and `by` are removed, too. Handlers may count the
/// elements of `Forwarded` from the end. So an element without `proto` and `host` becomes
/// `for=unknown` if an element with one of them precedes it.
///
/// A request with a malformed field bypasses the cache. If none of your proxies sets a field,
/// remove it with [`ignore_headers`].
///
/// # HTTP/1.1 and HTTP/2
/// In hyper and axum, the target of an HTTP/2 request contains scheme and authority, and the target
/// of most HTTP/1.1 requests does not (RFC 9112 section 3.2.1). Handlers can see the difference, so
/// the cache stores a separate response for each form. If all requests use one scheme, a layer
/// outside this one can convert them to one form, so that they share stored responses:
/// ```
/// use http::{HeaderValue, Request, Uri, header::HOST};
/// use tower::util::MapRequestLayer;
///
/// fn as_http_1<B>(mut request: Request<B>) -> Request<B> {
///     let uri = request.uri();
///     let host = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
///     if let (Some(host), Some(path)) = (host, uri.path_and_query().cloned()) {
///         // The authority of the target outranks `Host` (RFC 9112 section 3.2.2).
///         request.headers_mut().insert(HOST, host);
///         *request.uri_mut() = Uri::from(path);
///     }
///     request
/// }
/// let one_form = MapRequestLayer::new(as_http_1::<String>);
/// # let _ = one_form;
/// ```
/// In axum, wrap the whole router in that layer, because `OriginalUri` is the URI that the router
/// receives.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
///
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20)); // bytes
/// let policy = Policy::app().default_ttl(Duration::from_secs(600)).build()?;
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(SiteCacheLayer::new(&cache).policy(policy));
/// # }
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
///
/// [`AnonymousOnlyLayer`]: crate::anonymous_only::AnonymousOnlyLayer
/// [`CacheHints`]: crate::policy::CacheHints
/// [`RouteCacheLayer`]: crate::response_cache::RouteCacheLayer
/// [`default_ttl`]: crate::policy::PolicyBuilder::default_ttl
/// [`ignore_headers`]: crate::policy::PolicyBuilder::ignore_headers
/// [names]: crate::policy::PolicyBuilder::name
/// [`vary_by_identity`]: crate::policy::PolicyBuilder::vary_by_identity
#[doc(alias = "page cache")]
#[doc(alias = "output cache")]
#[doc(alias = "full-page cache")]
#[derive(Debug, Clone)]
#[must_use]
pub struct SiteCacheLayer(Arc<LayerConfig>);

impl SiteCacheLayer {
    /// Creates a layer with the [policy of the cache](crate::cache::CacheBuilder::policy).
    pub fn new(cache: &Cache) -> Self {
        Self(LayerConfig::new(cache.clone(), cache.policy().clone(), Level::Site))
    }

    /// Sets the policy, in place of the policy of the cache.
    ///
    /// The policy applies to this layer only, and the options of the two policies are not merged. A
    /// layer without a policy follows the policy of the [`Cache`], not of an outer layer. For a
    /// site with several cache layers, set the policy once:
    /// `Cache::builder(store).policy(policy).build()?`.
    pub fn policy(self, policy: Policy) -> Self {
        Self(self.0.with_policy(policy))
    }

    /// Sets whether the layer caches. The default is `true`.
    ///
    /// A disabled layer forwards all requests and stores nothing (`detail=disabled`). Unsafe
    /// requests still invalidate. Other cache layers treat the layer as if it were enabled:
    /// - An inner layer does not answer a request in which this layer saw a credential, even if a
    ///   layer in between has removed it.
    /// - An outer layer does not store the response. To let an outer layer cache the responses,
    ///   remove this layer.
    ///
    /// The type of the service does not depend on this option, so an application can set it from
    /// its configuration.
    pub fn enabled(self, on: bool) -> Self {
        Self(self.0.enabled(on))
    }

    /// Sends stored responses in the content codings of a [`CompressionLayer`] of tower-http.
    ///
    /// The handler runs once for all codings. The layer makes each coding of a stored response once,
    /// from the stored bytes, and keeps it with the response. A hit in a coding then costs about as
    /// much as a plain hit. See [the guide](crate::docs::compression) for tags, ranges and `Vary`,
    /// and [`ResponseEncoder`] for the options.
    ///
    /// The option replaces a `CompressionLayer` outside this one for stored responses. Responses that
    /// are not stored are not encoded: keep the outer layer for them. It leaves encoded responses
    /// unchanged.
    ///
    /// # Caveats
    /// The option has no effect over a store outside the process. It needs a tokio runtime.
    ///
    /// # Example
    /// ```
    /// use tower_http::compression::CompressionLayer;
    /// use tower_response_cache::{Cache, MemoryStore, SiteCacheLayer};
    ///
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20)); // bytes
    /// let layer = SiteCacheLayer::new(&cache).encode(CompressionLayer::new());
    /// # let _ = layer;
    /// ```
    ///
    /// [`CompressionLayer`]: tower_http::compression::CompressionLayer
    #[cfg(feature = "compression")]
    #[doc(alias = "compression")]
    #[doc(alias = "gzip")]
    pub fn encode(self, encoder: impl Into<ResponseEncoder>) -> Self {
        Self(self.0.with_encoder(Some(Arc::new(encoder.into()))))
    }
}

impl<S> Layer<S> for SiteCacheLayer {
    type Service = ResponseCache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ResponseCache::new(inner, Arc::clone(&self.0))
    }
}
