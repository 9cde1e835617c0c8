//! Work on a shared body that runs once its lock is released.

use super::item::{BodyItem, BodySource};
use super::sink::BodySink;
use bytes::Bytes;

/// Work that runs foreign code: a store, a waker, or the drop of a buffer. It is collected under
/// the lock, and runs after the lock is released.
#[derive(Default)]
pub(super) struct DeferredWork {
    /// `true` if the work wakes all readers.
    pub(super) wakes: bool,
    /// A source to drop.
    pub(super) source: Option<BodySource>,
    /// Frames to drop.
    pub(super) frames: Vec<BodyItem>,
    /// Reservations to release.
    pub(super) reservations: Vec<Box<dyn Send>>,
    /// A recording to end.
    pub(super) ended_sink: Option<(Box<dyn BodySink>, SinkEnd)>,
}

/// How a recording ends.
pub(super) enum SinkEnd {
    /// The whole body was recorded, and is stored.
    Complete(Bytes),
    Failed,
    GivenUp,
}
