//! A recorder that the budget may end. The budget ends it if it has recorded no frame for
//! [`STALL_TIMEOUT`] and another recording needs its room.

use super::recorder::{Recorder, RecordingEnd};
use crate::cache::{Reservation, Tracker};
use crate::flight::{BudgetedRecording, STALL_TIMEOUT, WorkPermit};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::time::Instant;

/// The recorder of a body, shared with the budget. The budget can end the recording while the
/// client of the body does not read.
///
/// ```text
/// Recorder ──end()──> UnsentFrames ──┐
///     ├──take(), drop────────────────┼──> Nothing
///     └──stalled─────────────────────┘
/// ```
pub(super) struct SharedRecorder {
    slot: Arc<RecorderSlot>,
    /// Records the dependencies of the body: the values that the body reads while it is polled.
    pub(super) tracker: Tracker,
    is_registered: bool,
}

struct RecorderSlot(Mutex<SlotState>);

struct SlotState {
    owner: ReservationOwner,
    /// The time of the last recorded frame.
    last_progress: Instant,
}

/// The owner of the reserved bytes.
enum ReservationOwner {
    Recorder(Box<Recorder>),
    /// The reservation of an ended recording. Some of its frames may not be sent yet.
    UnsentFrames(Arc<Reservation>),
    Nothing,
}

impl SharedRecorder {
    pub(super) fn new(mut recorder: Recorder) -> Self {
        let tracker = std::mem::take(&mut recorder.tracker);
        let state = SlotState {
            owner: ReservationOwner::Recorder(Box::new(recorder)),
            last_progress: Instant::now(),
        };
        Self { slot: Arc::new(RecorderSlot(Mutex::new(state))), tracker, is_registered: false }
    }

    /// Registers the recording with the budget, which may end it from now on.
    pub(super) fn register(&mut self) {
        if self.is_registered {
            return;
        }
        let budget = match &mut self.slot.lock().owner {
            ReservationOwner::Recorder(recorder) => {
                recorder.tracker = self.tracker.share();
                Arc::clone(recorder.budget())
            }
            ReservationOwner::UnsentFrames(reservation) => Arc::clone(reservation.budget()),
            ReservationOwner::Nothing => return,
        };
        let slot: Weak<RecorderSlot> = Arc::downgrade(&self.slot);
        budget.register(slot);
        self.is_registered = true;
    }

    /// Returns `true` until the recording ends.
    pub(super) fn is_recording(&self) -> bool {
        matches!(self.slot.lock().owner, ReservationOwner::Recorder(_))
    }

    /// Returns `true` if followers may be waiting.
    pub(super) fn has_leader(&self) -> bool {
        self.with_recorder(Recorder::has_leader).unwrap_or(false)
    }

    /// Returns a permit to read the rest of the body only for the store, if the cache has one left.
    pub(super) fn drain_permit(&self) -> Option<WorkPermit> {
        self.with_recorder(Recorder::drain_permit).flatten()
    }

    fn with_recorder<T>(&self, at: impl FnOnce(&Recorder) -> T) -> Option<T> {
        match &self.slot.lock().owner {
            ReservationOwner::Recorder(recorder) => Some(at(recorder)),
            ReservationOwner::UnsentFrames(_) | ReservationOwner::Nothing => None,
        }
    }

    /// Records a frame. Returns the frame to send to the client. Also returns how the recording
    /// must end, if it must end.
    pub(super) fn push(&self, data: Bytes) -> (Bytes, Option<RecordingEnd>) {
        let (data, end, make_room) = match &mut *self.slot.lock() {
            SlotState { owner: ReservationOwner::Recorder(recorder), last_progress } => {
                // Set before `make_room`, which ends stalled recordings and must not end this one.
                *last_progress = Instant::now();
                let (data, end) = recorder.push(data);
                let lacks_room = end == Some(RecordingEnd::NoRoom);
                let make_room = lacks_room.then(|| recorder.room_maker(data.len() as u64)).flatten();
                (data, end, make_room)
            }
            _ => return (data, None),
        };
        let Some(make_room) = make_room else { return (data, end) };
        make_room();
        match &mut self.slot.lock().owner {
            ReservationOwner::Recorder(recorder) => recorder.push(data),
            ReservationOwner::UnsentFrames(_) | ReservationOwner::Nothing => (data, None),
        }
    }

    /// Ends the recording. Returns the complete body if it is being stored or
    /// waits for the verdict of an outer layer.
    pub(super) fn end(&mut self, how: RecordingEnd) -> Option<Bytes> {
        let ended = self.take()?.end(how);
        self.slot.lock().owner = ReservationOwner::UnsentFrames(ended.reservation);
        ended.body
    }

    /// Takes the recorder and its dependencies, if the recording goes on.
    pub(super) fn take(&mut self) -> Option<Recorder> {
        match self.slot.take() {
            ReservationOwner::Recorder(mut recorder) => {
                recorder.tracker = std::mem::take(&mut self.tracker);
                Some(*recorder)
            }
            ReservationOwner::UnsentFrames(_) | ReservationOwner::Nothing => None,
        }
    }
}

impl Drop for SharedRecorder {
    fn drop(&mut self) {
        // A page that contains the body depends on the values that the body has read.
        drop(self.take());
        self.tracker.pass_on();
    }
}

impl RecorderSlot {
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        // A panic under this lock leaves no change half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> ReservationOwner {
        std::mem::replace(&mut self.lock().owner, ReservationOwner::Nothing)
    }
}

impl BudgetedRecording for RecorderSlot {
    fn end_if_stalled(&self, now: Instant) -> Option<Instant> {
        let owner = {
            let mut state = self.lock();
            let stalls_at = state.last_progress + STALL_TIMEOUT;
            match state.owner {
                ReservationOwner::Nothing => return None,
                _ if now < stalls_at => return Some(stalls_at),
                _ => std::mem::replace(&mut state.owner, ReservationOwner::Nothing),
            }
        };
        if let ReservationOwner::Recorder(recorder) = owner {
            recorder.end_stalled();
        }
        None
    }
}
