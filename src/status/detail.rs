//! The values of `detail` in `Cache-Status`.

use std::fmt;

/// The value of `detail`: why a request was not answered from the cache, why its response was not
/// stored, or how it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    // The request bypasses the cache.
    Authorization,
    Body,
    Cookie,
    /// The name of a known credential field.
    Credential(&'static str),
    Credentials,
    Disabled,
    DryRun,
    /// A field whose name contains a word that is typical of credentials.
    Field(FieldName),
    Expect,
    Forwarded,
    HandledByInner,
    Host,
    Identified,
    KeyLength,
    MethodOverride,
    SameName,
    Skipped,
    StoreFailed,
    UnknownHost,
    Upgrade,
    // No stored response may be used, or the request is answered without the service.
    Invalidated,
    Loop,
    OnlyIfCached,
    Precondition,
    RequestMaxAge,
    RequestMinFresh,
    RequestNoCache,
    RequestNoStore,
    // The outcome of the forwarded request, or a stale hit.
    InvalidationQueued,
    OriginTimeout,
    Revalidated,
    Stale,
    StaleIfError,
    // The response is not stored.
    ContentEncoding,
    ContentLength,
    Cors,
    CutShort,
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
    NoRoom,
    Partial,
    Predicate,
    Private,
    SetCookie,
    Status,
    Superseded,
    Tags,
    TooLarge,
    Trailers,
    Unkeyed,
    Variants,
    VaryAny,
    VaryOnCredential,
    VaryOnIgnored,
    VaryOnRemoved,
    ZeroTtl,
}

impl Detail {
    /// Returns the value; `credentials` for [`Field`](Self::Field), whose name is not static.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Body => "body",
            Self::Cookie => "cookie",
            Self::Credential(field) => field,
            Self::Credentials | Self::Field(_) => "credentials",
            Self::Disabled => "disabled",
            Self::DryRun => "dry-run",
            Self::Expect => "expect",
            Self::Forwarded => "forwarded",
            Self::HandledByInner => "inner-layer",
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
            Self::Loop => "loop",
            Self::OnlyIfCached => "only-if-cached",
            Self::Precondition => "precondition",
            Self::RequestMaxAge => "request-max-age",
            Self::RequestMinFresh => "request-min-fresh",
            Self::RequestNoCache => "request-no-cache",
            Self::RequestNoStore => "request-no-store",
            Self::InvalidationQueued => "invalidation-queued",
            Self::OriginTimeout => "origin-timeout",
            Self::Revalidated => "revalidated",
            Self::Stale => "stale",
            Self::StaleIfError => "stale-if-error",
            Self::ContentEncoding => "content-encoding",
            Self::ContentLength => "content-length",
            Self::Cors => "cors",
            Self::CutShort => "cut-short",
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
            Self::NoRoom => "no-room",
            Self::Partial => "partial",
            Self::Predicate => "predicate",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Status => "status",
            Self::Superseded => "superseded",
            Self::Tags => "tags",
            Self::TooLarge => "too-large",
            Self::Trailers => "trailers",
            Self::Unkeyed => "unkeyed",
            Self::Variants => "variants",
            Self::VaryAny => "vary-any",
            Self::VaryOnCredential => "vary-on-credential",
            Self::VaryOnIgnored => "vary-on-ignored",
            Self::VaryOnRemoved => "vary-on-removed",
            Self::ZeroTtl => "zero-ttl",
        }
    }
}

impl Detail {
    /// Returns `true` if the request bypassed the cache because it identifies the visitor, or may
    /// do so by an undeclared cookie.
    pub(crate) const fn is_identified(self) -> bool {
        use Detail::{Authorization, Cookie, Credential, Credentials, Field, Identified};
        matches!(self, Authorization | Cookie | Credential(_) | Credentials | Field(_) | Identified)
    }
}

impl Detail {
    /// Returns `true` if the forecast for the next response ignores the reason: another writer was
    /// first, the URL has too many variants, or the cache was disabled.
    pub(crate) const fn is_transient(self) -> bool {
        matches!(self, Self::Disabled | Self::Superseded | Self::Variants)
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => name.fmt(f),
            _ => f.write_str(self.as_str()),
        }
    }
}

/// The name of a field that a client or the service chose, cut to
/// [`MAX_LENGTH`](Self::MAX_LENGTH) bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldName {
    length: u8,
    bytes: [u8; Self::MAX_LENGTH],
}

impl FieldName {
    /// The most bytes of a name that are shown.
    const MAX_LENGTH: usize = 47;

    pub(crate) fn new(name: &str) -> Self {
        let mut bytes = [0; Self::MAX_LENGTH];
        let length = name.len().min(Self::MAX_LENGTH);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        Self { length: length as u8, bytes }
    }
}

/// Writes a token, or a string if the name does not begin with a letter (RFC 9651 section 3.3.4).
/// Field names contain no quotes to escape.
impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Field names are ASCII (RFC 9110 section 5.1).
        let name = std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default();
        match name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            true => f.write_str(name),
            false => write!(f, "\"{name}\""),
        }
    }
}

impl fmt::Debug for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
