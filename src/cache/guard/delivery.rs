//! The delivery of invalidations that a store has not confirmed.

use super::breaker::{Requester, backoff};
use super::delivery_attempt::DeliveryAttempt;
use super::delivery_claim::{Acquisition, TaskNumber};
use super::store_guard::{GuardedOperation, StoreGuard};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// The pause after a delivery that the store has refused. It limits the rate of deliveries if the
/// store refuses many namespaces.
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
    /// The store has failed or was too slow, or its circuit is open. The invalidation counts in this
    /// process, which sends it again until the store confirms it. Other processes may serve the old
    /// responses until then. A process that ends loses its queued invalidations.
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
    /// The store has answered with an error that is not an outage.
    Refused,
    /// The store has failed, or the circuit is open.
    Failed,
    /// No delivery is due before this time.
    NotDue(Instant),
}

/// A task that sends the undelivered invalidations to the store. When the task ends, for any
/// reason, another task may begin.
struct DeliveryTask {
    guard: Weak<StoreGuard>,
    number: TaskNumber,
}

impl StoreGuard {
    /// Starts a delivery task, unless such a task already runs. Outside a tokio runtime, starts
    /// nothing: the next operation tries again.
    pub(super) fn start_delivery(self: &Arc<Self>) {
        if !self.undelivered.is_waiting() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        // If another task ends now, no invalidation is left behind: either `acquire` succeeds, or
        // that task sees the invalidation before it ends.
        let Some(Acquisition { task, takes_over }) = self.claim.acquire(Instant::now()) else { return };
        let task = DeliveryTask { guard: Arc::downgrade(self), number: task };
        runtime.spawn(task.run(takes_over));
    }

    /// Returns `true` if undelivered invalidations keep the circuit from closing. They do so only
    /// while a task delivers them. In a process without a runtime, which has no such task, the
    /// circuit would otherwise never close again.
    pub(super) fn holds_circuit(&self) -> bool {
        self.undelivered.holds_circuit() && self.claim.is_progressing(Instant::now())
    }

    /// Delivers the next batch.
    async fn deliver_next(&self, task: TaskNumber) -> DeliveryOutcome {
        let now = Instant::now();
        let Some(batch) = self.undelivered.next(now) else {
            return DeliveryOutcome::NotDue(self.undelivered.next_due().unwrap_or(now));
        };
        let Some(permit) = self.breaker.acquire(Requester::Delivery, true) else {
            return DeliveryOutcome::Failed;
        };
        let result = DeliveryAttempt { guard: self, batch: &batch, task }.run().await;
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
        self.end(GuardedOperation::Invalidation, permit, &result);
        let is_answered = matches!(outcome, DeliveryOutcome::Delivered | DeliveryOutcome::Refused);
        if is_answered && !self.holds_circuit() {
            self.breaker.close_if_half_open();
        }
        outcome
    }
}

impl DeliveryTask {
    /// Delivers until no invalidation waits, with growing pauses after failures. Ends early if the
    /// cache is dropped or another task takes over.
    async fn run(mut self, takes_over: bool) {
        let mut pauses = backoff();
        let mut pause = pauses.next().unwrap_or_default();
        // A task that takes over does not pause first. The application may poll the runtime only
        // for single operations, so the task may never run again after a pause.
        let mut skips_pause = takes_over;
        loop {
            if self.report(pause).is_none() {
                return;
            }
            if !std::mem::take(&mut skips_pause) {
                tokio::time::sleep(pause).await;
            }
            let Some(guard) = self.report(Duration::ZERO) else { return };
            let outcome = guard.deliver_next(self.number).await;
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
                self.report(due.saturating_duration_since(Instant::now()));
                // The wait ends early if another namespace gets an invalidation.
                let _ = tokio::time::timeout_at(due, added.notified()).await;
            }
        }
    }

    /// Reports that the task runs, and that it now waits for the time `wait`. Returns `None` if the
    /// cache was dropped or another task has the claim.
    fn report(&self, wait: Duration) -> Option<Arc<StoreGuard>> {
        let guard = self.guard.upgrade()?;
        guard.claim.report(self.number, Instant::now(), wait).then_some(guard)
    }

    /// Releases the claim, so that another task may begin. Returns `false` if this task must
    /// continue: an invalidation was added meanwhile, and no other task has begun.
    fn has_ended(&mut self, guard: &StoreGuard) -> bool {
        guard.claim.release(self.number);
        if !guard.undelivered.is_waiting() {
            return true;
        }
        let acquired = guard.claim.acquire(Instant::now());
        self.number = acquired.map_or(self.number, |acquired| acquired.task);
        acquired.is_none()
    }
}

impl Drop for DeliveryTask {
    fn drop(&mut self) {
        // The runtime may be shutting down, so no other task begins here. The next operation begins
        // one.
        if let Some(guard) = self.guard.upgrade() {
            guard.claim.lose(self.number);
        }
    }
}
