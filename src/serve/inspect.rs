//! One pass over the request: may the cache handle it, and what enters its key?

use super::service::Shared;
use crate::policy::{Policy, Sharing};
use crate::status::ForwardReason;
use http::header::HeaderMap;
use http::{HeaderValue, Method};
use http_body::Body;

/// A request that the cache may answer, and the fields that matter to it.
pub(super) struct Inspected<'a> {
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) forwarded: [Option<&'a HeaderValue>; FORWARDED],
    pub(super) context: Context,
}

/// What of the request is still needed once it is on its way to the service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context {
    pub(super) head: bool,
    pub(super) authorization: bool,
    /// It has preconditions: its answer says nothing of what others would get.
    pub(super) conditional: bool,
    /// It has directives of its own (`Cache-Control` or `Pragma`).
    pub(super) directives: bool,
}

/// A request that the cache lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bypass {
    pub(super) reason: ForwardReason,
    pub(super) detail: Option<&'static str>,
}

impl Bypass {
    pub(super) const fn because(detail: &'static str) -> Self {
        Self { reason: ForwardReason::Bypass, detail: Some(detail) }
    }
}

const FORWARDED: usize = 9;

/// What a field means to the cache, by its name.
enum Meaning {
    Nothing,
    Host,
    /// Identifies a visitor or an application acting for one.
    Credential(&'static str),
    Authorization,
    Cookie,
    /// Frameworks build URLs from it or route by it, so it is part of the key.
    Forwarded(usize),
    ContentLength,
    /// The request has a body, or is not the method it seems.
    NotPlain(&'static str),
    Range,
    Precondition,
    Directives,
}

/// Returns the meaning of a field. By length first: most names are settled by a jump.
fn meaning(name: &str) -> Meaning {
    use Meaning::*;
    match name.len() {
        4 if name == "host" => Host,
        5 if name == "range" => Range,
        6 => match name {
            "cookie" => Cookie,
            "expect" => NotPlain("expect"),
            "pragma" => Directives,
            "x-host" => Forwarded(6),
            _ => Nothing,
        },
        7 => match name {
            "upgrade" => NotPlain("upgrade"),
            "cookie2" => Cookie,
            "api-key" => Credential("api-key"),
            "x-token" => Credential("x-token"),
            _ => Nothing,
        },
        8 => match name {
            "if-match" | "if-range" => Precondition,
            _ => Nothing,
        },
        9 => match name {
            "forwarded" => Forwarded(0),
            "x-api-key" => Credential("x-api-key"),
            "x-user-id" => Credential("x-user-id"),
            "x-session" => Credential("x-session"),
            _ => Nothing,
        },
        11 if name == "remote-user" => Credential("remote-user"),
        12 if name == "x-auth-token" => Credential("x-auth-token"),
        13 => match name {
            "authorization" => Authorization,
            "cache-control" => Directives,
            "if-none-match" => Precondition,
            "x-http-method" => NotPlain("method-override"),
            "x-rewrite-url" => Forwarded(8),
            "x-remote-user" => Credential("x-remote-user"),
            _ => Nothing,
        },
        14 => match name {
            "content-length" => ContentLength,
            "x-original-url" => Forwarded(7),
            "x-access-token" => Credential("x-access-token"),
            _ => Nothing,
        },
        15 if name == "x-session-token" => Credential("x-session-token"),
        16 => match name {
            "x-forwarded-host" => Forwarded(1),
            "x-forwarded-port" => Forwarded(5),
            "x-forwarded-user" => Credential("x-forwarded-user"),
            "x-amzn-oidc-data" => Credential("x-amzn-oidc"),
            _ => Nothing,
        },
        17 => match name {
            "x-forwarded-proto" => Forwarded(2),
            "if-modified-since" => Precondition,
            "transfer-encoding" => NotPlain("body"),
            "x-method-override" => NotPlain("method-override"),
            "x-forwarded-email" => Credential("x-forwarded-email"),
            "x-ssl-client-cert" => Credential("x-ssl-client-cert"),
            _ => Nothing,
        },
        18 => match name {
            "x-forwarded-prefix" => Forwarded(3),
            "x-forwarded-scheme" => Forwarded(4),
            "x-forwarded-groups" => Credential("x-forwarded-groups"),
            _ => Nothing,
        },
        _ => long_meaning(name),
    }
}

fn long_meaning(name: &str) -> Meaning {
    use Meaning::*;
    match name {
        "proxy-authorization" => Credential("proxy-authorization"),
        "if-unmodified-since" => Precondition,
        "x-auth-request-user" => Credential("x-auth-request-user"),
        "x-auth-request-email" => Credential("x-auth-request-email"),
        "x-amz-security-token" => Credential("x-amz-security-token"),
        "x-http-method-override" => NotPlain("method-override"),
        "x-forwarded-client-cert" => Credential("x-forwarded-client-cert"),
        "cf-access-jwt-assertion" => Credential("cf-access-jwt-assertion"),
        "x-goog-iap-jwt-assertion" => Credential("x-goog-iap-jwt-assertion"),
        "x-auth-request-access-token" => Credential("x-auth-request-access-token"),
        "x-forwarded-access-token" => Credential("x-forwarded-access-token"),
        "x-ms-client-principal" | "x-ms-client-principal-id" => Credential("x-ms-client-principal"),
        "x-amzn-oidc-identity" | "x-amzn-oidc-accesstoken" => Credential("x-amzn-oidc"),
        _ => Nothing,
    }
}

impl Shared {
    /// Tells whether the cache may answer a request with these fields.
    pub(super) fn inspect<'a, B: Body>(
        &self,
        method: &Method,
        headers: &'a HeaderMap,
        body: &B,
    ) -> Result<Inspected<'a>, Bypass> {
        let head = *method == Method::HEAD;
        if *method != Method::GET && !head {
            return Err(Bypass { reason: ForwardReason::Method, detail: None });
        }
        // RFC 9110 section 9.3.1: content in a GET has no generally defined semantics, so a handler
        // may read it, and no key covers it.
        if !body.is_end_stream() && body.size_hint().exact() != Some(0) {
            return Err(Bypass::because("body"));
        }
        inspect_headers(&self.policy, headers, head)
    }
}

fn inspect_headers<'a>(policy: &Policy, headers: &'a HeaderMap, head: bool) -> Result<Inspected<'a>, Bypass> {
    let mut inspected = Inspected {
        host: None,
        forwarded: [None; FORWARDED],
        context: Context { head, ..Context::default() },
    };
    let app = policy.sharing == Sharing::App;
    let context = &mut inspected.context;
    let declared = !policy.key.ignored.is_empty() || !policy.credentials.is_empty();
    for (name, value) in headers {
        if declared && policy.key.ignored.contains(name) {
            continue;
        }
        if declared && policy.credentials.contains(name) {
            return Err(Bypass::because("credentials"));
        }
        match meaning(name.as_str()) {
            Meaning::Nothing => {}
            Meaning::Host => once(&mut inspected.host, value).map_err(|()| Bypass::because("host"))?,
            Meaning::Credential(_) if !app => {}
            Meaning::Credential(which) => return Err(Bypass::because(which)),
            Meaning::Authorization if app => return Err(Bypass::because("authorization")),
            Meaning::Authorization => context.authorization = true,
            Meaning::Cookie if app => return Err(Bypass::because("cookie")),
            Meaning::Cookie => {}
            Meaning::Forwarded(at) => {
                once(&mut inspected.forwarded[at], value).map_err(|()| Bypass::because("forwarded"))?
            }
            Meaning::ContentLength if value.as_bytes() == b"0" => {}
            Meaning::ContentLength => return Err(Bypass::because("body")),
            Meaning::NotPlain(why) => return Err(Bypass::because(why)),
            Meaning::Range => return Err(Bypass::because("range")),
            Meaning::Precondition => context.conditional = true,
            Meaning::Directives => context.directives = true,
        }
    }
    Ok(inspected)
}

/// A second line of a field that may occur once makes it anybody's guess which one counts.
fn once<'a>(place: &mut Option<&'a HeaderValue>, value: &'a HeaderValue) -> Result<(), ()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn verdict(policy: &Policy, lines: &[(&str, &str)]) -> Result<Context, Option<&'static str>> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        inspect_headers(policy, &headers, false).map(|i| i.context).map_err(|bypass| bypass.detail)
    }

    #[test]
    fn every_credential_makes_the_application_preset_bypass() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "X-Api-Key",
            "Api-Key",
            "X-Auth-Token",
            "X-Access-Token",
            "X-Session-Token",
            "Remote-User",
            "X-Remote-User",
            "X-Forwarded-User",
            "X-Forwarded-Email",
            "X-Forwarded-Groups",
            "X-Forwarded-Client-Cert",
            "X-SSL-Client-Cert",
            "X-Auth-Request-User",
            "X-Auth-Request-Email",
            "X-Auth-Request-Access-Token",
            "X-Amz-Security-Token",
            "Cf-Access-Jwt-Assertion",
            "X-Goog-IAP-JWT-Assertion",
            "X-MS-Client-Principal",
            "X-Amzn-Oidc-Data",
            "X-User-Id",
            "X-Forwarded-Access-Token",
        ] {
            assert!(verdict(&Policy::app(), &[(name, "")]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_field_declared_ignored_does_not_identify_and_a_declared_credential_does() {
        let ignoring = Policy::app().ignore_headers([http::header::AUTHORIZATION]);
        assert!(verdict(&ignoring, &[("authorization", "Bearer x")]).is_ok());
        let declaring = Policy::rfc9111().credential_headers([HeaderName::from_static("x-mine")]);
        assert_eq!(verdict(&declaring, &[("x-mine", "1")]).err(), Some(Some("credentials")));
    }

    #[test]
    fn what_makes_a_get_not_plain_bypasses() {
        let table = [
            (("content-length", "1"), "body"),
            (("content-length", "00"), "body"),
            (("transfer-encoding", "chunked"), "body"),
            (("expect", "100-continue"), "expect"),
            (("upgrade", "websocket"), "upgrade"),
            (("x-http-method-override", "DELETE"), "method-override"),
            (("x-method-override", "DELETE"), "method-override"),
            (("x-http-method", "DELETE"), "method-override"),
            (("range", "bytes=0-1"), "range"),
        ];
        for (line, why) in table {
            assert_eq!(verdict(&Policy::app(), &[line]).err(), Some(Some(why)), "{line:?}");
        }
        assert!(verdict(&Policy::app(), &[("content-length", "0")]).is_ok());
    }

    #[test]
    fn repeated_host_and_forwarded_lines_bypass() {
        for name in ["host", "x-forwarded-host", "forwarded"] {
            assert!(verdict(&Policy::app(), &[(name, "a")]).is_ok());
            assert!(verdict(&Policy::app(), &[(name, "a"), (name, "a")]).is_err(), "{name}");
        }
    }
}
