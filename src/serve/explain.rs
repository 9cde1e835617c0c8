//! `Cache::explain`: the decisions of all layers on one request, without carrying them out.

use super::classify::{Decision, examine, forwards_missed_head};
use super::config::LayerConfig;
use super::lookup::{Lookup, Reuse, lookup};
use super::refuse::refuses_bypass;
use super::request::{InspectedRequest, identified_by, key_inputs, public_uri, short_digest};
use crate::cache::{Cache, Explanation, LastRecording, StoredSummary, StoredVariant};
use crate::clock::Moment;
use crate::entry::{Entry, EntryKind, StoredResponse, VaryIndex};
use crate::flight::HitForMissReason;
use crate::key::{KeyBuf, KeyRef, RequestHead};
use crate::status::{CacheStatus, Detail, ForwardReason, Reason};
use std::sync::Arc;

impl Cache {
    /// Explains how each layer over this cache would handle a request.
    ///
    /// Use it to find out why a page is not answered from the cache, or under which key it is
    /// stored. The layers themselves decide by the same functions. The request counts as one
    /// without content. The explanations are in the order in which the layers were created.
    ///
    /// The call never runs the service, never changes an entry and joins no flight. It may change the
    /// order of eviction only in a store that does not implement
    /// [`peek`](crate::Store::peek). It does call functions of the policy, such as
    /// [`bypass_if`](crate::policy::PolicyBuilder::bypass_if). Whether the response would be stored
    /// depends on the response, so it is not known.
    ///
    /// Pass the request as the layer sees it. The form of its URI (with or without scheme and host),
    /// its `Host` field and, with axum, its extension `OriginalUri` enter the key. Changes that
    /// routers and outer layers make to a request, such as a rewritten URI, are not known.
    ///
    /// A layer is explained if it was created with a handle of this namespace and version, and if
    /// it or one of its services still exists. Layers with the same keys are explained once, or
    /// twice if only some of them are enabled. At most 256 layers are known.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
    /// let policy = Policy::app().default_ttl(Duration::from_secs(60)).build()?;
    /// let layer = SiteCacheLayer::new(&cache).policy(policy);
    ///
    /// let request = http::Request::get("/account").header("cookie", "sid=31d4").body(())?;
    /// let explanations = cache.explain(&request).await;
    /// assert_eq!(explanations[0].layer(), "site");
    /// assert!(!explanations[0].is_hit());
    /// assert_eq!(explanations[0].identified_by(), ["cookie sid"]);
    /// # drop(layer);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "debug")]
    #[doc(alias = "inspect")]
    pub async fn explain<'a>(&self, request: impl Into<RequestHead<'a>>) -> Vec<Explanation> {
        let request = request.into();
        let mut layers: Vec<Arc<LayerConfig>> = Vec::new();
        for layer in self.layer_registry().layers::<LayerConfig>() {
            let is_own =
                layer.cache.namespace() == self.namespace() && layer.cache.version() == self.version();
            let is_same =
                |known: &Arc<LayerConfig>| known.id() == layer.id() && known.is_enabled == layer.is_enabled;
            if is_own && !layers.iter().any(is_same) {
                layers.push(layer);
            }
        }
        let mut explanations = Vec::with_capacity(layers.len());
        for layer in layers {
            let switched = layer.switched(public_uri(request).path());
            explanations.push(explain(switched.as_ref().unwrap_or(&layer), request).await);
        }
        explanations
    }
}

/// Explains the decision of one layer.
async fn explain(config: &LayerConfig, request: RequestHead<'_>) -> Explanation {
    let policy = &config.policy;
    let unknown = CacheStatus::forward(ForwardReason::UriMiss);
    let mut explanation = Explanation::new(config.name(), policy.unknown_inputs(), unknown);
    (explanation.policy_entry, explanation.is_dry_run) = (config.table_entry(), config.is_dry_run());
    let (mut inspected, mut buf) = (InspectedRequest::default(), KeyBuf::new());
    if let Some(decision) = examine(config, request, true, &mut inspected, &mut buf) {
        let reason = match decision {
            Decision::Forward(forward) => forward.bypass,
            Decision::Hit(..) | Decision::Miss(_) | Decision::Unsafe => ForwardReason::Method.into(),
        };
        explanation.identified_by =
            reason.detail.map_or_else(Vec::new, |why| identified_by(&config.policy, request, why));
        match refuses_bypass(config, request, reason.detail) {
            true => explanation.refused(),
            false => explanation.forwarded(reason),
        }
        return explanation;
    }
    explanation.key = key_inputs(config, request, &inspected);
    explanation.key_digest = Some(short_digest(buf.as_bytes()));
    let (facts, now) = (inspected.facts, config.cache.clock().now());
    let reuse = Reuse { config, request: request.headers, facts, now, read: None, is_read_only: true };
    let found = lookup(reuse, buf.key()).await;
    explanation.decide(reuse, buf.key(), found);
    describe_entry(&mut explanation, reuse, buf.key()).await;
    explanation
}

impl Explanation {
    /// Sets the decision of the layer for the result of a look-up.
    ///
    /// The order of the arms is the order of the layer's own decisions. The arms with `is_local`
    /// are decisions that the layer makes only over a local store, before it joins a flight.
    fn decide(&mut self, reuse: Reuse<'_>, key: KeyRef<'_>, lookup: Lookup) {
        let Reuse { config, request, facts, now, .. } = reuse;
        let (is_local, is_dry_run) = (config.cache.is_local(), self.is_dry_run);
        let last = config.cache.hit_for_miss().peek(key, now);
        let is_handled_by_inner = last == Some(HitForMissReason::HandledByInner);
        let is_refused = !is_dry_run
            && !is_handled_by_inner
            && facts.directives
            && config.policy.wants_only_if_cached(request);
        match lookup {
            Lookup::Hit(_) | Lookup::Stale { .. } if is_dry_run => {
                self.forwarded(Reason::bypass(Detail::DryRun));
            }
            Lookup::Hit(stored) => self.hit(&stored, now),
            Lookup::Miss { reason, stale: None, .. }
                if is_local && forwards_missed_head(config, facts, request) =>
            {
                self.forwarded(Reason::new(reason.forward, Detail::Head));
            }
            _ if is_local && is_handled_by_inner && !is_dry_run => {
                self.forwarded(Reason::bypass(Detail::HandledByInner));
            }
            Lookup::Stale { stored, .. } => self.hit(&stored, now),
            Lookup::Miss { .. } | Lookup::Bypass(_) if is_refused => {
                self.refused();
            }
            Lookup::Miss { reason, .. } => self.forwarded(reason),
            Lookup::Bypass(why) => self.forwarded(Reason::bypass(why)),
        }
    }

    fn refused(&mut self) {
        let why = Detail::OnlyIfCached;
        (self.status, self.detail) = (CacheStatus::refused(why), Some(why));
    }

    fn forwarded(&mut self, reason: Reason) {
        (self.status, self.detail) = (CacheStatus::forward(reason), reason.detail);
    }

    fn hit(&mut self, stored: &StoredResponse, now: Moment) {
        let until = stored.head().fresh_until;
        (self.status, self.detail) = match stored.is_fresh(now) {
            true => (CacheStatus::hit(until.since(now)), None),
            false => (CacheStatus::stale_hit(now.since(until)), Some(Detail::Stale)),
        };
    }
}

/// The most variants that an explanation reads from the store.
const MAX_SHOWN_VARIANTS: usize = 32;

/// Reads the newest variants of a URL from the store.
async fn stored_variants(reuse: Reuse<'_>, url: KeyRef<'_>, index: &VaryIndex) -> Vec<StoredVariant> {
    let mut found = Vec::new();
    for variant in index.variants().iter().rev().take(MAX_SHOWN_VARIANTS) {
        let key = VaryIndex::variant_key(url, variant);
        if let Ok((Some(Entry(EntryKind::Response(response))), _)) = reuse.find(key.as_ref()).await {
            found.push(StoredVariant::new(StoredSummary::new(response, reuse.now)));
        }
    }
    found
}

/// Describes the entries under a key: the stored response that the request selects, and its
/// variants.
async fn describe_entry(explanation: &mut Explanation, reuse: Reuse<'_>, key: KeyRef<'_>) {
    let Reuse { config, now, .. } = reuse;
    let cache = &config.cache;
    let mut buf = KeyBuf::new();
    let (stored, own_key) = match reuse.find(key).await {
        Ok((Some(Entry(EntryKind::Response(response))), _)) => {
            explanation.variants = 1;
            explanation.variant_fields =
                response.head().nominated.iter().map(|field| field.name().clone()).collect();
            let stored = StoredSummary::new(Arc::clone(&response), now);
            explanation.stored_variants.push(StoredVariant::new(stored));
            (Some(response), key)
        }
        Ok((Some(Entry(EntryKind::Index(index))), _)) => {
            explanation.variants = index.variants().len();
            explanation.variant_fields = index.fields().to_vec();
            explanation.stored_variants = stored_variants(reuse, key, &index).await;
            config.selection().write_key(&mut buf, key, index.fields(), reuse.request);
            let found = match buf.is_too_long() {
                true => None,
                false => reuse.find(buf.key()).await.ok().and_then(|(entry, _)| entry),
            };
            match found {
                Some(Entry(EntryKind::Response(response))) => (Some(response), buf.key()),
                _ => (None, buf.key()),
            }
        }
        _ => (None, key),
    };
    explanation.stored = stored.map(|response| StoredSummary::new(response, now));
    explanation.is_hit_for_miss = cache.hit_for_miss().peek(key, now).is_some();
    explanation.last_not_stored = match cache.last_recordings().peek(own_key, now) {
        Some(LastRecording::NotStored(why)) => Some(why),
        Some(LastRecording::ShortenedLifetime { .. }) | None => None,
    };
}
