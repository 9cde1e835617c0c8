//! What all steps of one request have in common.

use super::action::Stored;
use super::config::LayerConfig;
use super::inspect::RequestFacts;
use super::lookup::Lookup;
use super::target;
use crate::clock::Moment;
use crate::entry::{Generation, Scope, StoredResponse};
use crate::flight::Chain;
use crate::key::{CacheKey, RequestHead};
use crate::marks::Holds;
use crate::store::Validity;
use http::HeaderMap;
use std::sync::{Arc, Weak};

/// The same for all steps of one request.
#[derive(Clone)]
pub(super) struct RequestState {
    pub(super) config: Arc<LayerConfig>,
    pub(super) key: CacheKey,
    /// What the client is told of it.
    pub(super) shown: Option<Arc<str>>,
    pub(super) facts: RequestFacts,
    /// The parts of the key that the user computes.
    pub(super) parts: Vec<Option<String>>,
    /// All that names the request's targets, the public path first.
    pub(super) scopes: Vec<Scope>,
    pub(super) hosts: Vec<String>,
    /// When the request came.
    pub(super) began: Moment,
    /// What inner layers hold of the responses to the request.
    pub(super) holds: Weak<Holds>,
    /// The request, among those that led to it.
    pub(super) chain: Arc<Chain>,
}

impl RequestState {
    pub(super) fn new(
        config: &Arc<LayerConfig>,
        key: CacheKey,
        facts: RequestFacts,
        parts: Vec<Option<String>>,
        request: RequestHead<'_>,
    ) -> Self {
        let (hosts, began) = (target::hosts(request, &config.policy.key), config.cache.clock().now());
        let scopes = config.scopes_on(request, &hosts);
        let shown = config.shown_key(request, key.as_ref().as_bytes());
        let (holds, chain) = (Holds::around(request.extensions), config.chain(key.clone(), request.headers));
        Self { config: Arc::clone(config), key, shown, facts, parts, scopes, hosts, began, holds, chain }
    }

    /// Returns what is stored with its key: that of the variant, or of the URL.
    pub(super) fn place(
        &self,
        stored: Option<Arc<StoredResponse>>,
        variant: Option<CacheKey>,
    ) -> Option<Stored> {
        stored.map(|stored| (stored, variant.unwrap_or_else(|| self.key.clone())))
    }

    pub(super) async fn look(&self, request: &HeaderMap) -> Lookup {
        let now = self.config.cache.clock().now();
        self.config.lookup(request, self.key.as_ref(), self.facts, now).await
    }

    pub(super) async fn is_valid(&self, stored: &StoredResponse) -> bool {
        matches!(self.config.cache.validity_of(stored).await, Ok(Validity::Valid | Validity::Stale))
    }

    pub(super) async fn is_outdated(&self, arriving: &StoredResponse) -> bool {
        let validity = self.config.cache.validity_of(arriving).await;
        matches!(validity, Ok(Validity::Stale | Validity::Invalid))
    }

    pub(super) async fn generation(&self) -> Option<Generation> {
        self.config.cache.generation().await.ok()
    }
}
