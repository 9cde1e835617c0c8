//! Locks that outlive a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What panicked under a lock has left nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
