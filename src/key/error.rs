//! Why a request has no key.

/// Why no key can be built: such a request is neither looked up nor collapsed nor stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyError {
    Host,
    /// It is none of those that are listed.
    UnknownHost,
    /// A forwarded field can't be read.
    Forwarded,
    TooLong,
}
