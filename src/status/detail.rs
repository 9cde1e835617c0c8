//! The words that say why: one for each reason.

use std::fmt;

/// Why a request was not answered from the cache, or its response not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    // The request is not one for the cache.
    Authorization,
    Body,
    Cookie,
    /// The name of the field.
    Credential(&'static str),
    Credentials,
    Expect,
    Forwarded,
    HandledWithin,
    Host,
    Identified,
    KeyLength,
    MethodOverride,
    SameName,
    Skipped,
    StoreFailed,
    UnknownHost,
    Upgrade,
    // What is stored is not for the request.
    Invalidated,
    OnlyIfCached,
    Precondition,
    RequestMaxAge,
    RequestMinFresh,
    RequestNoCache,
    RequestNoStore,
    // What the call of the service came to.
    InvalidationFailed,
    OriginTimeout,
    Revalidated,
    Stale,
    StaleIfError,
    // The response is not stored.
    ContentEncoding,
    ContentLength,
    Cors,
    Dependencies,
    EventStream,
    Head,
    Hint,
    Mismatch,
    MustUnderstand,
    NoCache,
    NoLifetime,
    NoStore,
    Nonce,
    NotFresh,
    Partial,
    Predicate,
    Private,
    SetCookie,
    Status,
    Tags,
    TooLarge,
    Unkeyed,
    VaryAny,
    VaryOnIgnored,
    VaryOnRemoved,
    ZeroTtl,
}

impl Detail {
    /// Returns the token that stands in the field.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Body => "body",
            Self::Cookie => "cookie",
            Self::Credential(field) => field,
            Self::Credentials => "credentials",
            Self::Expect => "expect",
            Self::Forwarded => "forwarded",
            Self::HandledWithin => "handled-within",
            Self::Host => "host",
            Self::Identified => "identified",
            Self::KeyLength => "key-length",
            Self::MethodOverride => "method-override",
            Self::SameName => "same-name",
            Self::Skipped => "skipped",
            Self::StoreFailed => "store-failed",
            Self::UnknownHost => "unknown-host",
            Self::Upgrade => "upgrade",
            Self::Invalidated => "invalidated",
            Self::OnlyIfCached => "only-if-cached",
            Self::Precondition => "precondition",
            Self::RequestMaxAge => "request-max-age",
            Self::RequestMinFresh => "request-min-fresh",
            Self::RequestNoCache => "request-no-cache",
            Self::RequestNoStore => "request-no-store",
            Self::InvalidationFailed => "invalidation-failed",
            Self::OriginTimeout => "origin-timeout",
            Self::Revalidated => "revalidated",
            Self::Stale => "stale",
            Self::StaleIfError => "stale-if-error",
            Self::ContentEncoding => "content-encoding",
            Self::ContentLength => "content-length",
            Self::Cors => "cors",
            Self::Dependencies => "dependencies",
            Self::EventStream => "event-stream",
            Self::Head => "head",
            Self::Hint => "hint",
            Self::Mismatch => "mismatch",
            Self::MustUnderstand => "must-understand",
            Self::NoCache => "no-cache",
            Self::NoLifetime => "no-lifetime",
            Self::NoStore => "no-store",
            Self::Nonce => "nonce",
            Self::NotFresh => "not-fresh",
            Self::Partial => "partial",
            Self::Predicate => "predicate",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Status => "status",
            Self::Tags => "tags",
            Self::TooLarge => "too-large",
            Self::Unkeyed => "unkeyed",
            Self::VaryAny => "vary-any",
            Self::VaryOnIgnored => "vary-on-ignored",
            Self::VaryOnRemoved => "vary-on-removed",
            Self::ZeroTtl => "zero-ttl",
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
