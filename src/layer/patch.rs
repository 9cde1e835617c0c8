//! Layers that do nothing but write header fields of responses.

use http::header::{CACHE_CONTROL, EXPIRES};
use http::{HeaderName, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};

use crate::error::{ConfigError, ConfigErrorKind};
use crate::marks::{Edge, FromIdentified, Identified};
use crate::policy::CacheHints;
use crate::policy::request_fields::PersonalRule;
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::control::CacheControl;
use crate::rules::patch::patch_vary;
use crate::rules::targeted::remove_targeted;
use crate::serve::{is_identified, leave, receive};

/// What is written into a response.
#[derive(Debug, Clone)]
enum Patch {
    Never,
    CacheControl { control: CacheControl, field: HeaderName, replaces: bool },
    Vary(Vec<String>),
}

impl Patch {
    /// Returns `true` if it matters whether the visitor is identified.
    fn asks_for_visitor(&self) -> bool {
        matches!(self, Self::CacheControl { .. })
    }

    fn apply<B>(&self, response: &mut Response<B>, is_identified: bool) {
        match self {
            Self::Never => {
                // For the caches here, whatever is written into the response further out.
                CacheHints::new().never().add_to(response.extensions_mut());
                let headers = response.headers_mut();
                // They would outrank what follows (RFC 9213 section 2.2).
                remove_targeted(headers, |_, _| false);
                never().patch(headers, &CACHE_CONTROL);
                // In the past whatever the client's clock. A header section that is full goes without.
                headers.remove(EXPIRES);
                let _ =
                    headers.try_insert(EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
            }
            Self::CacheControl { control, field, replaces } => {
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
            Self::Vary(names) => patch_vary(response.headers_mut(), names),
        }
    }
}

/// Returns `true` if a response keeps all or some of it from shared caches.
fn forbids_sharing(own: &ResponseDirectives) -> bool {
    own.no_store || own.private != Qualified::Absent
}

fn never() -> CacheControl {
    let zero = std::time::Duration::ZERO;
    CacheControl::new().max_age(zero).no_cache().no_store().must_revalidate().private()
}

/// Marks every response as one that no cache may keep, this crate's and those outside alike: what
/// Django's `never_cache` does.
///
/// For caches of this crate it equals [`CacheHints::never`]. For others, it removes targeted fields (`*-Cache-Control`,
/// `Surrogate-Control`, `Edge-Control`, `X-Accel-Expires`), sets `Expires` to a past date, and adds `max-age=0, no-cache,
/// no-store, must-revalidate, private` to `Cache-Control`.
///
/// # Where it belongs
/// Inside of every cache layer: on the routes that show what is one visitor's own.
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
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct NeverCacheLayer(());

impl NeverCacheLayer {
    /// Creates the layer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for NeverCacheLayer {
    type Service = Patched<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Patched { inner, patch: Arc::new(Patch::Never) }
    }
}

/// Writes `Cache-Control` directives, next to those that a response has: what Django's `cache_control` does.
///
/// If two directives conflict, the stricter wins: the shorter duration; `private` over `public` and `s-maxage`. Field
/// lists of `private` and `no-cache` are united; a directive without a list is stricter. To replace the field, see
/// [`replacing`](Self::replacing).
/// A `no-store` that is there stays, and so does what a [`NeverCacheLayer`] has marked. To these and to errors (4xx and
/// 5xx) only what restricts is written, so that none is kept for a page's lifetime. A personal response gets
/// neither `public` nor `s-maxage`: one that is [`Identified`](crate::Identified), sets a cookie, carries a field that is
/// named like a credential, or has `Vary: *`; and one to a request with a credential field, or that
/// another cache layer or an outer [`AnonymousOnlyLayer`](crate::AnonymousOnlyLayer) has identified or found an undeclared
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
/// use tower_response_cache::{CacheControl, CacheControlLayer};
///
/// let hour = Duration::from_secs(3600);
/// let public = CacheControlLayer::new(CacheControl::new().public().max_age(hour))?;
/// let app: Router = Router::new().route("/", get(|| async { "for everybody" }).layer(public));
/// # }
/// # Ok::<_, tower_response_cache::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct CacheControlLayer(Arc<Patch>);

impl CacheControlLayer {
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
    /// [`NeverCacheLayer`].
    ///
    /// # Errors
    /// If there is no directive, or two of them contradict each other.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{CacheControl, CacheControlLayer};
    ///
    /// let hour = Duration::from_secs(3600);
    /// let layer = CacheControlLayer::replacing(CacheControl::new().public().max_age(hour))?;
    /// # Ok::<_, tower_response_cache::ConfigError>(())
    /// ```
    pub fn replacing(control: CacheControl) -> Result<Self, ConfigError> {
        Self::writing(CACHE_CONTROL, control, true)
    }

    /// Creates a layer that writes a targeted field (RFC 9213) instead: `CDN-Cache-Control`, say. One that is
    /// there with members that `Cache-Control` could not have stays as it is. Only what restricts is written if the
    /// response is personal, or has `no-store` or `private` in `Cache-Control`: the field would outrank that.
    ///
    /// # Errors
    /// If two of the directives contradict each other.
    pub fn targeting(field: HeaderName, control: CacheControl) -> Result<Self, ConfigError> {
        Self::writing(field, control, false)
    }

    fn writing(field: HeaderName, control: CacheControl, replaces: bool) -> Result<Self, ConfigError> {
        if control.is_empty() {
            return Err(ConfigError::new(ConfigErrorKind::NothingToSay, field));
        }
        match control.contradiction() {
            Some(found) => Err(ConfigError::new(ConfigErrorKind::Contradiction, found)),
            None => Ok(Self(Arc::new(Patch::CacheControl { control, field, replaces }))),
        }
    }
}

impl<S> Layer<S> for CacheControlLayer {
    type Service = Patched<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Patched { inner, patch: Arc::clone(&self.0) }
    }
}

/// Adds names to `Vary`: what Django's `vary_on_headers` and `vary_on_cookie` do.
///
/// Each name is added once, whatever its case; where there is a `*`, it stands for all.
///
/// # Where it belongs
/// Inside of a cache layer, around what makes the response depend on those fields. A cache layer emits the fields that
/// it is keyed by itself. Under an outer layer of
/// this crate, a `VaryLayer` outside of a cache layer that names `Cookie` or a credential field keeps that cache layer
/// from storing the response.
///
/// # Example
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_response_cache::VaryLayer;
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }).layer(VaryLayer::new(["Accept-Language", "X-Plan"])?))
///     .route("/cart", get(|| async { "empty" }).layer(VaryLayer::on_cookie()));
/// # }
/// # Ok::<_, tower_response_cache::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct VaryLayer(Arc<Patch>);

impl VaryLayer {
    /// Creates a layer that adds these names.
    ///
    /// # Errors
    /// If one of them is no field name (nor `*`), or there is none.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Self, ConfigError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let wrong = names.iter().find(|name| HeaderName::from_bytes(name.as_bytes()).is_err());
        match wrong {
            Some(name) => Err(ConfigError::new(ConfigErrorKind::InvalidFieldName, name)),
            None if names.is_empty() => Err(ConfigError::new(ConfigErrorKind::InvalidFieldName, "")),
            None => Ok(Self(Arc::new(Patch::Vary(names)))),
        }
    }

    /// Creates a layer that adds `Cookie`.
    pub fn on_cookie() -> Self {
        Self(Arc::new(Patch::Vary(vec!["Cookie".to_owned()])))
    }
}

impl<S> Layer<S> for VaryLayer {
    type Service = Patched<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Patched { inner, patch: Arc::clone(&self.0) }
    }
}

/// The service that [`NeverCacheLayer`], [`CacheControlLayer`] and [`VaryLayer`] make. It is ready when
/// the wrapped one is.
#[derive(Debug, Clone)]
pub struct Patched<S> {
    inner: S,
    patch: Arc<Patch>,
}

impl<S, ReqBody, B> Service<Request<ReqBody>> for Patched<S>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = PatchedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let edge = Edge::enter(&mut request);
        let is_identified = self.patch.asks_for_visitor() && is_identified((&request).into());
        let patch = Arc::clone(&self.patch);
        PatchedFuture { edge, call: self.inner.call(request), patch, is_identified }
    }
}

pin_project! {
    /// The future of a [`Patched`] service.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct PatchedFuture<F> {
        // Dropped first.
        edge: Edge,
        #[pin]
        call: F,
        patch: Arc<Patch>,
        is_identified: bool,
    }
}

impl<F, B, E> Future for PatchedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.call.poll(cx))?;
        // Between layers, a dependency on credentials counts for inner caches; what is told clients does not.
        if matches!(**this.patch, Patch::Vary(_)) && !this.edge.is_outermost() {
            this.patch.apply(&mut response, *this.is_identified);
            receive(&mut response, &[]);
        } else {
            receive(&mut response, &[]);
            this.patch.apply(&mut response, *this.is_identified);
        }
        leave(&mut response, this.edge);
        Poll::Ready(Ok(response))
    }
}
