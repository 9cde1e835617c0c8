//! The recording of a shared body.

use crate::entry::Dependencies;
use crate::flight::work::WorkPermit;
use bytes::Bytes;

/// A recording: decides whether a body may be stored, and stores it.
///
/// A recording ends with one of `store`, `fail` and `give_up`. If the body is cut short, the
/// recording is dropped instead.
pub(crate) trait BodySink: Send {
    /// Adds data to the length and the digest of the recorded body, and reserves memory for it.
    /// Returns `false` if the recording must end, for example because the budget has no room.
    fn count(&mut self, data: &Bytes) -> bool;
    /// Returns the dependencies of the body so far.
    fn dependencies(&self) -> Option<Dependencies>;
    /// Returns a function that makes room in the memory budget. Returns `None` if this data fits
    /// already, or could not fit into an empty budget. The caller must not hold a lock when it
    /// calls the function.
    fn room_maker(&self, data: &Bytes) -> Option<Box<dyn FnOnce()>>;
    /// Sets the reason why [`give_up`](Self::give_up) will be called: the budget has no room.
    fn set_no_room(&mut self);
    /// Returns `true` if the body has its declared length.
    fn is_whole(&self) -> bool;
    /// Returns a permit to read on without clients, only to store the body. Returns `None` if the
    /// cache has no permit left.
    fn drain_permit(&self) -> Option<WorkPermit>;
    /// Stores the whole body. Returns the reservation in the memory budget, which the caller holds
    /// while readers need the recorded frames. Returns `None` if the store is inside the process:
    /// the frames then share the memory of the stored body, which counts toward the capacity of the
    /// store.
    fn store(self: Box<Self>, whole: Bytes) -> Option<Box<dyn Send>>;
    /// Ends the recording of a body that has failed.
    fn fail(self: Box<Self>);
    /// Ends the recording of a body that can't be stored. Returns the reservation in the memory
    /// budget, which the caller holds while readers need the recorded frames.
    fn give_up(self: Box<Self>) -> Box<dyn Send>;
}
