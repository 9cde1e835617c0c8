//! The service that shows a cache to its operators.

use super::answer::{asset, empty, json_with, method_not_allowed, mistake, redirect, secured, without_body};
use super::endpoint::{Endpoint, missing_slash};
use super::form::{self, FormFields, Rejection};
use super::history::CounterHistory;
use super::json;
use super::origin_check::{check_site, check_token};
use super::sample_request::sample_request;
use super::token::RequestToken;
use crate::cache::{Cache, CacheStats, Delivery};
use crate::clock::Moment;
use crate::layer::PurgeQuery;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use serde_json::json;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tower::Service;

type InspectorPredicate = dyn Fn(&Parts) -> bool + Send + Sync;
type RefusalFunction = dyn Fn(&Parts) -> Response<String> + Send + Sync;

/// Shows a [`Cache`] to its operators: a page in the browser, and JSON for scripts.
///
/// The page shows the hit ratio and the requests of the last hour, the reasons why responses are not
/// stored, the top paths, the store and the work in progress. On it, an operator looks up the
/// decision on a request, purges pages and tags, and turns the cache off. The
/// [guide](crate::docs::inspector) has a picture of it.
///
/// # Addresses
/// The service looks at the last segment of the path only, so it works under any prefix, whether or
/// not a router strips the prefix.
///
/// | address | method | answer |
/// |---|---|---|
/// | the path itself, with a slash at its end | GET | the page; with axum, a request without the slash is redirected |
/// | `inspector.css`, `inspector.js` | GET | its style and its script |
/// | `stats.json` | GET | the statistics |
/// | `explain.json?url=/a&header=Accept:+*/*` | GET | the decision of each layer, as [`Cache::explain`] returns it |
/// | `explain.json` | POST | the same, with the parameters in the form. The values then appear in no access log |
/// | `token.json` | GET | the token that each POST repeats |
/// | `purge` | POST | invalidates; the form has the parameters of a [`PurgeService`](crate::PurgeService) |
/// | `enabled` | POST | calls [`Cache::set_enabled`] with the form's `enabled`, `true` or `false` |
///
/// HEAD is allowed wherever GET is. Look-ups and purges apply to the namespace of the handle, the
/// statistics and the switch to all namespaces.
///
/// # Responses
/// | status | reason |
/// |---|---|
/// | 404 | the predicate returned `false`, or the address is unknown |
/// | 405 | the address has no such method |
/// | 403 | a POST came from another site, or has no valid token |
/// | 413, 415, 408 | the form has more than 8 KiB, another content type, or takes longer than ten seconds |
/// | 400 | a parameter is invalid; the body names the mistake |
/// | 202 | a purge is [queued](crate::invalidation::Delivery::Queued), because the store failed |
/// | 200 | everything else |
///
/// # Security
/// - The predicate is asked on each request, before anything else.
/// - A POST must repeat the token, in the field `X-Inspector-Token` or as `token` in the form. If it
///   has `Sec-Fetch-Site`, the value must be `same-origin`. If it has `Origin`, its host must be the
///   host of the request. So the pages of other sites cannot purge in the name of an operator.
/// - No cache stores an answer, and the caches of this crate do not share one between requests.
/// - An answer contains names of cookies and fields, but no values of credentials, and no bodies. It
///   does contain paths, and the values of keyed fields.
///
/// # Cancel safety
/// If the future is dropped before it is ready, a purge may or may not have happened. Repeating it is
/// harmless.
///
/// # Example
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_response_cache::{Cache, InspectorService, MemoryStore, SiteCacheLayer};
///
/// #[derive(Clone)]
/// struct Operator; // An authentication layer adds it to the requests of operators.
///
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let inspector = InspectorService::new(&cache, |request| request.extensions.get::<Operator>().is_some());
/// let app: Router = Router::new()
///     .route("/", get(|| async { "a page" }))
///     .layer(SiteCacheLayer::new(&cache))
///     .nest_service("/_cache", inspector);
/// # let _ = app;
/// # }
/// ```
#[doc(alias = "dashboard")]
#[doc(alias = "admin")]
#[doc(alias = "debug")]
#[derive(Clone)]
#[must_use]
pub struct InspectorService {
    cache: Cache,
    predicate: Arc<InspectorPredicate>,
    refusal: Option<Arc<RefusalFunction>>,
    state: Arc<InspectorState>,
}

/// The state that the clones of an inspector share.
#[derive(Debug)]
struct InspectorState {
    token: RequestToken,
    history: Mutex<CounterHistory>,
}

impl InspectorState {
    fn history(&self) -> MutexGuard<'_, CounterHistory> {
        // No code panics under this lock.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InspectorService {
    /// Creates an inspector for the requests that a predicate accepts.
    ///
    /// There is no inspector without a predicate:
    ///
    /// ```compile_fail
    /// use tower_response_cache::{Cache, InspectorService, MemoryStore};
    ///
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let inspector = InspectorService::new(&cache); // The predicate is missing.
    /// ```
    ///
    /// The predicate usually checks an extension that an authentication layer adds, or a password in
    /// `Authorization`.
    ///
    /// # Security
    /// A predicate that checks only the address of the client lets every program on that machine in.
    /// Through a host name that a foreign page points to this address (DNS rebinding), it lets the
    /// page in, too. Also check `Host`.
    ///
    /// # Panics
    /// If the predicate panics, the response future panics.
    ///
    /// # Example
    /// ```
    /// use http::Request;
    /// use tower::ServiceExt;
    /// use tower_response_cache::{Cache, InspectorService, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// #[derive(Clone)]
    /// struct Operator;
    ///
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let inspector = InspectorService::new(&cache, |request| request.extensions.get::<Operator>().is_some());
    ///
    /// let visitor = Request::get("/stats.json").body(String::new())?;
    /// assert_eq!(inspector.clone().oneshot(visitor).await?.status(), 404);
    ///
    /// let operator = Request::get("/stats.json").extension(Operator).body(String::new())?;
    /// assert_eq!(inspector.oneshot(operator).await?.status(), 200);
    /// # Ok(()) }
    /// ```
    pub fn new(cache: &Cache, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        let history = Mutex::new(CounterHistory::new(cache.clock().now(), &cache.stats()));
        Self {
            cache: cache.clone(),
            predicate: Arc::new(predicate),
            refusal: None,
            state: Arc::new(InspectorState { token: RequestToken::random(), history }),
        }
    }

    /// Sets the response to requests that the predicate does not accept.
    ///
    /// By default, it is a 404 without a body. The service adds the fields that all its responses
    /// have, such as `Cache-Control: no-store`.
    ///
    /// # Example
    /// ```
    /// use http::{Response, header::WWW_AUTHENTICATE};
    /// use tower_response_cache::{Cache, InspectorService, MemoryStore};
    ///
    /// # fn has_password(request: &http::request::Parts) -> bool { false }
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let inspector = InspectorService::new(&cache, has_password).on_refusal(|_| {
    ///     let mut response = Response::new(String::new());
    ///     *response.status_mut() = http::StatusCode::UNAUTHORIZED;
    ///     response.headers_mut().insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Basic"));
    ///     response
    /// });
    /// # let _ = inspector;
    /// ```
    pub fn on_refusal(
        mut self,
        response: impl Fn(&Parts) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        self.refusal = Some(Arc::new(response));
        self
    }

    async fn answer<B: Body>(&self, request: &Parts, body: B) -> Response<String> {
        if !(self.predicate)(request) {
            return self
                .refusal
                .as_ref()
                .map_or_else(|| empty(StatusCode::NOT_FOUND), |refusal| refusal(request));
        }
        let Some(endpoint) = Endpoint::of(request.uri.path()) else { return empty(StatusCode::NOT_FOUND) };
        if !endpoint.allows(request.method.as_str()) {
            return method_not_allowed(endpoint.methods());
        }
        self.take_sample();
        match request.method {
            Method::POST => {
                let answer = match self.checked_form(request, body).await {
                    Ok(form) => self.answer_post(endpoint, request, form).await,
                    Err(mistake) => Err(mistake),
                };
                answer.unwrap_or_else(|(status, text)| mistake(status, text))
            }
            Method::HEAD => without_body(self.answer_get(endpoint, request).await),
            _ => self.answer_get(endpoint, request).await,
        }
    }

    async fn answer_get(&self, endpoint: Endpoint, request: &Parts) -> Response<String> {
        match endpoint {
            Endpoint::Page => match missing_slash(request.into()) {
                Some(location) => redirect(&location),
                None => asset("text/html; charset=utf-8", include_str!("assets/inspector.html")),
            },
            Endpoint::Style => asset("text/css; charset=utf-8", include_str!("assets/inspector.css")),
            Endpoint::Script => asset("text/javascript; charset=utf-8", include_str!("assets/inspector.js")),
            Endpoint::Token => json_with(StatusCode::OK, &json!({ "token": self.state.token.as_str() })),
            Endpoint::Explain => {
                let query = form::parse(request.uri.query().unwrap_or_default().as_bytes());
                let answer = self.explain(request, &query).await;
                answer.unwrap_or_else(|(status, text)| mistake(status, text))
            }
            Endpoint::Stats => self.stats(),
            Endpoint::Purge | Endpoint::Enabled => method_not_allowed(endpoint.methods()),
        }
    }

    /// Reads the form of a POST, after all checks.
    async fn checked_form<B: Body>(&self, request: &Parts, body: B) -> Result<FormFields, Rejection> {
        check_site(request)?;
        let mut form = form::read(&request.headers, body).await?;
        check_token(&self.state.token, &request.headers, &mut form)?;
        Ok(form)
    }

    async fn answer_post(
        &self,
        endpoint: Endpoint,
        request: &Parts,
        form: FormFields,
    ) -> Result<Response<String>, Rejection> {
        match endpoint {
            Endpoint::Explain => self.explain(request, &form).await,
            Endpoint::Purge => {
                let purge = PurgeQuery::of_parameters(form).map_err(bad_request)?;
                let delivery = self.cache.invalidate(purge.invalidation()).await;
                let status = match delivery {
                    Delivery::Delivered => StatusCode::OK,
                    Delivery::Queued => StatusCode::ACCEPTED,
                };
                Ok(json_with(status, &json::delivery(delivery)))
            }
            Endpoint::Enabled => {
                let on = match form.as_slice() {
                    [(name, on)] if name == "enabled" => on.parse().ok(),
                    _ => None,
                };
                self.cache.set_enabled(
                    on.ok_or_else(|| bad_request("the form is not enabled=true or enabled=false"))?,
                );
                Ok(json_with(StatusCode::OK, &json!({ "enabled": self.cache.is_enabled() })))
            }
            _ => Ok(method_not_allowed(endpoint.methods())),
        }
    }

    async fn explain(&self, request: &Parts, form: &FormFields) -> Result<Response<String>, Rejection> {
        let sample = sample_request(form, request).map_err(bad_request)?;
        let explanations = self.cache.explain(&sample).await;
        Ok(json_with(StatusCode::OK, &json::explanations(&sample, &explanations)))
    }

    fn stats(&self) -> Response<String> {
        let (now, stats) = self.snapshot();
        let period = self.state.history().period(now, &stats);
        json_with(StatusCode::OK, &json::stats(&self.cache, &stats, &period))
    }

    fn take_sample(&self) {
        if self.state.history().is_due(self.cache.clock().now()) {
            let (now, stats) = self.snapshot();
            self.state.history().add(now, &stats);
        }
    }

    /// Reads the statistics. The store, which is foreign code, is called without the lock of the
    /// history.
    fn snapshot(&self) -> (Moment, CacheStats) {
        (self.cache.clock().now(), self.cache.stats())
    }
}

fn bad_request(text: &'static str) -> Rejection {
    (StatusCode::BAD_REQUEST, text)
}

impl fmt::Debug for InspectorService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InspectorService").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for InspectorService
where
    B: Body<Data: Send> + Send + 'static,
{
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (service, (request, body)) = (self.clone(), request.into_parts());
        Box::pin(async move { Ok(secured(service.answer(&request, body).await)) })
    }
}
