//! Changes that are asked for at the same time, and made as one.

use super::table::Record;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The changes of one record that somebody waits for. Whoever writes the record makes them all, so that those of one
/// process do not stand in each other's way: what makes one of them try again has mostly made its change, too. Nobody
/// is waited for: each tries by itself until its own is made, by whomever.
#[derive(Default)]
pub(super) struct Changes {
    waiting: Mutex<Vec<Arc<Change>>>,
}

/// What is to be done to the record, maybe several times until nobody interferes; and what is to be said then.
type Make = Box<dyn Fn(&mut Record) -> Tell + Send + Sync>;
type Tell = Box<dyn FnOnce() + Send>;

/// A change that somebody waits for.
pub(super) struct Change {
    make: Make,
    made: AtomicBool,
}

/// Changes that are made to a copy of the record, and not written yet.
pub(super) struct Attempt(Vec<(Arc<Change>, Tell)>);

/// Somebody's change among those that wait, and taken from there when it is dropped.
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

    /// Returns the changes that wait now.
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

    /// Tells those who wait for the changes that they are written.
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
    // Nothing panics under this lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
