//! Changes that are asked for at the same time, and made as one.

use super::Record;
use futures_util::lock::Mutex as Turn;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The changes of one record that wait for their turn. Whoever has it makes them all, so that those of one
/// process never stand in each other's way: however many there are, none waits for more than the one that is
/// under way and the next.
#[derive(Default)]
pub(super) struct Changes {
    waiting: Mutex<Vec<Arc<Change>>>,
    pub(super) turn: Turn<()>,
}

/// What is to be done to the record, maybe several times until nobody interferes.
pub(super) struct Change {
    pub(super) make: Box<dyn Fn(&mut Record) + Send + Sync>,
    made: AtomicBool,
}

/// Somebody's change among those that wait, and taken from there when it is dropped.
pub(super) struct Place<'a> {
    changes: &'a Changes,
    change: Arc<Change>,
}

impl Changes {
    pub(super) fn join(&self, make: impl Fn(&mut Record) + Send + Sync + 'static) -> Place<'_> {
        let change = Arc::new(Change { make: Box::new(make), made: AtomicBool::new(false) });
        lock(&self.waiting).push(Arc::clone(&change));
        Place { changes: self, change }
    }

    /// Returns the changes that wait now.
    pub(super) fn waiting(&self) -> Vec<Arc<Change>> {
        lock(&self.waiting).clone()
    }

    /// Tells those who wait for these changes that they are made.
    pub(super) fn made(&self, changes: &[Arc<Change>]) {
        let mut waiting = lock(&self.waiting);
        for change in changes {
            change.made.store(true, Ordering::Release);
        }
        waiting.retain(|change| !change.is_made());
    }
}

impl Change {
    fn is_made(&self) -> bool {
        self.made.load(Ordering::Acquire)
    }
}

impl Place<'_> {
    /// Tells whether somebody else has made the change.
    pub(super) fn is_made(&self) -> bool {
        self.change.is_made()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_made() {
            lock(&self.changes.waiting).retain(|change| !Arc::ptr_eq(change, &self.change));
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("waiting", &lock(&self.waiting).len()).finish_non_exhaustive()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
