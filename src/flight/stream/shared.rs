//! A body that several readers share while it arrives.

use super::deferred::{DeferredWork, SinkEnd};
use super::lock::lock;
use super::state::StreamState;
use super::wakers::Wakers;
use crate::entry::StoredResponse;
use crate::flight::stall::{BudgetedRecording, STALL_TIMEOUT};
use crate::flight::work::WorkPermit;
use bytes::Bytes;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::Wake;
use tokio::time::Instant;

/// A response whose body is arriving, shared by its readers.
pub(crate) struct Stream {
    /// The head, without a body.
    pub(super) head: Arc<StoredResponse>,
    /// The value of `Content-Length`, in bytes.
    pub(super) declared: Option<u64>,
    pub(super) state: Mutex<StreamState>,
    pub(super) wakers: Arc<Wakers>,
}

impl Stream {
    /// Changes the state under the lock, and then runs the deferred work without it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut StreamState) -> T) -> T {
        let mut state = lock(&self.state);
        let done = change(&mut state);
        let deferred = std::mem::take(&mut state.deferred);
        drop(state);
        self.run(deferred);
        done
    }

    /// Returns `true` if the body is still recorded.
    pub(super) fn is_recorded(&self) -> bool {
        lock(&self.state).sink.is_some()
    }

    /// Returns `true` if the body has no more than one reader.
    pub(super) fn has_one_reader(&self) -> bool {
        lock(&self.state).readers.present() <= 1
    }

    /// Returns the head with the dependencies of the response so far.
    ///
    /// Returns `None` while the body waits for a cached value, or if the dependencies forbid
    /// storing the response.
    pub(crate) fn head_so_far(&self) -> Option<Arc<StoredResponse>> {
        let Some(reads) = lock(&self.state).sink.as_ref().and_then(|sink| sink.dependencies()) else {
            return Some(Arc::clone(&self.head));
        };
        if reads.has_pending_read() {
            return None;
        }
        let mut head = StoredResponse::clone(&self.head);
        head.depend_on(&reads).then(|| Arc::new(head))
    }

    /// Returns `true` if no frame has arrived for [`STALL_TIMEOUT`]. Other requests then should not
    /// wait for the body.
    pub(crate) fn is_stalled(&self) -> bool {
        lock(&self.state).last_progress.elapsed() >= STALL_TIMEOUT
    }

    /// Returns a permit to read the rest of the body for the store alone. Returns `None` if the
    /// body is not recorded, or the cache has no permit left.
    pub(crate) fn drain_permit(&self) -> Option<WorkPermit> {
        lock(&self.state).sink.as_ref()?.drain_permit()
    }
}

impl Stream {
    /// Runs deferred work. The caller must not hold the lock. The frames, the source and the
    /// reservations of the work are dropped at the end of this function.
    fn run(&self, deferred: DeferredWork) {
        if deferred.wakes {
            self.wakers.wake_by_ref();
        }
        let Some((sink, ending)) = deferred.ended_sink else { return };
        let reservation = match ending {
            SinkEnd::Complete(whole) => match sink.store(whole) {
                Some(reservation) => reservation,
                None => return,
            },
            SinkEnd::Failed => return sink.fail(),
            SinkEnd::GivenUp => sink.give_up(),
        };
        let unused = lock(&self.state).hold_reservation(reservation);
        drop(unused);
    }

    /// Makes room in the memory budget for data that has arrived.
    pub(super) fn make_room(&self, data: &Bytes) {
        let mut state = lock(&self.state);
        // Records progress first: `make_room` ends stalled recordings, and must not end this one.
        state.last_progress = Instant::now();
        let make_room = state.sink.as_ref().and_then(|sink| sink.room_maker(data));
        drop(state);
        if let Some(make_room) = make_room {
            make_room();
        }
    }
}

impl BudgetedRecording for Stream {
    /// If the recording is stalled, stores a complete body and gives up an incomplete one. Then
    /// cuts off the readers that are further behind than the window allows.
    fn end_if_stalled(&self, now: Instant) -> Option<Instant> {
        let stalls_at = self.change(|state| state.end_stalled(now));
        if stalls_at.is_none() {
            // A second change, because the deferred work of the first change sets the `reservation`
            // that is released here.
            self.change(|state| state.release_room(now));
        }
        stalls_at
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
