//! The methods of [`Cache`] that start, count and await background work. The module `background`
//! describes the kinds of work.

use super::background::{RefreshEnd, RefreshStats};
use super::contradictions::UnkeyedFieldsDigest;
use super::guard::GuardedOperation;
use super::handle::Cache;
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::flight::{WorkGuard, WorkPermit};
use crate::key::KeyRef;
use futures_util::FutureExt;
use std::future::Future;
use std::pin::pin;

impl Cache {
    /// Runs work in the background. Returns `false` if no task can run it.
    ///
    /// Over a store inside the process, the work runs in this call, because the futures of such a
    /// store are ready at once. Over other stores, the work runs in a new task. Outside a tokio
    /// runtime there are no tasks: the work is dropped, which counts as a failure of the store.
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
            self.0.guard.count_failure(GuardedOperation::Write);
            return false;
        }
        true
    }

    /// Counts a write that its caller awaits. A write to a store inside the process completes at
    /// once and is not counted.
    pub(crate) fn begin_write(&self) -> Option<WorkGuard> {
        (!self.is_local()).then(|| self.begin_work())
    }

    pub(super) fn begin_work(&self) -> WorkGuard {
        self.0.background.begin_work()
    }

    /// Returns a permit to read a body for the store alone. Returns `None` after a shutdown, or if
    /// too many bodies are read that way.
    pub(crate) fn drain_permit(&self) -> Option<WorkPermit> {
        self.0.background.drain_permit()
    }

    /// Returns a permit to make an encoded variant. Returns `None` after a shutdown, or if enough
    /// variants are being made.
    pub(crate) fn encoding_permit(&self) -> Option<WorkPermit> {
        self.0.background.encoding_permit()
    }

    /// Returns a place among the responses that wait for an eager encoder. Returns `None` after a
    /// shutdown, or if too many responses wait.
    pub(crate) fn place_for_encoding(&self) -> Option<WorkPermit> {
        self.0.background.place_for_encoding()
    }

    /// Waits for a permit to make encoded variants. Returns `None` once a shutdown has begun.
    pub(crate) async fn wait_for_encoding(&self) -> Option<WorkPermit> {
        self.0.background.wait_for_encoding().await
    }

    /// Returns a permit for a background refresh, or `None` if no refresh of the key may start now.
    pub(crate) fn refresh_permit(&self, key: KeyRef<'_>) -> Option<WorkPermit> {
        self.0.background.refresh_permit(key, self.clock().now())
    }

    /// Returns a permit for a fetch in its own task. Such a fetch continues after its client has
    /// disconnected.
    ///
    /// Returns `None` outside a tokio runtime, after a shutdown, or if too many such fetches run.
    pub(crate) fn detach_permit(&self) -> Option<WorkPermit> {
        tokio::runtime::Handle::try_current().ok()?;
        self.0.background.detach_permit()
    }

    pub(crate) fn begin_refresh(&self) {
        self.0.background.begin_refresh();
    }

    /// Returns a permit for a confirmation, or `None` if no confirmation for the key may start now.
    pub(crate) fn confirmation_permit(&self, key: KeyRef<'_>) -> Option<WorkPermit> {
        self.0.background.confirmation_permit(key, self.clock().now())
    }

    /// Returns `true` if the next refresh of a key sends only keyed fields.
    pub(crate) fn is_keyed_only_next(&self, key: KeyRef<'_>) -> bool {
        self.0.background.is_keyed_only_next(key, self.clock().now())
    }

    pub(crate) fn end_refresh(&self, key: KeyRef<'_>, end: RefreshEnd) {
        self.0.background.end_refresh(key, end, self.clock().now());
    }

    /// Returns how many background refreshes are running, have succeeded, and have failed
    /// ([`PolicyBuilder::stale_while_revalidate`](crate::policy::PolicyBuilder::stale_while_revalidate)).
    #[must_use]
    pub fn refreshes(&self) -> RefreshStats {
        self.0.background.stats()
    }

    /// Waits until no write and no background work is in progress. It neither stops nor forbids any
    /// work.
    ///
    /// Use it in tests, or before an instance of the service is measured or moved. To end
    /// background work for good, use [`shutdown`](Self::shutdown). Work in all namespaces and
    /// versions of the cache counts.
    ///
    /// # Rules
    /// 1. It waits for writes of responses, values and invalidations to a store outside the
    ///    process. It also waits for background refreshes, for fetches under
    ///    [`complete_after_disconnect`](crate::policy::PolicyBuilder::complete_after_disconnect),
    ///    for bodies that are read only for the store, for [`warm`](Self::warm) calls, and for all
    ///    work that these start.
    /// 2. It does not wait for other requests in progress, nor for bodies that clients have not
    ///    read.
    /// 3. It returns at the first moment without work in progress. If there is always some work,
    ///    it never returns: limit the wait with `tokio::time::timeout`.
    /// 4. If no work is in progress, it returns at once. It needs no runtime and no timer, so it
    ///    works while the time of tokio is paused.
    ///
    /// # Caveats
    /// Do not await it in a handler. A background refresh may call the handler, so the refresh would
    /// wait for itself. For the same reason, do not await it in the task that polls a `warm` call.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Example
    /// ```
    /// use tower_response_cache::{Cache, Invalidation, MemoryStore};
    ///
    /// # futures::executor::block_on(async {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let _ = cache.invalidate(Invalidation::path("/menu")).await;
    /// cache.wait_idle().await;
    /// # Ok::<_, tower_response_cache::error::StoreError>(())
    /// # }).unwrap();
    /// ```
    pub async fn wait_idle(&self) {
        self.0.background.wait_idle().await;
    }

    /// Waits for all background work, including writes to a store outside the process. Afterwards,
    /// only such writes run in the background.
    ///
    /// Await it at the end of a graceful shutdown, after the last request. The cache still answers
    /// requests afterwards. But it runs no background refresh, and after a client disconnects, it
    /// neither completes the fetch nor reads the rest of the body for the store.
    ///
    /// It does not wait for a call that your code awaits itself, such as [`warm`](Self::warm).
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, background work continues as before.
    #[doc(alias = "drain")]
    pub async fn shutdown(&self) {
        self.0.background.shut_down().await;
    }

    pub(crate) fn allows_refreshes(&self) -> bool {
        self.0.background.allows_refreshes()
    }

    /// Records an answer that is not storable, although it should have replaced a stored response.
    /// `stored` is the time at which the stored response was received.
    ///
    /// Returns `true` if another visitor got such an answer before.
    pub(crate) fn add_contradiction(
        &self,
        key: KeyRef<'_>,
        stored: Moment,
        fields: UnkeyedFieldsDigest,
    ) -> bool {
        self.0.background.add_contradiction(key, stored, fields, self.clock().now())
    }

    /// Records that a 304 did not match a stored response (RFC 9111 section 4.3.4).
    pub(crate) fn note_mismatch(&self, key: KeyRef<'_>, stored: &StoredResponse) {
        self.0.background.note_mismatch(key, stored);
    }

    /// Returns `true` if this stored response is the last one under the key that a 304 did not
    /// match. The cache forgets old mismatches.
    pub(crate) fn is_mismatched(&self, key: KeyRef<'_>, stored: &StoredResponse) -> bool {
        self.0.background.is_mismatched(key, stored)
    }
}
