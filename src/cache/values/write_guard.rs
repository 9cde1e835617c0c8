//! Writes of values: what was made from the values is invalidated once they are written.

use crate::cache::generations::log_failure;
use crate::cache::{Cache, tracking};
use crate::entry::{Generation, Scope};
use crate::error::StoreError;
use crate::flight::WorkGuard;

/// Values that are being written or removed. Once that is done, what was made from them is invalidated; if it is
/// dropped before, that is done later: they may have been written.
pub(super) struct WriteGuard {
    cache: Cache,
    scopes: Vec<Scope>,
    /// What was current before.
    pub(super) since: Generation,
    _write: Option<WorkGuard>,
}

impl Cache {
    /// Begins to change values.
    pub(super) async fn changing(&self, scopes: Vec<Scope>) -> Result<WriteGuard, StoreError> {
        let write = self.begin_write();
        let mut since = self.generation().await?;
        if tracking::is_tracked() {
            // What is being made depends on what it writes.
            for scope in &scopes {
                since = self.depend(*scope).await?;
            }
        }
        Ok(WriteGuard { cache: self.clone(), scopes, since, _write: write })
    }
}

impl WriteGuard {
    /// Invalidates what was made from the values.
    pub(super) async fn done(mut self) -> Result<(), StoreError> {
        while let Some(scope) = self.scopes.last().copied() {
            let cache = &self.cache;
            let written = cache.within_limit(cache.0.generations.written(scope, self.since)).await;
            tracking::wrote(scope, written.as_ref().ok().copied().flatten());
            written?;
            self.scopes.pop();
        }
        Ok(())
    }

    /// Nothing was changed.
    pub(super) fn nothing(mut self) {
        self.scopes.clear();
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if self.scopes.is_empty() {
            return;
        }
        let (cache, scopes, since) = (self.cache.clone(), std::mem::take(&mut self.scopes), self.since);
        self.cache.spawn_or_run_invalidation(async move {
            for scope in scopes {
                log_failure(&cache.within_limit(cache.0.generations.written(scope, since)).await);
            }
        });
    }
}
