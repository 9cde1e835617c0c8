//! Preconditions evaluated before the handler runs.

use super::condition_options::{BoxedFuture, Options};
use super::write_locks::WriteLocks;
use crate::body::ResponseBody;
use crate::error::BoxError;
use crate::marks::Edge;
use crate::rules::date::{FieldDate, field_date};
use crate::rules::entity_tag::{EntityTag, TagList};
use crate::rules::method::is_safe;
use crate::rules::preconditions::{Evaluation, Validators, evaluate};
use crate::serve::{leave, receive};
use bytes::Bytes;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;
use tower::{Layer, Service, ServiceExt};

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
/// them in an outer layer, such as [`CacheControlLayer`](crate::CacheControlLayer) and [`VaryLayer`](crate::VaryLayer),
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
/// use tower_response_cache::{ConditionLayer, EntityTag};
///
/// # async fn version_of(_: &str) -> Option<u64> { Some(7) }
/// # async fn show() {}
/// # async fn save() {}
/// let layer = ConditionLayer::new()
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
pub struct ConditionLayer<V = ByFunctions> {
    pub(super) options: Options,
    validators: PhantomData<V>,
}

/// A [`ConditionLayer`] whose validators come from functions.
#[derive(Debug, Clone, Copy)]
pub struct ByFunctions;

/// A [`ConditionLayer`] that asks the wrapped service itself, by a GET.
#[derive(Debug, Clone, Copy)]
pub struct ByGet;

impl Default for ConditionLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl ConditionLayer {
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

impl ConditionLayer<ByGet> {
    /// Creates a layer for an API that does nothing but emit validators: before an unsafe request with
    /// a precondition, a GET to the same target is made to the wrapped service, with the request's own
    /// fields and extensions, and the validators of its response count. GET and HEAD pass as they are.
    ///
    /// Inner cache layers forward this GET: no stored, stale or arriving response answers it. They do not store its
    /// response.
    ///
    /// `If-Match` needs a strong tag (RFC 9110 section 13.1.1). Let the handler send one.
    /// [`Policy::strong_etags`](crate::Policy::strong_etags) on an inner cache layer suffices only for requests that do
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
    /// use tower_response_cache::{ConditionLayer, EntityTag};
    ///
    /// # async fn version() -> u64 { 7 }
    /// async fn show() -> impl IntoResponse {
    ///     let tag = EntityTag::strong(format!("v{}", version().await));
    ///     ([(ETAG, tag.to_string())], "vanilla")
    /// }
    /// # async fn save() {}
    /// let layer = ConditionLayer::by_get().require_precondition();
    /// let vanilla = layer.layer(get(show).put(save));
    /// let app: Router = Router::new().route_service("/flavours/vanilla", vanilla);
    /// # }
    /// ```
    pub fn by_get() -> Self {
        Self { options: Options::default(), validators: PhantomData }
    }
}

impl<V> ConditionLayer<V> {
    /// Answers 428 (RFC 6585 section 3) to unsafe requests that have no precondition. `If-Match: *` is one: it is true if
    /// there is any current representation, so that it keeps no update from being lost.
    pub fn require_precondition(mut self) -> Self {
        self.options.required = true;
        self
    }
}

impl<S, V: Clone> Layer<S> for ConditionLayer<V> {
    type Service = Condition<S, V>;

    fn layer(&self, inner: S) -> Self::Service {
        Condition { inner, layer: self.clone() }
    }
}

/// The service that [`ConditionLayer`] makes. It is always ready; where the wrapped one is called, it
/// is driven to readiness in the response future.
#[derive(Debug, Clone)]
pub struct Condition<S, V = ByFunctions> {
    inner: S,
    layer: ConditionLayer<V>,
}

macro_rules! service {
    ($validators:ty, $probe:expr, $($bound:tt)*) => {
        impl<S, ReqBody, B> Service<Request<ReqBody>> for Condition<S, $validators>
        where
            S: Service<Request<ReqBody>, Response = Response<B>> + Clone + Send + 'static,
            S::Future: Send,
            S::Error: Send,
            ReqBody: $($bound)*,
            B: Body<Data = Bytes> + Send + 'static,
            B::Error: Into<BoxError>,
        {
            type Response = Response<ResponseBody<B>>;
            type Error = S::Error;
            type Future = BoxedFuture<Result<Self::Response, S::Error>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
                Box::pin(respond(self.layer.options.clone(), self.inner.clone(), request, $probe))
            }
        }
    };
}

service!(ByFunctions, None, Send + 'static);
service!(ByGet, Some(ReqBody::default), Default + Send + 'static);

/// Answers a request; `probe` makes the body of a GET where that is to find the validators.
async fn respond<S, ReqBody, B>(
    options: Options,
    inner: S,
    request: Request<ReqBody>,
    probe: Option<fn() -> ReqBody>,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone,
{
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let reads = method == Method::GET || method == Method::HEAD;
    // RFC 9110 section 13.2.1: other safe methods select no representation, and change none.
    let selects = reads || !(is_safe(&method) || method == Method::CONNECT);
    if !selects || (reads && probe.is_some()) {
        return forward(inner, Request::from_parts(parts, body), None).await;
    }
    let conditional =
        [IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE].iter().any(|n| parts.headers.contains_key(n));
    if !reads && !conditional && options.required {
        return Ok(empty(StatusCode::PRECONDITION_REQUIRED));
    }
    let exchange = |parts| exchange(&options, inner, Request::from_parts(parts, body), probe, conditional);
    if reads {
        return exchange(parts).await;
    }
    // Writes without a precondition take their turn too: none comes between the evaluation of
    // another's and its write.
    let run = WriteLocks::run(&options.turns, options.limits, parts, exchange).await;
    run.unwrap_or_else(|refusal| Ok(refusal.into_response()))
}

/// Evaluates the preconditions of a request, and forwards it if they hold.
async fn exchange<S, ReqBody, B>(
    options: &Options,
    inner: S,
    request: Request<ReqBody>,
    probe: Option<fn() -> ReqBody>,
    conditional: bool,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>> + Clone,
{
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let reads = method == Method::GET || method == Method::HEAD;
    if !reads && !conditional {
        return forward(inner, Request::from_parts(parts, body), None).await;
    }
    let current = match probe {
        None => Some(options.find(&parts).await),
        Some(probe) => options.probe.current(inner.clone(), &parts, probe()).await?,
    };
    // What is not known can't be what the client expects.
    let Some(current) = current else { return Ok(empty(StatusCode::PRECONDITION_FAILED)) };
    if !reads && options.required && !is_precondition(&parts.headers, &current) {
        return Ok(empty(StatusCode::PRECONDITION_REQUIRED));
    }
    match evaluate(&method, &parts.headers, &current) {
        Evaluation::Proceed => {
            let added = reads.then_some(&current);
            forward(inner, Request::from_parts(parts, body), added).await
        }
        Evaluation::NotModified => {
            let mut response = Response::new(ResponseBody::absent());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            add(&current, response.headers_mut());
            Ok(response)
        }
        Evaluation::Failed => {
            let mut response = empty(StatusCode::PRECONDITION_FAILED);
            add(&current, response.headers_mut());
            Ok(response)
        }
    }
}

async fn forward<S, ReqBody, B>(
    inner: S,
    mut request: Request<ReqBody>,
    current: Option<&Validators>,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    let entered = Edge::enter(&mut request);
    let mut call = pin!(inner.oneshot(request));
    // Declared after the call, so that it is dropped before.
    let mut edge = entered;
    let mut response = call.as_mut().await?.map(ResponseBody::forwarded);
    receive(&mut response, &[]);
    if let Some(current) = current.filter(|_| response.status().is_success()) {
        add(current, response.headers_mut());
    }
    leave(&mut response, &mut edge);
    Ok(response)
}

fn empty<B>(status: StatusCode) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = status;
    response
}

/// Adds validators where there are none.
fn add(current: &Validators, headers: &mut HeaderMap) {
    EntityTag::remove_malformed(headers, current.etag.is_some());
    // A header section that is full goes without.
    if let Some(etag) = current.etag.as_ref().filter(|_| !headers.contains_key(ETAG)) {
        let _ = headers.try_insert(ETAG, etag.to_value());
    }
    if let Some(date) = current.last_modified.filter(|_| !headers.contains_key(LAST_MODIFIED))
        && let Some(date) = crate::rules::date::format(date)
    {
        let _ = headers.try_insert(LAST_MODIFIED, date);
    }
}

/// Tells whether the preconditions of a write can fail if it is based on something else than what is
/// current: what is ignored, and a tag that must *not* be the current one, protect nothing.
fn is_precondition(request: &HeaderMap, current: &Validators) -> bool {
    request.contains_key(IF_MATCH)
        || TagList::from_headers(request, &IF_NONE_MATCH) == TagList::Any
        || (current.last_modified.is_some()
            && matches!(field_date(request, &IF_UNMODIFIED_SINCE), FieldDate::At(_)))
}
