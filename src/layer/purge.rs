//! The service that invalidates by HTTP requests, for deployment scripts and editorial back ends.

use super::purge_query::PurgeQuery;
use crate::cache::{Cache, Delivery};
use crate::error::{ConfigError, ConfigErrorKind};
use crate::rules::list::trim;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use subtle::ConstantTimeEq;
use tower::Service;

type PurgePredicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// Invalidates the targets that authorized requests name, in one [`Cache`].
///
/// Use it for deployment scripts, or for the back end of an editorial system. Handlers of the
/// application call [`Cache::invalidate`] instead.
///
/// A request names its targets in its query, form-urlencoded (a space is `+`, a plus `%2B`, an
/// ampersand `%26`). The service ignores the path of the request, and never reads its body.
///
/// | parameter | target |
/// |---|---|
/// | `path=/flavors/vanilla` | [`Invalidation::path`](crate::Invalidation::path) |
/// | `uri=/a?x=1` | [`Invalidation::uri`](crate::Invalidation::uri) |
/// | `subtree=/shop` | [`Invalidation::subtree`](crate::Invalidation::subtree) |
/// | `tag=flavors` | [`Invalidation::tag`](crate::Invalidation::tag) |
/// | `all=true` | [`Invalidation::all`](crate::Invalidation::all), without other targets |
/// | `soft=true` | [`Invalidation::soft`](crate::Invalidation::soft), for all targets of the request |
/// | `host=shop.example` | [`Invalidation::host`](crate::Invalidation::host), for all targets of the request |
///
/// The first four parameters may be repeated and combined, up to 256 in total. The value of `path`,
/// `uri` or `subtree` begins with a slash, or is a complete URL.
///
/// # Responses
/// Authorization is checked first, so an unauthorized request learns nothing.
///
/// | status | reason |
/// |---|---|
/// | 401 | the secret is wrong or missing |
/// | 403 | the predicate returned `false` |
/// | 405 | the method is not POST |
/// | 400 | there is no target, or more than 256, or a parameter is unknown, empty or contradictory. Nothing is invalidated, and the body names the mistake |
/// | 202 | the store failed: the invalidation is [queued](crate::invalidation::Delivery::Queued) |
/// | 204 | all targets are invalidated, whether or not any of them was stored |
///
/// Every response has `Cache-Control: no-store`.
///
/// # Where the service belongs
/// Place it on a listener or host that the public cannot reach. Use TLS if the secret leaves the
/// machine. Place it beside the cache layers, not inside one. In axum, routes that are added after
/// `Router::layer` are not inside that layer.
///
/// # Cancel safety
/// If the future is dropped before it is ready (for example because the client disconnects), the
/// targets may or may not be invalidated. Repeating the request is harmless.
///
/// # Example
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_response_cache::{Cache, MemoryStore, PurgeService, SiteCacheLayer};
///
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20)); // bytes
/// let site: Router = Router::new()
///     .route("/", get(|| async { "a page" }))
///     .layer(SiteCacheLayer::new(&cache));
///
/// // For another listener, on the loopback address:
/// // curl -X POST -H 'Authorization: Bearer 5bW0q…' 'http://127.0.0.1:8001/purge?path=/&tag=flavors'
/// # let secret = "5bW0q";
/// let internal: Router = Router::new().route_service("/purge", PurgeService::with_secret(&cache, secret)?);
/// # let _ = (site, internal);
/// # }
/// # Ok::<_, tower_response_cache::error::ConfigError>(())
/// ```
#[doc(alias = "purge")]
#[doc(alias = "ban")]
#[doc(alias = "soft purge")]
#[doc(alias = "surrogate key")]
#[derive(Debug, Clone)]
#[must_use]
pub struct PurgeService {
    cache: Cache,
    guard: Guard,
}

#[derive(Clone)]
enum Guard {
    /// The digest of the secret.
    Secret([u8; 32]),
    PurgePredicate(Arc<PurgePredicate>),
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::PurgePredicate(_) => "PurgePredicate",
        })
    }
}

impl PurgeService {
    /// Creates a service for requests that present a secret.
    ///
    /// A request is authorized if it has `Authorization: Bearer` with the secret, and no second
    /// `Authorization` line. Other requests are answered with 401.
    ///
    /// The time of the comparison reveals nothing about the secret. Use a long random secret,
    /// because the service does not limit the number of attempts.
    ///
    /// # Errors
    /// Returns an error if the secret is empty, or contains a character other than visible ASCII. A
    /// common mistake is the line feed at the end of a file: no request can carry it. The error
    /// does not contain the secret.
    #[doc(alias = "bearer token")]
    pub fn with_secret(cache: &Cache, secret: impl Into<String>) -> Result<Self, ConfigError> {
        let secret = secret.into();
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new(ConfigErrorKind::InvalidSecret, ""));
        }
        Ok(Self { cache: cache.clone(), guard: Guard::Secret(digest(secret.as_bytes())) })
    }

    /// Creates a service for requests that a predicate accepts.
    ///
    /// Use it if an authentication layer adds an extension to the request, or to check the address
    /// of the client. Rejected requests are answered with 403.
    ///
    /// # Security
    /// A predicate that relies on a cookie must also check `Origin`. Otherwise, any page that an
    /// editor visits can invalidate in the editor's name.
    ///
    /// # Panics
    /// If the predicate panics, the response future panics, and nothing is invalidated.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, MemoryStore, PurgeService};
    ///
    /// #[derive(Clone)]
    /// struct Editor;
    ///
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let purge = PurgeService::authorized_by(&cache, |request| {
    ///     request.extensions.get::<Editor>().is_some()
    /// });
    /// # let _ = purge;
    /// ```
    pub fn authorized_by(cache: &Cache, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self { cache: cache.clone(), guard: Guard::PurgePredicate(Arc::new(predicate)) }
    }

    async fn answer(self, request: Parts) -> Response<String> {
        if let Some(refusal) = self.guard.refusal(&request) {
            return refusal;
        }
        if request.method != Method::POST {
            return with_field(StatusCode::METHOD_NOT_ALLOWED, ALLOW, "POST");
        }
        let purge = match PurgeQuery::read(request.uri.query().unwrap_or_default()) {
            Ok(purge) => purge,
            Err(wrong) => return explained(StatusCode::BAD_REQUEST, wrong),
        };
        match self.cache.invalidate(purge.invalidation()).await {
            Delivery::Delivered => empty(StatusCode::NO_CONTENT),
            Delivery::Queued => {
                let queued = "the store failed: the invalidation is queued, and other processes may still serve the targets";
                explained(StatusCode::ACCEPTED, queued)
            }
        }
    }
}

impl<ReqBody> Service<Request<ReqBody>> for PurgeService {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (service, request) = (self.clone(), request.into_parts().0);
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

impl Guard {
    fn refusal(&self, request: &Parts) -> Option<Response<String>> {
        match self {
            Self::Secret(secret) => {
                // Compares digests: all digests have one length, and do not reveal how much of a
                // guess is right.
                let has_secret = |token| bool::from(digest(token).ct_eq(secret));
                let refusal = || with_field(StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, "Bearer");
                (!bearer_token(&request.headers).is_some_and(has_secret)).then(refusal)
            }
            Self::PurgePredicate(predicate) => (!predicate(request)).then(|| empty(StatusCode::FORBIDDEN)),
        }
    }
}

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Returns the token of the scheme `Bearer`, if the request has exactly one `Authorization` line
/// (RFC 6750 section 2.1, RFC 9110 section 11.4).
fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(AUTHORIZATION).into_iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let line = line.as_bytes();
    let (scheme, token) = line.split_at(line.iter().position(|byte| *byte == b' ')?);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| trim(token))
}

fn empty(status: StatusCode) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn with_field(status: StatusCode, name: HeaderName, value: &'static str) -> Response<String> {
    let mut response = empty(status);
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

fn explained(status: StatusCode, what: &str) -> Response<String> {
    with_field(status, CONTENT_TYPE, "text/plain; charset=utf-8").map(|_| format!("{what}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn debug_output_hides_the_secret_and_invalid_secrets_are_errors() {
        let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
        let purge = PurgeService::with_secret(&cache, "open-sesame").expect("a secret");
        assert!(format!("{purge:?}").contains("Secret") && !format!("{purge:?}").contains("sesame"));
        for secret in ["", " ", "a b", "sesame\n", "s\u{e9}same"] {
            let error = PurgeService::with_secret(&cache, secret).expect_err("no secret");
            assert_eq!((error.kind(), error.value()), (ConfigErrorKind::InvalidSecret, ""), "{secret:?}");
        }
    }
}
