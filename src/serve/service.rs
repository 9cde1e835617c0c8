//! The service of both cache layers.

use super::anonymize::Carries;
use super::carried;
use super::finish::Finish;
use super::forward::Fill;
use super::future::{ResponseFuture, pass_on};
use super::inspect::Context;
use super::miss::Way;
use super::narrow::normalize;
use super::next::Next;
use super::refresh;
use super::refuse::{is_for_no_cache, refuse, refuse_loop};
use super::shared::Shared;
use super::step::{Forward, Missed, Step};
use super::unsafe_method;
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, poll_now};
use crate::error::BoxError;
use crate::key::{CacheKey, KeyBuf, KeyRef, RequestHead};
use crate::marks::{self, Edge};
use crate::status::{CacheStatus, Detail, Reason};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Poll};
use tower::Service;
use tower::util::ServiceExt;

/// A service with a response cache before it: what [`SiteCacheLayer`](crate::SiteCacheLayer) and
/// [`RouteCacheLayer`](crate::RouteCacheLayer) make.
///
/// It is always ready, so that a hit never waits for a busy service; where a request is forwarded,
/// the service is driven to readiness inside the response future, and errors of its readiness
/// surface there. A service is never called before it is ready.
#[derive(Clone)]
pub struct ResponseCache<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> ResponseCache<S> {
    pub(crate) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }

    /// Returns the wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the wrapped service, by value.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S> fmt::Debug for ResponseCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache").field("level", &self.shared.level).finish_non_exhaustive()
    }
}

impl<S, ReqBody, B> Service<Request<ReqBody>> for ResponseCache<S>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqBody: Body + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, B>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, mut buf) = (RequestHead::from(&request), KeyBuf::new());
        match self.shared.decide(head, request.body(), &mut buf) {
            Step::Hit(stored, context, now) => {
                ResponseFuture::hit(self.shared.hit(stored, head, context, now, None, buf.as_bytes()))
            }
            Step::Forward(forward) => {
                let Some((context, parts)) = &forward.narrowed else {
                    return self.forward(request, &forward);
                };
                // It was looked up.
                self.forward_narrowed(request, forward.bypass, *context, parts, buf.key())
            }
            Step::Unsafe => self.write(request),
            Step::Miss(missed) => self.miss(request, buf.key().to_key(), missed),
        }
    }
}

// Apart from `call`, so that a hit does not carry the room for their futures about.
impl<S> ResponseCache<S> {
    #[inline(never)]
    fn write<ReqBody, B>(&self, request: Request<ReqBody>) -> ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        marks::remove_from_request(&mut parts.headers);
        let (inner, shared) = (self.inner.clone(), Arc::clone(&self.shared));
        ResponseFuture::slow(unsafe_method::forward(shared, inner, parts, body))
    }

    #[inline(never)]
    fn miss<ReqBody, B>(
        &self,
        mut request: Request<ReqBody>,
        key: CacheKey,
        missed: Missed,
    ) -> ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        marks::remove_from_request(request.headers_mut());
        let Missed { context, parts, lookup } = missed;
        let way = Way::new(&self.shared, key, context, parts, (&request).into());
        let inner = self.inner.clone();
        // Most misses wait for nothing, and so need no room for it.
        let next = match self.shared.cache.is_local() {
            true => poll_now(pin!(way.next(request.headers(), lookup))),
            false => None,
        };
        if let Some(next) = next {
            return proceed(way, inner, next, request);
        }
        let (parts, body) = request.into_parts();
        ResponseFuture::slow(async move {
            let next = way.next(&parts.headers, None).await;
            // That future has passed on what it knows.
            let answer = proceed(way, inner, next, Request::from_parts(parts, body)).await;
            (answer, AnswerDependencies::noted())
        })
    }

    #[inline(never)]
    fn forward<ReqBody, B>(
        &self,
        mut request: Request<ReqBody>,
        forward: &Forward,
    ) -> ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>> + Clone,
    {
        marks::remove_from_request(request.headers_mut());
        event!(
            reason = forward.bypass.forward.as_str(),
            detail = forward.bypass.detail.map(tracing::field::display),
            "forward"
        );
        let status = || CacheStatus::forward(forward.bypass);
        let (shared, head) = (&self.shared, RequestHead::from(&request));
        let personal = shared.policy.predicates.identity(head).is_some();
        let identified =
            forward.bypass.detail.is_some_and(Detail::is_identified) || shared.policy.identifies(head);
        let who = Context { personal, identified, ..Context::default() };
        let mut finish = Finish::new(shared, request.extensions(), status, who);
        if !forward.mark {
            finish.unmark();
        }
        if is_for_no_cache(forward.bypass.detail)
            && matches!(*head.method, Method::GET | Method::HEAD)
            && shared.wants_only_what_is_cached(head.headers, true)
        {
            return refuse(request.version(), finish);
        }
        // No layer further in stores the answer to an identified visitor.
        if forward.announce {
            let scopes = if identified { Vec::new() } else { shared.scopes((&request).into()) };
            shared.announce(request.extensions_mut(), identified, &scopes);
        }
        let (call, shared) = (self.inner.clone().oneshot(request), Arc::clone(shared));
        ResponseFuture::forward(call, finish, shared)
    }

    /// Forwards a request whose answer a layer further in may store, without what the key of this one ignores.
    #[inline(never)]
    fn forward_narrowed<ReqBody, B>(
        &self,
        mut request: Request<ReqBody>,
        bypass: Reason,
        context: Context,
        parts: &[Option<String>],
        key: KeyRef<'_>,
    ) -> ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        marks::remove_from_request(request.headers_mut());
        let (shared, head) = (&self.shared, RequestHead::from(&request));
        let (chain, shown) =
            (shared.chain(key.to_key(), head.headers), shared.shown_key(head, key.as_bytes()));
        if chain.is_loop() {
            return refuse_loop(shared, shown, context, &request);
        }
        event!(
            reason = bypass.forward.as_str(),
            detail = bypass.detail.map(tracing::field::display),
            "forward"
        );
        let identified = shared.policy.identifies(head);
        let personal = shared.policy.predicates.identity(head).is_some();
        let who = Context { personal, identified, ..Context::default() };
        let status = || CacheStatus::forward(bypass);
        let mut finish = Finish::new(shared, request.extensions(), status, who);
        finish.set_key(shown);
        let scopes = shared.scopes((&request).into());
        shared.narrow(&mut request, context, parts);
        normalize(&mut request);
        let edge = Edge::of(request.extensions_mut());
        shared.announce(request.extensions_mut(), identified, &scopes);
        // A HEAD that missed is a part of the cache, though nothing is stored for it.
        let is_noted = bypass.detail != Some(Detail::Head);
        let (call, shared) = (self.inner.clone().oneshot(request), Arc::clone(shared));
        ResponseFuture::slow(pass_on(edge, call, finish, shared, chain, is_noted))
    }
}

/// Does what a request that was not answered at once does next.
fn proceed<S, ReqBody, B>(
    way: Way,
    inner: S,
    next: Next,
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
    let (shared, context) = (&way.shared, way.context);
    match next {
        Next::Answer(stored, collapsed) => {
            let now = shared.cache.clock().now();
            ResponseFuture::hit(shared.hit(
                stored,
                (&request).into(),
                context,
                now,
                collapsed,
                way.key.as_ref().as_bytes(),
            ))
        }
        Next::Read(head, reader, reason) => {
            let now = shared.cache.clock().now();
            let hit =
                shared.hit(head, (&request).into(), context, now, Some(reason), way.key.as_ref().as_bytes());
            // What the rest of it will be made from is not known here.
            let answer = (Ok(hit.reading(reader)), AnswerDependencies::Unknown);
            ResponseFuture::slow(std::future::ready(answer))
        }
        Next::Refresh(stored, call, refresh) => {
            let now = shared.cache.clock().now();
            let hit = shared.hit(stored, (&request).into(), context, now, None, way.key.as_ref().as_bytes());
            refresh.start(way, call, inner, request, Carries::Known);
            ResponseFuture::hit(hit)
        }
        Next::Forward(status) => {
            let mut finish = Finish::new(shared, request.extensions(), || status, context);
            finish.set_key(way.shown.clone());
            shared.narrow(&mut request, context, &way.parts);
            normalize(&mut request);
            let edge = Edge::of(request.extensions_mut());
            shared.announce(request.extensions_mut(), context.identified, &way.scopes);
            let call = inner.oneshot(request);
            ResponseFuture::slow(pass_on(edge, call, finish, way.shared, way.chain, false))
        }
        Next::Refuse => {
            let status = CacheStatus::refused(Detail::OnlyIfCached);
            let mut finish = Finish::new(shared, request.extensions(), || status, context);
            finish.set_key(way.shown.clone());
            refuse(request.version(), finish)
        }
        Next::Loop => refuse_loop(shared, way.shown.clone(), context, &request),
        Next::Call(call) => {
            // Others may wait for it, or come to.
            let limit = shared.policy.carry_on.filter(|_| call.leader.is_some());
            let carried = limit.and_then(|limit| Some((limit, shared.cache.carry_permit()?)));
            let action = refresh::action(&way, &call, &inner, &request);
            let fill = Fill::new(way, call).with_action(action);
            match carried {
                Some((limit, permit)) => {
                    ResponseFuture::slow(carried::run(fill, inner, request, limit, permit))
                }
                None => ResponseFuture::slow(fill.run(inner, request)),
            }
        }
    }
}

#[expect(unused, reason = "asserts at build time that the error type of the service is kept")]
fn infallible_stays_infallible<S, B>(service: ResponseCache<S>)
where
    S: Service<Request<B>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn takes<S, B>(_: S)
    where
        S: Service<Request<B>, Error = Infallible>,
    {
    }
    takes::<_, B>(service);
}
