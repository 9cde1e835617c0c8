//! Data about a request that the fetch keeps while the service runs.

use crate::clock::Moment;
use crate::entry::Generation;
use crate::marks::LayerPosition;
use crate::serve::admission::Exchange;
use crate::serve::config::LayerConfig;
use crate::serve::request::RequestState;
use crate::serve::respond::OutgoingHead;
use http::{HeaderMap, Request, Version, request};
use std::time::SystemTime;

/// Data about a request that the fetch keeps while the service runs.
pub(in crate::serve) struct ForwardedRequest {
    /// The request header fields before any is stripped.
    pub(in crate::serve) headers: HeaderMap,
    /// The whole request head, if a predicate needs it.
    pub(in crate::serve) request_head: Option<request::Parts>,
    /// `true` if this layer or an outer one declares cookies.
    pub(in crate::serve) cookies_declared: bool,
    pub(in crate::serve) version: Version,
    /// The wall-clock time at which the request was forwarded.
    pub(in crate::serve) sent_at: SystemTime,
    /// The same time on the clock of the cache, for freshness lifetimes and ages.
    pub(in crate::serve) began: Moment,
    pub(in crate::serve) outgoing: OutgoingHead,
    /// The role of this layer for the request: the outermost layer, or an inner one. If the
    /// outermost layer drops this value, the undecided admissions of inner layers are abandoned.
    pub(in crate::serve) position: LayerPosition,
    /// `true` if an outer layer must admit the response before it is stored.
    pub(in crate::serve) held: bool,
    /// Conditions of the client that were removed from the request. The cache evaluates them.
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
        let (sent_at, began) = (clock.wall(), clock.now());
        Self {
            headers,
            request_head: None,
            cookies_declared,
            version,
            sent_at,
            began,
            outgoing,
            position: LayerPosition::inner(),
            held: false,
            conditions: None,
        }
    }

    /// Returns the [`Exchange`]: the input of the function that decides whether the response is
    /// stored.
    pub(in crate::serve) fn exchange<'a>(
        &'a self,
        state: &'a RequestState,
        generation: Generation,
    ) -> Exchange<'a> {
        Exchange {
            key: state.key.as_ref(),
            request: &self.headers,
            request_head: self.request_head.as_ref(),
            facts: state.facts,
            cookies_declared: self.cookies_declared,
            request_time: self.sent_at,
            began: self.began,
            generation,
            target: &state.target,
        }
    }
}

/// Returns a copy of a request without its body.
pub(in crate::serve) fn head_of<B>(request: &Request<B>) -> request::Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.version = request.version();
    parts.headers = request.headers().clone();
    parts.extensions = request.extensions().clone();
    parts
}
