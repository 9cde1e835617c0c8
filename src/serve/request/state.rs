//! What all steps of one request have in common.

use super::chain::chain;
use super::facts::RequestFacts;
use super::shown_key::shown_key;
use super::target::{hosts, scopes_on};
use crate::clock::Moment;
use crate::entry::{Generation, Scope, StoredResponse};
use crate::flight::Chain;
use crate::key::{CacheKey, RequestHead};
use crate::marks::Holds;
use crate::serve::config::LayerConfig;
use crate::store::Validity;
use std::sync::{Arc, Weak};

/// The same for all steps of one request.
#[derive(Clone)]
pub(in crate::serve) struct RequestState {
    pub(in crate::serve) config: Arc<LayerConfig>,
    pub(in crate::serve) key: CacheKey,
    /// What the client is told of it.
    pub(in crate::serve) shown: Option<Arc<str>>,
    pub(in crate::serve) facts: RequestFacts,
    /// The parts of the key that the user computes.
    pub(in crate::serve) parts: Vec<Option<String>>,
    /// All that names the request's targets, the public path first.
    pub(in crate::serve) scopes: Vec<Scope>,
    pub(in crate::serve) hosts: Vec<String>,
    /// When the request came.
    pub(in crate::serve) began: Moment,
    /// What inner layers hold of the responses to the request.
    pub(in crate::serve) holds: Weak<Holds>,
    /// The request, among those that led to it.
    pub(in crate::serve) chain: Arc<Chain>,
}

impl RequestState {
    pub(in crate::serve) fn new(
        config: &Arc<LayerConfig>,
        key: CacheKey,
        facts: RequestFacts,
        parts: Vec<Option<String>>,
        request: RequestHead<'_>,
    ) -> Self {
        let (hosts, began) = (hosts(request, &config.policy.key), config.cache.clock().now());
        let scopes = scopes_on(request, &config.policy.key, &hosts);
        let shown = shown_key(config, request, key.as_ref().as_bytes());
        let (holds, chain) = (Holds::around(request.extensions), chain(config, key.clone(), request.headers));
        Self { config: Arc::clone(config), key, shown, facts, parts, scopes, hosts, began, holds, chain }
    }

    pub(in crate::serve) async fn is_valid(&self, stored: &StoredResponse) -> bool {
        matches!(self.config.cache.validity_of(stored).await, Ok(Validity::Valid | Validity::Stale))
    }

    pub(in crate::serve) async fn is_outdated(&self, arriving: &StoredResponse) -> bool {
        let validity = self.config.cache.validity_of(arriving).await;
        matches!(validity, Ok(Validity::Stale | Validity::Invalid))
    }

    pub(in crate::serve) async fn generation(&self) -> Option<Generation> {
        self.config.cache.generation().await.ok()
    }
}
