//! A response that is stored once its body is complete.

use super::entry_write::{EntryWrite, WriteOutcome};
use super::handle::Cache;
use super::last_recording::LastRecording;
use super::outdated_response::OutdatedResponse;
use super::stats::StoreReport;
use crate::clock::Moment;
use crate::entry::{Dependencies, StoredResponse, VariantSelection};
use crate::flight::HitForMissReason;
use crate::key::CacheKey;
use crate::rules::entity_tag::EntityTag;
use crate::status::Detail;
use crate::store::Validity;
use bytes::Bytes;
use http::HeaderMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A response that is stored as soon as its body is complete.
///
/// ```text
/// recorded ─┬─ complete ─────────────────► store ─┬─► stored
///           │                                     └─► superseded, invalidated, no place for the
///           │                                         variant, or store failure
///           ├─ not storable after all ───► give_up: hit-for-miss, handles the outdated response
///           ├─ refused by an outer layer ► handle_refusal: handles the outdated response
///           └─ cut short, no room ───────► record_not_stored: keeps the outdated response
/// ```
///
/// The outdated response is the stored one that this response should replace. An
/// [`UnstoredAction`](super::UnstoredAction) decides whether the outdated response is kept or
/// removed. Unless an outer layer has refused the new response, the cache remembers why the new
/// response is not stored, to explain the next miss of the key.
#[derive(Debug)]
pub(crate) struct PendingStore {
    pub(crate) key: CacheKey,
    /// The response without its body. It can be changed, because no other `Arc` points to it yet.
    pub(crate) response: Arc<StoredResponse>,
    /// The fields of the answered request, which select the variant.
    pub(crate) request: HeaderMap,
    pub(crate) max_variants: usize,
    /// The rules that distinguish variants.
    pub(crate) selection: Arc<VariantSelection>,
    /// How long the store keeps the response after it becomes stale.
    pub(crate) retention: Duration,
    /// Counts whether the response is stored.
    report: StoreReport,
    /// The stored response that this one should replace.
    pub(crate) outdated: Option<OutdatedResponse>,
    /// The flag of the background refresh that fetched the response.
    pub(crate) refresh_outcome: Option<RefreshOutcome>,
    /// The earliest expiry of the dependencies that the service had read when it returned the head.
    pub(crate) head_fresh_until: Moment,
    /// Runs once the response is stored.
    pub(crate) after_store: Option<AfterStore>,
    /// The end of the freshness lifetime, if dependencies of the body reduced the lifetime.
    shortened_lifetime: Option<Moment>,
}

/// Work that begins when a response is stored. It gets the response and the key under which the
/// response is stored: the key of the URL or of the variant.
pub(crate) struct AfterStore(Box<StoredWork>);

type StoredWork = dyn FnOnce(&StoredResponse, CacheKey) + Send + Sync;

impl AfterStore {
    pub(crate) fn new(work: impl FnOnce(&StoredResponse, CacheKey) + Send + Sync + 'static) -> Self {
        Self(Box::new(work))
    }
}

impl fmt::Debug for AfterStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AfterStore")
    }
}

/// A flag that is set when a background refresh leads to a new response or removes the old one. If
/// the flag is not set when the refresh ends, the refresh has failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct RefreshOutcome(Arc<AtomicBool>);

impl RefreshOutcome {
    pub(crate) fn settle(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PendingStore {
    /// Creates the pending write of a response that replaces no stored response.
    pub(crate) fn new(
        key: CacheKey,
        response: Arc<StoredResponse>,
        request: HeaderMap,
        selection: Arc<VariantSelection>,
        max_variants: usize,
        retention: Duration,
        report: StoreReport,
    ) -> Self {
        Self {
            key,
            response,
            request,
            max_variants,
            selection,
            retention,
            report,
            outdated: None,
            refresh_outcome: None,
            head_fresh_until: Moment::NEVER,
            after_store: None,
            shortened_lifetime: None,
        }
    }

    /// Returns the report that counts whether the response is stored.
    pub(crate) fn report(&self) -> StoreReport {
        self.report.clone()
    }

    /// Stores nothing, because the response turned out not to be storable. Keeps or removes the
    /// stored response that this one should have replaced: see [`OutdatedResponse`].
    ///
    /// The key becomes hit-for-miss, because later responses are probably not storable either.
    pub(crate) fn give_up(&mut self, cache: &Cache, why: Detail) {
        self.record_not_stored(cache, why);
        cache.hit_for_miss().remember(self.key.as_ref(), HitForMissReason::Uncacheable, cache.clock().now());
        if self.outdated.take().is_some_and(|outdated| outdated.handle_not_stored(cache)) {
            self.settle_refresh();
        }
    }

    /// Stores nothing, because an outer layer has refused the response. Handles the outdated
    /// response.
    pub(crate) fn handle_refusal(&mut self, cache: &Cache) {
        if let Some(outdated) = self.outdated.take() {
            outdated.handle_refusal(cache);
        }
    }

    /// Remembers why the response is not stored, for the `Cache-Status` of the next miss of the
    /// key.
    pub(crate) fn record_not_stored(&self, cache: &Cache, why: Detail) {
        event!(detail = %why, "not stored");
        self.report.count_not_stored(why);
        let (own, now) = (self.outcome_key(), cache.clock().now());
        let key = own.as_ref().unwrap_or(&self.key);
        cache.last_recordings().remember(key.as_ref(), LastRecording::NotStored(why), now);
    }

    /// Returns the variant key of the response, under which its outcome is remembered. Returns
    /// `None` if the response is not a variant: the outcome is then remembered under `key`.
    fn outcome_key(&self) -> Option<CacheKey> {
        self.selection.response_variant_key(self.key.as_ref(), &self.response.head().nominated, &self.request)
    }

    /// Adds the dependencies of the body. Call this before the response is shared. Returns `false`
    /// if the response must not be stored.
    pub(crate) fn add_dependencies(&mut self, reads: Option<Dependencies>) -> bool {
        let Some(reads) = reads else { return true };
        let Some(response) = Arc::get_mut(&mut self.response) else { return false };
        let before = response.head().fresh_until.min(self.head_fresh_until);
        let can_depend = response.depend_on(&reads);
        let until = response.head().fresh_until;
        self.shortened_lifetime = (until < before).then_some(until);
        can_depend
    }

    /// If a background refresh fetched the response, records that the refresh has led to a new
    /// response or removed the old one.
    pub(crate) fn settle_refresh(&self) {
        self.refresh_outcome.iter().for_each(RefreshOutcome::settle);
    }

    /// Sets the entity tag of the response. Call this before the response is shared.
    pub(crate) fn set_etag(&mut self, tag: &EntityTag) {
        if let Some(response) = Arc::get_mut(&mut self.response) {
            response.set_etag(tag);
        }
    }

    /// Sets the body of the response. Call this before the response is shared.
    pub(crate) fn set_body(&mut self, body: Bytes) {
        if let Some(response) = Arc::get_mut(&mut self.response) {
            response.set_body(body);
        }
    }

    /// Stores the response with its body. Returns the response, and `true` if it is stored.
    ///
    /// Followers receive the response even if it is not stored, so they need not forward their
    /// requests.
    pub(crate) async fn store(mut self, cache: &Cache, body: Bytes) -> (Arc<StoredResponse>, bool) {
        self.set_body(body);
        self.store_whole(cache).await
    }

    /// Stores the response, whose body is already set. Returns the same as [`store`](Self::store).
    pub(crate) async fn store_whole(self, cache: &Cache) -> (Arc<StoredResponse>, bool) {
        let outcome_key = self.outcome_key();
        let Self {
            key,
            mut response,
            request,
            max_variants,
            selection,
            retention,
            report,
            shortened_lifetime,
            after_store,
            ..
        } = self;
        let now = cache.clock().now();
        // For a response that is stale on arrival, the retention begins now, so that the store keeps
        // the response for its whole stale window.
        let expires = response.head().fresh_until.max(now).after(retention);
        if response.is_fresh(now) {
            cache.hit_for_miss().forget(key.as_ref());
        }
        let write =
            EntryWrite { cache, key: &key, request: &request, max_variants, selection: &selection, expires };
        let outcome = match cache.validity_of(&response).await {
            _ if !cache.is_enabled() => Ok(WriteOutcome::Refused(Detail::Disabled)),
            Ok(Validity::Valid) => write.run(&mut response).await,
            // The response was invalidated during the fetch. It is not stored, because it could
            // replace a newer response.
            Ok(_) => Ok(WriteOutcome::Refused(Detail::Invalidated)),
            Err(error) => Err(error),
        };
        let remembered_key = outcome_key.as_ref().unwrap_or(&key).as_ref();
        let last = cache.last_recordings();
        // A failure of the store is not counted here, since `await_write` has counted it.
        let why = match outcome {
            Ok(WriteOutcome::Stored) => None,
            Ok(WriteOutcome::Superseded) => Some(Detail::Superseded),
            Ok(WriteOutcome::Refused(why)) => Some(why),
            Err(_) => Some(Detail::StoreFailed),
        };
        if let Some(why) = why {
            last.remember(remembered_key, LastRecording::NotStored(why), now);
            report.count_not_stored(why);
            event!(status = response.status().as_u16(), detail = %why, "not stored");
            return (response, false);
        }
        match shortened_lifetime {
            Some(until) => {
                let lifetime = until.since(response.head().response_time);
                let before = match last.get(remembered_key, now) {
                    Some(LastRecording::ShortenedLifetime { longest, .. }) => longest,
                    _ => Duration::ZERO,
                };
                let longest = lifetime.max(before);
                last.remember(remembered_key, LastRecording::ShortenedLifetime { until, longest }, now);
            }
            None => last.forget(remembered_key),
        }
        report.count_stored();
        event!(status = response.status().as_u16(), ttl = ?cache.ttl_until(expires), "store");
        if let Some(AfterStore(work)) = after_store {
            work(&response, outcome_key.unwrap_or(key));
        }
        (response, true)
    }
}
