//! The side of a shared body that stores it.

use crate::entry::Dependencies;
use crate::flight::work::WorkPermit;
use bytes::Bytes;

/// Who decides whether a body may be stored, and stores it.
pub(crate) trait BodySink: Send {
    /// Counts what is to be kept; false if it can't go on.
    fn count(&mut self, data: &Bytes) -> bool;
    /// Returns what the body has been made from so far.
    fn reads(&self) -> Option<Dependencies>;
    /// Returns a function that makes room, if this data does not fit. The caller must not hold a lock when it calls that.
    fn room_maker(&self, data: &Bytes) -> Option<Box<dyn FnOnce()>>;
    /// Notes that lack of room is the reason of the next [`give_up`](Self::give_up).
    fn set_no_room(&mut self);
    /// Returns `true` if all that was declared is there.
    fn is_whole(&self) -> bool;
    /// Returns leave to read the body for the store alone, if not too many are.
    fn drain_permit(&self) -> Option<WorkPermit>;
    /// Stores the whole. What is returned is held as long as what was kept; nothing, if that is the store's now.
    fn store(self: Box<Self>, whole: Bytes) -> Option<Box<dyn Send>>;
    /// The body has failed.
    fn fail(self: Box<Self>);
    /// It can't be stored, after all. What is returned is held as long as what was kept.
    fn give_up(self: Box<Self>) -> Box<dyn Send>;
}
