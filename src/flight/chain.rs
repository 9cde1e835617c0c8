//! Chains of nested requests and computations. The chains reveal loops and cyclic waits.
//!
//! A handler may send requests to its own site, and a computation may read other values. The
//! running request or computation is then the parent of the new one. A request that waits for a
//! flight led by one of its own ancestors would wait forever, because the ancestor waits for the
//! request. Two leaders that wait for each other's flights would also wait forever.

use crate::key::CacheKey;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

thread_local! {
    static CURRENT_CHAIN: RefCell<Option<Arc<Chain>>> = const { RefCell::new(None) };
}

/// The most leaders that a search for a cycle of waits visits.
const MAX_LEADERS_VISITED: usize = 16;

/// The most ancestors with the same key and the same fields that a request may have.
const MAX_IDENTICAL: usize = 1;

/// The most ancestors with the same key that a request may have. This limit ends loops that change
/// a field each time.
const MAX_SAME_KEY: usize = 16;

/// The most ancestors that compute the same value.
const MAX_COMPUTATIONS: usize = 3;

/// A request or a computation of a value, linked to its parent: the request or computation that
/// started it.
#[derive(Debug)]
pub(crate) struct Chain {
    parent: Option<Arc<Self>>,
    key: CacheKey,
    fields: FieldDigest,
    /// The leaders for which descendants of this request or computation wait. Its descendants are
    /// those that it has started, directly or indirectly. Dropping a [`Wait`] removes its leader
    /// from this list.
    waits: Mutex<Vec<Weak<Self>>>,
}

/// The digest of the fields of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldDigest {
    /// A computation or a [`root`](Chain::root) has no fields.
    None,
    /// A request without a parent cannot be a loop, so its digest is not computed. Its fields count
    /// as equal to those of any other request.
    NotComputed,
    Digest(u64),
}

impl FieldDigest {
    /// Returns `true` if an ancestor may have the same fields.
    fn may_equal(self, ancestor: Self) -> bool {
        self == ancestor || (self != Self::None && ancestor == Self::NotComputed)
    }
}

/// The registered wait of a follower for a leader. The search for cycles sees the wait until this
/// guard is dropped.
#[derive(Debug)]
pub(crate) struct Wait {
    /// The parent of the follower. The wait is registered with the parent and all its ancestors.
    waiting: Option<Arc<Chain>>,
    leader: Weak<Chain>,
}

/// Sets the current chain of this thread, and returns the previous one. Has no effect while the
/// thread ends.
fn replace_current(chain: Option<Arc<Chain>>) -> Option<Arc<Chain>> {
    CURRENT_CHAIN.try_with(|current| current.replace(chain)).ok().flatten()
}

impl Chain {
    /// Creates a request for a key, with a digest of its fields. Its parent is the chain that runs
    /// on this thread.
    #[cfg(test)]
    pub(crate) fn request(key: CacheKey, fields: u64) -> Arc<Self> {
        Self::request_of(Self::current(), key, || fields)
    }

    /// Creates a request for a key, with a parent. `fields` computes a digest of its fields.
    pub(crate) fn request_of(
        parent: Option<Arc<Self>>,
        key: CacheKey,
        fields: impl FnOnce() -> u64,
    ) -> Arc<Self> {
        let fields = match parent.is_some() {
            true => FieldDigest::Digest(fields()),
            false => FieldDigest::NotComputed,
        };
        Arc::new(Self { parent, key, fields, waits: Mutex::default() })
    }

    /// Creates a computation of a value. Its parent is the chain that runs on this thread.
    pub(crate) fn computation(key: CacheKey) -> Arc<Self> {
        Arc::new(Self { parent: Self::current(), key, fields: FieldDigest::None, waits: Mutex::default() })
    }

    /// Creates the request of a background refresh. It has no parent, because the refresh outlives
    /// the request that runs on this thread.
    pub(crate) fn root(key: CacheKey) -> Arc<Self> {
        Arc::new(Self { parent: None, key, fields: FieldDigest::None, waits: Mutex::default() })
    }

    /// Returns the chain that runs on this thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        // Thread-locals are inaccessible while a thread ends.
        CURRENT_CHAIN.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// Runs `work` with this chain as the current one of the thread.
    pub(crate) fn enter<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        struct EnteredChain(Option<Arc<Chain>>);
        impl Drop for EnteredChain {
            fn drop(&mut self) {
                drop(replace_current(self.0.take()));
            }
        }
        let _entered = EnteredChain(replace_current(Some(Arc::clone(self))));
        work()
    }

    /// Returns `true` if this chain is probably a loop: too many ancestors have the same key, the
    /// same key and fields, or compute the same value.
    pub(crate) fn is_loop(&self) -> bool {
        let (mut same_key, mut identical) = (0, 0);
        for other in self.ancestors().filter(|other| other.key == self.key) {
            same_key += 1;
            identical += usize::from(self.fields.may_equal(other.fields));
        }
        match self.fields {
            FieldDigest::None => identical > MAX_COMPUTATIONS,
            _ => identical > MAX_IDENTICAL || same_key > MAX_SAME_KEY,
        }
    }

    /// Registers a wait for a leader. Returns `None` if the wait could be a deadlock.
    pub(crate) fn wait_for(&self, leader: &Weak<Self>) -> Option<Wait> {
        let wait = Wait { waiting: self.parent.clone(), leader: Weak::clone(leader) };
        // Registered before the search. If two requests begin to wait for each other at the same
        // time, at least one of their searches finds the cycle.
        self.ancestors().for_each(|each| each.lock().push(Weak::clone(leader)));
        (!self.is_awaited_by(leader)).then_some(wait)
    }

    /// Returns `true` if a leader is an ancestor of this chain, or waits for an ancestor, directly
    /// or through other leaders.
    fn is_awaited_by(&self, leader: &Weak<Self>) -> bool {
        let mut found: Vec<_> = leader.upgrade().into_iter().collect();
        let mut at = 0;
        while let Some(leader) = found.get(at).cloned() {
            // A search that reaches its limit assumes a cycle.
            if at == MAX_LEADERS_VISITED || self.ancestors().any(|own| std::ptr::eq(own, &*leader)) {
                return true;
            }
            for next in leader.lock().iter().filter_map(Weak::upgrade) {
                if found.len() <= MAX_LEADERS_VISITED && !found.iter().any(|known| Arc::ptr_eq(known, &next))
                {
                    found.push(next);
                }
            }
            at += 1;
        }
        false
    }

    /// Returns the ancestors, the parent first.
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
        Chain::request(KeyRef::new(key).to_key(), 0)
    }

    fn of(parent: &Arc<Chain>, key: &[u8]) -> Arc<Chain> {
        parent.enter(|| request(key))
    }

    #[test]
    fn wait_that_would_close_a_cycle_is_refused() {
        let (a, b, c) = (request(b"a"), request(b"b"), request(b"c"));
        let own = of(&a, b"a").wait_for(&Arc::downgrade(&a));
        assert!(own.is_none(), "its own handler");
        let a_for_b = of(&a, b"b").wait_for(&Arc::downgrade(&b)).expect("no cycle");
        let b_for_c = of(&of(&b, b"x"), b"c").wait_for(&Arc::downgrade(&c)).expect("no cycle");
        assert!(of(&c, b"a").wait_for(&Arc::downgrade(&a)).is_none(), "a waits for b, and b for c");
        drop(b_for_c);
        assert!(of(&c, b"a").wait_for(&Arc::downgrade(&a)).is_some());
        drop(a_for_b);
        assert!(a.lock().is_empty() && b.lock().is_empty() && c.lock().is_empty());
    }

    #[test]
    fn a_request_without_a_parent_may_always_wait() {
        let (a, b) = (request(b"a"), request(b"a"));
        assert!(b.wait_for(&Arc::downgrade(&a)).is_some());
        assert!(!b.is_loop());
    }

    #[test]
    fn is_loop_beyond_the_limit_of_each_kind() {
        let key = || KeyRef::new(b"a").to_key();
        let once = of(&of(&request(b"a"), b"x"), b"a");
        assert!(!once.is_loop() && of(&of(&once, b"x"), b"a").is_loop());
        let mut last = Chain::request(key(), 0);
        let length = (1..).find(|&fields| {
            last = last.enter(|| Chain::request(key(), fields));
            last.is_loop()
        });
        assert_eq!(length, Some(MAX_SAME_KEY as u64 + 1));
        let mut last = Chain::computation(key());
        let length = (1..).find(|_| {
            last = last.enter(|| Chain::computation(key()));
            last.is_loop()
        });
        assert_eq!(length, Some(MAX_COMPUTATIONS + 1));
    }

    #[test]
    fn search_beyond_its_limit_assumes_a_cycle() {
        let (a, asker) = (request(b"a"), request(b"asker"));
        let mut others: Vec<_> =
            (0..MAX_LEADERS_VISITED as u64 + 4).map(|number| request(&number.to_le_bytes())).collect();
        let waits: Vec<_> = others
            .iter()
            .map(|other| of(&a, b"x").wait_for(&Arc::downgrade(other)).expect("no cycle"))
            .collect();
        assert!(of(&asker, b"a").wait_for(&Arc::downgrade(&a)).is_none());
        others.truncate(3);
        drop(waits.into_iter().skip(3).collect::<Vec<_>>());
        // In the search, several waits for the same leader count once.
        let same: Vec<_> = (0..100).map(|_| of(&a, b"x").wait_for(&Arc::downgrade(&others[0]))).collect();
        assert!(same.iter().all(Option::is_some));
    }

    #[test]
    fn refused_wait_is_not_registered() {
        let a = request(b"a");
        assert!(of(&a, b"a").wait_for(&Arc::downgrade(&a)).is_none());
        assert!(a.lock().is_empty());
    }
}
