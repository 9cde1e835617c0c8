//! The service that evaluates preconditions before the handler runs.

use super::precondition_layer::{ByFunctions, ByGet, PreconditionLayer};
use super::precondition_options::{BoxedFuture, Options};
use super::write_locks::WriteLocks;
use crate::body::ResponseBody;
use crate::error::BoxError;
use crate::marks::LayerPosition;
use crate::rules::date::{FieldDate, field_date};
use crate::rules::entity_tag::{EntityTag, TagList};
use crate::rules::method::is_safe;
use crate::rules::preconditions::{Evaluation, Validators, evaluate};
use crate::serve::{receive, send_and_refuse_rest};
use bytes::Bytes;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use std::pin::pin;
use std::task::{Context, Poll};
use tower::{Layer, Service, ServiceExt};

impl<S, V: Clone> Layer<S> for PreconditionLayer<V> {
    type Service = Precondition<S, V>;

    fn layer(&self, inner: S) -> Self::Service {
        Precondition { inner, layer: self.clone() }
    }
}

/// The service that [`PreconditionLayer`] creates.
///
/// The service is always ready. The response future drives a clone of the inner service to
/// readiness, and then calls that clone.
#[derive(Debug, Clone)]
pub struct Precondition<S, V = ByFunctions> {
    inner: S,
    layer: PreconditionLayer<V>,
}

impl<S> Precondition<S> {
    /// Wraps a service, as the layer of [`PreconditionLayer::new`] does.
    #[must_use]
    pub fn new(inner: S) -> Self {
        PreconditionLayer::new().layer(inner)
    }
}

impl<S> Precondition<S, ByGet> {
    /// Wraps a service, as the layer of [`PreconditionLayer::by_get`] does.
    #[must_use]
    pub fn by_get(inner: S) -> Self {
        PreconditionLayer::by_get().layer(inner)
    }
}

impl<S, V> Precondition<S, V> {
    inner_service_accessors!();
}

impl Precondition<()> {
    /// Creates the layer, as [`PreconditionLayer::new`] does.
    pub fn layer() -> PreconditionLayer {
        PreconditionLayer::new()
    }
}

macro_rules! service {
    ($validators:ty, $probe:expr, $($bound:tt)*) => {
        impl<S, ReqBody, B> Service<Request<ReqBody>> for Precondition<S, $validators>
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

/// Answers a request. `probe` creates the body of the GET that reads the current validators. It is
/// `None` if functions of the user return the validators.
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
    // RFC 9110 section 13.2.1: preconditions are ignored if the method neither selects nor modifies
    // a representation. Such methods are CONNECT, and the safe methods other than GET and HEAD.
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
    // Writes without a precondition wait for the lock, too. Otherwise, such a write could change
    // the resource after the precondition of another write was evaluated.
    let run = WriteLocks::run(&options.locks, options.limits, parts, exchange).await;
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
    // The probe has not shown the current version, so the precondition can't be evaluated.
    let Some(current) = current else { return Ok(empty(StatusCode::PRECONDITION_FAILED)) };
    if !reads && options.required && !detects_other_version(&parts.headers, &current) {
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
            add_validators(&current, response.headers_mut());
            Ok(response)
        }
        Evaluation::Failed => {
            let mut response = empty(StatusCode::PRECONDITION_FAILED);
            add_validators(&current, response.headers_mut());
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
    let entered = LayerPosition::enter(&mut request);
    let mut call = pin!(inner.oneshot(request));
    // Declared after `call`, so that it is dropped first and abandons the held admissions. A drop
    // of `call` would refuse them: see the module `patch`.
    let mut position = entered;
    let mut response = call.as_mut().await?.map(ResponseBody::forwarded);
    receive(&mut response, &[]);
    if let Some(current) = current.filter(|_| response.status().is_success()) {
        add_validators(current, response.headers_mut());
    }
    send_and_refuse_rest(&mut response, &mut position);
    Ok(response)
}

fn empty<B>(status: StatusCode) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = status;
    response
}

/// Adds the current validators to a response that lacks them.
fn add_validators(current: &Validators, headers: &mut HeaderMap) {
    EntityTag::remove_malformed(headers, current.etag.is_some());
    // If the header map is full, the validators are omitted.
    if let Some(etag) = current.etag.as_ref().filter(|_| !headers.contains_key(ETAG)) {
        let _ = headers.try_insert(ETAG, etag.to_value());
    }
    if let Some(date) = current.last_modified.filter(|_| !headers.contains_key(LAST_MODIFIED))
        && let Some(date) = crate::rules::date::format(date)
    {
        let _ = headers.try_insert(LAST_MODIFIED, date);
    }
}

/// Returns `true` if the preconditions of a write can detect that another version is current.
///
/// `If-Match` and `If-None-Match: *` can. `If-None-Match` with tags cannot, because it names only
/// versions that must not be current. `If-Unmodified-Since` can if its date is valid and the
/// resource has a date; otherwise the field is ignored.
fn detects_other_version(request: &HeaderMap, current: &Validators) -> bool {
    request.contains_key(IF_MATCH)
        || TagList::from_headers(request, &IF_NONE_MATCH) == TagList::Any
        || (current.last_modified.is_some()
            && matches!(field_date(request, &IF_UNMODIFIED_SINCE), FieldDate::At(_)))
}
