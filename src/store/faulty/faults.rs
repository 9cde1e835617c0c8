//! The faults of a faulty store, and the handle that switches them.

use super::operation::Operation;
use crate::store::{StoreError, StoreErrorKind, StoreFuture};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A fault of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // Later versions may add faults.
pub enum Fault {
    /// The operation fails with [`StoreErrorKind::Unavailable`], without an effect.
    Error,
    /// The operation takes effect and then fails with [`StoreErrorKind::Unavailable`], as if the
    /// reply of the backend were lost.
    ErrorAfter,
    /// The operation never completes and has no effect.
    Hang,
    /// The operation takes effect and never completes.
    HangAfter,
    /// The operation has no effect, but is reported as done. A look-up finds nothing. An increment
    /// returns the initial value plus the delta. Without an initial value, it returns the delta.
    /// `check` and `check_at` find every entry valid. `current`, `cleared`, `cleared_at` and
    /// `depend` return [`Generation::new(0, 0)`](crate::store::Generation::new).
    ///
    /// The cache cannot notice this fault for an invalidation, and serves the old entries.
    Lost,
    /// A look-up returns an outdated entry: the entry before the last write under the key. If no
    /// such entry is known, the look-up returns the current entry. Operations other than look-ups
    /// have no fault.
    ///
    /// Only a `put` or `put_many` through this wrapper counts as a write, even if it fails. The
    /// wrapper remembers the entries of 256 keys. At the next key, the wrapper forgets the key that
    /// it has remembered longest.
    Outdated,
    /// The operation is delayed before and after its effect.
    Delay {
        /// The time before the effect.
        before: Duration,
        /// The time from the effect to the completion.
        after: Duration,
    },
}

/// A handle that switches the faults of a [`FaultyStore`](super::FaultyStore). Clones switch the same faults.
///
/// # Example
/// ```
/// use tower_response_cache::store::faulty::{Fault, FaultyStore, Operation};
/// use tower_response_cache::store::{Entry, KeyRef, MemoryStore, PutMode, Store};
///
/// # futures::executor::block_on(async {
/// let store = FaultyStore::new(MemoryStore::with_max_bytes(1 << 20));
/// let (faults, key) = (store.faults(), KeyRef::new(b"flavours"));
/// faults.set(Operation::Write, Fault::Lost);
/// assert!(store.put(key, Entry::raw("vanilla"), None, PutMode::Always).await?);
/// assert_eq!(store.get(key).await?, None);
/// faults.set_all(Fault::Error);
/// assert!(store.get(key).await.is_err());
/// faults.clear();
/// assert_eq!(store.get(key).await?, None);
/// assert_eq!((faults.calls(Operation::Write), faults.calls(Operation::Lookup)), (1, 3));
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<FaultTable>>);

#[derive(Debug, Default)]
struct FaultTable {
    /// The fault of each operation, at the index `operation as usize`.
    faults: [Option<Fault>; Operation::ALL.len()],
    calls: [u64; Operation::ALL.len()],
}

impl Faults {
    /// Sets the fault of an operation, in place of its earlier fault.
    pub fn set(&self, operation: Operation, fault: Fault) {
        self.lock().faults[operation as usize] = Some(fault);
    }

    /// Sets the same fault for every operation.
    pub fn set_all(&self, fault: Fault) {
        Operation::ALL.into_iter().for_each(|operation| self.set(operation, fault));
    }

    /// Ends the fault of an operation.
    pub fn unset(&self, operation: Operation) {
        self.lock().faults[operation as usize] = None;
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.lock().faults = Default::default();
    }

    /// Returns the fault of an operation.
    #[must_use]
    pub fn get(&self, operation: Operation) -> Option<Fault> {
        self.lock().faults[operation as usize]
    }

    /// Returns how often an operation was called, with and without a fault. An operation on several
    /// entries counts once.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.lock().calls[operation as usize]
    }

    /// Counts a call of an operation, and returns the fault of the operation.
    fn begin(&self, operation: Operation) -> Option<Fault> {
        let mut state = self.lock();
        state.calls[operation as usize] += 1;
        state.faults[operation as usize]
    }

    /// Runs an operation with its fault. `lost` is the result to report for [`Fault::Lost`].
    pub(super) fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        lost: T,
        work: impl FnOnce() -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        match self.begin(operation) {
            None | Some(Fault::Outdated) => work(),
            Some(Fault::Error) => StoreFuture::ready(Err(unavailable())),
            Some(Fault::Lost) => StoreFuture::ready(Ok(lost)),
            Some(Fault::Hang) => StoreFuture::new(pending()),
            Some(Fault::ErrorAfter) => match work().now() {
                Ok(result) => StoreFuture::ready(result.and_then(|_| Err(unavailable()))),
                Err(future) => StoreFuture::new(async move { future.await.and_then(|_| Err(unavailable())) }),
            },
            Some(Fault::HangAfter) => StoreFuture::new(async move {
                let _ = work().await;
                pending().await
            }),
            Some(Fault::Delay { before, after }) => StoreFuture::new(async move {
                tokio::time::sleep(before).await;
                let result = work().await;
                tokio::time::sleep(after).await;
                result
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, FaultTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable)
}
