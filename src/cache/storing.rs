//! Puts a response where a look-up finds it: under its URL, or under a variant of it.

use super::Cache;
use super::outdated::Outdated;
use crate::clock::Moment;
use crate::entry::{Entry, Indexed, Reads, Selection, StoredResponse, VaryIndex};
use crate::error::StoreError;
use crate::flight::Pass;
use crate::key::{CacheKey, KeyBuf, KeyRef};
use crate::rules::entity_tag::EntityTag;
use crate::status::Detail;
use crate::store::{PutMode, Validity};
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A response that is to be stored as soon as its body is complete.
#[derive(Debug)]
pub(crate) struct Storing {
    pub(crate) key: CacheKey,
    /// With no body yet, and shared with nobody.
    pub(crate) response: Arc<StoredResponse>,
    /// The request it answers: its fields name the variant.
    pub(crate) request: HeaderMap,
    pub(crate) max_variants: usize,
    /// How variants are told apart.
    pub(crate) selection: Arc<Selection>,
    /// How long it is kept once it is stale.
    pub(crate) retained: Duration,
    /// What it takes the place of, and where that is, were it not to be stored after all.
    pub(crate) outdated: Option<Outdated>,
    /// Who wants to know whether this has come to anything.
    pub(crate) settled: Option<Settled>,
}

/// Learns whether a call has led to a new response, or has taken the old one away.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settled(Arc<AtomicBool>);

impl Settled {
    pub(crate) fn settle(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An index outlives its variants, so that the fields learnt are not forgotten with each of them.
const INDEX_TTL: Duration = Duration::from_secs(24 * 3600);
/// So often a write that others interfered with is tried again.
const TRIES: usize = 4;

impl Storing {
    /// Stores nothing, since the response turned out not to be one that can be, as the next ones under its
    /// key will. What is outdated by it goes all the same.
    pub(crate) fn give_up(&mut self, cache: &Cache, why: Detail) {
        self.not_stored(cache, why);
        cache.passes().remember(self.key.as_ref(), Pass::Uncacheable, cache.clock().now());
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
        cache.unstored().remember(self.key.as_ref(), why, cache.clock().now());
    }

    /// Says what the response was made from; false if it can't be stored for that.
    pub(crate) fn made_from(&mut self, reads: Option<Reads>) -> bool {
        let Some(reads) = reads else { return true };
        let Some(response) = Arc::get_mut(&mut self.response) else { return false };
        response.depend_on(&reads)
    }

    /// Says that this has come to something.
    pub(crate) fn settle(&self) {
        self.settled.iter().for_each(Settled::settle);
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
        let Self { key, response, request, max_variants, selection, retained, .. } = self;
        let now = cache.clock().now();
        let fresh_until = response.head().fresh_until;
        let ttl = (fresh_until != Moment::NEVER).then(|| fresh_until.since(now) + retained);
        if response.is_fresh(now) {
            cache.passes().forget(key.as_ref());
        }
        // What was invalidated meanwhile would not be served, but could take a newer one's place.
        if matches!(cache.validity_of(&response).await, Ok(Validity::Valid)) {
            let placing =
                Placing { cache, key: &key, request: &request, max_variants, selection: &selection, ttl };
            // A failure is counted by the cache and is a miss for who comes next.
            let placed = placing.place(&response).await;
            if matches!(placed, Ok(true)) {
                cache.unstored().forget(key.as_ref());
            }
            event!(status = response.status().as_u16(), ?ttl, failed = placed.is_err(), "store");
            (response, placed.unwrap_or(false))
        } else {
            event!(status = response.status().as_u16(), "invalidated while it was made");
            (response, false)
        }
    }
}

struct Placing<'a> {
    cache: &'a Cache,
    key: &'a CacheKey,
    request: &'a HeaderMap,
    max_variants: usize,
    selection: &'a Selection,
    ttl: Option<Duration>,
}

impl Placing<'_> {
    /// Returns whether it has its place: others may be first each time.
    async fn place(&self, response: &Arc<StoredResponse>) -> Result<bool, StoreError> {
        let store = self.cache.store();
        let key = self.key.as_ref();
        let fields = || response.head().nominated.iter().map(|field| field.name().clone());
        if response.head().nominated.is_empty() && self.put_first(key, response).await? {
            return Ok(true);
        }
        for _ in 0..TRIES {
            let seen = self.cache.within_limit(store.get(key)).await?;
            let index = match &seen {
                Some(Entry::Index(index)) => Some(Arc::clone(index)),
                _ if response.head().nominated.is_empty() => None,
                _ => Some(Arc::new(VaryIndex::new(Vec::new()))),
            };
            let Some(index) = index else {
                match self.put_over(key, seen.as_ref(), response).await? {
                    Some(is_placed) => return Ok(is_placed),
                    None => continue,
                }
            };
            // Fields are only ever added: a response that varies on less is stored like the others.
            let widened = index.widened(fields()).map(Arc::new);
            let index = widened.as_ref().unwrap_or(&index);
            let mut buf = KeyBuf::new();
            self.selection.write_key(&mut buf, key, index.fields(), self.request);
            if buf.is_too_long() {
                return Ok(false);
            }
            let indexed = index.with_variant(buf.as_bytes(), self.max_variants);
            let (new, displaced) = match indexed {
                Some(Indexed { index, displaced }) => (Arc::new(index), displaced),
                None => (Arc::clone(index), None),
            };
            // Written even if nothing is new to it, so that it outlives its variants.
            let put = store.compare_and_set(key, seen.as_ref(), Entry::Index(new), Some(INDEX_TTL));
            if !self.cache.within_limit(put).await? {
                continue;
            }
            if let Some(displaced) = displaced {
                self.cache.within_limit(store.remove(KeyRef::new(&displaced))).await?;
            }
            if self.put_first(buf.key(), response).await? {
                return Ok(true);
            }
            let seen = self.cache.within_limit(store.get(buf.key())).await?;
            if let Some(is_placed) = self.put_over(buf.key(), seen.as_ref(), response).await? {
                return Ok(is_placed);
            }
        }
        Ok(false)
    }

    /// Returns whether nothing was there yet.
    async fn put_first(&self, key: KeyRef<'_>, response: &Arc<StoredResponse>) -> Result<bool, StoreError> {
        let entry = Entry::Response(Arc::clone(response));
        self.cache.within_limit(self.cache.store().put(key, entry, self.ttl, PutMode::IfAbsent)).await
    }

    /// Puts a response in the place of what is there, unless that is newer, which it returns; `None` if others were
    /// first.
    async fn put_over(
        &self,
        key: KeyRef<'_>,
        seen: Option<&Entry>,
        response: &Arc<StoredResponse>,
    ) -> Result<Option<bool>, StoreError> {
        if let Some(Entry::Response(seen)) = seen
            && self.is_newer(seen, response).await?
        {
            return Ok(Some(false));
        }
        let new = Entry::Response(Arc::clone(response));
        let put = self.cache.store().compare_and_set(key, seen, new, self.ttl);
        Ok(self.cache.within_limit(put).await?.then_some(true))
    }

    /// Tells whether a stored response is the answer to a later request than this one, and still valid. Clocks of
    /// several machines may differ: what was asked for in the future is not believed.
    async fn is_newer(&self, stored: &StoredResponse, new: &StoredResponse) -> Result<bool, StoreError> {
        let asked_at = stored.head().asked_at();
        Ok(asked_at > new.head().asked_at()
            && asked_at <= self.cache.clock().now()
            && self.cache.validity_of(stored).await? == Validity::Valid)
    }
}
