//! Records a body while it streams, within limits, and commits it on a clean end alone.

mod keep;

use super::commit::Commit;
use super::tag::Tagged;
use crate::cache::{Budget, Reservation, Tracker};
use crate::entry::{StoredResponse, body_for_storage};
use crate::error::BoxError;
use crate::flight::{BodyReader, BodySink, BudgetedRecording, Leader, Stream, WorkPermit};
use crate::marks::{PendingVerdict, Verdict};
use crate::rules::entity_tag::{Comparison, EntityTag};
use crate::status::Detail;
use bytes::Bytes;
use http_body::Body;
use sha2::{Digest, Sha256};
use std::pin::Pin;
use std::sync::{Arc, Weak};

/// Keeps what has been sent so far. Dropped before the end, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Recorder {
    commit: Option<Commit>,
    recorded: Recorded,
    /// How many bytes were recorded, or counted.
    length: u64,
    /// Why it can't go on, where somebody else keeps what is counted.
    why: RecordingEnd,
    declared: Option<u64>,
    limit: u64,
    reservation: Reservation,
    /// For an `ETag` of the body, where it is to have one.
    digest: Option<(Sha256, Comparison)>,
    /// The tag of a complete body.
    tag: Tagged,
    /// What is read while the body is made.
    pub(super) tracker: Tracker,
}

/// How a recording ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordingEnd {
    /// With the body: it is stored if it is as long as declared.
    Clean,
    /// The body failed midway.
    Failed,
    /// The body goes on. It is more than may be kept or than was declared, or has trailers.
    Unfit(Detail),
    /// The body goes on. Other recordings hold all there is of the budget, at this time.
    NoRoomNow,
    /// The body goes on. An outer layer has refused the response.
    Refused,
}

/// What remains of an ended recording.
pub(super) struct EndedRecording {
    /// The reserved bytes. A response that waits for an outer layer's verdict shares them.
    pub(super) reservation: Arc<Reservation>,
    /// The complete body, if it is stored or will be.
    pub(super) body: Option<Bytes>,
    /// `true` if the store is local: its capacity then counts the body.
    pub(super) is_local: bool,
}

#[derive(Debug)]
enum Recorded {
    Nothing,
    /// One frame, kept without a copy where that pins no larger buffer.
    One(Bytes),
    Many(Vec<u8>),
}

impl Recorder {
    /// `declared` is what `Content-Length` says, `limit` the most bytes to keep; `tag` asks for an
    /// `ETag` of the body.
    pub(crate) fn new(
        commit: Commit,
        declared: Option<u64>,
        limit: u64,
        tag: Option<Comparison>,
        tracker: Tracker,
    ) -> Self {
        let reservation = commit.cache.reservation();
        let digest = tag.map(|comparison| (Sha256::new(), comparison));
        let (commit, recorded, why) =
            (Some(commit), Recorded::Nothing, RecordingEnd::Unfit(Detail::Trailers));
        let tag = Tagged::default();
        Self { commit, recorded, length: 0, why, declared, limit, reservation, digest, tag, tracker }
    }

    /// Returns leave to read the body for the store alone, if not too many are.
    pub(super) fn drain_permit(&self) -> Option<WorkPermit> {
        self.commit.as_ref()?.cache.drain_permit()
    }

    pub(super) fn declared(&self) -> Option<u64> {
        self.declared
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        self.reservation.budget()
    }

    /// Returns `true` if others may be waiting.
    pub(super) fn has_leader(&self) -> bool {
        self.commit.as_ref().is_some_and(|commit| commit.leader.is_some())
    }

    /// Lets others read the body while it arrives, and returns the first reader. They keep what was
    /// recorded so far, and what comes; the recorder counts.
    pub(super) fn share(
        mut self,
        begun: Vec<Bytes>,
        source: Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>,
    ) -> Option<BodyReader> {
        let commit = self.commit.as_ref()?;
        let head = Arc::new(StoredResponse::clone(&commit.storing.response));
        // There was room for more; from now on it is taken as it comes.
        self.recorded = Recorded::Nothing;
        self.reservation.shrink_to(self.length);
        let (declared, budget) = (self.declared, Arc::clone(self.budget()));
        let begin = commit.leader.as_ref().map(Leader::announcement);
        let verdict = commit.verdict.clone();
        let reader = Stream::begin(head, declared, begun, source, Box::new(self));
        let stream: Weak<dyn BudgetedRecording> = Arc::<Stream>::downgrade(reader.stream());
        budget.register(stream);
        match (begin, verdict) {
            (Some(begin), None) => begin(reader.stream()),
            (Some(begin), Some(verdict)) => {
                let stream = Arc::downgrade(reader.stream());
                verdict.when_decided(move |verdict| {
                    if let (Verdict::Admitted, Some(stream)) = (verdict, stream.upgrade()) {
                        begin(&stream);
                    }
                });
            }
            (None, _) => {}
        }
        Some(reader)
    }

    /// Returns the place of the tag, which has one as soon as the body is complete.
    pub(crate) fn tag(&self) -> Tagged {
        self.tag.clone()
    }

    /// Returns `true` if a body with so many more bytes, or as many as declared, could be recorded if others held no room.
    fn fits_alone(&self, bytes: u64) -> bool {
        let rest = self.declared.unwrap_or(0).saturating_sub(self.length);
        self.reservation.fits_alone(bytes.max(rest))
    }

    /// Makes room for so many bytes. Must be called without holding a lock.
    pub(super) fn room_maker(&self, bytes: u64) -> Option<impl FnOnce() + 'static> {
        let budget = Arc::clone(self.budget());
        self.fits_alone(bytes).then_some(move || budget.make_room())
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn most(&self) -> u64 {
        self.limit.min(self.declared.unwrap_or(u64::MAX))
    }

    /// Records a frame and returns it for sending, and why the recording can't go on, if so.
    pub(super) fn push(&mut self, data: Bytes) -> (Bytes, Option<RecordingEnd>) {
        if self.is_refused() {
            return (data, Some(RecordingEnd::Refused));
        }
        let length = data.len() as u64;
        let total = self.len() + length;
        let most = self.most();
        if total > most {
            return (data, Some(self.excess(total)));
        }
        if data.is_empty() {
            return (data, None);
        }
        // With room to grow, unless it is known to end here.
        let capacity = (2 * total).min(most);
        let (held, needed) = match &self.recorded {
            Recorded::Nothing => (0, length),
            Recorded::One(first) => (first.len() as u64, capacity),
            Recorded::Many(bytes) if total <= bytes.capacity() as u64 => (0, 0),
            Recorded::Many(bytes) => (bytes.capacity() as u64, capacity),
        };
        if !self.reservation.grow(needed - held) {
            return (data, Some(RecordingEnd::NoRoomNow));
        }
        if let Some((digest, _)) = &mut self.digest {
            digest.update(&data);
        }
        let (recorded, sent) = match std::mem::replace(&mut self.recorded, Recorded::Nothing) {
            Recorded::Nothing => {
                let (kept, sent) = body_for_storage(data);
                (Recorded::One(kept), sent)
            }
            Recorded::One(first) => {
                let mut bytes = Vec::with_capacity(capacity as usize);
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&data);
                (Recorded::Many(bytes), data)
            }
            Recorded::Many(mut bytes) => {
                if needed > 0 {
                    bytes.reserve_exact(capacity as usize - bytes.len());
                }
                bytes.extend_from_slice(&data);
                (Recorded::Many(bytes), data)
            }
        };
        self.recorded = recorded;
        self.length = total;
        (sent, None)
    }

    /// Returns why a body of this length is not kept.
    fn excess(&self, length: u64) -> RecordingEnd {
        let is_declared = self.declared.is_none_or(|declared| length <= declared);
        RecordingEnd::Unfit(if is_declared { Detail::TooLarge } else { Detail::ContentLength })
    }

    fn is_refused(&self) -> bool {
        let verdict = self.commit.as_ref().and_then(|commit| commit.verdict.as_ref());
        verdict.is_some_and(PendingVerdict::is_refused)
    }

    /// Ends a stalled recording. Stores the body if it has its declared length.
    pub(super) fn end_stalled(self) {
        let how = if self.is_whole() { RecordingEnd::Clean } else { RecordingEnd::NoRoomNow };
        drop(self.end(how));
    }

    /// Ends the recording. Some of what it holds may not be sent yet, so its reservation is returned.
    pub(super) fn end(mut self, how: RecordingEnd) -> EndedRecording {
        if how == RecordingEnd::Clean {
            let body = self.body();
            return self.finish(body);
        } else if let Some(mut commit) = self.commit.take() {
            match how {
                RecordingEnd::Failed => {
                    commit.storing.not_stored(&commit.cache, Detail::CutShort);
                    commit.failed();
                }
                RecordingEnd::Unfit(why) => {
                    commit.storing.give_up(&commit.cache, why);
                    commit.pass();
                }
                RecordingEnd::NoRoomNow => {
                    commit.storing.not_stored(&commit.cache, Detail::NoRoom);
                    commit.pass();
                }
                RecordingEnd::Refused | RecordingEnd::Clean => commit.pass(),
            }
        }
        EndedRecording { reservation: Arc::new(self.reservation.take()), body: None, is_local: false }
    }

    /// Takes what was recorded.
    fn body(&mut self) -> Bytes {
        match std::mem::replace(&mut self.recorded, Recorded::Nothing) {
            Recorded::Nothing => Bytes::new(),
            Recorded::One(bytes) => bytes,
            Recorded::Many(mut bytes) => {
                bytes.shrink_to_fit();
                Bytes::from(bytes)
            }
        }
    }

    /// Stores the body if it has its declared length and is storable.
    fn finish(&mut self, body: Bytes) -> EndedRecording {
        let reservation = Arc::new(self.reservation.take());
        let unstored = |reservation| EndedRecording { reservation, body: None, is_local: false };
        let Some(mut commit) = self.commit.take() else { return unstored(reservation) };
        if body.len() as u64 != self.len() || self.declared.is_some_and(|declared| declared != self.len()) {
            commit.storing.not_stored(&commit.cache, Detail::ContentLength);
            commit.failed();
            return unstored(reservation);
        }
        let tag = self
            .digest
            .take()
            .map(|(digest, comparison)| EntityTag::generated(&digest.finalize().into(), comparison));
        tag.iter().for_each(|tag| commit.storing.tag(tag));
        if !commit.storing.made_from(self.tracker.peek()) {
            commit.storing.give_up(&commit.cache, Detail::Dependencies);
            commit.pass();
            return unstored(reservation);
        }
        commit.storing.settle();
        if let Some(tag) = tag {
            self.tag.set(tag);
        }
        let parked = Arc::clone(&reservation);
        let ended =
            EndedRecording { reservation, body: Some(body.clone()), is_local: commit.cache.is_local() };
        match commit.verdict.take() {
            None => commit.store(body),
            Some(verdict) => verdict.when_decided(move |verdict| {
                // The budget counts the body until it is stored or dropped.
                let _parked = parked;
                match verdict {
                    Verdict::Admitted => commit.store(body),
                    Verdict::Refused => {
                        commit.storing.refused(&commit.cache);
                        commit.pass();
                    }
                    // One of the followers has started over.
                    Verdict::Abandoned => drop(commit),
                }
            }),
        }
        ended
    }
}

impl Drop for Recorder {
    /// A body of a declared length is complete when so much was sent, though nobody asked for its
    /// end: HTTP/1 servers do not. Any other body dropped here was cut short.
    fn drop(&mut self) {
        // Whatever became of it: a page that this body is a part of was made from the same.
        self.tracker.pass_on();
        if self.commit.is_some() && self.declared == Some(self.len()) && !std::thread::panicking() {
            let body = self.body();
            drop(self.finish(body));
        } else if let Some(commit) = &self.commit {
            commit.storing.not_stored(&commit.cache, Detail::CutShort);
        }
    }
}
