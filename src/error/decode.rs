//! Bytes that can't be decoded.

use std::error::Error as StdError;
use std::fmt;

/// Bytes that are not an entry: what [`Entry::decode`](crate::store::Entry::decode) fails with.
///
/// # Example
/// ```
/// use tower_response_cache::clock::Clock;
/// use tower_response_cache::error::DecodeErrorKind;
/// use tower_response_cache::store::Entry;
///
/// let error = Entry::decode("<html>", &Clock::system()).unwrap_err();
/// assert_eq!(error.kind(), DecodeErrorKind::Malformed);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(DecodeErrorKind);

/// What kind of failure a [`DecodeError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // New formats bring new errors.
pub enum DecodeErrorKind {
    /// It was encoded by another version of this crate, in a format that this one has not.
    UnknownVersion,
    /// The end is missing.
    Truncated,
    /// Some bytes have changed.
    Checksum,
    /// It is no encoded entry, or has something in it that no entry can have.
    Malformed,
}

impl DecodeError {
    pub(crate) fn new(kind: DecodeErrorKind) -> Self {
        Self(kind)
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> DecodeErrorKind {
        self.0
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            DecodeErrorKind::UnknownVersion => "the entry was encoded in another version of the format",
            DecodeErrorKind::Truncated => "the end of the encoded entry is missing",
            DecodeErrorKind::Checksum => "the encoded entry has changed",
            DecodeErrorKind::Malformed => "not an encoded entry",
        })
    }
}

impl StdError for DecodeError {}
