//! One waker for all who wait.

use super::lock;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

/// The wakers of all readers that wait.
#[derive(Default)]
pub(super) struct Wakers(Mutex<Vec<Option<Waker>>>);

impl Wakers {
    pub(super) fn register(&self, reader: usize, waker: &Waker) {
        let mut all = lock(&self.0);
        if all.len() <= reader {
            all.resize(reader + 1, None);
        }
        match &mut all[reader] {
            Some(known) => known.clone_from(waker),
            place => *place = Some(waker.clone()),
        }
    }

    pub(super) fn forget(&self, reader: usize) {
        if let Some(place) = lock(&self.0).get_mut(reader) {
            *place = None;
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let all = std::mem::take(&mut *lock(&self.0));
        all.into_iter().flatten().for_each(Waker::wake);
    }
}
