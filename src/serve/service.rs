//! The service of both cache layers, and what it shares between requests.

use super::future::{Finish, ResponseFuture};
use super::inspect::{Bypass, Context, Inspected};
use super::lookup::Lookup;
use super::miss::Miss;
use super::unsafe_method;
use crate::body::ResponseBody;
use crate::cache::{Cache, poll_now};
use crate::error::BoxError;
use crate::flight::Pass;
use crate::key::{KeyBuf, KeyError, write_key};
use crate::policy::{Policy, Ttl};
use crate::status::{CacheStatus, ForwardReason};
use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, HeaderName, Request, Response, Uri};
use http_body::Body;
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{self, Poll};
use tower::Service;
use tower::util::ServiceExt;

/// Which of the two layers this is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Site,
    Route(Ttl),
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Route(_) => "route",
        }
    }
}

/// What a layer and all its services share; never changed.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) cache: Cache,
    pub(super) policy: Policy,
    pub(super) level: Level,
    /// The parts of the key that are the same for all requests.
    prefix: Box<[u8]>,
    /// Names the prefix within this process.
    place: u64,
}

/// A mark on a request: cache layers further out want to know whether another one handled it.
/// It carries the places in the key of all of them.
#[derive(Debug, Clone)]
pub(super) struct OuterLayer(Arc<[u64]>);

/// A mark on a response: a cache layer further in handled it, so nobody else may share it.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandledWithin;

impl Shared {
    pub(crate) fn new(cache: Cache, policy: Policy, level: Level) -> Arc<Self> {
        let mut buf = KeyBuf::new();
        buf.part(cache.namespace().as_bytes());
        buf.part(&cache.version().to_le_bytes());
        buf.part(level.name().as_bytes());
        buf.part(policy.name.as_deref().unwrap_or_default().as_bytes());
        buf.raw(&policy.key.fingerprint());
        // Layers that let different requests or lifetimes through answer with nothing of each other's.
        buf.part(format!("{level:?} {:?}", policy.sharing).as_bytes());
        let mut credentials: Vec<_> = policy.credentials.iter().map(HeaderName::as_str).collect();
        credentials.sort_unstable();
        buf.part(credentials.join(",").as_bytes());
        let place = buf.key().process_hash();
        Arc::new(Self { cache, policy, level, prefix: buf.as_bytes().into(), place })
    }

    /// Marks a request that this layer passes on.
    pub(super) fn announce(&self, request: &mut Extensions) {
        let outer = request.get().map_or(&[][..], |OuterLayer(places)| places);
        let places = outer.iter().copied().chain([self.place]).collect();
        request.insert(OuterLayer(places));
    }

    /// Returns the same with another policy.
    pub(crate) fn with_policy(&self, policy: Policy) -> Arc<Self> {
        Self::new(self.cache.clone(), policy, self.level)
    }

    /// Writes the key of a request into a buffer, which is too large to be moved about.
    fn key(&self, parts: &Parts, inspected: &Inspected<'_>, buf: &mut KeyBuf) -> Result<(), Bypass> {
        buf.raw(&self.prefix);
        let forwarded = inspected.forwarded.iter().zip(0..);
        let forwarded = forwarded.filter_map(|(value, at)| value.map(|value| (at, value)));
        let (policy, uri, host) = (&self.policy.key, public_uri(parts), inspected.host);
        write_key(buf, policy, uri, host, forwarded, parts).map_err(|error| match error {
            KeyError::Host => Bypass::because("host"),
            KeyError::TooLong => Bypass::because("key-length"),
        })
    }
}

/// Returns the URI as the client sent it: a nested axum router strips the prefix of the one it passes on.
pub(super) fn public_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    &parts.uri
}

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
        let (parts, body) = request.into_parts();
        let mut buf = KeyBuf::new();
        match self.decide(&parts, &body, &mut buf) {
            Step::Hit(response) => ResponseFuture::hit(response),
            Step::Forward(bypass) => self.forward(parts, body, bypass),
            Step::Unsafe => {
                let (inner, shared) = (self.inner.clone(), Arc::clone(&self.shared));
                ResponseFuture::slow(unsafe_method::forward(shared, inner, parts, body))
            }
            Step::Miss(context, lookup) => {
                let miss = Miss::new(&self.shared, self.inner.clone(), buf.key().to_key(), context);
                ResponseFuture::slow(miss.run(parts, body, lookup))
            }
        }
    }
}

/// What is to be done with a request.
enum Step<B> {
    Hit(Response<ResponseBody<B>>),
    Forward(Forward),
    Unsafe,
    /// The key is in the buffer.
    Miss(Context, Option<Lookup>),
}

/// A request that goes to the service without more ado.
#[derive(Clone, Copy)]
struct Forward {
    bypass: Bypass,
    /// Where a layer further in is to answer, it has to know that there is one further out.
    announce: bool,
    /// Whether a layer further out is told that this one handled the request.
    mark: bool,
}

impl<S> ResponseCache<S> {
    fn decide<B, ReqBody: Body>(&self, parts: &Parts, body: &ReqBody, buf: &mut KeyBuf) -> Step<B> {
        let shared = &*self.shared;
        let forward = |bypass| Step::Forward(Forward { bypass, announce: true, mark: true });
        // Two layers with one place in the key would answer with each other's responses, past
        // whatever stands between them. The outer one does it all.
        if parts.extensions.get().is_some_and(|OuterLayer(places)| places.contains(&shared.place)) {
            let bypass = Bypass::because("same-name");
            return Step::Forward(Forward { bypass, announce: false, mark: false });
        }
        let inspected = match shared.inspect(&parts.method, &parts.headers, body) {
            Ok(inspected) => inspected,
            Err(bypass) if bypass.reason == ForwardReason::Method && !parts.method.is_safe() => {
                return Step::Unsafe;
            }
            Err(bypass) => return forward(bypass),
        };
        if let Err(bypass) = shared.key(parts, &inspected, buf) {
            return forward(bypass);
        }
        let context = inspected.context;
        if context.directives && shared.forbids_storing(parts) {
            return forward(Bypass { reason: ForwardReason::Request, detail: Some("no-store") });
        }
        if !shared.cache.is_local() {
            return Step::Miss(context, None);
        }
        let (key, now) = (buf.key(), shared.cache.clock().now());
        if let Some(response) = shared.plain_hit(parts, key, context, now) {
            return Step::Hit(shared.hit_response(&response, parts, context, now, false));
        }
        let lookup = poll_now(pin!(shared.lookup(parts, key, context, now)));
        match lookup {
            Some(Lookup::Hit(response)) => {
                Step::Hit(shared.hit_response(&response, parts, context, now, false))
            }
            // A HEAD can't fill the cache, so there is nothing to wait for.
            Some(Lookup::Miss { reason, .. }) if context.head => forward(Bypass { reason, detail: None }),
            _ => match shared.cache.passes().get(key, now) {
                Some(Pass::HandledWithin) => {
                    let bypass = Bypass::because("handled-within");
                    Step::Forward(Forward { bypass, announce: true, mark: true })
                }
                _ => Step::Miss(context, lookup),
            },
        }
    }

    fn forward<ReqBody, B>(
        &self,
        mut parts: Parts,
        body: ReqBody,
        forward: Forward,
    ) -> ResponseFuture<S, ReqBody, B>
    where
        S: Service<Request<ReqBody>> + Clone,
    {
        let Bypass { reason, detail } = forward.bypass;
        let status = CacheStatus::forward(reason).detail(detail);
        let finish = Finish::new(&self.shared, &parts, status);
        let finish = if forward.mark { finish } else { finish.unmarked() };
        if forward.announce {
            self.shared.announce(&mut parts.extensions);
        }
        ResponseFuture::forward(self.inner.clone().oneshot(Request::from_parts(parts, body)), finish)
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
