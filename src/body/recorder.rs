//! Records a body while it streams, within limits, and commits it on a clean end alone.

use crate::cache::{Cache, Reservation, Storing, poll_now};
use crate::entry::body_for_storage;
use crate::flight::{Leader, Pass};
use crate::rules::entity_tag::EntityTag;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::pin::pin;
use tokio::sync::OwnedSemaphorePermit;

/// What is to be done once the body is complete.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) cache: Cache,
    pub(crate) storing: Storing,
    /// Present where others may be waiting.
    pub(crate) leader: Option<Leader>,
}

/// Keeps what has been sent so far. Dropped before the end, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Recorder {
    commit: Option<Commit>,
    recorded: Recorded,
    declared: Option<u64>,
    limit: u64,
    reservation: Reservation,
    /// For an `ETag` of the body, where it is to have one.
    digest: Option<Sha256>,
}

/// How a recording ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With the body: it is stored if it is as long as declared.
    Clean,
    /// The body failed midway.
    Failed,
    /// The body goes on. It is more than may be kept or than was declared, or has trailers.
    Unfit,
    /// The body goes on. Other recordings hold all there is of the budget, at this time.
    NoRoomNow,
}

#[derive(Debug)]
enum Recorded {
    Nothing,
    /// One frame, kept without a copy where that pins no larger buffer.
    One(Bytes),
    Many(Vec<u8>),
}

impl Recorder {
    /// `declared` is what `Content-Length` says, `limit` the most bytes to keep; `tagged` asks for an
    /// `ETag` of the body.
    pub(crate) fn new(commit: Commit, declared: Option<u64>, limit: u64, tagged: bool) -> Self {
        let reservation = commit.cache.reservation();
        let digest = tagged.then(Sha256::new);
        Self { commit: Some(commit), recorded: Recorded::Nothing, declared, limit, reservation, digest }
    }

    /// Returns leave to read the body for the store alone, if not too many are.
    pub(super) fn drain_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.commit.as_ref()?.cache.drain_permit()
    }

    pub(super) fn declared(&self) -> Option<u64> {
        self.declared
    }

    fn len(&self) -> u64 {
        match &self.recorded {
            Recorded::Nothing => 0,
            Recorded::One(bytes) => bytes.len() as u64,
            Recorded::Many(bytes) => bytes.len() as u64,
        }
    }

    /// Records a frame and returns it for sending, and why the recording can't go on, if so.
    pub(super) fn push(&mut self, data: Bytes) -> (Bytes, Option<End>) {
        let length = data.len() as u64;
        let total = self.len() + length;
        let most = self.limit.min(self.declared.unwrap_or(u64::MAX));
        if total > most {
            return (data, Some(End::Unfit));
        }
        if data.is_empty() {
            return (data, None);
        }
        if let Some(digest) = &mut self.digest {
            digest.update(&data);
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
            return (data, Some(End::NoRoomNow));
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
        (sent, None)
    }

    /// Ends the recording. Some of what it holds may not be sent yet, so its reservation is returned.
    pub(super) fn end(mut self, how: End) -> Reservation {
        if how == End::Clean {
            self.finish();
        } else if let Some(commit) = self.commit.take() {
            match how {
                End::Failed => commit.failed(),
                End::Unfit => {
                    // The next one under this key will be no different.
                    commit.storing.remember(&commit.cache, Pass::Uncacheable);
                    commit.pass();
                }
                End::NoRoomNow | End::Clean => commit.pass(),
            }
        }
        self.reservation.take()
    }

    fn finish(&mut self) {
        let Some(mut commit) = self.commit.take() else { return };
        if self.declared.is_some_and(|declared| declared != self.len()) {
            return commit.failed();
        }
        let body = match std::mem::replace(&mut self.recorded, Recorded::Nothing) {
            Recorded::Nothing => Bytes::new(),
            Recorded::One(bytes) => bytes,
            Recorded::Many(mut bytes) => {
                bytes.shrink_to_fit();
                Bytes::from(bytes)
            }
        };
        if let Some(digest) = self.digest.take() {
            commit.storing.tag(&EntityTag::of_digest(&digest.finalize().into()));
        }
        commit.store(body);
    }
}

impl Drop for Recorder {
    /// A body of a declared length is complete when so much was sent, though nobody asked for its
    /// end: HTTP/1 servers do not. Any other body dropped here was cut short.
    fn drop(&mut self) {
        if self.commit.is_some() && self.declared == Some(self.len()) && !std::thread::panicking() {
            self.finish();
        }
    }
}

impl Commit {
    /// Nothing will be stored and nothing shared.
    fn pass(self) {
        if let Some(leader) = self.leader {
            leader.pass();
        }
    }

    fn failed(self) {
        if let Some(leader) = self.leader {
            leader.failed();
        }
    }

    fn store(self, body: Bytes) {
        if self.cache.is_local() {
            // Done at once: every future of a store inside the process is ready.
            let _ = poll_now(pin!(self.write(body)));
            return;
        }
        // Ordered by its generation, so it can't undo an invalidation that overtakes it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.write(body));
        }
    }

    async fn write(self, body: Bytes) {
        let response = self.storing.store(&self.cache, body).await;
        if let Some(leader) = self.leader {
            leader.stored(response);
        }
    }
}
