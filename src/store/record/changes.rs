//! The changes of a record that concurrent tasks write together.

use super::table::Record;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The waiting changes of one record.
///
/// Each task that writes the record writes all waiting changes. A task tries until its own change
/// is written, by itself or by another task.
///
/// ```text
/// join ─> waiting ─> attempt ──written──> made (the result is set)
///            ^          │
///            └──failed──┘   dropping the ticket removes a change in any state
/// ```
#[derive(Default)]
pub(super) struct Changes {
    pending: Mutex<Vec<Arc<Change>>>,
}

/// Changes a copy of the record, and returns a function that sets the result once the copy is
/// written. Runs again if the copy could not be written.
type ApplyChange = Box<dyn Fn(&mut Record) -> SetResult + Send + Sync>;
type SetResult = Box<dyn FnOnce() + Send>;

/// A change that a task waits for.
pub(super) struct Change {
    apply: ApplyChange,
    is_written: AtomicBool,
}

/// An attempt to write the record: the changes that were applied to the copy to write, and the
/// functions that set their results.
pub(super) struct Attempt(Vec<(Arc<Change>, SetResult)>);

/// A handle of a task that waits for its change. Dropping the handle removes the change from the
/// pending changes.
pub(super) struct Ticket<'a> {
    changes: &'a Changes,
    change: Arc<Change>,
}

impl Changes {
    pub(super) fn add(&self, apply: impl Fn(&mut Record) -> SetResult + Send + Sync + 'static) -> Ticket<'_> {
        let change = Arc::new(Change { apply: Box::new(apply), is_written: AtomicBool::new(false) });
        lock(&self.pending).push(Arc::clone(&change));
        Ticket { changes: self, change }
    }

    /// Returns the changes that are waiting now.
    pub(super) fn pending(&self) -> Vec<Arc<Change>> {
        lock(&self.pending)
            .iter()
            .filter(|change| !change.is_written.load(Ordering::Acquire))
            .cloned()
            .collect()
    }
}

impl Attempt {
    pub(super) fn new(pending: Vec<Arc<Change>>, record: &mut Record) -> Self {
        let applied = pending.into_iter().map(|change| {
            let set_result = (change.apply)(record);
            (change, set_result)
        });
        Self(applied.collect())
    }

    /// Sets the results of the changes, after the copy was written.
    pub(super) fn set_results(self) {
        for (change, set_result) in self.0 {
            set_result();
            change.is_written.store(true, Ordering::Release);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.changes.pending).retain(|change| !Arc::ptr_eq(change, &self.change));
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("waiting", &lock(&self.pending).len()).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under this lock panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
