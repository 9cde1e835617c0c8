//! A body that many read while it arrives, each at its own pace.
//!
//! Any reader drives it, with a waker that wakes them all: one who leaves takes no wake-up along. As long
//! as it may still be stored, all of it is kept, and others may join. Once it may not, the readers go on
//! through a bounded window, and one who stalls while that is full is cut off.

mod deferred;
mod reader;
mod readers;
mod state;
mod wakers;

use deferred::Deferred;
pub(crate) use reader::BodyReader;
use readers::Readers;
use state::{BodyItem, FRAME_COST, StreamState};
use wakers::Wakers;

use crate::entry::{Dependencies, StoredResponse, body_for_storage};
use crate::error::BoxError;
use crate::flight::{BudgetedRecording, STALL_TIMEOUT};
use bytes::Bytes;
use http_body::Body;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

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
    /// Tells whether all that was declared is there.
    fn is_whole(&self) -> bool;
    /// Returns leave to read the body for the store alone, if not too many are.
    fn drain_permit(&self) -> Option<OwnedSemaphorePermit>;
    /// Stores the whole. What is returned is held as long as what was kept; nothing, if that is the store's now.
    fn store(self: Box<Self>, whole: Bytes) -> Option<Box<dyn Send>>;
    /// The body has failed.
    fn fail(self: Box<Self>);
    /// It can't be stored, after all. What is returned is held as long as what was kept.
    fn give_up(self: Box<Self>) -> Box<dyn Send>;
}

type BodySource = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// A response whose body is arriving.
pub(crate) struct Stream {
    /// Without its body.
    head: Arc<StoredResponse>,
    /// What `Content-Length` says.
    declared: Option<u64>,
    state: Mutex<StreamState>,
    wakers: Arc<Wakers>,
}

impl Stream {
    /// Begins with the frames that are there already, all of them counted, and returns its first reader.
    pub(crate) fn begin(
        head: Arc<StoredResponse>,
        declared: Option<u64>,
        begun: Vec<Bytes>,
        source: BodySource,
        keep: Box<dyn BodySink>,
    ) -> BodyReader {
        let bytes = begun.iter().map(|data| data.len() + FRAME_COST).sum();
        let frames: VecDeque<_> =
            begun.into_iter().map(|data| BodyItem::Data(body_for_storage(data).0)).collect();
        let (readers, keep) = (Readers::one(frames.len()), Some(keep));
        let state = StreamState {
            source: Some(source),
            polling: false,
            awaited: false,
            frames,
            bytes,
            end: None,
            keep,
            held: None,
            held_until: 0,
            readers,
            moved: Instant::now(),
            read: Instant::now(),
            deferred: Deferred::default(),
        };
        let stream = Self { head, declared, state: Mutex::new(state), wakers: Arc::default() };
        BodyReader { stream: Arc::new(stream), number: 0, read: 0, failed: false, patience: None, wait: None }
    }

    /// Changes the state, and then does without the lock what runs the code of others.
    fn change<T>(&self, change: impl FnOnce(&mut StreamState) -> T) -> T {
        let mut state = lock(&self.state);
        let done = change(&mut state);
        let deferred = std::mem::take(&mut state.deferred);
        drop(state);
        deferred.run(self);
        done
    }

    /// Returns a reader from the beginning, while there is one.
    pub(crate) fn join(self: &Arc<Self>) -> Option<BodyReader> {
        let mut state = lock(&self.state);
        if state.keep.is_none() || state.end.is_some() {
            return None;
        }
        let number = state.readers.join();
        Some(BodyReader {
            stream: Arc::clone(self),
            number,
            read: 0,
            failed: false,
            patience: None,
            wait: None,
        })
    }

    /// Tells whether the body may be stored, as far as it has arrived.
    fn is_kept(&self) -> bool {
        lock(&self.state).keep.is_some()
    }

    /// Returns the head with all that the response has been made from so far; `None` if it can't be stored for
    /// that.
    pub(crate) fn head_so_far(&self) -> Option<Arc<StoredResponse>> {
        let Some(reads) = lock(&self.state).keep.as_ref().and_then(|keep| keep.reads()) else {
            return Some(Arc::clone(&self.head));
        };
        if reads.is_pending() {
            return None;
        }
        let mut head = StoredResponse::clone(&self.head);
        head.depend_on(&reads).then(|| Arc::new(head))
    }

    /// Tells whether nothing of the body has come for so long that nobody else should wait for it.
    pub(crate) fn is_stalled(&self) -> bool {
        lock(&self.state).moved.elapsed() >= STALL_TIMEOUT
    }

    /// Returns leave to read the body for the store alone, if not too many are and it may be stored.
    pub(crate) fn drain_permit(&self) -> Option<OwnedSemaphorePermit> {
        lock(&self.state).keep.as_ref()?.drain_permit()
    }
}

impl Stream {
    /// Makes room in the budget for data that has arrived.
    fn make_room(&self, data: &Bytes) {
        let mut state = lock(&self.state);
        // Set first, so that the budget does not end this recording.
        state.moved = Instant::now();
        let make_room = state.keep.as_ref().and_then(|keep| keep.room_maker(data));
        drop(state);
        if let Some(make_room) = make_room {
            make_room();
        }
    }
}

impl BudgetedRecording for Stream {
    /// If the recording is stalled, stores a complete body and gives up an incomplete one. Then cuts off readers that are
    /// further behind than the window.
    fn end_if_stalled(&self, now: Instant) -> Option<Instant> {
        let still = self.change(|state| state.end_stalled(now));
        if still.is_none() {
            // A second change: the deferred work of the first one sets `held`.
            self.change(|state| state.release_room(now));
        }
        still
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// What panicked under a lock has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
