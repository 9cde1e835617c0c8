//! What a request does that was not answered at once.

use super::action::Action;
use super::anonymize::Carries;
use super::detached;
use super::fetch::Fetch;
use super::future::{ResponseFuture, pass_on};
use super::keyed_inputs::normalize;
use super::outgoing_head::OutgoingHead;
use super::refresh;
use super::refuse::{refuse, refuse_loop};
use super::request_state::RequestState;
use crate::cache::AnswerDependencies;
use crate::error::BoxError;
use crate::marks::Edge;
use crate::status::{CacheStatus, Detail};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;
use tower::util::ServiceExt;

/// Forwards a request with a key, whose response is not stored here.
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
    let mut finish = OutgoingHead::new(config, request.extensions(), || status, facts);
    finish.set_key(state.shown.clone());
    config.strip_unkeyed(&mut request, facts, &state.parts);
    normalize(&mut request);
    let edge = Edge::of(request.extensions_mut());
    config.announce(request.extensions_mut(), facts.identified, &state.scopes);
    let call = inner.oneshot(request);
    ResponseFuture::slow(pass_on(edge, call, finish, state.config, state.chain, false))
}

/// Does what a request that was not answered at once does next.
pub(super) fn proceed<S, ReqBody, B>(
    state: RequestState,
    inner: S,
    next: Action,
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
    match next {
        Action::Answer(stored, collapsed) => {
            let now = config.cache.clock().now();
            ResponseFuture::hit(config.hit(
                stored,
                (&request).into(),
                facts,
                now,
                collapsed,
                state.key.as_ref().as_bytes(),
            ))
        }
        Action::Read(head, reader, reason) => {
            let now = config.cache.clock().now();
            let hit =
                config.hit(head, (&request).into(), facts, now, Some(reason), state.key.as_ref().as_bytes());
            // What the rest of it will be made from is not known here.
            let answer = (Ok(hit.reading(reader)), AnswerDependencies::Unknown);
            ResponseFuture::slow(std::future::ready(answer))
        }
        Action::Refresh(stored, call, refresh) => {
            let now = config.cache.clock().now();
            let hit = config.hit(stored, (&request).into(), facts, now, None, state.key.as_ref().as_bytes());
            refresh.start(state, call, inner, request, Carries::Known);
            ResponseFuture::hit(hit)
        }
        Action::Forward(status) => forward_keyed(state, inner, status, request),
        Action::Refuse => {
            let status = CacheStatus::refused(Detail::OnlyIfCached);
            let mut finish = OutgoingHead::new(config, request.extensions(), || status, facts);
            finish.set_key(state.shown.clone());
            refuse(request.version(), finish)
        }
        Action::Loop => refuse_loop(config, state.shown.clone(), facts, &request),
        Action::Fetch(call) => {
            // Others may wait for it, or come to.
            let limit = config.policy.carry_on.filter(|_| call.leader.is_some());
            let detached = limit.and_then(|limit| Some((limit, config.cache.carry_permit()?)));
            let action = refresh::action(&state, &call, &inner, &request);
            let fetch = Fetch::new(state, call).with_action(action);
            match detached {
                Some((limit, permit)) => {
                    ResponseFuture::slow(detached::run(fetch, inner, request, limit, permit))
                }
                None => ResponseFuture::slow(fetch.run(inner, request)),
            }
        }
    }
}
