//! The state of a shared body: the frames that have arrived, and the positions of its readers.

use super::deferred::{Deferred, Ending};
use super::item::{Arrived, BodyEnd, BodyItem, BodySource, FRAME_COST};
use super::readers::{Cursor, Readers};
use super::sink::BodySink;
use crate::entry::body_for_storage;
use crate::flight::stall::STALL_TIMEOUT;
use bytes::Bytes;
use std::collections::VecDeque;
use tokio::time::Instant;

/// The window: the most bytes that wait for the slowest reader of a body that is not recorded.
const WINDOW_BYTES: usize = 256 << 10;

/// The state of a shared body, under the lock of its stream.
pub(super) struct StreamState {
    /// The source of the body. Absent after its end, and while a reader polls it, without the lock.
    pub(super) source: Option<BodySource>,
    /// A reader polls the source.
    pub(super) polling: bool,
    /// Another reader waits for the result of that poll.
    pub(super) awaited: bool,
    /// The frames that the recording or a reader still needs.
    pub(super) frames: VecDeque<BodyItem>,
    /// The bytes in the data frames, plus [`FRAME_COST`] for each data frame.
    pub(super) bytes: usize,
    pub(super) end: Option<BodyEnd>,
    /// The recording, until it ends.
    pub(super) keep: Option<Box<dyn BodySink>>,
    /// The reservation of an ended recording in the memory budget, held while a reader needs its
    /// frames.
    pub(super) held: Option<Box<dyn Send>>,
    /// The number of the first frame after the recording.
    pub(super) held_until: usize,
    pub(super) readers: Readers,
    /// The time at which the source last made progress.
    pub(super) moved: Instant,
    /// The time at which a reader last got a frame.
    pub(super) read: Instant,
    /// Work for the time after the lock is released.
    pub(super) deferred: Deferred,
}

/// The next step of a reader.
pub(super) enum Found {
    Frame(BodyItem),
    End(BodyEnd),
    CutOff,
    /// The reader has all frames so far: it registers its waker, and looks again.
    Nothing,
    /// The reader polls the source.
    Source(BodySource),
    /// Another reader polls the source.
    Polled,
    /// The window is full: the frame that the slowest reader needs next, and the number of frames
    /// in the window.
    Full(Option<usize>, usize),
}

impl StreamState {
    /// Returns the next step of a reader. `registered` states that its waker is registered.
    pub(super) fn find(&mut self, number: usize, registered: bool) -> Found {
        let Cursor::At(next) = self.readers.place(number) else {
            self.readers.leave(number);
            return Found::CutOff;
        };
        if let Some(item) = self.frames.get(self.readers.index(next)).cloned() {
            let was_full = self.is_full();
            self.readers.advance(number);
            self.read = Instant::now();
            self.trim();
            self.deferred.wakes |= was_full && !self.is_full();
            return Found::Frame(item);
        }
        if let Some(end) = &self.end {
            return Found::End(end.clone());
        }
        if !registered {
            return Found::Nothing;
        }
        if self.is_full() {
            return Found::Full(self.readers.slowest(), self.frames.len());
        }
        if self.polling {
            self.awaited = true;
            return Found::Polled;
        }
        match self.source.take() {
            Some(source) => {
                self.polling = true;
                Found::Source(source)
            }
            None => Found::Polled,
        }
    }

    /// Takes the source back after a pending poll. If the source's waker was woken during that
    /// poll, wakes the readers that waited for the result.
    pub(super) fn put_back(&mut self, source: BodySource, is_woken: bool) {
        (self.source, self.polling) = (Some(source), false);
        self.deferred.wakes |= std::mem::take(&mut self.awaited) && is_woken;
    }

    /// Takes the source back with the result of a poll. With `at_end`, the body ends at once: a
    /// server does not poll a body again after it has reported its end.
    pub(super) fn arrived(&mut self, source: BodySource, arrived: Arrived, at_end: bool) {
        (self.source, self.polling, self.awaited) = (Some(source), false, false);
        self.moved = Instant::now();
        self.deferred.wakes = true;
        match arrived {
            Arrived::Data(data) => {
                let goes_on = self.keep.as_mut().is_none_or(|keep| keep.count(&data));
                self.bytes += data.len() + FRAME_COST;
                self.push(BodyItem::Data(data));
                if !goes_on {
                    self.give_up();
                }
            }
            // Trailers are not stored, and neither is a response that has them.
            Arrived::Trailers(trailers) => {
                self.give_up();
                self.push(BodyItem::Trailers(trailers));
            }
            Arrived::Unknown => self.give_up(),
            Arrived::Empty => {}
            Arrived::End(end) => return self.finish(end),
        }
        if at_end {
            self.finish(BodyEnd::Clean);
        }
    }

    fn push(&mut self, item: BodyItem) {
        self.frames.push_back(item);
        self.readers.frame_added();
    }

    /// Ends the recording without storing the body. Readers go on through the window.
    fn give_up(&mut self) {
        self.end_recording(|_| Ending::GivenUp);
        self.trim();
    }

    /// Ends the body, and stores it if the end is clean.
    pub(super) fn finish(&mut self, end: BodyEnd) {
        self.polling = false;
        self.deferred.wakes = true;
        self.deferred.source = self.source.take();
        match &end {
            BodyEnd::Clean => self.complete(),
            BodyEnd::Failed(_) => self.end_recording(|_| Ending::Failed),
        }
        self.end = Some(end);
        self.trim();
    }

    /// Ends the recording with all frames so far as the whole body, which is then stored.
    fn complete(&mut self) {
        self.end_recording(|state| {
            let whole = state.whole();
            state.share(&whole);
            Ending::Complete(whole)
        });
    }

    /// Ends the recording, if there is one.
    fn end_recording(&mut self, ending: impl FnOnce(&mut Self) -> Ending) {
        if let Some(keep) = self.keep.take() {
            self.held_until = self.readers.end();
            let ending = ending(self);
            self.deferred.ended = Some((keep, ending));
        }
    }

    /// Returns the time at which the recording stalls without further progress, or `None` if it has
    /// no reservation in the memory budget.
    fn stalls_at(&self) -> Option<Instant> {
        let holds = self.keep.is_some() || self.held.is_some();
        holds.then(|| self.moved.max(self.read) + STALL_TIMEOUT)
    }

    /// Ends a stalled recording: stores a body that has its declared length, and gives up any
    /// other. If the recording is not stalled yet, returns the time at which it will be.
    pub(super) fn end_stalled(&mut self, now: Instant) -> Option<Instant> {
        let still = self.stalls_at()?;
        if now < still {
            return Some(still);
        }
        let keep = self.keep.as_mut()?;
        if keep.is_whole() {
            self.complete();
        } else {
            keep.set_no_room();
            self.give_up();
        }
        self.trim();
        None
    }

    /// If the body is stalled, releases the reservation for unread frames, and cuts off the slowest
    /// readers until these frames fit the window.
    pub(super) fn release_room(&mut self, now: Instant) {
        if self.stalls_at().is_none_or(|still| now < still) {
            return;
        }
        while self.held.is_some()
            && self.is_full()
            && let Some(slowest) = self.readers.slowest()
        {
            self.cut_off(slowest);
        }
        self.deferred.held.extend(self.held.take());
        self.deferred.wakes = true;
    }

    /// Holds the reservation of an ended recording until its frames are read. Returns a reservation
    /// that is no longer needed: this one if the frames are read already, else the one held before.
    pub(super) fn hold(&mut self, held: Box<dyn Send>) -> Option<Box<dyn Send>> {
        if self.readers.base() >= self.held_until {
            return Some(held);
        }
        self.held.replace(held)
    }

    /// Returns the whole body. Only for a recording, which keeps all frames from the first one on.
    fn whole(&self) -> Bytes {
        let mut data = self.frames.iter().filter_map(|item| match item {
            BodyItem::Data(data) => Some(data),
            BodyItem::Trailers(_) => None,
        });
        match (data.next(), data.next()) {
            (None, _) => Bytes::new(),
            (Some(one), None) => body_for_storage(one.clone()).0,
            (Some(first), Some(second)) => {
                let mut whole = Vec::with_capacity(self.bytes - FRAME_COST * self.frames.len());
                [first, second].into_iter().chain(data).for_each(|data| whole.extend_from_slice(data));
                whole.into()
            }
        }
    }

    /// Replaces the frames by slices of the stored body, so that its bytes are in memory only once.
    fn share(&mut self, whole: &Bytes) {
        let mut at = 0;
        for item in &mut self.frames {
            if let BodyItem::Data(data) = item {
                let end = at + data.len();
                let own = std::mem::replace(data, whole.slice(at..end));
                self.deferred.frames.push(BodyItem::Data(own));
                at = end;
            }
        }
    }

    /// Drops the frames that all readers have, unless the body is recorded.
    pub(super) fn trim(&mut self) {
        if self.keep.is_some() {
            return;
        }
        while self.readers.have_the_first()
            && let Some(item) = self.frames.pop_front()
        {
            self.readers.frame_dropped();
            if let BodyItem::Data(data) = &item {
                self.bytes -= data.len() + FRAME_COST;
            }
            self.deferred.frames.push(item);
        }
        if self.readers.base() >= self.held_until {
            self.deferred.held.extend(self.held.take());
        }
    }

    /// Returns `true` if the fastest reader has to wait for the slowest.
    pub(super) fn is_full(&self) -> bool {
        self.keep.is_none() && self.bytes >= WINDOW_BYTES
    }

    /// Cuts off the readers that still need this frame next.
    pub(super) fn cut_off(&mut self, stalled: usize) {
        self.readers.cut_off(stalled);
        self.trim();
    }
}

impl Drop for StreamState {
    /// Stores a recorded body of its declared length, even if no reader has polled its end.
    fn drop(&mut self) {
        if let Some(keep) = self.keep.take_if(|keep| keep.is_whole())
            && !std::thread::panicking()
        {
            drop(keep.store(self.whole()));
        }
    }
}
