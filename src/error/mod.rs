//! Error types of this crate.
//!
//! Each error here is an opaque struct. Most of them have a `kind`, an enum that is
//! `#[non_exhaustive]`. The errors of values are enums in [`values`](crate::values): [`ValueError`]
//! and [`ComputeError`](crate::values::ComputeError).

mod cache_control;
#[cfg(feature = "redis")]
mod connect;
mod decode;
pub(crate) mod value;

pub use cache_control::CacheControlError;
#[cfg(feature = "redis")]
pub use connect::{ConnectError, ConnectErrorKind};
pub use decode::{DecodeError, DecodeErrorKind};
pub(crate) use value::ValueError;

use std::error::Error as StdError;
use std::fmt;

/// A boxed error of any type, such as the error of a body. It can be sent to another thread.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The error of a [`Store`](crate::store::Store).
///
/// Clients never receive it: if the store of a cache layer fails, the layer forwards the request to
/// its service. Methods for values return it, such as [`Cache::get`](crate::cache::Cache::get).
/// [`Cache::invalidate`](crate::cache::Cache::invalidate) does not return it: a failed invalidation
/// is [queued](crate::invalidation::Delivery::Queued). Until the store confirms the invalidation,
/// other processes may still serve old pages.
///
/// # Example
/// ```
/// use tower_response_cache::error::{StoreError, StoreErrorKind};
///
/// let error = StoreError::new(StoreErrorKind::Unavailable).with_source(std::io::Error::other("refused"));
/// assert_eq!(error.kind(), StoreErrorKind::Unavailable);
/// assert_eq!(error.to_string(), "the store is unavailable");
/// ```
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<BoxError>,
}

/// The kind of a [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // New features bring new errors.
pub enum StoreErrorKind {
    /// The store cannot be reached, or it refused the operation.
    Unavailable,
    /// The store did not answer within the time limit.
    TimedOut,
    /// Too few replicas of the server confirmed an invalidation in time. A fail-over to another
    /// replica might undo the invalidation.
    Unconfirmed,
    /// The store failed recently, so the circuit breaker did not send this operation to it.
    CircuitOpen,
    /// The store does not support this operation.
    Unsupported,
    /// The stored value is not an integer, so it cannot be used as a counter.
    NotANumber,
    /// The counter or value to change does not exist, and no initial value was given.
    Missing,
    /// A counter would leave the range of `i64`, or a version number the range of `u32`.
    Overflow,
    /// Other writers changed the entry during every attempt to change it. Trying again may succeed.
    Contended,
    /// A later version of this crate wrote the entry. Update this process.
    UnknownVersion,
}

impl StoreErrorKind {
    /// Returns a description of the error for people. Its text is not part of the stable API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "the store is unavailable",
            Self::TimedOut => "the store did not answer within the time limit",
            Self::Unconfirmed => "too few replicas of the server confirmed the invalidation in time",
            Self::CircuitOpen => "the store failed recently, and the operation was not sent to it",
            Self::Unsupported => "the store does not support this operation",
            Self::NotANumber => "the stored value is not an integer",
            Self::Missing => "the counter or value does not exist",
            Self::Overflow => "the counter or version number would be out of range",
            Self::Contended => "concurrent writers changed the entry on every attempt; try again",
            Self::UnknownVersion => "a later version of this crate wrote the entry; update this process",
        }
    }
}

impl StoreErrorKind {
    /// Returns `true` if the store could not be reached, refused the operation, or did not answer
    /// in time. Such an error counts for the circuit breaker.
    pub(crate) fn is_outage(self) -> bool {
        matches!(self, Self::Unavailable | Self::TimedOut)
    }

    /// Returns `true` if the cache counts the error as a failure of the store.
    ///
    /// An error of another kind does not show that the store fails.
    pub(crate) fn is_failure(self) -> bool {
        self.is_outage() || matches!(self, Self::Contended | Self::UnknownVersion | Self::Unconfirmed)
    }
}

impl StoreError {
    /// Creates an error of the given kind, without a source.
    #[must_use]
    pub fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Sets the error that caused this one, which [`source`](StdError::source) returns.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The error for an invalid configuration. The `build` methods of builders and some constructors
/// return it.
///
/// A builder that finds several errors returns them in one `ConfigError`: see [`all`](Self::all).
///
/// # Example
/// ```
/// use tower_response_cache::Cache;
/// use tower_response_cache::error::ConfigErrorKind;
/// use tower_response_cache::store::NullStore;
///
/// let error = Cache::builder(NullStore::new()).namespace("").build().unwrap_err();
/// assert_eq!(error.kind(), ConfigErrorKind::EmptyNamespace);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    kind: ConfigErrorKind,
    value: String,
    /// The other errors that the builder found.
    others: Vec<ConfigError>,
}

/// The kind of a [`ConfigError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // New features bring new errors.
pub enum ConfigErrorKind {
    /// The namespace is empty. It needs at least one byte.
    EmptyNamespace,
    /// The capacity of a store is below its minimum, which is 64 KiB for a
    /// [`MemoryStore`](crate::store::MemoryStore).
    CapacityTooSmall,
    /// The size limit of a single entry exceeds a quarter of the store's capacity.
    LargestEntryTooLarge,
    /// A size limit is zero bytes, so nothing could ever be recorded or stored.
    ZeroLimit,
    /// A time limit is zero, so no operation could ever finish within it.
    ZeroTimeout,
    /// The method starts a task, and was called outside a tokio runtime.
    NoRuntime,
    /// The option contradicts another option or a default: two directives exclude each other, or
    /// two rules apply to the same name. For example, `Cookie` always counts as a credential, so it
    /// cannot be a keyed header field.
    Contradiction,
    /// The value is not a valid name of a header field, or a list of names is empty.
    InvalidFieldName,
    /// The name or value of an extension directive (RFC 9111 section 5.2.3) is not valid, or a
    /// targeted field cannot contain the directives, since it is a structured field (RFC 9213).
    InvalidDirective,
    /// The value is not a valid cookie name, or it is a pattern and only a name is allowed.
    InvalidCookieName,
    /// A language, content coding or other alternative of a [`KeyPart`](crate::key::KeyPart) cannot
    /// be negotiated or is listed twice, or the list of alternatives is empty.
    InvalidAlternative,
    /// The `Cache-Control` to set has no directives.
    EmptyDirectives,
    /// The value is not a host in the form that keys use: in lower case, without a trailing dot.
    InvalidHost,
    /// An entry of a [`PolicyTable`](crate::policy::PolicyTable) names a layer that does not exist.
    UnknownLayer,
    /// The secret is empty, or an `Authorization` field cannot carry it. The error does not contain
    /// the secret.
    InvalidSecret,
}

impl ConfigError {
    pub(crate) fn new(kind: ConfigErrorKind, value: impl fmt::Display) -> Self {
        Self { kind, value: value.to_string(), others: Vec::new() }
    }

    /// Joins errors into one without duplicates. Returns `None` if there are no errors.
    pub(crate) fn join(errors: Vec<Self>) -> Option<Self> {
        let mut all: Vec<Self> = Vec::new();
        for error in errors {
            if !all.contains(&error) {
                all.push(error);
            }
        }
        let mut all = all.into_iter();
        let first = all.next()?;
        Some(Self { others: all.collect(), ..first })
    }

    /// Returns this error, followed by the other errors that the builder found.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// Returns the invalid value, as text. The text is empty if a required value is missing, or if
    /// the value is a secret.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ConfigErrorKind::EmptyNamespace => "the namespace is empty (use at least one byte)",
            ConfigErrorKind::CapacityTooSmall => "the capacity in bytes is too small (the minimum is 65536)",
            ConfigErrorKind::LargestEntryTooLarge => {
                "the largest entry in bytes exceeds a quarter of the capacity (lower it, or raise the capacity)"
            }
            ConfigErrorKind::ZeroLimit => "the limit in bytes is zero (use at least one byte)",
            ConfigErrorKind::ZeroTimeout => "the time limit is zero (use a longer one)",
            ConfigErrorKind::NoRuntime => "there is no tokio runtime (call this method inside one)",
            ConfigErrorKind::Contradiction => "contradicts another option or a default (remove one of them)",
            ConfigErrorKind::InvalidCookieName => "invalid cookie name, or pattern not allowed here",
            ConfigErrorKind::InvalidAlternative => "the alternative is invalid, listed twice or missing",
            ConfigErrorKind::EmptyDirectives => "no directive is set (set at least one) for the field",
            ConfigErrorKind::InvalidHost => "not a host in lower case without a trailing dot",
            ConfigErrorKind::InvalidDirective => "invalid extension directive",
            ConfigErrorKind::UnknownLayer => "no layer over the cache has the name in the entry",
            ConfigErrorKind::InvalidSecret => "unusable secret (use visible ASCII without spaces)",
            ConfigErrorKind::InvalidFieldName => "invalid header field name",
        };
        write!(f, "{what}: {:?}", self.value)?;
        self.others.iter().try_for_each(|other| write!(f, "; {other}"))
    }
}

impl StdError for ConfigError {}
