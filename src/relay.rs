//! Keeps the wakers of tasks out of the locks of semaphores and notifications.
//!
//! tokio clones the waker of a task while it holds such a lock. `Waker::clone` is foreign code: it may run a task that
//! waits for the same lock.

use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

pin_project! {
    /// The future of [`relayed`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Relayed<F> {
        #[pin]
        wait: F,
        relay: Arc<Relay>,
    }
}

/// Waits with a waker of the crate, which wakes the task.
pub(crate) fn relayed<F: Future>(wait: F) -> Relayed<F> {
    Relayed { wait, relay: Arc::default() }
}

impl<F: Future> Future for Relayed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Before the poll, so that no wake-up is missed.
        this.relay.register(cx.waker());
        this.wait.poll(&mut Context::from_waker(&Waker::from(Arc::clone(this.relay))))
    }
}

/// The waker of a task. It is neither cloned, woken nor dropped under the lock.
#[derive(Debug, Default)]
struct Relay(Mutex<Option<Waker>>);

impl Relay {
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

impl Wake for Relay {
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
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_that_polled_last_is_woken_and_no_waker_is_left() {
        let [first, last] = [(); 2].map(|()| Arc::new(Count::default()));
        let semaphore = Semaphore::new(0);
        let mut wait = pin!(relayed(semaphore.acquire()));
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
