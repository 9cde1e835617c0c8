//! The verdict of the outermost layer on whether an inner layer may store its response. The verdict
//! is open until one of these events:
//!
//! ```text
//!          Decider::decide(Admitted)
//! Open ─┬───────────────────────────────► Decided(Admitted)
//!       ├─ Decider::decide(Refused), or
//!       │  Decider dropped ─────────────► Decided(Refused)
//!       └─ Decider dropped in a panic,
//!          or LayerPosition dropped ────► Decided(Abandoned)
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The decision of the outermost layer on a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    Refused,
    /// The request was dropped, or a panic occurred, before the outermost layer had the response.
    Abandoned,
}

type ParkedWork = Box<dyn FnOnce(Verdict) + Send>;

enum DecisionState {
    Open(Vec<ParkedWork>),
    Decided(Verdict),
}

/// A verdict that may be undecided. Work that depends on the verdict is parked here until the
/// decision, and runs without the lock.
#[derive(Clone)]
pub(crate) struct PendingVerdict(Arc<Mutex<DecisionState>>);

impl PendingVerdict {
    /// Runs work when the verdict is decided, or immediately if it already is.
    pub(crate) fn when_decided(&self, work: impl FnOnce(Verdict) + Send + 'static) {
        let verdict = match &mut *self.lock() {
            DecisionState::Open(parked) => return parked.push(Box::new(work)),
            DecisionState::Decided(verdict) => *verdict,
        };
        work(verdict);
    }

    /// Returns `true` if the verdict is decided and forbids storing the response.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(&*self.lock(), DecisionState::Decided(Verdict::Refused | Verdict::Abandoned))
    }

    /// Returns `true` if the verdict is undecided.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.lock(), DecisionState::Open(_))
    }

    /// Sets the verdict, and runs the parked work in order. Has no effect if the verdict is already
    /// decided.
    pub(super) fn decide(&self, verdict: Verdict) {
        let mut state = self.lock();
        let DecisionState::Open(parked) = &mut *state else { return };
        let parked = std::mem::take(parked);
        *state = DecisionState::Decided(verdict);
        drop(state);
        parked.into_iter().for_each(|work| work(verdict));
    }

    fn lock(&self) -> MutexGuard<'_, DecisionState> {
        // Nothing panics under this lock, so it is never poisoned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PendingVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingVerdict").field("refused", &self.is_refused()).finish()
    }
}

/// The right to decide a verdict. If it is dropped undecided, the verdict is
/// [`Refused`](Verdict::Refused), or [`Abandoned`](Verdict::Abandoned) during a panic.
#[derive(Debug)]
pub(crate) struct Decider(PendingVerdict);

impl Decider {
    /// Creates an undecided verdict, and the right to decide it.
    pub(crate) fn new() -> Self {
        Self(PendingVerdict(Arc::new(Mutex::new(DecisionState::Open(Vec::new())))))
    }

    /// Returns a handle to the verdict. Work that depends on the verdict is parked in the handle.
    pub(crate) fn pending(&self) -> PendingVerdict {
        self.0.clone()
    }

    /// Decides, unless the verdict is already decided.
    pub(crate) fn decide(&self, verdict: Verdict) {
        self.0.decide(verdict);
    }
}

impl Drop for Decider {
    fn drop(&mut self) {
        let verdict = if std::thread::panicking() { Verdict::Abandoned } else { Verdict::Refused };
        self.0.decide(verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn record_verdict(pending: &PendingVerdict) -> mpsc::Receiver<Verdict> {
        let (sender, receiver) = mpsc::channel();
        pending.when_decided(move |verdict| sender.send(verdict).expect("the receiver exists"));
        receiver
    }

    #[test]
    fn work_waits_for_the_first_decision_and_runs_once() {
        let decider = Decider::new();
        let early = record_verdict(&decider.pending());
        assert!(early.try_recv().is_err());
        decider.decide(Verdict::Admitted);
        decider.decide(Verdict::Refused);
        let late = record_verdict(&decider.pending());
        for noted in [early, late] {
            assert_eq!(noted.iter().collect::<Vec<_>>(), [Verdict::Admitted]);
        }
        assert!(!decider.pending().is_refused());
    }

    #[test]
    fn a_dropped_decider_refuses() {
        let decider = Decider::new();
        let (pending, noted) = (decider.pending(), record_verdict(&decider.pending()));
        drop(decider);
        assert_eq!(noted.iter().collect::<Vec<_>>(), [Verdict::Refused]);
        assert!(pending.is_refused());
    }

    #[test]
    fn parked_work_may_park_more_work() {
        let decider = Decider::new();
        let pending = decider.pending();
        let (sender, receiver) = mpsc::channel();
        decider.pending().when_decided(move |_| {
            pending.when_decided(move |verdict| sender.send(verdict).expect("the receiver exists"));
        });
        decider.decide(Verdict::Admitted);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [Verdict::Admitted]);
    }
}
