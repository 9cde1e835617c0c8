//! The layer that evaluates preconditions before the handler runs, and its options.

use super::precondition_options::Options;
use crate::rules::entity_tag::EntityTag;
use http::request::Parts;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Finds out the current validators of a resource *before* the handler runs, by functions of yours,
/// and answers 304 and 412 without running it (RFC 9110 section 13).
///
/// This is what makes a lost update impossible: of two editors who loaded the same version, the
/// second to save with `If-Match` gets a 412. Writes to one path take turns, from the evaluation to the
/// response, so that two at the same time can't both find the version they expect. That holds within
/// one process, for handlers that have written when they answer: where several processes write to one
/// database, or a write outlives its request, compare the version there too. A date has whole seconds,
/// so two saves within one can't be told apart by it: use a tag.
///
/// A write does not wait for ever: after [`wait_timeout`](Self::wait_timeout) it is answered with 503. A write that keeps
/// others waiting does not last for ever: after [`hold_timeout`](Self::hold_timeout) its handler's future is dropped, and
/// it is answered with 408. Work that the handler detached may still commit then. Outside a tokio runtime, neither limit
/// applies.
///
/// Successful responses to GET and HEAD get the validators that they lack; so does a 412.
///
/// The handler does not run for a 304, which therefore has the validators alone. Its 200 may have further fields that a
/// 304 must have, too: `Cache-Control`, `Content-Location`, `Date`, `Expires` and `Vary` (RFC 9110 section 15.4.5). Write
/// them in an outer layer, such as [`SetCacheControlLayer`](crate::cache_headers::SetCacheControlLayer) and [`AddVaryLayer`](crate::cache_headers::AddVaryLayer),
/// which adds them to both. Servers add `Date`.
///
/// # Where it belongs
/// On the route, or around those routes that the functions know about; inside of a cache layer, so
/// that a page is stored with the validators of its own time. Conditional requests for what is
/// stored are answered by the cache, writes pass it and invalidate.
///
/// # Example
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_response_cache::PreconditionLayer;
/// use tower_response_cache::precondition::EntityTag;
///
/// # async fn version_of(_: &str) -> Option<u64> { Some(7) }
/// # async fn show() {}
/// # async fn save() {}
/// let layer = PreconditionLayer::new()
///     .etag(|request| async move {
///         let version = version_of(request.uri.path()).await?;
///         Some(EntityTag::strong(format!("v{version}")))
///     })
///     .require_precondition();
/// let app: Router = Router::new().route("/flavours/{slug}", get(show).put(save).layer(layer));
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct PreconditionLayer<V = ByFunctions> {
    pub(super) options: Options,
    validators: PhantomData<V>,
}

/// A [`PreconditionLayer`] whose validators come from functions.
#[derive(Debug, Clone, Copy)]
pub struct ByFunctions;

/// A [`PreconditionLayer`] that asks the wrapped service itself, by a GET.
#[derive(Debug, Clone, Copy)]
pub struct ByGet;

impl Default for PreconditionLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl PreconditionLayer {
    /// Creates a layer without functions yet: until there is one, no resource has a validator.
    pub fn new() -> Self {
        Self { options: Options::default(), validators: PhantomData }
    }

    /// Sets the function that finds the current entity tag; `None` if there is no such resource.
    pub fn etag<F, Fut>(mut self, find: F) -> Self
    where
        F: Fn(Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<EntityTag>> + Send + 'static,
    {
        self.options.etag = Some(Arc::new(move |parts| Box::pin(find(parts))));
        self
    }

    /// Sets the function that finds the date of the last modification; fractions of a second do not count.
    pub fn last_modified<F, Fut>(mut self, find: F) -> Self
    where
        F: Fn(Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<SystemTime>> + Send + 'static,
    {
        self.options.last_modified = Some(Arc::new(move |parts| Box::pin(find(parts))));
        self
    }
}

impl PreconditionLayer<ByGet> {
    /// Creates a layer for an API that does nothing but emit validators: before an unsafe request with
    /// a precondition, a GET to the same target is made to the wrapped service, with the request's own
    /// fields and extensions, and the validators of its response count. GET and HEAD pass as they are.
    ///
    /// Inner cache layers forward this GET: no stored, stale or arriving response answers it. They do not store its
    /// response.
    ///
    /// `If-Match` needs a strong tag (RFC 9110 section 13.1.1). Let the handler send one.
    /// [`PolicyBuilder::strong_etags`](crate::policy::PolicyBuilder::strong_etags) on an inner cache layer suffices only for requests that do
    /// not bypass it, and for storable responses whose body is ready with the head. If the tag is weak, an `If-Match`
    /// that names a tag is answered with 412; with feature `tracing`, the layer warns once.
    ///
    /// The request's body has to be [`Default`], for the GET.
    ///
    /// # Where it belongs
    /// Around a service that answers the GET and the write. `layer` of axum's `Router` and `MethodRouter` wraps the
    /// handler of each method by itself, so that the GET would reach the handler of the write: use `route_service`.
    ///
    /// # Example
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use axum::{Router, http::header::ETAG, response::IntoResponse, routing::get};
    /// use tower::Layer;
    /// use tower_response_cache::PreconditionLayer;
    /// use tower_response_cache::precondition::EntityTag;
    ///
    /// # async fn version() -> u64 { 7 }
    /// async fn show() -> impl IntoResponse {
    ///     let tag = EntityTag::strong(format!("v{}", version().await));
    ///     ([(ETAG, tag.to_string())], "vanilla")
    /// }
    /// # async fn save() {}
    /// let layer = PreconditionLayer::by_get().require_precondition();
    /// let vanilla = layer.layer(get(show).put(save));
    /// let app: Router = Router::new().route_service("/flavours/vanilla", vanilla);
    /// # }
    /// ```
    pub fn by_get() -> Self {
        Self { options: Options::default(), validators: PhantomData }
    }
}

impl<V> PreconditionLayer<V> {
    /// Answers 428 (RFC 6585 section 3) to unsafe requests that have no precondition. `If-Match: *` is one: it is true if
    /// there is any current representation, so that it keeps no update from being lost.
    pub fn require_precondition(mut self) -> Self {
        self.options.required = true;
        self
    }

    /// Sets how long a write waits for earlier writes to the same path, 10 seconds by default. Then it is answered with
    /// 503 (Service Unavailable) and `Retry-After`, without the handler. `None` is no limit.
    ///
    /// At most 100 requests wait for one path; others are answered with 503 at once. Outside a tokio runtime there is no
    /// limit in time.
    pub fn wait_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.options.limits.wait = limit.into();
        self
    }

    /// Sets how long a write may keep others waiting, 30 seconds by default, counted from the evaluation of its
    /// precondition. A write that takes longer *while another one waits* is answered with 408 (Request Timeout), and its
    /// handler's future is dropped before the next write begins. `None` is no limit.
    ///
    /// Work that the handler has detached (`tokio::spawn`, `spawn_blocking`) is not stopped: it may still commit, and the
    /// next write does not see it. Compare the version there too. Cache layers around this one take a 408 for a write
    /// whose outcome is unknown, and invalidate its path.
    ///
    /// A write that keeps nobody waiting is not limited: for that, use a time limit inside this layer. Outside a tokio
    /// runtime there is no limit.
    pub fn hold_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.options.limits.hold = limit.into();
        self
    }
}
