//! Concurrent changes of a record, which are written together.

use super::table::Record;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The waiting changes of one record.
///
/// Each task that writes the record writes all waiting changes, so that tasks of one process do not
/// obstruct each other: if the write of a task fails, another task has usually written its change.
/// No task waits for another one. Each tries until its own change is written, by any task.
///
/// ```text
/// join ─> waiting ─> attempt ──written──> made (the result is set)
///            ^          │
///            └──failed──┘   dropping the ticket removes a change in any state
/// ```
#[derive(Default)]
pub(super) struct Changes {
    waiting: Mutex<Vec<Arc<Change>>>,
}

/// Changes a copy of the record. It runs again if another process interfered. Returns a function
/// that sets the result once the copy is written.
type Make = Box<dyn Fn(&mut Record) -> Tell + Send + Sync>;
type Tell = Box<dyn FnOnce() + Send>;

/// A change that a task waits for.
pub(super) struct Change {
    make: Make,
    made: AtomicBool,
}

/// Changes that are made to a copy of the record, which is not written yet.
pub(super) struct Attempt(Vec<(Arc<Change>, Tell)>);

/// A task's claim on a waiting change. Dropping it removes the change.
pub(super) struct Ticket<'a> {
    changes: &'a Changes,
    change: Arc<Change>,
}

impl Changes {
    pub(super) fn join(&self, make: impl Fn(&mut Record) -> Tell + Send + Sync + 'static) -> Ticket<'_> {
        let change = Arc::new(Change { make: Box::new(make), made: AtomicBool::new(false) });
        lock(&self.waiting).push(Arc::clone(&change));
        Ticket { changes: self, change }
    }

    /// Returns the changes that are waiting now.
    pub(super) fn waiting(&self) -> Vec<Arc<Change>> {
        lock(&self.waiting).iter().filter(|change| !change.made.load(Ordering::Acquire)).cloned().collect()
    }
}

impl Attempt {
    /// Makes changes to a copy of the record.
    pub(super) fn new(waiting: Vec<Arc<Change>>, record: &mut Record) -> Self {
        let made = waiting.into_iter().map(|change| {
            let tell = (change.make)(record);
            (change, tell)
        });
        Self(made.collect())
    }

    /// Sets the results of the changes, after the copy was written.
    pub(super) fn told(self) {
        for (change, tell) in self.0 {
            tell();
            change.made.store(true, Ordering::Release);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.changes.waiting).retain(|change| !Arc::ptr_eq(change, &self.change));
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("waiting", &lock(&self.waiting).len()).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under this lock panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
