//! The look-up: is there a stored response that this request may have now?

use super::config::LayerConfig;
use super::inspect::RequestFacts;
use super::not_reusable::{NotReusable, excluded};
use crate::clock::Moment;
use crate::entry::{Entry, StoredResponse};
use crate::key::{CacheKey, KeyBuf, KeyRef};
use crate::policy::Sharing;
use crate::rules::cache_control::{RequestDirectives, ResponseDirectives};
use crate::rules::freshness::{ExplicitLifetime, fresh_until, stated_lifetime};
use crate::rules::preconditions::{Evaluation, Validators, evaluate};
use crate::rules::stale::forbids_stale;
use crate::status::{Detail, ForwardReason, Reason};
use crate::store::Validity;
use http::{HeaderMap, Method};
use std::sync::Arc;

/// What a look-up came to.
#[derive(Debug)]
pub(super) enum Lookup {
    Hit(Arc<StoredResponse>),
    /// To be answered with, while a new one is made.
    Stale {
        stored: Arc<StoredResponse>,
        variant: Option<CacheKey>,
    },
    Miss {
        reason: Reason,
        /// The key of the variant, where it is known which fields select it.
        variant: Option<CacheKey>,
        /// What is stored and can be revalidated (RFC 9111 section 4.3), or used where the service fails.
        stale: Option<Arc<StoredResponse>>,
    },
    /// The store failed or timed out, or the key is too long: the request bypasses the cache.
    Bypass(Detail),
}

impl Lookup {
    /// Returns a miss where nothing is stored.
    pub(super) fn missed(reason: ForwardReason, variant: Option<CacheKey>) -> Self {
        Self::Miss { reason: reason.into(), variant, stale: None }
    }
}

impl LayerConfig {
    /// Looks a request up. Over a store inside the process, it is ready at its first poll.
    pub(super) async fn lookup(
        &self,
        request: &HeaderMap,
        key: KeyRef<'_>,
        facts: RequestFacts,
        now: Moment,
    ) -> Lookup {
        let cache = &self.cache;
        let index = match cache.within_limit(cache.store().get(key)).await {
            Ok(Some(Entry::Response(response))) => {
                return self.evaluate(response, request, facts, now, (key, None)).await;
            }
            Ok(Some(Entry::Index(index))) => index,
            Ok(_) => return Lookup::missed(ForwardReason::UriMiss, None),
            Err(_) => return Lookup::Bypass(Detail::StoreFailed),
        };
        let mut buf = KeyBuf::new();
        self.selection().write_key(&mut buf, key, index.fields(), request);
        if buf.is_too_long() {
            return Lookup::Bypass(Detail::KeyLength);
        }
        let variant = buf.key();
        match cache.within_limit(cache.store().get(variant)).await {
            Ok(Some(Entry::Response(response))) => {
                response.note_use();
                self.evaluate(response, request, facts, now, (variant, Some(variant))).await
            }
            Ok(_) => {
                let variant = Some(variant.to_key());
                Lookup::missed(ForwardReason::VaryMiss, variant)
            }
            Err(_) => Lookup::Bypass(Detail::StoreFailed),
        }
    }

    /// Decides on reuse (RFC 9111 section 4).
    async fn evaluate(
        &self,
        mut response: Arc<StoredResponse>,
        request: &HeaderMap,
        facts: RequestFacts,
        now: Moment,
        (key, variant): (KeyRef<'_>, Option<KeyRef<'_>>),
    ) -> Lookup {
        let mut refusal = self.refusal(&response, request, facts, now).await;
        if refusal == Ok(Some(NotReusable::Softened)) {
            refusal = match self.softened(key, &response, now).await {
                Ok(Some(stale)) => {
                    response = stale;
                    Ok(self.mismatch(&response, request, facts, now))
                }
                Ok(None) => Ok(Some(NotReusable::Invalidated)),
                Err(()) => Err(()),
            };
        }
        let reason = match refusal {
            Ok(None) if !self.is_to_refresh(&response, request, facts, now) => {
                return Lookup::Hit(response);
            }
            Ok(None) => return Lookup::Stale { stored: response, variant: variant.map(KeyRef::to_key) },
            Ok(Some(reason)) => reason,
            Err(()) => return Lookup::Bypass(Detail::StoreFailed),
        };
        let variant = match self.refused_flight_key(&response, (key, variant), request, reason) {
            Ok(variant) => variant,
            Err(why) => return Lookup::Bypass(why),
        };
        if reason == NotReusable::NotFresh && self.serves_stale(&response, request, facts, now) {
            return Lookup::Stale { stored: response, variant };
        }
        if reason == NotReusable::NotFresh && self.wants_what_is_stale(&response, request, facts, now) {
            return Lookup::Hit(response);
        }
        // Another variant, or one that was invalidated, is of no use.
        let of_use = matches!(reason, NotReusable::NotFresh | NotReusable::Directives(_))
            && (response.head().is_revalidatable()
                || response.serves_on_errors(now)
                || self.learns_by(facts));
        Lookup::Miss { reason: reason.into(), variant, stale: of_use.then_some(response) }
    }

    /// Returns why a response is not for this request now, or `None` if it is.
    ///
    /// Fails if the invalidations can't be read: what may have been invalidated is not served.
    pub(super) async fn refusal(
        &self,
        response: &StoredResponse,
        request: &HeaderMap,
        facts: RequestFacts,
        now: Moment,
    ) -> Result<Option<NotReusable>, ()> {
        let refusal = self.mismatch(response, request, facts, now);
        if refusal == Some(NotReusable::Fields) {
            return Ok(refusal);
        }
        match self.cache.validity_of(response).await {
            Ok(Validity::Valid) => Ok(refusal),
            Ok(Validity::Stale) => Ok(Some(NotReusable::Softened)),
            Ok(Validity::Invalid) => Ok(Some(NotReusable::Invalidated)),
            Err(_) => Err(()),
        }
    }

    /// Has a response be stale from now on that was invalidated so, or returns `None` if it is gone.
    async fn softened(
        &self,
        key: KeyRef<'_>,
        response: &Arc<StoredResponse>,
        now: Moment,
    ) -> Result<Option<Arc<StoredResponse>>, ()> {
        let cache = &self.cache;
        // In this order: what takes it away from now on is newer than the generation it gets.
        let generation = cache.generation().await.map_err(drop)?;
        if cache.validity_of(response).await.map_err(drop)? == Validity::Invalid {
            return Ok(None);
        }
        let stale = Arc::new(response.softened(generation, now));
        let (seen, new) = (Entry::Response(Arc::clone(response)), Entry::Response(Arc::clone(&stale)));
        // The expiry must not grow: the index of a variant may expire at the same time.
        let ttl = cache.ttl_until(stale.head().fresh_until.after(self.retained(stale.head())));
        let put = cache.store().compare_and_set(key, Some(&seen), new, ttl);
        // If others were first, or the store fails, this answer is none the worse for it.
        let _ = cache.within_limit(put).await;
        Ok(Some(stale))
    }

    /// Returns what a request misses in a response, its invalidation aside.
    #[inline]
    fn mismatch(
        &self,
        response: &StoredResponse,
        request: &HeaderMap,
        facts: RequestFacts,
        now: Moment,
    ) -> Option<NotReusable> {
        if !self.selects(response, request) {
            return Some(NotReusable::Fields);
        }
        if !response.is_fresh(now) {
            return Some(NotReusable::NotFresh);
        }
        let asks = facts.directives && self.policy.sharing == Sharing::Rfc9111;
        if asks && let Some(which) = excluded(response, request, now) {
            return Some(NotReusable::Directives(which));
        }
        // A proxy leaves it to the origin to say that a precondition fails; for an application, a
        // visitor should not be able to drive load to it by one.
        let fails = facts.conditional
            && self.policy.sharing == Sharing::Rfc9111
            && evaluate(&Method::GET, request, &Validators::of_response(response.headers()))
                == Evaluation::Failed;
        fails.then_some(NotReusable::Precondition)
    }

    /// Tells whether a stale response is an answer to this request, while a new one is made.
    fn serves_stale(
        &self,
        response: &StoredResponse,
        request: &HeaderMap,
        facts: RequestFacts,
        now: Moment,
    ) -> bool {
        response.serves_while_revalidating(now)
            && self.may_refresh(facts, request, response)
            && self.accepts_stale(response, request, facts, now)
    }

    /// Tells whether a request asks for a stale response rather than to wait (RFC 9111 section 5.2.1.2), and may have it
    /// (section 4.2.4).
    fn wants_what_is_stale(
        &self,
        response: &StoredResponse,
        request: &HeaderMap,
        facts: RequestFacts,
        now: Moment,
    ) -> bool {
        if !facts.directives || self.policy.sharing != Sharing::Rfc9111 {
            return false;
        }
        let stale_for = now.since(response.head().fresh_until).as_secs();
        let most = RequestDirectives::from_headers(request).max_stale;
        most.is_some_and(|most| most == u32::MAX || stale_for <= most.into())
            && self.accepts_stale(response, request, facts, now)
            && !forbids_stale(&ResponseDirectives::for_targets(&response.head().said(), &self.policy.targets))
            && !self.was_cut_short(response)
    }

    /// Tells whether a response is stale sooner than it says itself: by a soft invalidation, or what it was made from.
    pub(super) fn was_cut_short(&self, response: &StoredResponse) -> bool {
        let (head, said) = (response.head(), response.head().said());
        let directives = ResponseDirectives::for_targets(&said, &self.policy.targets);
        match stated_lifetime(&directives, &said, self.cache.clock().wall()) {
            ExplicitLifetime::For(lifetime) => {
                head.fresh_until < fresh_until(head.response_time, lifetime, head.corrected_initial_age)
            }
            ExplicitLifetime::Silent | ExplicitLifetime::Stale => true,
        }
    }

    /// Tells whether a request leaves it to the cache to answer with what is stale.
    pub(super) fn accepts_stale(
        &self,
        response: &StoredResponse,
        request: &HeaderMap,
        facts: RequestFacts,
        now: Moment,
    ) -> bool {
        let asks = self.policy.sharing == Sharing::Rfc9111;
        !asks || !(facts.conditional || (facts.directives && excluded(response, request, now).is_some()))
    }

    /// Tells whether a fresh response is to be made anew already, by XFetch.
    pub(super) fn is_to_refresh(
        &self,
        response: &StoredResponse,
        request: &HeaderMap,
        facts: RequestFacts,
        now: Moment,
    ) -> bool {
        let Some(beta) = self.policy.early_refresh else { return false };
        let head = response.head();
        if head.fresh_until == Moment::NEVER || !self.may_refresh(facts, request, response) {
            return false;
        }
        // From (0, 1], so that it has a logarithm.
        let lead = head.cost.as_secs_f64() * beta * -(1.0 - self.cache.draw()).ln();
        lead >= head.fresh_until.since(now).as_secs_f64()
    }

    /// Returns the response of the plainest hit: ready in the store, without variants, fresh, valid.
    /// Whatever else it is, [`lookup`](Self::lookup) finds out.
    #[inline]
    pub(super) fn plain_hit(
        &self,
        request: &HeaderMap,
        key: KeyRef<'_>,
        facts: RequestFacts,
        now: Moment,
    ) -> Option<Arc<StoredResponse>> {
        let Ok(Ok(Some(Entry::Response(response)))) = self.cache.store().get(key).now() else { return None };
        let usable = self.mismatch(&response, request, facts, now).is_none();
        (usable && self.cache.is_valid_now(&response)).then_some(response)
    }

    /// Tells whether those who wait for a response get it though it is to be validated before each use.
    pub(super) fn shares_unfresh(&self) -> bool {
        self.policy.sharing == Sharing::App
    }

    /// Tells whether the answer to a request says something of what is stored (RFC 9111 section 4.3.5).
    pub(super) fn learns_by(&self, facts: RequestFacts) -> bool {
        facts.head && self.policy.sharing == Sharing::Rfc9111
    }

    /// Tells whether a request wants no answer rather than to wait for one (RFC 9111 section 5.2.1.7).
    pub(super) fn wants_only_what_is_cached(&self, request: &HeaderMap, directives: bool) -> bool {
        directives
            && self.policy.sharing == Sharing::Rfc9111
            && RequestDirectives::from_headers(request).only_if_cached
    }

    /// Tells whether the request's own `no-store` counts (RFC 9111 section 5.2.1.5).
    pub(super) fn forbids_storing(&self, request: &HeaderMap) -> bool {
        self.policy.sharing == Sharing::Rfc9111 && RequestDirectives::from_headers(request).no_store
    }
}
