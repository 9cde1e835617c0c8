//! Locks that serialize increments of a number that was set as a value.

use crate::key::KeyRef;
use crate::waker_relay::relay_waker;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

/// Locks that serialize the increments of one number within a process.
///
/// Only numbers that were set as values need a lock, since the store increments counters itself. An
/// increment of a value is a compare-and-set, which is atomic, but fails if another task changes
/// the value at the same time. The locks make such failures rare. A task that waits too long for a
/// lock continues without it.
#[derive(Debug)]
pub(super) struct NumberLocks([Mutex<()>; LOCKS]);

/// The number of locks. The hash of a key selects its lock, so some keys share a lock.
const LOCKS: usize = 64;

/// The most times that a thread outside a tokio runtime yields to the holder of a lock.
const YIELDS: usize = 1_000;

impl Default for NumberLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl NumberLocks {
    /// Locks the number of a key. If another task holds the lock, returns `None` after `limit`.
    /// Outside a tokio runtime, returns `None` after [`YIELDS`] attempts.
    pub(super) async fn lock(&self, key: KeyRef<'_>, limit: Duration) -> Option<MutexGuard<'_, ()>> {
        let lock = &self.0[key.process_hash() as usize % LOCKS];
        match lock.try_lock() {
            Ok(guard) => Some(guard),
            // Without a timer, an asynchronous wait could be endless.
            Err(_) if Handle::try_current().is_err() => (0..YIELDS).find_map(|_| {
                std::thread::yield_now();
                lock.try_lock().ok()
            }),
            Err(_) => timeout(limit, relay_waker(lock.lock())).await.ok(),
        }
    }
}
