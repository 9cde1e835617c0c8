//! An exact table of scopes that grows without moving any of them.

use super::usage::Usage;
use crate::store::Scope;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Scopes, each with marks of its own. A scope that is in it stays.
///
/// It is made of segments, each of four times the size of the one before and allocated when that is full. Nothing is
/// copied into a new segment, so readers need no lock: a scope is in one segment, and stays there.
pub(super) struct Names<M, const SEGMENTS: usize> {
    segments: [OnceLock<Box<[Slot<M>]>>; SEGMENTS],
    len: AtomicUsize,
}

type Slot<M> = (OnceLock<Scope>, M);

/// How many scopes the first segment holds.
const FIRST: usize = 4;

/// Returns how many scopes a segment holds. It has twice as many slots, so that a search soon meets an empty one.
const fn room(segment: usize) -> usize {
    FIRST << (2 * segment)
}

fn search<M>(slots: &[Slot<M>], hash: u64) -> impl Iterator<Item = &Slot<M>> {
    let first = hash as usize % slots.len();
    slots[first..].iter().chain(&slots[..first])
}

impl<M: Default, const SEGMENTS: usize> Names<M, SEGMENTS> {
    /// How many scopes it holds at most.
    pub(super) const MOST: usize = (room(SEGMENTS) - FIRST) / 3;

    pub(super) fn is_empty(&self) -> bool {
        self.segments[0].get().is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len.load(Ordering::SeqCst) >= Self::MOST
    }

    pub(super) fn get(&self, scope: Scope, hash: u64) -> Option<&M> {
        self.segments.iter().map_while(OnceLock::get).find_map(|slots| {
            search(slots, hash)
                .map_while(|(name, marks)| Some((name.get()?, marks)))
                .find_map(|(name, marks)| (*name == scope).then_some(marks))
        })
    }

    /// Returns the marks of a scope, new ones if there is room. Only the one whose turn it is calls this.
    pub(super) fn get_or_add(&self, scope: Scope, hash: u64, usage: &Usage) -> Option<&M> {
        let known = self.get(scope, hash);
        if known.is_some() || self.is_full() {
            return known;
        }
        let (name, marks) = search(self.segment(usage)?, hash).find(|(name, _)| name.get().is_none())?;
        name.set(scope).ok()?;
        self.len.fetch_add(1, Ordering::SeqCst);
        Some(marks)
    }

    /// Returns the segment that the next scope belongs in.
    fn segment(&self, usage: &Usage) -> Option<&[Slot<M>]> {
        let mut rest = self.len.load(Ordering::SeqCst);
        let at = (0..SEGMENTS).find(|at| match rest.checked_sub(room(*at)) {
            Some(more) => {
                rest = more;
                false
            }
            None => true,
        })?;
        Some(self.segments[at].get_or_init(|| usage.allocate(2 * room(at))))
    }
}

impl<M, const SEGMENTS: usize> Default for Names<M, SEGMENTS> {
    fn default() -> Self {
        Self { segments: std::array::from_fn(|_| OnceLock::new()), len: AtomicUsize::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_scope_is_found_in_its_place_until_the_table_is_full() {
        let usage = Usage::new(0, &Arc::default());
        let names = Names::<AtomicUsize, 3>::default();
        let scope = |number: usize| Scope::tag(&number.to_string());
        // The worst hash of all: every search begins at one slot.
        for hash_of in [|_: usize| 7_u64, |number: usize| number as u64 * 0x9e37_79b9] {
            let names = Names::<AtomicUsize, 3>::default();
            for number in 0..100 {
                let added = names.get_or_add(scope(number), hash_of(number), &usage);
                assert_eq!(added.is_some(), number < 84, "{number}");
                added.into_iter().for_each(|marks| marks.store(number, Ordering::SeqCst));
                assert_eq!(names.is_full(), number >= 83);
                for known in 0..=number.min(83) {
                    let marks = names.get(scope(known), hash_of(known)).expect("it stays");
                    assert_eq!(marks.load(Ordering::SeqCst), known);
                }
                assert!(names.get(scope(number + 1), hash_of(number + 1)).is_none());
            }
        }
        assert!(names.is_empty() && !names.is_full());
    }

    #[test]
    fn a_table_takes_memory_by_the_scopes_in_it() {
        let usage = Usage::new(0, &Arc::default());
        let names = Names::<(), 6>::default();
        assert_eq!(usage.bytes(), 0);
        for number in 0..Names::<(), 6>::MOST {
            let scope = Scope::tag(&number.to_string());
            assert!(names.get_or_add(scope, number as u64, &usage).is_some());
            assert!(usage.bytes() <= (number + 1) * 10 * size_of::<Slot<()>>(), "{number}");
        }
    }
}
