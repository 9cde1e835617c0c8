//! Reads in progress, and the transfer of dependencies from a cached body to the page that reads
//! the body.

use super::tracking::{Tracker, current, lock};
use crate::entry::Dependencies;
use std::sync::{Arc, Mutex, Weak};

/// A read in progress, whose dependency is not recorded yet.
///
/// No follower joins a body with a pending read, because the dependencies of the body are
/// incomplete.
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
    /// The page that last received dependencies, with two change counts of that time: one of the
    /// body and one of the page.
    last_passed: Option<(Weak<Mutex<Dependencies>>, u64, u64)>,
    /// The pending read of the page. Present while the page waits for a frame of the body.
    waiting: Option<PendingRead>,
}

impl DependencyRelay {
    /// Records whether the page waits for a frame of the body. A waiting page has a pending read.
    pub(crate) fn set_waiting(&mut self, is_waiting: bool) {
        match is_waiting {
            true => self.waiting = self.waiting.take().or_else(PendingRead::begin),
            false => self.waiting = None,
        }
    }

    /// Passes the dependencies of `body` to the page whose tracker is entered on this thread. Does
    /// nothing if no tracker is entered.
    ///
    /// A repeated call for the same page does nothing while the dependencies of the body and of the
    /// page are unchanged.
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
