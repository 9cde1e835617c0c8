//! What has become of the computation of a value.

use crate::entry::{Dependencies, StoredValue};
use crate::flight::AbandonedOutcome;
use std::any::Any;
use std::sync::Arc;

/// What has become of a computation.
#[derive(Debug, Clone)]
pub(super) enum Computed {
    Value(Arc<StoredValue>),
    /// It can't be stored, nor given to others, since it is not known what it was made from.
    Unkept,
    /// With what error, and what that was made from.
    Failed(Arc<dyn Any + Send + Sync>, Arc<Dependencies>),
    /// Who computed it went away, or panicked.
    Abandoned,
}

impl AbandonedOutcome for Computed {
    fn abandoned(_: bool) -> Self {
        Self::Abandoned
    }
}
