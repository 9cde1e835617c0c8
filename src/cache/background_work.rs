//! How the cache begins, counts and ends background work.

use super::background::{RefreshEnd, RefreshStats};
use super::contradictions::UnkeyedFields;
use super::handle::Cache;
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::key::KeyRef;
use futures_util::FutureExt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedSemaphorePermit;

impl Cache {
    /// Does what nobody waits for: at once over a store inside the process, whose futures are all ready,
    /// else in a task of its own. Outside of a runtime it can't be done, which counts as a failure of the store; then
    /// this returns `false`.
    pub(crate) fn spawn_or_run(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        if self.is_local() {
            pin!(work).now_or_never();
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let counted = self.0.background.begin_write();
            runtime.spawn(async move {
                let _counted = counted;
                work.await;
            });
        } else {
            // Nobody is left who could do it.
            self.0.store_errors.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Returns leave to read a body for the store alone, if not too many are.
    pub(crate) fn drain_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.0.background.drain_permit()
    }

    /// Returns leave to make a response anew in the background, if not too many are.
    pub(crate) fn refresh_permit(&self, key: KeyRef<'_>) -> Option<OwnedSemaphorePermit> {
        self.0.background.refresh_permit(key, self.clock().now())
    }

    /// Returns leave to carry a call on without its client, if not too many are and there is a runtime.
    pub(crate) fn carry_permit(&self) -> Option<OwnedSemaphorePermit> {
        tokio::runtime::Handle::try_current().ok()?;
        self.0.background.carry_permit()
    }

    /// Counts one more refresh.
    pub(crate) fn begin_refresh(&self) {
        self.0.background.begin_refresh();
    }

    /// Returns leave to confirm an answer that is not stored, if not too many are and none was confirmed for this key
    /// a moment ago.
    pub(crate) fn confirmation_permit(&self, key: KeyRef<'_>) -> Option<OwnedSemaphorePermit> {
        self.0.background.confirmation_permit(key, self.clock().now())
    }

    /// Returns `true` if the next refresh of a key carries keyed fields alone.
    pub(crate) fn is_bare_next(&self, key: KeyRef<'_>) -> bool {
        self.0.background.is_bare_next(key, self.clock().now())
    }

    /// Counts what came of a refresh.
    pub(crate) fn refreshed(&self, key: KeyRef<'_>, end: RefreshEnd) {
        self.0.background.refreshed(key, end, self.clock().now());
    }

    /// Returns how many responses were, and are being, made anew in the background
    /// ([`PolicyBuilder::stale_while_revalidate`](crate::policy::PolicyBuilder::stale_while_revalidate)).
    #[must_use]
    pub fn refreshes(&self) -> RefreshStats {
        self.0.background.counts()
    }

    /// Waits until nothing is under way in the background any more, what a store outside the process is being
    /// told included, and makes nothing anew from then on: for the end of a graceful shutdown, after the last
    /// request. The cache goes on answering.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has changed nothing that lasts.
    pub async fn shutdown(&self) {
        self.0.background.shut_down().await;
    }

    /// Returns `true` if any refresh may run.
    pub(crate) fn allows_refreshes(&self) -> bool {
        self.0.background.allows_refreshes()
    }

    /// Notes an answer, not stored, that contradicts the stored response that was received at `stored`. Returns `true`
    /// if it is the second one.
    pub(crate) fn contradicts(&self, key: KeyRef<'_>, stored: Moment, fields: UnkeyedFields) -> bool {
        self.0.background.contradicts(key, stored, fields, self.clock().now())
    }

    /// Notes that a 304 did not match a stored response.
    pub(crate) fn note_mismatch(&self, key: KeyRef<'_>, stored: &StoredResponse) {
        self.0.background.note_mismatch(key, stored);
    }

    /// Returns `true` if a 304 did not match this stored response.
    pub(crate) fn is_mismatched(&self, key: KeyRef<'_>, stored: &StoredResponse) -> bool {
        self.0.background.is_mismatched(key, stored)
    }
}
