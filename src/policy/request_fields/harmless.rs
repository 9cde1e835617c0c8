//! Names of fields that identify no visitor: common ones, and ones with a word of a credential in them.

/// Returns `true` if a field is known to identify nobody and to mean nothing else to the cache.
///
/// By length, so that the common fields of a request take a few comparisons each.
#[inline]
pub(crate) fn is_harmless(name: &str) -> bool {
    let is_listed = match name.len() {
        2 => matches!(name, "te"),
        3 => matches!(name, "dnt" | "via" | "rsc" | "age"),
        4 => matches!(name, "from" | "date" | "etag" | "vary" | "link" | "xkey"),
        5 => matches!(name, "allow"),
        6 => matches!(name, "accept" | "origin" | "cf-ray" | "server" | "x-xkey"),
        7 => {
            matches!(name, "referer" | "sec-gpc" | "purpose" | "baggage" | "trailer" | "expires" | "alt-svc")
        }
        8 => matches!(name, "priority" | "cdn-loop" | "next-url" | "location"),
        9 => {
            matches!(name, "sec-ch-ua" | "save-data" | "x-real-ip" | "hx-target" | "authority" | "cache-key")
        }
        10 => matches!(
            name,
            "user-agent"
                | "connection"
                | "tracestate"
                | "cf-visitor"
                | "x-trace-id"
                | "keep-alive"
                | "hx-request"
                | "hx-trigger"
                | "hx-boosted"
                | "cache-keys"
                | "set-cookie"
                | "x-ab-group"
        ),
        11 => matches!(
            name,
            "sec-purpose"
                | "traceparent"
                | "x-client-ip"
                | "x-amz-cf-id"
                | "x-b3-spanid"
                | "turbo-frame"
                | "retry-after"
                | "x-cache-key"
                | "set-cookie2"
                | "variant-key"
        ),
        12 => matches!(
            name,
            "x-request-id"
                | "content-type"
                | "cf-ipcountry"
                | "x-b3-traceid"
                | "x-b3-sampled"
                | "x-powered-by"
                | "cache-groups"
                | "x-cache-keys"
                | "sap-passport"
        ),
        13 => matches!(
            name,
            "last-event-id"
                | "last-modified"
                | "accept-ranges"
                | "server-timing"
                | "content-range"
                | "surrogate-key"
        ),
        14 => matches!(
            name,
            "accept-charset"
                | "sec-fetch-dest"
                | "sec-fetch-mode"
                | "sec-fetch-site"
                | "sec-fetch-user"
                | "true-client-ip"
                | "hx-current-url"
                | "surrogate-keys"
        ),
        15 => matches!(
            name,
            "accept-language"
                | "accept-encoding"
                | "x-forwarded-for"
                | "x-amzn-trace-id"
                | "x-frame-options"
                | "referrer-policy"
                | "idempotency-key"
                | "x-surrogate-key"
                | "public-key-pins"
                | "x-nf-account-id"
        ),
        16 => matches!(
            name,
            "sec-ch-ua-mobile"
                | "x-requested-with"
                | "content-encoding"
                | "cf-connecting-ip"
                | "x-envoy-internal"
                | "x-correlation-id"
                | "content-language"
                | "content-location"
                | "x-xss-protection"
                | "x-surrogate-keys"
                | "www-authenticate"
        ),
        17 => matches!(
            name,
            "x-idempotency-key" | "sec-websocket-key" | "x-operamini-phone" | "x-nf-account-tier"
        ),
        18 => matches!(
            name,
            "sec-ch-ua-platform" | "x-forwarded-server" | "permissions-policy" | "proxy-authenticate"
        ),
        19 => matches!(name, "content-disposition" | "timing-allow-origin" | "x-appengine-user-ip"),
        20 => matches!(name, "next-router-prefetch" | "x-operamini-phone-ua"),
        21 => matches!(name, "x-cloud-trace-context" | "x-envoy-attempt-count"),
        22 => matches!(
            name,
            "next-router-state-tree"
                | "x-content-type-options"
                | "x-appengine-api-ticket"
                | "sec-cookie-deprecation"
                | "tailscale-headers-info"
        ),
        23 => matches!(name, "content-security-policy"),
        24 => matches!(name, "cache-group-invalidation"),
        25 => matches!(
            name,
            "upgrade-insecure-requests" | "strict-transport-security" | "optional-www-authenticate"
        ),
        26 => matches!(name, "cross-origin-opener-policy"),
        27 => matches!(name, "public-key-pins-report-only"),
        28 => matches!(name, "cross-origin-resource-policy" | "cross-origin-embedder-policy"),
        32 => matches!(name, "x-amzn-remapped-www-authenticate"),
        _ => false,
    };
    is_listed || (name.len() > 6 && has_harmless_prefix(name))
}

/// Returns `true` for the fields of content negotiation, CORS, fetch metadata and client hints.
fn has_harmless_prefix(name: &str) -> bool {
    match name.as_bytes()[0] {
        b's' => name.starts_with("sec-fetch-") || name.starts_with("sec-ch-"),
        b'a' => name.starts_with("accept-") || name.starts_with("access-control-"),
        _ => false,
    }
}
