//! The recorder of a body that several readers share. The shared stream keeps the frames, and the
//! recorder only counts them.

use super::{Recorder, RecordingEnd};
use crate::entry::Dependencies;
use crate::flight::{BodySink, WorkPermit};
use bytes::Bytes;
use sha2::Digest;

/// The approximate bytes that each frame of a shared body takes besides its data.
const FRAME_COST: u64 = 128;

impl BodySink for Recorder {
    fn count(&mut self, data: &Bytes) -> bool {
        let total = self.len() + data.len() as u64;
        self.end_reason = if self.is_refused() {
            RecordingEnd::Refused
        } else if total > self.max_length() {
            self.excess_reason(total)
        } else if !self.reservation.grow(data.len() as u64 + FRAME_COST) {
            RecordingEnd::NoRoom
        } else {
            if let Some((digest, _)) = &mut self.digest {
                digest.update(data);
            }
            self.length = total;
            return true;
        };
        false
    }

    fn dependencies(&self) -> Option<Dependencies> {
        self.tracker.peek()
    }

    fn room_maker(&self, data: &Bytes) -> Option<Box<dyn FnOnce()>> {
        let bytes = data.len() as u64 + FRAME_COST;
        if self.reservation.can_grow(bytes) {
            return None;
        }
        Some(Box::new(Self::room_maker(self, bytes)?))
    }

    fn set_no_room(&mut self) {
        self.end_reason = RecordingEnd::NoRoom;
    }

    fn is_whole(&self) -> bool {
        self.declared == Some(self.len())
    }

    fn drain_permit(&self) -> Option<WorkPermit> {
        Self::drain_permit(self)
    }

    fn store(mut self: Box<Self>, whole: Bytes) -> Option<Box<dyn Send>> {
        // The remaining readers read the stored bytes. A local store counts these bytes toward its
        // capacity, so the reservation is no longer needed.
        let ended = self.finish(whole);
        if ended.is_local { None } else { Some(Box::new(ended.reservation)) }
    }

    fn fail(self: Box<Self>) {
        drop(self.end(RecordingEnd::Failed));
    }

    fn give_up(self: Box<Self>) -> Box<dyn Send> {
        let why = self.end_reason;
        Box::new(self.end(why).reservation)
    }
}
