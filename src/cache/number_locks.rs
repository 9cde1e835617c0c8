//! Locks that serialize changes of a number.

use crate::key::KeyRef;
use crate::waker_relay::relay_waker;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

/// Locks that serialize the changes of one number within a process, so that tasks rarely defeat
/// each other's compare-and-set.
///
/// Only numbers that were set as values need them: the store increments counters itself. The locks
/// only avoid failed tries: the compare-and-set makes a change atomic. A task that waits too long
/// for a lock continues without it.
#[derive(Debug)]
pub(super) struct NumberLocks([Mutex<()>; LOCKS]);

/// Numbers with the same key hash share a lock.
const LOCKS: usize = 64;

impl Default for NumberLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl NumberLocks {
    /// Locks the number of a key. Returns `None` after `limit`, or at once if there is no timer.
    pub(super) async fn lock(&self, key: KeyRef<'_>, limit: Duration) -> Option<MutexGuard<'_, ()>> {
        let lock = &self.0[key.process_hash() as usize % LOCKS];
        match lock.try_lock() {
            Ok(guard) => Some(guard),
            // Without a timer, the wait could be endless.
            Err(_) if Handle::try_current().is_err() => None,
            Err(_) => timeout(limit, relay_waker(lock.lock())).await.ok(),
        }
    }
}
