//! The state that all steps of one request share.

use super::chain::chain_of;
use super::facts::RequestFacts;
use super::shown_key::shown_key;
use super::target::target_names;
use crate::clock::Moment;
use crate::entry::{Generation, StoredResponse};
use crate::flight::Chain;
use crate::key::{CacheKey, RequestHead};
use crate::marks::{HeldAdmissions, LazyTargetNames};
use crate::serve::config::LayerConfig;
use crate::store::Validity;
use std::sync::{Arc, Weak};

/// The state that all steps of one request share.
#[derive(Clone)]
pub(in crate::serve) struct RequestState {
    pub(in crate::serve) config: Arc<LayerConfig>,
    pub(in crate::serve) key: CacheKey,
    /// The `key` parameter of `Cache-Status`, if clients get one.
    pub(in crate::serve) shown_key: Option<Arc<str>>,
    pub(in crate::serve) facts: RequestFacts,
    /// The key parts that functions of the user compute.
    pub(in crate::serve) parts: Vec<Option<String>>,
    /// The hosts and scopes that name the target of the request.
    pub(in crate::serve) target: Arc<LazyTargetNames>,
    /// The time at which the request arrived.
    pub(in crate::serve) began: Moment,
    /// The admissions that inner layers hold for the outermost layer around this request. Refers to
    /// nothing if no outer layer has marked the request.
    pub(in crate::serve) holds: Weak<HeldAdmissions>,
    /// The request, linked to the request or computation that started it, and so on.
    pub(in crate::serve) chain: Arc<Chain>,
}

/// The time at which a request arrived, and the chain that ran on the thread then.
pub(in crate::serve) struct Arrival {
    pub(in crate::serve) began: Moment,
    parent: Option<Arc<Chain>>,
}

impl Arrival {
    /// Call this on the thread that calls the service.
    pub(in crate::serve) fn now(config: &LayerConfig) -> Self {
        Self { began: config.cache.clock().now(), parent: Chain::current() }
    }
}

impl RequestState {
    pub(in crate::serve) fn new(
        config: &Arc<LayerConfig>,
        key: CacheKey,
        facts: RequestFacts,
        parts: Vec<Option<String>>,
        request: RequestHead<'_>,
    ) -> Self {
        Self::of_arrival(Arrival::now(config), config, key, facts, parts, request)
    }

    /// Creates the state of a request that arrived earlier.
    pub(in crate::serve) fn of_arrival(
        Arrival { began, parent }: Arrival,
        config: &Arc<LayerConfig>,
        key: CacheKey,
        facts: RequestFacts,
        parts: Vec<Option<String>>,
        request: RequestHead<'_>,
    ) -> Self {
        let target = target_names(config, request, facts.forwarded);
        let shown_key = shown_key(config, request, key.as_ref().as_bytes());
        let holds = HeldAdmissions::of_request(request.extensions);
        let chain = chain_of(parent, config, key.clone(), request.headers);
        Self { config: Arc::clone(config), key, shown_key, facts, parts, target, began, holds, chain }
    }

    /// Returns `true` if no hard invalidation covers a stored response. Returns `false` if the
    /// store does not answer.
    pub(in crate::serve) async fn is_valid(&self, stored: &StoredResponse) -> bool {
        matches!(self.config.cache.validity_of(stored).await, Ok(Validity::Valid | Validity::Stale))
    }

    /// Returns `true` if an invalidation, hard or soft, covers an arriving response. Returns
    /// `false` if the store does not answer.
    pub(in crate::serve) async fn is_outdated(&self, arriving: &StoredResponse) -> bool {
        let validity = self.config.cache.validity_of(arriving).await;
        matches!(validity, Ok(Validity::Stale | Validity::Invalid))
    }

    /// Returns the current generation, or `None` if the store does not answer.
    pub(in crate::serve) async fn generation(&self) -> Option<Generation> {
        self.config.cache.generation().await.ok()
    }
}
