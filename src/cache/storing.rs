//! A response to store once its body is complete.

use super::entry_write::{EntryWrite, WriteOutcome};
use super::handle::Cache;
use super::last_recording::LastRecording;
use super::outdated::Outdated;
use crate::clock::Moment;
use crate::entry::{Dependencies, StoredResponse, VariantSelection};
use crate::flight::HitForMissReason;
use crate::key::CacheKey;
use crate::rules::entity_tag::EntityTag;
use crate::status::Detail;
use crate::store::Validity;
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A response that is to be stored as soon as its body is complete.
#[derive(Debug)]
pub(crate) struct PendingStore {
    pub(crate) key: CacheKey,
    /// With no body yet, and shared with nobody.
    pub(crate) response: Arc<StoredResponse>,
    /// The request it answers: its fields name the variant.
    pub(crate) request: HeaderMap,
    pub(crate) max_variants: usize,
    /// How variants are told apart.
    pub(crate) selection: Arc<VariantSelection>,
    /// How long it is kept once it is stale.
    pub(crate) retained: Duration,
    /// What it takes the place of, and where that is, were it not to be stored after all.
    pub(crate) outdated: Option<Outdated>,
    /// Who wants to know whether this has come to anything.
    pub(crate) settled: Option<RefreshOutcome>,
    /// The time at which the first value expires that the head was made from.
    pub(crate) known_until: Moment,
    /// The end of the freshness lifetime, if dependencies of the body reduced it.
    shortened_lifetime: Option<Moment>,
}

/// Learns whether a call has led to a new response, or has taken the old one away.
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
    /// Creates the pending write of a response that replaces none.
    pub(crate) fn new(
        key: CacheKey,
        response: Arc<StoredResponse>,
        request: HeaderMap,
        selection: Arc<VariantSelection>,
        max_variants: usize,
        retained: Duration,
    ) -> Self {
        Self {
            key,
            response,
            request,
            max_variants,
            selection,
            retained,
            outdated: None,
            settled: None,
            known_until: Moment::NEVER,
            shortened_lifetime: None,
        }
    }

    /// Stores nothing, since the response turned out not to be one that can be, as the next ones under its
    /// key will. What is outdated by it goes all the same.
    pub(crate) fn give_up(&mut self, cache: &Cache, why: Detail) {
        self.not_stored(cache, why);
        cache.hit_for_miss().remember(self.key.as_ref(), HitForMissReason::Uncacheable, cache.clock().now());
        if self.outdated.take().is_some_and(|outdated| outdated.not_stored(cache)) {
            self.settle();
        }
    }

    /// Stores nothing, since an outer layer has refused the response.
    pub(crate) fn refused(&mut self, cache: &Cache) {
        if let Some(outdated) = self.outdated.take() {
            outdated.refused(cache);
        }
    }

    /// Remembers why the response is not stored, for the status of the next one.
    pub(crate) fn not_stored(&self, cache: &Cache, why: Detail) {
        event!(detail = %why, "not stored");
        let (own, now) = (self.outcome_key(), cache.clock().now());
        let key = own.as_ref().unwrap_or(&self.key);
        cache.last_recordings().remember(key.as_ref(), LastRecording::NotStored(why), now);
    }

    /// Returns the variant key under which the outcome is remembered, or `None` if the response nominates no fields.
    fn outcome_key(&self) -> Option<CacheKey> {
        self.selection.response_variant_key(self.key.as_ref(), &self.response.head().nominated, &self.request)
    }

    /// Says what the response was made from; false if it can't be stored for that.
    pub(crate) fn made_from(&mut self, reads: Option<Dependencies>) -> bool {
        let Some(reads) = reads else { return true };
        let Some(response) = Arc::get_mut(&mut self.response) else { return false };
        let before = response.head().fresh_until.min(self.known_until);
        let can_depend = response.depend_on(&reads);
        let until = response.head().fresh_until;
        self.shortened_lifetime = (until < before).then_some(until);
        can_depend
    }

    /// Says that this has come to something.
    pub(crate) fn settle(&self) {
        self.settled.iter().for_each(RefreshOutcome::settle);
    }

    /// Gives the response a tag, before it is shared with anybody.
    pub(crate) fn tag(&mut self, tag: &EntityTag) {
        if let Some(response) = Arc::get_mut(&mut self.response) {
            response.set_etag(tag);
        }
    }

    /// Gives the response its body, before it is shared with anybody.
    pub(crate) fn set_body(&mut self, body: Bytes) {
        if let Some(response) = Arc::get_mut(&mut self.response) {
            response.set_body(body);
        }
    }

    /// Stores the response, and returns it and whether it is stored. If it is not, it is returned all the
    /// same: those who wait for it need not call the service again.
    pub(crate) async fn store(mut self, cache: &Cache, body: Bytes) -> (Arc<StoredResponse>, bool) {
        self.set_body(body);
        self.store_whole(cache).await
    }

    /// Stores the response, which has its body.
    pub(crate) async fn store_whole(self, cache: &Cache) -> (Arc<StoredResponse>, bool) {
        let outcome_key = self.outcome_key();
        let Self {
            key, mut response, request, max_variants, selection, retained, shortened_lifetime, ..
        } = self;
        let now = cache.clock().now();
        // The retention of a stale response counts from now at the earliest.
        let expires = response.head().fresh_until.max(now).after(retained);
        if response.is_fresh(now) {
            cache.hit_for_miss().forget(key.as_ref());
        }
        let placing =
            EntryWrite { cache, key: &key, request: &request, max_variants, selection: &selection, expires };
        let placed = match cache.validity_of(&response).await {
            Ok(Validity::Valid) => placing.place(&mut response).await,
            // An invalid response would not be served, but could replace a newer one.
            Ok(_) => Ok(WriteOutcome::Refused(Detail::Invalidated)),
            Err(error) => Err(error),
        };
        let noted = outcome_key.as_ref().unwrap_or(&key).as_ref();
        let last = cache.last_recordings();
        // The cache counts the failure.
        let why = match placed {
            Ok(WriteOutcome::Stored) => None,
            Ok(WriteOutcome::Superseded) => Some(Detail::Superseded),
            Ok(WriteOutcome::Refused(why)) => Some(why),
            Err(_) => Some(Detail::StoreFailed),
        };
        if let Some(why) = why {
            last.remember(noted, LastRecording::NotStored(why), now);
            event!(status = response.status().as_u16(), detail = %why, "not stored");
            return (response, false);
        }
        match shortened_lifetime {
            Some(until) => {
                let lifetime = until.since(response.head().response_time);
                let before = match last.get(noted, now) {
                    Some(LastRecording::ShortenedLifetime { longest, .. }) => longest,
                    _ => Duration::ZERO,
                };
                let longest = lifetime.max(before);
                last.remember(noted, LastRecording::ShortenedLifetime { until, longest }, now);
            }
            None => last.forget(noted),
        }
        event!(status = response.status().as_u16(), ttl = ?cache.ttl_until(expires), "store");
        (response, true)
    }
}
