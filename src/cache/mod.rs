//! The handle that all layers and handlers share.

mod background;
mod background_work;
mod budget;
mod builder;
mod computed;
mod contradictions;
mod dependency_relay;
pub(crate) mod dependents;
mod entry_write;
mod generations;
mod handle;
pub(crate) mod invalidation;
mod last_recording;
mod namespaces;
mod number_locks;
mod outdated;
mod split_mix64;
mod storing;
pub(crate) mod tracking;
pub(crate) mod values;
mod warm;

pub(crate) use background::RefreshEnd;
pub use background::RefreshStats;
pub(crate) use budget::{Budget, Reservation};
pub use builder::CacheBuilder;
pub(crate) use contradictions::UnkeyedFields;
pub(crate) use dependency_relay::{DependencyRelay, PendingRead};
pub use handle::Cache;
pub(crate) use invalidation::{InvalidateOnSuccess, Invalidation};
pub(crate) use last_recording::LastRecording;
pub(crate) use outdated::{Outdated, UnstoredAction};
pub(crate) use storing::{PendingStore, RefreshOutcome};
pub(crate) use tracking::{
    AnswerDependencies, DependencyGuard, Tracker, inherit_response, is_tracked, mark_untrackable,
};
pub use warm::{WarmOutcome, WarmSummary};
