//! The layer that keeps responses out of every cache.

use super::patch::{Patch, PatchFuture};
use crate::policy::CacheHints;
use crate::rules::control::CacheControl;
use crate::rules::targeted::remove_targeted;
use http::header::{CACHE_CONTROL, EXPIRES};
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Forbids every cache to store the responses, both the caches of this crate and other caches.
///
/// Use it on routes with personalized pages. It corresponds to Django's `never_cache`.
///
/// For the caches of this crate, the layer has the effect of [`CacheHints::never`]. For other
/// caches, it changes the header fields:
/// - It adds `max-age=0, no-cache, no-store, must-revalidate, private` to `Cache-Control`.
/// - It sets `Expires` to a past date.
/// - It removes targeted fields, which would outrank `Cache-Control` (RFC 9213 section 2.2):
///   `*-Cache-Control`, `Surrogate-Control`, `Edge-Control` and `X-Accel-Expires`.
///
/// The layer does not remove a response that is already stored. It does not make requests bypass an
/// outer cache layer, which still removes the cookies that it
/// [ignores](crate::policy::PolicyBuilder::ignore_cookies).
///
/// # Where the layer belongs
/// Place it inside every cache layer. A cache layer inside this one may store the response, unless
/// another layer of this crate is outside both.
///
/// # Example
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_response_cache::NeverCacheLayer;
///
/// let app: Router = Router::new().route("/account", get(|| async { "mine" }).layer(NeverCacheLayer::new()));
/// # }
/// ```
#[doc(alias = "no-store")]
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct NeverCacheLayer(());

impl NeverCacheLayer {
    /// Creates the layer.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Forbids every cache to store a response.
#[derive(Debug)]
struct NeverCachePatch;

/// Forbids every cache to store one response, as a [`NeverCacheLayer`] does.
///
/// This function corresponds to Django's `add_never_cache_headers`. For the caches of this crate,
/// it adds an extension to the response. An outer layer that builds a new response may lose the
/// extension. If there is such a layer, also call [`CacheHints::add_to_response`], which adds a
/// header field.
///
/// # Example
/// ```
/// use http::{Response, header::CACHE_CONTROL};
/// use tower_response_cache::cache_headers::add_never_cache;
///
/// let mut response = Response::builder().header(CACHE_CONTROL, "public, max-age=60").body("mine")?;
/// add_never_cache(&mut response);
/// assert_eq!(response.headers()[CACHE_CONTROL], "max-age=0, no-cache, no-store, must-revalidate, private");
/// # Ok::<_, http::Error>(())
/// ```
#[doc(alias = "no-store")]
pub fn add_never_cache<B>(response: &mut Response<B>) {
    NeverCachePatch.apply(response, false);
}

impl Patch for NeverCachePatch {
    fn apply<B>(&self, response: &mut Response<B>, _: bool) {
        // The caches of this crate obey the hint even if an outer layer changes the header fields.
        CacheHints::new().never().add_to(response.extensions_mut());
        let headers = response.headers_mut();
        // Targeted fields outrank `Cache-Control` (RFC 9213 section 2.2).
        remove_targeted(headers, |_, _| false);
        never().patch(headers, &CACHE_CONTROL);
        // The epoch is in the past by every client's clock. If the header map is full, the field is
        // omitted.
        headers.remove(EXPIRES);
        let _ = headers.try_insert(EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
    }
}

fn never() -> CacheControl {
    let zero = std::time::Duration::ZERO;
    CacheControl::new().max_age(zero).no_cache().no_store().must_revalidate().private()
}

impl<S> Layer<S> for NeverCacheLayer {
    type Service = NeverCache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        NeverCache { inner }
    }
}

/// The service that [`NeverCacheLayer`] creates.
///
/// The service is ready if the inner service is ready.
#[derive(Debug, Clone)]
pub struct NeverCache<S> {
    inner: S,
}

impl<S> NeverCache<S> {
    /// Wraps a service, as [`NeverCacheLayer`] does.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner }
    }

    inner_service_accessors!();
}

impl NeverCache<()> {
    /// Creates the layer.
    pub fn layer() -> NeverCacheLayer {
        NeverCacheLayer::new()
    }
}

impl<S, ReqBody, B> Service<Request<ReqBody>> for NeverCache<S>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = NeverCacheFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        NeverCacheFuture { patched: PatchFuture::call(&mut self.inner, request, NeverCachePatch) }
    }
}

pin_project! {
    /// The response future of [`NeverCache`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct NeverCacheFuture<F> {
        #[pin]
        patched: PatchFuture<F, NeverCachePatch>,
    }
}

impl<F, B, E> Future for NeverCacheFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().patched.poll(cx)
    }
}
