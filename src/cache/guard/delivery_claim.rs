//! Which task delivers the undelivered invalidations, and whether it still runs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How late a task may report before another task takes over.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// The longest wait that a report can announce. A report shortens a longer wait to this time.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// The right to deliver, which one task at a time holds. The task reports before each wait, so that
/// another task can replace a silent one. A task is silent if its runtime is no longer polled: such
/// a runtime neither runs nor drops its tasks.
///
/// ```text
///          acquire            report
///   free ──────────▶ claimed ─────────▶ claimed until the end of the wait and 5 s
///    ▲                  │                          │
///    └─ release, lose ──┴──────────────────────────┴── silent: the next `acquire` takes over
/// ```
#[derive(Debug, Default)]
pub(super) struct DeliveryClaim(Mutex<ClaimState>);

#[derive(Debug, Default)]
struct ClaimState {
    holder: Option<Holder>,
    last_task: u64,
    /// Set when a task is dropped with the claim, or replaced because it was silent. Cleared by the
    /// next report of a task.
    has_lost_task: bool,
}

#[derive(Debug)]
struct Holder {
    task: TaskNumber,
    /// The time from which the task counts as silent.
    silent_from: Instant,
}

/// The number of a task that has acquired the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaskNumber(u64);

/// An acquired claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acquisition {
    pub(super) task: TaskNumber,
    /// Whether the task replaces a silent one.
    pub(super) takes_over: bool,
}

impl DeliveryClaim {
    /// Gives the claim to a new task. Returns `None` if another task has the claim and is not
    /// silent.
    pub(super) fn acquire(&self, now: Instant) -> Option<Acquisition> {
        let mut state = self.lock();
        if state.is_held(now) {
            return None;
        }
        let takes_over = state.holder.is_some();
        state.has_lost_task |= takes_over;
        state.last_task += 1;
        let task = TaskNumber(state.last_task);
        state.holder = Some(Holder { task, silent_from: now + MAX_SILENCE });
        Some(Acquisition { task, takes_over })
    }

    /// Reports that a task runs and now waits for the time `wait`. The task has to report again
    /// within [`MAX_SILENCE`] after the wait. Returns `false` if the task no longer has the claim.
    pub(super) fn report(&self, task: TaskNumber, now: Instant, wait: Duration) -> bool {
        let mut state = self.lock();
        let Some(holder) = state.holder.as_mut().filter(|holder| holder.task == task) else { return false };
        holder.silent_from = now + wait.min(MAX_WAIT) + MAX_SILENCE;
        state.has_lost_task = false;
        true
    }

    /// Ends the claim of a task that has delivered everything.
    pub(super) fn release(&self, task: TaskNumber) {
        self.lock().remove(task);
    }

    /// Ends the claim of a task that is dropped.
    pub(super) fn lose(&self, task: TaskNumber) {
        let mut state = self.lock();
        state.has_lost_task |= state.remove(task);
    }

    /// Returns `true` if a task has the claim and is not silent.
    ///
    /// A task that replaces a dropped or silent task counts only after its first report. Until
    /// then, nothing shows that its runtime is polled.
    pub(super) fn is_progressing(&self, now: Instant) -> bool {
        let state = self.lock();
        state.is_held(now) && !state.has_lost_task
    }

    fn lock(&self) -> MutexGuard<'_, ClaimState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClaimState {
    fn is_held(&self, now: Instant) -> bool {
        self.holder.as_ref().is_some_and(|holder| now < holder.silent_from)
    }

    /// Removes the claim of a task. Returns `false` if the task has none.
    fn remove(&mut self, task: TaskNumber) -> bool {
        self.holder.take_if(|holder| holder.task == task).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const WAIT: Duration = Duration::from_secs(20);
    const MS: Duration = Duration::from_millis(1);

    fn acquire(claim: &DeliveryClaim) -> Option<Acquisition> {
        claim.acquire(Instant::now())
    }

    fn report(claim: &DeliveryClaim, task: TaskNumber) -> bool {
        claim.report(task, Instant::now(), WAIT)
    }

    fn is_progressing(claim: &DeliveryClaim) -> bool {
        claim.is_progressing(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn one_task_at_a_time_has_the_claim() {
        let claim = DeliveryClaim::default();
        assert!(!is_progressing(&claim), "no task");
        let first = acquire(&claim).expect("free");
        assert!(!first.takes_over && is_progressing(&claim));
        assert_eq!(acquire(&claim), None);
        claim.release(first.task);
        assert!(!is_progressing(&claim));
        let second = acquire(&claim).expect("free");
        claim.release(first.task);
        claim.lose(first.task);
        assert!(is_progressing(&claim) && !report(&claim, first.task) && report(&claim, second.task));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_task_is_replaced_after_its_wait() {
        let claim = DeliveryClaim::default();
        let first = acquire(&claim).expect("free");
        assert!(report(&claim, first.task));
        advance(WAIT + MAX_SILENCE - MS).await;
        assert!(acquire(&claim).is_none() && is_progressing(&claim));
        advance(MS).await;
        assert!(!is_progressing(&claim));
        let second = acquire(&claim).expect("silent");
        assert!(second.takes_over && !report(&claim, first.task));
        assert_eq!(acquire(&claim), None);
        assert!(report(&claim, second.task) && is_progressing(&claim));
    }

    #[tokio::test(start_paused = true)]
    async fn task_after_a_lost_one_progresses_from_its_first_report() {
        for is_dropped in [false, true] {
            let claim = DeliveryClaim::default();
            let mut last = acquire(&claim).expect("free");
            for _ in 0..3 {
                if is_dropped {
                    claim.lose(last.task);
                } else {
                    advance(MAX_SILENCE).await;
                }
                last = acquire(&claim).expect("free or silent");
                assert!(!is_progressing(&claim), "the new task has not reported yet");
            }
            assert!(report(&claim, last.task) && is_progressing(&claim));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn endless_wait_is_bounded() {
        let claim = DeliveryClaim::default();
        let task = acquire(&claim).expect("free").task;
        assert!(claim.report(task, Instant::now(), Duration::MAX));
        advance(MAX_WAIT + MAX_SILENCE).await;
        assert!(!is_progressing(&claim));
    }
}
