//! The look-up: is there a stored response that this request may have now?

use super::inspect::Context;
use super::service::Shared;
use crate::cache::write_variant_key;
use crate::clock::Moment;
use crate::entry::{Entry, StoredResponse};
use crate::key::{CacheKey, KeyBuf, KeyRef};
use crate::policy::Sharing;
use crate::rules::cache_control::RequestDirectives;
use crate::status::ForwardReason;
use crate::store::Validity;
use http::HeaderMap;
use std::sync::Arc;
use std::time::Duration;

/// What a look-up came to.
#[derive(Debug)]
pub(super) enum Lookup {
    Hit(Arc<StoredResponse>),
    Miss {
        reason: ForwardReason,
        /// The key of the variant, where it is known which fields select it.
        variant: Option<CacheKey>,
    },
    /// The store did not answer: the request is forwarded as if there were no cache.
    Failed,
}

impl Shared {
    /// Looks a request up. Over a store inside the process, it is ready at its first poll.
    pub(super) async fn lookup(
        &self,
        request: &HeaderMap,
        key: KeyRef<'_>,
        context: Context,
        now: Moment,
    ) -> Lookup {
        let cache = &self.cache;
        let index = match cache.within_limit(cache.store().get(key)).await {
            Ok(Some(Entry::Response(response))) => {
                return self.judged(response, request, context, now, None).await;
            }
            Ok(Some(Entry::Index(index))) => index,
            Ok(_) => return Lookup::Miss { reason: ForwardReason::UriMiss, variant: None },
            Err(_) => return Lookup::Failed,
        };
        let mut buf = KeyBuf::new();
        write_variant_key(&mut buf, key, index.fields(), request);
        let variant = buf.key();
        match cache.within_limit(cache.store().get(variant)).await {
            Ok(Some(Entry::Response(response))) => {
                self.judged(response, request, context, now, Some(variant)).await
            }
            Ok(_) => Lookup::Miss { reason: ForwardReason::VaryMiss, variant: Some(variant.to_key()) },
            Err(_) => Lookup::Failed,
        }
    }

    /// Decides on reuse (RFC 9111 section 4).
    async fn judged(
        &self,
        response: Arc<StoredResponse>,
        request: &HeaderMap,
        context: Context,
        now: Moment,
        variant: Option<KeyRef<'_>>,
    ) -> Lookup {
        match self.refusal(&response, request, context, now).await {
            Ok(None) => Lookup::Hit(response),
            Ok(Some(reason)) => Lookup::Miss { reason, variant: variant.map(KeyRef::to_key) },
            Err(()) => Lookup::Failed,
        }
    }

    /// Returns why a response is not for this request now, or `None` if it is.
    ///
    /// Fails if the invalidations can't be read: what may have been invalidated is not served.
    pub(super) async fn refusal(
        &self,
        response: &StoredResponse,
        request: &HeaderMap,
        context: Context,
        now: Moment,
    ) -> Result<Option<ForwardReason>, ()> {
        if let Some(reason) = self.mismatch(response, request, context, now) {
            return Ok(Some(reason));
        }
        let head = response.head();
        match self.cache.validity(head.generation, &head.scopes).await {
            Ok(Validity::Valid) => Ok(None),
            Ok(_) => Ok(Some(ForwardReason::Stale)),
            Err(_) => Err(()),
        }
    }

    /// Returns what a request misses in a response, its invalidation aside.
    #[inline]
    fn mismatch(
        &self,
        response: &StoredResponse,
        request: &HeaderMap,
        context: Context,
        now: Moment,
    ) -> Option<ForwardReason> {
        if !response.selected_by(request) {
            return Some(ForwardReason::VaryMiss);
        }
        if !response.is_fresh(now) {
            return Some(ForwardReason::Stale);
        }
        let asks = context.directives && self.policy.sharing == Sharing::Rfc9111;
        (asks && !accepts(response, request, now)).then_some(ForwardReason::Request)
    }

    /// Returns the response of the plainest hit: ready in the store, without variants, fresh, valid.
    /// Whatever else it is, [`lookup`](Self::lookup) finds out.
    #[inline]
    pub(super) fn plain_hit(
        &self,
        request: &HeaderMap,
        key: KeyRef<'_>,
        context: Context,
        now: Moment,
    ) -> Option<Arc<StoredResponse>> {
        let Ok(Ok(Some(Entry::Response(response)))) = self.cache.store().get(key).now() else { return None };
        let usable = self.mismatch(&response, request, context, now).is_none();
        (usable && self.cache.is_valid_now(response.head())).then_some(response)
    }

    /// Tells whether the request's own `no-store` counts (RFC 9111 section 5.2.1.5).
    pub(super) fn forbids_storing(&self, request: &HeaderMap) -> bool {
        self.policy.sharing == Sharing::Rfc9111 && RequestDirectives::from_headers(request).no_store
    }
}

/// Applies the request's directives (RFC 9111 section 5.2.1).
fn accepts(response: &StoredResponse, request: &HeaderMap, now: Moment) -> bool {
    let directives = RequestDirectives::from_headers(request);
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    !directives.no_cache
        && directives.max_age.is_none_or(|most| response.current_age(now) <= seconds(most))
        && directives.min_fresh.is_none_or(|least| response.head().fresh_until.since(now) >= seconds(least))
}
