//! The request that is forwarded: in the form that all requests with its key have.

use super::conditions::{ask_about, take_conditions};
use super::forwarded_request::{ForwardedRequest, head_of};
use super::plan::Fetch;
use crate::marks::{Edge, OuterContext, is_outermost};
use crate::serve::nesting::announce;
use crate::serve::request::KeyedInputs;
use crate::serve::respond::OutgoingHead;
use http::Request;

impl Fetch {
    /// Makes a request one whose answer may be shared.
    pub(super) fn prepare<ReqBody>(&mut self, request: &mut Request<ReqBody>) -> ForwardedRequest {
        let (config, facts) = (&*self.state.config, self.state.facts);
        let (headers, version) = (request.headers().clone(), request.version());
        let mut outgoing = OutgoingHead::new(config, request.extensions(), || self.status, facts);
        outgoing.set_key(self.state.shown.clone());
        // A background refresh has no outer layers that could admit its response.
        let held = self.background.is_none() && !is_outermost(request.extensions());
        let (outgoing, edge) = match held {
            true => (outgoing, Edge::inner()),
            false => (outgoing.outermost(), Edge::outermost(request.extensions_mut())),
        };
        let asked = config.policy.predicates.look_at_responses().then(|| head_of(request));
        let by_outer =
            request.extensions().get::<OuterContext>().is_some_and(|outer| outer.cookies.is_some());
        let cookies_declared = by_outer || !config.policy.cookies.is_default();
        KeyedInputs::new(&config.policy, facts, &self.state.parts).strip(request);
        // Preconditions of the client's that the service has to evaluate, and a range, leave no room
        // for conditions of the cache's.
        if facts.conditional || facts.range || self.is_mismatched() {
            self.plan.stale = None;
        }
        let mut conditions = None;
        if self.plan.leader.is_some() || self.plan.stale.is_some() || config.policy.strips_unkeyed {
            // Others have no such copy: they need the complete response.
            conditions = facts.has_copy.then(|| take_conditions(request.headers_mut()));
        }
        if let Some(stale) = &self.plan.stale {
            ask_about(stale, request.headers_mut());
        }
        announce(config, request.extensions_mut(), facts.identified, &self.state.scopes);
        ForwardedRequest {
            asked,
            cookies_declared,
            edge,
            held,
            conditions,
            ..ForwardedRequest::new(config, headers, version, outgoing)
        }
    }
}
