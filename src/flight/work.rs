//! Background work: a counter for callers that wait for its end, and permits that bound it.

use crate::waker_relay::relay_waker;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, OwnedSemaphorePermit};

/// The number of pieces of work that are under way.
#[derive(Debug, Default)]
pub(crate) struct WorkCounter {
    running: AtomicUsize,
    idle: Notify,
}

/// A piece of work, under way until the guard is dropped.
#[derive(Debug)]
pub(crate) struct WorkGuard(Arc<WorkCounter>);

/// Permission for one piece of background work. The work is under way until the permit is dropped.
#[derive(Debug)]
pub(crate) struct WorkPermit {
    /// `None` for a write that is counted without a permit, because all permits are in use.
    ///
    /// Declared before `_work`, so that it is dropped first. A caller that has waited for the end
    /// of the work then finds the permit free.
    _permit: Option<OwnedSemaphorePermit>,
    _work: WorkGuard,
}

impl WorkCounter {
    /// Counts one more piece of work.
    pub(crate) fn begin(self: &Arc<Self>) -> WorkGuard {
        self.running.fetch_add(1, Ordering::AcqRel);
        WorkGuard(Arc::clone(self))
    }

    /// Waits until no work is under way. Work that begins after that moment does not extend the
    /// wait.
    pub(crate) async fn wait_idle(&self) {
        // Created before the count is read, so that no notification after the read is missed.
        let idle = pin!(self.idle.notified());
        if self.running.load(Ordering::Acquire) > 0 {
            relay_waker(idle).await;
        }
    }
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl WorkPermit {
    pub(crate) fn new(permit: Option<OwnedSemaphorePermit>, counter: &Arc<WorkCounter>) -> Self {
        Self { _permit: permit, _work: counter.begin() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::Semaphore;

    #[test]
    fn wait_ends_at_the_first_idle_moment_and_not_before() {
        let counter = Arc::new(WorkCounter::default());
        assert!(counter.wait_idle().now_or_never().is_some(), "nothing is under way");
        let (first, second) = (counter.begin(), counter.begin());
        let mut waits = [(); 3].map(|()| Box::pin(counter.wait_idle()));
        drop(first);
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()));
        drop(second);
        // Work that begins after an idle moment is not waited for.
        let _third = counter.begin();
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_some()));
        assert!(counter.wait_idle().now_or_never().is_none());
    }

    #[test]
    fn waits_in_other_threads_end() {
        for _ in 0..200 {
            let counter = Arc::new(WorkCounter::default());
            let work = [(); 3].map(|()| counter.begin());
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| futures::executor::block_on(counter.wait_idle()));
                }
                work.into_iter().for_each(|guard| drop(scope.spawn(move || drop(guard))));
            });
        }
    }

    #[test]
    fn permit_is_free_once_its_work_is_done() {
        let (counter, permits) = (Arc::new(WorkCounter::default()), Arc::new(Semaphore::new(1)));
        let permit = Arc::clone(&permits).try_acquire_owned().ok();
        let work = WorkPermit::new(permit, &counter);
        assert_eq!((permits.available_permits(), counter.wait_idle().now_or_never()), (0, None));
        drop(work);
        assert_eq!((permits.available_permits(), counter.wait_idle().now_or_never()), (1, Some(())));
    }
}
