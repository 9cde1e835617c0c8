//! The recorder of a body, which copies the body while it streams, within limits. The [parent
//! module](super) explains the words.

mod sink;

use super::commit::Commit;
use super::tag::GeneratedTag;
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

/// The recording of a body so far, and its commit.
///
/// ```text
/// recording ─┬─ Clean, declared length ─> stored, after the verdict of an outer layer, if any
///            ├─ Clean, other length ────> not stored; the followers see a failure
///            ├─ Failed ─────────────────> not stored; the followers see a failure
///            ├─ NotStorable ────────────> not stored; hit-for-miss; the followers are released
///            ├─ NoRoom, Refused ────────> not stored; the followers are released
///            └─ dropped ────────────────> like Clean if the length is the declared one;
///                                         otherwise not stored; a follower fetches again
/// ```
///
/// A complete body whose dependencies are unknown, too many or in another namespace ends like
/// `NotStorable`.
#[derive(Debug)]
pub(crate) struct Recorder {
    commit: Option<Commit>,
    recorded: RecordedBytes,
    /// The number of recorded bytes. If a shared stream keeps the bytes, they are only counted.
    length: u64,
    /// How a shared recording ends if the stream gives it up. [`BodySink::count`] sets this field,
    /// but the stream detects trailers itself. So the initial value is the end for trailers.
    end_reason: RecordingEnd,
    declared: Option<u64>,
    limit: u64,
    reservation: Reservation,
    /// The digest for a generated `ETag`, if the body gets one.
    digest: Option<(Sha256, Comparison)>,
    /// The generated tag, set once the body is complete.
    tag: GeneratedTag,
    /// Records the dependencies of the body: the values that the body reads while it is polled.
    pub(super) tracker: Tracker,
}

/// The way in which a recording ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordingEnd {
    /// The body has ended. It is stored if it has the declared length.
    Clean,
    /// The body has failed midway.
    Failed,
    /// The body is too large, longer than declared, or has trailers. It streams on without
    /// recording.
    NotStorable(Detail),
    /// Other recordings use up the memory budget. The body streams on without recording.
    NoRoom,
    /// An outer layer has refused the response. The body streams on without recording.
    Refused,
}

/// The memory that an ended recording still uses.
pub(super) struct EndedRecording {
    /// The reservation of the recorded bytes in the memory budget. A response that waits for the
    /// verdict of an outer layer shares it.
    pub(super) reservation: Arc<Reservation>,
    /// The complete body, if it is being stored or waits for an outer layer's verdict.
    pub(super) body: Option<Bytes>,
    /// `true` if the store is local. A local store counts the body toward its capacity.
    pub(super) is_local: bool,
}

#[derive(Debug)]
enum RecordedBytes {
    Nothing,
    /// One frame. It is copied only if it would keep a larger buffer in memory.
    One(Bytes),
    Many(Vec<u8>),
}

impl Recorder {
    /// Creates a recorder.
    ///
    /// `declared` is the value of `Content-Length`, and `limit` is the most bytes to keep. If `tag`
    /// is present, the recorder generates an `ETag` from the body.
    pub(crate) fn new(
        commit: Commit,
        declared: Option<u64>,
        limit: u64,
        tag: Option<Comparison>,
        tracker: Tracker,
    ) -> Self {
        let reservation = commit.cache.reservation();
        let digest = tag.map(|comparison| (Sha256::new(), comparison));
        let (commit, recorded, end_reason) =
            (Some(commit), RecordedBytes::Nothing, RecordingEnd::NotStorable(Detail::Trailers));
        let tag = GeneratedTag::default();
        Self { commit, recorded, length: 0, end_reason, declared, limit, reservation, digest, tag, tracker }
    }

    /// Returns a permit to read the rest of the body only for the store, if the cache has one left.
    pub(super) fn drain_permit(&self) -> Option<WorkPermit> {
        self.commit.as_ref()?.cache.drain_permit()
    }

    pub(super) fn declared(&self) -> Option<u64> {
        self.declared
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        self.reservation.budget()
    }

    /// Returns `true` if followers may be waiting.
    pub(super) fn has_leader(&self) -> bool {
        self.commit.as_ref().is_some_and(|commit| commit.leader.is_some())
    }

    /// Shares the body with several readers while it arrives, and returns the first reader. The
    /// shared stream keeps the bytes, and this recorder only counts them.
    pub(super) fn share(
        mut self,
        begun: Vec<Bytes>,
        source: Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>,
    ) -> Option<BodyReader> {
        let commit = self.commit.as_ref()?;
        let head = Arc::new(StoredResponse::clone(&commit.pending_store.response));
        // The stream has the frames, so the reservation shrinks to their bytes.
        self.recorded = RecordedBytes::Nothing;
        self.reservation.shrink_to(self.length);
        let (declared, budget) = (self.declared, Arc::clone(self.budget()));
        let begin = commit.leader.as_ref().map(Leader::announcer);
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

    /// Returns a handle to the tag, which is set once the body is complete.
    pub(crate) fn tag(&self) -> GeneratedTag {
        self.tag.clone()
    }

    /// Returns `true` if the budget, without other recordings, could hold this many more bytes and
    /// the whole declared body.
    fn fits_empty_budget(&self, bytes: u64) -> bool {
        let rest = self.declared.unwrap_or(0).saturating_sub(self.length);
        self.reservation.fits_empty_budget(bytes.max(rest))
    }

    /// Returns a function that makes room for more bytes by ending stalled recordings. Returns
    /// `None` if the bytes would not fit even without other recordings. The caller must not hold a
    /// lock when it calls the function.
    pub(super) fn room_maker(&self, bytes: u64) -> Option<impl FnOnce() + 'static> {
        let budget = Arc::clone(self.budget());
        self.fits_empty_budget(bytes).then_some(move || budget.make_room())
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn max_length(&self) -> u64 {
        self.limit.min(self.declared.unwrap_or(u64::MAX))
    }

    /// Records a frame. Returns the frame for sending, and the reason if the recording must end.
    pub(super) fn push(&mut self, data: Bytes) -> (Bytes, Option<RecordingEnd>) {
        if self.is_refused() {
            return (data, Some(RecordingEnd::Refused));
        }
        let length = data.len() as u64;
        let total = self.len() + length;
        let max_length = self.max_length();
        if total > max_length {
            return (data, Some(self.excess_reason(total)));
        }
        if data.is_empty() {
            return (data, None);
        }
        // Doubles the capacity, up to the limit or the declared length.
        let capacity = (2 * total).min(max_length);
        let (held, needed) = match &self.recorded {
            RecordedBytes::Nothing => (0, length),
            RecordedBytes::One(first) => (first.len() as u64, capacity),
            RecordedBytes::Many(bytes) if total <= bytes.capacity() as u64 => (0, 0),
            RecordedBytes::Many(bytes) => (bytes.capacity() as u64, capacity),
        };
        if !self.reservation.grow(needed - held) {
            return (data, Some(RecordingEnd::NoRoom));
        }
        if let Some((digest, _)) = &mut self.digest {
            digest.update(&data);
        }
        let (recorded, sent) = match std::mem::replace(&mut self.recorded, RecordedBytes::Nothing) {
            RecordedBytes::Nothing => {
                let (stored, sent) = body_for_storage(data);
                (RecordedBytes::One(stored), sent)
            }
            RecordedBytes::One(first) => {
                let mut bytes = Vec::with_capacity(capacity as usize);
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&data);
                (RecordedBytes::Many(bytes), data)
            }
            RecordedBytes::Many(mut bytes) => {
                if needed > 0 {
                    bytes.reserve_exact(capacity as usize - bytes.len());
                }
                bytes.extend_from_slice(&data);
                (RecordedBytes::Many(bytes), data)
            }
        };
        self.recorded = recorded;
        self.length = total;
        (sent, None)
    }

    /// Returns the reason why a body of this length is not storable.
    fn excess_reason(&self, length: u64) -> RecordingEnd {
        let is_declared = self.declared.is_none_or(|declared| length <= declared);
        RecordingEnd::NotStorable(if is_declared { Detail::TooLarge } else { Detail::ContentLength })
    }

    fn is_refused(&self) -> bool {
        let verdict = self.commit.as_ref().and_then(|commit| commit.verdict.as_ref());
        verdict.is_some_and(PendingVerdict::is_refused)
    }

    /// Ends a stalled recording. Stores the body if it has its declared length.
    pub(super) fn end_stalled(self) {
        let how = if self.is_whole() { RecordingEnd::Clean } else { RecordingEnd::NoRoom };
        drop(self.end(how));
    }

    pub(super) fn end(mut self, how: RecordingEnd) -> EndedRecording {
        if how == RecordingEnd::Clean {
            let body = self.body();
            return self.finish(body);
        } else if let Some(mut commit) = self.commit.take() {
            match how {
                RecordingEnd::Failed => {
                    commit.pending_store.record_not_stored(&commit.cache, Detail::CutShort);
                    commit.failed();
                }
                RecordingEnd::NotStorable(why) => {
                    commit.pending_store.give_up(&commit.cache, why);
                    commit.pass();
                }
                RecordingEnd::NoRoom => {
                    commit.pending_store.record_not_stored(&commit.cache, Detail::NoRoom);
                    commit.pass();
                }
                RecordingEnd::Refused | RecordingEnd::Clean => {
                    commit.pending_store.handle_refusal(&commit.cache);
                    commit.pass();
                }
            }
        }
        EndedRecording { reservation: Arc::new(self.reservation.take()), body: None, is_local: false }
    }

    /// Takes the recorded bytes.
    fn body(&mut self) -> Bytes {
        match std::mem::replace(&mut self.recorded, RecordedBytes::Nothing) {
            RecordedBytes::Nothing => Bytes::new(),
            RecordedBytes::One(bytes) => bytes,
            RecordedBytes::Many(mut bytes) => {
                bytes.shrink_to_fit();
                Bytes::from(bytes)
            }
        }
    }

    /// Stores the body if it has its declared length, and all its dependencies can be tracked. If
    /// an outer layer must admit the response, the body is stored only after the admission.
    fn finish(&mut self, body: Bytes) -> EndedRecording {
        let reservation = Arc::new(self.reservation.take());
        let unstored = |reservation| EndedRecording { reservation, body: None, is_local: false };
        let Some(mut commit) = self.commit.take() else { return unstored(reservation) };
        // RFC 9112 section 8: a body without its declared length is incomplete.
        if body.len() as u64 != self.len() || self.declared.is_some_and(|declared| declared != self.len()) {
            commit.pending_store.record_not_stored(&commit.cache, Detail::ContentLength);
            commit.failed();
            return unstored(reservation);
        }
        let tag = self
            .digest
            .take()
            .map(|(digest, comparison)| EntityTag::from_sha256(&digest.finalize().into(), comparison));
        tag.iter().for_each(|tag| commit.pending_store.set_etag(tag));
        if !commit.pending_store.add_dependencies(self.tracker.peek()) {
            commit.pending_store.give_up(&commit.cache, Detail::Dependencies);
            commit.pass();
            return unstored(reservation);
        }
        commit.pending_store.settle_refresh();
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
                        commit.pending_store.handle_refusal(&commit.cache);
                        commit.pass();
                    }
                    // The drop of the leader in `commit` makes a follower fetch again.
                    Verdict::Abandoned => drop(commit),
                }
            }),
        }
        ended
    }
}

impl Drop for Recorder {
    /// Stores a body that has its declared length, unless the thread panics: HTTP/1 servers drop
    /// such a body without polling for its end. Any other body counts as cut short.
    fn drop(&mut self) {
        // Even after a failure, a page that contains this body depends on the values that the body
        // has read.
        self.tracker.pass_on();
        if self.commit.is_some() && self.declared == Some(self.len()) && !std::thread::panicking() {
            let body = self.body();
            drop(self.finish(body));
        } else if let Some(commit) = &self.commit {
            commit.pending_store.record_not_stored(&commit.cache, Detail::CutShort);
        }
    }
}
