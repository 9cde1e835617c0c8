//! Values that are not there, or can't be set.

use super::{BoxError, StoreError};
use std::error::Error as StdError;
use std::fmt;

/// Why there is no value under a key.
///
/// # Example
/// ```
/// use tower_response_cache::{AbsentKind, Cache, MemoryStore};
///
/// # futures::executor::block_on(async {
/// let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
/// let absent = cache.get::<String>("greeting").await.unwrap_err();
/// assert_eq!(absent.kind(), AbsentKind::Missing);
/// # });
/// ```
#[derive(Debug)]
pub struct Absent {
    kind: AbsentKind,
    source: Option<BoxError>,
}

/// What kind of absence it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AbsentKind {
    /// There is none: it was never set, was deleted or evicted, or has expired.
    Missing,
    /// It is kept past its time to live, to be used while it is computed anew.
    Stale,
    /// It was invalidated: by a tag, by what it was computed from, or with everything.
    Invalidated,
    /// There is something that can't be read as the type that was asked for.
    Unreadable,
    /// The store failed, so nobody knows.
    StoreFailed,
}

impl Absent {
    pub(crate) fn new(kind: AbsentKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn because(kind: AbsentKind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> AbsentKind {
        self.kind
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            AbsentKind::Missing => "there is no such value",
            AbsentKind::Stale => "the value is stale",
            AbsentKind::Invalidated => "the value was invalidated",
            AbsentKind::Unreadable => "the value can't be read as this type",
            AbsentKind::StoreFailed => "the store failed",
        })
    }
}

impl StdError for Absent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A value that could not be set or computed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ValueError {
    /// It can't be written as MessagePack: serde says why.
    Unwritable(BoxError),
    /// The store failed. The value that was there before may be gone.
    Store(StoreError),
    /// The value needs itself: four nested computations have led to a fifth one.
    Loop,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unwritable(_) => "the value can't be written",
            Self::Store(_) => "the store failed",
            Self::Loop => "the value needs itself",
        })
    }
}

impl StdError for ValueError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Unwritable(source) => Some(source.as_ref()),
            Self::Store(error) => Some(error),
            Self::Loop => None,
        }
    }
}

impl From<StoreError> for ValueError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
