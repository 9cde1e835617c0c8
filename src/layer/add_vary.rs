//! The layer that adds field names to `Vary`.

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

/// Adds field names to `Vary` (RFC 9110 section 12.5.5).
///
/// Use it if a response depends on request fields that its handler does not list in `Vary`. It
/// corresponds to Django's `vary_on_headers` and `vary_on_cookie`.
///
/// A name that `Vary` already has, in upper or lower case, is not added again. If `Vary` or the
/// added names contain `*`, the result is `*` alone.
///
/// A cache layer itself adds the request fields in its key to `Vary`, such as those of
/// [`vary_on_headers`]. These fields need no `AddVaryLayer`.
///
/// # Where the layer belongs
/// Place it inside a cache layer, around the layers and handlers whose response depends on the
/// fields.
///
/// Outside a cache layer, the names are for clients only, with one exception. The inner cache layer
/// does not store the response if both of these conditions hold:
/// - the names include `Cookie`, a credential field or `*`,
/// - another layer of this crate is outside this one.
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
///
/// [`vary_on_headers`]: crate::policy::PolicyBuilder::vary_on_headers
#[doc(alias = "vary_on_headers")]
#[doc(alias = "vary_on_cookie")]
#[derive(Debug, Clone)]
#[must_use]
pub struct AddVaryLayer(Arc<VaryPatch>);

impl AddVaryLayer {
    /// Creates a layer that adds these names.
    ///
    /// # Errors
    /// Returns an error if `names` is empty, or if a name is neither a valid field name nor `*`.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(VaryPatch::new(names)?)))
    }

    /// Creates a layer that adds `Cookie`.
    pub fn on_cookie() -> Self {
        Self(Arc::new(VaryPatch(vec!["Cookie".to_owned()])))
    }
}

/// The field names to add to `Vary`.
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
    const IS_SEEN_BY_CACHES: bool = true;

    fn apply<B>(&self, response: &mut Response<B>, _: bool) {
        self.write(response);
    }
}

/// Adds field names to the `Vary` of one response, as an [`AddVaryLayer`] does.
///
/// This function corresponds to Django's `patch_vary_headers`.
///
/// # Errors
/// Returns an error if `names` is empty, or if a name is neither a valid field name nor `*`. After
/// an error, the response is unchanged.
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

/// The service that [`AddVaryLayer`] creates.
///
/// The service is ready if the inner service is ready.
#[derive(Debug, Clone)]
pub struct AddVary<S> {
    inner: S,
    patch: Arc<VaryPatch>,
}

impl<S> AddVary<S> {
    /// Wraps a service, as the layer of [`AddVaryLayer::new`] does.
    ///
    /// # Errors
    /// Returns the errors of [`AddVaryLayer::new`].
    pub fn new<N: AsRef<str>>(inner: S, names: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        Ok(AddVaryLayer::new(names)?.layer(inner))
    }

    inner_service_accessors!();
}

impl AddVary<()> {
    /// Creates the layer, as [`AddVaryLayer::new`] does.
    ///
    /// # Errors
    /// Returns the errors of [`AddVaryLayer::new`].
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
    /// The response future of [`AddVary`].
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
