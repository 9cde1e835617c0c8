//! Work on a shared body that runs once its lock is released.

use super::state::BodyItem;
use super::{BodySink, BodySource, Stream, lock};
use bytes::Bytes;
use std::task::Wake;

/// Work that runs foreign code (a store, a waker, a buffer), to do once the lock is released.
#[derive(Default)]
pub(super) struct Deferred {
    pub(super) wakes: bool,
    pub(super) source: Option<BodySource>,
    pub(super) frames: Vec<BodyItem>,
    pub(super) held: Vec<Box<dyn Send>>,
    pub(super) ended: Option<(Box<dyn BodySink>, Ending)>,
}

pub(super) enum Ending {
    Complete(Bytes),
    Failed,
    GivenUp,
}

impl Deferred {
    /// Does the work, and drops the rest.
    pub(super) fn run(self, stream: &Stream) {
        if self.wakes {
            stream.wakers.wake_by_ref();
        }
        let Some((keep, ending)) = self.ended else { return };
        let held = match ending {
            Ending::Complete(whole) => match keep.store(whole) {
                Some(held) => held,
                None => return,
            },
            Ending::Failed => return keep.fail(),
            Ending::GivenUp => keep.give_up(),
        };
        let unused = lock(&stream.state).hold(held);
        drop(unused);
    }
}
