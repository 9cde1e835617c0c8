//! A recorder that the budget may end if it stands still.

use super::recorder::{End, Recorder};
use crate::cache::{Reservation, Tracker};
use crate::flight::{GivesWay, STANDS_STILL};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// The recorder of a body, shared with the budget: it can be ended while the client does not read.
pub(super) struct SharedRecorder {
    slot: Arc<Slot>,
    /// What is read while the body is made.
    pub(super) tracker: Tracker,
    is_registered: bool,
}

struct Slot(Mutex<Held>);

struct Held {
    what: What,
    moved: Instant,
}

/// The owner of the reserved bytes.
enum What {
    Recorder(Box<Recorder>),
    /// The recording has ended; some recorded frames may not be sent yet.
    Unsent(Arc<Reservation>),
    Nothing,
}

impl SharedRecorder {
    pub(super) fn new(mut recorder: Recorder) -> Self {
        let tracker = std::mem::take(&mut recorder.tracker);
        let held = Held { what: What::Recorder(Box::new(recorder)), moved: Instant::now() };
        Self { slot: Arc::new(Slot(Mutex::new(held))), tracker, is_registered: false }
    }

    /// Registers a recording that is not complete at once: from now on the budget may end it.
    pub(super) fn register(&mut self) {
        if self.is_registered {
            return;
        }
        let budget = match &mut self.slot.lock().what {
            What::Recorder(recorder) => {
                recorder.tracker = self.tracker.share();
                Arc::clone(recorder.budget())
            }
            What::Unsent(reservation) => Arc::clone(reservation.budget()),
            What::Nothing => return,
        };
        let slot: Weak<Slot> = Arc::downgrade(&self.slot);
        budget.register(slot);
        self.is_registered = true;
    }

    /// Returns `true` while the recording goes on.
    pub(super) fn is_recording(&self) -> bool {
        matches!(self.slot.lock().what, What::Recorder(_))
    }

    /// Returns `true` if followers may be waiting.
    pub(super) fn has_leader(&self) -> bool {
        self.look(Recorder::has_leader).unwrap_or(false)
    }

    /// Returns a permit to read the body for the store alone, if one is left.
    pub(super) fn drain_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.look(Recorder::drain_permit).flatten()
    }

    fn look<T>(&self, at: impl FnOnce(&Recorder) -> T) -> Option<T> {
        match &self.slot.lock().what {
            What::Recorder(recorder) => Some(at(recorder)),
            What::Unsent(_) | What::Nothing => None,
        }
    }

    /// Records a frame. Returns it for sending, and why the recording ends, if it does.
    pub(super) fn push(&self, data: Bytes) -> (Bytes, Option<End>) {
        let (data, end, make_room) = match &mut *self.slot.lock() {
            Held { what: What::Recorder(recorder), moved } => {
                // Set first, so that the budget does not end this recording.
                *moved = Instant::now();
                let (data, end) = recorder.push(data);
                let lacks_room = end == Some(End::NoRoomNow);
                let make_room = lacks_room.then(|| recorder.room_maker(data.len() as u64)).flatten();
                (data, end, make_room)
            }
            _ => return (data, None),
        };
        let Some(make_room) = make_room else { return (data, end) };
        make_room();
        match &mut self.slot.lock().what {
            What::Recorder(recorder) => recorder.push(data),
            What::Unsent(_) | What::Nothing => (data, None),
        }
    }

    /// Ends the recording, and returns the body if it is complete and about to be stored.
    pub(super) fn end(&mut self, how: End) -> Option<Bytes> {
        let ended = self.take()?.end(how);
        self.slot.lock().what = What::Unsent(ended.reservation);
        ended.body
    }

    /// Takes the recorder with what was read, if the recording goes on.
    pub(super) fn take(&mut self) -> Option<Recorder> {
        match self.slot.take() {
            What::Recorder(mut recorder) => {
                recorder.tracker = std::mem::take(&mut self.tracker);
                Some(*recorder)
            }
            What::Unsent(_) | What::Nothing => None,
        }
    }
}

impl Drop for SharedRecorder {
    fn drop(&mut self) {
        // In the task of a page that this body may be a part of, which depends on the same values.
        drop(self.take());
        self.tracker.pass_on();
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // A panic leaves nothing half done under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> What {
        std::mem::replace(&mut self.lock().what, What::Nothing)
    }
}

impl GivesWay for Slot {
    fn give_way(&self, now: Instant) -> Option<Instant> {
        let what = {
            let mut held = self.lock();
            let still = held.moved + STANDS_STILL;
            match held.what {
                What::Nothing => return None,
                _ if now < still => return Some(still),
                _ => std::mem::replace(&mut held.what, What::Nothing),
            }
        };
        if let What::Recorder(recorder) = what {
            recorder.give_way();
        }
        None
    }
}
