//! The per-route cache.

use crate::cache::Cache;
use crate::policy::{Policy, Ttl};
use crate::serve::{LayerConfig, Level, ResponseCache};
use std::sync::Arc;
use tower::Layer;

/// Caches the responses of one route for a ttl of its own, which outranks a longer or shorter
/// lifetime that a 200 response states, and is the lifetime of one that states none.
///
/// A response that says it may not be reused (`no-store`, `private`, `max-age=0`, …) is not stored
/// whatever the ttl. A zero ttl stores no 200 response at all; [`Ttl::Default`] leaves it to the
/// response and the policy, as in a [`SiteCacheLayer`](crate::response_cache::SiteCacheLayer).
///
/// # Where it belongs
/// On the route, inside everything else. Requests that still carry a cookie or a credential bypass
/// it, and so do those whose credential a cache layer further out saw. A layer outside of it that
/// takes the credential *off* and makes pages personal by an extension leaves nothing to see: put no
/// cache inside of such a layer, key it by [`PolicyBuilder::vary_by_identity`](crate::policy::PolicyBuilder::vary_by_identity), or have an
/// [`AnonymousOnlyLayer`](crate::anonymous_only::AnonymousOnlyLayer) outside of it.
///
/// A session layer outside of this layer may make a page personal after this layer has seen it. If any layer of this crate
/// stands outside of the session layer, this layer stores a response only after the outermost one has examined its head,
/// and not if it sets a cookie, issues a credential or became `private`. A session layer outside of all layers of this
/// crate is not examined. A layer in between that builds a new request has to keep its extensions, by which this layer
/// knows the outer ones; a request for a part of a page, made by a handler, must not have those of the page's request.
///
/// Two such layers around one another with the same ttl need different [names](crate::policy::PolicyBuilder::name), or the inner one does nothing.
///
/// With feature `axum`, the key holds the URI that the client sent and, where it differs, the one that the handler sees
/// ([`SiteCacheLayer`](crate::response_cache::SiteCacheLayer#rewritten-uris)).
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
#[derive(Debug, Clone)]
#[must_use]
pub struct RouteCacheLayer(Arc<LayerConfig>);

impl RouteCacheLayer {
    /// Creates a layer over a cache, with the [policy of the cache](crate::cache::CacheBuilder::policy).
    pub fn new(cache: &Cache, ttl: impl Into<Ttl>) -> Self {
        Self(LayerConfig::new(cache.clone(), cache.policy().clone(), Level::Route(ttl.into())))
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

impl<S> Layer<S> for RouteCacheLayer {
    type Service = ResponseCache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ResponseCache::new(inner, Arc::clone(&self.0))
    }
}
