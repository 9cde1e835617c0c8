//! The delivery of invalidations that a store has not confirmed.

use super::breaker::{Requester, backoff};
use super::store_guard::{GuardedOperation, StoreGuard};
use super::undelivered::Batch;
use crate::cache::values::{Name, value_key};
use crate::entry::{Entry, EntryKind};
use crate::error::StoreError;
use crate::key::{CacheKey, KeyRef};
use crate::store::{StoreFuture, Strength};
use futures_util::future::try_join_all;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// The most scopes or values in one operation of the store, so that each ends within the time
/// limit.
const CHUNK: usize = 256;

/// The pause after a delivery that the store has refused. It limits the rate for many namespaces.
const REFUSAL_PAUSE: Duration = Duration::from_millis(10);

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

/// The end of one delivery.
enum DeliveryOutcome {
    Delivered,
    /// The store has answered with an error that is no failure.
    Refused,
    /// The store has failed, or the circuit is open.
    Failed,
    /// No delivery is due before this time.
    NotDue(Instant),
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

    /// Delivers the next batch.
    async fn deliver_next(&self) -> DeliveryOutcome {
        let now = Instant::now();
        let Some(batch) = self.undelivered.next(now) else {
            return DeliveryOutcome::NotDue(self.undelivered.next_due().unwrap_or(now));
        };
        let Some(permit) = self.breaker.acquire(Requester::Delivery, true) else {
            return DeliveryOutcome::Failed;
        };
        let result = self.deliver(&batch).await;
        let outcome = match &result {
            Ok(()) => DeliveryOutcome::Delivered,
            Err(error) if error.kind().is_outage() => DeliveryOutcome::Failed,
            Err(_) => DeliveryOutcome::Refused,
        };
        match outcome {
            DeliveryOutcome::Delivered => self.undelivered.delivered(&batch),
            DeliveryOutcome::Refused => self.undelivered.refuse(&batch, Instant::now()),
            DeliveryOutcome::Failed | DeliveryOutcome::NotDue(_) => self.undelivered.postpone(&batch),
        }
        self.end(permit, &result);
        let is_answered = matches!(outcome, DeliveryOutcome::Delivered | DeliveryOutcome::Refused);
        if is_answered && !self.undelivered.holds_circuit() {
            self.breaker.close_if_half_open();
        }
        outcome
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
            let found = self.timed(self.unguarded().get_many(&keys)).await?;
            let found = found.into_iter().chain(std::iter::repeat(None));
            let values = values.iter().zip(keys).zip(found);
            let removals =
                values.map(|((value, key), found)| self.remove_value(&batch.namespace, value, key, found));
            try_join_all(removals).await?;
        }
        Ok(())
    }

    /// Removes the entry that was found under the key of a value. An entry that was stored since the
    /// removal was queued stays, even if it is stored during the removal.
    async fn remove_value(
        &self,
        namespace: &str,
        value: &Name,
        key: KeyRef<'_>,
        found: Option<Entry>,
    ) -> Result<(), StoreError> {
        let is_spared = |found: Option<&Entry>| {
            found.is_some_and(|found| self.undelivered.hidden_entries(namespace, value).spares(found))
        };
        if is_spared(found.as_ref()) {
            return Ok(());
        }
        let store = self.unguarded();
        // Also if nothing was found: another version of this crate may be able to read the entry.
        let any = found.clone().unwrap_or(Entry(EntryKind::Counter(0)));
        let removed = store.compare_and_set(key, found.as_ref(), any, Some(Duration::ZERO));
        if self.timed(removed).await? || is_spared(self.timed(store.get(key)).await?.as_ref()) {
            return Ok(());
        }
        self.timed(store.remove(key)).await.map(drop)
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
            let outcome = guard.deliver_next().await;
            if !guard.undelivered.is_waiting() && self.has_ended(&guard) {
                return;
            }
            pause = match outcome {
                DeliveryOutcome::Failed => {
                    pauses.next().unwrap_or_default().max(guard.breaker.remaining_backoff())
                }
                DeliveryOutcome::Delivered | DeliveryOutcome::NotDue(_) => Duration::ZERO,
                DeliveryOutcome::Refused => REFUSAL_PAUSE,
            };
            if matches!(outcome, DeliveryOutcome::Delivered | DeliveryOutcome::Refused) {
                pauses = backoff();
            }
            if let DeliveryOutcome::NotDue(due) = outcome {
                let added = guard.undelivered.added();
                drop(guard);
                // An invalidation of another namespace does not wait for the back-off of this one.
                let _ = tokio::time::timeout_at(due, added.notified()).await;
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
