//! What is kept of a request while the service has it.

use crate::clock::Moment;
use crate::entry::Generation;
use crate::marks::Edge;
use crate::serve::admission::Exchange;
use crate::serve::config::LayerConfig;
use crate::serve::request::RequestState;
use crate::serve::respond::OutgoingHead;
use http::{HeaderMap, Request, Version, request};
use std::time::SystemTime;

/// What is kept of the request while the service has it.
pub(in crate::serve) struct ForwardedRequest {
    /// Its fields, before anything was removed.
    pub(in crate::serve) headers: HeaderMap,
    /// All of its head, where a predicate looks at it.
    pub(in crate::serve) asked: Option<request::Parts>,
    pub(in crate::serve) cookies_declared: bool,
    pub(in crate::serve) version: Version,
    pub(in crate::serve) at: SystemTime,
    pub(in crate::serve) began: Moment,
    pub(in crate::serve) outgoing: OutgoingHead,
    /// Of the outermost layer. Dropped with all of this.
    pub(in crate::serve) edge: Edge,
    /// An outer layer is to admit the response.
    pub(in crate::serve) held: bool,
    /// Conditions of the client that the service was not told of: they are evaluated here.
    pub(in crate::serve) conditions: Option<HeaderMap>,
}

impl ForwardedRequest {
    pub(in crate::serve) fn new(
        config: &LayerConfig,
        headers: HeaderMap,
        version: Version,
        outgoing: OutgoingHead,
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
            outgoing,
            edge: Edge::inner(),
            held: false,
            conditions: None,
        }
    }

    /// Returns what the decision on its response needs to know.
    pub(in crate::serve) fn exchange<'a>(
        &'a self,
        state: &'a RequestState,
        generation: Generation,
    ) -> Exchange<'a> {
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
pub(in crate::serve) fn head_of<B>(request: &Request<B>) -> request::Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.version = request.version();
    parts.headers = request.headers().clone();
    parts.extensions = request.extensions().clone();
    parts
}
