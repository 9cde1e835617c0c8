//! The delivery of invalidations that a store has not confirmed.

use super::breaker::{Requester, backoff};
use super::store_guard::{GuardedOperation, StoreGuard};
use super::undelivered::Batch;
use crate::cache::values::value_key;
use crate::error::StoreError;
use crate::key::CacheKey;
use crate::store::{StoreFuture, Strength};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;

/// The most scopes or values in one operation of the store, so that each ends within the time
/// limit.
const CHUNK: usize = 256;

/// Whether the store of a cache has confirmed an invalidation.
///
/// # Example
/// ```
/// use tower_response_cache::{Cache, MemoryStore};
/// use tower_response_cache::invalidation::Delivery;
///
/// # futures::executor::block_on(async {
/// let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
/// assert_eq!(cache.invalidate("/flavours").await, Delivery::Delivered);
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a queued invalidation does not count in other processes yet"]
pub enum Delivery {
    /// The store has confirmed the invalidation: it counts in every process that uses the store.
    Delivered,
    /// The store has failed or was too slow. The invalidation counts in this process, which sends
    /// it again until the store confirms it. Other processes may serve the old responses until
    /// then. A process that ends loses what is queued.
    Queued,
}

impl Delivery {
    /// Returns `true` if the invalidation counts in every process.
    #[must_use]
    pub fn is_delivered(self) -> bool {
        self == Self::Delivered
    }
}

/// A task that delivers. Its end, by any way, lets another one begin.
struct DeliveryTask {
    guard: Weak<StoreGuard>,
    is_ended: bool,
}

impl StoreGuard {
    /// Begins to deliver in a task, unless a task does or there is no tokio runtime. The next
    /// operation tries again.
    pub(super) fn start_delivery(self: &Arc<Self>) {
        // `SeqCst`: either this sees that the task has ended, or the task sees what was added
        // before.
        if !self.undelivered.is_waiting() || self.is_delivering.load(Ordering::SeqCst) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if self.is_delivering.swap(true, Ordering::SeqCst) {
            return;
        }
        let task = DeliveryTask { guard: Arc::downgrade(self), is_ended: false };
        runtime.spawn(task.run());
    }

    /// Delivers the batch that has waited longest. Returns `false` if that failed or is not
    /// possible now.
    async fn deliver_next(&self) -> bool {
        let Some(batch) = self.undelivered.next() else { return true };
        let Some(permit) = self.breaker.acquire(Requester::Delivery, true) else { return false };
        let result = self.deliver(&batch).await;
        if result.is_ok() {
            self.undelivered.delivered(&batch);
        } else {
            self.undelivered.postpone();
        }
        self.end(permit, &result);
        if result.is_ok() && !self.undelivered.is_waiting() {
            self.breaker.close_if_half_open();
        }
        result.is_ok()
    }

    async fn deliver(&self, batch: &Batch) -> Result<(), StoreError> {
        let generations = &batch.generations;
        for (scopes, strength) in [(&batch.hard, Strength::Hard), (&batch.soft, Strength::Soft)] {
            for scopes in scopes.chunks(CHUNK) {
                self.timed(generations.advance(scopes, strength)).await?;
            }
        }
        if batch.values.is_empty() {
            return Ok(());
        }
        let cleared = self.timed(generations.cleared()).await?;
        for values in batch.values.chunks(CHUNK) {
            let keys: Vec<_> =
                values.iter().map(|value| value_key(&batch.namespace, value, cleared)).collect();
            let keys: Vec<_> = keys.iter().map(CacheKey::as_ref).collect();
            self.timed(self.unguarded().remove_many(&keys)).await?;
        }
        Ok(())
    }

    async fn timed<T>(&self, future: StoreFuture<T>) -> Result<T, StoreError> {
        self.with_timeout(GuardedOperation::Invalidation, future).await
    }
}

impl DeliveryTask {
    /// Delivers until nothing waits, with growing pauses after failures. Ends with the cache.
    async fn run(mut self) {
        let mut pauses = backoff();
        let mut pause = pauses.next().unwrap_or_default();
        loop {
            tokio::time::sleep(pause).await;
            let Some(guard) = self.guard.upgrade() else { return };
            if guard.deliver_next().await {
                pauses = backoff();
                pause = Duration::ZERO;
            } else {
                pause = pauses.next().unwrap_or_default().max(guard.breaker.remaining_backoff());
            }
            if !guard.undelivered.is_waiting() && self.has_ended(&guard) {
                return;
            }
        }
    }

    /// Lets another task begin. Returns `false` if something was added meanwhile and no other task
    /// has begun.
    fn has_ended(&mut self, guard: &StoreGuard) -> bool {
        guard.is_delivering.store(false, Ordering::SeqCst);
        self.is_ended = !guard.undelivered.is_waiting() || guard.is_delivering.swap(true, Ordering::SeqCst);
        self.is_ended
    }
}

impl Drop for DeliveryTask {
    fn drop(&mut self) {
        // The runtime may be shutting down, so no other task begins here. The next operation begins
        // one.
        if let (false, Some(guard)) = (self.is_ended, self.guard.upgrade()) {
            guard.is_delivering.store(false, Ordering::SeqCst);
        }
    }
}
