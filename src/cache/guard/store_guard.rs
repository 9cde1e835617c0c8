//! The guard that the handles of one cache share.

use super::breaker::{Breaker, CircuitState, Permit, Requester};
use super::delivery_claim::DeliveryClaim;
use super::hidden_entries::HiddenEntries;
use super::undelivered::{QueuePosition, Undelivered};
use crate::cache::values::Name;
use crate::entry::{Dependency, Entry, Scope};
use crate::error::{StoreError, StoreErrorKind};
use crate::store::{Generations, Store, StoreFuture, Strength, Validity};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// How long the cache waits for a store outside the process.
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct StoreLimits {
    pub(in crate::cache) lookup: Duration,
    pub(in crate::cache) write: Duration,
    pub(in crate::cache) invalidation: Duration,
}

/// The kind of an operation, which decides its time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum GuardedOperation {
    Lookup,
    Write,
    Invalidation,
}

impl GuardedOperation {
    const ALL: [Self; 3] = [Self::Lookup, Self::Write, Self::Invalidation];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Write => "write",
            Self::Invalidation => "invalidation",
        }
    }
}

/// The store of a cache, with its time limits, its circuit breaker and the invalidations that it
/// has not confirmed.
#[derive(Debug)]
pub(in crate::cache) struct StoreGuard {
    /// The store itself, without the guard.
    store: Arc<dyn Store>,
    limits: StoreLimits,
    pub(super) breaker: Arc<Breaker>,
    pub(super) undelivered: Undelivered,
    /// The claim of the task that delivers the undelivered invalidations.
    pub(super) claim: DeliveryClaim,
    /// How often the store failed or did not answer in time, by operation.
    failures: [AtomicU64; GuardedOperation::ALL.len()],
}

impl StoreGuard {
    pub(in crate::cache) fn new(store: Arc<dyn Store>, limits: StoreLimits) -> Arc<Self> {
        Arc::new(Self {
            store,
            limits,
            breaker: Arc::new(Breaker::new()),
            undelivered: Undelivered::default(),
            claim: DeliveryClaim::default(),
            failures: Default::default(),
        })
    }

    pub(in crate::cache) fn is_local(&self) -> bool {
        self.store.is_local()
    }

    /// Returns the store itself.
    pub(super) fn unguarded(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(in crate::cache) fn circuit(&self) -> CircuitState {
        self.breaker.state()
    }

    /// Returns how often the store failed or did not answer in time, with the name of each operation.
    pub(in crate::cache) fn failures(&self) -> [(&'static str, u64); GuardedOperation::ALL.len()] {
        GuardedOperation::ALL
            .map(|operation| (operation.as_str(), self.failures[operation as usize].load(Ordering::Relaxed)))
    }

    /// Counts a failure of the store.
    pub(in crate::cache) fn count_failure(&self, operation: GuardedOperation) {
        self.failures[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::cache) fn limits(&self) -> StoreLimits {
        self.limits
    }

    /// Returns the number of undelivered invalidations.
    pub(in crate::cache) fn undelivered(&self) -> usize {
        self.undelivered.count()
    }

    /// Returns `true` if any invalidation is undelivered. Entries are then also checked against the
    /// undelivered invalidations.
    #[inline]
    pub(in crate::cache) fn has_undelivered(&self) -> bool {
        self.undelivered.is_any()
    }

    /// Returns the validity of an entry according to the undelivered invalidations.
    pub(in crate::cache) fn validity(
        self: &Arc<Self>,
        namespace: &str,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> Validity {
        if !self.has_undelivered() {
            return Validity::Valid;
        }
        self.start_delivery();
        self.undelivered.validity(namespace, scopes, dependencies)
    }

    /// Returns the entries of a value that look-ups must not return, because a removal of the value
    /// or an invalidation of all values is undelivered.
    pub(in crate::cache) fn hidden_entries(self: &Arc<Self>, namespace: &str, name: &Name) -> HiddenEntries {
        if !self.has_undelivered() {
            return HiddenEntries::None;
        }
        self.start_delivery();
        self.undelivered.hidden_entries(namespace, name)
    }

    /// Returns the position of the last queued invalidation, for a write that begins now. Returns
    /// [`QueuePosition::START`] if all invalidations are delivered.
    pub(in crate::cache) fn queue_position(&self) -> QueuePosition {
        match self.has_undelivered() {
            true => self.undelivered.position(),
            false => QueuePosition::START,
        }
    }

    /// Makes an undelivered removal of a value leave `entry` in place, if the removal was queued
    /// before `begun`. `begun` is the queue position at which the write of `entry` began.
    pub(in crate::cache) fn spare(&self, namespace: &str, name: &Name, begun: QueuePosition, entry: &Entry) {
        if begun != QueuePosition::START {
            self.undelivered.spare(namespace, name, begun, entry);
        }
    }

    /// Keeps an invalidation that the store has not confirmed. It counts in this process from now
    /// on, and is delivered as soon as the store answers. `value` names a value to remove.
    pub(in crate::cache) fn keep(
        self: &Arc<Self>,
        namespace: &str,
        generations: &Arc<dyn Generations>,
        scopes: &[Scope],
        strength: Strength,
        value: Option<&Name>,
    ) {
        self.undelivered.add(namespace, generations, scopes, strength, value);
        self.start_delivery();
    }

    /// Runs one operation of the store, within its time limit. If the circuit breaker gives no
    /// permit, returns an error and does not call the store.
    pub(super) fn run<T: Send + 'static>(
        self: &Arc<Self>,
        operation: GuardedOperation,
        call: impl FnOnce() -> StoreFuture<T>,
    ) -> StoreFuture<T> {
        self.start_delivery();
        let holds_circuit = self.holds_circuit();
        let Some(permit) = self.breaker.acquire(Requester::Operation, holds_circuit) else {
            return StoreFuture::ready(Err(StoreError::new(StoreErrorKind::CircuitOpen)));
        };
        match call().now() {
            Ok(result) => {
                self.end(operation, permit, &result);
                StoreFuture::ready(result)
            }
            Err(future) => {
                let guard = Arc::clone(self);
                StoreFuture::new(async move {
                    let result = guard.with_timeout(operation, future).await;
                    guard.end(operation, permit, &result);
                    result
                })
            }
        }
    }

    pub(super) fn end<T>(&self, operation: GuardedOperation, permit: Permit, result: &Result<T, StoreError>) {
        if result.as_ref().is_err_and(|error| error.kind().is_failure()) {
            self.count_failure(operation);
        }
        match result {
            Err(error) if error.kind().is_outage() => {
                // The circuit of a store inside the process never opens.
                if !self.is_local() {
                    permit.failed();
                }
            }
            _ => permit.succeeded(self.holds_circuit()),
        }
    }

    /// Waits for the store within the time limit of the operation. Outside a tokio runtime, there is
    /// no timer and no limit.
    pub(super) async fn with_timeout<T>(
        &self,
        operation: GuardedOperation,
        future: StoreFuture<T>,
    ) -> Result<T, StoreError> {
        if Handle::try_current().is_err() {
            return future.await;
        }
        let limit = match operation {
            GuardedOperation::Lookup => self.limits.lookup,
            GuardedOperation::Write => self.limits.write,
            GuardedOperation::Invalidation => self.limits.invalidation,
        };
        match tokio::time::timeout(limit, future).await {
            Ok(result) => result,
            Err(elapsed) => Err(StoreError::new(StoreErrorKind::TimedOut).with_source(elapsed)),
        }
    }
}
