//! What becomes of a recorded body.

use crate::cache::{Cache, PendingStore};
use crate::flight::Leader;
use crate::marks::PendingVerdict;
use bytes::Bytes;

/// The stored response and the flight that a complete body finishes.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) cache: Cache,
    pub(crate) storing: PendingStore,
    /// Present where others may be waiting.
    pub(crate) leader: Option<Leader>,
    /// Present if an outer layer has yet to admit the response.
    pub(crate) verdict: Option<PendingVerdict>,
}

impl Commit {
    /// Nothing will be stored and nothing shared.
    pub(super) fn pass(self) {
        if let Some(leader) = self.leader {
            leader.pass();
        }
    }

    pub(super) fn failed(self) {
        if let Some(leader) = self.leader {
            leader.failed();
        }
    }

    pub(super) fn store(self, body: Bytes) {
        // Ordered by its generation, so it can't undo an invalidation that overtakes it.
        self.cache.clone().spawn_or_run(self.write(body));
    }

    async fn write(self, body: Bytes) {
        let (response, _) = self.storing.store(&self.cache, body).await;
        if let Some(leader) = self.leader {
            leader.stored(response);
        }
    }
}
