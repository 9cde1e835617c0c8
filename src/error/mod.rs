//! Typed errors: an opaque struct and a kind that may grow.

mod cache_control;
mod decode;
pub(crate) mod value;

pub use cache_control::CacheControlError;
pub use decode::{DecodeError, DecodeErrorKind};
pub(crate) use value::ValueError;

use std::error::Error as StdError;
use std::fmt;

/// An error of any type that can cross threads: what a forwarded body may fail with.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// A failure of a [`Store`](crate::store::Store).
///
/// The layers never return it to a client: a cache whose store fails forwards requests to the
/// service it wraps. It reaches callers of [`Cache::invalidate`](crate::cache::Cache::invalidate), who
/// have to know that the old pages may still be there.
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

/// What kind of failure a [`StoreError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // New features bring new errors.
pub enum StoreErrorKind {
    /// The store can't be reached or refused the operation.
    Unavailable,
    /// The store did not answer within the time limit.
    TimedOut,
    /// The store does not have this operation.
    Unsupported,
    /// A counter operation met a value that is not an integer.
    NotANumber,
    /// A counter or a value that is to be changed is not there, and no initial value was given.
    Missing,
    /// A counter would leave the range of `i64`, or a version that of `u32`.
    Overflow,
    /// Others changed the same entry each time it was tried.
    Contended,
    /// A later version of this crate has written the entry.
    UnknownVersion,
}

impl StoreErrorKind {
    /// Returns a sentence for people; its text is not part of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "the store is unavailable",
            Self::TimedOut => "the store did not answer in time",
            Self::Unsupported => "the store does not support this operation",
            Self::NotANumber => "the stored value is not an integer",
            Self::Missing => "there is no such counter or value",
            Self::Overflow => "the number would overflow",
            Self::Contended => "others changed the same entry each time",
            Self::UnknownVersion => "a later version of the crate wrote the entry",
        }
    }
}

impl StoreErrorKind {
    /// Returns `true` if the store failed, as opposed to an answer about the entry or about what the store can do.
    pub(crate) fn is_failure(self) -> bool {
        !matches!(self, Self::Unsupported | Self::NotANumber | Self::Missing | Self::Overflow)
    }
}

impl StoreError {
    /// Creates an error of a kind.
    #[must_use]
    pub fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Attaches what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind.
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

/// A configuration that can't work, found when the value is built.
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
    /// What else is wrong.
    others: Vec<ConfigError>,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // New features bring new errors.
pub enum ConfigErrorKind {
    /// A namespace must have at least one byte.
    EmptyNamespace,
    /// A store this small (in bytes) can hold nothing.
    CapacityTooSmall,
    /// The largest entry (in bytes) does not fit the capacity.
    LargestEntryTooLarge,
    /// A limit of zero bytes would record nothing at all.
    ZeroLimit,
    /// A time limit of zero would never be met.
    ZeroTimeout,
    /// It contradicts what else is said: two directives, or two rules for one name.
    Contradiction,
    /// It is not the name of a header field.
    InvalidFieldName,
    /// It is not the name or value of an extension directive, or not one that a structured field can have.
    InvalidDirective,
    /// It is not the name of a cookie, or no pattern can be where it stands.
    InvalidCookieName,
    /// It can't be negotiated, or there is nothing to negotiate about.
    InvalidAlternative,
    /// There is nothing to be written into the field.
    NothingToSay,
    /// It is not a host, or not spelt as hosts are in keys.
    InvalidHost,
    /// It is empty, or no `Authorization` field can carry it. The error's value does not repeat it.
    InvalidSecret,
}

impl ConfigError {
    pub(crate) fn new(kind: ConfigErrorKind, value: impl fmt::Display) -> Self {
        Self { kind, value: value.to_string(), others: Vec::new() }
    }

    /// Returns one error for all of these, each named once; `None` for none.
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

    /// Returns this error, and then the other errors that the builder found.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// Returns the offending value, as text.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ConfigErrorKind::EmptyNamespace => "the namespace is empty",
            ConfigErrorKind::CapacityTooSmall => "the capacity in bytes is too small",
            ConfigErrorKind::LargestEntryTooLarge => {
                "the largest entry in bytes is more than a quarter of the capacity"
            }
            ConfigErrorKind::ZeroLimit => "the limit in bytes is zero",
            ConfigErrorKind::ZeroTimeout => "the time limit is zero",
            ConfigErrorKind::Contradiction => "contradicts what else is said",
            ConfigErrorKind::InvalidCookieName => "not the name of a cookie",
            ConfigErrorKind::InvalidAlternative => "nothing that can be negotiated",
            ConfigErrorKind::NothingToSay => "no directive to be written",
            ConfigErrorKind::InvalidHost => "not a host in its canonical spelling",
            ConfigErrorKind::InvalidDirective => "not an extension directive",
            ConfigErrorKind::InvalidSecret => "not a secret that a request can carry",
            ConfigErrorKind::InvalidFieldName => "not the name of a header field",
        };
        write!(f, "{what}: {:?}", self.value)?;
        self.others.iter().try_for_each(|other| write!(f, "; {other}"))
    }
}

impl StdError for ConfigError {}
