//! Turns of tasks that change one number.

use crate::key::KeyRef;
use crate::waker_relay::relay_waker;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

/// Locks that serialize the changes of one number within a process, so that its tasks rarely contend.
///
/// Only numbers that were set need them: the store adds to counters by itself. Atomicity comes from the store
/// alone: a task that waits too long for its lock goes on without it.
#[derive(Debug)]
pub(super) struct NumberLocks([Mutex<()>; LOCKS]);

/// Numbers whose keys have the same hash share a lock.
const LOCKS: usize = 64;

impl Default for NumberLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl NumberLocks {
    /// Waits for the turn of a key, not longer than `limit`; without a timer, not at all.
    pub(super) async fn turn(&self, key: KeyRef<'_>, limit: Duration) -> Option<MutexGuard<'_, ()>> {
        let lock = &self.0[key.process_hash() as usize % LOCKS];
        match lock.try_lock() {
            Ok(turn) => Some(turn),
            // Without a timer, it might wait for ever.
            Err(_) if Handle::try_current().is_err() => None,
            Err(_) => timeout(limit, relay_waker(lock.lock())).await.ok(),
        }
    }
}
