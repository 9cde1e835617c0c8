//! Making an encoded variant: on a blocking thread, once for each stored response and coding.

use super::forbids_transforms;
use crate::cache::{AfterStore, Cache, Reservation};
use crate::entry::{EncodingClaim, Entry, EntryKind, StoredResponse, body_for_storage};
use crate::flight::WorkPermit;
use crate::key::{CacheKey, KeyBuf, KeyRef};
use crate::policy::ResponseEncoder;
use crate::rules::accept_encoding::Coding;
use crate::serve::config::LayerConfig;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::Full;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The approximate bytes of an entry besides its weight and its key.
const ENTRY_OVERHEAD: u64 = 1024;

/// The work to make one encoded variant.
struct EncodingWork {
    cache: Cache,
    encoder: Arc<ResponseEncoder>,
    /// The key of the stored response, which may be the key of a variant.
    key: CacheKey,
    /// How long the response is retained once it is stale.
    retention: Duration,
    claim: EncodingClaim,
    _resources: EncodingResources,
}

/// The permit of the work, and its share of the recording budget.
type EncodingResources = (Arc<WorkPermit>, Reservation);

/// Counts a request for a coding that a stored response does not have. Starts to make that coding if
/// the request completes the number of requests that the encoder requires. `key` is the key of the
/// URL.
#[cold]
pub(in crate::serve) fn count_request(
    config: &LayerConfig,
    stored: &StoredResponse,
    coding: Coding,
    key: KeyRef<'_>,
    request: &HeaderMap,
) {
    let (Some(encoded), Some(encoder)) = (stored.encoded(), config.encoder()) else { return };
    // The body of a response that is still arriving is empty here.
    if !encoder.encodes_length(stored.body().len() as u64) {
        return;
    }
    let Some(claim) = encoded.progress().claim(coding, encoder.requests_before_encoding()) else { return };
    let cache = &config.cache;
    let mut reservation = cache.reservation();
    let has_room = reservation.grow(stored.body().len() as u64);
    let permit = has_room.then(|| cache.encoding_permit()).flatten();
    let (Some(permit), Some(key), Ok(runtime)) =
        (permit, entry_key(config, stored, key, request), Handle::try_current())
    else {
        claim.release();
        return;
    };
    let work = EncodingWork {
        cache: cache.clone(),
        encoder: Arc::clone(encoder),
        key,
        retention: retention(config, stored),
        claim,
        _resources: (Arc::new(permit), reservation),
    };
    let blocking = runtime.clone();
    drop(runtime.spawn_blocking(move || work.run(&blocking)));
}

/// Returns the work that makes all codings of a response once it is stored, if the encoder is eager.
pub(in crate::serve) fn eager_encoding(config: &Arc<LayerConfig>, is_encodable: bool) -> Option<AfterStore> {
    let is_eager = is_encodable && config.encoder().is_some_and(|encoder| encoder.is_eager());
    let config = is_eager.then(|| Arc::clone(config))?;
    Some(AfterStore::new(move |stored, key| encode_all(&config, stored, key)))
}

/// Makes all codings of a response that has just been stored under `key`, one after the other. Does
/// nothing without a tokio runtime, or if too many responses wait.
#[cold]
fn encode_all(config: &Arc<LayerConfig>, stored: &StoredResponse, key: CacheKey) {
    let (Some(encoded), Some(encoder)) = (stored.encoded(), config.encoder()) else { return };
    let length = stored.body().len() as u64;
    let (Ok(runtime), true) = (Handle::try_current(), encoder.encodes_length(length)) else { return };
    let Some(place) = config.cache.place_for_encoding() else { return };
    let (config, progress) = (Arc::clone(config), Arc::clone(encoded.progress()));
    let (encoder, retention, blocking) = (Arc::clone(encoder), retention(&config, stored), runtime.clone());
    runtime.spawn(async move {
        let Some(permit) = config.cache.wait_for_encoding().await else { return };
        let work = move || {
            let (_place, permit) = (place, Arc::new(permit));
            let offered = Coding::ALL.into_iter().filter(|coding| encoder.offered().contains(*coding));
            for claim in offered.filter_map(|coding| progress.claim(coding, 1)) {
                let mut reservation = config.cache.reservation();
                if !reservation.grow(length) {
                    claim.release();
                    return;
                }
                let (cache, encoder, key) = (config.cache.clone(), Arc::clone(&encoder), key.clone());
                let _resources = (Arc::clone(&permit), reservation);
                EncodingWork { cache, encoder, key, retention, claim, _resources }.run(&blocking);
            }
        };
        // If the runtime shuts down, the work is dropped.
        drop(Handle::current().spawn_blocking(work));
    });
}

/// Returns how long a stored response is retained once it is stale.
fn retention(config: &LayerConfig, stored: &StoredResponse) -> Duration {
    config.policy.retention(stored.head().is_revalidatable(), stored.head().windows.longest())
}

/// Returns the key under which the response is stored: the key of the URL or of a variant.
fn entry_key(
    config: &LayerConfig,
    stored: &StoredResponse,
    url: KeyRef<'_>,
    request: &HeaderMap,
) -> Option<CacheKey> {
    if !stored.is_variant() {
        return Some(url.to_key());
    }
    let Ok(Ok(Some(Entry(EntryKind::Index(index))))) = config.cache.store().peek(url).now() else {
        return None;
    };
    let mut buf = KeyBuf::new();
    config.selection().write_key(&mut buf, url, index.fields(), request);
    (!buf.is_too_long()).then(|| buf.key().to_key())
}

impl EncodingWork {
    fn run(self, runtime: &Handle) {
        match self.encode(runtime) {
            // The coding is closed: the entry has the variant, or will not have it.
            Ok(()) => {}
            Err(EntryChanged) => self.claim.release(),
        }
    }

    /// Encodes the stored response, and stores the variant. Stores nothing if the response may not
    /// be transformed, or if the variant is not smaller or does not fit.
    fn encode(&self, runtime: &Handle) -> Result<(), EntryChanged> {
        let stored = self.stored()?;
        if forbids_transforms(stored.headers()) {
            return Ok(());
        }
        let mut response = Response::new(Full::new(stored.body().clone()));
        *response.status_mut() = stored.status();
        *response.headers_mut() = stored.headers().clone();
        let Some(encoded) = runtime.block_on(self.encoder.encode(self.claim.coding(), response)) else {
            return Ok(());
        };
        let (parts, body) = encoded.into_parts();
        if body.len() >= stored.body().len() {
            return Ok(());
        }
        drop(stored);
        self.store(parts.headers, body_for_storage(body).0)
    }

    /// Returns the stored response, if it is the one on which the claim was made.
    fn stored(&self) -> Result<Arc<StoredResponse>, EntryChanged> {
        let Ok(Ok(Some(Entry(EntryKind::Response(stored))))) =
            self.cache.store().peek(self.key.as_ref()).now()
        else {
            return Err(EntryChanged);
        };
        let is_same = stored.encoded().is_some_and(|encoded| self.claim.is_on(encoded.progress()));
        if is_same { Ok(stored) } else { Err(EntryChanged) }
    }

    /// Adds the variant to the entry, if the entry is unchanged and valid.
    fn store(&self, headers: HeaderMap, body: Bytes) -> Result<(), EntryChanged> {
        let (cache, store) = (&self.cache, self.cache.store());
        let before = self.stored()?;
        let expires = before.head().fresh_until.after(self.retention);
        if !cache.is_enabled() || !cache.is_valid_now(&before) || expires <= cache.clock().now() {
            return Err(EntryChanged);
        }
        let Some(after) = before.with_variant(self.claim.coding(), headers, body) else { return Ok(()) };
        let size = after.weight() + self.key.as_ref().as_bytes().len() as u64 + ENTRY_OVERHEAD;
        // A store removes an entry that is too large.
        if store.largest_entry().is_some_and(|most| size > most) {
            return Ok(());
        }
        let (before, after) =
            (Entry(EntryKind::Response(before)), Entry(EntryKind::Response(Arc::new(after))));
        // The entry must not expire later than before.
        let ttl = cache.ttl_until(expires);
        match store.compare_and_set(self.key.as_ref(), Some(&before), after, ttl).now() {
            Ok(Ok(true)) => Ok(()),
            _ => Err(EntryChanged),
        }
    }
}

/// The stored response was replaced, evicted or invalidated, so it gets no variant.
struct EntryChanged;
