//! Dependencies that arrive late: reads in progress, and bodies that a page reads frame by frame.

use super::tracking::{Tracker, current, lock};
use crate::entry::Dependencies;
use std::sync::{Arc, Mutex, Weak};

/// A read of a value that has begun and is not recorded as a dependency yet.
///
/// No request joins a body with a pending read: the read may have returned a value that was changed
/// since.
#[derive(Debug)]
pub(crate) struct PendingRead(Arc<Mutex<Dependencies>>);

impl PendingRead {
    /// Starts a read, if reads are tracked on this thread.
    pub(crate) fn begin() -> Option<Self> {
        let reads = current()?;
        lock(&reads).begin_read();
        Some(Self(reads))
    }
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        lock(&self.0).end_read();
    }
}

/// Passes the dependencies of a body to the page that reads it.
#[derive(Debug, Default)]
pub(crate) struct DependencyRelay {
    /// The page, and the change counts of the body's and of the page's dependencies right after the
    /// dependencies were last passed on.
    last_passed: Option<(Weak<Mutex<Dependencies>>, u64, u64)>,
    /// Present while the page waits for a frame.
    waiting: Option<PendingRead>,
}

impl DependencyRelay {
    /// Marks whether the page waits for a frame.
    pub(crate) fn set_waiting(&mut self, is_waiting: bool) {
        match is_waiting {
            true => self.waiting = self.waiting.take().or_else(PendingRead::begin),
            false => self.waiting = None,
        }
    }

    /// Passes the dependencies on, unless the page has them already: neither they nor the page's
    /// own have changed since the last call. So most frames need no merge.
    pub(crate) fn pass_on(&mut self, body: &Tracker) {
        let Some(own) = &body.reads else { return };
        let changes = lock(own).changes();
        if changes == 0 {
            return;
        }
        let Some(page) = current() else { return };
        let is_passed = |(seen, passed, after): &(Weak<_>, u64, u64)| {
            *passed == changes && seen.as_ptr() == Arc::as_ptr(&page) && *after == lock(&page).changes()
        };
        if self.last_passed.as_ref().is_some_and(is_passed) {
            return;
        }
        let reads = lock(own).clone();
        let after = {
            let mut page = lock(&page);
            page.merge(&reads);
            page.changes()
        };
        self.last_passed = Some((Arc::downgrade(&page), changes, after));
    }
}
