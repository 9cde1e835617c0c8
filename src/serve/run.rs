//! Carries out the action of a request that was not answered at once.

use super::classify::Missed;
use super::collapse::{Action, collapse};
use super::config::LayerConfig;
use super::fetch::{Fetch, run_detached, unstored_action};
use super::future::{ResponseFuture, pass_on};
use super::lookup::{Lookup, Reuse, lookup};
use super::nesting::mark_request;
use super::refuse::{refuse, refuse_loop};
use super::request::{Arrival, CarriedFields, KeyedInputs, RequestState};
use super::respond::{Answered, Hit, OutgoingHead};
use crate::body::ResponseBody;
use crate::cache::AnswerDependencies;
use crate::error::BoxError;
use crate::key::CacheKey;
use crate::marks::LayerPosition;
use crate::status::{CacheStatus, Detail};
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use std::sync::Arc;
use tower::Service;
use tower::util::ServiceExt;

/// Forwards a request that has a key, without storing the response in this layer.
fn forward_keyed<S, ReqBody, B>(
    state: RequestState,
    inner: S,
    status: CacheStatus,
    mut request: Request<ReqBody>,
) -> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (config, facts) = (&state.config, state.facts);
    let mut outgoing = OutgoingHead::new(config, (&request).into(), status, facts);
    outgoing.set_key(state.shown_key.clone());
    KeyedInputs::new(&config.policy, facts, &state.parts).strip(&mut request);
    let position = LayerPosition::of(request.extensions_mut());
    mark_request(config, request.extensions_mut(), facts.identified, Some(&state.target));
    let call = inner.oneshot(request);
    ResponseFuture::slow(pass_on(position, call, outgoing, state.config, state.chain, false))
}

/// Looks up a request in a store outside the process. A hit is answered without a [`RequestState`].
///
/// The request neither requires a new response nor is part of a dry run.
pub(in crate::serve) fn look_up_and_run<S, ReqBody, B>(
    config: Arc<LayerConfig>,
    key: CacheKey,
    missed: Missed,
    inner: S,
    request: Request<ReqBody>,
) -> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let arrival = Arrival::now(&config);
    let (head, body) = request.into_parts();
    ResponseFuture::slow(async move {
        let (facts, request) = (missed.facts, &head.headers);
        // The future may be polled long after the request arrived.
        let now = config.cache.clock().now();
        let reuse = Reuse { config: &config, request, facts, now, read: None, is_read_only: false };
        let found = match lookup(reuse, key.as_ref()).await {
            Lookup::Hit(stored) => {
                let (now, key) = (config.cache.clock().now(), key.as_ref());
                let hit = Hit::new(&config, stored, (&head).into(), facts, now, None, key.as_bytes());
                return (Ok(answer_of(&hit)), AnswerDependencies::none_added());
            }
            found => found,
        };
        let state = RequestState::of_arrival(arrival, &config, key, facts, missed.parts, (&head).into());
        // Boxed, so that the future of a hit is small.
        Box::pin(collapse_and_run(state, inner, found, head, body)).await
    })
}

/// Passes the dependencies of a hit on, and builds its response. Not inlined, so that the code of the
/// response is in the future of local hits alone.
#[inline(never)]
fn answer_of<B>(hit: &Hit) -> Response<ResponseBody<B>> {
    hit.pass_on();
    hit.response()
}

/// Collapses a request that was looked up, and carries out the resulting action.
async fn collapse_and_run<S, ReqBody, B>(
    state: RequestState,
    inner: S,
    found: Lookup,
    head: Parts,
    body: ReqBody,
) -> Answered<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let action = collapse(&state, &head.headers, Some(found)).await;
    // The future of `run` has already noted the dependencies.
    let answer = run(state, inner, action, Request::from_parts(head, body)).await;
    (answer, AnswerDependencies::none_added())
}

/// Carries out the action of a request: answers it, forwards it, or fetches.
pub(in crate::serve) fn run<S, ReqBody, B>(
    state: RequestState,
    inner: S,
    action: Action,
    request: Request<ReqBody>,
) -> ResponseFuture<S, ReqBody, B>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (config, facts) = (&state.config, state.facts);
    match action {
        Action::Answer(stored, collapsed) => {
            let now = config.cache.clock().now();
            let key = state.key.as_ref().as_bytes();
            ResponseFuture::hit(Hit::new(config, stored, (&request).into(), facts, now, collapsed, key))
        }
        Action::Read(head, reader, reason) => {
            let now = config.cache.clock().now();
            let key = state.key.as_ref().as_bytes();
            let hit = Hit::new(config, head, (&request).into(), facts, now, Some(reason), key);
            // The rest of the body may be made from values that are not known yet, so the
            // dependencies are unknown.
            let answer = (Ok(hit.response_with_reader(reader)), AnswerDependencies::Unknown);
            ResponseFuture::slow(std::future::ready(answer))
        }
        Action::Refresh(stored, plan, refresh) => {
            let now = config.cache.clock().now();
            let key = state.key.as_ref().as_bytes();
            let hit = Hit::new(config, stored, (&request).into(), facts, now, None, key);
            refresh.start(state, plan, inner, request, CarriedFields::Harmless);
            ResponseFuture::hit(hit)
        }
        Action::Forward(status) => forward_keyed(state, inner, status, request),
        Action::Refuse => {
            let status = CacheStatus::refused(Detail::OnlyIfCached);
            let mut outgoing = OutgoingHead::new(config, (&request).into(), status, facts);
            outgoing.set_key(state.shown_key.clone());
            refuse(request.version(), outgoing)
        }
        Action::Loop => refuse_loop(config, state.shown_key.clone(), facts, &request),
        Action::Fetch(plan) => {
            // Only a fetch that leads a flight is completed after a disconnect: followers may need
            // its response.
            let limit = config.policy.complete_after_disconnect.filter(|_| plan.leader.is_some());
            let detached = limit.and_then(|limit| Some((limit, config.cache.detach_permit()?)));
            let unstored = unstored_action(&state, &plan, &inner, &request);
            let fetch = Fetch::new(state, plan).with_action(unstored);
            match detached {
                Some((limit, permit)) => {
                    ResponseFuture::slow(run_detached(fetch, inner, request, limit, permit))
                }
                None => ResponseFuture::slow(fetch.run(inner, request)),
            }
        }
    }
}
