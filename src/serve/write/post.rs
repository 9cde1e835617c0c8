//! Stores a response to a POST that represents the target of the POST, for later GET requests (RFC
//! 9110 section 9.3.3).

use super::reference::Base;
use super::written::WriteTargets;
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, Tracker, UnstoredAction};
use crate::entry::{Generation, Scope};
use crate::error::BoxError;
use crate::flight::Chain;
use crate::key::{KeyBuf, RequestHead};
use crate::marks::OuterContext;
use crate::policy::Sharing;
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::freshness::{ExplicitLifetime, explicit_lifetime};
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

/// The state of a POST whose response may be stored. It lasts from before the request is forwarded
/// until the response is handled.
pub(in crate::serve) struct CacheablePost {
    fetch: Fetch,
    forwarded: ForwardedRequest,
    /// The generation before the request is forwarded. After the response, the generation before
    /// the response's own invalidations.
    before: Generation,
    /// Notes the dependencies of the response.
    tracker: Tracker,
}

impl CacheablePost {
    /// Returns the state of a POST, or `None` if its response is not storable. The response is
    /// storable only if all of these conditions hold:
    ///
    /// - This layer is the outermost one, and its policy is `Policy::rfc9111`.
    /// - A GET with the same fields is anonymous, and does not bypass the cache.
    /// - The key covers all inputs of that GET.
    pub(in crate::serve) async fn new(
        config: &Arc<LayerConfig>,
        request: &Parts,
        outgoing: &OutgoingHead,
    ) -> Option<Self> {
        let of_proxy = config.is_enabled && config.policy.sharing == Sharing::Rfc9111;
        if !of_proxy || request.method != Method::POST || request.extensions.get::<OuterContext>().is_some() {
            return None;
        }
        if config.policy.predicates.bypasses(request.into()) {
            return None;
        }
        // A GET has no fields that frame or announce content.
        let mut headers = request.headers.clone();
        [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT].iter().for_each(|name| drop(headers.remove(name)));
        let head = RequestHead { method: &Method::GET, headers: &headers, ..RequestHead::from(request) };
        let mut inspected = InspectedRequest::default();
        inspect(&config.policy, head, true, None, &mut inspected).ok()?;
        inspected.parts = config.policy.key.parts(head);
        let (facts, mut buf) = (inspected.facts, KeyBuf::new());
        // An identified request may get a personalized response.
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
        // Loop detection compares all fields of the POST, including those that `headers` lacks.
        let state = RequestState { chain: chain(config, state.key.clone(), &request.headers), ..state };
        let before = config.cache.generation().await.ok()?;
        let mut outgoing = outgoing.clone();
        outgoing.set_key(state.shown_key.clone());
        let request_head = config.policy.predicates.need_request_head().then(|| request.clone());
        // Has all fields of the POST: a response that nominates `Content-Type` must not match a GET
        // that lacks the field.
        let forwarded = ForwardedRequest {
            request_head,
            ..ForwardedRequest::new(config, request.headers.clone(), request.version, outgoing)
        };
        let plan = FetchPlan::new(Some(before), ForwardReason::Method.into(), None);
        let status = CacheStatus::forward(ForwardReason::Method);
        let tracker = Tracker::for_chain(&state.chain);
        let fetch = Fetch {
            state,
            plan,
            status,
            background: None,
            is_detached: false,
            unstored_action: UnstoredAction::Remove,
        };
        Some(Self { fetch, forwarded, before, tracker })
    }

    /// Returns the [`Chain`] of the request.
    pub(in crate::serve) fn chain(&self) -> &Arc<Chain> {
        &self.fetch.state.chain
    }

    /// Returns a 508 in place of the service's response, if the request is part of a loop.
    pub(in crate::serve) fn loop_response<B>(&self, request: &Parts) -> Option<Response<ResponseBody<B>>> {
        let state = &self.fetch.state;
        let outgoing = || loop_head(&state.config, state.shown_key.clone(), state.facts, request.into());
        state.chain.is_loop().then(|| empty(StatusCode::LOOP_DETECTED, request.version, &outgoing()))
    }

    /// Drives the future of the service, and notes the dependencies of the response.
    pub(super) async fn track<F: Future>(&mut self, call: F) -> F::Output {
        let answer = self.tracker.track(call).await;
        self.tracker.pass_on();
        answer
    }

    /// Returns the scopes of the response, or `None` if it is not storable.
    ///
    /// The response must be a 200 with an explicit lifetime, without `Set-Cookie`, and with valid
    /// tags. Its `Content-Location` must be the target (RFC 9110 section 9.3.3).
    pub(super) fn scopes_of<B>(
        &self,
        response: &Response<B>,
        written: &WriteTargets,
    ) -> Option<Box<[Scope]>> {
        let (target, host) = (&written.public.uri, written.public.authority.as_ref());
        let headers = response.headers();
        let directives = ResponseDirectives::for_targets(headers, &self.fetch.state.config.policy.targets);
        let stated = explicit_lifetime(&directives, headers, self.forwarded.sent_at);
        // The content of a POST can identify a visitor, e.g. in a login form. So a response that
        // sets a cookie is not stored under any policy.
        if response.status() != StatusCode::OK
            || headers.contains_key(SET_COOKIE)
            || !matches!(stated, ExplicitLifetime::For(_))
            || !names_target(headers, target, host)
        {
            return None;
        }
        let state = &self.fetch.state;
        let tags = tags(&state.config.policy, headers, response.extensions().get()).ok()?;
        Some(scopes_of(&state.target.scopes, &state.target.hosts, &tags))
    }

    /// Returns the POST if no invalidation has covered the scopes of its response since the POST
    /// began. Also returns `None` if there are no scopes, or if the store fails. Call it before the
    /// invalidations that the response causes.
    pub(super) async fn if_still_valid(mut self, scopes: Option<Box<[Scope]>>) -> Option<Self> {
        let (config, scopes) = (&self.fetch.state.config, scopes?);
        // Read before the check: `admit` compares a later generation with this one, and so notices
        // an invalidation during or after the check.
        let now = config.cache.generation().await.ok()?;
        let validity = config.cache.validity(self.before, &scopes, &[]).await;
        self.before = now;
        (validity.ok()? == Validity::Valid).then_some(self)
    }

    /// Returns the response, and stores it if the generation advanced by exactly `steps`: the
    /// number of invalidations that the response caused.
    ///
    /// After any other invalidation, the response may be outdated.
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
            return self.fetch.receive(response, self.forwarded, None, self.tracker).into_answer();
        }
        let mut response = response.map(|body| ResponseBody::forwarded(body).in_chain(self.chain()));
        self.forwarded.outgoing.apply_to_answer(&mut response);
        // The response may be older than a concurrent invalidation.
        (response, AnswerDependencies::Unknown)
    }
}

/// Returns `true` if `Content-Location` names the target itself, with its query
/// (RFC 9110 section 8.7).
fn names_target(headers: &HeaderMap, target: &Uri, host: Option<&Authority>) -> bool {
    // Several lines are ambiguous.
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
    use super::names_target;
    use http::header::CONTENT_LOCATION;
    use http::uri::Authority;
    use http::{HeaderMap, Uri};

    #[test]
    fn content_location_must_name_the_exact_target() {
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
            assert_eq!(names_target(&headers, &target, Some(&host)), same, "{location} {target}");
        }
        assert!(!names_target(&HeaderMap::new(), &Uri::from_static("/"), Some(&host)));
    }
}
