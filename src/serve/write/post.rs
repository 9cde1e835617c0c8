//! A response to a POST that says what is at its own target now (RFC 9110 section 9.3.3): kept for a GET to come.

use super::reference::Base;
use super::written::Written;
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, Tracker, UnstoredAction};
use crate::entry::{Generation, Scope};
use crate::error::BoxError;
use crate::flight::Chain;
use crate::key::{KeyBuf, RequestHead};
use crate::marks::OuterContext;
use crate::policy::Sharing;
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::freshness::{ExplicitLifetime, stated_lifetime};
use crate::serve::admission::{scopes_of, tags};
use crate::serve::config::LayerConfig;
use crate::serve::fetch::{Fetch, FetchPlan, ForwardedRequest};
use crate::serve::request::{InspectedRequest, KeyedInputs, RequestState, chain, inspect, write_request_key};
use crate::serve::respond::{OutgoingHead, empty, loop_head};
use crate::status::{CacheStatus, ForwardReason};
use crate::store::Validity;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_LOCATION, EXPECT, SET_COOKIE, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body::Body;
use std::sync::Arc;

/// A POST whose response may be kept: all that is known before it is sent on.
pub(in crate::serve) struct CacheablePost {
    fetch: Fetch,
    forwarded: ForwardedRequest,
    /// What was current before the service was called; later, before what it has changed is invalidated.
    before: Generation,
    /// What the response is made from.
    tracker: Tracker,
}

impl CacheablePost {
    /// Returns what is to be known of a request, if its response may be kept at all: where the word of the origin
    /// counts alone, and a GET with the same fields, from nobody in particular, would be looked up and sent on as it
    /// is.
    pub(in crate::serve) async fn new(
        config: &Arc<LayerConfig>,
        request: &Parts,
        outgoing: &OutgoingHead,
    ) -> Option<Self> {
        let of_proxy = config.is_enabled && config.policy.sharing == Sharing::Rfc9111;
        if !of_proxy || request.method != Method::POST || request.extensions.get::<OuterContext>().is_some() {
            return None;
        }
        if config.policy.predicates.skips(request.into()) {
            return None;
        }
        // What frames the content says nothing of the request.
        let mut headers = request.headers.clone();
        [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT].iter().for_each(|name| drop(headers.remove(name)));
        let head = RequestHead { method: &Method::GET, headers: &headers, ..RequestHead::from(request) };
        let mut inspected = InspectedRequest::default();
        inspect(&config.policy, head, true, None, &mut inspected).ok()?;
        inspected.parts = config.policy.key.parts(head);
        let (facts, mut buf) = (inspected.facts, KeyBuf::new());
        // Who is known may be answered with what is theirs.
        let says_more = facts.selects()
            || facts.identified
            || (facts.directives && config.policy.forbids_storing(&headers));
        if says_more || write_request_key(config, head, &inspected, &mut buf).is_err() {
            return None;
        }
        let parts = inspected.parts;
        if KeyedInputs::new(&config.policy, facts, &parts).would_strip_any_of(request) {
            return None;
        }
        let state = RequestState::new(config, buf.key().to_key(), facts, parts, head);
        // The length of the content tells one POST from another.
        let state = RequestState { chain: chain(config, state.key.clone(), &request.headers), ..state };
        let before = config.cache.generation().await.ok()?;
        let mut outgoing = outgoing.clone();
        outgoing.set_key(state.shown.clone());
        let asked = config.policy.predicates.look_at_responses().then(|| request.clone());
        // All of its fields: none that a GET lacks may have selected what it is answered with.
        let forwarded = ForwardedRequest {
            asked,
            ..ForwardedRequest::new(config, request.headers.clone(), request.version, outgoing)
        };
        let plan = FetchPlan::new(Some(before), ForwardReason::Method.into(), None);
        let status = CacheStatus::forward(ForwardReason::Method);
        let tracker = Tracker::of(&state.chain);
        let fetch = Fetch {
            state,
            plan,
            status,
            background: None,
            is_detached: false,
            action: UnstoredAction::Forget,
        };
        Some(Self { fetch, forwarded, before, tracker })
    }

    /// Returns the request, among those that led to it.
    pub(in crate::serve) fn chain(&self) -> &Arc<Chain> {
        &self.fetch.state.chain
    }

    /// Answers in place of the service, if the request is a loop.
    pub(in crate::serve) fn refused_loop<B>(&self, request: &Parts) -> Option<Response<ResponseBody<B>>> {
        let state = &self.fetch.state;
        let outgoing = || loop_head(&state.config, state.shown.clone(), state.facts, &request.extensions);
        state.chain.is_loop().then(|| empty(StatusCode::LOOP_DETECTED, request.version, &outgoing()))
    }

    /// Drives the call, and notes what the response is made from.
    pub(super) async fn track<F: Future>(&mut self, call: F) -> F::Output {
        let answer = self.tracker.track(call).await;
        self.tracker.pass_on();
        answer
    }

    /// Returns all that names a response, if it is what a GET of the same target would get: it says so, and for how
    /// long.
    pub(super) fn scopes_of<B>(&self, response: &Response<B>, written: &Written) -> Option<Box<[Scope]>> {
        let (target, host) = (&written.public.uri, written.public.authority.as_ref());
        let headers = response.headers();
        let directives = ResponseDirectives::for_targets(headers, &self.fetch.state.config.policy.targets);
        let stated = stated_lifetime(&directives, headers, self.forwarded.at);
        // Who it is that logs in, is in the content: their cookie is for nobody else, whatever the policy.
        if response.status() != StatusCode::OK
            || headers.contains_key(SET_COOKIE)
            || !matches!(stated, ExplicitLifetime::For(_))
            || !is_of_target(headers, target, host)
        {
            return None;
        }
        let state = &self.fetch.state;
        let tags = tags(&state.config.policy, headers, response.extensions().get()).ok()?;
        Some(scopes_of(&state.scopes, &state.hosts, &tags))
    }

    /// Returns what may be kept as far as is known before the response itself invalidates anything: not where what
    /// it is about was invalidated by somebody else meanwhile.
    pub(super) async fn still_valid(mut self, scopes: Option<Box<[Scope]>>) -> Option<Self> {
        let (config, scopes) = (&self.fetch.state.config, scopes?);
        // In this order: what is newer than it shows as a step that nobody here has taken.
        let now = config.cache.generation().await.ok()?;
        let validity = config.cache.validity(self.before, &scopes, &[]).await;
        self.before = now;
        (validity.ok()? == Validity::Valid).then_some(self)
    }

    /// Passes the response on, and keeps it, unless anything was invalidated but what it has invalidated itself, in
    /// so many steps: then it may be older than that.
    pub(in crate::serve) async fn admit<B>(
        mut self,
        response: Response<B>,
        steps: u64,
    ) -> (Response<ResponseBody<B>>, AnswerDependencies)
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let now = self.fetch.state.config.cache.generation().await.ok();
        let is_expected = |now: Generation| {
            now.incarnation() == self.before.incarnation() && now.counter() == self.before.counter() + steps
        };
        if now.is_some_and(is_expected) {
            self.fetch.plan.generation = now;
            let received = self.fetch.received(response, self.forwarded, None, self.tracker);
            return (received.response, received.inherited);
        }
        let mut response = response.map(|body| ResponseBody::forwarded(body).in_chain(self.chain()));
        self.forwarded.outgoing.apply_to_answer(&mut response);
        // It may be older than what was invalidated meanwhile.
        (response, AnswerDependencies::Unknown)
    }
}

/// Returns `true` if `Content-Location` names the target itself, query and all (RFC 9110 section 8.7).
fn is_of_target(headers: &HeaderMap, target: &Uri, host: Option<&Authority>) -> bool {
    // Two say nothing.
    if headers.get_all(CONTENT_LOCATION).iter().count() != 1 {
        return false;
    }
    let Some(reference) = headers.get(CONTENT_LOCATION) else { return false };
    let hosts = host.iter().map(|host| host.as_str()).collect();
    let base = Base { sharing: Sharing::Rfc9111, scheme: target.scheme_str(), hosts, path: target.path() };
    let path = base.path_of(reference);
    let reference = reference.to_str().unwrap_or_default();
    let query = reference.split('#').next().and_then(|reference| reference.split_once('?'));
    path.as_deref() == Some(target.path()) && query.map(|(_, query)| query) == target.query()
}

#[cfg(test)]
mod tests {
    use super::is_of_target;
    use http::header::CONTENT_LOCATION;
    use http::uri::Authority;
    use http::{HeaderMap, Uri};

    #[test]
    fn only_the_very_target_is_the_target() {
        let host = Authority::from_static("shop.example");
        for (location, target, same) in [
            ("/a", "/a", true),
            ("/a?x=1", "/a?x=1", true),
            ("http://shop.example/a?x=1", "/a?x=1", true),
            ("a", "/a", true),
            ("/a", "/a?x=1", false),
            ("/a?x=1", "/a", false),
            ("/a?x=2", "/a?x=1", false),
            ("/b", "/a", false),
            ("http://other.example/a", "/a", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LOCATION, location.parse().expect("a value"));
            let target: Uri = target.parse().expect("a target");
            assert_eq!(is_of_target(&headers, &target, Some(&host)), same, "{location} {target}");
        }
        assert!(!is_of_target(&HeaderMap::new(), &Uri::from_static("/"), Some(&host)));
    }
}
