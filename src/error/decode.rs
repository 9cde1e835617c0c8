//! The error for bytes that are not an encoded entry.

use std::error::Error as StdError;
use std::fmt;

/// The error of [`Entry::decode`](crate::store::Entry::decode): the bytes are not an encoded entry.
///
/// A [`Store`](crate::store::Store) should treat such an entry as a miss.
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

/// The kind of a [`DecodeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // New formats bring new errors.
pub enum DecodeErrorKind {
    /// Another version of this crate encoded the entry, in a format that this version does not
    /// support.
    UnknownVersion,
    /// The end of the encoded entry is missing.
    Truncated,
    /// The checksum does not match: some bytes have changed.
    Checksum,
    /// The bytes are not an encoded entry, or contain a value that no entry can have.
    Malformed,
}

impl DecodeError {
    pub(crate) fn new(kind: DecodeErrorKind) -> Self {
        Self(kind)
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> DecodeErrorKind {
        self.0
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            DecodeErrorKind::UnknownVersion => "the encoded entry has an unsupported format version",
            DecodeErrorKind::Truncated => "the end of the encoded entry is missing",
            DecodeErrorKind::Checksum => "the encoded entry is corrupt: its checksum does not match",
            DecodeErrorKind::Malformed => "not an encoded entry",
        })
    }
}

impl StdError for DecodeError {}
