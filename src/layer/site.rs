//! The site-wide cache.

use crate::cache::Cache;
use crate::policy::Policy;
use crate::serve::{LayerConfig, Level, ResponseCache};
use std::sync::Arc;
use tower::Layer;

/// Caches every response that may be stored, for as long as it says, or else for
/// [`PolicyBuilder::default_ttl`](crate::policy::PolicyBuilder::default_ttl); without one, only what states a lifetime itself is stored.
///
/// # Where it belongs
/// Outside everything whose work a hit should save, inside everything that must see every request:
/// from the outside in, tracing, authentication, compression, this layer, the router. Outside of
/// authentication, a page behind it would be served to anybody; inside of a layer that takes
/// credentials off, the pages of all users would look alike, unless [`PolicyBuilder::vary_by_identity`](crate::policy::PolicyBuilder::vary_by_identity) tells
/// them apart, or an [`AnonymousOnlyLayer`](crate::anonymous_only::AnonymousOnlyLayer) further out keeps them from it;
/// outside of compression, each encoding is stored by itself, as its `Vary` says. Of two layers of this kind around one another
/// that differ in nothing that counts for the key ([name](crate::policy::PolicyBuilder::name), preset, credentials, query),
/// the inner one does nothing, lest one answer for the other past what stands between them. That is
/// so over two caches of one namespace too: give such layers different names.
///
/// When a [`RouteCacheLayer`](crate::response_cache::RouteCacheLayer) is further in, that one handles its route,
/// and this one neither stores nor shares what it answers.
///
/// # Rewritten URIs
/// With feature `axum`, the key holds the URI that the client sent (`OriginalUri`) and, where it differs, the URI that the
/// handler sees. So a layer between the router and this one may pick a tenant by rewriting the URI. A layer that picks one
/// of several backends at random costs one copy of each page for each backend: put it inside this layer. Unsafe requests
/// invalidate the paths of both URIs.
///
/// # Forwarded fields
/// The key has what proxies say of the target, parsed and over all lines: `proto` and `host` of `Forwarded` (RFC 7239),
/// `X-Forwarded-Host`, `-Proto`, `-Scheme`, `-Port` and `-Prefix`, `X-Host`, `X-Original-URL` and `X-Rewrite-URL`. It has no
/// address of a client (`for`, `by`, `X-Forwarded-For`). A request that is forwarded to fill the cache has these fields as
/// they are in the key: one line each, hosts and schemes in lower case, no default port if the scheme is known, and no
/// `for` or `by` but a `for=unknown` that keeps the place of a proxy. If one of them can't be read, the request bypasses
/// the cache. [`PolicyBuilder::ignore_headers`](crate::policy::PolicyBuilder::ignore_headers) removes a field that no proxy of yours sets.
///
/// # HTTP/1.1 and HTTP/2
/// hyper and axum pass on the target of an HTTP/2 request with its scheme and authority, and that of most HTTP/1.1 requests
/// without (RFC 9112 section 3.2.1). A handler sees the difference, so each form has its own page. If all requests come
/// by one scheme, write them in one form outside of this layer, and they share their pages:
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
/// With axum, wrap the whole router in it: `OriginalUri` is the URI that the router gets.
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
#[derive(Debug, Clone)]
#[must_use]
pub struct SiteCacheLayer(Arc<LayerConfig>);

impl SiteCacheLayer {
    /// Creates a layer over a cache, with the [policy of the cache](crate::cache::CacheBuilder::policy).
    pub fn new(cache: &Cache) -> Self {
        Self(LayerConfig::new(cache.clone(), cache.policy().clone(), Level::Site))
    }

    /// Sets the policy.
    pub fn policy(self, policy: Policy) -> Self {
        Self(self.0.with_policy(policy))
    }

    /// Sets whether the layer caches. One that is off answers nothing from the cache and stores nothing
    /// (`detail=disabled`); writes still invalidate, and inner layers see its marks as before. On by default.
    ///
    /// The service has the same type either way, so a setting of the application can decide.
    pub fn enabled(self, on: bool) -> Self {
        Self(self.0.enabled(on))
    }
}

impl<S> Layer<S> for SiteCacheLayer {
    type Service = ResponseCache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ResponseCache::new(inner, Arc::clone(&self.0))
    }
}
