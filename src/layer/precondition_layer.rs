//! The layer that evaluates preconditions before the handler runs, and its options.

use super::precondition_options::Options;
use crate::rules::entity_tag::EntityTag;
use http::request::Parts;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Evaluates preconditions *before* the handler runs (RFC 9110 section 13).
///
/// Use it to prevent lost updates. If two editors have loaded the same version, the second one to
/// save it with `If-Match` receives a 412. It corresponds to Django's `condition`, `etag` and
/// `last_modified`.
///
/// The current validators come from functions ([`new`](Self::new)), or from a GET to the inner
/// service ([`by_get`](PreconditionLayer::by_get)). With functions, GET and HEAD are answered with
/// 304 if `If-None-Match` or `If-Modified-Since` shows that the client has the current version. Any
/// other false precondition is answered with 412 (RFC 9110 section 13.2.2). In both cases, the
/// handler of the request does not run. With `by_get`, GET and HEAD are forwarded unchanged.
///
/// # Writes run one after the other
/// Writes (unsafe requests other than CONNECT) to one path run one after the other, each from the
/// evaluation of its precondition to its response. So two concurrent writes cannot both find the
/// version that they expect. A write without a precondition also waits for the writes before it.
///
/// - The path is the public one, from before an axum router has stripped a prefix. Writes to two
///   public paths of one resource do not wait for each other.
/// - A write that waits too long is answered with 503: see [`wait_timeout`](Self::wait_timeout).
/// - A write that takes too long while another one waits is answered with 408, and the future of
///   its handler is dropped: see [`hold_timeout`](Self::hold_timeout). Work that the handler has
///   detached may still commit.
/// - Outside a tokio runtime, neither limit applies.
/// - Clones of a layer wait for each other's writes. Layers that were created separately do not.
///
/// This order holds within one process, and for handlers that finish their write before they
/// respond. If several processes write to one database, or a write outlives its request, the write
/// to the database must compare the version, too. Dates have a resolution of one second, so a date
/// cannot distinguish two writes in one second: use a tag.
///
/// # Response fields
/// With functions, successful responses to GET and HEAD receive the validators that they lack. A
/// 412 has the current validators if the layer knows them.
///
/// A 304 has the validators only, because the handler does not run for it. A 304 must also have
/// `Cache-Control`, `Content-Location`, `Date`, `Expires` and `Vary` if the 200 would have them
/// (RFC 9110 section 15.4.5). Write these fields in an outer layer, such as
/// [`SetCacheControlLayer`] and [`AddVaryLayer`], which add them to the 200 and the 304. Servers
/// add `Date`.
///
/// # Where the layer belongs
/// Place it on the route, or around the routes whose validators its functions know, and inside
/// cache layers. Then a page is stored with the validators that were current when it was created.
/// The cache answers conditional requests from stored responses. It forwards writes to this layer,
/// and invalidates their paths.
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
/// let app: Router = Router::new().route("/flavors/{slug}", get(show).put(save).layer(layer));
/// # }
/// ```
///
/// [`AddVaryLayer`]: crate::cache_headers::AddVaryLayer
/// [`SetCacheControlLayer`]: crate::cache_headers::SetCacheControlLayer
#[doc(alias = "If-Match")]
#[doc(alias = "optimistic locking")]
#[doc(alias = "lost update")]
#[doc(alias = "condition")]
#[doc(alias = "428")]
#[derive(Debug, Clone)]
#[must_use]
pub struct PreconditionLayer<V = ByFunctions> {
    pub(super) options: Options,
    validators: PhantomData<V>,
}

/// The kind of a [`PreconditionLayer`] whose validators come from functions.
#[derive(Debug, Clone, Copy)]
pub struct ByFunctions;

/// The kind of a [`PreconditionLayer`] that reads the validators with a GET to the inner service.
#[derive(Debug, Clone, Copy)]
pub struct ByGet;

impl Default for PreconditionLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl PreconditionLayer {
    /// Creates a layer that has no functions yet.
    ///
    /// Add at least one of [`etag`](Self::etag) and [`last_modified`](Self::last_modified). Without
    /// them, no resource has a validator, and none counts as existing.
    pub fn new() -> Self {
        Self { options: Options::default(), validators: PhantomData }
    }

    /// Sets the function that finds the current entity tag. It returns `None` if the resource does
    /// not exist.
    ///
    /// The function runs for each GET and HEAD, and for each write with a precondition. `If-Match`
    /// needs a strong tag (RFC 9110 section 13.1.1).
    pub fn etag<F, Fut>(mut self, find: F) -> Self
    where
        F: Fn(Parts) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<EntityTag>> + Send + 'static,
    {
        self.options.etag = Some(Arc::new(move |parts| Box::pin(find(parts))));
        self
    }

    /// Sets the function that finds the date of the last modification. It returns `None` if the
    /// resource does not exist.
    ///
    /// The function runs for each GET and HEAD, and for each write with a precondition. Fractions
    /// of a second are ignored. If both functions are set, the resource exists if either returns a
    /// value.
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
    /// Creates a layer that reads the validators with a GET to the inner service.
    ///
    /// Use it for an API whose responses already have validators. Before an unsafe request with a
    /// precondition (the write), the layer sends a GET to the same target. The GET has the fields
    /// and extensions of the write, except the fields of its preconditions, its content and its
    /// connection. The validators in the response to the GET are the current ones. A 404 or 410
    /// means that the resource does not exist. After another error or a redirect, the layer answers
    /// the write with 412. GET and HEAD requests of clients are forwarded unchanged.
    ///
    /// Inner cache layers forward this GET to the service, and do not store its response. They
    /// answer the GET neither with a stored or stale response, nor with the response to a
    /// concurrent request.
    ///
    /// The handler must send a strong tag for `If-Match` (RFC 9110 section 13.1.1). If the tag is
    /// weak, an `If-Match` that names a tag is answered with 412. With feature `tracing`, the layer
    /// warns once.
    ///
    /// An inner cache layer with the option [`strong_etags`] can add the tag. It adds the tag only
    /// if the response is storable and its body is ready together with its head. It adds no tag if
    /// the request bypasses the inner layer.
    ///
    /// The body type of the request must implement [`Default`], for the body of the GET.
    ///
    /// # Where the layer belongs
    /// Place it around a service that answers both the GET and the write. In axum, use
    /// `route_service`: `layer` of a `Router` or `MethodRouter` wraps the handler of each method
    /// separately, so that the GET would reach the handler of the write.
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
    /// let app: Router = Router::new().route_service("/flavors/vanilla", vanilla);
    /// # }
    /// ```
    ///
    /// [`strong_etags`]: crate::policy::PolicyBuilder::strong_etags
    pub fn by_get() -> Self {
        Self { options: Options::default(), validators: PhantomData }
    }
}

impl<V> PreconditionLayer<V> {
    /// Answers an unsafe request with 428 if it has no precondition (RFC 6585 section 3).
    ///
    /// CONNECT needs no precondition, and neither do the safe methods: GET, HEAD, OPTIONS, TRACE,
    /// `PROPFIND`, `REPORT`, `SEARCH` and `QUERY`.
    ///
    /// A precondition that cannot detect a lost update does not count: `If-None-Match` with tags,
    /// and `If-Unmodified-Since` with an invalid date or for a resource without a date. An
    /// `If-Match` of `*` counts, although it does not prevent lost updates: it only requires that
    /// the resource exists.
    pub fn require_precondition(mut self) -> Self {
        self.options.required = true;
        self
    }

    /// Sets how long a write waits for earlier writes to the same path. The default is 10 seconds;
    /// `None` is no limit.
    ///
    /// After this time, the request is answered with 503 (Service Unavailable) and `Retry-After`,
    /// and its handler does not run.
    ///
    /// At most 100 requests wait for one path. Further requests are answered with 503 at once.
    /// Outside a tokio runtime, there is no time limit.
    pub fn wait_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.options.limits.wait = limit.into();
        self
    }

    /// Sets how long a write may delay other writes. The default is 30 seconds; `None` is no limit.
    ///
    /// The time begins with the evaluation of the precondition. A write that takes longer *while
    /// another one waits* is answered with 408 (Request Timeout). The future of its handler is
    /// dropped before the next write begins.
    ///
    /// Work that the handler has detached (`tokio::spawn`, `spawn_blocking`) continues. It may
    /// still commit after the next write has compared the version. So the write to the database
    /// must compare the version, too. Outer cache layers treat a 408 as a write with an unknown
    /// outcome, and invalidate the path of the request.
    ///
    /// A write that keeps no other one waiting has no limit. To limit it, use a timeout layer
    /// inside this one. Outside a tokio runtime, there is no limit.
    pub fn hold_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.options.limits.hold = limit.into();
        self
    }
}
