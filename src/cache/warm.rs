//! Warm-up: requests that fill the cache before visitors send them.

use super::handle::Cache;
use crate::error::BoxError;
use crate::key::canonical_authority;
use crate::status::{CacheStatus, WantsStatus};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::Empty;
use std::future::poll_fn;
use std::pin::pin;
use tower::{Service, ServiceExt};

/// The outcome of one request of a warm-up. [`Cache::warm_with`] reports it.
#[derive(Debug)]
pub struct WarmOutcome {
    uri: Uri,
    status: Option<StatusCode>,
    is_cached: bool,
    detail: Option<&'static str>,
}

impl WarmOutcome {
    /// Returns the URI of the request.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the status of the response, or `None` if the service or the body failed.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns `true` if the response was stored already, or if its head permits storing it.
    ///
    /// In the second case, the body may still prevent that: it may be too large or have trailers.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// Returns the reason why the response is not stored: the word that
    /// [`CacheStatus::detail_word`] returns for the response.
    #[must_use]
    pub fn detail(&self) -> Option<&'static str> {
        self.detail
    }
}

/// The number of requests of a warm-up, by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WarmSummary {
    cached: usize,
    uncached: usize,
    failed: usize,
}

impl WarmSummary {
    /// Returns the number of responses that were stored already, or whose head permits storing them
    /// (see [`WarmOutcome::is_cached`]).
    #[must_use]
    pub fn cached(&self) -> usize {
        self.cached
    }

    /// Returns the number of responses that do not count as [`cached`](Self::cached).
    #[must_use]
    pub fn uncached(&self) -> usize {
        self.uncached
    }

    /// Returns the number of requests whose service or body failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed
    }
}

/// The number of requests that [`Cache::warm`] sends at a time.
const MAX_CONCURRENT: usize = 8;

impl Cache {
    /// Sends requests through a service with cache layers, so that their responses are stored
    /// before visitors request them.
    ///
    /// The requests have the form of HTTP/1.1 requests without cookies and credentials. At most eight
    /// requests run at a time.
    ///
    /// Responses are stored by host, so pass absolute URIs. The authority of a URI becomes the
    /// `Host` field (RFC 9112 section 3.2.1). The field has the form that clients send: it is in
    /// lower case, without a trailing dot and without the default port of the scheme. A request for
    /// a URI without an authority has no `Host` field.
    ///
    /// For other requests, use [`warm_with`](Self::warm_with). For example, HTTP/2 requests have a
    /// scheme, which is part of the key.
    ///
    /// The future can be `Send` even if the service is not `Sync`, such as a boxed service.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the requests in progress are dropped.
    /// Responses that are already stored remain.
    ///
    /// # Example
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use axum::{Router, routing::get};
    /// use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let policy = Policy::app().default_ttl(std::time::Duration::from_secs(60));
    /// let app: Router = Router::new()
    ///     .route("/", get(|| async { "slow" }))
    ///     .layer(SiteCacheLayer::new(&cache).policy(policy.build().expect("valid options")));
    ///
    /// let uris = ["http://shop.example/".parse().expect("a URI")];
    /// let warmed = cache.warm(app, uris).await;
    /// assert_eq!((warmed.cached(), warmed.failed()), (1, 0));
    /// # }
    /// # main() }
    /// ```
    #[doc(alias = "prefetch")]
    #[doc(alias = "preload")]
    pub async fn warm<S, B>(&self, service: S, uris: impl IntoIterator<Item = Uri>) -> WarmSummary
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        self.warm_as(service, uris).await
    }

    /// Sends requests like [`warm`](Self::warm), through a service that accepts only one type of
    /// request body.
    ///
    /// # Cancel safety
    /// As for [`warm`](Self::warm).
    pub async fn warm_as<ReqBody, S, B>(&self, service: S, uris: impl IntoIterator<Item = Uri>) -> WarmSummary
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone,
        ReqBody: Default,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let requests = uris.into_iter().map(as_http_1);
        self.warm_with(service, requests, MAX_CONCURRENT, |_| {}).await
    }

    /// Sends requests through a service with cache layers, and reports each outcome when it is
    /// known.
    ///
    /// `at_a_time` requests run at a time; zero counts as one. The method calls `progress` whenever
    /// a request completes.
    ///
    /// # Cancel safety
    /// As for [`warm`](Self::warm).
    pub async fn warm_with<ReqBody, S, B>(
        &self,
        service: S,
        requests: impl IntoIterator<Item = Request<ReqBody>>,
        at_a_time: usize,
        mut progress: impl FnMut(&WarmOutcome),
    ) -> WarmSummary
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Clone,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let _work = self.begin_work();
        let (mut requests, mut warmed) = (requests.into_iter(), WarmSummary::default());
        // The closure owns the service, so that the future is `Send` even if the service is not
        // `Sync`.
        let fetch = move |request| fetch(service.clone(), request);
        let mut under_way: FuturesUnordered<_> =
            requests.by_ref().take(at_a_time.max(1)).map(&fetch).collect();
        while let Some(page) = under_way.next().await {
            let count = match &page {
                WarmOutcome { status: None, .. } => &mut warmed.failed,
                WarmOutcome { is_cached: true, .. } => &mut warmed.cached,
                WarmOutcome { .. } => &mut warmed.uncached,
            };
            *count += 1;
            progress(&page);
            under_way.extend(requests.next().map(&fetch));
        }
        warmed
    }
}

/// Creates a request in the form in which an HTTP/1.1 server receives it from a client.
fn as_http_1<ReqBody: Default>(uri: Uri) -> Request<ReqBody> {
    let mut request = Request::new(ReqBody::default());
    let host = uri.authority().and_then(|authority| {
        let sent = || authority.as_str().to_owned();
        let host = canonical_authority(authority.as_str().as_bytes(), uri.scheme_str()).unwrap_or_else(sent);
        HeaderValue::try_from(host).ok()
    });
    *request.uri_mut() = match (&host, uri.path_and_query()) {
        (Some(_), Some(path)) => Uri::from(path.clone()),
        _ => uri,
    };
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    request
}

/// Sends one request, and reads the body to its end: a body that is dropped early is not stored.
async fn fetch<S, ReqBody, B>(service: S, mut request: Request<ReqBody>) -> WarmOutcome
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let uri = request.uri().clone();
    request.extensions_mut().insert(WantsStatus);
    let failed = |uri| WarmOutcome { uri, status: None, is_cached: false, detail: None };
    let Ok(response) = service.oneshot(request).await else { return failed(uri) };
    let (parts, body) = response.into_parts();
    let mut body = pin!(body);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        if frame.is_err() {
            return failed(uri);
        }
    }
    let status = parts.extensions.get::<CacheStatus>();
    let is_cached = status.is_some_and(|status| status.is_hit() || status.is_stored());
    WarmOutcome {
        uri,
        status: Some(parts.status),
        is_cached,
        detail: status.and_then(CacheStatus::detail_word),
    }
}
