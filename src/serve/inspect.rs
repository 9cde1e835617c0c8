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
    /// Whether there is any of them.
    pub(super) is_forwarded: bool,
    /// The values of the cookies that enter the key, if there is any cookie.
    pub(super) cookies: Vec<Option<&'a [u8]>>,
    /// The tag of a copy that the sender has, if it names one alone.
    pub(super) copy: Option<&'a HeaderValue>,
    pub(super) context: Context,
}

/// What of the request is still needed once it is on its way to the service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context {
    pub(super) head: bool,
    pub(super) authorization: bool,
    /// It has preconditions that the service has to evaluate (RFC 9110 section 13.1.1, 13.1.4).
    pub(super) conditional: bool,
    /// It has validators of a copy of its own; a complete response answers it as well
    /// (RFC 9110 section 13.1.2, 13.1.3).
    pub(super) has_copy: bool,
    /// It has the tag of the stored response itself.
    pub(super) has_tag: bool,
    /// It asks for a part.
    pub(super) range: bool,
    /// It has directives of its own (`Cache-Control` or `Pragma`).
    pub(super) directives: bool,
    /// It says who its sender is, which another layer further in may never learn.
    pub(super) identified: bool,
}

impl Context {
    /// Tells whether it may be sent less than a whole response.
    pub(super) fn selects(self) -> bool {
        self.conditional || self.has_copy || self.range
    }

    /// Tells whether the answer to this request says nothing of what others would get.
    pub(super) fn goes_alone(self) -> bool {
        self.conditional || self.authorization || self.range
    }
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
#[derive(Debug, Clone, Copy)]
enum Meaning {
    Nothing,
    Host,
    /// Identifies a visitor or an application acting for one.
    Credential,
    Authorization,
    Cookie,
    /// RFC 2965's, which nothing is declared of.
    OldCookie,
    /// Frameworks build URLs from it or route by it, so it is part of the key.
    Forwarded(usize),
    ContentLength,
    /// The request has a body, or is not the method it seems.
    NotPlain(&'static str),
    Range,
    Precondition,
    Validator,
    Tag,
    Directives,
}

const METHOD_OVERRIDE: Meaning = Meaning::NotPlain("method-override");

/// Every name that means something; the most frequent first.
const NAMES: [(&str, Meaning); 56] = [
    ("host", Meaning::Host),
    ("cookie", Meaning::Cookie),
    ("cookie2", Meaning::OldCookie),
    ("authorization", Meaning::Authorization),
    ("cache-control", Meaning::Directives),
    ("pragma", Meaning::Directives),
    ("if-none-match", Meaning::Tag),
    ("if-modified-since", Meaning::Validator),
    ("if-match", Meaning::Precondition),
    ("if-unmodified-since", Meaning::Precondition),
    ("if-range", Meaning::Precondition),
    ("range", Meaning::Range),
    ("content-length", Meaning::ContentLength),
    ("transfer-encoding", Meaning::NotPlain("body")),
    ("expect", Meaning::NotPlain("expect")),
    ("upgrade", Meaning::NotPlain("upgrade")),
    ("x-http-method", METHOD_OVERRIDE),
    ("x-http-method-override", METHOD_OVERRIDE),
    ("x-method-override", METHOD_OVERRIDE),
    ("forwarded", Meaning::Forwarded(0)),
    ("x-forwarded-host", Meaning::Forwarded(1)),
    ("x-forwarded-proto", Meaning::Forwarded(2)),
    ("x-forwarded-prefix", Meaning::Forwarded(3)),
    ("x-forwarded-scheme", Meaning::Forwarded(4)),
    ("x-forwarded-port", Meaning::Forwarded(5)),
    ("x-host", Meaning::Forwarded(6)),
    ("x-original-url", Meaning::Forwarded(7)),
    ("x-rewrite-url", Meaning::Forwarded(8)),
    ("proxy-authorization", Meaning::Credential),
    ("api-key", Meaning::Credential),
    ("x-api-key", Meaning::Credential),
    ("x-token", Meaning::Credential),
    ("x-auth-token", Meaning::Credential),
    ("x-access-token", Meaning::Credential),
    ("x-session", Meaning::Credential),
    ("x-session-token", Meaning::Credential),
    ("x-user-id", Meaning::Credential),
    ("remote-user", Meaning::Credential),
    ("x-remote-user", Meaning::Credential),
    ("x-forwarded-user", Meaning::Credential),
    ("x-forwarded-email", Meaning::Credential),
    ("x-forwarded-groups", Meaning::Credential),
    ("x-forwarded-access-token", Meaning::Credential),
    ("x-forwarded-client-cert", Meaning::Credential),
    ("x-ssl-client-cert", Meaning::Credential),
    ("x-auth-request-user", Meaning::Credential),
    ("x-auth-request-email", Meaning::Credential),
    ("x-auth-request-access-token", Meaning::Credential),
    ("x-amz-security-token", Meaning::Credential),
    ("x-amzn-oidc-data", Meaning::Credential),
    ("x-amzn-oidc-identity", Meaning::Credential),
    ("x-amzn-oidc-accesstoken", Meaning::Credential),
    ("cf-access-jwt-assertion", Meaning::Credential),
    ("x-goog-iap-jwt-assertion", Meaning::Credential),
    ("x-ms-client-principal", Meaning::Credential),
    ("x-ms-client-principal-id", Meaning::Credential),
];

/// For each first byte of a name, the lengths of the names that mean something: one look settles most.
const LENGTHS: [u32; 256] = {
    let mut lengths = [0; 256];
    let mut at = 0;
    while at < NAMES.len() {
        let name = NAMES[at].0.as_bytes();
        lengths[name[0] as usize] |= 1 << name.len();
        at += 1;
    }
    lengths
};

#[inline]
fn meaning(name: &str) -> Meaning {
    let (first, length) = (name.as_bytes().first().copied().unwrap_or_default(), name.len());
    if length >= 32 || LENGTHS[usize::from(first)] & (1 << length) == 0 {
        return Meaning::Nothing;
    }
    NAMES.iter().find(|(known, _)| *known == name).map_or(Meaning::Nothing, |(_, meaning)| *meaning)
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
        is_forwarded: false,
        copy: None,
        cookies: Vec::new(),
        context: Context { head, ..Context::default() },
    };
    let app = policy.sharing == Sharing::App;
    let context = &mut inspected.context;
    let mut has_cookie = false;
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
            Meaning::Credential if !app => context.identified = true,
            Meaning::Credential => {
                let known = NAMES.iter().find(|(known, _)| *known == name.as_str());
                return Err(Bypass::because(known.map_or("credentials", |(known, _)| known)));
            }
            Meaning::Authorization if app => return Err(Bypass::because("authorization")),
            Meaning::Authorization => (context.authorization, context.identified) = (true, true),
            Meaning::Cookie => has_cookie = true,
            Meaning::OldCookie if app => return Err(Bypass::because("cookie")),
            Meaning::OldCookie => context.identified = true,
            Meaning::Forwarded(at) => {
                once(&mut inspected.forwarded[at], value).map_err(|()| Bypass::because("forwarded"))?;
                inspected.is_forwarded = true;
            }
            Meaning::ContentLength if value.as_bytes() == b"0" => {}
            Meaning::ContentLength => return Err(Bypass::because("body")),
            Meaning::NotPlain(why) => return Err(Bypass::because(why)),
            Meaning::Range => context.range = true,
            Meaning::Precondition => context.conditional = true,
            Meaning::Tag => {
                context.has_copy = true;
                inspected.copy = Some(value);
            }
            Meaning::Validator => context.has_copy = true,
            Meaning::Directives => context.directives = true,
        }
    }
    if has_cookie {
        let declared = !policy.cookies.is_default();
        match policy.cookies.read(headers) {
            Ok(values) if declared => inspected.cookies = values,
            // Where some enter the key, a handler that sees others beside them answers to no key.
            _ if app || declared => return Err(Bypass::because("cookie")),
            _ => inspected.context.identified = true,
        }
    }
    Ok(inspected)
}

impl Policy {
    /// Tells whether any field says who the sender of a request is, by whatever preset.
    pub(super) fn identifies(&self, headers: &HeaderMap) -> bool {
        headers.keys().any(|name| {
            let identifies = match meaning(name.as_str()) {
                Meaning::Credential | Meaning::Authorization | Meaning::OldCookie => true,
                Meaning::Cookie => self.cookies.is_default() || self.cookies.read(headers).is_err(),
                _ => false,
            };
            (identifies || self.credentials.contains(name)) && !self.key.ignored.contains(name)
        })
    }
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
