//! The reasons why a request has no key.

/// The reason why a request has no key. The request bypasses the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// The authority is malformed, contradictory or not in canonical form.
    Host,
    /// The policy lists hosts, and the host of the request is missing or not one of them.
    UnknownHost,
    /// A forwarded field can't be read.
    Forwarded,
    /// The key exceeds the size limit.
    TooLong,
}
