//! Response fields that describe one exchange: counters of a rate limit, identifiers of a request or trace, timings.

/// Returns `true` if a field describes the exchange that produced a response, so that replaying it misleads.
///
/// Names are compared in lower case. Exact names come first, then prefixes of tracing systems, then the words of the
/// name: an identifier alone is content (`x-amz-version-id`), the identifier of a request or trace is not.
pub(crate) fn describes_exchange(name: &str) -> bool {
    if CONTENT.contains(&name) {
        return false;
    }
    let is_known = match name.strip_prefix("x-") {
        Some(rest) => EXACT_X.contains(&rest) || PREFIXES_X.iter().any(|prefix| rest.starts_with(prefix)),
        None => EXACT.contains(&name) || name.starts_with("ot-tracer-"),
    };
    is_known || has_words(name)
}

/// Names that the rule on words would catch, but that describe the representation.
const CONTENT: [&str; 1] = ["timing-allow-origin"];

/// Names that no rule on words catches.
const EXACT: [&str; 13] = [
    // Trace contexts (W3C Trace Context, B3, and vendors' own).
    "traceparent",
    "tracestate",
    "traceresponse",
    "b3",
    "sentry-trace",
    "grpc-trace-bin",
    "elastic-apm-traceparent",
    "jaeger-debug-id",
    // Identifiers of a request, under other names.
    "cf-ray",
    "eagleid",
    "akamai-grn",
    "sprequestguid",
    // Timings.
    "response-time",
];

/// Such names after `x-`.
const EXACT_X: [&str; 34] = [
    // Trace contexts (W3C Trace Context, B3, and vendors' own).
    "trace",
    "cloud-trace-context",
    "honeycomb-trace",
    "newrelic-app-data",
    // Identifiers of a request, under other names.
    "amz-id-1",
    "amz-id-2",
    "amz-cf-id",
    "amz-apigw-id",
    "amz-rid",
    "azure-ref",
    "azure-ref-originshield",
    "msedge-ref",
    "ms-activity-id",
    "vercel-id",
    "guploader-uploadid",
    "reqid",
    "tt-logid",
    "fb-debug",
    // Counters of a rate limit.
    "shopify-shop-api-call-limit",
    // Timings.
    "runtime",
    "response-time",
    "response-time-ms",
    "response-duration",
    "request-time",
    "request-duration",
    "process-time",
    "processing-time",
    "render-time",
    "execution-time",
    "elapsed-time",
    "timer",
    "envoy-upstream-service-time",
    "kong-upstream-latency",
    "kong-proxy-latency",
];

/// Tracing systems with several fields, after `x-`.
const PREFIXES_X: [&str; 3] = ["b3-", "datadog-", "instana-"];

/// What an identifier beside it belongs to.
const TRACED: [&[u8]; 6] = [b"request", b"req", b"trace", b"span", b"correlation", b"ray"];
/// How an identifier is called.
const IDENTIFIERS: [&[u8]; 3] = [b"id", b"uuid", b"guid"];

/// Returns `true` if the words of a name, split at `-` and `_`, name an identifier of an exchange, a rate limit or a
/// timing.
fn has_words(name: &str) -> bool {
    let (mut traced, mut identifier, mut rate, mut limit) = (false, false, false, false);
    for word in name.as_bytes().split(|byte| matches!(byte, b'-' | b'_')) {
        match word {
            b"timing" | b"timings" => return true,
            b"rate" => rate = true,
            b"limit" | b"limits" | b"limiting" => limit = true,
            _ if TRACED.contains(&word) => traced = true,
            _ if IDENTIFIERS.contains(&word) => identifier = true,
            _ if word.starts_with(b"ratelimit") || is_run_together(word) => return true,
            _ => {}
        }
    }
    (traced && identifier) || (rate && limit)
}

/// Returns `true` for `requestid`, `parentspanid` and the like.
fn is_run_together(word: &[u8]) -> bool {
    let owner = IDENTIFIERS.iter().find_map(|end| word.strip_suffix(*end));
    owner.is_some_and(|owner| {
        // Short words end others: an array is no ray.
        let ends = |traced: &[u8]| traced.len() > 3 && owner.ends_with(traced);
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
