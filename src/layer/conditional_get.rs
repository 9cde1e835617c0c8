//! The layer that adds entity tags, and answers conditional and range requests.

use crate::body::{PeekedBody, ResponseBody};
use crate::error::BoxError;
use crate::marks::LayerPosition;
use crate::rules::accept::is_coded;
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::entity_tag::{Comparison, EntityTag, TagList};
use crate::rules::preconditions::has_preconditions;
use crate::rules::selection::{Selection, select};
use crate::rules::storability::declared_length;
use crate::serve::{receive, send_and_refuse_rest};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_RANGE, ETAG, IF_NONE_MATCH, RANGE};
use http::response::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use sha2::{Digest, Sha256};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};

/// Adds an `ETag` to complete 200 responses, and answers conditional and range requests (RFC 9110
/// sections 13 and 14).
///
/// Use it to save transfer: GET and HEAD requests are answered with 304, 412, 206 or 416 instead of
/// the whole response. It corresponds to Django's `ConditionalGetMiddleware`. The handler runs for
/// every request. To evaluate preconditions before the handler runs, use a
/// [`PreconditionLayer`](crate::precondition::PreconditionLayer).
///
/// A generated tag is a SHA-256 digest of the body, truncated to 128 bits. The layer never delays
/// the first byte: it hashes a body only if the whole body is ready at once and within
/// [`max_body_bytes`](Self::max_body_bytes). These responses receive no tag:
/// - responses with a longer or slower body,
/// - responses with trailers, or with an empty body (for example to HEAD),
/// - responses with `no-store`, or with `Content-Range`,
/// - responses that already have a valid tag.
///
/// The layer also evaluates preconditions against validators that the response already has, for
/// example from a file server, even if the body is streamed. Ranges are selected only from bodies
/// that were complete at once.
///
/// # Where the layer belongs
/// Place it outside all layers that create or change the body. An inner cache layer answers
/// conditional requests from stored responses itself. Responses that already have a tag are not
/// hashed again.
///
/// # Weak and strong tags
/// - Generated tags are weak by default, because an outer compression layer may send different
///   bytes with the same tag. Use [`strong`](Self::strong) only if no outer layer changes the
///   bytes.
/// - The strong tag of an inner layer becomes weak if the response has a `Content-Encoding`,
///   because a compressor may produce different bytes for the same page.
/// - The tag of a 304 becomes weak, because the client's copy may be compressed. It stays strong if
///   `If-None-Match` names it as strong.
/// - A weak tag permits a 304, but not a resumed download (`If-Range`, RFC 9110 section 13.1.5).
///   With a date in `If-Range`, a download is resumed only with [`strong`](Self::strong).
///
/// # Example
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_response_cache::ConditionalGetLayer;
///
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(ConditionalGetLayer::new().max_body_bytes(64 << 10));
/// # }
/// ```
#[doc(alias = "ETag")]
#[doc(alias = "If-None-Match")]
#[doc(alias = "304")]
#[doc(alias = "Range")]
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct ConditionalGetLayer {
    max_body_bytes: u64,
    comparison: Comparison,
}

const DEFAULT_MAX_BODY: u64 = 1 << 20;

impl Default for ConditionalGetLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl ConditionalGetLayer {
    /// Creates a layer with the default options: weak tags, and bodies of up to 1 MiB.
    pub fn new() -> Self {
        Self { max_body_bytes: DEFAULT_MAX_BODY, comparison: Comparison::Weak }
    }

    /// Sets the largest body that is hashed, in bytes. The default is 1 MiB.
    ///
    /// Larger bodies are forwarded without a tag.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Makes generated tags weak. Outer layers may then change the bytes of a body, but not its
    /// meaning. This is the default.
    pub fn weak(mut self) -> Self {
        self.comparison = Comparison::Weak;
        self
    }

    /// Makes generated tags strong. Use it only if no outer layer changes the bytes.
    ///
    /// Inner layers may change the bytes, because the tag is computed from their output.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::ConditionalGetLayer;
    ///
    /// let layer = ConditionalGetLayer::new().strong();
    /// ```
    pub fn strong(mut self) -> Self {
        self.comparison = Comparison::Strong;
        self
    }
}

impl<S> Layer<S> for ConditionalGetLayer {
    type Service = ConditionalGet<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConditionalGet { inner, layer: *self }
    }
}

/// The service that [`ConditionalGetLayer`] creates.
///
/// The service is ready if the inner service is ready.
#[derive(Debug, Clone)]
pub struct ConditionalGet<S> {
    inner: S,
    layer: ConditionalGetLayer,
}

impl<S> ConditionalGet<S> {
    /// Wraps a service, as a [`ConditionalGetLayer`] with the default options does.
    #[must_use]
    pub fn new(inner: S) -> Self {
        ConditionalGetLayer::new().layer(inner)
    }

    inner_service_accessors!();
}

impl ConditionalGet<()> {
    /// Creates a layer with the default options.
    pub fn layer() -> ConditionalGetLayer {
        ConditionalGetLayer::new()
    }
}

impl<S, ReqBody, B> Service<Request<ReqBody>> for ConditionalGet<S>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ConditionalGetFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let position = LayerPosition::enter(&mut request);
        let reads = *request.method() == Method::GET || *request.method() == Method::HEAD;
        let conditional = reads.then(|| {
            let headers = request.headers();
            // Most requests have no conditions, and need no copy of their fields.
            let conditions = has_preconditions(headers) || headers.contains_key(RANGE);
            let conditions = conditions.then(|| headers.clone());
            ConditionalRequest { method: request.method().clone(), conditions, layer: self.layer }
        });
        ConditionalGetFuture { position, call: self.inner.call(request), conditional }
    }
}

pin_project! {
    /// The response future of [`ConditionalGet`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ConditionalGetFuture<F> {
        // Declared before `call`, so that it is dropped first and abandons the held admissions. A
        // drop of `call` would refuse them: see the module `patch`.
        position: LayerPosition,
        #[pin]
        call: F,
        conditional: Option<ConditionalRequest>,
    }
}

impl<F, B, E> Future for ConditionalGetFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.call.poll(cx))?;
        receive(&mut response, &[]);
        let conditional = this.conditional.take();
        weaken_if_coded(
            &mut response,
            conditional.as_ref().and_then(|conditional| conditional.conditions.as_ref()),
        );
        let mut response = match conditional {
            Some(conditional) if response.status() == StatusCode::OK => conditional.answer(response, cx),
            _ => response.map(ResponseBody::forwarded),
        };
        send_and_refuse_rest(&mut response, this.position);
        Poll::Ready(Ok(response))
    }
}

/// Makes the strong tag of an inner layer weak if the response has a content coding.
///
/// A 304 does not show the coding of the client's copy. So the tag of a 304 becomes weak, unless
/// the request names it as strong.
fn weaken_if_coded<B>(response: &mut Response<B>, conditions: Option<&HeaderMap>) {
    let is_of_coded = match response.status() {
        StatusCode::NOT_MODIFIED => {
            conditions.is_some_and(|request| !names_strongly(request, response.headers()))
        }
        _ => is_coded(response.headers()),
    };
    if is_of_coded {
        EntityTag::weaken(response.headers_mut());
    }
}

/// Returns `true` if `If-None-Match` contains the tag of the response as a strong tag.
fn names_strongly(request: &HeaderMap, response: &HeaderMap) -> bool {
    let own = EntityTag::of_response(response);
    match (TagList::from_headers(request, &IF_NONE_MATCH), own) {
        (TagList::Tags(tags), Some(own)) => tags.iter().any(|tag| tag.strong_eq(&own)),
        _ => false,
    }
}

/// The parts of a GET or HEAD that decide how the layer changes the response.
#[derive(Debug)]
struct ConditionalRequest {
    method: Method,
    /// The header fields of the request, if they contain preconditions or `Range`.
    conditions: Option<HeaderMap>,
    layer: ConditionalGetLayer,
}

impl ConditionalRequest {
    fn answer<B>(self, response: Response<B>, cx: &mut Context<'_>) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        EntityTag::remove_malformed(&mut parts.headers, true);
        let untagged = !parts.headers.contains_key(ETAG)
            && !parts.headers.contains_key(CONTENT_RANGE)
            && !ResponseDirectives::from_headers(&parts.headers).no_store;
        let ranged = self.conditions.as_ref().is_some_and(|conditions| conditions.contains_key(RANGE));
        if !untagged && !ranged {
            return self.select(parts, ResponseBody::forwarded(body));
        }
        // If the declared lengths contradict each other, the body is not read here: the server
        // decides how the exchange fails.
        let Ok(declared) = declared_length(&parts.headers) else {
            return self.select(parts, ResponseBody::forwarded(body));
        };
        match ResponseBody::peek(body, declared, self.layer.max_body_bytes, cx) {
            PeekedBody::Complete(pieces) => {
                let empty = pieces.iter().all(Bytes::is_empty);
                if untagged && !empty {
                    let digest =
                        pieces.iter().fold(Sha256::new(), |digest, piece| digest.chain_update(piece));
                    let tag = EntityTag::from_sha256(&digest.finalize().into(), self.layer.comparison);
                    // If the header map is full, the response gets no tag.
                    let _ = parts.headers.try_insert(ETAG, tag.to_value());
                }
                // The body of a response to HEAD does not have the length of the page.
                let length =
                    (self.method == Method::GET).then(|| pieces.iter().map(|p| p.len() as u64).sum());
                match self.selection(&parts, length) {
                    Selection::Whole => Response::from_parts(parts, ResponseBody::pieces(pieces)),
                    selection @ (Selection::Parts(_) | Selection::Unsatisfiable) => {
                        ResponseBody::selected(&selection, parts, concatenate(&pieces))
                    }
                    selection => ResponseBody::selected(&selection, parts, Bytes::new()),
                }
            }
            PeekedBody::Begun(body) => self.select(parts, body),
        }
    }

    /// Selects the answer if the length of the body is unknown. The answer has the whole body or no
    /// body, since a range needs a length.
    fn select<B>(&self, parts: Parts, body: ResponseBody<B>) -> Response<ResponseBody<B>> {
        match self.selection(&parts, None) {
            Selection::Whole => Response::from_parts(parts, body),
            selection => ResponseBody::selected(&selection, parts, Bytes::new()),
        }
    }

    fn selection(&self, parts: &Parts, length: Option<u64>) -> Selection {
        match &self.conditions {
            Some(conditions) => {
                let strong_dates = self.layer.comparison == Comparison::Strong;
                select(&self.method, conditions, &parts.headers, length, strong_dates)
            }
            None => Selection::Whole,
        }
    }
}

fn concatenate(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [piece] => piece.clone(),
        pieces => {
            let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
            pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
            joined.freeze()
        }
    }
}
