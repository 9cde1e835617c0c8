//! Decides whether a stored response may answer a request (RFC 9111 section 4).

use super::coding::{refused_flight_key, selects};
use super::not_reusable::{NotReusable, excluding_directive};
use super::outcome::Lookup;
use super::stale::{is_stale_early, may_refresh};
use crate::clock::Moment;
use crate::entry::{Entry, EntryKind, Head, StoredResponse};
use crate::error::StoreError;
use crate::key::KeyRef;
use crate::policy::{Policy, Sharing};
use crate::rules::cache_control::{RequestDirectives, ResponseDirectives};
use crate::rules::preconditions::{Evaluation, Validators, evaluate};
use crate::rules::stale::forbids_stale;
use crate::serve::config::LayerConfig;
use crate::serve::request::RequestFacts;
use crate::status::Detail;
use crate::store::{Generation, Validity};
use http::{HeaderMap, Method};
use std::sync::Arc;

/// The store failed or timed out, so invalidations can't be read. A response that may have been
/// invalidated is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) struct StoreUnavailable;

/// A request for which stored responses are considered, at one point in time.
#[derive(Clone, Copy)]
pub(in crate::serve) struct Reuse<'a> {
    pub(in crate::serve) config: &'a LayerConfig,
    pub(in crate::serve) request: &'a HeaderMap,
    pub(in crate::serve) facts: RequestFacts,
    pub(in crate::serve) now: Moment,
    /// The generation that the store read together with the stored response, if it did.
    pub(in crate::serve) read: Option<Generation>,
    /// `true` if the look-up only explains a decision. Such a look-up changes neither the entries
    /// nor the order of eviction.
    pub(in crate::serve) is_read_only: bool,
}

impl Reuse<'_> {
    /// Returns the entry under a key. Also returns the generation, if the store read it together
    /// with the entry. A read-only look-up returns no generation.
    pub(in crate::serve) async fn find(
        self,
        key: KeyRef<'_>,
    ) -> Result<(Option<Entry>, Option<Generation>), StoreError> {
        let cache = &self.config.cache;
        match self.is_read_only {
            false => cache.find(key).await,
            true => Ok((cache.await_lookup(cache.store().peek(key)).await?, None)),
        }
    }

    /// Decides whether a stored response answers the request (RFC 9111 section 4). `key` is the key
    /// of the response's entry. `variant` is the same key if the response is a variant, otherwise
    /// `None`.
    pub(in crate::serve) async fn evaluate(
        self,
        mut response: Arc<StoredResponse>,
        (key, variant): (KeyRef<'_>, Option<KeyRef<'_>>),
    ) -> Lookup {
        let mut refusal = self.refusal(&response).await;
        if refusal == Ok(Some(NotReusable::SoftlyInvalidated)) {
            refusal = match self.make_stale(key, &response).await {
                Ok(Some(stale)) => {
                    response = stale;
                    Ok(self.mismatch(&response))
                }
                Ok(None) => Ok(Some(NotReusable::Invalidated)),
                Err(StoreUnavailable) => Err(StoreUnavailable),
            };
        }
        let reason = match refusal {
            Ok(None) if !self.needs_early_refresh(&response) => {
                return Lookup::Hit(response);
            }
            Ok(None) => return Lookup::Stale { stored: response, variant: variant.map(KeyRef::to_key) },
            Ok(Some(reason)) => reason,
            Err(StoreUnavailable) => return Lookup::Bypass(Detail::StoreFailed),
        };
        let variant = match refused_flight_key(self.config, &response, (key, variant), self.request, reason) {
            Ok(variant) => variant,
            Err(why) => return Lookup::Bypass(why),
        };
        if reason == NotReusable::NotFresh && self.serves_stale(&response) {
            return Lookup::Stale { stored: response, variant };
        }
        if reason == NotReusable::NotFresh && self.max_stale_permits(&response) {
            return Lookup::Hit(response);
        }
        // A fetch uses the stored response in three ways: it revalidates the response, serves it
        // after an error, or updates it from a HEAD. It does so only with a response that is stale,
        // or that the request's directives exclude.
        let is_usable = matches!(reason, NotReusable::NotFresh | NotReusable::Directives(_))
            && (response.head().is_revalidatable()
                || response.serves_on_errors(self.now)
                || (self.facts.head && self.config.policy.updates_from_head()));
        Lookup::Miss { reason: reason.into(), variant, stale: is_usable.then_some(response) }
    }

    /// Returns why a response may not answer this request now, or `None` if it may.
    ///
    /// # Errors
    /// Fails if the invalidations can't be read.
    pub(in crate::serve) async fn refusal(
        self,
        response: &StoredResponse,
    ) -> Result<Option<NotReusable>, StoreUnavailable> {
        let refusal = self.mismatch(response);
        if refusal == Some(NotReusable::Fields) {
            return Ok(refusal);
        }
        match self.config.cache.response_validity_at(self.read, response).await {
            Ok(Validity::Valid) => Ok(refusal),
            Ok(Validity::Stale) => Ok(Some(NotReusable::SoftlyInvalidated)),
            Ok(Validity::Invalid) => Ok(Some(NotReusable::Invalidated)),
            Err(_) => Err(StoreUnavailable),
        }
    }

    /// Replaces a softly invalidated response by a stale copy. Returns `None` if a hard
    /// invalidation covers the response, too.
    async fn make_stale(
        self,
        key: KeyRef<'_>,
        response: &Arc<StoredResponse>,
    ) -> Result<Option<Arc<StoredResponse>>, StoreUnavailable> {
        let cache = &self.config.cache;
        // The generation is read first: an invalidation after the read of the validity is newer
        // than the copy.
        let generation = cache.generation().await.map_err(|_| StoreUnavailable)?;
        if cache.validity_of(response).await.map_err(|_| StoreUnavailable)? == Validity::Invalid {
            return Ok(None);
        }
        let stale = Arc::new(response.as_stale(generation, self.now));
        if self.is_read_only {
            return Ok(Some(stale));
        }
        let (seen, new) = (
            Entry(EntryKind::Response(Arc::clone(response))),
            Entry(EntryKind::Response(Arc::clone(&stale))),
        );
        // The entry must not expire later than before: the index that leads to a variant may expire
        // at the old time.
        let ttl =
            cache.ttl_until(stale.head().fresh_until.after(retention(&self.config.policy, stale.head())));
        let put = cache.store().compare_and_set(key, Some(&seen), new, ttl);
        // If this write fails, or another one came first, the answer to this request is still
        // correct.
        let _ = cache.await_write(put).await;
        Ok(Some(stale))
    }

    /// Returns why a response does not fit this request, or `None` if it does. Ignores
    /// invalidations.
    #[inline]
    pub(in crate::serve) fn mismatch(self, response: &StoredResponse) -> Option<NotReusable> {
        // RFC 9111 section 4.1: the nominated fields must match.
        if !selects(self.config, response, self.request) {
            return Some(NotReusable::Fields);
        }
        // RFC 9111 section 4.2: the response must be fresh.
        if !response.is_fresh(self.now) {
            return Some(NotReusable::NotFresh);
        }
        let honors_directives = self.facts.directives && self.config.policy.sharing == Sharing::Rfc9111;
        if honors_directives && let Some(which) = excluding_directive(response, self.request, self.now) {
            return Some(NotReusable::Directives(which));
        }
        // Under `rfc9111`, the origin answers a failed precondition. Under `app`, the cache does:
        // otherwise a visitor could send load to the handler by preconditions.
        let fails = self.facts.conditional
            && self.config.policy.sharing == Sharing::Rfc9111
            && evaluate(&Method::GET, self.request, &Validators::of_response(response.headers()))
                == Evaluation::Failed;
        fails.then_some(NotReusable::Precondition)
    }

    /// Returns `true` if a stale response may answer this request while the response is refreshed
    /// (RFC 5861 section 3).
    fn serves_stale(self, response: &StoredResponse) -> bool {
        response.serves_while_revalidating(self.now)
            && may_refresh(&self.config.policy, self.facts, self.request, response)
            && self.accepts_stale(response)
    }

    /// Returns `true` if all of these conditions hold:
    ///
    /// - The policy is `Policy::rfc9111`. Under `Policy::app`, request directives do not count.
    /// - The request accepts a response of this staleness by `max-stale` (RFC 9111 section
    ///   5.2.1.2), and [`accepts_stale`](Self::accepts_stale) returns `true`.
    /// - No directive prohibits the use of a stale response (section 4.2.4).
    /// - The response is not [stale early](is_stale_early), since such a response may have been
    ///   invalidated.
    fn max_stale_permits(self, response: &StoredResponse) -> bool {
        if !self.facts.directives || self.config.policy.sharing != Sharing::Rfc9111 {
            return false;
        }
        let stale_for = self.now.since(response.head().fresh_until).as_secs();
        let most = RequestDirectives::from_headers(self.request).max_stale;
        most.is_some_and(|most| most == u32::MAX || stale_for <= most.into())
            && self.accepts_stale(response)
            && !forbids_stale(&ResponseDirectives::for_targets(
                &response.head().original_headers(),
                &self.config.policy.targets,
            ))
            && !is_stale_early(self.config, response)
    }

    /// Returns `true` if the request does not rule out stale responses. Under `app`, no request
    /// does.
    pub(in crate::serve) fn accepts_stale(self, response: &StoredResponse) -> bool {
        let honors_directives = self.config.policy.sharing == Sharing::Rfc9111;
        !honors_directives
            || !(self.facts.conditional
                || (self.facts.directives && excluding_directive(response, self.request, self.now).is_some()))
    }

    /// Returns `true` if a fresh response should be refreshed early, before it expires, by the
    /// XFetch algorithm.
    pub(in crate::serve) fn needs_early_refresh(self, response: &StoredResponse) -> bool {
        let Some(beta) = self.config.policy.early_refresh else { return false };
        let head = response.head();
        if head.fresh_until == Moment::NEVER
            || self.is_read_only
            || !may_refresh(&self.config.policy, self.facts, self.request, response)
        {
            return false;
        }
        // `draw` returns a number in [0, 1), so the logarithm exists.
        let lead = head.cost.as_secs_f64() * beta * -(1.0 - self.config.cache.draw()).ln();
        lead >= head.fresh_until.since(self.now).as_secs_f64()
    }
}

/// Returns how long a stale response is retained in the store.
pub(in crate::serve) fn retention(policy: &Policy, head: &Head) -> std::time::Duration {
    policy.retention(head.is_revalidatable(), head.windows.longest())
}

#[cfg(test)]
mod tests;
