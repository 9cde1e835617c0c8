//! The recording of a shared body.

use crate::entry::Dependencies;
use crate::flight::work::WorkPermit;
use bytes::Bytes;

/// A recording: decides whether a body may be stored, and stores it.
///
/// It ends with one of `store`, `fail` and `give_up`, or is dropped if the body is cut short.
pub(crate) trait BodySink: Send {
    /// Counts data to record. Returns `false` if the recording must end.
    fn count(&mut self, data: &Bytes) -> bool;
    /// Returns the dependencies of the body so far.
    fn dependencies(&self) -> Option<Dependencies>;
    /// Returns a function that makes room in the memory budget, if this data does not fit. The
    /// caller must not hold a lock when it calls that function.
    fn room_maker(&self, data: &Bytes) -> Option<Box<dyn FnOnce()>>;
    /// Makes lack of room the reason of the next [`give_up`](Self::give_up).
    fn set_no_room(&mut self);
    /// Returns `true` if the body has its declared length.
    fn is_whole(&self) -> bool;
    /// Returns a permit to read the body for the store alone, unless too many bodies are read that
    /// way.
    fn drain_permit(&self) -> Option<WorkPermit>;
    /// Stores the whole body. Returns the reservation in the memory budget, to be held while
    /// readers need the recorded frames, or `None` if the frames now count toward the store's
    /// capacity.
    fn store(self: Box<Self>, whole: Bytes) -> Option<Box<dyn Send>>;
    /// Ends the recording of a body that has failed.
    fn fail(self: Box<Self>);
    /// Ends the recording of a body that can't be stored. Returns the reservation in the memory
    /// budget, to be held while readers need the recorded frames.
    fn give_up(self: Box<Self>) -> Box<dyn Send>;
}
