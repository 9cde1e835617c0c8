//! Work on a shared body that runs once its lock is released.

use super::item::{BodyItem, BodySource};
use super::sink::BodySink;
use bytes::Bytes;

/// Work that runs foreign code (a store, a waker, the drop of a buffer), for the time after the
/// lock is released.
#[derive(Default)]
pub(super) struct DeferredWork {
    pub(super) wakes: bool,
    pub(super) source: Option<BodySource>,
    pub(super) frames: Vec<BodyItem>,
    pub(super) reservations: Vec<Box<dyn Send>>,
    pub(super) ended_sink: Option<(Box<dyn BodySink>, SinkEnd)>,
}

/// The end of a recording.
pub(super) enum SinkEnd {
    Complete(Bytes),
    Failed,
    GivenUp,
}
