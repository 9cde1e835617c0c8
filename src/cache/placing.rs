//! The place of a response in the store: under its URL, or under a variant of it.

use super::Cache;
use crate::clock::Moment;
use crate::entry::{Entry, Selection, StoredResponse, VaryIndex};
use crate::error::StoreError;
use crate::key::{CacheKey, KeyBuf, KeyRef};
use crate::status::Detail;
use crate::store::{PutMode, Validity};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use std::sync::Arc;
use std::time::Duration;

/// So often a write that others interfered with is tried again.
const TRIES: usize = 16;

/// Puts a response where a look-up finds it.
pub(super) struct Placing<'a> {
    pub(super) cache: &'a Cache,
    pub(super) key: &'a CacheKey,
    /// The request it answers: its fields name the variant.
    pub(super) request: &'a HeaderMap,
    pub(super) max_variants: usize,
    pub(super) selection: &'a Selection,
    /// When it leaves the store.
    pub(super) expires: Moment,
}

/// What became of a response that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    Stored,
    /// Something newer is there, or others were first each time.
    Superseded,
    /// The variants of its URL have no place for it.
    Refused(Detail),
}

impl Placing<'_> {
    pub(super) async fn place(&self, response: &mut Arc<StoredResponse>) -> Result<Placed, StoreError> {
        let key = self.key.as_ref();
        let is_plain = response.head().nominated.is_empty();
        if is_plain && self.put_first(key, response).await? {
            return Ok(Placed::Stored);
        }
        let mut is_known = None;
        for _ in 0..TRIES {
            let seen = self.cache.within_limit(self.cache.store().get(key)).await?;
            let placed = match &seen {
                Some(Entry::Index(index)) => {
                    self.place_variant(seen.as_ref(), index, response, &mut is_known).await?
                }
                _ if is_plain => self.put_over(key, seen.as_ref(), response).await?,
                _ => {
                    let index = VaryIndex::new(Vec::new(), self.expires);
                    self.place_variant(seen.as_ref(), &index, response, &mut is_known).await?
                }
            };
            if let Some(placed) = placed {
                return Ok(placed);
            }
        }
        Ok(Placed::Superseded)
    }

    /// Puts a variant beside the others of an index; `None` if others were first.
    async fn place_variant(
        &self,
        seen: Option<&Entry>,
        index: &VaryIndex,
        response: &mut Arc<StoredResponse>,
        is_known: &mut Option<bool>,
    ) -> Result<Option<Placed>, StoreError> {
        let (store, url) = (self.cache.store(), self.key.as_ref());
        // Fields are only ever added: a response that varies on less is stored like the others.
        let fields: Vec<HeaderName> =
            response.head().nominated.iter().map(|field| field.name().clone()).collect();
        let widened = index.widened(fields);
        let outdated = widened.as_ref().map_or(&[][..], |_| index.variants());
        let index = widened.as_ref().unwrap_or(index);
        let mut buf = KeyBuf::new();
        self.selection.write_key(&mut buf, url, index.fields(), self.request);
        if buf.is_too_long() {
            return Ok(Some(Placed::Refused(Detail::KeyLength)));
        }
        let variant = &buf.as_bytes()[url.as_bytes().len()..];
        // What an earlier try has put into the index makes it no known one.
        let is_known = *is_known.get_or_insert_with(|| index.variants().iter().any(|known| known == variant));
        let Some(mut displaced) = self.displaced(index, variant).await? else {
            return Ok(Some(Placed::Refused(Detail::Variants)));
        };
        let new = index.with_variant(variant, &displaced, self.expires);
        if !self.cache.put_index(url, seen, new).await? {
            return Ok(None);
        }
        displaced.extend_from_slice(outdated);
        self.remove(&displaced).await?;
        match response.is_variant() {
            false => Arc::make_mut(response).set_variant(is_known),
            true if is_known => response.note_use(),
            true => {}
        }
        if self.put_first(buf.key(), response).await? {
            return Ok(Some(Placed::Stored));
        }
        let seen = self.cache.within_limit(store.get(buf.key())).await?;
        self.put_over(buf.key(), seen.as_ref(), response).await
    }

    /// Returns the variants that have to go for one, or `None` if requests ask for all of them. Then each is kept only
    /// if a request asks for it again: the next newcomer finds a place otherwise.
    ///
    /// In a store inside the process, what is gone already comes first, and then, by age, what no request has asked for
    /// again: so values that one client makes up displace each other. Other stores go by age.
    async fn displaced(&self, index: &VaryIndex, variant: &[u8]) -> Result<Option<Vec<Bytes>>, StoreError> {
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
            used.iter().for_each(|(_, response)| response.forget_use());
            return Ok(None);
        }
        // There is more than one to go only where the limit was higher.
        let used = used.into_iter().map(|(other, _)| other);
        Ok(Some(gone.into_iter().chain(unused).chain(used).take(excess).collect()))
    }

    /// Returns a variant of the URL, if it is still there and valid.
    async fn variant(&self, variant: &[u8]) -> Result<Option<Arc<StoredResponse>>, StoreError> {
        let key = VaryIndex::variant_key(self.key.as_ref(), variant);
        let found = self.cache.within_limit(self.cache.store().get(key.as_ref())).await?;
        let Some(Entry::Response(response)) = found else { return Ok(None) };
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
        self.cache.within_limit(self.cache.store().remove_many(&keys)).await.map(drop)
    }

    /// Returns whether nothing was there yet.
    async fn put_first(&self, key: KeyRef<'_>, response: &Arc<StoredResponse>) -> Result<bool, StoreError> {
        let (entry, ttl) = (Entry::Response(Arc::clone(response)), self.cache.ttl_until(self.expires));
        self.cache.within_limit(self.cache.store().put(key, entry, ttl, PutMode::IfAbsent)).await
    }

    /// Puts a response in the place of what is there, unless that is newer; `None` if others were first.
    async fn put_over(
        &self,
        key: KeyRef<'_>,
        seen: Option<&Entry>,
        response: &Arc<StoredResponse>,
    ) -> Result<Option<Placed>, StoreError> {
        if let Some(Entry::Response(seen)) = seen
            && self.is_newer(seen, response).await?
        {
            return Ok(Some(Placed::Superseded));
        }
        let (new, ttl) = (Entry::Response(Arc::clone(response)), self.cache.ttl_until(self.expires));
        let put = self.cache.store().compare_and_set(key, seen, new, ttl);
        Ok(self.cache.within_limit(put).await?.then_some(Placed::Stored))
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

impl Cache {
    /// Returns how long an entry lives from now on; `None` is for ever.
    pub(crate) fn ttl_until(&self, expires: Moment) -> Option<Duration> {
        (expires != Moment::NEVER).then(|| expires.since(self.clock().now()))
    }

    /// Puts an index in the place of what is there. Returns `false` if others were first.
    async fn put_index(
        &self,
        url: KeyRef<'_>,
        seen: Option<&Entry>,
        index: VaryIndex,
    ) -> Result<bool, StoreError> {
        let ttl = self.ttl_until(index.until());
        self.within_limit(self.store().compare_and_set(url, seen, Entry::Index(Arc::new(index)), ttl)).await
    }

    /// Has the index of a URL live as long as one of its variants is about to.
    pub(crate) async fn extend_index(&self, url: KeyRef<'_>, until: Moment) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let seen = self.within_limit(self.store().get(url)).await?;
            let Some(Entry::Index(index)) = &seen else { return Ok(()) };
            let Some(extended) = index.extended(until) else { return Ok(()) };
            if self.put_index(url, seen.as_ref(), extended).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}
