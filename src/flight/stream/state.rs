//! The state of a shared body: the frames that have arrived, and the positions of its readers.

use super::deferred::{DeferredWork, SinkEnd};
use super::item::{BodyEnd, BodyItem, BodySource, FRAME_COST, PolledFrame};
use super::readers::{Cursor, Readers};
use super::sink::BodySink;
use crate::entry::body_for_storage;
use crate::flight::stall::STALL_TIMEOUT;
use bytes::Bytes;
use std::collections::VecDeque;
use tokio::time::Instant;

/// The window: the source of an unrecorded body is not polled while readers still need this many
/// bytes of its frames.
const WINDOW_BYTES: usize = 256 << 10;

/// The state of a shared body, under the lock of its stream.
pub(super) struct StreamState {
    /// The source of the body. Absent after its end. Also absent while a reader polls it, because
    /// that happens without the lock.
    pub(super) source: Option<BodySource>,
    /// `true` while a reader polls the source.
    pub(super) is_polled: bool,
    /// `true` if another reader waits for the result of the poll in progress.
    pub(super) has_poll_waiter: bool,
    /// The frames that the recording or a reader still needs.
    pub(super) frames: VecDeque<BodyItem>,
    /// The bytes in the data frames, plus [`FRAME_COST`] for each data frame.
    pub(super) bytes: usize,
    /// The end of the body, once the source has ended.
    pub(super) end: Option<BodyEnd>,
    /// The recording, until it ends.
    pub(super) sink: Option<Box<dyn BodySink>>,
    /// The reservation of an ended recording in the memory budget. It is held while a reader needs
    /// frames of the recording.
    pub(super) reservation: Option<Box<dyn Send>>,
    /// The number of frames that had arrived when the recording ended; 0 before. A reader that needs
    /// one of them keeps the reservation.
    pub(super) recording_end: usize,
    pub(super) readers: Readers,
    /// The time at which the source last made progress.
    pub(super) last_progress: Instant,
    /// The time at which a reader last got a frame.
    pub(super) last_read: Instant,
    /// Work for the time after the lock is released.
    pub(super) deferred: DeferredWork,
}

/// The next step of a reader.
pub(super) enum ReaderStep {
    Frame(BodyItem),
    End(BodyEnd),
    CutOff,
    /// The reader has all frames so far. It registers its waker, and asks for its next step again.
    Register,
    /// The reader polls the source.
    PollSource(BodySource),
    /// Another reader polls the source.
    AwaitPoll,
    /// The window of kept frames is full, so the reader waits for the slowest reader, which must read
    /// half of the kept frames in time.
    AwaitSlowest {
        /// The number of the frame that the slowest reader needs next.
        next_frame: Option<usize>,
        /// How many frames are kept.
        kept: usize,
    },
}

impl StreamState {
    /// Returns the next step of the reader with this number. `registered` is `true` if the waker of
    /// the reader is registered.
    pub(super) fn next_step(&mut self, number: usize, registered: bool) -> ReaderStep {
        let Cursor::At(next) = self.readers.cursor(number) else {
            self.readers.mark_gone(number);
            return ReaderStep::CutOff;
        };
        if let Some(item) = self.frames.get(self.readers.index(next)).cloned() {
            let was_full = self.is_full();
            self.readers.advance(number);
            self.last_read = Instant::now();
            self.trim();
            self.deferred.wakes |= was_full && !self.is_full();
            return ReaderStep::Frame(item);
        }
        if let Some(end) = &self.end {
            return ReaderStep::End(end.clone());
        }
        if !registered {
            return ReaderStep::Register;
        }
        if self.is_full() {
            let next_frame = self.readers.slowest();
            return ReaderStep::AwaitSlowest { next_frame, kept: self.frames.len() };
        }
        if self.is_polled {
            self.has_poll_waiter = true;
            return ReaderStep::AwaitPoll;
        }
        match self.source.take() {
            Some(source) => {
                self.is_polled = true;
                ReaderStep::PollSource(source)
            }
            None => ReaderStep::AwaitPoll,
        }
    }

    /// Takes the source back after a pending poll. If the source's waker was woken during the poll,
    /// the readers that wait for the result are woken, so that one of them polls again.
    pub(super) fn put_back(&mut self, source: BodySource, is_woken: bool) {
        (self.source, self.is_polled) = (Some(source), false);
        self.deferred.wakes |= std::mem::take(&mut self.has_poll_waiter) && is_woken;
    }

    /// Takes the source back with the result of a poll. If `at_end`, the source has reported its
    /// end, so the body ends without another poll.
    pub(super) fn receive(&mut self, source: BodySource, arrived: PolledFrame, at_end: bool) {
        (self.source, self.is_polled, self.has_poll_waiter) = (Some(source), false, false);
        self.last_progress = Instant::now();
        self.deferred.wakes = true;
        match arrived {
            PolledFrame::Data(data) => {
                let is_recorded = self.sink.as_mut().is_none_or(|sink| sink.count(&data));
                self.bytes += data.len() + FRAME_COST;
                self.push(BodyItem::Data(data));
                if !is_recorded {
                    self.give_up();
                }
            }
            // Trailers are not stored, and neither is a response that has them.
            PolledFrame::Trailers(trailers) => {
                self.give_up();
                self.push(BodyItem::Trailers(trailers));
            }
            PolledFrame::Unknown => self.give_up(),
            PolledFrame::Empty => {}
            PolledFrame::End(end) => return self.finish(end),
        }
        if at_end {
            self.finish(BodyEnd::Clean);
        }
    }

    fn push(&mut self, item: BodyItem) {
        self.frames.push_back(item);
        self.readers.add_frame();
    }

    /// Ends the recording without storing the body. From then on, the window limits how far the
    /// fastest reader is ahead of the slowest.
    fn give_up(&mut self) {
        self.end_recording(|_| SinkEnd::GivenUp);
        self.trim();
    }

    /// Ends the body, and stores it if the end is clean.
    pub(super) fn finish(&mut self, end: BodyEnd) {
        self.is_polled = false;
        self.deferred.wakes = true;
        self.deferred.source = self.source.take();
        match &end {
            BodyEnd::Clean => self.complete(),
            BodyEnd::Failed(_) => self.end_recording(|_| SinkEnd::Failed),
        }
        self.end = Some(end);
        self.trim();
    }

    /// Ends the recording. The frames so far are the whole body, which is then stored.
    fn complete(&mut self) {
        self.end_recording(|state| {
            let whole = state.whole_body();
            state.share_stored_bytes(&whole);
            SinkEnd::Complete(whole)
        });
    }

    /// Ends the recording, if there is one. `ending` decides whether its sink completes, fails or
    /// gives up. The sink does so after the lock is released.
    fn end_recording(&mut self, ending: impl FnOnce(&mut Self) -> SinkEnd) {
        if let Some(sink) = self.sink.take() {
            self.recording_end = self.readers.end_frame();
            let ending = ending(self);
            self.deferred.ended_sink = Some((sink, ending));
        }
    }

    /// Returns the time at which the body will be stalled unless the source makes progress or a reader
    /// gets a frame before. Returns `None` if the body holds no memory of the budget.
    fn stalls_at(&self) -> Option<Instant> {
        let holds = self.sink.is_some() || self.reservation.is_some();
        holds.then(|| self.last_progress.max(self.last_read) + STALL_TIMEOUT)
    }

    /// Ends a stalled recording. Stores the body if it has its declared length. Gives it up
    /// otherwise. If the recording is not stalled yet, returns the time at which it will be
    /// stalled.
    pub(super) fn end_stalled(&mut self, now: Instant) -> Option<Instant> {
        let stalls_at = self.stalls_at()?;
        if now < stalls_at {
            return Some(stalls_at);
        }
        let sink = self.sink.as_mut()?;
        if sink.is_whole() {
            self.complete();
        } else {
            sink.set_no_room();
            self.give_up();
        }
        self.trim();
        None
    }

    /// If the body is stalled, cuts off the slowest readers until the kept frames fit the window, and
    /// then releases the reservation.
    pub(super) fn release_room(&mut self, now: Instant) {
        if self.stalls_at().is_none_or(|stalls_at| now < stalls_at) {
            return;
        }
        while self.reservation.is_some()
            && self.is_full()
            && let Some(slowest) = self.readers.slowest()
        {
            self.cut_off(slowest);
        }
        self.deferred.reservations.extend(self.reservation.take());
        self.deferred.wakes = true;
    }

    /// Keeps the reservation of an ended recording until all readers have read the recorded frames.
    /// If they have already, returns `reservation`.
    ///
    /// Otherwise returns the reservation that was kept before, if any. The caller must drop a
    /// returned reservation after it has released the lock.
    pub(super) fn hold_reservation(&mut self, reservation: Box<dyn Send>) -> Option<Box<dyn Send>> {
        if self.readers.first_frame() >= self.recording_end {
            return Some(reservation);
        }
        self.reservation.replace(reservation)
    }

    /// Returns the whole body. Call this at the end of the recording, before [`trim`](Self::trim)
    /// drops the first frames.
    fn whole_body(&self) -> Bytes {
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
    fn share_stored_bytes(&mut self, whole: &Bytes) {
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

    /// Drops the frames that all readers have read, unless the body is recorded.
    pub(super) fn trim(&mut self) {
        if self.sink.is_some() {
            return;
        }
        while self.readers.all_have_first_frame()
            && let Some(item) = self.frames.pop_front()
        {
            self.readers.drop_first_frame();
            if let BodyItem::Data(data) = &item {
                self.bytes -= data.len() + FRAME_COST;
            }
            self.deferred.frames.push(item);
        }
        if self.readers.first_frame() >= self.recording_end {
            self.deferred.reservations.extend(self.reservation.take());
        }
    }

    /// Returns `true` if the kept frames of an unrecorded body fill the window of [`WINDOW_BYTES`].
    /// The window does not limit a body that is being recorded.
    pub(super) fn is_full(&self) -> bool {
        self.sink.is_none() && self.bytes >= WINDOW_BYTES
    }

    /// Cuts off the readers whose next frame has the number `frame`, and drops the frames that only
    /// they needed.
    pub(super) fn cut_off(&mut self, frame: usize) {
        self.readers.cut_off(frame);
        self.trim();
    }
}

impl Drop for StreamState {
    /// Stores a recorded body that has its declared length: a server may drop the body without
    /// polling for its end.
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take_if(|sink| sink.is_whole())
            && !std::thread::panicking()
        {
            drop(sink.store(self.whole_body()));
        }
    }
}
