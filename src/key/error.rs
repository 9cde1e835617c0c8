//! The error for a request without a key.

/// The reason why a request has no key. The request bypasses the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// The authority is malformed or not in canonical form, or `Host` contradicts the URI, or the
    /// target that the handler sees has user information.
    Host,
    /// The policy lists hosts, and the request names no host or a host that is not listed.
    UnknownHost,
    /// A forwarded field can't be read.
    Forwarded,
    /// The key exceeds the size limit.
    TooLong,
}
