//! The invalidation of dependents after a write of values.

use crate::cache::{Cache, tracking};
use crate::entry::{Generation, Scope};
use crate::error::StoreError;
use crate::flight::WorkGuard;
use crate::store::Strength;

/// A write or removal of values that is in progress. [`finish`](Self::finish) invalidates the
/// dependents of the values.
///
/// If the guard is dropped without a call of `finish` or `cancel`, the values may have been
/// written. So the drop invalidates their dependents in the background.
///
/// ```text
/// guard_write() ──► guard ─┬─ finish() ──► invalidates dependents, and reports a failure
///                          ├─ cancel() ──► invalidates nothing
///                          └─ dropped  ──► invalidates dependents in the background
/// ```
pub(super) struct WriteGuard {
    cache: Cache,
    scopes: Vec<Scope>,
    /// The generation before the write.
    pub(super) since: Generation,
    _write: Option<WorkGuard>,
}

impl Cache {
    /// Creates the guard of a write. `scopes` has the scope of each value that is about to be
    /// written or removed.
    pub(super) async fn guard_write(&self, scopes: Vec<Scope>) -> Result<WriteGuard, StoreError> {
        let write = self.begin_write();
        let mut since = self.generation().await?;
        if tracking::is_tracked() {
            // The page or value of the current task depends on the values that the task writes.
            for scope in &scopes {
                since = self.depend(*scope).await?;
            }
        }
        Ok(WriteGuard { cache: self.clone(), scopes, since, _write: write })
    }
}

impl WriteGuard {
    /// Invalidates the dependents of the values. If the store fails, the invalidation is queued.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        while let Some(scope) = self.scopes.last().copied() {
            let cache = &self.cache;
            let written = cache.await_invalidation(cache.0.generations.written(scope, self.since)).await;
            tracking::record_write(scope, written.as_ref().ok().copied().flatten());
            if written.is_err() {
                cache.queue_invalidation(&std::mem::take(&mut self.scopes), Strength::Hard, None);
            }
            written?;
            self.scopes.pop();
        }
        Ok(())
    }

    /// Ends a write that changed nothing.
    pub(super) fn cancel(mut self) {
        self.scopes.clear();
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if self.scopes.is_empty() {
            return;
        }
        // If the task is dropped, `unconfirmed` is dropped with it and queues the invalidation.
        let unconfirmed = self.cache.unconfirmed(std::mem::take(&mut self.scopes), Strength::Hard);
        let since = self.since;
        self.cache.spawn_or_run_invalidation(async move { unconfirmed.written(since).await });
    }
}
