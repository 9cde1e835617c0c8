//! Work on a shared body that runs once its lock is released.

use super::item::{BodyItem, BodySource};
use super::sink::BodySink;
use bytes::Bytes;

/// Work that runs foreign code (a store, a waker, a buffer), to do once the lock is released.
#[derive(Default)]
pub(super) struct Deferred {
    pub(super) wakes: bool,
    pub(super) source: Option<BodySource>,
    pub(super) frames: Vec<BodyItem>,
    pub(super) held: Vec<Box<dyn Send>>,
    pub(super) ended: Option<(Box<dyn BodySink>, Ending)>,
}

/// How a recording has ended.
pub(super) enum Ending {
    Complete(Bytes),
    Failed,
    GivenUp,
}
