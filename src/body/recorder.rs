//! Records a body while it streams, within limits, and commits it on a clean end alone.

use crate::cache::{Cache, Reservation, Storing, poll_now};
use crate::entry::body_for_storage;
use crate::flight::{Leader, Pass};
use bytes::Bytes;
use std::pin::pin;

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
}

/// Whether a recording goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    GoesOn,
    /// The body is more than may be kept or than was declared, or has trailers.
    Unfit,
    /// Other recordings hold all there is of the budget.
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
    /// `declared` is what `Content-Length` says, `limit` the most bytes to keep.
    pub(crate) fn new(commit: Commit, declared: Option<u64>, limit: u64) -> Self {
        let reservation = commit.cache.reservation();
        Self { commit: Some(commit), recorded: Recorded::Nothing, declared, limit, reservation }
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

    /// Records a frame and returns it for sending, and whether the recording goes on.
    pub(super) fn push(&mut self, data: Bytes) -> (Bytes, Progress) {
        let length = data.len() as u64;
        let total = self.len() + length;
        if total > self.limit.min(self.declared.unwrap_or(u64::MAX)) {
            return (data, Progress::Unfit);
        }
        if !self.reservation.grow(length) {
            return (data, Progress::NoRoomNow);
        }
        if data.is_empty() {
            return (data, Progress::GoesOn);
        }
        let (recorded, sent) = match std::mem::replace(&mut self.recorded, Recorded::Nothing) {
            Recorded::Nothing => {
                let (kept, sent) = body_for_storage(data);
                (Recorded::One(kept), sent)
            }
            Recorded::One(first) => {
                let mut bytes = Vec::with_capacity((first.len() + data.len()) * 2);
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&data);
                (Recorded::Many(bytes), data)
            }
            Recorded::Many(mut bytes) => {
                bytes.extend_from_slice(&data);
                (Recorded::Many(bytes), data)
            }
        };
        self.recorded = recorded;
        (sent, Progress::GoesOn)
    }

    /// The body ended cleanly: it is stored if it is as long as declared.
    pub(super) fn complete(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        let Some(commit) = self.commit.take() else { return };
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
        commit.store(body);
    }

    /// The body goes on, but is not kept. The next one under this key may be, if only room was missing.
    pub(super) fn cut_short(mut self, why: Progress) {
        if let Some(commit) = self.commit.take() {
            if why == Progress::Unfit {
                commit.storing.remember(&commit.cache, Pass::Uncacheable);
            }
            commit.pass();
        }
    }

    /// The body failed midway.
    pub(super) fn failed(mut self) {
        if let Some(commit) = self.commit.take() {
            commit.failed();
        }
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
