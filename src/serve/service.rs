//! The service of both cache layers, and what it shares between requests.

use super::carried;
use super::fields::FORWARDED_HOSTS;
use super::forward::Fill;
use super::future::{Finish, ResponseFuture};
use super::inspect::{Bypass, Context, Inspected};
use super::mark::{PREFIX, Place};
use super::miss::{Next, Waited, Way};
use super::step::{Forward, Missed, Step};
use super::unsafe_method;
use crate::body::ResponseBody;
use crate::cache::{Cache, poll_now};
use crate::error::BoxError;
use crate::key::{CacheKey, KeyBuf, KeyError, RequestHead, write_key};
use crate::policy::{Policy, Ttl};
use crate::status::CacheStatus;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body::Body;
use sha2::{Digest, Sha256};
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
    /// A digest of the parts of the key that are the same for all requests: the layer's place in it.
    prefix: Place,
    /// The mark of the outermost layer.
    alone: Arc<[Place]>,
}

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
        for (kind, names) in policy.cookies.parts() {
            buf.part(kind);
            buf.length(names.len());
            names.iter().for_each(|name| buf.part(name.as_bytes()));
        }
        // What a fill may have besides, and whose it is.
        buf.part(format!("{:?}", policy.allowed).as_bytes());
        buf.optional(policy.predicates.identity_name().map(str::as_bytes));
        // The same in every process, and short, since it is hashed and compared with every key.
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&Sha256::digest(buf.as_bytes())[..PREFIX]);
        Arc::new(Self { cache, policy, level, prefix, alone: Arc::new([prefix]) })
    }

    /// Returns the layer's place in the key.
    pub(super) fn place(&self) -> &Place {
        &self.prefix
    }

    /// Returns the places of a request that no other cache layer has marked.
    pub(super) fn alone(&self) -> &Arc<[Place]> {
        &self.alone
    }

    /// Returns the same with another policy.
    pub(crate) fn with_policy(&self, policy: Policy) -> Arc<Self> {
        Self::new(self.cache.clone(), policy, self.level)
    }

    /// Writes the key of a request into a buffer, which is too large to be moved about.
    pub(super) fn key(
        &self,
        request: RequestHead<'_>,
        inspected: &Inspected<'_>,
        buf: &mut KeyBuf,
    ) -> Result<(), Bypass> {
        buf.raw(&self.prefix);
        if !self.policy.key.hosts.is_empty() {
            // What frameworks build URLs from, if a proxy says so.
            let hosts = FORWARDED_HOSTS.iter().filter_map(|&at| inspected.forwarded[at]);
            for host in hosts.map(HeaderValue::as_bytes) {
                if !self.policy.key.hosts.iter().any(|known| known.as_bytes() == host) {
                    return Err(Bypass::because("unknown-host"));
                }
            }
        }
        let forwarded = if inspected.is_forwarded { &inspected.forwarded[..] } else { &[] };
        let forwarded = forwarded.iter().zip(0..);
        let forwarded = forwarded.filter_map(|(value, at)| value.map(|value| (at, value)));
        let (policy, uri, host) = (&self.policy.key, public_uri(request), inspected.host);
        write_key(buf, policy, uri, host, forwarded, request, &inspected.parts).map_err(
            |error| match error {
                KeyError::Host => Bypass::because("host"),
                KeyError::UnknownHost => Bypass::because("unknown-host"),
                KeyError::TooLong => Bypass::because("key-length"),
            },
        )?;
        for at in 0..self.policy.cookies.keyed().len() {
            buf.optional(inspected.cookies.get(at).copied().flatten());
        }
        if self.policy.predicates.identity_name().is_some() {
            // A digest: keys of a shared store are read by others than their owners.
            let digest = inspected.identity.as_ref().map(|identity| Sha256::digest(identity.as_bytes()));
            buf.optional(digest.as_deref());
        }
        if buf.is_too_long() { Err(Bypass::because("key-length")) } else { Ok(()) }
    }
}

/// Returns the URI as the client sent it: a nested axum router strips the prefix of the one it passes on.
pub(super) fn public_uri(request: RequestHead<'_>) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    request.uri
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
        let (head, mut buf) = (RequestHead::from(&request), KeyBuf::new());
        match self.shared.decide(head, request.body(), &mut buf) {
            Step::Hit(stored, context, now) => {
                ResponseFuture::hit(self.shared.hit(stored, head, context, now, false))
            }
            Step::Forward(forward) => self.forward(request, &forward),
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
        B: Send + 'static,
    {
        let (parts, body) = request.into_parts();
        let (inner, shared) = (self.inner.clone(), Arc::clone(&self.shared));
        ResponseFuture::slow(unsafe_method::forward(shared, inner, parts, body))
    }

    #[inline(never)]
    fn miss<ReqBody, B>(
        &self,
        request: Request<ReqBody>,
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
            proceed(way, inner, next, Request::from_parts(parts, body)).await
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
        let Bypass { reason, detail } = forward.bypass;
        let status = CacheStatus::forward(reason).detail(detail);
        let (shared, head) = (&self.shared, RequestHead::from(&request));
        let personal = shared.policy.predicates.identity(head).is_some();
        let identified = shared.policy.identifies(head);
        let who = Context { personal, identified, ..Context::default() };
        let finish = Finish::new(shared, request.extensions(), status, who);
        let finish = if forward.mark { finish } else { finish.unmarked() };
        if let Some((context, parts)) = &forward.narrowed {
            shared.narrow(&mut request, *context, parts);
        }
        if forward.announce {
            shared.announce(request.extensions_mut(), identified);
        }
        ResponseFuture::forward(self.inner.clone().oneshot(request), finish)
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
        Next::Answer(stored, waited) => {
            let (now, waited) = (shared.cache.clock().now(), waited == Waited::Yes);
            ResponseFuture::hit(shared.hit(stored, (&request).into(), context, now, waited))
        }
        Next::Read(head, reader) => {
            let now = shared.cache.clock().now();
            let hit = shared.hit(head, (&request).into(), context, now, true);
            let response = hit.reading(reader);
            ResponseFuture::slow(std::future::ready(Ok(response)))
        }
        Next::Refresh(stored, call, refresh) => {
            let now = shared.cache.clock().now();
            let hit = shared.hit(stored, (&request).into(), context, now, false);
            refresh.start(way, call, inner, request);
            ResponseFuture::hit(hit)
        }
        Next::Forward(status) => {
            let finish = Finish::new(shared, request.extensions(), status, context);
            shared.narrow(&mut request, context, &way.parts);
            shared.announce(request.extensions_mut(), context.identified);
            ResponseFuture::forward(inner.oneshot(request), finish)
        }
        Next::Call(call) => {
            // Others may wait for it, or come to.
            let limit = shared.policy.carry_on.filter(|_| call.leader.is_some());
            let carried = limit.and_then(|limit| Some((limit, shared.cache.carry_permit()?)));
            let fill = Fill::new(way, call);
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
