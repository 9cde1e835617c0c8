//! What request fields mean to the cache: one table.

use crate::status::Detail;

pub(super) const FORWARDED: usize = 9;

/// The places of those among them that are a host and nothing else.
pub(super) const FORWARDED_HOSTS: [usize; 2] = [1, 6];

/// What a request field means to the cache, by its name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meaning {
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
    NotPlain(Detail),
    Range,
    Precondition,
    Validator,
    Tag,
    Directives,
}

const METHOD_OVERRIDE: Meaning = Meaning::NotPlain(Detail::MethodOverride);

/// Every name that means something; the most frequent first.
pub(super) const NAMES: [(&str, Meaning); 56] = [
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

/// Tells at one look that most names mean nothing.
#[inline]
pub(super) fn may_mean(name: &str) -> bool {
    let Some(&first) = name.as_bytes().first() else { return false };
    // A longer name has the place of a shorter one, and turns out to be none of them next.
    LENGTHS[usize::from(first)] & 1_u32.wrapping_shl(name.len() as u32) != 0
}

pub(super) fn meaning(name: &str) -> Meaning {
    if !may_mean(name) {
        return Meaning::Nothing;
    }
    NAMES.iter().find(|(known, _)| *known == name).map_or(Meaning::Nothing, |(_, meaning)| *meaning)
}

impl Meaning {
    /// Tells whether such a field says who the sender is.
    pub(super) fn identifies(self) -> bool {
        matches!(self, Self::Credential | Self::Authorization | Self::OldCookie)
    }

    /// Tells whether such a field has a part of its own in every key.
    pub(super) fn is_keyed(self) -> bool {
        matches!(self, Self::Host | Self::Forwarded(_))
    }

    /// Tells whether such a field makes an answer one for this request alone, or asks about a copy.
    pub(super) fn selects(self) -> bool {
        matches!(self, Self::Range | Self::Precondition | Self::Validator | Self::Tag)
    }
}
