//! Background work, which continues after the response to the request that started it. It is
//! bounded and counted, and a shutdown awaits it.

use super::contradictions::{Contradictions, Mismatches, UnkeyedFieldsDigest};
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::flight::{HitForMiss, HitForMissReason, WorkCounter, WorkGuard, WorkPermit};
use crate::key::KeyRef;
use crate::waker_relay::relay_waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The most bodies that are read at a time only for the store.
const MAX_DRAINS: u32 = 64;

/// The most fetches that run at a time in a separate task, so that they survive a disconnect. Other
/// fetches run in the task of their request.
const MAX_DETACHED: u32 = 1024;

/// The most background writes to a store outside the process that a shutdown waits for. Further
/// writes take place, too.
const MAX_WRITES: u32 = 1 << 20;

/// How long the cache remembers that an unkeyed field may have caused the failure of a refresh. The
/// next refresh of the key ends this.
const KEYED_ONLY_TTL: Duration = Duration::from_secs(24 * 3600);

/// The number of background refreshes by outcome, over all namespaces.
/// [`Cache::refreshes`](crate::cache::Cache::refreshes) returns it.
#[doc(alias = "SWR")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefreshStats {
    pub(super) running: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
}

impl RefreshStats {
    /// Returns the number of refreshes that are running now.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.running
    }

    /// Returns the number of refreshes that led to a new response or removed the old one, since the
    /// cache was built.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.succeeded
    }

    /// Returns the number of refreshes that left the old response unchanged, since the cache was
    /// built.
    ///
    /// The service failed, panicked or timed out, or its response neither replaced nor removed the
    /// old one. The cache does not refresh the page for ten seconds after a failure, unless an
    /// unkeyed field may have caused it.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }
}

/// The outcome of a background refresh.
///
/// ```text
/// running ─┬─ new response, or old one removed ──► Succeeded
///          ├─ failed with unkeyed fields ────────► RetryKeyedOnly: next with only keyed fields
///          └─ failed ────────────────────────────► Failed: no refresh for ten seconds
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefreshEnd {
    /// The refresh led to a new response, or removed the old one.
    Succeeded,
    Failed,
    /// An unkeyed field may have caused the failure: the next refresh of the key carries only keyed
    /// fields.
    RetryKeyedOnly,
}

/// The permits and counters of background work, shared by all handles of a cache.
pub(super) struct Background {
    drains: Arc<Semaphore>,
    refreshes: Arc<Semaphore>,
    detached: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    /// Counts the work that holds these permits, and the writes and warm-ups that other tasks
    /// await.
    work: Arc<WorkCounter>,
    /// The number of permits in `refreshes`.
    max_refreshes: u32,
    /// The keys whose refresh failed within the last ten seconds.
    recent_failures: HitForMiss,
    /// The keys whose next refresh carries only keyed fields.
    keyed_only: HitForMiss,
    /// The keys for which a confirmation began within the last ten seconds: a request without
    /// unkeyed fields, to confirm an answer that is not stored.
    confirmed: HitForMiss,
    contradictions: Contradictions,
    mismatches: Mismatches,
    running: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Background {
    pub(super) fn new(max_refreshes: u32) -> Self {
        Self {
            drains: Arc::new(Semaphore::new(MAX_DRAINS as usize)),
            refreshes: Arc::new(Semaphore::new(max_refreshes as usize)),
            detached: Arc::new(Semaphore::new(MAX_DETACHED as usize)),
            writes: Arc::new(Semaphore::new(MAX_WRITES as usize)),
            work: Arc::default(),
            max_refreshes,
            recent_failures: HitForMiss::default(),
            keyed_only: HitForMiss::with_ttl(KEYED_ONLY_TTL),
            confirmed: HitForMiss::default(),
            contradictions: Contradictions::default(),
            mismatches: Mismatches::default(),
            running: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Returns a permit to read a body only for the store, if fewer than the limit are in use.
    pub(super) fn drain_permit(&self) -> Option<WorkPermit> {
        self.permit_of(&self.drains)
    }

    /// Returns a permit to continue a fetch after its client disconnects, if fewer than the limit
    /// are in use.
    pub(super) fn detach_permit(&self) -> Option<WorkPermit> {
        self.permit_of(&self.detached)
    }

    /// Counts a background write until the result is dropped. A shutdown waits for the write,
    /// unless as many writes as the limit were in progress.
    pub(super) fn begin_write(&self) -> WorkPermit {
        WorkPermit::new(Arc::clone(&self.writes).try_acquire_owned().ok(), &self.work)
    }

    /// Counts work that another task awaits. A shutdown does not wait for it.
    pub(super) fn begin_work(&self) -> WorkGuard {
        self.work.begin()
    }

    fn permit_of(&self, permits: &Arc<Semaphore>) -> Option<WorkPermit> {
        let permit = Arc::clone(permits).try_acquire_owned().ok()?;
        Some(WorkPermit::new(Some(permit), &self.work))
    }

    /// Returns a permit for a background refresh, if fewer refreshes and confirmations than the
    /// limit run and no refresh of this key failed within ten seconds.
    pub(super) fn refresh_permit(&self, key: KeyRef<'_>, now: Moment) -> Option<WorkPermit> {
        if self.recent_failures.get(key, now).is_some() {
            return None;
        }
        self.permit_of(&self.refreshes)
    }

    /// Counts the start of a refresh.
    pub(super) fn begin_refresh(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a refresh, and remembers a failure.
    pub(super) fn end_refresh(&self, key: KeyRef<'_>, end: RefreshEnd, now: Moment) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        match end {
            RefreshEnd::Succeeded => {
                self.recent_failures.forget(key);
                self.keyed_only.forget(key);
            }
            RefreshEnd::Failed => {
                self.keyed_only.forget(key);
                self.recent_failures.remember(key, HitForMissReason::Uncacheable, now);
            }
            RefreshEnd::RetryKeyedOnly => self.keyed_only.remember(key, HitForMissReason::Uncacheable, now),
        }
        let counter = if end == RefreshEnd::Succeeded { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns a permit to confirm an answer, if fewer refreshes and confirmations than the limit
    /// run and no confirmation for this key began within ten seconds.
    pub(super) fn confirmation_permit(&self, key: KeyRef<'_>, now: Moment) -> Option<WorkPermit> {
        if self.confirmed.get(key, now).is_some() {
            return None;
        }
        let permit = self.permit_of(&self.refreshes)?;
        self.confirmed.remember(key, HitForMissReason::Uncacheable, now);
        Some(permit)
    }

    /// Returns `true` if the last refresh of a key failed, possibly because of an unkeyed field.
    pub(super) fn is_keyed_only_next(&self, key: KeyRef<'_>, now: Moment) -> bool {
        self.keyed_only.get(key, now).is_some()
    }

    pub(super) fn stats(&self) -> RefreshStats {
        RefreshStats {
            running: self.running.load(Ordering::Relaxed),
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Returns `true` if background refreshes are enabled.
    pub(super) fn allows_refreshes(&self) -> bool {
        self.max_refreshes > 0
    }

    /// Records an answer that contradicts a stored response. Returns `true` if it is the second
    /// such answer.
    pub(super) fn add_contradiction(
        &self,
        key: KeyRef<'_>,
        stored: Moment,
        fields: UnkeyedFieldsDigest,
        now: Moment,
    ) -> bool {
        self.contradictions.add(key, stored, fields, now)
    }

    /// Records that a 304 did not match a stored response.
    pub(super) fn note_mismatch(&self, key: KeyRef<'_>, stored: &StoredResponse) {
        self.mismatches.add(key, stored);
    }

    /// Returns `true` if a 304 did not match this stored response.
    pub(super) fn is_mismatched(&self, key: KeyRef<'_>, stored: &StoredResponse) -> bool {
        self.mismatches.contains(key, stored)
    }

    /// Waits for a moment without work in progress.
    pub(super) async fn wait_idle(&self) {
        self.work.wait_idle().await;
    }

    /// Waits for the work in progress. Afterwards, only writes get a permit.
    pub(super) async fn shut_down(&self) {
        let all = [
            (&self.detached, MAX_DETACHED),
            (&self.refreshes, self.max_refreshes),
            (&self.drains, MAX_DRAINS),
        ];
        let mut held = Vec::new();
        for (permits, most) in all {
            // Fails if another shutdown has closed the semaphore.
            held.extend(relay_waker(permits.acquire_many(most)).await);
        }
        // Last, since the work above may have started writes. Writes that requests start from here
        // on are not awaited.
        drop(relay_waker(self.writes.acquire_many(MAX_WRITES)).await);
        all.iter().for_each(|(permits, _)| permits.close());
    }
}
