//! The outcome of the computation of a value, for the followers that wait for it.

use crate::entry::{Dependencies, StoredValue};
use crate::flight::AbandonedOutcome;
use std::any::Any;
use std::sync::Arc;

/// The outcome of a computation.
#[derive(Debug, Clone)]
pub(super) enum ComputeOutcome {
    Value(Arc<StoredValue>),
    /// The value is neither stored nor shared with followers.
    NotStored,
    /// The error of the computation, and the dependencies that the computation had at the error.
    Failed(Arc<dyn Any + Send + Sync>, Arc<Dependencies>),
    /// The leader, which computed the value, was dropped or panicked.
    Abandoned,
}

impl AbandonedOutcome for ComputeOutcome {
    fn abandoned(_: bool) -> Self {
        Self::Abandoned
    }
}
