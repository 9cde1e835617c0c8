//! One attempt to deliver the undelivered invalidations of a namespace.

use super::delivery_claim::TaskNumber;
use super::store_guard::{GuardedOperation, StoreGuard};
use super::undelivered::Batch;
use crate::cache::values::{Name, value_key};
use crate::entry::{Entry, EntryKind, Scope};
use crate::error::StoreError;
use crate::key::{CacheKey, KeyRef};
use crate::store::{StoreFuture, Strength};
use futures_util::future::try_join_all;
use std::time::Duration;
use tokio::time::Instant;

/// The most scopes or values in one operation of the store, so that each operation ends within
/// the time limit.
const CHUNK: usize = 256;

/// The delivery of one batch by a task.
pub(super) struct DeliveryAttempt<'a> {
    pub(super) guard: &'a StoreGuard,
    pub(super) batch: &'a Batch,
    pub(super) task: TaskNumber,
}

impl DeliveryAttempt<'_> {
    /// Sends the whole batch. An outage ends the attempt. After another error, the attempt sends the
    /// rest of the batch, and returns the first such error.
    pub(super) async fn run(&self) -> Result<(), StoreError> {
        let Batch { hard, soft, values, .. } = self.batch;
        let mut refusal = self.advance(hard, Strength::Hard).await?;
        refusal = refusal.or(self.advance(soft, Strength::Soft).await?);
        if !values.is_empty() {
            refusal = refusal.or(self.remove_values().await?);
            // Before the removal, another process may have made a page from the old value, after the
            // first advance.
            let scopes: Vec<_> = values.iter().map(|value| Scope::value(value.as_bytes())).collect();
            refusal = refusal.or(self.advance(&scopes, Strength::Hard).await?);
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Invalidates scopes. Returns the first refusal: an error that is not an outage.
    ///
    /// # Errors
    /// Returns the first outage.
    async fn advance(&self, scopes: &[Scope], strength: Strength) -> Result<Option<StoreError>, StoreError> {
        let mut refusal = None;
        for scopes in scopes.chunks(CHUNK) {
            let advanced = self.timed(self.batch.generations.advance(scopes, strength)).await;
            refusal = refusal.or(refusal_of(advanced)?);
        }
        Ok(refusal)
    }

    /// Removes the values from the store. Returns the first refusal: an error that is not an outage.
    ///
    /// # Errors
    /// Returns the first outage, or any error of the read of the last clear.
    async fn remove_values(&self) -> Result<Option<StoreError>, StoreError> {
        let Batch { namespace, generations, values, .. } = self.batch;
        let cleared = self.timed(generations.cleared()).await?;
        let mut refusal = None;
        for values in values.chunks(CHUNK) {
            let keys: Vec<_> = values.iter().map(|value| value_key(namespace, value, cleared)).collect();
            let keys: Vec<_> = keys.iter().map(CacheKey::as_ref).collect();
            let found = match self.timed(self.guard.unguarded().get_many(&keys)).await {
                Ok(found) => found,
                Err(error) => {
                    refusal = refusal.or(refusal_of::<()>(Err(error))?);
                    continue;
                }
            };
            let found = found.into_iter().chain(std::iter::repeat(None));
            let values = values.iter().zip(keys).zip(found);
            let removals = values.map(|((value, key), found)| async move {
                refusal_of(self.remove_value(value, key, found).await)
            });
            refusal = refusal.or(try_join_all(removals).await?.into_iter().flatten().next());
        }
        Ok(refusal)
    }

    /// Removes the entry of a value. `found` is the entry that a look-up found under `key`.
    ///
    /// If a write has stored an entry since the removal was queued, that entry stays, even if the
    /// write runs during this call.
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
        // The removal runs even if no entry was found. The store may have an entry that only
        // another version of this crate can read.
        let any = found.clone().unwrap_or(Entry(EntryKind::Counter(0)));
        let removed = store.compare_and_set(key, found.as_ref(), any, Some(Duration::ZERO));
        if self.timed(removed).await? || is_spared(self.timed(store.get(key)).await?.as_ref()) {
            return Ok(());
        }
        self.timed(store.remove(key)).await.map(drop)
    }

    async fn timed<T>(&self, future: StoreFuture<T>) -> Result<T, StoreError> {
        // The result of the report is ignored. If another task has taken the claim, this task still
        // sends the rest of its batch.
        self.guard.claim.report(self.task, Instant::now(), self.guard.limits().invalidation);
        self.guard.with_timeout(GuardedOperation::Invalidation, future).await
    }
}

/// Returns the refusal in a result: an error that is not an outage. Returns `None` for a success.
///
/// # Errors
/// Returns the error if it is an outage.
fn refusal_of<T>(result: Result<T, StoreError>) -> Result<Option<StoreError>, StoreError> {
    match result {
        Err(error) if error.kind().is_outage() => Err(error),
        other => Ok(other.err()),
    }
}
