//! Response fields that describe one exchange: counters of a rate limit, identifiers of a request or trace, timings.

/// Returns `true` if a field describes the exchange that produced a response, so that replaying it misleads.
///
/// Names are compared in lower case. Exact names come first, then prefixes of tracing systems, then the words of the
/// name: an identifier alone is content (`x-amz-version-id`), the identifier of a request or trace is not.
pub(super) fn describes_exchange(name: &str) -> bool {
    if CONTENT.contains(&name) {
        return false;
    }
    EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || has_words(name)
}

/// Names that the rule on words would catch, but that describe the representation.
const CONTENT: [&str; 1] = ["timing-allow-origin"];

/// Names that no rule on words catches.
const EXACT: [&str; 47] = [
    // Trace contexts (W3C Trace Context, B3, and vendors' own).
    "traceparent",
    "tracestate",
    "traceresponse",
    "b3",
    "sentry-trace",
    "x-trace",
    "x-cloud-trace-context",
    "x-honeycomb-trace",
    "grpc-trace-bin",
    "elastic-apm-traceparent",
    "x-newrelic-app-data",
    "jaeger-debug-id",
    // Identifiers of a request, under other names.
    "x-amz-id-1",
    "x-amz-id-2",
    "x-amz-cf-id",
    "x-amz-apigw-id",
    "x-amz-rid",
    "cf-ray",
    "x-azure-ref",
    "x-azure-ref-originshield",
    "x-msedge-ref",
    "x-ms-activity-id",
    "x-vercel-id",
    "x-guploader-uploadid",
    "x-reqid",
    "x-tt-logid",
    "eagleid",
    "akamai-grn",
    "x-fb-debug",
    "sprequestguid",
    // Counters of a rate limit.
    "x-shopify-shop-api-call-limit",
    // Timings.
    "x-runtime",
    "response-time",
    "x-response-time",
    "x-response-time-ms",
    "x-response-duration",
    "x-request-time",
    "x-request-duration",
    "x-process-time",
    "x-processing-time",
    "x-render-time",
    "x-execution-time",
    "x-elapsed-time",
    "x-timer",
    "x-envoy-upstream-service-time",
    "x-kong-upstream-latency",
    "x-kong-proxy-latency",
];

/// Tracing systems with several fields.
const PREFIXES: [&str; 4] = ["x-b3-", "x-datadog-", "x-instana-", "ot-tracer-"];

/// What an identifier beside it belongs to.
const TRACED: [&str; 6] = ["request", "req", "trace", "span", "correlation", "ray"];
/// How an identifier is called.
const IDENTIFIERS: [&str; 3] = ["id", "uuid", "guid"];

/// Returns `true` if the words of a name, split at `-` and `_`, name an identifier of an exchange, a rate limit or a
/// timing.
fn has_words(name: &str) -> bool {
    let words = || name.split(['-', '_']);
    let has = |wanted: &[&str]| words().any(|word| wanted.contains(&word));
    let is_identifier = (has(&TRACED) && has(&IDENTIFIERS)) || words().any(is_run_together);
    let is_limit = words().any(|word| word.starts_with("ratelimit"))
        || (has(&["rate"]) && has(&["limit", "limits", "limiting"]));
    is_identifier || is_limit || has(&["timing", "timings"])
}

/// Returns `true` for `requestid`, `parentspanid` and the like.
fn is_run_together(word: &str) -> bool {
    let owner = IDENTIFIERS.iter().find_map(|end| word.strip_suffix(end));
    owner.is_some_and(|owner| {
        // Short words end others: an array is no ray.
        let ends = |traced: &str| traced.len() > 3 && owner.ends_with(traced);
        TRACED.iter().any(|traced| owner == *traced || ends(traced))
    })
}

#[cfg(test)]
mod tests {
    use super::describes_exchange;

    #[test]
    fn fields_of_one_exchange_are_known_by_name_or_by_words() {
        for name in [
            // Rate limits.
            "ratelimit",
            "ratelimit-policy",
            "ratelimit-limit",
            "ratelimit-remaining",
            "ratelimit-reset",
            "x-ratelimit-limit-requests",
            "x-ratelimit-used",
            "x-rate-limit-remaining",
            "x-app-rate-limit-count",
            "x_rate_limit_reset",
            "x-discourse-rate-limit-error-code",
            "x-hubspot-ratelimit-daily",
            "x-shopify-shop-api-call-limit",
            // Identifiers of requests and traces.
            "request-id",
            "x-request-id",
            "x_request_id",
            "x-req-id",
            "x-requestid",
            "x-correlation-id",
            "correlation-id",
            "x-correlationid",
            "x-amz-request-id",
            "x-amzn-requestid",
            "x-amzn-request-id",
            "x-amz-id-2",
            "x-amz-cf-id",
            "x-amzn-trace-id",
            "x-cloud-trace-context",
            "x-goog-request-id",
            "cf-ray",
            "x-ray-id",
            "cf-rayid",
            "x-azure-ref",
            "x-ms-request-id",
            "x-ms-routing-request-id",
            "x-ms-correlation-request-id",
            "x-ms-client-request-id",
            "x-github-request-id",
            "x-nf-request-id",
            "x-oss-request-id",
            "x-akamai-request-id",
            "x-vercel-id",
            "fly-request-id",
            "x-b3-traceid",
            "x-b3-spanid",
            "x-b3-parentspanid",
            "x-b3-sampled",
            "b3",
            "ot-tracer-sampled",
            "eagleeye-traceid",
            "uber-trace-id",
            "x-trace-id",
            "trace-id",
            "span-id",
            "x-datadog-trace-id",
            "x-datadog-sampling-priority",
            "traceparent",
            "tracestate",
            "traceresponse",
            "sentry-trace",
            "x-request-uuid",
            "sprequestguid",
            // Timings.
            "server-timing",
            "x-timing",
            "timing",
            "x-backend-timings",
            "x-runtime",
            "x-response-time",
            "x-process-time",
            "x-timer",
            "x-envoy-upstream-service-time",
        ] {
            assert!(describes_exchange(name), "{name}");
        }
    }

    #[test]
    fn identifiers_of_content_and_like_names_are_content() {
        for name in [
            "x-amz-version-id",
            "x-ms-version-id",
            "x-content-id",
            "content-id",
            "x-build-id",
            "x-object-id",
            "x-order-id",
            "x-array-id",
            "x-arrayid",
            "x-id",
            "x-product-uuid",
            "timing-allow-origin",
            "x-frame-options",
            "x-rate",
            "x-exchange-rate",
            "x-limit",
            "x-page-limit",
            "x-request-method",
            "access-control-request-headers",
            "x-trace-level",
            "x-spanish-title",
            "x-valid",
            "x-time",
            "last-modified",
            "date",
            "retry-after",
            "x-amz-meta-rating",
            "x-amz-meta-operating-limit",
            "x-amz-storage-class",
            "etag",
            "link",
            "content-type",
        ] {
            assert!(!describes_exchange(name), "{name}");
        }
    }
}
