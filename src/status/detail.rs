//! The values of `detail` in `Cache-Status`.

use crate::rules::accept_encoding::Coding;
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
    // The outcome of the forwarded request, or a hit.
    EncodedBr,
    EncodedDeflate,
    EncodedGzip,
    EncodedZstd,
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
    HitForMiss,
    Mismatch,
    MustUnderstand,
    NoCache,
    NoLifetime,
    NoStore,
    Nonce,
    NotFresh,
    NoRoom,
    NotAdmitted,
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

/// Defines the word of each detail that is not the name of a field.
macro_rules! words {
    ($($detail:ident => $word:literal,)*) => {
        /// The details that have a word, in the order of [`Detail::WORDS`].
        enum DetailIndex {
            $($detail,)*
        }

        impl Detail {
            /// The words of all details, by [`index`](Self::index).
            pub(crate) const WORDS: &'static [&'static str] = &[$($word,)*];

            /// Returns the index of this detail in [`WORDS`](Self::WORDS). A detail that is the
            /// name of a field has the index of `credentials`.
            #[inline]
            pub(crate) const fn index(self) -> usize {
                let index = match self {
                    $(Self::$detail => DetailIndex::$detail,)*
                    Self::Credential(_) | Self::Field(_) => DetailIndex::Credentials,
                };
                index as usize
            }
        }
    };
}

words! {
    Authorization => "authorization",
    Body => "body",
    Cookie => "cookie",
    Credentials => "credentials",
    Disabled => "disabled",
    DryRun => "dry-run",
    Expect => "expect",
    Forwarded => "forwarded",
    HandledByInner => "inner-layer",
    Host => "host",
    Identified => "identified",
    KeyLength => "key-length",
    MethodOverride => "method-override",
    SameName => "same-name",
    Skipped => "skipped",
    StoreFailed => "store-failed",
    UnknownHost => "unknown-host",
    Upgrade => "upgrade",
    Invalidated => "invalidated",
    Loop => "loop",
    OnlyIfCached => "only-if-cached",
    Precondition => "precondition",
    RequestMaxAge => "request-max-age",
    RequestMinFresh => "request-min-fresh",
    RequestNoCache => "request-no-cache",
    RequestNoStore => "request-no-store",
    EncodedBr => "encoded-br",
    EncodedDeflate => "encoded-deflate",
    EncodedGzip => "encoded-gzip",
    EncodedZstd => "encoded-zstd",
    InvalidationQueued => "invalidation-queued",
    OriginTimeout => "origin-timeout",
    Revalidated => "revalidated",
    Stale => "stale",
    StaleIfError => "stale-if-error",
    ContentEncoding => "content-encoding",
    ContentLength => "content-length",
    Cors => "cors",
    CutShort => "cut-short",
    Dependencies => "dependencies",
    EventStream => "event-stream",
    Head => "head",
    Hint => "hint",
    HitForMiss => "hit-for-miss",
    Mismatch => "mismatch",
    MustUnderstand => "must-understand",
    NoCache => "no-cache",
    NoLifetime => "no-lifetime",
    NoStore => "no-store",
    Nonce => "nonce",
    NotFresh => "not-fresh",
    NoRoom => "no-room",
    NotAdmitted => "not-admitted",
    Partial => "partial",
    Predicate => "predicate",
    Private => "private",
    SetCookie => "set-cookie",
    Status => "status",
    Superseded => "superseded",
    Tags => "tags",
    TooLarge => "too-large",
    Trailers => "trailers",
    Unkeyed => "unkeyed",
    Variants => "variants",
    VaryAny => "vary-any",
    VaryOnCredential => "vary-on-credential",
    VaryOnIgnored => "vary-on-ignored",
    VaryOnRemoved => "vary-on-removed",
    ZeroTtl => "zero-ttl",
}

impl Detail {
    /// Returns the value of the parameter `detail` as a static string. Returns `credentials` for
    /// [`Field`](Self::Field), because the name of that field is not static.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Credential(field) => field,
            _ => Self::WORDS[self.index()],
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
    /// Returns `true` if this reason of a bypass holds for every cache layer. After any other bypass,
    /// an inner layer may still answer.
    pub(crate) const fn excludes_every_layer(self) -> bool {
        use Detail::{Body, Expect, Forwarded, Host, KeyLength, MethodOverride, RequestNoStore, Upgrade};
        matches!(
            self,
            Body | Expect | Forwarded | Host | KeyLength | MethodOverride | RequestNoStore | Upgrade
        )
    }

    /// Returns `true` if the reason does not predict the outcome of the next recording: another
    /// writer was first, the URL had too many variants, or the cache was disabled.
    pub(crate) const fn is_transient(self) -> bool {
        matches!(self, Self::Disabled | Self::Superseded | Self::Variants)
    }
}

/// The detail of a hit that sends an encoded variant.
impl From<Coding> for Detail {
    fn from(coding: Coding) -> Self {
        match coding {
            Coding::Brotli => Self::EncodedBr,
            Coding::Deflate => Self::EncodedDeflate,
            Coding::Gzip => Self::EncodedGzip,
            Coding::Zstd => Self::EncodedZstd,
        }
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

/// The name of a field in a request or response, cut to [`MAX_LENGTH`](Self::MAX_LENGTH) bytes. A
/// client or the service has chosen the name.
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
