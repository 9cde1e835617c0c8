//! The variants of a page that one 304 freshens together (RFC 9111 section 4.3.4).

use crate::entry::{Entry, EntryKind, StoredResponse, VaryIndex, headers_for_storage};
use crate::error::StoreError;
use crate::key::CacheKey;
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::entity_tag::EntityTag;
use crate::rules::stale::Windows;
use crate::rules::strip::fields_not_stored;
use crate::rules::update::updated_fields;
use crate::serve::admission::fresh_again_until;
use crate::serve::config::LayerConfig;
use crate::store::Validity;
use http::header::{CACHE_CONTROL, DATE, EXPIRES, SET_COOKIE};
use http::{HeaderMap, HeaderName};
use std::sync::Arc;
use std::time::Duration;

/// The variants stored under one key.
pub(super) struct Variants<'a> {
    pub(super) config: &'a LayerConfig,
    pub(super) key: CacheKey,
    pub(super) retention: Duration,
}

impl Variants<'_> {
    /// Freshens the variants that have the same strong entity tag as the validated response `fresh`
    /// (RFC 9111 section 4.3.4).
    ///
    /// Skips a variant that was requested later than `fresh`, that was invalidated, that has
    /// another status, or that is already fresh for as long.
    pub(super) async fn freshen(
        &self,
        fresh: &StoredResponse,
        validated: &HeaderMap,
    ) -> Result<(), StoreError> {
        let (cache, like) = (&self.config.cache, fresh.head());
        let (store, targets) = (cache.store(), &self.config.policy.targets);
        let Some(tag) = EntityTag::of_response(fresh.headers()) else { return Ok(()) };
        let Some(Entry(EntryKind::Index(index))) = cache.await_lookup(store.get(self.key.as_ref())).await?
        else {
            return Ok(());
        };
        let expires = like.fresh_until.max(cache.clock().now()).after(self.retention);
        if index.expires() < expires {
            cache.extend_index(self.key.as_ref(), expires).await?;
        }
        for variant in index.variants() {
            let key = VaryIndex::variant_key(self.key.as_ref(), variant);
            let seen = cache.await_lookup(store.get(key.as_ref())).await?;
            let Some(Entry(EntryKind::Response(variant))) = seen else { continue };
            let same = EntityTag::of_response(variant.headers()).is_some_and(|own| own.strong_eq(&tag));
            let head = variant.head();
            // A variant that was requested after the conditional request is more recent than the 304.
            let is_newer = head.requested_at() > like.requested_at();
            if !same || is_newer || variant.status() != fresh.status() {
                continue;
            }
            let headers =
                updated_fields(&head.original_headers(), &fields_of_all_variants(validated, targets), false);
            let directives = ResponseDirectives::for_targets(&headers, targets);
            let Some(until) = fresh_again_until(self.config, &variant, &headers, &directives, like) else {
                continue;
            };
            if head.fresh_until >= until {
                continue;
            }
            if cache.validity_of(&variant).await? == Validity::Valid {
                // A variant that was stored with `Set-Cookie` keeps the field.
                let shares = variant.headers().contains_key(SET_COOKIE);
                let windows = Windows::new(head.hinted_windows, &directives, self.config.policy.stale);
                let headers =
                    headers_for_storage(&headers, &fields_not_stored(&headers, &directives, shares));
                let new =
                    variant.freshened(headers, like, until, windows, self.config.emitted(head.is_encodable));
                let (before, new) =
                    (Entry(EntryKind::Response(variant)), Entry(EntryKind::Response(Arc::new(new))));
                let put = store.compare_and_set(key.as_ref(), Some(&before), new, cache.ttl_until(expires));
                cache.await_write(put).await?;
            }
        }
        Ok(())
    }
}

/// The fields of a 304 that apply to all variants with its entity tag. Other fields may concern one
/// variant only.
const FIELDS_OF_ALL_VARIANTS: [HeaderName; 3] = [CACHE_CONTROL, EXPIRES, DATE];

fn fields_of_all_variants(validated: &HeaderMap, targets: &[HeaderName]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for name in FIELDS_OF_ALL_VARIANTS.iter().chain(targets) {
        for value in validated.get_all(name) {
            let _ = fields.try_append(name, value.clone());
        }
    }
    fields
}
