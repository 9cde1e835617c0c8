//! The layer that adds names to `Vary`.

use super::patch::{Patch, PatchFuture};
use crate::error::{ConfigError, ConfigErrorKind};
use crate::rules::patch;
use http::{HeaderName, Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Adds names to `Vary`: what Django's `vary_on_headers` and `vary_on_cookie` do.
///
/// Each name is added once, whatever its case; where there is a `*`, it stands for all.
///
/// # Where it belongs
/// Inside of a cache layer, around what makes the response depend on those fields. A cache layer emits the fields that
/// it is keyed by itself. Under an outer layer of
/// this crate, an `AddVaryLayer` outside of a cache layer that names `Cookie` or a credential field keeps that cache layer
/// from storing the response.
///
/// # Example
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_response_cache::cache_headers::AddVaryLayer;
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }).layer(AddVaryLayer::new(["Accept-Language", "X-Plan"])?))
///     .route("/cart", get(|| async { "empty" }).layer(AddVaryLayer::on_cookie()));
/// # }
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct AddVaryLayer(Arc<VaryPatch>);

impl AddVaryLayer {
    /// Creates a layer that adds these names.
    ///
    /// # Errors
    /// If one of them is no field name (nor `*`), or there is none.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(VaryPatch::new(names)?)))
    }

    /// Creates a layer that adds `Cookie`.
    pub fn on_cookie() -> Self {
        Self(Arc::new(VaryPatch(vec!["Cookie".to_owned()])))
    }
}

/// The names that are added.
#[derive(Debug)]
struct VaryPatch(Vec<String>);

impl VaryPatch {
    fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        let names: Vec<_> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let wrong = names.iter().find(|name| HeaderName::from_bytes(name.as_bytes()).is_err());
        match wrong {
            Some(name) => Err(ConfigError::new(ConfigErrorKind::InvalidFieldName, name)),
            None if names.is_empty() => Err(ConfigError::new(ConfigErrorKind::InvalidFieldName, "")),
            None => Ok(Self(names)),
        }
    }

    fn write<B>(&self, response: &mut Response<B>) {
        patch::patch_vary(response.headers_mut(), &self.0);
    }
}

impl Patch for Arc<VaryPatch> {
    const IS_FOR_CACHES: bool = true;

    fn apply<B>(&self, response: &mut Response<B>, _: bool) {
        self.write(response);
    }
}

/// Adds names to the `Vary` of one response, as an [`AddVaryLayer`] does: what Django's `patch_vary_headers` does.
///
/// # Errors
/// If one of them is no field name (nor `*`), or there is none. The response stays as it is.
///
/// # Example
/// ```
/// use http::{Response, header::{ACCEPT_LANGUAGE, VARY}};
/// use tower_response_cache::cache_headers::patch_vary;
///
/// let mut response = Response::builder().header(VARY, "Cookie").body("bonjour")?;
/// patch_vary(&mut response, [ACCEPT_LANGUAGE])?;
/// assert_eq!(response.headers()[VARY], "Cookie, accept-language");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn patch_vary<B, N: AsRef<str>>(
    response: &mut Response<B>,
    names: impl IntoIterator<Item = N>,
) -> Result<(), ConfigError> {
    VaryPatch::new(names)?.write(response);
    Ok(())
}

impl<S> Layer<S> for AddVaryLayer {
    type Service = AddVary<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AddVary { inner, patch: Arc::clone(&self.0) }
    }
}

/// The service that [`AddVaryLayer`] makes. It is ready when the wrapped one is.
#[derive(Debug, Clone)]
pub struct AddVary<S> {
    inner: S,
    patch: Arc<VaryPatch>,
}

impl<S> AddVary<S> {
    /// Wraps a service, as the layer that [`AddVaryLayer::new`] creates does.
    ///
    /// # Errors
    /// Those of [`AddVaryLayer::new`].
    pub fn new<N: AsRef<str>>(inner: S, names: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        Ok(AddVaryLayer::new(names)?.layer(inner))
    }

    inner_service_accessors!();
}

impl AddVary<()> {
    /// Creates the layer, as [`AddVaryLayer::new`] does.
    ///
    /// # Errors
    /// Those of [`AddVaryLayer::new`].
    pub fn layer<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<AddVaryLayer, ConfigError> {
        AddVaryLayer::new(names)
    }
}

impl<S, ReqBody, B> Service<Request<ReqBody>> for AddVary<S>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = AddVaryFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        AddVaryFuture { patched: PatchFuture::call(&mut self.inner, request, Arc::clone(&self.patch)) }
    }
}

pin_project! {
    /// The future of an [`AddVary`] service.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct AddVaryFuture<F> {
        #[pin]
        patched: PatchFuture<F, Arc<VaryPatch>>,
    }
}

impl<F, B, E> Future for AddVaryFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().patched.poll(cx)
    }
}
