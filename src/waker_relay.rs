//! Keeps the wakers of tasks away from the locks inside tokio's semaphores and notifications.
//!
//! tokio clones a task's waker while it holds such a lock. `Waker::clone` is foreign code: it may
//! run another task that needs the same lock, which would be a deadlock.

use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

pin_project! {
    /// The future of [`relay_waker`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct WakerRelay<F> {
        #[pin]
        wait: F,
        relay: Arc<TaskWaker>,
    }
}

/// Returns a future that polls `wait` with a waker of this crate. This waker wakes the task that
/// polled the future last.
pub(crate) fn relay_waker<F: Future>(wait: F) -> WakerRelay<F> {
    WakerRelay { wait, relay: Arc::default() }
}

impl<F: Future> Future for WakerRelay<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // The waker is registered before the poll, so that no wake-up is missed.
        this.relay.register(cx.waker());
        this.wait.poll(&mut Context::from_waker(&Waker::from(Arc::clone(this.relay))))
    }
}

/// Holds a task's waker, and never clones, wakes or drops it under the lock.
#[derive(Debug, Default)]
struct TaskWaker(Mutex<Option<Waker>>);

impl TaskWaker {
    fn register(&self, waker: &Waker) {
        let new = waker.clone();
        let before = self.replace(Some(new));
        drop(before);
    }

    fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        // Nothing panics under this lock.
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, waker)
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(waker) = self.replace(None) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    #[derive(Default)]
    struct WakeCount(AtomicUsize);

    impl Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn last_polling_task_is_woken_and_its_waker_dropped() {
        let [first, last] = [(); 2].map(|()| Arc::new(WakeCount::default()));
        let semaphore = Semaphore::new(0);
        let mut wait = pin!(relay_waker(semaphore.acquire()));
        for count in [&first, &last] {
            let waker = Waker::from(Arc::clone(count));
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&last)), (1, 2));
        semaphore.add_permits(1);
        assert_eq!((first.0.load(Ordering::Relaxed), last.0.load(Ordering::Relaxed)), (0, 1));
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(Arc::strong_count(&last), 1);
    }
}
