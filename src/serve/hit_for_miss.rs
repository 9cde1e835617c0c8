//! Forwards a request for a key whose last response forbade storing.
//!
//! A fetch would only find that the new response forbids storing too. So the request is forwarded
//! without the steps that only a stored response needs: a flight, a copy of the request fields, an
//! admission and a recording.
//!
//! Each response is checked: if its `Cache-Control` permits storing, the next request for the key
//! fetches. A fetch also follows when the key is no longer hit-for-miss, after some seconds.

use super::changes::invalidation_on_success;
use super::classify::Missed;
use super::config::LayerConfig;
use super::fetch::FetchTimer;
use super::lookup::Lookup;
use super::nesting::mark_request;
use super::request::{KeyedInputs, RequestFacts, chain, shown_key, target_names};
use super::respond::{OutgoingHead, receive};
use crate::body::ResponseBody;
use crate::cache::is_tracked;
use crate::flight::{Chain, HitForMissReason};
use crate::key::{CacheKey, RequestHead};
use crate::marks::{HandledByInner, LayerPosition, is_outermost};
use crate::policy::{CacheHints, Sharing};
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::entity_tag::EntityTag;
use crate::rules::storability::has_no_store;
use crate::status::{CacheStatus, Detail, ForwardReason, Reason};
use http::{Request, Response, response};
use http_body::Body;
use std::sync::Arc;

/// A request that is forwarded without a fetch, until its response arrives.
pub(in crate::serve) struct UnstoredCall {
    config: Arc<LayerConfig>,
    key: CacheKey,
    chain: Arc<Chain>,
    status: CacheStatus,
    outgoing: OutgoingHead,
    timer: FetchTimer,
}

/// Returns the reason of a miss, if the request may be forwarded without a fetch.
///
/// Requests that a fetch treats in a special way are not forwarded without one: e.g. requests with
/// `Range`, requests inside another layer, and requests whose response becomes part of a cached page.
pub(super) fn unstored_reason(
    config: &LayerConfig,
    missed: &Missed,
    request: RequestHead<'_>,
) -> Option<Reason> {
    let Missed { facts, lookup, is_forbidden: true, .. } = missed else { return None };
    let Some(Lookup::Miss { reason, stale: None, variant: None }) = lookup else { return None };
    let is_new = reason.forward == ForwardReason::UriMiss && reason.detail.is_none();
    let is_plain =
        facts.is_collapsible() && !(facts.head || facts.directives || facts.identified || facts.personal);
    let policy = &config.policy;
    let is_simple = policy.origin_timeout.is_none() && !policy.strips_unkeyed && !config.is_dry_run();
    (is_new && is_plain && is_simple && is_outermost(request.extensions) && !is_tracked()).then_some(*reason)
}

impl UnstoredCall {
    /// Prepares a request for the service, as a fetch does.
    ///
    /// # Errors
    /// If the request is a loop, returns the `key` parameter of its `Cache-Status`.
    pub(super) fn prepare<B>(
        config: &Arc<LayerConfig>,
        key: CacheKey,
        facts: RequestFacts,
        parts: &[Option<String>],
        reason: Reason,
        request: &mut Request<B>,
    ) -> Result<(LayerPosition, Self), Option<Arc<str>>> {
        let head = RequestHead::from(&*request);
        let chain = chain(config, key.clone(), head.headers);
        let shown = shown_key(config, head, key.as_ref().as_bytes());
        if chain.is_loop() {
            return Err(shown);
        }
        let status = CacheStatus::forward(reason);
        let mut outgoing = OutgoingHead::new(config, head, status, facts);
        outgoing.set_key(shown);
        let target = target_names(config, head, facts.forwarded);
        let position = LayerPosition::outermost(request.extensions_mut());
        KeyedInputs::new(&config.policy, facts, parts).strip(request);
        mark_request(config, request.extensions_mut(), facts.identified, Some(&target));
        let (config, timer) = (Arc::clone(config), FetchTimer::start());
        Ok((position, Self { config, key, chain, status, outgoing, timer }))
    }

    pub(super) fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// Turns the response of the service into the response for the client.
    pub(super) fn process_response<B: Body>(self, mut response: Response<B>) -> Response<ResponseBody<B>> {
        let Self { config, key, chain, status, mut outgoing, timer } = self;
        outgoing.note_answer();
        receive(&mut response, &config.policy.credentials);
        if let Some(what) = invalidation_on_success(&response)
            && !config.cache.invalidate_later(&what)
        {
            outgoing.mark_invalidation_queued();
        }
        let (mut head, body) = response.into_parts();
        let handled_by_inner = head.extensions.remove::<HandledByInner>().is_some();
        EntityTag::remove_malformed(&mut head.headers, config.policy.etags);
        let (hit_for_miss, now) = (config.cache.hit_for_miss(), config.cache.clock().now());
        let why = match forbidding_directive(&config, &head) {
            _ if handled_by_inner => {
                hit_for_miss.remember(key.as_ref(), HitForMissReason::HandledByInner, now);
                Detail::HandledByInner
            }
            Some(why) => why,
            None => {
                hit_for_miss.forget(key.as_ref());
                Detail::HitForMiss
            }
        };
        if !handled_by_inner {
            timer.record(&config);
            config.note_not_stored(why);
        }
        let mut outgoing = outgoing.handled_by_inner(handled_by_inner).with_status(status.detail(why));
        let body = ResponseBody::forwarded(body).in_chain(&chain);
        let mut response = Response::from_parts(head, body);
        outgoing.apply_to_answer(&mut response);
        response
    }
}

/// Returns `no-store` or `private` if a response for all visitors has that directive, and the handler
/// has set no other rule by [`CacheHints`].
fn forbidding_directive(config: &LayerConfig, response: &response::Parts) -> Option<Detail> {
    let policy = &config.policy;
    let directives = ResponseDirectives::for_targets(&response.headers, &policy.targets);
    let has_hints = response.extensions.get::<CacheHints>().is_some();
    match has_no_store(&directives, policy.sharing == Sharing::Rfc9111) {
        true => Some(Detail::NoStore),
        false => (directives.private == Qualified::All && !has_hints).then_some(Detail::Private),
    }
}
