//! The role of a header field, by its name.
//!
//! A name is looked up in this order:
//!
//! 1. in the list of harmless names ([`is_harmless`]), which have no role;
//! 2. in the list of known names, each with its role;
//! 3. by its words: a word such as `token` or `user` makes it look like the name of a credential.
//!
//! A field *identifies* if its value may show who the visitor is, or which application acts for the
//! visitor. It is a credential, or looks like one.

mod harmless;
mod words;

pub(crate) use harmless::is_harmless;

use super::{Policy, Sharing};
use crate::key::ForwardedField;
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::exchange_fields::is_rate_limit;
use crate::rules::vary::Vary;
use crate::status::{Detail, FieldName};
use http::header::{HeaderMap, HeaderName, VARY};
use std::cell::LazyCell;
use std::collections::HashSet;
use std::sync::Arc;

/// The role of a request field, by its name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HeaderRole {
    /// Has no meaning to the cache.
    Other,
    Host,
    /// Identifies a visitor, or an application that acts for one.
    Credential,
    /// Is not a known credential, but looks like one by the words of its name.
    NamedLikeCredential,
    Authorization,
    Cookie,
    /// `Cookie2` (RFC 2965). The options for cookies do not apply to it.
    Cookie2,
    /// A field in which a proxy forwards a part of the original target. It is part of the key.
    Forwarded(ForwardedField),
    ContentLength,
    /// Announces content, overrides the method, or is `Expect` or `Upgrade`. The request bypasses
    /// the cache, with this detail in `Cache-Status`.
    NotPlain(Detail),
    Range,
    /// `If-Match`, `If-Unmodified-Since` or `If-Range`.
    Precondition,
    /// `If-Modified-Since`.
    Validator,
    /// `If-None-Match`.
    Tag,
    /// `Cache-Control` or `Pragma`.
    Directives,
}

const METHOD_OVERRIDE: HeaderRole = HeaderRole::NotPlain(Detail::MethodOverride);

/// The known names and their roles, the most frequent first.
const NAMES: [(&str, HeaderRole); 56] = [
    ("host", HeaderRole::Host),
    ("if-none-match", HeaderRole::Tag),
    ("if-modified-since", HeaderRole::Validator),
    ("cookie", HeaderRole::Cookie),
    ("cookie2", HeaderRole::Cookie2),
    ("authorization", HeaderRole::Authorization),
    ("cache-control", HeaderRole::Directives),
    ("pragma", HeaderRole::Directives),
    ("if-match", HeaderRole::Precondition),
    ("if-unmodified-since", HeaderRole::Precondition),
    ("if-range", HeaderRole::Precondition),
    ("range", HeaderRole::Range),
    ("content-length", HeaderRole::ContentLength),
    ("transfer-encoding", HeaderRole::NotPlain(Detail::Body)),
    ("expect", HeaderRole::NotPlain(Detail::Expect)),
    ("upgrade", HeaderRole::NotPlain(Detail::Upgrade)),
    ("x-http-method", METHOD_OVERRIDE),
    ("x-http-method-override", METHOD_OVERRIDE),
    ("x-method-override", METHOD_OVERRIDE),
    ("forwarded", HeaderRole::Forwarded(ForwardedField::Forwarded)),
    ("x-forwarded-host", HeaderRole::Forwarded(ForwardedField::XForwardedHost)),
    ("x-forwarded-proto", HeaderRole::Forwarded(ForwardedField::XForwardedProto)),
    ("x-forwarded-prefix", HeaderRole::Forwarded(ForwardedField::XForwardedPrefix)),
    ("x-forwarded-scheme", HeaderRole::Forwarded(ForwardedField::XForwardedScheme)),
    ("x-forwarded-port", HeaderRole::Forwarded(ForwardedField::XForwardedPort)),
    ("x-host", HeaderRole::Forwarded(ForwardedField::XHost)),
    ("x-original-url", HeaderRole::Forwarded(ForwardedField::XOriginalUrl)),
    ("x-rewrite-url", HeaderRole::Forwarded(ForwardedField::XRewriteUrl)),
    ("proxy-authorization", HeaderRole::Credential),
    ("api-key", HeaderRole::Credential),
    ("x-api-key", HeaderRole::Credential),
    ("x-token", HeaderRole::Credential),
    ("x-auth-token", HeaderRole::Credential),
    ("x-access-token", HeaderRole::Credential),
    ("x-session", HeaderRole::Credential),
    ("x-session-token", HeaderRole::Credential),
    ("x-user-id", HeaderRole::Credential),
    ("remote-user", HeaderRole::Credential),
    ("x-remote-user", HeaderRole::Credential),
    ("x-forwarded-user", HeaderRole::Credential),
    ("x-forwarded-email", HeaderRole::Credential),
    ("x-forwarded-groups", HeaderRole::Credential),
    ("x-forwarded-access-token", HeaderRole::Credential),
    ("x-forwarded-client-cert", HeaderRole::Credential),
    ("x-ssl-client-cert", HeaderRole::Credential),
    ("x-auth-request-user", HeaderRole::Credential),
    ("x-auth-request-email", HeaderRole::Credential),
    ("x-auth-request-access-token", HeaderRole::Credential),
    ("x-amz-security-token", HeaderRole::Credential),
    ("x-amzn-oidc-data", HeaderRole::Credential),
    ("x-amzn-oidc-identity", HeaderRole::Credential),
    ("x-amzn-oidc-accesstoken", HeaderRole::Credential),
    ("cf-access-jwt-assertion", HeaderRole::Credential),
    ("x-goog-iap-jwt-assertion", HeaderRole::Credential),
    ("x-ms-client-principal", HeaderRole::Credential),
    ("x-ms-client-principal-id", HeaderRole::Credential),
];

/// For each byte, a bit set of the lengths of the known names that begin with this byte. Most names
/// have no bit here, and need no search.
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

/// Returns the role of a field.
pub(crate) fn role_of(name: &str) -> HeaderRole {
    if is_harmless(name) { HeaderRole::Other } else { role_of_other(name) }
}

/// Returns the role of a field that [`is_harmless`] does not list, as the caller has checked.
pub(crate) fn role_of_other(name: &str) -> HeaderRole {
    match find_known(name) {
        Some((_, role)) => *role,
        None if words::name_identifies(name) => HeaderRole::NamedLikeCredential,
        None => HeaderRole::Other,
    }
}

fn find_known(name: &str) -> Option<&'static (&'static str, HeaderRole)> {
    let first = *name.as_bytes().first()?;
    // The bits of lengths from 32 wrap around. Such a name may pass this test, but equals no known
    // name.
    let may_be_known = LENGTHS[usize::from(first)] & 1_u32.wrapping_shl(name.len() as u32) != 0;
    if may_be_known { NAMES.iter().find(|(known, _)| *known == name) } else { None }
}

/// Returns the `Cache-Status` detail that names an identifying field.
#[cold]
pub(crate) fn detail(name: &str) -> Detail {
    match find_known(name) {
        Some((known, _)) => Detail::Credential(known),
        None => Detail::Field(FieldName::new(name)),
    }
}

impl HeaderRole {
    /// Returns `true` if such a field identifies a visitor.
    pub(crate) fn identifies(self) -> bool {
        matches!(self, Self::Credential | Self::NamedLikeCredential | Self::Authorization | Self::Cookie2)
    }

    /// Returns `true` if such a field enters the key without an option.
    pub(crate) fn is_keyed(self) -> bool {
        matches!(self, Self::Host | Self::Forwarded(_))
    }

    /// Returns `true` if such a field makes a request conditional or a range request (RFC 9110
    /// sections 13 and 14).
    pub(crate) fn selects(self) -> bool {
        matches!(self, Self::Range | Self::Precondition | Self::Validator | Self::Tag)
    }
}

/// Returns `true` if any field other than `Cookie` identifies a visitor.
///
/// A field in `credentials` always identifies, and a field in `ignored` does not. A field for which
/// `keyed` returns `true` identifies only if it is a known credential.
pub(crate) fn identifies(
    headers: &HeaderMap,
    credentials: &[HeaderName],
    ignored: &[HeaderName],
    keyed: impl Fn(&HeaderName) -> bool,
) -> bool {
    headers.keys().any(|name| {
        credentials.contains(name)
            || match role_of(name.as_str()) {
                HeaderRole::NamedLikeCredential => !keyed(name) && !ignored.contains(name),
                role => role.identifies() && !ignored.contains(name),
            }
    })
}

/// Returns `true` if the name of a request field shows that its values are secret.
pub(crate) fn is_secret(name: &HeaderName) -> bool {
    let role = role_of(name.as_str());
    role.identifies() || matches!(role, HeaderRole::Cookie)
}

/// Decides by the header fields of a response whether the response is for one visitor. If a layer
/// adds a lifetime for clients to such a response, it also adds `private`.
#[derive(Debug, Clone)]
pub(crate) struct PersonalRule {
    declared: Option<Arc<DeclaredFields>>,
}

#[derive(Debug)]
struct DeclaredFields {
    credentials: Vec<HeaderName>,
    harmless: Vec<HeaderName>,
}

impl PersonalRule {
    /// The rule without a policy: decides by the names of fields alone.
    pub(crate) const BY_NAME: Self = Self { declared: None };

    /// The rule of a policy: decides by the names of fields, and by the credentials and harmless
    /// fields that the policy declares.
    pub(crate) fn of(policy: &Policy) -> Self {
        let (credentials, harmless) = (policy.credentials.clone(), policy.key.ignored.clone());
        let is_silent = credentials.is_empty() && harmless.is_empty();
        Self { declared: (!is_silent).then(|| Arc::new(DeclaredFields { credentials, harmless })) }
    }

    /// Returns `true` if a response sets a cookie, has a credential or has `Vary: *`.
    ///
    /// Under both presets, names are judged as under [`Policy::app`]. A field that this cache does
    /// not store counts, too, since a downstream cache could store it.
    pub(crate) fn applies_to(&self, response: &HeaderMap) -> bool {
        let is_declared = |name: &HeaderName, list: fn(&DeclaredFields) -> &[HeaderName]| {
            self.declared.as_ref().is_some_and(|declared| list(declared).contains(name))
        };
        let counts = |name: &HeaderName| {
            matches!(name.as_str(), "set-cookie" | "set-cookie2")
                || is_declared(name, |declared| &declared.credentials)
                || (is_credential(name, Sharing::App) && !is_declared(name, |declared| &declared.harmless))
        };
        response.keys().any(counts)
            || (response.contains_key(VARY) && matches!(Vary::from_headers(response), Vary::Any))
    }
}

/// Fields that look like credentials only by the name of a vendor (`auth0`, `kong-admin`, `okta`).
/// They describe one exchange, so they are not stored.
const VENDOR_FIELDS: [&str; 3] = ["x-auth0-requestid", "x-kong-admin-latency", "x-okta-request-id"];

/// Returns `true` if the name of a response field shows that the field issues a credential.
///
/// A rate limit counter issues no credential, though its name may look like a credential
/// (`x-ratelimit-remaining-tokens`). The response is stored without the counter.
fn is_credential(name: &HeaderName, sharing: Sharing) -> bool {
    match sharing {
        Sharing::App => match role_of(name.as_str()) {
            HeaderRole::Cookie => true,
            HeaderRole::NamedLikeCredential => {
                !is_rate_limit(name.as_str()) && !VENDOR_FIELDS.contains(&name.as_str())
            }
            role => role.identifies(),
        },
        // The fields of a proxy, such as `Proxy-Authentication-Info`, do not count: the response is
        // stored without them (RFC 9111 section 3.1).
        Sharing::Rfc9111 => matches!(name.as_str(), "authorization" | "authentication-info"),
    }
}

impl Policy {
    /// Returns `true` if any field other than `Cookie` identifies a visitor.
    pub(crate) fn identifies_by_field(&self, headers: &HeaderMap) -> bool {
        identifies(headers, &self.credentials, &self.key.ignored, |name| self.key.covers(name))
    }

    /// Returns the name of a field by which a response issues a credential, as the detail for
    /// `Cache-Status`. Returns `None` if the response issues no credential.
    ///
    /// Fields that the policy declares as harmless or unstored do not count. Under [`Policy::app`],
    /// a field that the response itself excludes from storage (`private="x-user"`) counts only if
    /// it is a known or declared credential.
    pub(crate) fn issued_credential(
        &self,
        response: &HeaderMap,
        directives: &ResponseDirectives,
    ) -> Option<Detail> {
        let is_declared = |name| self.key.ignored.contains(name) || self.unstored_headers.contains(name);
        let listed = LazyCell::new(|| directives.qualified_fields().collect::<HashSet<_>>());
        let is_taken_out = |name: &HeaderName| {
            self.sharing == Sharing::App
                && matches!(role_of(name.as_str()), HeaderRole::NamedLikeCredential)
                && listed.contains(name)
        };
        let issues = |name| {
            self.credentials.contains(name) || (is_credential(name, self.sharing) && !is_taken_out(name))
        };
        let issued = response.keys().find(|name| issues(name) && !is_declared(name))?;
        Some(detail(issued.as_str()))
    }

    /// Returns `true` if the values of a request field are secret: its name shows it, or the policy
    /// declares the field as a credential.
    pub(crate) fn is_secret(&self, name: &HeaderName) -> bool {
        is_secret(name) || self.credentials.contains(name)
    }
}

#[cfg(test)]
mod tests;
