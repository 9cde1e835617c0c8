//! What is kept of a request while the service has it.

use super::admission::Exchange;
use super::config::LayerConfig;
use super::outgoing_head::OutgoingHead;
use super::request_state::RequestState;
use crate::clock::Moment;
use crate::entry::Generation;
use crate::marks::Edge;
use http::{HeaderMap, Request, Version, request};
use std::time::SystemTime;

/// What is kept of the request while the service has it.
pub(super) struct ForwardedRequest {
    /// Its fields, before anything was removed.
    pub(super) headers: HeaderMap,
    /// All of its head, where a predicate looks at it.
    pub(super) asked: Option<request::Parts>,
    pub(super) cookies_declared: bool,
    pub(super) version: Version,
    pub(super) at: SystemTime,
    pub(super) began: Moment,
    pub(super) finish: OutgoingHead,
    /// Of the outermost layer. Dropped with all of this.
    pub(super) edge: Edge,
    /// An outer layer is to admit the response.
    pub(super) held: bool,
    /// Conditions of the client that the service was not told of: they are evaluated here.
    pub(super) conditions: Option<HeaderMap>,
}

impl ForwardedRequest {
    pub(super) fn new(
        config: &LayerConfig,
        headers: HeaderMap,
        version: Version,
        finish: OutgoingHead,
    ) -> Self {
        let clock = config.cache.clock();
        let cookies_declared = !config.policy.cookies.is_default();
        let (at, began) = (clock.wall(), clock.now());
        Self {
            headers,
            asked: None,
            cookies_declared,
            version,
            at,
            began,
            finish,
            edge: Edge::inner(),
            held: false,
            conditions: None,
        }
    }

    /// Returns what the decision on its response needs to know.
    pub(super) fn exchange<'a>(&'a self, state: &'a RequestState, generation: Generation) -> Exchange<'a> {
        Exchange {
            key: state.key.as_ref(),
            request: &self.headers,
            asked: self.asked.as_ref(),
            facts: state.facts,
            cookies_declared: self.cookies_declared,
            request_time: self.at,
            began: self.began,
            generation,
            scopes: &state.scopes,
            hosts: &state.hosts,
        }
    }
}

/// Returns a copy of all of a request but its body.
pub(super) fn head_of<B>(request: &Request<B>) -> request::Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.version = request.version();
    parts.headers = request.headers().clone();
    parts.extensions = request.extensions().clone();
    parts
}
