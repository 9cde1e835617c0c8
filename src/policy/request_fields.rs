//! What a header field means to the cache by its name: known names first, then the words of the name.

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

/// What a request field means to the cache, by its name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meaning {
    Nothing,
    Host,
    /// Identifies a visitor or an application acting for one.
    Credential,
    /// Is named like a field that does.
    NamedLikeCredential,
    Authorization,
    Cookie,
    /// RFC 2965's, which nothing is declared of.
    OldCookie,
    /// It is part of the key.
    Forwarded(ForwardedField),
    ContentLength,
    /// The request has a body, or is not the method it seems.
    NotPlain(Detail),
    Range,
    Precondition,
    Validator,
    Tag,
    Directives,
}

const METHOD_OVERRIDE: Meaning = Meaning::NotPlain(Detail::MethodOverride);

/// Every name that means something; the most frequent first.
const NAMES: [(&str, Meaning); 56] = [
    ("host", Meaning::Host),
    ("if-none-match", Meaning::Tag),
    ("if-modified-since", Meaning::Validator),
    ("cookie", Meaning::Cookie),
    ("cookie2", Meaning::OldCookie),
    ("authorization", Meaning::Authorization),
    ("cache-control", Meaning::Directives),
    ("pragma", Meaning::Directives),
    ("if-match", Meaning::Precondition),
    ("if-unmodified-since", Meaning::Precondition),
    ("if-range", Meaning::Precondition),
    ("range", Meaning::Range),
    ("content-length", Meaning::ContentLength),
    ("transfer-encoding", Meaning::NotPlain(Detail::Body)),
    ("expect", Meaning::NotPlain(Detail::Expect)),
    ("upgrade", Meaning::NotPlain(Detail::Upgrade)),
    ("x-http-method", METHOD_OVERRIDE),
    ("x-http-method-override", METHOD_OVERRIDE),
    ("x-method-override", METHOD_OVERRIDE),
    ("forwarded", Meaning::Forwarded(ForwardedField::Forwarded)),
    ("x-forwarded-host", Meaning::Forwarded(ForwardedField::XForwardedHost)),
    ("x-forwarded-proto", Meaning::Forwarded(ForwardedField::XForwardedProto)),
    ("x-forwarded-prefix", Meaning::Forwarded(ForwardedField::XForwardedPrefix)),
    ("x-forwarded-scheme", Meaning::Forwarded(ForwardedField::XForwardedScheme)),
    ("x-forwarded-port", Meaning::Forwarded(ForwardedField::XForwardedPort)),
    ("x-host", Meaning::Forwarded(ForwardedField::XHost)),
    ("x-original-url", Meaning::Forwarded(ForwardedField::XOriginalUrl)),
    ("x-rewrite-url", Meaning::Forwarded(ForwardedField::XRewriteUrl)),
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

/// Returns what a field means.
pub(crate) fn meaning(name: &str) -> Meaning {
    if is_harmless(name) { Meaning::Nothing } else { meaning_of_other(name) }
}

/// Returns what a field means that is not known to be harmless.
pub(crate) fn meaning_of_other(name: &str) -> Meaning {
    match known(name) {
        Some((_, meaning)) => *meaning,
        None if words::identify(name) => Meaning::NamedLikeCredential,
        None => Meaning::Nothing,
    }
}

fn known(name: &str) -> Option<&'static (&'static str, Meaning)> {
    let first = *name.as_bytes().first()?;
    // A longer name has the place of a shorter one, and turns out to be none of them next.
    let may_be_known = LENGTHS[usize::from(first)] & 1_u32.wrapping_shl(name.len() as u32) != 0;
    if may_be_known { NAMES.iter().find(|(known, _)| *known == name) } else { None }
}

/// Returns the reason for which a field that identifies its sender makes a request bypass the cache.
#[cold]
pub(crate) fn detail(name: &str) -> Detail {
    match known(name) {
        Some((known, _)) => Detail::Credential(known),
        None => Detail::Field(FieldName::new(name)),
    }
}

impl Meaning {
    /// Returns `true` if such a field says who the sender is.
    pub(crate) fn identifies(self) -> bool {
        matches!(self, Self::Credential | Self::NamedLikeCredential | Self::Authorization | Self::OldCookie)
    }

    /// Tells whether such a field has a part of its own in every key.
    pub(crate) fn is_keyed(self) -> bool {
        matches!(self, Self::Host | Self::Forwarded(_))
    }

    /// Tells whether such a field makes an answer one for this request alone, or asks about a copy.
    pub(crate) fn selects(self) -> bool {
        matches!(self, Self::Range | Self::Precondition | Self::Validator | Self::Tag)
    }
}

/// Returns `true` if any field but `Cookie` says who the sender of a request is. What is `keyed` does so only by
/// a known name.
pub(crate) fn identifies(
    headers: &HeaderMap,
    credentials: &[HeaderName],
    ignored: &[HeaderName],
    keyed: impl Fn(&HeaderName) -> bool,
) -> bool {
    headers.keys().any(|name| {
        credentials.contains(name)
            || match meaning(name.as_str()) {
                Meaning::NamedLikeCredential => !keyed(name) && !ignored.contains(name),
                meaning => meaning.identifies() && !ignored.contains(name),
            }
    })
}

/// Returns `true` if the values of a request field are nobody else's to read, by its name.
pub(crate) fn is_secret(name: &HeaderName) -> bool {
    let meaning = meaning(name.as_str());
    meaning.identifies() || matches!(meaning, Meaning::Cookie)
}

/// The rule by which the header of a response makes it one recipient's own.
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
    /// Goes by the names of fields alone.
    pub(crate) const BY_NAME: Self = Self { declared: None };

    /// Goes by what a policy declares, too.
    pub(crate) fn of(policy: &Policy) -> Self {
        let (credentials, harmless) = (policy.credentials.clone(), policy.key.ignored.clone());
        let is_silent = credentials.is_empty() && harmless.is_empty();
        Self { declared: (!is_silent).then(|| Arc::new(DeclaredFields { credentials, harmless })) }
    }

    /// Returns `true` if a response sets a cookie, carries a credential (by the names of [`Policy::app`], whatever the
    /// preset) or depends on more than request fields. A field that is not stored counts: the recipient has it.
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

/// Fields of one exchange with the name of a vendor that is named like a credential. They are not stored.
const OF_VENDORS: [&str; 3] = ["x-auth0-requestid", "x-kong-admin-latency", "x-okta-request-id"];

/// Returns `true` if a response field issues a credential, by its name. The counter of a rate limit does not, though it is
/// named like one (`x-ratelimit-remaining-tokens`); it is not stored.
fn is_credential(name: &HeaderName, sharing: Sharing) -> bool {
    match sharing {
        Sharing::App => match meaning(name.as_str()) {
            Meaning::Cookie => true,
            Meaning::NamedLikeCredential => {
                !is_rate_limit(name.as_str()) && !OF_VENDORS.contains(&name.as_str())
            }
            meaning => meaning.identifies(),
        },
        // What is for a proxy is not stored (RFC 9111 section 3.1).
        Sharing::Rfc9111 => matches!(name.as_str(), "authorization" | "authentication-info"),
    }
}

impl Policy {
    /// Returns `true` if any field but `Cookie` says who the sender of a request is.
    pub(crate) fn identifies_by_field(&self, headers: &HeaderMap) -> bool {
        identifies(headers, &self.credentials, &self.key.ignored, |name| self.key.covers(name))
    }

    /// Returns the reason for which a response is not stored that issues a credential, if it does: the name of the
    /// field. Fields that are declared harmless, or not stored, do not count; nor do those that the response itself
    /// takes out (`private="x-user"`), unless they are known for credentials.
    pub(crate) fn issued_credential(
        &self,
        response: &HeaderMap,
        directives: &ResponseDirectives,
    ) -> Option<Detail> {
        let is_declared = |name| self.key.ignored.contains(name) || self.unstored.contains(name);
        let listed = LazyCell::new(|| directives.qualified_fields().collect::<HashSet<_>>());
        let is_taken_out = |name: &HeaderName| {
            self.sharing == Sharing::App
                && matches!(meaning(name.as_str()), Meaning::NamedLikeCredential)
                && listed.contains(name)
        };
        let issues = |name| {
            self.credentials.contains(name) || (is_credential(name, self.sharing) && !is_taken_out(name))
        };
        let issued = response.keys().find(|name| issues(name) && !is_declared(name))?;
        Some(detail(issued.as_str()))
    }

    /// Returns `true` if the values of a request field are nobody else's to read, by its name or as it is declared.
    pub(crate) fn is_secret(&self, name: &HeaderName) -> bool {
        is_secret(name) || self.credentials.contains(name)
    }
}

#[cfg(test)]
mod tests;
