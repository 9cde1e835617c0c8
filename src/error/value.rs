//! Values that can't be set or computed.

use super::{BoxError, StoreError};
use std::error::Error as StdError;
use std::fmt;

/// A value that could not be set or computed.
#[derive(Debug)]
#[non_exhaustive] // New features bring new errors.
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
