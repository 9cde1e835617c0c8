//! The end of a recorded body: its response is stored, and its flight ends. The
//! [parent module](super) explains the words.

use crate::cache::{Cache, PendingStore};
use crate::flight::Leader;
use crate::marks::PendingVerdict;
use bytes::Bytes;

/// The response to store and the flight to end, once the body is complete.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) cache: Cache,
    pub(crate) pending_store: PendingStore,
    /// The leader of the flight, if followers may be waiting.
    pub(crate) leader: Option<Leader>,
    /// The verdict of the outer layer that must still admit the response, if any.
    pub(crate) verdict: Option<PendingVerdict>,
}

impl Commit {
    /// Releases the followers without a response. No response is stored.
    pub(super) fn pass(self) {
        if let Some(leader) = self.leader {
            leader.end_unshared();
        }
    }

    pub(super) fn failed(self) {
        if let Some(leader) = self.leader {
            leader.end_failed();
        }
    }

    pub(super) fn store(self, body: Bytes) {
        // The write may finish after an invalidation, which still applies: the response carries the
        // generation from before the fetch.
        self.cache.clone().spawn_or_run(self.write(body));
    }

    async fn write(self, body: Bytes) {
        let (response, _) = self.pending_store.store(&self.cache, body).await;
        if let Some(leader) = self.leader {
            leader.end_stored(response);
        }
    }
}
