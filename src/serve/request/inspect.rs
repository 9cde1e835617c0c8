//! One pass over the request: may the cache handle it, and what enters its key?

use super::facts::RequestFacts;
use crate::key::{KeyPolicy, RequestHead};
use crate::marks::OuterContext;
use crate::policy::request_fields::{self, HeaderRole, detail, is_harmless, meaning_of_other};
use crate::policy::{CookiePolicy, Cookies, Policy, Sharing};
use crate::status::{Detail, ForwardReason, Reason};
use http::header::{COOKIE, HeaderMap};
use http::{HeaderName, HeaderValue, Method};

/// A request that the cache may answer, and the fields that matter to it.
#[derive(Default)]
pub(in crate::serve) struct InspectedRequest<'a> {
    pub(in crate::serve) host: Option<&'a HeaderValue>,
    has_cookie: bool,
    /// The values of the cookies that enter the key, if there is any cookie.
    pub(in crate::serve) cookies: Vec<Option<&'a [u8]>>,
    /// Who the sender is, where that is part of the key.
    pub(in crate::serve) identity: Option<String>,
    /// The parts of the key that the user computes.
    pub(in crate::serve) parts: Vec<Option<String>>,
    /// The tag of a copy that the sender has, if it names one alone.
    pub(in crate::serve) copy: Option<&'a HeaderValue>,
    pub(in crate::serve) facts: RequestFacts,
}

/// Returns `true` if the cache may answer a request with these fields, and notes which of them matter. The notes
/// are written in place: they are too large to be moved about.
#[inline]
pub(in crate::serve) fn inspect<'a>(
    policy: &Policy,
    request: RequestHead<'a>,
    is_empty: bool,
    outer: Option<&OuterContext>,
    inspected: &mut InspectedRequest<'a>,
) -> Result<(), Reason> {
    let head = *request.method == Method::HEAD;
    if *request.method != Method::GET && !head {
        return Err(ForwardReason::Method.into());
    }
    // RFC 9110 section 9.3.1: content in a GET has no generally defined semantics, so a handler
    // may read it, and no key covers it. Nor does it cover trailers.
    if !is_empty {
        return Err(Reason::bypass(Detail::Body));
    }
    let predicates = &policy.predicates;
    if predicates.skips(request) {
        return Err(Reason::bypass(Detail::Skipped));
    }
    inspected.facts.needs_current = outer.is_some_and(|outer| outer.needs_current);
    let known = &policy.known_extensions;
    inspected.facts.is_extended = !predicates.prepare_refreshes()
        && outer.is_some_and(|outer| outer.is_extended(request.extensions, known));
    let outer = outer.and_then(|outer| outer.cookies.as_deref());
    inspected.facts.head = head;
    inspected.identity = predicates.identity(request);
    if inspected.identity.is_none() && predicates.identify(request.extensions) {
        return Err(Reason::bypass(Detail::Identified));
    }
    inspected.read(policy, request.headers, outer)
}

impl<'a> InspectedRequest<'a> {
    fn read(
        &mut self,
        policy: &Policy,
        headers: &'a HeaderMap,
        outer: Option<&CookiePolicy>,
    ) -> Result<(), Reason> {
        let personal = self.identity.is_some();
        self.facts.personal = personal;
        // A layer further in may never learn of it.
        self.facts.identified = personal;
        // Where who the sender is has a part in the key, nothing that says so has to bypass.
        let app = policy.sharing == Sharing::App && !personal;
        let strict = policy.strips_unkeyed && !personal;
        let declared = !policy.key.ignored.is_empty() || !policy.credentials.is_empty();
        for (name, value) in headers {
            if declared {
                if policy.credentials.contains(name) && !personal {
                    return Err(Reason::bypass(Detail::Credentials));
                }
                if policy.key.ignored.contains(name) {
                    continue;
                }
            }
            // Most fields mean nothing, which one look settles.
            if !is_harmless(name.as_str()) {
                self.note(name, value, app, strict, &policy.key)?;
            }
        }
        if self.has_cookie {
            let cookies = Cookies { own: &policy.cookies, outer, personal };
            let declared = !cookies.is_default();
            match cookies.read(headers) {
                Ok(values) if declared || personal => self.cookies = values,
                // Where some enter the key, a handler that sees others beside them answers to no key.
                _ if app || declared || strict => return Err(Reason::bypass(Detail::Cookie)),
                _ => self.facts.identified = true,
            }
        }
        Ok(())
    }

    /// Notes a field that may mean something; apart, so that passing over all the others is a small loop.
    #[inline(never)]
    fn note(
        &mut self,
        name: &HeaderName,
        value: &'a HeaderValue,
        app: bool,
        strict: bool,
        key: &KeyPolicy,
    ) -> Result<(), Reason> {
        let facts = &mut self.facts;
        match meaning_of_other(name.as_str()) {
            HeaderRole::Nothing => {}
            HeaderRole::Host => {
                if !is_only_line(&mut self.host, value) {
                    return Err(Reason::bypass(Detail::Host));
                }
            }
            // Whoever has it in the key has said what it is.
            HeaderRole::NamedLikeCredential if key.covers(name) => {}
            HeaderRole::Credential | HeaderRole::NamedLikeCredential if app => {
                return Err(Reason::bypass(detail(name.as_str())));
            }
            HeaderRole::Credential | HeaderRole::NamedLikeCredential => facts.identified = true,
            HeaderRole::Authorization if app || strict => return Err(Reason::bypass(Detail::Authorization)),
            HeaderRole::Authorization => (facts.authorization, facts.identified) = (true, true),
            HeaderRole::Cookie => self.has_cookie = true,
            HeaderRole::OldCookie if app => return Err(Reason::bypass(Detail::Cookie)),
            HeaderRole::OldCookie => facts.identified = true,
            HeaderRole::Forwarded(field) => facts.forwarded.insert(field),
            HeaderRole::ContentLength if value.as_bytes() == b"0" => {}
            HeaderRole::ContentLength => return Err(Reason::bypass(Detail::Body)),
            HeaderRole::NotPlain(why) => return Err(Reason::bypass(why)),
            HeaderRole::Range => facts.range = true,
            HeaderRole::Precondition => facts.conditional = true,
            HeaderRole::Tag => {
                facts.has_copy = true;
                self.copy = Some(value);
            }
            HeaderRole::Validator => facts.has_copy = true,
            HeaderRole::Directives => facts.directives = true,
        }
        Ok(())
    }
}

/// Returns `true` if any field says who the sender of a request is, by whatever preset.
pub(in crate::serve) fn identifies(policy: &Policy, request: RequestHead<'_>) -> bool {
    let outer = request.extensions.get::<OuterContext>().and_then(|outer| outer.cookies.as_deref());
    let cookies = Cookies { own: &policy.cookies, outer, personal: false };
    let by_cookie = request.headers.contains_key(COOKIE)
        && !policy.key.ignored.contains(&COOKIE)
        && (cookies.is_default() || cookies.read(request.headers).is_err());
    by_cookie
        || policy.predicates.identify(request.extensions)
        || policy.predicates.identity(request).is_some()
        || policy.identifies_by_field(request.headers)
}

/// Returns `true` if a request carries credentials, or an outer layer has identified its sender or found a cookie that
/// nothing declares.
pub(crate) fn is_identified(request: RequestHead<'_>) -> bool {
    let outer = request.extensions.get::<OuterContext>();
    outer.is_some_and(OuterContext::may_identify)
        || request_fields::identifies(request.headers, &[], &[], |_| false)
}

/// Returns `false` if there was a line before: of a field that may occur once, nobody knows then which line counts.
fn is_only_line<'a>(place: &mut Option<&'a HeaderValue>, value: &'a HeaderValue) -> bool {
    place.replace(value).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyBuilder;
    use http::HeaderName;

    fn verdict(policy: &PolicyBuilder, lines: &[(&str, &str)]) -> Result<RequestFacts, Option<Detail>> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let mut inspected = InspectedRequest::default();
        let policy = policy.clone().build().expect("a policy");
        let read = inspected.read(&policy, &headers, None).map_err(|bypass| bypass.detail);
        read.map(|()| inspected.facts)
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
        assert_eq!(verdict(&declaring, &[("x-mine", "1")]).err(), Some(Some(Detail::Credentials)));
    }

    #[test]
    fn what_makes_a_get_not_plain_bypasses() {
        let table = [
            (("content-length", "1"), Detail::Body),
            (("content-length", "00"), Detail::Body),
            (("transfer-encoding", "chunked"), Detail::Body),
            (("expect", "100-continue"), Detail::Expect),
            (("upgrade", "websocket"), Detail::Upgrade),
            (("x-http-method-override", "DELETE"), Detail::MethodOverride),
            (("x-method-override", "DELETE"), Detail::MethodOverride),
            (("x-http-method", "DELETE"), Detail::MethodOverride),
        ];
        for (line, why) in table {
            assert_eq!(verdict(&Policy::app(), &[line]).err(), Some(Some(why)), "{line:?}");
        }
        assert!(verdict(&Policy::app(), &[("content-length", "0")]).is_ok());
    }

    #[test]
    fn repeated_host_lines_bypass() {
        assert!(verdict(&Policy::app(), &[("host", "a")]).is_ok());
        assert!(verdict(&Policy::app(), &[("host", "a"), ("host", "a")]).is_err());
    }
}
