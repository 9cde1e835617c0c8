//! The error for values that cannot be set or computed.

use super::{BoxError, StoreError};
use std::error::Error as StdError;
use std::fmt;

/// The error of a value that could not be set or computed.
#[derive(Debug)]
#[non_exhaustive] // New features bring new errors.
pub enum ValueError {
    /// The value cannot be serialized as MessagePack. The source is serde's error.
    Unwritable(BoxError),
    /// The store failed. An older value of the same key may be gone.
    Store(StoreError),
    /// The computation of the value needs the value itself. Four nested computations of one value
    /// are permitted; the fifth fails with this error.
    Loop,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unwritable(_) => "the value cannot be serialized as MessagePack",
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
