//! The error of a failed computation.

use crate::error::ValueError;
use std::fmt;
use std::sync::Arc;

/// The reason why a value could not be computed.
#[derive(Debug)]
#[non_exhaustive] // New features may add variants.
pub enum ComputeError<E> {
    /// The computation failed. Followers with the same error type return the same error.
    Failed(Arc<E>),
    /// The value can't be written as MessagePack.
    Unwritable(ValueError),
    /// A fifth nested computation of the value would have begun.
    Loop,
}

impl<E> fmt::Display for ComputeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(_) => "the value could not be computed",
            Self::Unwritable(_) => "the value can't be written",
            Self::Loop => "the value needs itself",
        })
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ComputeError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error.as_ref()),
            Self::Unwritable(error) => Some(error),
            Self::Loop => None,
        }
    }
}
