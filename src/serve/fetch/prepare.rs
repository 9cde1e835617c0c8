//! Prepares a request for forwarding: strips unkeyed inputs, and sets the conditions.

use super::conditions::{set_conditions, take_conditions};
use super::forwarded_request::{ForwardedRequest, head_of};
use super::plan::Fetch;
use crate::marks::{LayerPosition, OuterContext, is_outermost};
use crate::serve::nesting::mark_request;
use crate::serve::request::{KeyedInputs, RequestFacts};
use crate::serve::respond::OutgoingHead;
use http::Request;

impl Fetch {
    /// Gives a request the form shared by all requests with its key, and adds the conditions that
    /// validate the stored response. Returns the data that the fetch needs once the service has
    /// answered.
    pub(super) fn prepare<ReqBody>(&mut self, request: &mut Request<ReqBody>) -> ForwardedRequest {
        let (config, facts) = (&*self.state.config, self.state.facts);
        let (headers, version) = (request.headers().clone(), request.version());
        let mut outgoing = OutgoingHead::new(config, (&*request).into(), self.status, facts);
        outgoing.set_key(self.state.shown_key.clone());
        if self.background.is_some() {
            outgoing.take_report();
        }
        // No outer layer can admit the response of a background refresh.
        let held = self.background.is_none() && !is_outermost(request.extensions());
        let (outgoing, position) = match held {
            true => (outgoing, LayerPosition::inner()),
            false => (outgoing.for_outermost(), LayerPosition::outermost(request.extensions_mut())),
        };
        let request_head = config.policy.predicates.need_request_head().then(|| head_of(request));
        let by_outer =
            request.extensions().get::<OuterContext>().is_some_and(|outer| outer.cookies.is_some());
        let cookies_declared = by_outer || !config.policy.cookies.is_default();
        KeyedInputs::new(&config.policy, facts, &self.state.parts).strip(request);
        // The cache adds no conditions to a request with a range or preconditions, or after a 304
        // that did not match the stored response.
        if facts.conditional || facts.range || self.is_mismatched() {
            self.plan.stale = None;
        }
        // A dry run has no flights. A request that would otherwise lead a flight is still forwarded
        // like a leader's request: without `If-None-Match` and `If-Modified-Since`.
        let would_lead = config.is_dry_run()
            && !facts.head
            && RequestFacts { needs_current: false, ..facts }.is_collapsible();
        let is_shared = self.plan.leader.is_some() || self.plan.stale.is_some() || would_lead;
        let mut conditions = None;
        if is_shared || config.policy.strips_unkeyed {
            // Followers and later requests may lack this client's copy, so they need the complete
            // response.
            conditions = facts.has_copy.then(|| take_conditions(request.headers_mut()));
        }
        if let Some(stale) = &self.plan.stale {
            set_conditions(stale, request.headers_mut());
        }
        mark_request(config, request.extensions_mut(), facts.identified, Some(&self.state.target));
        ForwardedRequest {
            request_head,
            cookies_declared,
            position,
            held,
            conditions,
            ..ForwardedRequest::new(config, headers, version, outgoing)
        }
    }
}
