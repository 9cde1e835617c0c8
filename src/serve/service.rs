//! The service of both cache layers.

use super::classify::{Decision, Forward, Missed, classify};
use super::collapse::collapse;
use super::config::{LayerConfig, Level, may_store_per_identity};
use super::future::{ResponseFuture, pass_on};
use super::hit_for_miss::{UnstoredCall, unstored_reason};
use super::nesting::mark_request;
use super::refuse::{refuse, refuse_loop, refuses_bypass};
use super::request::{
    KeyedInputs, RequestFacts, RequestState, chain, identifies, public_uri, shown_key, target_names,
};
use super::respond::{Hit, OutgoingHead};
use super::run::{look_up_and_run, run};
use super::write;
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, Cache};
use crate::error::BoxError;
use crate::key::{CacheKey, ForwardedFields, KeyBuf, KeyRef, RequestHead};
use crate::marks::{self, LayerPosition};
use crate::policy::Ttl;
use crate::status::{CacheStatus, Detail, Reason};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Poll};
use tower::Service;
use tower::util::ServiceExt;

/// A service with a response cache in front of it, made by
/// [`SiteCacheLayer`](crate::response_cache::SiteCacheLayer) and
/// [`RouteCacheLayer`](crate::response_cache::RouteCacheLayer).
///
/// Use [`site`](Self::site) or [`route`](Self::route) to wrap a service without a layer, with the
/// policy of the [`Cache`]. Only the layers can set another policy.
///
/// A `ResponseCache` is always ready, so a hit never waits for a busy wrapped service. On a miss,
/// the response future waits until a clone of the wrapped service is ready. If that fails, the
/// future returns the error. The wrapped service is never called before it is ready.
///
/// # Example
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use tower::{ServiceExt, service_fn};
/// use tower_response_cache::response_cache::ResponseCache;
/// use tower_response_cache::{Cache, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let slow = service_fn(|_: http::Request<String>| async {
///     Ok::<_, Infallible>(http::Response::new(http_body_util::Full::from("42")))
/// });
/// let service = ResponseCache::route(slow, &cache, Duration::from_secs(60));
///
/// let response = service.oneshot(http::Request::new(String::new())).await?;
/// assert_eq!(response.status(), 200);
/// # Ok(()) }
/// ```
#[doc(alias = "page cache")]
#[doc(alias = "output cache")]
#[derive(Clone)]
pub struct ResponseCache<S> {
    inner: S,
    config: Arc<LayerConfig>,
}

impl<S> ResponseCache<S> {
    pub(crate) fn new(inner: S, config: Arc<LayerConfig>) -> Self {
        Self { inner, config }
    }

    /// Wraps a service in a site-wide cache, like a
    /// [`SiteCacheLayer`](crate::response_cache::SiteCacheLayer).
    pub fn site(inner: S, cache: &Cache) -> Self {
        Self::new(inner, LayerConfig::new(cache.clone(), cache.policy().clone(), Level::Site))
    }

    /// Wraps a service in a cache for one route, like a
    /// [`RouteCacheLayer`](crate::response_cache::RouteCacheLayer).
    ///
    /// `ttl` is the freshness lifetime of stored 200 responses. It replaces the lifetime that a
    /// response states. Only [`CacheHints::ttl`](crate::policy::CacheHints::ttl) outranks it. A
    /// response that states that it is stale (`max-age=0`) remains stale under `ttl`.
    pub fn route(inner: S, cache: &Cache, ttl: impl Into<Ttl>) -> Self {
        Self::new(inner, LayerConfig::new(cache.clone(), cache.policy().clone(), Level::Route(ttl.into())))
    }

    /// Returns the wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the wrapped service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the wrapped service, by value.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S> fmt::Debug for ResponseCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache").field("level", &self.config.level).finish_non_exhaustive()
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
        match self.config.cache.has_switches() {
            false => self.answer(request),
            true => self.answer_switched(request),
        }
    }
}

impl<S> ResponseCache<S> {
    /// Answers a request from the cache, or forwards it.
    #[inline]
    fn answer<ReqBody, B>(&self, request: Request<ReqBody>) -> ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Body + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, mut buf) = (RequestHead::from(&request), KeyBuf::new());
        match classify(&self.config, head, request.body(), &mut buf) {
            Decision::Hit(stored, facts, now) => {
                ResponseFuture::hit(Hit::new(&self.config, stored, head, facts, now, None, buf.as_bytes()))
            }
            Decision::Forward(forward) => {
                let Some((facts, parts)) = &forward.stripped else {
                    return self.forward(request, &forward);
                };
                // `stripped` is present only after a look-up, so the buffer holds the key.
                self.forward_stripped(request, forward.bypass, *facts, parts, buf.key())
            }
            Decision::Unsafe => self.write(request),
            Decision::Miss(missed) => self.miss(request, buf.key().to_key(), missed),
        }
    }
}

// These methods are separate from `answer`, so that a hit needs no stack space for their futures.
impl<S> ResponseCache<S> {
    /// Answers a request while a switch of the cache is set.
    #[cold]
    #[inline(never)]
    fn answer_switched<ReqBody, B>(&self, request: Request<ReqBody>) -> ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Body + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let path = public_uri((&request).into()).path();
        match self.config.switched(path) {
            Some(config) => Self { inner: self.inner.clone(), config }.answer(request),
            None => self.answer(request),
        }
    }

    /// Forwards a request with an unsafe method, and invalidates afterwards.
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
        let (inner, config) = (self.inner.clone(), Arc::clone(&self.config));
        ResponseFuture::slow(write::forward(config, inner, parts, body))
    }

    /// Collapses a request that missed, and carries out the resulting action. Over a local store,
    /// the action is decided in this call if nothing has to be awaited. In all other cases, the
    /// returned future decides the action.
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
        if !self.config.cache.is_local() && missed.lookup.is_none() && !missed.facts.needs_current {
            return look_up_and_run(Arc::clone(&self.config), key, missed, self.inner.clone(), request);
        }
        if let Some(reason) = unstored_reason(&self.config, &missed, (&request).into()) {
            return self.forward_unstored(request, key, &missed, reason);
        }
        let Missed { facts, parts, lookup, .. } = missed;
        let state = RequestState::new(&self.config, key, facts, parts, (&request).into());
        let inner = self.inner.clone();
        // Over a local store, the first poll decides most actions, without a boxed future. If the
        // first poll has to wait, the boxed future below starts over with a new look-up.
        let action = match self.config.cache.is_local() {
            true => pin!(collapse(&state, request.headers(), lookup)).now_or_never(),
            false => None,
        };
        if let Some(action) = action {
            return run(state, inner, action, request);
        }
        let (parts, body) = request.into_parts();
        ResponseFuture::slow(async move {
            let action = collapse(&state, &parts.headers, None).await;
            // The future of `run` has already noted the dependencies.
            let answer = run(state, inner, action, Request::from_parts(parts, body)).await;
            (answer, AnswerDependencies::none_added())
        })
    }

    /// Forwards a request for a key whose last response forbade storing.
    #[inline(never)]
    fn forward_unstored<ReqBody, B>(
        &self,
        mut request: Request<ReqBody>,
        key: CacheKey,
        missed: &Missed,
        reason: Reason,
    ) -> ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>> + Clone,
    {
        let (config, facts) = (&self.config, missed.facts);
        match UnstoredCall::prepare(config, key, facts, &missed.parts, reason, &mut request) {
            Ok((position, call)) => {
                ResponseFuture::unstored(self.inner.clone().oneshot(request), position, call)
            }
            Err(shown) => refuse_loop(config, shown, facts, &request),
        }
    }

    /// Forwards a request without a look-up. Answers `only-if-cached` with 504 if no inner layer
    /// may answer either.
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
        let status = CacheStatus::forward(forward.bypass);
        let (config, head) = (&self.config, RequestHead::from(&request));
        let personal = config.policy.predicates.identity(head).is_some();
        let identified =
            forward.bypass.detail.is_some_and(Detail::is_identified) || identifies(&config.policy, head);
        let who = RequestFacts { personal, identified, ..RequestFacts::default() };
        let mut outgoing = OutgoingHead::new(config, head, status, who);
        if !forward.marks_response {
            outgoing.leave_to_outer();
        }
        if refuses_bypass(config, head, forward.bypass.detail) {
            return refuse(request.version(), outgoing);
        }
        if forward.marks_request {
            // Inner layers use the scopes for the responses that they store. They store responses
            // to identified requests only per identity, if at all.
            let needs_scopes = !identified || may_store_per_identity();
            let target = needs_scopes.then(|| {
                let forwarded = ForwardedFields::of(request.headers(), &config.policy.key.ignored);
                target_names(config, (&request).into(), forwarded)
            });
            mark_request(config, request.extensions_mut(), identified, target.as_ref());
        }
        let (call, config) = (self.inner.clone().oneshot(request), Arc::clone(config));
        ResponseFuture::forward(call, outgoing, config)
    }

    /// Strips a request, since an inner layer may store the response. Then forwards the request.
    #[inline(never)]
    fn forward_stripped<ReqBody, B>(
        &self,
        mut request: Request<ReqBody>,
        bypass: Reason,
        facts: RequestFacts,
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
        let (config, head) = (&self.config, RequestHead::from(&request));
        let (chain, shown) =
            (chain(config, key.to_key(), head.headers), shown_key(config, head, key.as_bytes()));
        if chain.is_loop() {
            return refuse_loop(config, shown, facts, &request);
        }
        let identified = identifies(&config.policy, head);
        let personal = config.policy.predicates.identity(head).is_some();
        let who = RequestFacts { personal, identified, ..RequestFacts::default() };
        let status = CacheStatus::forward(bypass);
        let mut outgoing = OutgoingHead::new(config, head, status, who);
        outgoing.set_key(shown);
        let target = target_names(config, (&request).into(), facts.forwarded);
        KeyedInputs::new(&config.policy, facts, parts).strip(&mut request);
        let position = LayerPosition::of(request.extensions_mut());
        mark_request(config, request.extensions_mut(), identified, Some(&target));
        // An inner layer notes the dependencies of the response that it handles. The dependencies
        // of the response to a HEAD that missed count as unknown: no layer notes them.
        let is_noted = bypass.detail != Some(Detail::Head);
        let (call, config) = (self.inner.clone().oneshot(request), Arc::clone(config));
        ResponseFuture::slow(pass_on(position, call, outgoing, config, chain, is_noted))
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
