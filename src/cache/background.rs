//! Background work: work that may continue after the response is sent.
//! [`Cache::shutdown`](crate::cache::Cache::shutdown) awaits it.
//!
//! - A drain reads a body to its end for the store alone, because no client reads it.
//! - A detached fetch runs in its own task, so that it survives a disconnect of its client.
//! - A refresh fetches a new response while clients get the stale one (RFC 5861 section 3).
//! - A confirmation is a refresh that sends only keyed fields. It runs if the response to a visitor
//!   should replace a stored response, but is not stored. It shows whether an unkeyed field of the
//!   visitor's request was the cause.
//! - An encoding makes an encoded variant of a stored response on a blocking thread.
//! - A background write changes a store outside the process.
//!
//! A field of a request is keyed if it is part of the key or nominated by `Vary`. All other fields
//! are unkeyed.

use super::contradictions::{Contradictions, Mismatches, UnkeyedFieldsDigest};
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::flight::{HitForMiss, HitForMissReason, WorkCounter, WorkGuard, WorkPermit};
use crate::key::KeyRef;
use crate::waker_relay::relay_waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The most drains at a time.
const MAX_DRAINS: u32 = 64;

/// The most detached fetches at a time. Further fetches run in the task of their request.
const MAX_DETACHED: u32 = 1024;

/// The most encoded variants that are made at a time. Each takes a thread, and one core.
const MAX_ENCODINGS: u32 = 2;
/// The most responses that wait for an eager encoder.
const MAX_WAITING_ENCODINGS: u32 = 1024;

/// The most background writes that a shutdown waits for.
const MAX_WRITES: u32 = 1 << 20;

/// How long a key stays in [`Background::keyed_only`].
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
    /// old one. After a failure, the cache does not refresh the page for ten seconds. This does not
    /// apply to a failure that an unkeyed field of the request may have caused. Such a field is
    /// neither in the key nor in `Vary`.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }
}

/// The outcome of a background refresh.
///
/// ```text
/// running ─┬─ new response, or old one removed ──► Succeeded
///          ├─ failed with unkeyed fields ────────► RetryKeyedOnly: next sends only keyed fields
///          └─ failed ────────────────────────────► Failed: no refresh for ten seconds
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefreshEnd {
    /// The refresh led to a new response, or removed the old one.
    Succeeded,
    Failed,
    /// The refresh failed, and an unkeyed field may have caused the failure. The next refresh of
    /// the key sends only keyed fields.
    RetryKeyedOnly,
}

/// The permits and counters of background work, shared by all handles of a cache.
pub(super) struct Background {
    drains: Arc<Semaphore>,
    refreshes: Arc<Semaphore>,
    detached: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    encodings: Arc<Semaphore>,
    waiting_encodings: Arc<Semaphore>,
    /// `true` once a shutdown has begun. The responses that wait are then not encoded.
    is_shutting_down: AtomicBool,
    /// Counts the work that holds a permit, and the work of [`begin_work`](Self::begin_work).
    work: Arc<WorkCounter>,
    /// The number of permits in `refreshes`.
    max_refreshes: u32,
    /// The keys whose refresh failed within the last ten seconds. A key whose failure an unkeyed
    /// field may have caused is in `keyed_only` instead.
    recent_failures: HitForMiss,
    /// The keys whose next refresh sends only keyed fields.
    keyed_only: HitForMiss,
    /// The keys for which a confirmation began within the last ten seconds.
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
            encodings: Arc::new(Semaphore::new(MAX_ENCODINGS as usize)),
            waiting_encodings: Arc::new(Semaphore::new(MAX_WAITING_ENCODINGS as usize)),
            is_shutting_down: AtomicBool::new(false),
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

    /// Returns a permit for a drain, or `None` if [`MAX_DRAINS`] are in use. A shutdown takes all
    /// permits.
    pub(super) fn drain_permit(&self) -> Option<WorkPermit> {
        self.permit_of(&self.drains)
    }

    /// Returns a permit for a detached fetch, or `None` if [`MAX_DETACHED`] are in use. A shutdown
    /// takes all permits.
    pub(super) fn detach_permit(&self) -> Option<WorkPermit> {
        self.permit_of(&self.detached)
    }

    /// Returns a permit to make an encoded variant, or `None` if [`MAX_ENCODINGS`] are in use. A
    /// shutdown takes all permits.
    pub(super) fn encoding_permit(&self) -> Option<WorkPermit> {
        self.permit_of(&self.encodings)
    }

    /// Returns a place among the responses that wait for an eager encoder, or `None` if all
    /// [`MAX_WAITING_ENCODINGS`] places are in use. A shutdown takes all places.
    pub(super) fn place_for_encoding(&self) -> Option<WorkPermit> {
        self.permit_of(&self.waiting_encodings)
    }

    /// Waits for a permit to make encoded variants. Returns `None` once a shutdown has begun.
    pub(super) async fn wait_for_encoding(&self) -> Option<WorkPermit> {
        let permit = Arc::clone(&self.encodings).acquire_owned().await.ok()?;
        let may_begin = !self.is_shutting_down.load(Ordering::Relaxed);
        may_begin.then(|| WorkPermit::new(Some(permit), &self.work))
    }

    /// Counts a background write until the returned permit is dropped.
    pub(super) fn begin_write(&self) -> WorkPermit {
        WorkPermit::new(Arc::clone(&self.writes).try_acquire_owned().ok(), &self.work)
    }

    /// Counts work that its caller awaits, such as a warm-up. [`wait_idle`](Self::wait_idle) waits
    /// for such work, but a shutdown does not.
    pub(super) fn begin_work(&self) -> WorkGuard {
        self.work.begin()
    }

    fn permit_of(&self, permits: &Arc<Semaphore>) -> Option<WorkPermit> {
        let permit = Arc::clone(permits).try_acquire_owned().ok()?;
        Some(WorkPermit::new(Some(permit), &self.work))
    }

    /// Returns a permit for a refresh, or `None` if no refresh of the key may start now.
    pub(super) fn refresh_permit(&self, key: KeyRef<'_>, now: Moment) -> Option<WorkPermit> {
        if self.recent_failures.get(key, now).is_some() {
            return None;
        }
        self.permit_of(&self.refreshes)
    }

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

    /// Returns a permit for a confirmation, or `None` if no confirmation for the key may start now.
    /// Refreshes use the same permits.
    pub(super) fn confirmation_permit(&self, key: KeyRef<'_>, now: Moment) -> Option<WorkPermit> {
        if self.confirmed.get(key, now).is_some() {
            return None;
        }
        let permit = self.permit_of(&self.refreshes)?;
        self.confirmed.remember(key, HitForMissReason::Uncacheable, now);
        Some(permit)
    }

    /// Returns `true` if the next refresh of the key must send only keyed fields.
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

    pub(super) fn allows_refreshes(&self) -> bool {
        self.max_refreshes > 0
    }

    /// See [`Contradictions::add`].
    pub(super) fn add_contradiction(
        &self,
        key: KeyRef<'_>,
        stored: Moment,
        fields: UnkeyedFieldsDigest,
        now: Moment,
    ) -> bool {
        self.contradictions.add(key, stored, fields, now)
    }

    pub(super) fn note_mismatch(&self, key: KeyRef<'_>, stored: &StoredResponse) {
        self.mismatches.add(key, stored);
    }

    pub(super) fn is_mismatched(&self, key: KeyRef<'_>, stored: &StoredResponse) -> bool {
        self.mismatches.contains(key, stored)
    }

    pub(super) async fn wait_idle(&self) {
        self.work.wait_idle().await;
    }

    /// Waits for the work that holds a permit. Afterwards, only writes get a permit.
    pub(super) async fn shut_down(&self) {
        self.is_shutting_down.store(true, Ordering::Relaxed);
        let all = [
            (&self.detached, MAX_DETACHED),
            (&self.refreshes, self.max_refreshes),
            (&self.drains, MAX_DRAINS),
            (&self.waiting_encodings, MAX_WAITING_ENCODINGS),
            (&self.encodings, MAX_ENCODINGS),
        ];
        let mut held = Vec::new();
        for (permits, most) in all {
            // An error means that another shutdown has closed the semaphore, after it had waited
            // for all permits.
            held.extend(relay_waker(permits.acquire_many(most)).await);
        }
        // The writes are awaited last, because the other work may start writes.
        drop(relay_waker(self.writes.acquire_many(MAX_WRITES)).await);
        all.iter().for_each(|(permits, _)| permits.close());
    }
}
