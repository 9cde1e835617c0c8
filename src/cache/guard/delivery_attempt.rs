//! One attempt to deliver the undelivered invalidations of a namespace.

use super::delivery_claim::TaskNumber;
use super::store_guard::{GuardedOperation, StoreGuard};
use super::undelivered::Batch;
use crate::cache::values::{Name, value_key};
use crate::entry::{Entry, EntryKind};
use crate::error::StoreError;
use crate::key::{CacheKey, KeyRef};
use crate::store::{StoreFuture, Strength};
use futures_util::future::try_join_all;
use std::time::Duration;
use tokio::time::Instant;

/// The most scopes or values in one operation of the store, so that each ends within the time
/// limit.
const CHUNK: usize = 256;

/// The delivery of one batch by a task.
pub(super) struct DeliveryAttempt<'a> {
    pub(super) guard: &'a StoreGuard,
    pub(super) batch: &'a Batch,
    pub(super) task: TaskNumber,
}

impl DeliveryAttempt<'_> {
    /// Sends the batch, until the store fails.
    pub(super) async fn run(&self) -> Result<(), StoreError> {
        let Batch { namespace, generations, hard, soft, values, .. } = self.batch;
        for (scopes, strength) in [(hard, Strength::Hard), (soft, Strength::Soft)] {
            for scopes in scopes.chunks(CHUNK) {
                self.timed(generations.advance(scopes, strength)).await?;
            }
        }
        if values.is_empty() {
            return Ok(());
        }
        let cleared = self.timed(generations.cleared()).await?;
        for values in values.chunks(CHUNK) {
            let keys: Vec<_> = values.iter().map(|value| value_key(namespace, value, cleared)).collect();
            let keys: Vec<_> = keys.iter().map(CacheKey::as_ref).collect();
            let found = self.timed(self.guard.unguarded().get_many(&keys)).await?;
            let found = found.into_iter().chain(std::iter::repeat(None));
            let values = values.iter().zip(keys).zip(found);
            let removals = values.map(|((value, key), found)| self.remove_value(value, key, found));
            try_join_all(removals).await?;
        }
        Ok(())
    }

    /// Removes the entry that was found under the key of a value. An entry that was stored since the
    /// removal was queued stays, even if it is stored during the removal.
    async fn remove_value(
        &self,
        value: &Name,
        key: KeyRef<'_>,
        found: Option<Entry>,
    ) -> Result<(), StoreError> {
        let is_spared = |found: Option<&Entry>| {
            let hidden = self.guard.undelivered.hidden_entries(&self.batch.namespace, value);
            found.is_some_and(|found| hidden.spares(found))
        };
        if is_spared(found.as_ref()) {
            return Ok(());
        }
        let store = self.guard.unguarded();
        // Also if nothing was found: another version of this crate may be able to read the entry.
        let any = found.clone().unwrap_or(Entry(EntryKind::Counter(0)));
        let removed = store.compare_and_set(key, found.as_ref(), any, Some(Duration::ZERO));
        if self.timed(removed).await? || is_spared(self.timed(store.get(key)).await?.as_ref()) {
            return Ok(());
        }
        self.timed(store.remove(key)).await.map(drop)
    }

    async fn timed<T>(&self, future: StoreFuture<T>) -> Result<T, StoreError> {
        // Also if another task has taken over: a batch that was begun is sent to its end.
        self.guard.claim.report(self.task, Instant::now(), self.guard.limits().invalidation);
        self.guard.with_timeout(GuardedOperation::Invalidation, future).await
    }
}
