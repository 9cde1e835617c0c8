//! Tests with field names that identify a visitor, names that do not, and random names.

use super::{HeaderRole, detail, is_harmless, role_of};
use proptest::prelude::{Just, Strategy, prop_assert, prop_oneof, proptest};
use proptest::sample::select;

#[rustfmt::skip]
const IDENTIFYING: [&str; 292] = [
    "authorization", "proxy-authorization", "x-authorization", "x-forwarded-authorization",
    "x-original-authorization", "cookie2", "client-cert", "client-cert-chain", "x-client-cert",
    "x-amzn-mtls-clientcert", "x-amzn-mtls-clientcert-serial-number", "x-amzn-mtls-clientcert-issuer",
    "x-amzn-mtls-clientcert-subject", "x-amzn-mtls-clientcert-validity", "x-amzn-mtls-clientcert-leaf",
    "x-forwarded-client-cert", "x-forwarded-tls-client-cert", "x-forwarded-tls-client-cert-info",
    "x-ssl-client-cert", "x-ssl-client-cn", "x-ssl-client-dn", "x-ssl-client-s-dn", "x-ssl-client-i-dn",
    "x-ssl-client-verify", "x-ssl-client-serial", "x-ssl-client-fingerprint", "x-ssl-issuer",
    "ssl-client-cert", "ssl-client-subject-dn", "ssl-client-verify", "ssl_client_s_dn",
    "x-arr-clientcert", "x-client-verify", "x-client-dn", "x-client-serial", "x-client-fingerprint",
    "cf-client-cert-sha256", "cf-client-cert-der-base64", "x-tls-client-subject", "x-mtls-subject",
    "x-amzn-oidc-data", "x-amzn-oidc-identity", "x-amzn-oidc-accesstoken", "cf-access-jwt-assertion",
    "cf-access-authenticated-user-email", "cf-access-client-id", "cf-access-client-secret",
    "cf-access-token", "x-goog-iap-jwt-assertion", "x-goog-authenticated-user-email",
    "x-goog-authenticated-user-id", "x-goog-api-key", "x-endpoint-api-userinfo",
    "x-apigateway-api-userinfo", "x-ms-client-principal", "x-ms-client-principal-id",
    "x-ms-client-principal-name", "x-ms-client-principal-idp", "x-ms-token-aad-id-token",
    "tailscale-user-login", "tailscale-user-name", "tailscale-user-profile-pic",
    "tailscale-app-capabilities", "x-authentik-username", "x-authentik-email", "x-authentik-groups",
    "x-authentik-uid", "x-authentik-jwt", "x-consumer-id", "x-consumer-username",
    "x-consumer-custom-id", "x-consumer-groups", "x-credential-identifier", "x-credential-username",
    "x-anonymous-consumer", "x-kong-jwt-claim-sub", "private-token", "job-token", "deploy-token",
    "x-gitlab-token", "sudo", "x-vault-token", "remote-user", "remote-name", "remote-email",
    "remote-groups", "x-remote-user", "x-remote-group", "x-remote-user-id", "x-forwarded-user",
    "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username",
    "x-forwarded-access-token", "x-webauth-user", "x-webauth-email", "x-proxy-user", "x-api-key",
    "api-key", "apikey", "x-apikey", "ocp-apim-subscription-key", "x-functions-key", "x-rapidapi-key",
    "x-algolia-api-key", "x-access-key-id", "dpop", "dpop-nonce", "signature", "signature-input",
    "x-hub-signature", "x-hub-signature-256", "stripe-signature", "x-amz-security-token",
    "x-csrf-token", "x-xsrf-token", "csrf-token", "x-csrftoken", "sec-session-id",
    "sec-session-google-response", "sec-session-response", "sec-secure-session-id", "sec-token-binding",
    "sec-provided-token-binding-id", "sec-private-state-token", "x-auth-request-user",
    "x-auth-request-email", "x-auth-request-groups", "x-auth-request-redirect", "x-auth-token",
    "x-auth-key", "x-authenticated-user", "x-authenticated-userid", "oidc_claim_sub",
    "oidc_access_token", "oidc-claim-email", "x-userinfo", "x-id-token", "x-access-token",
    "accesstoken", "x-accesstoken", "authtoken", "x-refresh-token", "x-email", "x-login",
    "x-account-id", "x-accountid", "x-principal", "x-shibboleth-eppn", "shib-session-id",
    "shib-identity-provider", "eppn", "x-vouch-user", "x-vouch-idp-claims-sub",
    "x-pomerium-jwt-assertion", "x-pomerium-claim-email", "teleport-jwt-assertion", "x-oauth-scopes",
    "oauth-client-attestation", "x-session-id", "x-sessionid", "jsessionid", "phpsessid", "sessionkey",
    "x-sid", "x-identity", "x-passwd", "x-password", "x-passport", "x-bearer", "x-bearer-token",
    "x-ticket", "x-sso", "x-sso-user", "x-saml-nameid", "x-krb-principal", "x-kerberos-user",
    "x-negotiate", "x-impersonate-user", "impersonate-user", "x-act-on-behalf-of", "x-user",
    "x-user-id", "x-userid", "x-username", "x-current-user", "remoteuser", "x-jwt", "x-jwt-payload",
    "x-mtls-identity", "x-uid", "x-customer-id", "x-member-id", "x-visitor-id", "x-device-id",
    "x-client-id", "x-subject", "x-role", "x-roles", "x-msisdn", "x-up-calling-line-id", "x-otp",
    "x-github-otp", "x-wsse", "x-wp-nonce", "x-hasura-admin-secret", "x-hasura-user-id",
    "x-shopify-access-token", "x-firebase-appcheck", "x-device-token", "x-secret", "x-client-secret",
    "clientsecret", "x-signed-in", "x-forwarded-cookie", "x-admin", "x-cart-id", "authentication-info",
    "proxy-authentication-info", "$wsru", "$wscc", "$wssi", "$wsra", "x-proxiedentitieschain",
    "x-proxiedentitygroups", "x-knox-actor-id", "x-knox-actor-groups-1", "x-anchormailbox",
    "x-owa-canary", "x-requestdigest", "x-request-digest", "sm_universalid", "jenkins-crumb", ".crumb",
    "x-honeycomb-team", "x-vercel-protection-bypass", "x-prerender-revalidate", "cf-warp-tag-id",
    "x-amzn-request-context", "x-amzn-lambda-context", "x-spiffe-id", "x-svid", "persistent-id",
    "targeted-id", "pairwise-id", "nameid", "persistentid", "edupersontargetedid", "edupersonuniqueid",
    "entitlement", "sn", "employeenumber", "telephonenumber", "ismemberof", "x-wx-unionid",
    "x-union-id", "scnt", "x-clerk-org-id", "x-stytch-org-id", "x-customerid", "x-clientid",
    "x-memberid", "x-visitorid", "x-deviceid", "x-subscriberid", "x-consumerid", "x-guestid",
    "x-customer-number", "x-player-id", "x-patient-id", "x-device-uuid", "x-device-serial",
    "x-device-fingerprint", "x-installation-id", "x-advertising-id", "x-imei", "x-iccid", "x-udid",
    "x-idfa", "x-mac-address", "x-sub", "x-sess", "x-display-name", "x-given-name", "x-first-name",
    "x-lastname", "x-familyname", "x-scopes", "x-scope", "x-permissions", "x-privileges",
    "ok-access-sign",
];

#[rustfmt::skip]
const HARMLESS: [&str; 201] = [
    "user-agent", "x-user-agent", "x-original-user-agent", "x-useragent", "sec-fetch-user",
    "sec-fetch-site", "sec-fetch-storage-access", "sec-ch-ua", "sec-ch-ua-platform",
    "sec-ch-prefers-color-scheme", "sec-gpc", "sec-purpose", "x-requested-with", "traceparent",
    "tracestate", "baggage", "idempotency-key", "x-idempotency-key", "from", "authority", "author",
    "x-author", "x-authored-by", "x-authors", "accept", "accept-language", "accept-signature",
    "accept-datetime", "access-control-request-headers", "access-control-allow-credentials",
    "access-control-expose-headers", "cache-groups", "cache-group-invalidation", "surrogate-key",
    "x-surrogate-key", "x-cache-key", "cache-key", "xkey", "sec-websocket-key", "sec-websocket-accept",
    "sec-websocket-version", "dnt", "upgrade-insecure-requests", "x-forwarded-for",
    "x-forwarded-server", "x-forwarded-ssl", "via", "priority", "save-data", "last-event-id",
    "hx-request", "hx-target", "hx-current-url", "hx-boosted", "turbo-frame", "next-url",
    "next-router-state-tree", "next-router-prefetch", "next-action", "rsc", "cf-ray", "cf-visitor",
    "cf-ipcountry", "cf-connecting-ip", "cf-worker", "x-real-ip", "x-request-id", "x-amzn-trace-id",
    "x-correlation-id", "cdn-loop", "x-tenant", "x-tenant-id", "x-tenant-name", "x-org-id",
    "x-workspace", "tenant", "www-authenticate", "proxy-authenticate", "optional-www-authenticate",
    "x-content-type-options", "public-key-pins", "permissions-policy", "etag", "set-cookie",
    "set-cookie2", "referer", "origin", "forwarded-for", "true-client-ip", "x-client-ip",
    "fastly-client-ip", "x-azure-clientip", "x-azure-ref", "x-arr-ssl", "x-arr-log-id",
    "x-appservice-proto", "x-ms-client-request-id", "x-amz-cf-id", "cloudfront-viewer-country",
    "cloudfront-is-mobile-viewer", "x-amzn-tls-version", "x-amzn-tls-cipher-suite", "x-b3-traceid",
    "x-envoy-attempt-count", "x-envoy-peer-metadata-id", "x-cloud-trace-context", "x-vercel-id",
    "fly-client-ip", "fly-region", "x-kong-request-id", "x-kong-upstream-latency", "x-request-start",
    "x-datadog-trace-id", "newrelic", "sentry-trace", "uber-trace-id", "device-memory",
    "viewport-width", "dpr", "rtt", "downlink", "ect", "service-worker", "early-data",
    "available-dictionary", "alt-used", "te", "content-type", "content-disposition",
    "content-security-policy", "strict-transport-security", "x-frame-options", "x-powered-by",
    "x-xss-protection", "referrer-policy", "cross-origin-opener-policy", "report-to", "nel", "server",
    "vary", "age", "x-cache", "x-cache-hits", "x-served-by", "x-timer", "x-drupal-cache-tags",
    "edge-cache-tag", "cache-tag", "x-robots-tag", "link", "allow", "retry-after", "x-ratelimit-limit",
    "ratelimit-policy", "server-timing", "x-runtime", "ms-author-via", "x-theme", "x-plan", "x-lang",
    "x-variant", "x-bucket", "x-feature-flag", "x-app-version", "x-platform", "x-currency", "x-country",
    "x-monkeys", "keyboard", "x-keywords", "x-key-count", "tailscale-headers-info",
    "x-operamini-phone-ua", "sec-cookie-deprecation", "x-nf-account-id", "x-nf-account-tier",
    "x-proxyuser-ip", "x-user-ip", "variant-key", "sap-passport", "x-true-cache-key",
    "x-hasura-query-cache-key", "x-page-cachekey", "x-ab-group", "permissions-policy-report-only",
    "content-digest", "repr-digest", "want-content-digest", "request-context", "x-canary",
    "x-device-type", "x-client-version", "apollographql-client-name", "apollographql-client-version",
    "x-github-hook-installation-target-id", "x-display-mode", "x-sub-path", "x-frame-name",
    "x-region-name", "x-union", "x-design",
];

#[test]
fn fields_of_credentials_and_identities_identify() {
    let missed: Vec<_> = IDENTIFYING.into_iter().filter(|name| !role_of(name).identifies()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn fields_of_browsers_proxies_and_pages_do_not_identify() {
    let caught: Vec<_> = HARMLESS.into_iter().filter(|name| role_of(name).identifies()).collect();
    assert!(caught.is_empty(), "{caught:?}");
}

#[test]
fn no_name_with_a_role_is_listed_as_harmless() {
    for (name, _) in super::NAMES {
        assert!(!is_harmless(name), "{name}");
        assert!(!matches!(role_of(name), HeaderRole::Other), "{name}");
    }
}

/// A token begins with a letter or `*` (RFC 9651 section 3.3.4), so `2fa` is a string.
#[test]
fn detail_is_the_field_name_as_a_token_or_string_up_to_a_limit() {
    let long = format!("x-token-{}", "a".repeat(10_000));
    let shown = format!("x-token-{}", "a".repeat(39));
    let table =
        [("x-api-key", "x-api-key"), ("client-cert", "client-cert"), ("2fa", "\"2fa\""), (&long, &shown)];
    for (name, text) in table {
        assert_eq!(detail(name).to_string(), text);
    }
}

const WORDS: [&str; 26] = [
    "auth",
    "authn",
    "authenticated",
    "token",
    "secret",
    "session",
    "sid",
    "jwt",
    "assertion",
    "cert",
    "certificate",
    "credential",
    "user",
    "userid",
    "account",
    "login",
    "principal",
    "mtls",
    "dpop",
    "signature",
    "claim",
    "claims",
    "password",
    "apikey",
    "oauth",
    "csrf",
];

/// Generates the text before a word in a name: nothing, or other words with a separator at the end.
fn around() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "(x|my|shop|app|acme|z)[-_]([a-z0-9]{1,8}[-_]){0,3}".prop_map(|text| text)
    ]
}

proptest! {
    #![proptest_config(crate::cases::cases())]

    #[test]
    fn a_word_identifies_at_any_position_in_a_name(
        word in select(WORDS.to_vec()), before in around(), behind in "([-_][b-z0-9]{1,8}){0,3}",
    ) {
        let name = format!("{before}{word}{behind}");
        let is_listed = is_harmless(&name);
        prop_assert!(is_listed || role_of(&name).identifies() || behind.starts_with("-agent"), "{name}");
    }

    #[test]
    fn a_stem_identifies_at_the_end_of_a_longer_word(
        word in select(vec!["token", "cert", "secret", "session", "user", "jwt", "login", "claim", "signature", "sid"]),
        before in "[a-z]{1,8}",
    ) {
        let names = [format!("{before}{word}"), format!("x-{before}{word}"), format!("x-{before}{word}-id")];
        for name in names {
            prop_assert!(role_of(&name).identifies(), "{name}");
        }
    }

    // Without vowels, the word before `key` is never `cache`: the key of a cache is not secret.
    #[test]
    fn a_name_that_ends_in_key_identifies(
        before in "x-[b-df-hj-np-tv-z]{3,9}",
    ) {
        let last = format!("{before}-key");
        prop_assert!(role_of(&last).identifies(), "{last}");
    }

    #[test]
    fn any_name_is_classified_without_a_panic(name in "[!-~]{0,100}") {
        let _ = role_of(&name.to_ascii_lowercase());
    }
}
