//! The error of a store that cannot connect to its server.

use std::error::Error as StdError;
use std::fmt;

/// The error of a store that cannot connect to its server.
///
/// Its message explains the failure, if possible in the words of the server. It never contains the
/// password.
///
/// # Example
/// ```
/// use tower_response_cache::error::ConnectErrorKind;
/// use tower_response_cache::store::RedisStore;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let error = RedisStore::connect("reddis://localhost").await.unwrap_err();
/// assert_eq!(error.kind(), ConnectErrorKind::InvalidUrl);
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    kind: ConnectErrorKind,
    message: String,
}

/// The kind of a [`ConnectError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // New stores bring new errors.
pub enum ConnectErrorKind {
    /// An option of the builder is invalid.
    InvalidOption,
    /// The URL of the server is invalid.
    InvalidUrl,
    /// The server cannot be reached, or closed the connection.
    Unreachable,
    /// TLS failed, or the crate was built without it.
    Tls,
    /// The server refused the user or the password, or the user lacks a permission.
    Refused,
    /// The server lacks a needed command, or its version is too old.
    Unsuitable,
}

impl ConnectErrorKind {
    /// Returns a description of the error for people. Its text is not part of the stable API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidOption => "an option of the store is invalid",
            Self::InvalidUrl => "the URL of the server is invalid",
            Self::Unreachable => "the server cannot be reached",
            Self::Tls => "the connection over TLS failed",
            Self::Refused => "the server refused the credentials",
            Self::Unsuitable => "the server is unsuitable",
        }
    }
}

impl ConnectError {
    pub(crate) fn new(kind: ConnectErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Returns the same error with another kind.
    pub(crate) fn with_kind(self, kind: ConnectErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.message)
    }
}

impl StdError for ConnectError {}
