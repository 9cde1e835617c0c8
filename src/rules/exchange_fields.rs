//! Response fields that describe one exchange: rate limit counters, identifiers of a request or
//! trace, and timings.

/// Returns `true` if a field describes the exchange that produced the response, so a stored
/// response must not repeat it.
///
/// The name must be in lower case. A field matches by its whole name, by a prefix that a tracing
/// system uses, or by words in its name. The identifier of a request or trace describes the
/// exchange. Other identifiers describe the content, such as `x-amz-version-id`.
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

/// Names that describe the representation, although [`has_words`] matches them.
const CONTENT: [&str; 1] = ["timing-allow-origin"];

/// Names that describe the exchange, although [`has_words`] does not match them.
const EXACT: [&str; 13] = [
    // Trace contexts (W3C Trace Context, B3, and vendors' own).
    "traceparent",
    "tracestate",
    "traceresponse",
    "b3",
    "sentry-trace",
    "grpc-trace-bin",
    "elastic-apm-traceparent",
    // Other names of request identifiers.
    "cf-ray",
    "eagleid",
    "akamai-grn",
    "akamai-request-bc",
    "sprequestguid",
    "ms-cv",
];

/// Names that begin with `x-` and describe the exchange, although [`has_words`] does not match
/// them. The list leaves out the `x-`.
const EXACT_X: [&str; 26] = [
    // Trace contexts (W3C Trace Context, B3, and vendors' own).
    "trace",
    "honeycomb-trace",
    "newrelic-app-data",
    // Other names of request identifiers.
    "amz-id-1",
    "amz-id-2",
    "obs-id-2",
    "tos-id-2",
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
    "fb-debug",
    "fb-trip-id",
    "iinfo",
    "log",
    "ms-cv",
    "varnish",
    // Counters of a rate limit.
    "shopify-shop-api-call-limit",
    // Timings.
    "runtime",
    "timer",
];

/// Prefixes, after `x-`, of the fields of tracing systems.
const PREFIXES_X: [&str; 3] = ["b3-", "datadog-", "instana-"];

// The roles of words in a name.

/// A word for the thing that an identifier names, such as `request` in `request-id`.
const TRACED: u16 = 1;
/// A word for an identifier, such as `id` in `request-id`.
const IDENTIFIER: u16 = 1 << 1;
/// A word for a trace. It counts together with [`CONTEXT`], such as `trace` in `trace-context`.
const PROPAGATED: u16 = 1 << 2;
/// A word for data about a trace that services forward with requests, such as `flags` in
/// `trace-flags`.
const CONTEXT: u16 = 1 << 3;
const RATE: u16 = 1 << 4;
const LIMIT: u16 = 1 << 5;
/// A word for an operation. It counts together with [`TIME`], such as `query` in `query-time`.
const TIMED: u16 = 1 << 6;
/// A word for the time that an operation takes, such as `time` in `query-time`.
const TIME: u16 = 1 << 7;
/// The word `zone`. It makes `time` a time zone, which is not a duration.
const ZONE: u16 = 1 << 8;
const TIMING: u16 = 1 << 9;

/// Returns the roles that a word of a name can have. The length is compared first, because
/// most words have no role.
fn roles(word: &[u8]) -> u16 {
    match word.len() {
        2 => match word {
            b"id" => IDENTIFIER,
            b"db" => TIMED,
            _ => 0,
        },
        3 => match word {
            b"req" | b"ray" | b"log" => TRACED,
            b"tag" => CONTEXT,
            _ => 0,
        },
        4 => match word {
            b"uuid" | b"guid" => IDENTIFIER,
            b"span" => TRACED | PROPAGATED,
            b"host" => CONTEXT,
            b"rate" => RATE,
            b"time" => TIME,
            b"zone" => ZONE,
            _ => 0,
        },
        5 => match word {
            b"trace" => TRACED | PROPAGATED,
            b"debug" => TRACED,
            b"flags" | b"state" => CONTEXT,
            b"limit" => LIMIT,
            b"proxy" | b"query" | b"queue" => TIMED,
            _ => 0,
        },
        6 => match word {
            b"limits" => LIMIT,
            b"parent" | b"vector" => CONTEXT,
            b"render" | b"server" => TIMED,
            b"timing" => TIMING,
            _ => 0,
        },
        7 => match word {
            b"request" => TRACED | TIMED,
            b"context" | b"sampled" => CONTEXT,
            b"backend" | b"elapsed" | b"process" => TIMED,
            b"timings" => TIMING,
            _ => 0,
        },
        _ => match word {
            b"limiting" => LIMIT,
            b"response" | b"upstream" | b"rendering" | b"processing" => TIMED,
            b"duration" => TIME,
            b"execution" => TRACED | TIMED,
            b"invocation" | b"transaction" => TRACED,
            b"correlation" => TRACED | PROPAGATED,
            _ => 0,
        },
    }
}

/// Returns `true` if the words of a name, split at `-` and `_`, describe an identifier or a context
/// of an exchange, a rate limit, or a timing.
fn has_words(name: &str) -> bool {
    let mut all = 0;
    for word in name.as_bytes().split(|byte| matches!(byte, b'-' | b'_')) {
        let own = roles(word);
        if own == 0 && (word.starts_with(b"ratelimit") || word.ends_with(b"latency") || is_run_together(word))
        {
            return true;
        }
        all |= own;
    }
    let has = |roles: u16| all & roles == roles;
    has(TIMING)
        || has(TRACED | IDENTIFIER)
        || has(PROPAGATED | CONTEXT)
        || has(RATE | LIMIT)
        || (has(TIMED | TIME) && !has(ZONE))
}

/// Returns `true` if the words of a field's name describe a rate limit counter.
pub(crate) fn is_rate_limit(name: &str) -> bool {
    let words = || name.as_bytes().split(|byte| matches!(byte, b'-' | b'_'));
    let all = words().fold(0, |all, word| all | roles(word));
    all & (RATE | LIMIT) == RATE | LIMIT || words().any(|word| word.starts_with(b"ratelimit"))
}

/// Returns `true` for words that describe an exchange and are run together, such as `requestid`,
/// `parentspanid` and `responsetime`.
fn is_run_together(word: &[u8]) -> bool {
    let ends: [(&[u8], u16); 5] =
        [(b"uuid", TRACED), (b"guid", TRACED), (b"id", TRACED), (b"time", TIMED), (b"duration", TIMED)];
    // Most words end with another letter.
    if !matches!(word.last(), Some(b'd' | b'e' | b'n')) {
        return false;
    }
    let owner = ends.iter().find_map(|(end, role)| Some((word.strip_suffix(*end)?, *role)));
    owner.is_some_and(|(owner, role)| {
        // An owner of fewer than four letters must be the whole rest of the word: `ray` is also the
        // end of `array`.
        let ends = || (4..owner.len()).any(|length| roles(&owner[owner.len() - length..]) & role != 0);
        roles(owner) & role != 0 || ends()
    })
}

#[cfg(test)]
mod tests {
    use super::describes_exchange;

    #[test]
    fn exchange_fields_match_by_name_or_by_words() {
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
            "ms-cv",
            "x-ms-cv",
            "x-correlation-vector",
            "x-correlation-context",
            "x-ot-span-context",
            "x-tt-trace-tag",
            "x-tt-trace-host",
            "x-tt-logid",
            "x-log-id",
            "x-nws-log-uuid",
            "x-bce-debug-id",
            "x-obs-id-2",
            "function-execution-id",
            "x-transaction-id",
            "x-varnish",
            "x-iinfo",
            "x-okta-request-id",
            "x-auth0-requestid",
            // Timings.
            "server-timing",
            "x-upstream-response-time",
            "x-upstream-latency",
            "x-kong-admin-latency",
            "x-backend-time",
            "x-processing-time",
            "x-render-duration",
            "x-db-query-time",
            "x-oss-server-time",
            "x-responsetime",
            "spiislatency",
            "sprequestduration",
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

    /// The names of these content fields resemble names of exchange fields.
    #[test]
    fn identifiers_of_content_and_similar_names_do_not_match() {
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
            "last-response-timezone",
            "x-server-time-zone",
            "x-reading-time",
            "x-video-duration",
            "x-blog-id",
            "x-request-context-path",
            "x-varnish-cache",
            "x-runtime-version",
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
