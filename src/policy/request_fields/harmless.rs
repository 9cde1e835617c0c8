//! Names of fields that do not identify a visitor. The list has common names, which need no further
//! check, and names in which a word wrongly looks like a credential.

use crate::rules::by_length::is_listed;

/// Returns `true` if a request field is known to be harmless: it has no meaning to the cache, and
/// does not identify a visitor.
///
/// Response fields are listed, too, since their names also occur in requests.
#[inline(always)]
pub(crate) fn is_harmless(name: &str) -> bool {
    let is_listed = is_listed! { name,
        2: "te";
        3: "dnt" "via" "rsc" "age";
        4: "from" "date" "etag" "vary" "link" "xkey";
        5: "allow";
        6: "accept" "origin" "cf-ray" "server" "x-xkey";
        7: "referer" "sec-gpc" "purpose" "baggage" "trailer" "expires" "alt-svc";
        8: "priority" "cdn-loop" "next-url" "location";
        9: "sec-ch-ua" "save-data" "x-real-ip" "hx-target" "authority" "cache-key";
        10: "user-agent" "connection" "tracestate" "cf-visitor" "x-trace-id" "keep-alive" "hx-request"
            "hx-trigger" "hx-boosted" "cache-keys" "set-cookie" "x-ab-group";
        11: "sec-purpose" "traceparent" "x-client-ip" "x-amz-cf-id" "x-b3-spanid" "turbo-frame" "retry-after"
            "x-cache-key" "set-cookie2" "variant-key";
        12: "x-request-id" "content-type" "cf-ipcountry" "x-b3-traceid" "x-b3-sampled" "x-powered-by"
            "cache-groups" "x-cache-keys" "sap-passport";
        13: "last-event-id" "last-modified" "accept-ranges" "server-timing" "content-range" "surrogate-key";
        14: "accept-charset" "sec-fetch-dest" "sec-fetch-mode" "sec-fetch-site" "sec-fetch-user"
            "true-client-ip" "hx-current-url" "surrogate-keys";
        15: "accept-language" "accept-encoding" "x-forwarded-for" "x-amzn-trace-id" "x-frame-options"
            "referrer-policy" "idempotency-key" "x-surrogate-key" "public-key-pins" "x-nf-account-id";
        16: "sec-ch-ua-mobile" "x-requested-with" "content-encoding" "cf-connecting-ip" "x-envoy-internal"
            "x-correlation-id" "content-language" "content-location" "x-xss-protection" "x-surrogate-keys"
            "www-authenticate";
        17: "x-idempotency-key" "sec-websocket-key" "x-operamini-phone" "x-nf-account-tier";
        18: "sec-ch-ua-platform" "x-forwarded-server" "permissions-policy" "proxy-authenticate";
        19: "content-disposition" "timing-allow-origin" "x-appengine-user-ip";
        20: "next-router-prefetch" "x-operamini-phone-ua";
        21: "x-cloud-trace-context" "x-envoy-attempt-count";
        22: "next-router-state-tree" "x-content-type-options" "x-appengine-api-ticket"
            "sec-cookie-deprecation" "tailscale-headers-info";
        23: "content-security-policy";
        24: "cache-group-invalidation";
        25: "upgrade-insecure-requests" "strict-transport-security" "optional-www-authenticate";
        26: "cross-origin-opener-policy";
        27: "public-key-pins-report-only";
        28: "cross-origin-resource-policy" "cross-origin-embedder-policy";
        32: "x-amzn-remapped-www-authenticate";
    };
    is_listed || (name.len() > 6 && has_harmless_prefix(name))
}

/// Returns `true` for fields of content negotiation, CORS, fetch metadata and client hints.
fn has_harmless_prefix(name: &str) -> bool {
    match name.as_bytes()[0] {
        b's' => name.starts_with("sec-fetch-") || name.starts_with("sec-ch-"),
        b'a' => name.starts_with("accept-") || name.starts_with("access-control-"),
        _ => false,
    }
}
