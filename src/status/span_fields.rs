//! The status of a response as fields of the span of its request.

use super::{CacheStatus, ForwardReason};
use tracing::Span;

impl CacheStatus {
    /// Records this status into fields of a span, such as the application's span of the request
    /// (feature `tracing`).
    ///
    /// | field | type | meaning |
    /// |---|---|---|
    /// | `cache.hit` | boolean | the response is from the cache |
    /// | `cache.fwd` | string | why the request was forwarded |
    /// | `cache.stored` | boolean | the response is being stored |
    /// | `cache.collapsed` | boolean | a follower got the response of its leader |
    /// | `cache.ttl` | integer | the rest of the freshness lifetime in seconds; negative if stale |
    /// | `cache.detail` | string | the reason, as in `Cache-Status` |
    ///
    /// Declare the fields when you create the span. Fields that the span does not declare, and
    /// fields that the status does not have, are not recorded.
    ///
    /// # Example
    /// With the `TraceLayer` of tower-http outside the cache layer:
    ///
    /// ```
    /// use http::{Request, Response};
    /// use std::time::Duration;
    /// use tower_http::trace::TraceLayer;
    /// use tower_response_cache::CacheStatus;
    /// use tracing::{Span, field::Empty, info_span};
    ///
    /// let trace = TraceLayer::new_for_http()
    ///     .make_span_with(|request: &Request<String>| {
    ///         let path = request.uri().path();
    ///         info_span!("request", path, cache.hit = Empty, cache.fwd = Empty, cache.detail = Empty)
    ///     })
    ///     .on_response(|response: &Response<String>, _: Duration, span: &Span| {
    ///         if let Some(status) = response.extensions().get::<CacheStatus>() {
    ///             status.record(span);
    ///         }
    ///     });
    /// # use tower::{Layer, service_fn};
    /// # let page = service_fn(|_: Request<String>| async {
    /// #     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    /// # });
    /// # let _service = trace.layer(page);
    /// ```
    pub fn record(&self, span: &Span) {
        span.record("cache.hit", self.is_hit());
        span.record("cache.stored", self.is_stored());
        span.record("cache.collapsed", self.is_collapsed());
        if let Some(reason) = self.forward_reason() {
            span.record("cache.fwd", ForwardReason::as_str(reason));
        }
        if let Some(ttl) = self.ttl_seconds() {
            span.record("cache.ttl", ttl);
        }
        if let Some(detail) = self.detail_value() {
            span.record("cache.detail", tracing::field::display(detail));
        }
    }
}
