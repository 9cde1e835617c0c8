//! A recorder that gives its room to others once nothing moves it.

use super::recorder::{End, Recorder};
use crate::cache::{GivesWay, Reservation, STANDS_STILL, Tracker};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// The recorder of a body: those who need room may end it while the body's client does not read.
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

/// What holds bytes of the budget.
enum What {
    Recorder(Box<Recorder>),
    /// The recording has ended, and some of it may not be sent yet.
    Unsent(Arc<Reservation>),
    Nothing,
}

impl SharedRecorder {
    pub(super) fn new(mut recorder: Recorder) -> Self {
        let tracker = std::mem::take(&mut recorder.tracker);
        let held = Held { what: What::Recorder(Box::new(recorder)), moved: Instant::now() };
        Self { slot: Arc::new(Slot(Mutex::new(held))), tracker, is_registered: false }
    }

    /// Has others know of the recording, which is not over at once: from now on it may be ended by those who need room.
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

    /// Tells whether the recording goes on.
    pub(super) fn is_recording(&self) -> bool {
        matches!(self.slot.lock().what, What::Recorder(_))
    }

    /// Tells whether others may be waiting.
    pub(super) fn has_leader(&self) -> bool {
        self.look(Recorder::has_leader).unwrap_or(false)
    }

    /// Returns leave to read the body for the store alone, if not too many are.
    pub(super) fn drain_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.look(Recorder::drain_permit).flatten()
    }

    fn look<T>(&self, at: impl FnOnce(&Recorder) -> T) -> Option<T> {
        match &self.slot.lock().what {
            What::Recorder(recorder) => Some(at(recorder)),
            What::Unsent(_) | What::Nothing => None,
        }
    }

    /// Records a frame and returns it for sending, and why the recording can't go on, if so.
    pub(super) fn push(&self, data: Bytes) -> (Bytes, Option<End>) {
        let (data, end, budget) = match &mut *self.slot.lock() {
            Held { what: What::Recorder(recorder), moved } => {
                // Before others are asked for room, this one being none of them.
                *moved = Instant::now();
                let (data, end) = recorder.push(data);
                (data, end, Arc::clone(recorder.budget()))
            }
            _ => return (data, None),
        };
        if end != Some(End::NoRoomNow) {
            return (data, end);
        }
        budget.make_room();
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
        // Here, where others may be making something of it.
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
