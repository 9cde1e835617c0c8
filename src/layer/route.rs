//! The layer that caches the responses of one route.

use crate::cache::Cache;
#[cfg(feature = "compression")]
use crate::policy::ResponseEncoder;
use crate::policy::{Policy, Ttl};
use crate::serve::{LayerConfig, Level, ResponseCache};
use std::sync::Arc;
use tower::Layer;

/// Caches the responses of one route for a given TTL.
///
/// Use it for routes whose lifetime differs from the rest of the site, or to cache single routes
/// without a [`SiteCacheLayer`]. The TTL applies to 200 responses. It replaces the lifetime that a
/// response states, whether longer or shorter. A zero TTL stores no 200 response. [`Ttl::Default`]
/// leaves the lifetime to the response and the policy, as in a [`SiteCacheLayer`].
///
/// The TTL does not make a response storable that must not be reused (`no-store`, `private`,
/// `max-age=0` and similar). Only [`CacheHints::ttl`] outranks `private` and `max-age=0`; nothing
/// outranks `no-store`.
///
/// # Where the layer belongs
/// Place it on the route, inside all other layers. A request with a cookie or a credential bypasses
/// the cache, unless the policy declares the cookie or credential harmless. A request also bypasses
/// the cache if an outer cache layer saw a credential that a layer in between has removed.
///
/// A layer outside this one may remove the credential *and* personalize pages by an extension of
/// the request. Then this layer can't see that the request is identified. Choose one of these:
/// - place no cache inside such a layer,
/// - set [`vary_by_identity`],
/// - place an [`AnonymousOnlyLayer`] outside it.
///
/// A session layer outside this layer may personalize a response after this layer has seen it. If
/// another layer of this crate is outside the session layer, the response is stored only after the
/// outermost layer of this crate has examined its head. The response is not stored if the head then
/// sets a cookie, issues a credential, or is `private` or `no-store`. Without such an outer layer,
/// the changes of the session layer are not examined.
///
/// # Nested cache layers
/// - A layer in between that builds a new request must keep the extensions: they tell this layer
///   which layers are outside it.
/// - If a handler requests a part of a page, that request must not have the extensions of the
///   page's request. With these extensions, the cache layers of the part count as nested in the
///   layers of the page, and may not store the part.
/// - Two nested layers of this type with the same TTL need different [names]. With equal names, the
///   inner layer forwards every request (`detail=same-name`).
///
/// With feature `axum`, the key contains the URI that the client sent and, if it differs, the URI
/// that the handler sees ([rewritten URIs]).
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::{Cache, MemoryStore, RouteCacheLayer};
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
///
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20)); // bytes
/// let hour = Duration::from_secs(3600);
/// let app: Router = Router::new()
///     .route("/report", get(|| async { "slow" }).layer(RouteCacheLayer::new(&cache, hour)));
/// # }
/// ```
///
/// [`AnonymousOnlyLayer`]: crate::anonymous_only::AnonymousOnlyLayer
/// [`CacheHints::ttl`]: crate::policy::CacheHints::ttl
/// [`SiteCacheLayer`]: crate::response_cache::SiteCacheLayer
/// [names]: crate::policy::PolicyBuilder::name
/// [rewritten URIs]: crate::response_cache::SiteCacheLayer#rewritten-uris
/// [`vary_by_identity`]: crate::policy::PolicyBuilder::vary_by_identity
#[doc(alias = "cache_page")]
#[doc(alias = "micro-caching")]
#[derive(Debug, Clone)]
#[must_use]
pub struct RouteCacheLayer(Arc<LayerConfig>);

impl RouteCacheLayer {
    /// Creates a layer with the [policy of the cache](crate::cache::CacheBuilder::policy).
    ///
    /// A layer without a policy follows the policy of the [`Cache`], not of an outer layer. For a
    /// site with several cache layers, set the policy once:
    /// `Cache::builder(store).policy(policy).build()?`.
    ///
    /// The TTL may be a `Duration`, an `Option<Duration>` (`None` is [`Ttl::Forever`]), or a
    /// [`Ttl`].
    pub fn new(cache: &Cache, ttl: impl Into<Ttl>) -> Self {
        Self(LayerConfig::new(cache.clone(), cache.policy().clone(), Level::Route(ttl.into())))
    }

    /// Sets the policy, in place of the policy of the cache.
    ///
    /// The options of the two policies are not merged.
    pub fn policy(self, policy: Policy) -> Self {
        Self(self.0.with_policy(policy))
    }

    /// Sets whether the layer caches. The default is `true`.
    ///
    /// A disabled layer forwards all requests and stores nothing (`detail=disabled`). Unsafe
    /// requests still invalidate. Other cache layers treat the layer as if it were enabled:
    /// - An inner layer does not answer a request in which this layer saw a credential, even if a
    ///   layer in between has removed it.
    /// - An outer layer does not store the response. To let an outer layer cache the route, remove
    ///   this layer.
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
    /// use tower_response_cache::{Cache, MemoryStore, RouteCacheLayer};
    /// # use std::time::Duration;
    ///
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20)); // bytes
    /// let layer = RouteCacheLayer::new(&cache, Duration::from_secs(60)).encode(CompressionLayer::new());
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

impl<S> Layer<S> for RouteCacheLayer {
    type Service = ResponseCache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ResponseCache::new(inner, Arc::clone(&self.0))
    }
}
