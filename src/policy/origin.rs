//! The options that protect the service: stale serving, early refresh, and limits on waiting.

use super::{Policy, PolicyBuilder};
use http::{StatusCode, response};
use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "tower-http")]
use tower_http::classify::{ClassifiedResponse, ClassifyResponse};

impl PolicyBuilder {
    /// Sets how long after its freshness lifetime a response is served while a background refresh
    /// runs (RFC 5861 section 3).
    ///
    /// The default is zero; the longest window is 30 days. A window that the response or the
    /// handler's hints set takes precedence. This window does not apply to error responses, nor to
    /// responses that are stale on arrival.
    ///
    /// A request waits for a new response instead
    /// - if the stored response was invalidated, unless the invalidation was
    ///   [soft](crate::invalidation::Invalidation::soft);
    /// - if the stored response has `must-revalidate`, `proxy-revalidate`, `no-cache` or
    ///   `s-maxage`, or a `Cache-Control` that can't be read (RFC 9111 section 4.2.4);
    /// - if the stored response is a [per-identity entry](Self::vary_by_identity), or varies by a
    ///   field that identifies a visitor;
    /// - if the request has credentials or an undeclared cookie (under
    ///   [`rfc9111`](crate::policy::Policy::rfc9111), where such a request may be answered from the
    ///   cache);
    /// - if a layer between this one and an outer layer of this crate adds an extension that is
    ///   neither [declared](Self::refresh_with) nor [removed](Self::refresh_without);
    /// - if there is no tokio runtime.
    ///
    /// # Refreshes
    /// A refresh is a GET in a separate task on the user's tokio runtime, whose timer must be
    /// enabled. It is derived from the request that found the stale response, without its
    /// credentials, conditions, range and most unkeyed fields; see
    /// [`refresh_headers`](Self::refresh_headers) and [`refresh_request`](Self::refresh_request). A
    /// [part of the key](Self::vary_by) must not be computed from a field that is removed. A
    /// refresh takes 60 seconds at most.
    ///
    /// At most one refresh runs for each key at a time.
    /// [`CacheBuilder::max_refreshes`](crate::cache::CacheBuilder::max_refreshes) limits the
    /// refreshes of all keys.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app()
    ///     .default_ttl(Duration::from_secs(60))
    ///     .stale_while_revalidate(Duration::from_secs(600));
    /// # let _ = policy;
    /// ```
    #[doc(alias = "SWR")]
    #[doc(alias = "grace")]
    #[doc(alias = "background refresh")]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.policy.stale.while_revalidate = Some(window);
        self
    }

    /// Sets how long after its freshness lifetime a response is served if the service fails (RFC
    /// 5861 section 4).
    ///
    /// The default is zero; the longest window is 30 days. A window that the response or the
    /// handler's hints set takes precedence. This window does not apply to error responses, nor to
    /// responses that are stale on arrival. The directives that forbid
    /// [`stale_while_revalidate`](Self::stale_while_revalidate) also forbid a stale response after
    /// a failure.
    ///
    /// A service fails if it
    /// - returns an error,
    /// - exceeds the [`origin_timeout`](Self::origin_timeout),
    /// - responds with 500, 502, 503 or 504, or as the [`error_predicate`](Self::error_predicate)
    ///   decides, or
    /// - responds with a 304 whose validator differs from the validator of the stored response. If
    ///   no stale response may be served, the client receives a 502.
    ///
    /// # Answers that are not stored
    /// If a request finds a stale response and is forwarded, the service may answer with a response
    /// that is not stored, such as a 404. If the request had only keyed fields, this answer removes
    /// the stale response.
    ///
    /// If the request had unkeyed fields, one of them may have provoked the answer. So the stale
    /// response stays, and a background request without these fields decides, at most once in ten
    /// seconds for each key. The background request needs a tokio runtime. It also needs a type of
    /// request body that this crate can create empty: axum's body, `String`, `Full`, `Empty`, or a
    /// boxed body of http-body-util.
    ///
    /// If no background request can be made, the second such answer removes the stale response. The
    /// second request must have other unkeyed fields than the first, or arrive at least a minute
    /// later.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().stale_if_error(Duration::from_secs(24 * 3600));
    /// # let _ = policy;
    /// ```
    #[doc(alias = "grace")]
    #[doc(alias = "serve stale")]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.policy.stale.if_error = Some(window);
        self
    }

    /// Sets which responses count as failures of the service, instead of 500, 502, 503 and 504.
    ///
    /// A 401, 403, 404, 407 or 410 never counts as a failure.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().error_predicate(|response| response.status.is_server_error());
    /// # let _ = policy;
    /// ```
    pub fn error_predicate(
        mut self,
        failed: impl Fn(&response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy.predicates.failed = Some(Arc::new(failed));
        self
    }

    /// Sets a classifier of tower-http that decides which responses count as failures of the
    /// service.
    ///
    /// Use it, for example, with the classifier of tower-http's tracing layer. If the classifier
    /// needs the end of the body to classify a response, that response does not count as a failure.
    /// This method replaces an [`error_predicate`](Self::error_predicate), and has the same
    /// exceptions.
    ///
    /// # Example
    /// ```
    /// use tower_http::classify::{StatusInRangeAsFailures, StatusInRangeFailureClass};
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().error_classifier(StatusInRangeAsFailures::new(500..=599));
    /// # let _ = policy;
    /// ```
    #[cfg(feature = "tower-http")]
    pub fn error_classifier<C>(self, classifier: C) -> Self
    where
        C: ClassifyResponse + Clone + Send + Sync + 'static,
    {
        self.error_predicate(move |parts| {
            let mut response = http::Response::new(());
            *response.status_mut() = parts.status;
            *response.version_mut() = parts.version;
            *response.headers_mut() = parts.headers.clone();
            let class = classifier.clone().classify_response(&response);
            matches!(class, ClassifiedResponse::Ready(Err(_)))
        })
    }

    /// Sets how long a fetch waits for the head of the response. There is no limit by default.
    ///
    /// After the limit, the fetch is canceled. The client receives the stale response if
    /// [`stale_if_error`](Self::stale_if_error) permits it, and a 504 otherwise. The limit also
    /// applies to HEAD requests that do not bypass the cache. It needs a tokio runtime: without
    /// one, there is no limit.
    #[doc(alias = "timeout")]
    pub fn origin_timeout(mut self, limit: Duration) -> Self {
        self.policy.origin_timeout = Some(limit);
        self
    }

    /// Completes a fetch after its client has disconnected, and stores the response.
    ///
    /// By default, a fetch is canceled with its request, and a follower fetches again. With this
    /// option, a fetch that followers may wait for runs in a separate task on the user's tokio
    /// runtime. The service has a limited time:
    /// - If the client disconnects before the head, the service has `limit` to return the head, and
    ///   then `limit` again to complete the body.
    /// - If the client disconnects during the body, the service has `limit` to complete the body,
    ///   from the time at which no client reads it.
    ///
    /// Under an outer layer of this crate, the response is not stored if the client disconnects
    /// before the head. The outer layer then never sees the head, and can't permit storing the
    /// response.
    ///
    /// At most 1,024 fetches run in separate tasks at a time; further ones are canceled with their
    /// requests.
    ///
    /// Use it only if the service does not depend on the task of its request, for example on
    /// task-locals that an outer layer sets. With the feature `tracing`, the span is kept.
    #[doc(alias = "proxy_ignore_client_abort")]
    #[doc(alias = "abort")]
    #[doc(alias = "cancel")]
    pub fn complete_after_disconnect(mut self, limit: Duration) -> Self {
        self.policy.complete_after_disconnect = Some(limit);
        self
    }

    /// Sets the freshness lifetime of responses with this status that state none.
    ///
    /// Use it to store errors for a few seconds, so that clients can't use them to force requests
    /// to the service. A response with this status that states a lifetime is stored, too, for that
    /// lifetime. The last call for a status applies.
    ///
    /// A response that concerns one request only is not stored in any case: 206, 304, 407, 412,
    /// 413, 416, 417, 431, and 405 under [`app`](crate::policy::Policy::app).
    ///
    /// # Example
    /// ```
    /// use http::StatusCode;
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().negative_ttl(StatusCode::NOT_FOUND, Duration::from_secs(10));
    /// # let _ = policy;
    /// ```
    #[doc(alias = "negative caching")]
    #[doc(alias = "404")]
    pub fn negative_ttl(mut self, status: StatusCode, ttl: Duration) -> Self {
        self.policy.negative.push((status, ttl));
        self
    }

    /// Refreshes stored responses in the background before they expire, at random. Off by default.
    ///
    /// A refresh is more likely the nearer the response is to its expiry, and the longer the
    /// service took to return the head. So a page in demand does not become stale, and pages that
    /// were stored together are refreshed at different times. The refresh runs as for
    /// [`stale_while_revalidate`](Self::stale_while_revalidate), but needs no stale window, and no
    /// directive forbids it. A response with [`Ttl::Forever`](crate::policy::Ttl::Forever) is not
    /// refreshed.
    ///
    /// A hit at `now` refreshes if `now - delta * beta * ln(u) >= expiry`. Here, `delta` is the
    /// time that the service took, and `u` is drawn from (0, 1]. This is XFetch, from Vattani,
    /// Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention" (VLDB 2015).
    /// A `beta` of 1 is optimal in their model; a greater one refreshes earlier. A `beta` that is
    /// not finite and positive turns early refresh off.
    #[doc(alias = "XFetch")]
    #[doc(alias = "stampede")]
    #[doc(alias = "dogpile")]
    #[doc(alias = "probabilistic early expiration")]
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.policy.early_refresh = Some(beta).filter(|beta| beta.is_finite() && *beta > 0.0);
        self
    }

    /// Shortens each freshness lifetime by a random share, so that responses that were stored
    /// together do not expire together.
    ///
    /// The lifetime becomes `lifetime * (1 - share * u)`, with `u` drawn from [0, 1). Off by
    /// default. A share below 0 counts as 0, and a share above 1 as 1. A share that is not finite
    /// turns jitter off. [`Ttl::Forever`](crate::policy::Ttl::Forever) is not shortened.
    #[doc(alias = "stampede")]
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.policy.jitter = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self
    }

    /// Sets how long a follower waits for the leader's response before it is forwarded itself.
    ///
    /// The default is 10 seconds. The limit is for one request, however many flights it waits for.
    /// For ten seconds after a timeout, requests for the same key do not wait (hit-for-miss). A
    /// response that is stored under the key ends this time early. In a tokio runtime, the timer of
    /// the runtime must be enabled. Without a runtime, there is no limit.
    ///
    /// # Loops
    /// A handler, a body or a computation of a value may make requests itself. Such a nested
    /// request does not wait for a fetch that depends on it. It is answered with 508 (`detail=loop`
    /// in `Cache-Status`) in two cases: if it is nested in two requests with its key and its
    /// fields, or in seventeen requests with its key.
    ///
    /// Only requests that have a key are detected. So a handler is not stopped if it endlessly
    /// repeats a request that bypasses the cache. Such a request has a credential, an undeclared
    /// cookie, forwarded fields that can't be read, or a method such as POST or OPTIONS, or asks
    /// for an upgrade. A nested request in another task is detected if that task uses
    /// [`propagate_dependencies`](crate::values::propagate_dependencies). A loop over the network
    /// is not detected: its requests wait for each other up to this limit, and are then forwarded.
    #[doc(alias = "single-flight")]
    #[doc(alias = "hit-for-miss")]
    #[doc(alias = "hit-for-pass")]
    pub fn collapse_timeout(mut self, limit: Duration) -> Self {
        self.policy.collapse_timeout = limit;
        self
    }

    /// Sets how many followers wait for one fetch at most. Further requests are forwarded. The
    /// default is 10,000.
    #[doc(alias = "single-flight")]
    pub fn max_followers(mut self, most: usize) -> Self {
        self.policy.max_followers = most;
        self
    }
}

impl Policy {
    /// Returns `true` if [`is_failure`](Self::is_failure) calls a function of the user. Such a
    /// function may read more of a response than its status.
    pub(crate) fn has_own_failures(&self) -> bool {
        self.predicates.failed.is_some()
    }

    /// Returns `true` if a response counts as a failure of the service.
    pub(crate) fn is_failure(&self, response: &response::Parts) -> bool {
        // A stale page must not hide a refusal, or that a page is gone. By RFC 5861 section 4, only
        // a 500, 502, 503 or 504 is an error.
        if matches!(response.status.as_u16(), 401 | 403 | 404 | 407 | 410) {
            return false;
        }
        match &self.predicates.failed {
            Some(failed) => failed(response),
            None => matches!(response.status.as_u16(), 500 | 502..=504),
        }
    }

    /// Returns the [`negative_ttl`](PolicyBuilder::negative_ttl) of a status.
    pub(crate) fn negative(&self, status: StatusCode) -> Option<Duration> {
        self.negative.iter().rev().find(|(of, _)| *of == status).map(|(_, ttl)| *ttl)
    }
}
