//! Writes of responses to the store.
//!
//! A plain response nominates no request fields with `Vary`. It is stored under the key of its URL.
//! For other responses, the entry under that key is an index of variants, and each response is
//! stored under the key of its variant.
//!
//! ```text
//! plain response, key absent ─────────────────► put if absent ─► Stored
//! plain response, key holds a response
//!   └─► is that response newer? ──┬─ yes ─────► Superseded
//!                                 └─ no ──────► compare-and-set ─► Stored, or try again
//! key holds an index, or the response nominates fields
//!   └─► add the variant to the index ─┬─ no room ───────────► Refused
//!                                     └─ compare-and-set ───► put the variant, or try again
//! 16 attempts fail ───────────────────────────────────────────► Superseded
//! ```

use super::handle::Cache;
use crate::clock::Moment;
use crate::entry::{Entry, EntryKind, StoredResponse, VariantSelection, VaryIndex};
use crate::error::StoreError;
use crate::key::{CacheKey, KeyBuf, KeyRef};
use crate::status::Detail;
use crate::store::{PutMode, Validity};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use std::sync::Arc;
use std::time::Duration;

/// The most attempts of a write while other writers change the same entry.
const MAX_ATTEMPTS: usize = 16;

/// A write of one response, under the key of its URL or of its variant.
pub(super) struct EntryWrite<'a> {
    pub(super) cache: &'a Cache,
    pub(super) key: &'a CacheKey,
    /// The fields of the answered request, which select the variant.
    pub(super) request: &'a HeaderMap,
    pub(super) max_variants: usize,
    /// The rules that distinguish variants.
    pub(super) selection: &'a VariantSelection,
    /// The time at which the store may drop the entry.
    pub(super) expires: Moment,
}

/// The outcome of storing a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    Stored,
    /// The response is not stored: a newer response is stored, or other writers changed the entry
    /// during each attempt.
    Superseded,
    /// The response is not stored, for this reason.
    Refused(Detail),
}

impl EntryWrite<'_> {
    pub(super) async fn run(&self, response: &mut Arc<StoredResponse>) -> Result<WriteOutcome, StoreError> {
        let key = self.key.as_ref();
        let is_plain = response.head().nominated.is_empty();
        if is_plain && self.put_if_absent(key, response).await? {
            return Ok(WriteOutcome::Stored);
        }
        // Whether the index had the variant before the first attempt.
        let mut is_known = None;
        for _ in 0..MAX_ATTEMPTS {
            let seen = self.cache.await_lookup(self.cache.store().get(key)).await?;
            let outcome = match &seen {
                Some(Entry(EntryKind::Index(index))) => {
                    self.write_variant(seen.as_ref(), index, response, &mut is_known).await?
                }
                _ if is_plain => self.replace_older(key, seen.as_ref(), response).await?,
                _ => {
                    let index = VaryIndex::new(Vec::new(), self.expires);
                    self.write_variant(seen.as_ref(), &index, response, &mut is_known).await?
                }
            };
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
        Ok(WriteOutcome::Superseded)
    }

    /// Adds the variant to the index, and stores the response under the variant's key. Returns
    /// `None` if another writer was first to change the index or the variant.
    async fn write_variant(
        &self,
        seen: Option<&Entry>,
        index: &VaryIndex,
        response: &mut Arc<StoredResponse>,
        is_known: &mut Option<bool>,
    ) -> Result<Option<WriteOutcome>, StoreError> {
        let (store, url) = (self.cache.store(), self.key.as_ref());
        // An index never loses a field. If a response nominates fewer fields than the index, its
        // variant is still selected by all fields of the index (RFC 9111 section 4.1).
        let fields: Vec<HeaderName> =
            response.head().nominated.iter().map(|field| field.name().clone()).collect();
        let widened = index.widened(fields);
        let outdated = widened.as_ref().map_or(&[][..], |_| index.variants());
        let index = widened.as_ref().unwrap_or(index);
        let mut buf = KeyBuf::new();
        self.selection.write_key(&mut buf, url, index.fields(), self.request);
        if buf.is_too_long() {
            return Ok(Some(WriteOutcome::Refused(Detail::KeyLength)));
        }
        let variant = &buf.as_bytes()[url.as_bytes().len()..];
        // Set in the first attempt only, because that attempt may add the variant.
        let is_known = *is_known.get_or_insert_with(|| index.variants().iter().any(|known| known == variant));
        let Some(mut evicted) = self.variants_to_evict(index, variant).await? else {
            return Ok(Some(WriteOutcome::Refused(Detail::Variants)));
        };
        let new = index.with_variant(variant, &evicted, self.expires);
        if !self.cache.put_index(url, seen, new).await? {
            return Ok(None);
        }
        evicted.extend_from_slice(outdated);
        self.remove(&evicted).await?;
        // A variant that the index already had counts as used.
        match response.is_variant() {
            false => Arc::make_mut(response).set_variant(is_known),
            true if is_known => response.note_use(),
            true => {}
        }
        if self.put_if_absent(buf.key(), response).await? {
            return Ok(Some(WriteOutcome::Stored));
        }
        let seen = self.cache.await_lookup(store.get(buf.key())).await?;
        self.replace_older(buf.key(), seen.as_ref(), response).await
    }

    /// Returns the variants to evict to make room for `variant`, or `None` if `variant` must not be
    /// stored.
    ///
    /// - Over a store outside the process, the oldest variants are evicted. The same applies over
    ///   any store if the index already has `variant`.
    /// - Over a local store, variants that are absent or invalidated are evicted first, and unused
    ///   variants next. A variant counts as used if a request received it since its use flag was last
    ///   cleared.
    /// - If every other variant in a local store is used, the result is `None`, and all use flags
    ///   are cleared.
    async fn variants_to_evict(
        &self,
        index: &VaryIndex,
        variant: &[u8],
    ) -> Result<Option<Vec<Bytes>>, StoreError> {
        let others: Vec<_> = index.variants().iter().filter(|known| *known != variant).cloned().collect();
        let is_known = others.len() < index.variants().len();
        let excess = (others.len() + 1).saturating_sub(self.max_variants.max(1));
        if excess == 0 || is_known || !self.cache.is_local() {
            return Ok(Some(others.into_iter().take(excess).collect()));
        }
        let (mut gone, mut unused, mut used) = (Vec::new(), Vec::new(), Vec::new());
        for other in others {
            match self.variant(&other).await? {
                None => gone.push(other),
                Some(response) if response.is_used() => used.push((other, response)),
                Some(_) => unused.push(other),
            }
            if gone.len() == excess {
                break;
            }
        }
        if gone.is_empty() && unused.is_empty() {
            used.iter().for_each(|(_, response)| response.clear_use());
            return Ok(None);
        }
        // Used variants come last. They are evicted only if a lowered limit leaves several variants
        // in excess.
        let used = used.into_iter().map(|(other, _)| other);
        Ok(Some(gone.into_iter().chain(unused).chain(used).take(excess).collect()))
    }

    /// Returns a variant of the URL if it is stored and no hard invalidation covers it.
    async fn variant(&self, variant: &[u8]) -> Result<Option<Arc<StoredResponse>>, StoreError> {
        let key = VaryIndex::variant_key(self.key.as_ref(), variant);
        let found = self.cache.await_lookup(self.cache.store().get(key.as_ref())).await?;
        let Some(Entry(EntryKind::Response(response))) = found else { return Ok(None) };
        let is_valid = self.cache.validity_of(&response).await? != Validity::Invalid;
        Ok(is_valid.then_some(response))
    }

    async fn remove(&self, variants: &[Bytes]) -> Result<(), StoreError> {
        if variants.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> =
            variants.iter().map(|variant| VaryIndex::variant_key(self.key.as_ref(), variant)).collect();
        let keys: Vec<_> = keys.iter().map(CacheKey::as_ref).collect();
        self.cache.await_write(self.cache.store().remove_many(&keys)).await.map(drop)
    }

    /// Stores the response if the key is absent. Returns `true` if the response is stored.
    async fn put_if_absent(
        &self,
        key: KeyRef<'_>,
        response: &Arc<StoredResponse>,
    ) -> Result<bool, StoreError> {
        let (entry, ttl) =
            (Entry(EntryKind::Response(Arc::clone(response))), self.cache.ttl_until(self.expires));
        self.cache.await_write(self.cache.store().put(key, entry, ttl, PutMode::IfAbsent)).await
    }

    /// Replaces the entry `seen`, unless [`is_newer`](Self::is_newer) returns `true` for it.
    /// Returns `None` if the store does not replace the entry, for example because another writer
    /// was first.
    async fn replace_older(
        &self,
        key: KeyRef<'_>,
        seen: Option<&Entry>,
        response: &Arc<StoredResponse>,
    ) -> Result<Option<WriteOutcome>, StoreError> {
        if let Some(Entry(EntryKind::Response(seen))) = seen
            && self.is_newer(seen, response).await?
        {
            return Ok(Some(WriteOutcome::Superseded));
        }
        let (new, ttl) =
            (Entry(EntryKind::Response(Arc::clone(response))), self.cache.ttl_until(self.expires));
        let put = self.cache.store().compare_and_set(key, seen, new, ttl);
        Ok(self.cache.await_write(put).await?.then_some(WriteOutcome::Stored))
    }

    /// Returns `true` if the stored response is valid, and the request for it was sent later than
    /// the request for the new response.
    ///
    /// A stored response with a request time in the future does not count as newer: another machine
    /// with a wrong clock has stored it.
    async fn is_newer(&self, stored: &StoredResponse, new: &StoredResponse) -> Result<bool, StoreError> {
        let requested_at = stored.head().requested_at();
        Ok(requested_at > new.head().requested_at()
            && requested_at <= self.cache.clock().now()
            && self.cache.validity_of(stored).await? == Validity::Valid)
    }
}

impl Cache {
    /// Returns the time from now until `expires`, or `None` if the entry never expires.
    pub(crate) fn ttl_until(&self, expires: Moment) -> Option<Duration> {
        (expires != Moment::NEVER).then(|| expires.since(self.clock().now()))
    }

    /// Replaces the entry `seen` of a URL with an index. Returns `false` if another writer was first.
    async fn put_index(
        &self,
        url: KeyRef<'_>,
        seen: Option<&Entry>,
        index: VaryIndex,
    ) -> Result<bool, StoreError> {
        let ttl = self.ttl_until(index.expires());
        self.await_write(self.store().compare_and_set(
            url,
            seen,
            Entry(EntryKind::Index(Arc::new(index))),
            ttl,
        ))
        .await
    }

    /// Extends the lifetime of a URL's index at least to `until`. Call this before you extend the
    /// lifetime of a variant, because the index must outlive its variants.
    pub(crate) async fn extend_index(&self, url: KeyRef<'_>, until: Moment) -> Result<(), StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let seen = self.await_lookup(self.store().get(url)).await?;
            let Some(Entry(EntryKind::Index(index))) = &seen else { return Ok(()) };
            let Some(extended) = index.extended(until) else { return Ok(()) };
            if self.put_index(url, seen.as_ref(), extended).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}
