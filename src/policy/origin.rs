//! The options that protect the service: stale serving, early refresh, limits on waiting for it.

use super::{Policy, PolicyBuilder};
use http::{StatusCode, response};
use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "tower-http")]
use tower_http::classify::{ClassifiedResponse, ClassifyResponse};

impl PolicyBuilder {
    /// Sets how long a stale response is answered with at once, while a new one is made in the background
    /// (RFC 5861 section 3), where neither the response nor its handler's hints say so themselves. The
    /// default is not at all; 30 days is the longest.
    ///
    /// `must-revalidate`, `proxy-revalidate`, `no-cache` and `s-maxage` forbid it (RFC 9111 section 4.2.4),
    /// and so does an invalidation that does not [keep it](crate::invalidation::Invalidation::soft). The request that makes it anew is a GET like the one that met the stale
    /// response, in a task of its own on the user's tokio runtime, without that one's credentials, conditions,
    /// range and most unkeyed fields; see [`refresh_headers`](Self::refresh_headers) and
    /// [`refresh_request`](Self::refresh_request). One is made at a time for each key, and
    /// so many at a time as [`CacheBuilder::max_refreshes`](crate::cache::CacheBuilder::max_refreshes) says. Requests
    /// with credentials or with a cookie that is not declared (where such a one is answered at all, as under
    /// [`rfc9111`](crate::policy::Policy::rfc9111)), and pages of [one identity](Self::vary_by_identity), wait for a new response
    /// instead. A [part of the key](Self::vary_by) must not be computed from what is taken off. So does a request
    /// with an extension of a layer in between, unless it is [declared](Self::refresh_with) or
    /// [removed](Self::refresh_without). Inside a tokio runtime, whose
    /// timer has to be enabled; outside of one, stale pages are waited for.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.policy.stale.while_revalidate = Some(window);
        self
    }

    /// Sets how long a stale response is answered with where the service fails (RFC 5861 section 4), where
    /// neither the response nor its handler's hints say so themselves. The default is not at all; 30 days is the longest.
    ///
    /// A service fails by an error, by taking longer than [`origin_timeout`](Self::origin_timeout), or by a
    /// response that counts as a failure: 500, 502, 503 and 504, or what
    /// [`error_predicate`](Self::error_predicate) says. A 304 about another representation is one, too: without a stale window it becomes a
    /// 502. If the request had unkeyed fields, another answer that
    /// is not stored (a 404, say) leaves the stale response in place, because such a field may have provoked it. At most
    /// once in ten seconds for a key, a background request without these fields decides instead. It needs a tokio runtime
    /// and a request body type that this crate can create empty (axum's, `String`, `Full`, `Empty` and boxed bodies of
    /// http-body-util). If none can be made, the second such answer in a row removes the stale response, if its request had
    /// other unkeyed fields or came a minute after the first. What forbids
    /// [`stale_while_revalidate`](Self::stale_while_revalidate) forbids this, too.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.policy.stale.if_error = Some(window);
        self
    }

    /// Sets which responses count as a failure of the service, instead of 500, 502, 503 and 504. A 401, 403,
    /// 404, 407 or 410 never does: it is an answer.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().error_predicate(|response| response.status.is_server_error());
    /// ```
    pub fn error_predicate(
        mut self,
        failed: impl Fn(&response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy.predicates.failed = Some(Arc::new(failed));
        self
    }

    /// Lets a classifier of tower-http decide which responses count as a failure of the service: the one
    /// that its tracing goes by, say. What it can decide only at the end of a body counts as no failure.
    ///
    /// # Example
    /// ```
    /// use tower_http::classify::{StatusInRangeAsFailures, StatusInRangeFailureClass};
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().error_classifier(StatusInRangeAsFailures::new(500..=599));
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

    /// Sets how long a request that may fill the cache, or a HEAD for what may, waits for the service to begin its
    /// answer; then the call is dropped, and the client gets what is stale, or a 504. There is no limit by default, and none
    /// outside a tokio runtime.
    pub fn origin_timeout(mut self, limit: Duration) -> Self {
        self.policy.origin_timeout = Some(limit);
        self
    }

    /// Makes calls that others may wait for go on when their client leaves, for so long at most, and be
    /// stored though nobody waits for them any more. Under an outer layer of this
    /// crate, the response is not stored if the client leaves before its head. By default, they are dropped with their request, and
    /// one of those who wait makes a call of its own.
    ///
    /// Such a call is made in a task of its own on the user's tokio runtime. So it is only for services that
    /// need nothing of their request's task: no task-locals of layers further out. (With feature `tracing`, it
    /// keeps their span.) At most
    /// 1,024 are made at a time; past that, calls are their requests' own.
    pub fn complete_after_disconnect(mut self, limit: Duration) -> Self {
        self.policy.complete_after_disconnect = Some(limit);
        self
    }

    /// Sets what is done to a request that is made in the background, before the service gets it: to remove
    /// what is one visitor's own from its extensions (a session, an identity), which are those of the request
    /// that met the stale response.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::Policy;
    /// # #[derive(Clone)] struct Session;
    ///
    /// let policy = Policy::app().refresh_request(|request| {
    ///     request.extensions.remove::<Session>();
    /// });
    /// ```
    pub fn refresh_request(
        mut self,
        change: impl Fn(&mut http::request::Parts) + Send + Sync + 'static,
    ) -> Self {
        self.policy.predicates.refresh.push(Arc::new(change));
        self
    }

    /// Adds request fields to those that background refreshes carry.
    ///
    /// A refresh carries keyed fields and those that select its variant, `Host` and keyed forwarded fields, `Accept` and
    /// `Accept-*`, `User-Agent`, the fields that [`strip_unkeyed_inputs`](Self::strip_unkeyed_inputs) allows, and these. If it
    /// fails or its response is not stored, it is repeated once with keyed fields alone, at once or as the next refresh,
    /// and that response decides. Fields that identify a visitor are never carried.
    ///
    /// # Example
    /// ```
    /// use http::HeaderName;
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().refresh_headers([HeaderName::from_static("x-api-version")]);
    /// ```
    pub fn refresh_headers<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let names = self.field_names(names);
        self.policy.refresh_headers.extend(names);
        self
    }

    /// Removes extensions of a type from requests that are made in the background: what a layer further out
    /// puts there of one visitor. [`refresh_request`](Self::refresh_request) changes them in other ways.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    /// use tower_sessions::Session;
    ///
    /// let policy = Policy::app()
    ///     .stale_while_revalidate(Duration::from_secs(60))
    ///     .refresh_without::<Session>();
    /// ```
    pub fn refresh_without<T: Clone + Send + Sync + 'static>(self) -> Self {
        self.refresh_request(|request| drop(request.extensions.remove::<T>()))
    }

    /// Declares that extensions of a type say nothing of a visitor: a database pool, the time a request came.
    ///
    /// If a layer between the outermost layer of this crate and this one leaves an extension that is not declared here, no
    /// request is made in the background, and stale pages are waited for: no layer would judge what the layer in between
    /// makes of the response. A policy that takes off itself what is one visitor's ([`refresh_without`](Self::refresh_without),
    /// [`refresh_request`](Self::refresh_request)) is believed. What a router of axum leaves is known.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    /// # #[derive(Clone)] struct Pool;
    ///
    /// let policy = Policy::app().stale_while_revalidate(Duration::from_secs(60)).refresh_with::<Pool>();
    /// ```
    pub fn refresh_with<T: Send + Sync + 'static>(mut self) -> Self {
        let own = TypeId::of::<T>();
        // Each type counts once.
        if self.policy.known_extensions.iter().all(|(known, _)| *known != own) {
            self.policy.known_extensions.push((own, |request| request.get::<T>().is_some()));
        }
        self
    }

    /// Sets how long a response with a status is held that states no lifetime itself: errors for a few
    /// seconds, so that they can't be used to drive load to the service. For that status, a lifetime that it
    /// states counts as well.
    ///
    /// What says something of one request alone (a 206, 304, 405, 407, 412, 413, 416, 417, 431) is not stored even so.
    ///
    /// # Example
    /// ```
    /// use http::StatusCode;
    /// use std::time::Duration;
    /// use tower_response_cache::Policy;
    ///
    /// let policy = Policy::app().negative_ttl(StatusCode::NOT_FOUND, Duration::from_secs(10));
    /// ```
    pub fn negative_ttl(mut self, status: StatusCode, ttl: Duration) -> Self {
        self.policy.negative.push((status, ttl));
        self
    }

    /// Makes stored responses be made anew in the background before they are stale, by chance: the more
    /// likely, the nearer the end of their lifetime and the longer the service took to begin its answer. So
    /// a page that is in demand is never stale, and many pages of one age are not made anew at once. Off by
    /// default.
    ///
    /// A hit at `now` refreshes where `now - delta * beta * ln(u) >= expiry`, with `delta` how long the service
    /// took and `u` drawn from (0, 1]: XFetch, from Vattani, Chierichetti and Lowenstein, "Optimal
    /// Probabilistic Cache Stampede Prevention" (VLDB 2015). A `beta` of 1 is optimal in their model; more is earlier.
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.policy.early_refresh = Some(beta).filter(|beta| beta.is_finite() && *beta > 0.0);
        self
    }

    /// Makes responses be held for a random part less than their lifetime, so that what was stored together
    /// is not stale together: `lifetime * (1 - share * u)`, with `u` drawn from [0, 1). Off by default; a
    /// share below 0 counts as 0, above 1 as 1.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.policy.jitter = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self
    }

    /// Sets how long a collapsed request waits, for however many others, before it calls the service
    /// itself. The default is 10 seconds; for some seconds after a wait in vain, requests to the same
    /// key do not wait. Inside a tokio runtime, whose timer has to be enabled; outside of one there is no limit.
    ///
    /// # Loops
    /// A handler, a body or a computation of a value may make requests of its own. Such a request does not wait for a
    /// flight that waits for it. It is answered with 508 (`detail=loop`) if two identical requests have led to it, or
    /// seventeen for its key that differ in their fields.
    ///
    /// Only requests that have a key are recognized. A handler is not stopped if it repeats a request that bypasses the
    /// cache without end: one with a credential or an undeclared cookie, for an upgrade, with forwarded fields that can't
    /// be read, or with a method such as POST or OPTIONS. Requests in other tasks are recognized if those use
    /// [`propagate_dependencies`](crate::values::propagate_dependencies). A loop over the network is not recognized: its requests
    /// wait for each other up to this limit, and are forwarded then.
    pub fn collapse_timeout(mut self, limit: Duration) -> Self {
        self.policy.collapse_timeout = limit;
        self
    }

    /// Sets how many requests wait for one call of the service at most; others call it themselves. The
    /// default is 10,000.
    pub fn max_followers(mut self, most: usize) -> Self {
        self.policy.max_followers = most;
        self
    }
}

impl Policy {
    /// Returns `true` if that takes more than a look at its status.
    pub(crate) fn has_own_failures(&self) -> bool {
        self.predicates.failed.is_some()
    }

    /// Returns `true` if a response counts as a failure of the service.
    pub(crate) fn is_failure(&self, response: &response::Parts) -> bool {
        // What is refused or gone is an answer, to which a stale page is none (RFC 5861 section 4 is about 5xx).
        if matches!(response.status.as_u16(), 401 | 403 | 404 | 407 | 410) {
            return false;
        }
        match &self.predicates.failed {
            Some(failed) => failed(response),
            None => matches!(response.status.as_u16(), 500 | 502..=504),
        }
    }

    /// Returns how long a status is held that states no lifetime.
    pub(crate) fn negative(&self, status: StatusCode) -> Option<Duration> {
        self.negative.iter().rev().find(|(of, _)| *of == status).map(|(_, ttl)| *ttl)
    }
}
