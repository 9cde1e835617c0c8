//! Work that goes on after its request was answered: bounded, counted, and waited for at the end.

use super::contradictions::{Contradictions, Mismatches, UnkeyedFields};
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::flight::{HitForMiss, HitForMissReason, WorkCounter, WorkGuard, WorkPermit};
use crate::key::KeyRef;
use crate::waker_relay::relay_waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// So many bodies are read at a time for the store alone.
const MOST_DRAINS: u32 = 64;

/// So many calls are made in tasks of their own at a time; others are their requests'.
const MOST_CARRIED: u32 = 1024;

/// So many writes to a store outside the process are counted at a time.
const MOST_WRITES: u32 = 1 << 20;

/// How long a failed refresh is remembered that an unkeyed field may be to blame for; the next refresh of the key ends that.
const BARE: Duration = Duration::from_secs(24 * 3600);

/// The number of background refreshes by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefreshStats {
    pub(super) running: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
}

impl RefreshStats {
    /// Returns the number of refreshes that run now.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.running
    }

    /// Returns the number of refreshes, since the cache was built, that led to a new response or removed the old one.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.succeeded
    }

    /// Returns the number of refreshes, since the cache was built, that left the old response unchanged: the service failed,
    /// panicked, timed out, or sent a response that does not apply to the page. The cache does not refresh the same page for some seconds
    /// after a failure.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }
}

/// How a refresh has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefreshEnd {
    /// It led to a new response, or removed the old one.
    Answered,
    Failed,
    /// An unkeyed field may be to blame: the next refresh goes without.
    RetriesBare,
}

pub(super) struct Background {
    drains: Arc<Semaphore>,
    refreshes: Arc<Semaphore>,
    carried: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    /// All of these, and the writes and warm-ups that other tasks wait for.
    under_way: Arc<WorkCounter>,
    most: u32,
    /// The keys that were tried in vain a moment ago.
    setbacks: HitForMiss,
    /// The keys whose next refresh carries keyed fields alone.
    bare: HitForMiss,
    /// The keys that were confirmed a moment ago.
    confirmed: HitForMiss,
    contradictions: Contradictions,
    mismatches: Mismatches,
    running: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Background {
    pub(super) fn new(most: u32) -> Self {
        Self {
            drains: Arc::new(Semaphore::new(MOST_DRAINS as usize)),
            refreshes: Arc::new(Semaphore::new(most as usize)),
            carried: Arc::new(Semaphore::new(MOST_CARRIED as usize)),
            writes: Arc::new(Semaphore::new(MOST_WRITES as usize)),
            under_way: Arc::default(),
            most,
            setbacks: HitForMiss::default(),
            bare: HitForMiss::lasting(BARE),
            confirmed: HitForMiss::default(),
            contradictions: Contradictions::default(),
            mismatches: Mismatches::default(),
            running: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Returns leave to read a body for the store alone, if not too many are.
    pub(super) fn drain_permit(&self) -> Option<WorkPermit> {
        self.permit_of(&self.drains)
    }

    /// Returns leave to carry a call on without its client, if not too many are.
    pub(super) fn carry_permit(&self) -> Option<WorkPermit> {
        self.permit_of(&self.carried)
    }

    /// Returns what a write in the background holds, for a shutdown to wait for. The write takes place in any case.
    pub(super) fn begin_write(&self) -> WorkPermit {
        WorkPermit::new(Arc::clone(&self.writes).try_acquire_owned().ok(), &self.under_way)
    }

    /// Counts work that another task waits for. A shutdown does not wait for it.
    pub(super) fn begin_work(&self) -> WorkGuard {
        self.under_way.begin()
    }

    fn permit_of(&self, permits: &Arc<Semaphore>) -> Option<WorkPermit> {
        let permit = Arc::clone(permits).try_acquire_owned().ok()?;
        Some(WorkPermit::new(Some(permit), &self.under_way))
    }

    /// Returns leave to make a response anew, if not too many are, and the last try was not in vain.
    pub(super) fn refresh_permit(&self, key: KeyRef<'_>, now: Moment) -> Option<WorkPermit> {
        if self.setbacks.get(key, now).is_some() {
            return None;
        }
        self.permit_of(&self.refreshes)
    }

    /// Counts one more refresh.
    pub(super) fn begin_refresh(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what came of a refresh.
    pub(super) fn refreshed(&self, key: KeyRef<'_>, end: RefreshEnd, now: Moment) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        match end {
            RefreshEnd::Answered => {
                self.setbacks.forget(key);
                self.bare.forget(key);
            }
            RefreshEnd::Failed => {
                self.bare.forget(key);
                self.setbacks.remember(key, HitForMissReason::Uncacheable, now);
            }
            RefreshEnd::RetriesBare => self.bare.remember(key, HitForMissReason::Uncacheable, now),
        }
        let counter = if end == RefreshEnd::Answered { &self.answered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns leave to confirm an answer, if not too many are and none was for this key a moment ago.
    pub(super) fn confirmation_permit(&self, key: KeyRef<'_>, now: Moment) -> Option<WorkPermit> {
        if self.confirmed.get(key, now).is_some() {
            return None;
        }
        let permit = self.permit_of(&self.refreshes)?;
        self.confirmed.remember(key, HitForMissReason::Uncacheable, now);
        Some(permit)
    }

    /// Returns `true` if the last refresh of a key failed by an unkeyed field, as far as is known.
    pub(super) fn is_bare_next(&self, key: KeyRef<'_>, now: Moment) -> bool {
        self.bare.get(key, now).is_some()
    }

    pub(super) fn counts(&self) -> RefreshStats {
        RefreshStats {
            running: self.running.load(Ordering::Relaxed),
            succeeded: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Returns `true` if any refresh may run.
    pub(super) fn allows_refreshes(&self) -> bool {
        self.most > 0
    }

    /// Notes an answer that contradicts a stored response. Returns `true` if it is the second one.
    pub(super) fn contradicts(
        &self,
        key: KeyRef<'_>,
        stored: Moment,
        fields: UnkeyedFields,
        now: Moment,
    ) -> bool {
        self.contradictions.add(key, stored, fields, now)
    }

    /// Notes that a 304 did not match a stored response.
    pub(super) fn note_mismatch(&self, key: KeyRef<'_>, stored: &StoredResponse) {
        self.mismatches.add(key, stored);
    }

    /// Returns `true` if a 304 did not match this stored response.
    pub(super) fn is_mismatched(&self, key: KeyRef<'_>, stored: &StoredResponse) -> bool {
        self.mismatches.contains(key, stored)
    }

    /// Waits for a moment at which nothing is under way.
    pub(super) async fn wait_idle(&self) {
        self.under_way.wait_idle().await;
    }

    /// Waits for what is under way, and begins nothing more.
    pub(super) async fn shut_down(&self) {
        let all = [(&self.carried, MOST_CARRIED), (&self.refreshes, self.most), (&self.drains, MOST_DRAINS)];
        let mut held = Vec::new();
        for (permits, most) in all {
            // Fails where somebody else has closed it already.
            held.extend(relay_waker(permits.acquire_many(most)).await);
        }
        // What the others led to; requests that are still answered may lead to more.
        drop(relay_waker(self.writes.acquire_many(MOST_WRITES)).await);
        all.iter().for_each(|(permits, _)| permits.close());
    }
}
