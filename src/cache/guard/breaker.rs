//! The circuit breaker of a store: stops calls to a store that fails. One call at a time then finds
//! out whether the store works again.

use crate::key::KeyRef;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long the outcome of a call counts.
const WINDOW: Duration = Duration::from_secs(10);

/// The most outcomes that count. If more counted, the successes of a busy site would protect a store
/// that hangs.
const MAX_OUTCOMES: usize = 64;

/// The circuit opens only if at least this many of the counted outcomes are failures.
const MIN_FAILURES: usize = 5;

/// The shortest and the longest back-off: the time for which an open circuit refuses all calls. A
/// random jitter is added to the back-off.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// The time after which another probe may begin. A probe whose future is no longer polled never
/// ends by its own time limit.
const MAX_PROBE: Duration = Duration::from_secs(1);

/// The state of the circuit breaker between a [`Cache`](crate::cache::Cache) and a store outside
/// the process.
///
/// ```text
///       5 failures, half of the last 64 calls in 10 s
///    Closed ────────────────────────────────────────▶ Open ◀──┐
///       ▲                                              │      │ the probe fails: a longer back-off
///       │ the probe succeeds, and the store has        │ back-off passed
///       │ answered all undelivered invalidations       ▼      │
///       └──────────────────────────────────────── HalfOpen ───┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// The store is used.
    Closed,
    /// The store failed. No request waits for it: the layers forward all requests.
    Open,
    /// One operation at a time tests the store; all others are refused as in [`Open`](Self::Open).
    HalfOpen,
}

/// The kind of code that requests a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requester {
    /// An operation of a request or of the application.
    Operation,
    /// The delivery of undelivered invalidations. While invalidations wait and their delivery makes
    /// progress, only the delivery tests the store of an open circuit.
    Delivery,
}

#[derive(Debug)]
pub(super) struct Breaker {
    /// A copy of the state in `inner`. It lets a call begin without the lock while the circuit is
    /// closed.
    state: AtomicU8,
    /// How often the circuit has opened.
    openings: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: CircuitState,
    outcomes: Outcomes,
    backoff: ExponentialBackoff,
    /// The end of the back-off. An open circuit refuses all calls before this time.
    open_until: Instant,
    /// The number of the probe in progress. A late probe from an earlier half-open period has
    /// another number.
    probe: Option<u64>,
    last_probe: u64,
    /// The start of the last probe.
    probe_began: Instant,
}

/// The last outcomes of calls, in the order in which the calls ended.
#[derive(Debug, Default)]
struct Outcomes {
    /// The time at which each call ended, and whether the call failed.
    last: VecDeque<(Instant, bool)>,
    failures: usize,
}

/// Permission for one call of the store. If the permit is dropped without an outcome, the call
/// does not count.
#[derive(Debug)]
#[must_use]
pub(super) struct Permit {
    breaker: Arc<Breaker>,
    /// How often the circuit had opened when the call began.
    openings: u64,
    /// The number of the probe, if the call is one.
    probe: Option<u64>,
}

impl Breaker {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let inner = Inner {
            state: CircuitState::Closed,
            outcomes: Outcomes::default(),
            backoff: backoff(),
            open_until: now,
            probe: None,
            last_probe: 0,
            probe_began: now,
        };
        Self {
            state: AtomicU8::new(CircuitState::Closed as u8),
            openings: AtomicU64::new(0),
            inner: Mutex::new(inner),
        }
    }

    pub(super) fn state(&self) -> CircuitState {
        self.lock().state
    }

    /// Returns for how long an open circuit still refuses all calls, or zero in another state.
    pub(super) fn remaining_backoff(&self) -> Duration {
        let inner = self.lock();
        match inner.state {
            CircuitState::Open => inner.open_until.saturating_duration_since(Instant::now()),
            CircuitState::Closed | CircuitState::HalfOpen => Duration::ZERO,
        }
    }

    /// Returns permission for a call, or `None` if the circuit refuses the call.
    ///
    /// With `is_held`, only a delivery may probe the store, because invalidations are undelivered.
    pub(super) fn acquire(self: &Arc<Self>, caller: Requester, is_held: bool) -> Option<Permit> {
        if self.state.load(Ordering::Acquire) == CircuitState::Closed as u8 {
            return Some(self.permit(None));
        }
        let may_probe = caller == Requester::Delivery || !is_held;
        let now = Instant::now();
        let mut inner = self.lock();
        let is_probed = inner.probe.is_some() && now.saturating_duration_since(inner.probe_began) < MAX_PROBE;
        let change = match inner.state {
            CircuitState::Closed => return Some(self.permit(None)),
            CircuitState::Open if may_probe && now >= inner.open_until => {
                Some(self.set(&mut inner, CircuitState::HalfOpen))
            }
            CircuitState::HalfOpen if may_probe && !is_probed => None,
            CircuitState::Open | CircuitState::HalfOpen => return None,
        };
        inner.last_probe += 1;
        inner.probe = Some(inner.last_probe);
        inner.probe_began = now;
        let permit = self.permit(inner.probe);
        drop(inner);
        report(change);
        Some(permit)
    }

    fn permit(self: &Arc<Self>, probe: Option<u64>) -> Permit {
        Permit { breaker: Arc::clone(self), openings: self.openings.load(Ordering::Acquire), probe }
    }

    /// Closes the circuit if it is half-open. The caller knows that the store answers, and that no
    /// undelivered invalidation keeps the circuit from closing.
    pub(super) fn close_if_half_open(&self) {
        let change = self.close(&mut self.lock());
        report(change);
    }

    fn close(&self, inner: &mut Inner) -> Option<CircuitState> {
        if inner.state != CircuitState::HalfOpen {
            return None;
        }
        inner.outcomes = Outcomes::default();
        inner.backoff = backoff();
        Some(self.set(inner, CircuitState::Closed))
    }

    /// Changes the state, and returns it for [`report`].
    fn set(&self, inner: &mut Inner, state: CircuitState) -> CircuitState {
        inner.state = state;
        self.state.store(state as u8, Ordering::Release);
        state
    }

    fn open(&self, inner: &mut Inner, now: Instant) -> CircuitState {
        self.openings.fetch_add(1, Ordering::AcqRel);
        inner.open_until = now + inner.backoff.next().unwrap_or(MAX_BACKOFF);
        self.set(inner, CircuitState::Open)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Counts a call that the store answered. If the call is the current probe, closes the circuit.
    ///
    /// With `is_held`, the circuit stays half-open, because invalidations are undelivered.
    pub(super) fn succeeded(self, is_held: bool) {
        let mut inner = self.breaker.lock();
        self.count(&mut inner, Instant::now(), false);
        let closes = self.is_probing(&inner) && !is_held;
        let change = if closes { self.breaker.close(&mut inner) } else { None };
        drop(inner);
        report(change);
    }

    /// Counts a call that failed or timed out. Opens a closed circuit if too many calls failed.
    /// Opens a half-open circuit if the call is the current probe.
    pub(super) fn failed(self) {
        let now = Instant::now();
        let mut inner = self.breaker.lock();
        let opens = self.count(&mut inner, now, true) && inner.state == CircuitState::Closed;
        let reopens = self.is_probing(&inner) && inner.state == CircuitState::HalfOpen;
        let change = (opens || reopens).then(|| self.breaker.open(&mut inner, now));
        drop(inner);
        report(change);
    }

    /// Counts the outcome of the call. Returns `true` if too many of the last calls have failed.
    ///
    /// A call that began before the last opening of the circuit does not count, because its outcome
    /// may no longer describe the store.
    fn count(&self, inner: &mut Inner, now: Instant, has_failed: bool) -> bool {
        self.openings == self.breaker.openings.load(Ordering::Acquire)
            && inner.outcomes.count(now, has_failed)
    }

    /// Returns `true` if this call is the current probe: the one call that tests the store while
    /// the circuit is half-open.
    fn is_probing(&self, inner: &Inner) -> bool {
        self.probe.is_some() && self.probe == inner.probe
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe.is_none() {
            return;
        }
        let mut inner = self.breaker.lock();
        if self.is_probing(&inner) {
            inner.probe = None;
        }
    }
}

/// Emits the event of a change. Must be called without the lock: a subscriber is foreign code.
fn report(change: Option<CircuitState>) {
    match change {
        Some(CircuitState::Closed) => notice!("store circuit closed"),
        Some(CircuitState::Open) => notice!("store circuit opened"),
        Some(CircuitState::HalfOpen) => notice!("store circuit half-open"),
        None => {}
    }
}

impl Outcomes {
    /// Counts a call. Returns `true` if at least half of the last calls have failed, and at least
    /// [`MIN_FAILURES`] of them.
    fn count(&mut self, now: Instant, has_failed: bool) -> bool {
        self.last.push_back((now, has_failed));
        self.failures += usize::from(has_failed);
        while let Some((end, had_failed)) = self.last.front().copied()
            && (self.last.len() > MAX_OUTCOMES || now.saturating_duration_since(end) >= WINDOW)
        {
            self.last.pop_front();
            self.failures -= usize::from(had_failed);
        }
        self.failures >= MIN_FAILURES && self.failures >= self.last.len().div_ceil(2)
    }
}

/// Returns growing times to wait between tries, each with a jitter so that processes do not try in
/// step.
pub(super) fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        // Without a seed, the jitter would be the same in every process.
        .with_jitter_seed(KeyRef::new(b"jitter").process_hash())
        .with_min_delay(MIN_BACKOFF)
        .with_max_delay(MAX_BACKOFF)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests;
