//! How the cache begins, counts and ends background work.

use super::background::{RefreshEnd, RefreshStats};
use super::contradictions::UnkeyedFields;
use super::handle::Cache;
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::flight::{WorkGuard, WorkPermit};
use crate::key::KeyRef;
use futures_util::FutureExt;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;

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

    /// Counts a write that its caller waits for. Over a store inside the process it is done at once, and is not counted.
    pub(crate) fn begin_write(&self) -> Option<WorkGuard> {
        (!self.is_local()).then(|| self.begin_work())
    }

    /// Counts work that its caller waits for.
    pub(super) fn begin_work(&self) -> WorkGuard {
        self.0.background.begin_work()
    }

    /// Returns leave to read a body for the store alone, if not too many are.
    pub(crate) fn drain_permit(&self) -> Option<WorkPermit> {
        self.0.background.drain_permit()
    }

    /// Returns leave to make a response anew in the background, if not too many are.
    pub(crate) fn refresh_permit(&self, key: KeyRef<'_>) -> Option<WorkPermit> {
        self.0.background.refresh_permit(key, self.clock().now())
    }

    /// Returns leave to carry a call on without its client, if not too many are and there is a runtime.
    pub(crate) fn carry_permit(&self) -> Option<WorkPermit> {
        tokio::runtime::Handle::try_current().ok()?;
        self.0.background.carry_permit()
    }

    /// Counts one more refresh.
    pub(crate) fn begin_refresh(&self) {
        self.0.background.begin_refresh();
    }

    /// Returns leave to confirm an answer that is not stored, if not too many are and none was confirmed for this key
    /// a moment ago.
    pub(crate) fn confirmation_permit(&self, key: KeyRef<'_>) -> Option<WorkPermit> {
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

    /// Waits until no write and no background work is under way, without ending or forbidding any: in tests, or before an
    /// instance of the service is measured or moved.
    ///
    /// 1. It waits for: responses, values and invalidations that are being written to a store outside the process, whoever has
    ///    asked for them; background refreshes; fetches under
    ///    [`complete_after_disconnect`](crate::policy::PolicyBuilder::complete_after_disconnect); bodies that are read for the store
    ///    alone; and [`warm`](Self::warm) calls. What these lead to is waited for, too.
    /// 2. It does not wait for other requests that are being answered, nor for bodies that their clients have yet to read.
    /// 3. It returns at the first moment at which nothing is under way. Work that begins before that moment is waited for.
    ///    A cache that is never idle keeps it waiting: set a limit by `tokio::time::timeout`.
    /// 4. If nothing is under way, it returns at once. It needs no runtime and no timer, and works with paused time.
    ///
    /// All namespaces and versions of the cache count. To end background work for good, use [`shutdown`](Self::shutdown).
    ///
    /// Do not wait in a handler, or in the task that polls a `warm` call: a background refresh whose handler waits for it is
    /// waiting for itself.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, Invalidation, MemoryStore};
    ///
    /// # futures::executor::block_on(async {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.invalidate(Invalidation::path("/menu")).await?;
    /// cache.wait_idle().await;
    /// # Ok::<_, tower_response_cache::error::StoreError>(())
    /// # }).unwrap();
    /// ```
    pub async fn wait_idle(&self) {
        self.0.background.wait_idle().await;
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
