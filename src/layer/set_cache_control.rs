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

/// Adds directives to the `Cache-Control` of responses.
///
/// The layer corresponds to Django's `cache_control`. Use [`replacing`](Self::replacing) to replace
/// the field instead, and [`targeting`](Self::targeting) to write a targeted field (RFC 9213).
///
/// # Rules
/// 1. Of two conflicting directives, the stricter one counts: the shorter duration, or `private`
///    instead of `public` and `s-maxage`. The field lists of `private` and of `no-cache` are
///    merged. `private` or `no-cache` without a list is stricter than with a list.
/// 2. The layer never removes `no-store`. Nor does it remove the mark of a [`NeverCacheLayer`]: the
///    extension that forbids the caches of this crate to store the response.
/// 3. Only restricting directives are written to a response with `no-store` or that mark, and to
///    errors (4xx and 5xx). So no cache keeps an error for the lifetime of a page. All other
///    directives are left out: `public`, `immutable`, lifetimes above zero, stale windows and
///    extension directives.
/// 4. A personalized response receives neither `public` nor `s-maxage`, nor extension directives.
///
/// A response counts as personalized if:
/// - it is marked as [`Identified`],
/// - it has `Set-Cookie`, a field that is named like a credential, or `Vary: *`,
/// - the request has a credential field,
/// - an inner or outer cache layer or an outer [`AnonymousOnlyLayer`] has identified the request,
///   or found an undeclared cookie in it.
///
/// If there is no such layer, `Cookie` in the request does not make the response personalized.
///
/// # Where the layer belongs
/// If the layer is inside a cache layer, the cache obeys the directives, too. If it is outside, the
/// directives are for clients and downstream caches only.
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
///
/// [`AnonymousOnlyLayer`]: crate::anonymous_only::AnonymousOnlyLayer
/// [`NeverCacheLayer`]: crate::cache_headers::NeverCacheLayer
#[doc(alias = "max-age")]
#[derive(Debug, Clone)]
#[must_use]
pub struct SetCacheControlLayer(Arc<CacheControlPatch>);

impl SetCacheControlLayer {
    /// Creates a layer that adds directives to `Cache-Control`.
    ///
    /// # Errors
    /// Returns an error if there is no directive, or if two directives contradict each other, such
    /// as `public` and `private`.
    pub fn new(control: CacheControl) -> Result<Self, ConfigError> {
        Self::targeting(CACHE_CONTROL, control)
    }

    /// Creates a layer that replaces the `Cache-Control` of responses.
    ///
    /// Use it if a framework's default is stricter than the page requires.
    ///
    /// To some responses, the layer adds the directives instead, as the layer of
    /// [`new`](Self::new) does:
    /// - responses with `no-store`, or with the mark of a
    ///   [`NeverCacheLayer`](crate::cache_headers::NeverCacheLayer),
    /// - errors (4xx and 5xx),
    /// - personalized responses.
    ///
    /// # Errors
    /// Returns an error if there is no directive, or if two directives contradict each other, such
    /// as `public` and `private`.
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

    /// Creates a layer that writes a targeted field (RFC 9213), such as `CDN-Cache-Control`.
    ///
    /// For the caches that it targets, the field outranks `Cache-Control`. So only restricting
    /// directives are written if the response is personalized, is an error (4xx or 5xx), or has
    /// `no-store` or `private` in its `Cache-Control`. Nothing is written to a response with the
    /// mark of a [`NeverCacheLayer`](crate::cache_headers::NeverCacheLayer).
    ///
    /// A targeted field is a structured field, so it can have members that `Cache-Control` cannot
    /// express. A response that already has the field with such members is unchanged.
    ///
    /// # Errors
    /// Returns an error if there is no directive, or if two directives contradict each other, such
    /// as `public` and `private`. Returns an error, too, if an extension directive has a name or
    /// value that a structured field cannot have.
    #[doc(alias = "CDN-Cache-Control")]
    pub fn targeting(field: HeaderName, control: CacheControl) -> Result<Self, ConfigError> {
        Self::writing(field, control, false)
    }

    fn writing(field: HeaderName, control: CacheControl, replaces: bool) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(CacheControlPatch::new(field, control, replaces)?)))
    }
}

/// Adds directives to the `Cache-Control` of one response, as a [`SetCacheControlLayer`] does.
///
/// This function corresponds to Django's `patch_cache_control`. It does not see the request, so it
/// can't know whether the request was identified. Mark a personalized response as [`Identified`]
/// first. Then the response receives neither `public` nor `s-maxage`.
///
/// # Errors
/// Returns an error if there is no directive, or if two directives contradict each other, such as
/// `public` and `private`. After an error, the response is unchanged.
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

/// The directives to write, and the field that receives them.
#[derive(Debug)]
struct CacheControlPatch {
    control: CacheControl,
    field: HeaderName,
    replaces: bool,
}

impl CacheControlPatch {
    fn new(field: HeaderName, control: CacheControl, replaces: bool) -> Result<Self, ConfigError> {
        if control.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::EmptyDirectives, field));
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
            control if never || fails => &control.restrictions_only(),
            // Shared caches obey the targeted field, but must not store a response that is
            // personalized or forbids sharing.
            control if is_targeted && (personal || forbids_sharing(&own)) => &control.restrictions_only(),
            control if personal => &control.for_one_visitor(),
            control if *replaces && !own.no_store => {
                return control.write(response.headers_mut(), field);
            }
            control => control,
        };
        control.patch(response.headers_mut(), field);
    }
}

impl Patch for Arc<CacheControlPatch> {
    const NEEDS_IDENTITY: bool = true;

    fn apply<B>(&self, response: &mut Response<B>, is_identified: bool) {
        self.write(response, is_identified);
    }
}

/// Returns `true` if shared caches must not store the response, or some of its fields.
fn forbids_sharing(own: &ResponseDirectives) -> bool {
    own.no_store || own.private != Qualified::Absent
}

impl<S> Layer<S> for SetCacheControlLayer {
    type Service = SetCacheControl<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SetCacheControl { inner, patch: Arc::clone(&self.0) }
    }
}

/// The service that [`SetCacheControlLayer`] creates.
///
/// The service is ready if the inner service is ready.
#[derive(Debug, Clone)]
pub struct SetCacheControl<S> {
    inner: S,
    patch: Arc<CacheControlPatch>,
}

impl<S> SetCacheControl<S> {
    /// Wraps a service, as the layer of [`SetCacheControlLayer::new`] does.
    ///
    /// # Errors
    /// Returns the errors of [`SetCacheControlLayer::new`].
    pub fn new(inner: S, control: CacheControl) -> Result<Self, ConfigError> {
        Ok(SetCacheControlLayer::new(control)?.layer(inner))
    }

    /// Wraps a service, as the layer of [`SetCacheControlLayer::replacing`] does.
    ///
    /// # Errors
    /// Returns the errors of [`SetCacheControlLayer::replacing`].
    pub fn replacing(inner: S, control: CacheControl) -> Result<Self, ConfigError> {
        Ok(SetCacheControlLayer::replacing(control)?.layer(inner))
    }

    /// Wraps a service, as the layer of [`SetCacheControlLayer::targeting`] does.
    ///
    /// # Errors
    /// Returns the errors of [`SetCacheControlLayer::targeting`].
    pub fn targeting(inner: S, field: HeaderName, control: CacheControl) -> Result<Self, ConfigError> {
        Ok(SetCacheControlLayer::targeting(field, control)?.layer(inner))
    }

    inner_service_accessors!();
}

impl SetCacheControl<()> {
    /// Creates the layer, as [`SetCacheControlLayer::new`] does.
    ///
    /// # Errors
    /// Returns the errors of [`SetCacheControlLayer::new`].
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
    /// The response future of [`SetCacheControl`].
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
