//! The encoder of stored responses: a compression layer of tower-http, and when it is used.

use crate::rules::accept_encoding::{Coding, CodingSet};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, Version, response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};
use tower_http::CompressionLevel;
use tower_http::compression::{Compression, CompressionBody, CompressionLayer, Predicate};

/// Makes the encoded variants of stored responses, for the option `encode` of the cache layers.
///
/// Its [`CompressionLayer`] decides which responses are compressed, in which codings and with which
/// quality. A `CompressionLayer` converts into an encoder with the default options.
///
/// The layer runs once for each stored response and coding, not for each request. So a slow quality
/// such as [`CompressionLevel::Best`] costs little.
///
/// # Rules
/// 1. A coding is made after a request for it has found the stored response: by default, the second
///    such request starts the work. Until the work is done, requests receive the plain response. An
///    [eager](Self::eager) encoder starts when the response is stored.
/// 2. The work runs on the blocking threads of tokio, a few responses at a time. The bodies count
///    toward [`recording_bytes`](crate::cache::CacheBuilder::recording_bytes).
/// 3. Not encoded are: responses that the predicate of the layer rejects, responses below
///    [`min_bytes`](Self::min_bytes), responses with `no-transform`, `Content-Encoding` or
///    `Content-Range`, and per-identity entries. An encoded response that is not smaller than the
///    plain one is dropped.
///
/// # Example
/// ```
/// use tower_http::CompressionLevel;
/// use tower_http::compression::CompressionLayer;
/// use tower_response_cache::response_cache::ResponseEncoder;
/// use tower_response_cache::{Cache, MemoryStore, SiteCacheLayer};
///
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let encoder = ResponseEncoder::new(CompressionLayer::new().quality(CompressionLevel::Best))
///     .brotli_quality(CompressionLevel::Precise(9))
///     .after_requests(3)
///     .min_bytes(1024);
/// let layer = SiteCacheLayer::new(&cache).encode(encoder);
/// # let _ = layer;
/// ```
#[doc(alias = "compression")]
#[doc(alias = "gzip")]
#[doc(alias = "brotli")]
#[doc(alias = "zstd")]
#[derive(Clone)]
#[must_use]
pub struct ResponseEncoder {
    layer: Arc<dyn ErasedCompression>,
    offered: CodingSet,
    qualities: [Option<CompressionLevel>; Coding::COUNT],
    after_requests: u32,
    is_eager: bool,
    min_bytes: u64,
    encodes_per_identity: bool,
}

/// The least bytes of a body that is encoded by default. A smaller response with its head fits into
/// one packet, whether encoded or not.
const DEFAULT_MIN_BYTES: u64 = 860;

impl ResponseEncoder {
    /// Creates an encoder with the default options.
    pub fn new<P>(layer: CompressionLayer<P>) -> Self
    where
        P: Predicate + Send + Sync + 'static,
    {
        Self {
            offered: offered(&layer),
            layer: Arc::new(layer),
            qualities: [None; Coding::COUNT],
            after_requests: 2,
            is_eager: false,
            min_bytes: DEFAULT_MIN_BYTES,
            encodes_per_identity: false,
        }
    }

    /// Sets how many requests for one coding must find a stored response before that coding is made.
    /// The default is 2. Zero counts as 1.
    ///
    /// The request that stores the response does not count. A low number encodes pages that no
    /// further request needs.
    pub fn after_requests(mut self, requests: u32) -> Self {
        self.after_requests = requests;
        self
    }

    /// Sets whether all codings of a response are made as soon as the response is stored, without a
    /// request for them: e.g. for pages that [`Cache::warm`](crate::Cache::warm) stores. Off by default.
    ///
    /// Codings that are not made then, e.g. because too much other work is in progress, are made after
    /// [`after_requests`](Self::after_requests) requests.
    pub fn eager(mut self, on: bool) -> Self {
        self.is_eager = on;
        self
    }

    /// Sets the least bytes of a body that is encoded. The default is 860.
    pub fn min_bytes(mut self, bytes: u64) -> Self {
        self.min_bytes = bytes;
        self
    }

    /// Sets whether per-identity entries are encoded
    /// ([`vary_by_identity`](crate::policy::PolicyBuilder::vary_by_identity)). Off by default.
    ///
    /// # Security
    /// If a page contains a secret of its visitor beside text that an attacker chooses, the length of
    /// the compressed page reveals the secret (the attack BREACH).
    #[doc(alias = "BREACH")]
    pub fn per_identity(mut self, on: bool) -> Self {
        self.encodes_per_identity = on;
        self
    }

    /// Sets the quality of `br`, in place of the quality of the layer.
    pub fn brotli_quality(self, quality: CompressionLevel) -> Self {
        self.quality(Coding::Brotli, quality)
    }

    /// Sets the quality of `deflate`, in place of the quality of the layer.
    pub fn deflate_quality(self, quality: CompressionLevel) -> Self {
        self.quality(Coding::Deflate, quality)
    }

    /// Sets the quality of `gzip`, in place of the quality of the layer.
    pub fn gzip_quality(self, quality: CompressionLevel) -> Self {
        self.quality(Coding::Gzip, quality)
    }

    /// Sets the quality of `zstd`, in place of the quality of the layer.
    pub fn zstd_quality(self, quality: CompressionLevel) -> Self {
        self.quality(Coding::Zstd, quality)
    }

    fn quality(mut self, coding: Coding, quality: CompressionLevel) -> Self {
        self.qualities[coding.index()] = Some(quality);
        self
    }

    /// Returns the codings that the layer offers.
    pub(crate) fn offered(&self) -> CodingSet {
        self.offered
    }

    /// Returns the number of requests after which a coding is made.
    pub(crate) fn requests_before_encoding(&self) -> u32 {
        self.after_requests.max(1)
    }

    pub(crate) fn is_eager(&self) -> bool {
        self.is_eager
    }

    pub(crate) fn encodes_per_identity(&self) -> bool {
        self.encodes_per_identity
    }

    /// Returns `true` if a body of this length is encoded.
    pub(crate) fn encodes_length(&self, bytes: u64) -> bool {
        bytes > 0 && bytes >= self.min_bytes
    }

    /// Returns `true` if the layer compresses a response with this head, and a body of this length
    /// (`None`: unknown).
    pub(crate) fn compresses(&self, head: &response::Parts, length: Option<u64>) -> bool {
        let Some(coding) = Coding::ALL.into_iter().find(|coding| self.offered.contains(*coding)) else {
            return false;
        };
        let mut parts = head.clone();
        parts.version = Version::HTTP_11;
        self.layer.compresses(coding, Response::from_parts(parts, UnreadBody(length)))
    }

    /// Encodes a response. Returns `None` if the layer does not compress it.
    pub(crate) async fn encode(
        &self,
        coding: Coding,
        response: Response<Full<Bytes>>,
    ) -> Option<Response<Bytes>> {
        self.layer.encode(coding, self.qualities[coding.index()], response).await
    }
}

impl<P> From<CompressionLayer<P>> for ResponseEncoder
where
    P: Predicate + Send + Sync + 'static,
{
    fn from(layer: CompressionLayer<P>) -> Self {
        Self::new(layer)
    }
}

impl fmt::Debug for ResponseEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseEncoder")
            .field("offered", &self.offered)
            .field("qualities", &self.qualities)
            .field("after_requests", &self.after_requests)
            .field("is_eager", &self.is_eager)
            .field("min_bytes", &self.min_bytes)
            .field("encodes_per_identity", &self.encodes_per_identity)
            .finish_non_exhaustive()
    }
}

type EncodedResponse<'a> = Pin<Box<dyn Future<Output = Option<Response<Bytes>>> + Send + 'a>>;

/// A [`CompressionLayer`] with any predicate.
trait ErasedCompression: Send + Sync {
    fn compresses(&self, coding: Coding, response: Response<UnreadBody>) -> bool;

    fn encode(
        &self,
        coding: Coding,
        quality: Option<CompressionLevel>,
        response: Response<Full<Bytes>>,
    ) -> EncodedResponse<'_>;
}

impl<P> ErasedCompression for CompressionLayer<P>
where
    P: Predicate + Send + Sync + 'static,
{
    fn compresses(&self, coding: Coding, response: Response<UnreadBody>) -> bool {
        compressed(self.layer(PreparedResponse(Some(response))), coding).is_some()
    }

    fn encode(
        &self,
        coding: Coding,
        quality: Option<CompressionLevel>,
        response: Response<Full<Bytes>>,
    ) -> EncodedResponse<'_> {
        let service = self.layer(PreparedResponse(Some(response)));
        Box::pin(async move {
            let encoded = match quality {
                Some(quality) => compressed(service.quality(quality), coding),
                None => compressed(service, coding),
            };
            let (parts, body) = encoded?.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(Response::from_parts(parts, body))
        })
    }
}

/// A service that returns a response once.
struct PreparedResponse<B>(Option<Response<B>>);

impl<B> Service<Request<()>> for PreparedResponse<B> {
    type Response = Response<B>;
    type Error = Consumed;
    type Future = Ready<Result<Response<B>, Consumed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Consumed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(self.0.take().ok_or(Consumed))
    }
}

/// The response of a [`PreparedResponse`] was returned before.
#[derive(Debug)]
struct Consumed;

/// Runs a compression service for a request that accepts only one coding. Returns `None` if the
/// service does not encode the response in that coding.
fn compressed<P, B>(
    mut service: Compression<PreparedResponse<B>, P>,
    coding: Coding,
) -> Option<Response<CompressionBody<B>>>
where
    P: Predicate,
    B: Body<Data = Bytes>,
{
    let mut request = Request::new(());
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(coding.name()));
    // The inner service is ready at once, and the compression waits for nothing else.
    let response = service.call(request).now_or_never()?.ok()?;
    let is_encoded = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value == coding.name());
    is_encoded.then_some(response)
}

/// Returns the codings that a layer offers: those in which it encodes a response that every
/// predicate accepts.
fn offered<P: Predicate>(layer: &CompressionLayer<P>) -> CodingSet {
    let accepts_all = |_: StatusCode, _: Version, _: &HeaderMap, _: &Extensions| true;
    let offers = |coding: &Coding| {
        let response = PreparedResponse(Some(Response::new(UnreadBody(None))));
        compressed(layer.layer(response).compress_when(accepts_all), *coding).is_some()
    };
    Coding::ALL.into_iter().filter(offers).collect()
}

/// A body that stands for one of this length (`None`: unknown), and that is not read.
struct UnreadBody(Option<u64>);

impl Body for UnreadBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower_http::compression::predicate::{DefaultPredicate, NotForContentType};

    fn html(length: usize) -> Response<Full<Bytes>> {
        let body = Full::from(vec![b'a'; length]);
        Response::builder().header("content-type", "text/html").body(body).expect("a response")
    }

    #[test]
    fn the_layer_decides_which_codings_are_offered() {
        let of = |encoder: ResponseEncoder| encoder.offered();
        assert_eq!(of(CompressionLayer::new().into()), Coding::ALL.into_iter().collect());
        let gzip_only = CompressionLayer::new().no_br().no_deflate().no_zstd();
        assert_eq!(of(gzip_only.clone().into()), [Coding::Gzip].into_iter().collect());
        assert_eq!(
            of(gzip_only.compress_when(NotForContentType::new("")).into()),
            [Coding::Gzip].into_iter().collect()
        );
    }

    #[test]
    fn predicate_of_the_layer_decides() {
        let predicate = DefaultPredicate::new().and(NotForContentType::new("application/zip"));
        let encoder = ResponseEncoder::new(CompressionLayer::new().compress_when(predicate));
        let head = |kind: &str| {
            Response::builder().header("content-type", kind).body(()).expect("a response").into_parts().0
        };
        assert!(encoder.compresses(&head("text/html"), None));
        assert!(encoder.compresses(&head("text/html"), Some(32)));
        assert!(!encoder.compresses(&head("text/html"), Some(31)));
        assert!(!encoder.compresses(&head("image/png"), None));
        assert!(!encoder.compresses(&head("application/zip"), None));
    }

    #[test]
    fn quality_of_a_coding_replaces_the_quality_of_the_layer() {
        let text: String =
            (0..4000_u32).map(|number| format!("{} ", number.wrapping_mul(2_654_435_761) % 977)).collect();
        let length = |encoder: &ResponseEncoder| {
            let response = html(1).map(|_| Full::from(text.clone()));
            let encoded = encoder.encode(Coding::Gzip, response).now_or_never().flatten().expect("encoded");
            assert_eq!(encoded.headers()[CONTENT_ENCODING], "gzip");
            encoded.body().len()
        };
        let fastest = ResponseEncoder::new(CompressionLayer::new().quality(CompressionLevel::Fastest));
        let best = fastest.clone().gzip_quality(CompressionLevel::Best);
        assert!(length(&best) < length(&fastest));
        assert!(length(&fastest.clone().brotli_quality(CompressionLevel::Best)) == length(&fastest));
    }
}
