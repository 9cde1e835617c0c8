//! The call of the wrapped service for a request that may fill the cache.

use super::action::FetchPlan;
use super::failure::within;
use super::forwarded_request::{ForwardedRequest, head_of};
use super::future::Answered;
use super::held;
use super::keyed_inputs::normalize;
use super::outgoing_head::OutgoingHead;
use super::record::Received;
use super::request_state::RequestState;
use super::revalidate::{self, into_not_modified};
use super::unsafe_method::{Changed, what_changed};
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, RefreshOutcome, Tracker, UnstoredAction};
use crate::error::BoxError;
use crate::marks::{Edge, OuterContext, is_outermost};
use crate::status::CacheStatus;
use bytes::Bytes;
use http::header::ETAG;
use http::{Extensions, Request, Response, StatusCode};
use http_body::Body;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use tower::{Service, ServiceExt};

/// A fill: everything that has to outlive the call.
pub(super) struct Fetch {
    pub(super) state: RequestState,
    pub(super) call: FetchPlan,
    pub(super) status: CacheStatus,
    /// Where nobody waits for its answer, so that there is no use in another one: what it comes to.
    pub(super) background: Option<RefreshOutcome>,
    /// It runs in a task of its own, where nobody notes what a page is made from.
    pub(super) is_detached: bool,
    /// What becomes of what is stored, if the answer is not.
    pub(super) action: UnstoredAction,
}

impl Fetch {
    pub(super) fn new(state: RequestState, call: FetchPlan) -> Self {
        event!(
            reason = call.reason.forward.as_str(),
            detail = call.reason.detail.map(tracing::field::display),
            stored = call.stored.is_some(),
            "miss"
        );
        let status = CacheStatus::forward(call.reason);
        let status = if call.has_waited { status.collapsed(false) } else { status };
        Self { state, call, status, background: None, is_detached: false, action: UnstoredAction::Forget }
    }

    pub(super) fn detached(self) -> Self {
        Self { is_detached: true, ..self }
    }

    pub(super) fn with_action(self, action: UnstoredAction) -> Self {
        Self { action, ..self }
    }

    pub(super) fn in_background(self, settled: RefreshOutcome) -> Self {
        Self { background: Some(settled), ..self }
    }

    /// Calls the service, and stores and shares what it answers if that may be.
    pub(super) async fn run<S, ReqBody, B>(
        mut self,
        inner: S,
        mut request: Request<ReqBody>,
    ) -> Answered<B, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut sent = self.prepare(&mut request);
        let known = self.known_by_head().await;
        let mut tracker = Tracker::of(&self.state.chain);
        let answer = {
            // Pinned where it is made: each future that it were moved into would have room for it twice.
            let call = pin!(inner.oneshot(request));
            let call = pin!(tracker.track(call));
            // Declared after the call, so that it is dropped before: what the call held is given up, not refused.
            let edge = std::mem::replace(&mut sent.edge, Edge::inner());
            let answer = within(self.state.config.policy.origin_timeout, call).await;
            if answer.is_some() {
                sent.edge = edge;
            }
            answer.map(|answer| {
                answer.map(|mut response| {
                    held::receive(&mut response, &self.state.config.policy.credentials);
                    response
                })
            })
        };
        let noted = |tracker: &Tracker| AnswerDependencies::noted().and(tracker.peek());
        let has_failed = self.has_failed(&answer);
        if has_failed && let Some(stale) = self.stale_instead(&sent).await {
            let failure = answer.and_then(Result::ok).map(|response| response.status());
            let inherited = AnswerDependencies::from(&*stale).and(tracker.peek());
            return (Ok(self.answer_with(stale, &sent, failure, Extensions::new())), inherited);
        }
        let mut response = match answer {
            // Nobody waits for it, and it shall not take the place of what is there.
            Some(Ok(response)) if has_failed && self.background.is_some() => {
                return (Ok(self.not_stored(response, &sent)), noted(&tracker));
            }
            Some(Ok(response)) => {
                if let Some(what) = what_changed(&response)
                    && Changed::new(&self.state.config.cache, what).invalidate().await.is_err()
                {
                    sent.finish.mark_invalidation_failed();
                }
                response
            }
            Some(Err(error)) => {
                self.failed();
                return (Err(error), noted(&tracker));
            }
            None => return (Ok(self.timed_out(&sent)), noted(&tracker)),
        };
        if response.status() == StatusCode::NOT_MODIFIED
            && let Some(stale) = self.call.stale.take()
        {
            let validated = response.into_parts().0;
            // Boxed, so that the calls that end otherwise do not carry the room for it about.
            let (response, inherited) =
                Box::pin(self.freshened(&stale, validated, sent, tracker.take())).await;
            return (Ok(response), inherited);
        }
        // Boxed, since a HEAD is rare.
        if let Some(update) = known.and_then(|known| self.learn(known, &response, &sent, tracker.peek())) {
            match self.hold(&sent, &mut response, None) {
                Some(verdict) => update.store_if_admitted(&verdict, &self.state.config.cache),
                None => Box::pin(update.store(&self.state.config.cache)).await,
            }
        }
        let conditions = sent.conditions.take();
        let outdated = self.outdated(response.status());
        let Received { mut response, tag, inherited, forecast } =
            self.received(response, sent, outdated, tracker);
        // What of the body is ready is stored at once, however slowly its client reads.
        let ahead = poll_fn(|cx| Poll::Ready(response.body_mut().read_ahead(cx))).await;
        if let Some((forecast, said)) = forecast {
            let has_ended = !response.body().is_recording();
            forecast.correct(&mut response, said, ahead.clone(), has_ended);
        }
        let inherited = inherited.and(ahead);
        if let Some(tag) = tag.get() {
            // A header section that is full goes without.
            let _ = response.headers_mut().try_insert(ETAG, tag.to_value());
        }
        // And those who wait read the rest while it arrives.
        let response = response.map(ResponseBody::share);
        let response = match conditions {
            Some(conditions) => into_not_modified(response, &conditions),
            None => response,
        };
        (Ok(response), inherited)
    }

    /// Makes a request one whose answer may be shared.
    fn prepare<ReqBody>(&mut self, request: &mut Request<ReqBody>) -> ForwardedRequest {
        let (config, facts) = (&*self.state.config, self.state.facts);
        let (headers, version) = (request.headers().clone(), request.version());
        let mut finish = OutgoingHead::new(config, request.extensions(), || self.status, facts);
        finish.set_key(self.state.shown.clone());
        // A background refresh has no outer layers that could admit its response.
        let held = self.background.is_none() && !is_outermost(request.extensions());
        let (finish, edge) = match held {
            true => (finish, Edge::inner()),
            false => (finish.outermost(), Edge::outermost(request.extensions_mut())),
        };
        let asked = config.policy.predicates.look_at_responses().then(|| head_of(request));
        let by_outer =
            request.extensions().get::<OuterContext>().is_some_and(|outer| outer.cookies.is_some());
        let cookies_declared = by_outer || !config.policy.cookies.is_default();
        config.strip_unkeyed(request, facts, &self.state.parts);
        normalize(request);
        // Preconditions of the client's that the service has to evaluate, and a range, leave no room
        // for conditions of the cache's.
        if facts.conditional || facts.range || self.is_mismatched() {
            self.call.stale = None;
        }
        let mut conditions = None;
        if self.call.leader.is_some() || self.call.stale.is_some() || config.policy.allowed.is_some() {
            // Others have no such copy: they need the complete response.
            conditions = facts.has_copy.then(|| revalidate::take_conditions(request.headers_mut()));
        }
        if let Some(stale) = &self.call.stale {
            revalidate::ask_about(stale, request.headers_mut());
        }
        config.announce(request.extensions_mut(), facts.identified, &self.state.scopes);
        ForwardedRequest {
            asked,
            cookies_declared,
            edge,
            held,
            conditions,
            ..ForwardedRequest::new(config, headers, version, finish)
        }
    }
}
