//! The site-wide cache.

use crate::cache::Cache;
use crate::policy::Policy;
use crate::serve::{Level, ResponseCache, Shared};
use std::sync::Arc;
use tower::Layer;

/// Caches every response that may be stored, for as long as it says, or else for
/// [`Policy::default_ttl`]; without one, only what states a lifetime itself is stored.
///
/// # Where it belongs
/// Outside everything whose work a hit should save, inside everything that must see every request:
/// from the outside in, tracing, authentication, compression, this layer, the router. Outside of
/// authentication, a page behind it would be served to anybody; inside of a layer that takes
/// credentials off, the pages of all users would look alike, unless [`Policy::vary_by_identity`] tells
/// them apart, or an [`AnonymousOnlyLayer`](crate::AnonymousOnlyLayer) further out keeps them from it;
/// outside of compression, each encoding is stored by itself, as its `Vary` says. Of two layers of this kind around one another
/// that differ in nothing that counts for the key ([name](Policy::name), preset, credentials, query),
/// the inner one does nothing, lest one answer for the other past what stands between them. That is
/// so over two caches of one namespace too: give such layers different names.
///
/// When a [`RouteCacheLayer`](crate::RouteCacheLayer) is further in, that one handles its route,
/// and this one neither stores nor shares what it answers.
///
/// # Rewritten URIs
/// With feature `axum`, the key holds the URI that the client sent (`OriginalUri`) and, where it differs, the URI that the
/// handler sees. So a layer between the router and this one may pick a tenant by rewriting the URI. A layer that picks one
/// of several backends at random costs one copy of each page for each backend: put it inside this layer. Unsafe requests
/// invalidate the paths of both URIs.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
///
/// let cache = Cache::new(MemoryStore::with_capacity(64 << 20)); // bytes
/// let policy = Policy::app().default_ttl(Duration::from_secs(600));
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(SiteCacheLayer::new(&cache).policy(policy));
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct SiteCacheLayer(Arc<Shared>);

impl SiteCacheLayer {
    /// Creates a layer over a cache, with the default policy: [`Policy::app`].
    pub fn new(cache: &Cache) -> Self {
        Self(Shared::new(cache.clone(), Policy::app(), Level::Site))
    }

    /// Sets the policy.
    pub fn policy(self, policy: Policy) -> Self {
        Self(self.0.with_policy(policy))
    }
}

impl<S> Layer<S> for SiteCacheLayer {
    type Service = ResponseCache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ResponseCache::new(inner, Arc::clone(&self.0))
    }
}
