//! The layer that writes `Cache-Control`.

use super::patch::{Patch, PatchFuture};
use crate::error::{ConfigError, ConfigErrorKind};
use crate::marks::{FromIdentified, Identified};
use crate::policy::CacheHints;
use crate::policy::request_fields::PersonalRule;
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::control::CacheControl;
use http::header::CACHE_CONTROL;
use http::{HeaderName, Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Writes `Cache-Control` directives, next to those that a response has: what Django's `cache_control` does.
///
/// If two directives conflict, the stricter wins: the shorter duration; `private` over `public` and `s-maxage`. Field
/// lists of `private` and `no-cache` are united; a directive without a list is stricter. To replace the field, see
/// [`replacing`](Self::replacing).
/// A `no-store` that is there stays, and so does what a [`NeverCacheLayer`](crate::cache_headers::NeverCacheLayer) has marked. To these
/// and to errors (4xx and 5xx) only what restricts is written, so that none is kept for a page's lifetime. A personal response gets
/// neither `public` nor `s-maxage`: one that is [`Identified`](crate::response_cache::Identified), sets a cookie, carries a field that is
/// named like a credential, or has `Vary: *`; and one to a request with a credential field, or that
/// another cache layer or an outer [`AnonymousOnlyLayer`](crate::anonymous_only::AnonymousOnlyLayer) has identified or found an undeclared
/// cookie in.
///
/// # Where it belongs
/// Inside of a cache layer the directives count for that one too, outside of it only for clients.
///
/// # Example
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use std::time::Duration;
/// use tower_response_cache::cache_headers::{CacheControl, SetCacheControlLayer};
///
/// let hour = Duration::from_secs(3600);
/// let public = SetCacheControlLayer::new(CacheControl::new().public().max_age(hour))?;
/// let app: Router = Router::new().route("/", get(|| async { "for everybody" }).layer(public));
/// # }
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct SetCacheControlLayer(Arc<CacheControlPatch>);

impl SetCacheControlLayer {
    /// Creates a layer that writes `Cache-Control`.
    ///
    /// # Errors
    /// If there is none, or two of the directives contradict each other, as `public` and `private` do.
    pub fn new(control: CacheControl) -> Result<Self, ConfigError> {
        Self::targeting(CACHE_CONTROL, control)
    }

    /// Creates a layer that writes `Cache-Control` in place of what a response has: for a framework's default, say, that
    /// is stricter than the page.
    ///
    /// It merges like [`new`](Self::new) if the response has `no-store`, is an error or personal, or has the mark of a
    /// [`NeverCacheLayer`](crate::cache_headers::NeverCacheLayer).
    ///
    /// # Errors
    /// If there is no directive, or two of them contradict each other.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::cache_headers::{CacheControl, SetCacheControlLayer};
    ///
    /// let hour = Duration::from_secs(3600);
    /// let layer = SetCacheControlLayer::replacing(CacheControl::new().public().max_age(hour))?;
    /// # Ok::<_, tower_response_cache::error::ConfigError>(())
    /// ```
    pub fn replacing(control: CacheControl) -> Result<Self, ConfigError> {
        Self::writing(CACHE_CONTROL, control, true)
    }

    /// Creates a layer that writes a targeted field (RFC 9213) instead: `CDN-Cache-Control`, say. One that is
    /// there with members that `Cache-Control` could not have stays as it is. Only what restricts is written if the
    /// response is personal, or has `no-store` or `private` in `Cache-Control`: the field would outrank that.
    ///
    /// # Errors
    /// If there is no directive, two of them contradict each other, or an extension directive has a name or value that a
    /// structured field can't have.
    pub fn targeting(field: HeaderName, control: CacheControl) -> Result<Self, ConfigError> {
        Self::writing(field, control, false)
    }

    fn writing(field: HeaderName, control: CacheControl, replaces: bool) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(CacheControlPatch::new(field, control, replaces)?)))
    }
}

/// Writes directives into the `Cache-Control` of one response, next to those that are there, as a
/// [`SetCacheControlLayer`] does: what Django's `patch_cache_control` does.
///
/// It does not see the request. Mark a response for one visitor as [`Identified`] before, so that it gets neither
/// `public` nor `s-maxage`.
///
/// # Errors
/// If there is no directive, or two of them contradict each other, as `public` and `private` do. The response stays as it
/// is.
///
/// # Example
/// ```
/// use http::{Response, header::CACHE_CONTROL};
/// use std::time::Duration;
/// use tower_response_cache::cache_headers::{CacheControl, patch_cache_control};
///
/// let mut response = Response::builder().header(CACHE_CONTROL, "private, max-age=60").body("hello")?;
/// let hour = CacheControl::new().public().max_age(Duration::from_secs(3600)).no_transform();
/// patch_cache_control(&mut response, hour)?;
/// assert_eq!(response.headers()[CACHE_CONTROL], "private, max-age=60, no-transform");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn patch_cache_control<B>(response: &mut Response<B>, control: CacheControl) -> Result<(), ConfigError> {
    CacheControlPatch::new(CACHE_CONTROL, control, false)?.write(response, false);
    Ok(())
}

/// The directives that are written, and the field for them.
#[derive(Debug)]
struct CacheControlPatch {
    control: CacheControl,
    field: HeaderName,
    replaces: bool,
}

impl CacheControlPatch {
    fn new(field: HeaderName, control: CacheControl, replaces: bool) -> Result<Self, ConfigError> {
        if control.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::NothingToSay, field));
        }
        if let Some(found) = control.contradiction() {
            return Err(ConfigError::new(ConfigErrorKind::Contradiction, found));
        }
        if field != CACHE_CONTROL && !control.is_structured() {
            return Err(ConfigError::new(ConfigErrorKind::InvalidDirective, control));
        }
        Ok(Self { control, field, replaces })
    }

    fn write<B>(&self, response: &mut Response<B>, is_identified: bool) {
        let Self { control, field, replaces } = self;
        let extensions = response.extensions();
        let never = extensions.get::<CacheHints>().is_some_and(|hints| hints.never);
        let personal = is_identified
            || extensions.get::<FromIdentified>().is_some()
            || extensions.get::<Identified>().is_some()
            || PersonalRule::BY_NAME.applies_to(response.headers());
        let status = response.status();
        let fails = status.is_client_error() || status.is_server_error();
        let is_targeted = *field != CACHE_CONTROL;
        let own = ResponseDirectives::from_headers(response.headers());
        let control = match control {
            _ if never && is_targeted => return,
            control if never || fails => &control.restricting(),
            // A lifetime for shared caches alone is one too many.
            control if is_targeted && (personal || forbids_sharing(&own)) => &control.restricting(),
            control if personal => &control.for_one(),
            control if *replaces && !own.no_store => {
                return control.write(response.headers_mut(), field);
            }
            control => control,
        };
        control.patch(response.headers_mut(), field);
    }
}

impl Patch for Arc<CacheControlPatch> {
    const ASKS_FOR_VISITOR: bool = true;

    fn apply<B>(&self, response: &mut Response<B>, is_identified: bool) {
        self.write(response, is_identified);
    }
}

/// Returns `true` if a response keeps all or some of it from shared caches.
fn forbids_sharing(own: &ResponseDirectives) -> bool {
    own.no_store || own.private != Qualified::Absent
}

impl<S> Layer<S> for SetCacheControlLayer {
    type Service = SetCacheControl<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SetCacheControl { inner, patch: Arc::clone(&self.0) }
    }
}

/// The service that [`SetCacheControlLayer`] makes. It is ready when the wrapped one is.
#[derive(Debug, Clone)]
pub struct SetCacheControl<S> {
    inner: S,
    patch: Arc<CacheControlPatch>,
}

impl<S> SetCacheControl<S> {
    /// Wraps a service, as the layer that [`SetCacheControlLayer::new`] creates does.
    ///
    /// # Errors
    /// Those of [`SetCacheControlLayer::new`].
    pub fn new(inner: S, control: CacheControl) -> Result<Self, ConfigError> {
        Ok(SetCacheControlLayer::new(control)?.layer(inner))
    }

    /// Wraps a service, as the layer that [`SetCacheControlLayer::replacing`] creates does.
    ///
    /// # Errors
    /// Those of [`SetCacheControlLayer::replacing`].
    pub fn replacing(inner: S, control: CacheControl) -> Result<Self, ConfigError> {
        Ok(SetCacheControlLayer::replacing(control)?.layer(inner))
    }

    /// Wraps a service, as the layer that [`SetCacheControlLayer::targeting`] creates does.
    ///
    /// # Errors
    /// Those of [`SetCacheControlLayer::targeting`].
    pub fn targeting(inner: S, field: HeaderName, control: CacheControl) -> Result<Self, ConfigError> {
        Ok(SetCacheControlLayer::targeting(field, control)?.layer(inner))
    }

    inner_service_accessors!();
}

impl SetCacheControl<()> {
    /// Creates the layer, as [`SetCacheControlLayer::new`] does.
    ///
    /// # Errors
    /// Those of [`SetCacheControlLayer::new`].
    pub fn layer(control: CacheControl) -> Result<SetCacheControlLayer, ConfigError> {
        SetCacheControlLayer::new(control)
    }
}

impl<S, ReqBody, B> Service<Request<ReqBody>> for SetCacheControl<S>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = SetCacheControlFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        SetCacheControlFuture {
            patched: PatchFuture::call(&mut self.inner, request, Arc::clone(&self.patch)),
        }
    }
}

pin_project! {
    /// The future of a [`SetCacheControl`] service.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct SetCacheControlFuture<F> {
        #[pin]
        patched: PatchFuture<F, Arc<CacheControlPatch>>,
    }
}

impl<F, B, E> Future for SetCacheControlFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().patched.poll(cx)
    }
}
