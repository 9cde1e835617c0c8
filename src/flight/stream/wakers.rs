//! One waker that wakes all readers that wait. The source is polled with it.

use super::lock::lock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

/// The wakers of all readers that wait, by the number of the reader. None of them is cloned, woken
/// or dropped under the lock, since a waker may run foreign code.
#[derive(Default)]
pub(super) struct Wakers {
    all: Mutex<Vec<Option<Waker>>>,
    woken: AtomicU64,
}

impl Wakers {
    pub(super) fn register(&self, reader: usize, waker: &Waker) {
        let is_known = |known: &Option<Waker>| known.as_ref().is_some_and(|known| known.will_wake(waker));
        if lock(&self.all).get(reader).is_some_and(is_known) {
            return;
        }
        let waker = waker.clone();
        let mut all = lock(&self.all);
        if all.len() <= reader {
            all.resize_with(reader + 1, || None);
        }
        let before = all[reader].replace(waker);
        drop(all);
        drop(before);
    }

    pub(super) fn forget(&self, reader: usize) {
        let before = lock(&self.all).get_mut(reader).and_then(Option::take);
        drop(before);
    }

    /// Returns how often the readers were woken so far.
    pub(super) fn woken(&self) -> u64 {
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        let all = std::mem::take(&mut *lock(&self.all));
        all.into_iter().flatten().for_each(Waker::wake);
    }
}
