//! The admissions that wait for the outermost layer around a request.
//!
//! An admission is the decision of a cache layer to store a response.

use super::verdict::{PendingVerdict, Verdict};
use crate::waker_relay::relay_waker;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The held admissions of one request. An inner cache layer stores a response only after the
/// outermost layer has decided on it, and holds the admission until then.
#[derive(Debug, Default)]
pub(crate) struct HeldAdmissions {
    pending: Mutex<Vec<PendingVerdict>>,
    added: Notify,
}

/// The length of the list from which on [`HeldAdmissions::add`] removes decided verdicts.
const CLEANUP_LENGTH: usize = 16;

impl HeldAdmissions {
    pub(crate) fn add(&self, verdict: PendingVerdict) {
        let mut pending = self.lock();
        if pending.len() >= CLEANUP_LENGTH {
            pending.retain(PendingVerdict::is_open);
        }
        pending.push(verdict);
        drop(pending);
        self.added.notify_waiters();
    }

    /// Waits until an inner layer holds an undecided admission for this request.
    ///
    /// A follower then stops waiting for its leader, because the leader may itself wait for the
    /// decision on that admission.
    ///
    /// # Cancel safety
    /// This method is cancel safe.
    pub(crate) async fn wait_for_pending(&self) {
        loop {
            let mut added = pin!(self.added.notified());
            // Enabled before the check below, so that no addition after the check is missed.
            added.as_mut().enable();
            if self.lock().iter().any(PendingVerdict::is_open) {
                return;
            }
            relay_waker(added).await;
        }
    }

    pub(super) fn decide(&self, verdict: Verdict) {
        let pending = std::mem::take(&mut *self.lock());
        pending.iter().for_each(|each| each.decide(verdict));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PendingVerdict>> {
        // Nothing panics under this lock, so it is never poisoned.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
