//! One pass over a request: may the cache answer it, and which inputs enter its key?

use super::facts::RequestFacts;
use crate::key::{KeyPolicy, RequestHead};
use crate::marks::OuterContext;
use crate::policy::request_fields::{self, HeaderRole, detail, is_harmless, role_of_other};
use crate::policy::{CookiePolicy, Cookies, Policy, Sharing};
use crate::status::{Detail, ForwardReason, Reason};
use http::header::{COOKIE, HeaderMap};
use http::{HeaderName, HeaderValue, Method};

/// The result of inspecting a request: the fields and facts that matter to the cache.
#[derive(Default)]
pub(in crate::serve) struct InspectedRequest<'a> {
    /// The `Host` line.
    pub(in crate::serve) host: Option<&'a HeaderValue>,
    has_cookie: bool,
    /// The values of the cookies that enter the key.
    pub(in crate::serve) cookies: Vec<Option<&'a [u8]>>,
    /// The identity of the visitor, if the policy makes it part of the key.
    pub(in crate::serve) identity: Option<String>,
    /// The key parts that functions of the user compute.
    pub(in crate::serve) parts: Vec<Option<String>>,
    /// The last line of `If-None-Match`.
    pub(in crate::serve) if_none_match: Option<&'a HeaderValue>,
    pub(in crate::serve) facts: RequestFacts,
}

/// Inspects a request, and notes the fields and facts that matter in `inspected`. The caller
/// provides `inspected`, since the struct is too large to move.
///
/// # Errors
/// Returns the reason why the cache must not answer the request.
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
    // RFC 9110 section 9.3.1: content in a GET has no generally defined semantics. A handler may
    // read the content or trailers, but no key covers them.
    if !is_empty {
        return Err(Reason::bypass(Detail::Body));
    }
    let predicates = &policy.predicates;
    if predicates.bypasses(request) {
        return Err(Reason::bypass(Detail::Skipped));
    }
    inspected.facts.needs_current = outer.is_some_and(|outer| outer.needs_current);
    let known = &policy.known_extensions;
    inspected.facts.has_foreign_extension = !predicates.has_refresh_hooks()
        && outer.is_some_and(|outer| outer.has_foreign_extension(request.extensions, known));
    let outer = outer.and_then(|outer| outer.cookies.as_deref());
    inspected.facts.head = head;
    inspected.identity = predicates.identity(request);
    if inspected.identity.is_none() && predicates.extension_identifies(request.extensions) {
        return Err(Reason::bypass(Detail::Identified));
    }
    inspected.read(policy, request.headers, outer)
}

impl<'a> InspectedRequest<'a> {
    /// Reads the header fields.
    fn read(
        &mut self,
        policy: &Policy,
        headers: &'a HeaderMap,
        outer: Option<&CookiePolicy>,
    ) -> Result<(), Reason> {
        let personal = self.identity.is_some();
        self.facts.personal = personal;
        self.facts.identified = personal;
        // If the identity is part of the key, credentials are no reason to bypass the cache.
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
            // Most fields have the role `Other`. One check of the name rules them out.
            if !is_harmless(name.as_str()) {
                self.inspect_field(name, value, app, strict, &policy.key)?;
            }
        }
        if self.has_cookie {
            let cookies = Cookies { own: &policy.cookies, outer, personal };
            let declared = !cookies.is_default();
            match cookies.read(headers) {
                Ok(values) if declared || personal => self.cookies = values,
                // The handler would see cookies that the key does not cover.
                _ if app || declared || strict => return Err(Reason::bypass(Detail::Cookie)),
                _ => self.facts.identified = true,
            }
        }
        Ok(())
    }

    /// Notes a field that may have a role. Not inlined, so that the loop over all other fields
    /// stays small.
    #[inline(never)]
    fn inspect_field(
        &mut self,
        name: &HeaderName,
        value: &'a HeaderValue,
        app: bool,
        strict: bool,
        key: &KeyPolicy,
    ) -> Result<(), Reason> {
        let facts = &mut self.facts;
        match role_of_other(name.as_str()) {
            HeaderRole::Other => {}
            HeaderRole::Host => {
                if !is_only_line(&mut self.host, value) {
                    return Err(Reason::bypass(Detail::Host));
                }
            }
            // A policy that keys the field declares that it is not a credential.
            HeaderRole::NamedLikeCredential if key.covers(name) => {}
            HeaderRole::Credential | HeaderRole::NamedLikeCredential if app => {
                return Err(Reason::bypass(detail(name.as_str())));
            }
            HeaderRole::Credential | HeaderRole::NamedLikeCredential => facts.identified = true,
            HeaderRole::Authorization if app || strict => return Err(Reason::bypass(Detail::Authorization)),
            HeaderRole::Authorization => (facts.authorization, facts.identified) = (true, true),
            HeaderRole::Cookie => self.has_cookie = true,
            HeaderRole::Cookie2 if app => return Err(Reason::bypass(Detail::Cookie)),
            HeaderRole::Cookie2 => facts.identified = true,
            HeaderRole::Forwarded(field) => facts.forwarded.insert(field),
            HeaderRole::ContentLength if value.as_bytes() == b"0" => {}
            HeaderRole::ContentLength => return Err(Reason::bypass(Detail::Body)),
            HeaderRole::NotPlain(why) => return Err(Reason::bypass(why)),
            HeaderRole::Range => facts.range = true,
            HeaderRole::Precondition => facts.conditional = true,
            HeaderRole::Tag => {
                facts.has_copy = true;
                self.if_none_match = Some(value);
            }
            HeaderRole::Validator => facts.has_copy = true,
            HeaderRole::Directives => facts.directives = true,
        }
        Ok(())
    }
}

/// Returns `true` if a field, cookie, extension or the policy's identity function identifies the
/// visitor of a request. The result
/// is the same under both presets, [`Policy::app`] and [`Policy::rfc9111`].
pub(in crate::serve) fn identifies(policy: &Policy, request: RequestHead<'_>) -> bool {
    let outer = request.extensions.get::<OuterContext>().and_then(|outer| outer.cookies.as_deref());
    let cookies = Cookies { own: &policy.cookies, outer, personal: false };
    let by_cookie = request.headers.contains_key(COOKIE)
        && !policy.key.ignored.contains(&COOKIE)
        && (cookies.is_default() || cookies.read(request.headers).is_err());
    by_cookie
        || policy.predicates.extension_identifies(request.extensions)
        || policy.predicates.identity(request).is_some()
        || policy.identifies_by_field(request.headers)
}

/// Returns `true` if a request carries credentials, or an outer layer has identified its visitor or
/// found an undeclared cookie.
pub(crate) fn is_identified(request: RequestHead<'_>) -> bool {
    let outer = request.extensions.get::<OuterContext>();
    outer.is_some_and(OuterContext::may_identify)
        || request_fields::identifies(request.headers, &[], &[], |_| false)
}

/// Stores a line of a field in `place`. Returns `false` if `place` already had a line, because
/// recipients may disagree on which of two lines counts.
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
    fn ignored_field_is_harmless_and_declared_credential_bypasses() {
        let ignoring = Policy::app().ignore_headers([http::header::AUTHORIZATION]);
        assert!(verdict(&ignoring, &[("authorization", "Bearer x")]).is_ok());
        let declaring = Policy::rfc9111().credential_headers([HeaderName::from_static("x-mine")]);
        assert_eq!(verdict(&declaring, &[("x-mine", "1")]).err(), Some(Some(Detail::Credentials)));
    }

    #[test]
    fn requests_other_than_a_plain_get_bypass_the_cache() {
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
