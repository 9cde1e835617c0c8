//! The waits between requests: handlers make requests, which wait for the calls of other requests.

use crate::key::CacheKey;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Chain>>> = const { RefCell::new(None) };
}

/// The most calls that a search for a cycle of waits follows.
const HOPS: usize = 16;

/// A request, and the one whose handler or body made it.
#[derive(Debug)]
pub(crate) struct Chain {
    parent: Option<Arc<Self>>,
    key: CacheKey,
    /// The leaders of all calls that requests made by its handler wait for.
    waits: Mutex<Vec<Weak<Self>>>,
}

/// A wait that the request is known for. Dropped, it is over.
#[derive(Debug)]
pub(crate) struct Wait {
    waiting: Option<Arc<Chain>>,
    leader: Weak<Chain>,
}

fn replace_current(chain: Option<Arc<Chain>>) -> Option<Arc<Chain>> {
    CURRENT.try_with(|current| current.replace(chain)).ok().flatten()
}

impl Chain {
    /// Creates a request for a key, as a child of the request whose handler or body runs on this thread.
    pub(crate) fn new(key: CacheKey) -> Arc<Self> {
        Arc::new(Self { parent: Self::current(), key, waits: Mutex::default() })
    }

    /// Creates a request that no other has made, wherever it is made.
    pub(crate) fn root(key: CacheKey) -> Arc<Self> {
        Arc::new(Self { parent: None, key, waits: Mutex::default() })
    }

    /// Returns the request whose handler or body runs on this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        // There are no thread-local values while a thread ends.
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// Does something for the request.
    pub(crate) fn enter<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        struct Entered(Option<Arc<Chain>>);
        impl Drop for Entered {
            fn drop(&mut self) {
                drop(replace_current(self.0.take()));
            }
        }
        let _entered = Entered(replace_current(Some(Arc::clone(self))));
        work()
    }

    /// Returns how many of the requests that led to this one are for the same key.
    pub(crate) fn repeats(&self) -> usize {
        self.ancestors().filter(|other| other.key == self.key).count()
    }

    /// Begins to wait for a leader; `None` if that waits for this request, directly or not.
    pub(crate) fn wait_for(&self, leader: &Weak<Self>) -> Option<Wait> {
        let wait = Wait { waiting: self.parent.clone(), leader: Weak::clone(leader) };
        // Known before it is looked for: of two who begin at once, one sees the other.
        self.ancestors().for_each(|each| each.lock().push(Weak::clone(leader)));
        (!self.is_awaited_by(leader)).then_some(wait)
    }

    /// Returns `true` if a leader waits for the requests that led to this one.
    fn is_awaited_by(&self, leader: &Weak<Self>) -> bool {
        let mut found: Vec<_> = leader.upgrade().into_iter().collect();
        let mut at = 0;
        while let Some(leader) = found.get(at).cloned() {
            // In doubt, it does not wait.
            if at == HOPS || self.ancestors().any(|own| std::ptr::eq(own, &*leader)) {
                return true;
            }
            for next in leader.lock().iter().filter_map(Weak::upgrade) {
                if found.len() <= HOPS && !found.iter().any(|known| Arc::ptr_eq(known, &next)) {
                    found.push(next);
                }
            }
            at += 1;
        }
        false
    }

    fn ancestors(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(self.parent.as_deref(), |each| each.parent.as_deref())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Self>>> {
        // Nothing panics under this lock.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let waiting = std::iter::successors(self.waiting.as_deref(), |each| each.parent.as_deref());
        for each in waiting {
            let mut waits = each.lock();
            if let Some(at) = waits.iter().position(|leader| leader.ptr_eq(&self.leader)) {
                waits.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyRef;

    fn request(key: &[u8]) -> Arc<Chain> {
        Chain::new(KeyRef::new(key).to_key())
    }

    fn of(parent: &Arc<Chain>, key: &[u8]) -> Arc<Chain> {
        parent.enter(|| request(key))
    }

    #[test]
    fn no_cycle_of_waits_begins() {
        let (a, b, c) = (request(b"a"), request(b"b"), request(b"c"));
        let own = of(&a, b"a").wait_for(&Arc::downgrade(&a));
        assert!(own.is_none(), "its own handler");
        let a_for_b = of(&a, b"b").wait_for(&Arc::downgrade(&b)).expect("no cycle");
        let b_for_c = of(&of(&b, b"x"), b"c").wait_for(&Arc::downgrade(&c)).expect("no cycle");
        assert!(of(&c, b"a").wait_for(&Arc::downgrade(&a)).is_none(), "a for b for c");
        drop(b_for_c);
        assert!(of(&c, b"a").wait_for(&Arc::downgrade(&a)).is_some());
        drop(a_for_b);
        assert!(a.lock().is_empty() && b.lock().is_empty() && c.lock().is_empty());
    }

    #[test]
    fn a_request_without_a_parent_may_always_wait() {
        let (a, b) = (request(b"a"), request(b"a"));
        assert!(b.wait_for(&Arc::downgrade(&a)).is_some());
        assert_eq!(b.repeats(), 0);
        assert_eq!(of(&of(&a, b"x"), b"a").repeats(), 1);
    }

    #[test]
    fn a_search_that_is_cut_short_finds_a_cycle() {
        let (a, asker) = (request(b"a"), request(b"asker"));
        let mut others: Vec<_> = (0..HOPS as u64 + 4).map(|number| request(&number.to_le_bytes())).collect();
        let waits: Vec<_> = others
            .iter()
            .map(|other| of(&a, b"x").wait_for(&Arc::downgrade(other)).expect("no cycle"))
            .collect();
        assert!(of(&asker, b"a").wait_for(&Arc::downgrade(&a)).is_none());
        others.truncate(3);
        drop(waits.into_iter().skip(3).collect::<Vec<_>>());
        // Many waits for the same one are one.
        let same: Vec<_> = (0..100).map(|_| of(&a, b"x").wait_for(&Arc::downgrade(&others[0]))).collect();
        assert!(same.iter().all(Option::is_some));
    }

    #[test]
    fn a_wait_that_is_refused_leaves_nothing_behind() {
        let a = request(b"a");
        assert!(of(&a, b"a").wait_for(&Arc::downgrade(&a)).is_none());
        assert!(a.lock().is_empty());
    }
}
