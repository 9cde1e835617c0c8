//! A table of scopes that grows without moving its entries.

use super::usage::Usage;
use crate::store::Scope;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A table that has data of type `M` for each scope, such as its [marks](super::marks::LocalMarks).
/// Scopes are never removed.
///
/// The table consists of segments. Each has four times the size of the previous one, and is
/// allocated once the previous one is full. Readers need no lock, since a scope never moves to
/// another segment.
pub(super) struct Names<M, const SEGMENTS: usize> {
    segments: [OnceLock<Box<[NameSlot<M>]>>; SEGMENTS],
    len: AtomicUsize,
}

type NameSlot<M> = (OnceLock<Scope>, M);

/// The number of scopes that the first segment holds.
const FIRST_CAPACITY: usize = 4;

/// Returns the number of scopes that a segment holds. A segment has twice as many slots as scopes.
/// So even a full segment has empty slots, at which a search ends early.
const fn capacity(segment: usize) -> usize {
    FIRST_CAPACITY << (2 * segment)
}

fn probe<M>(slots: &[NameSlot<M>], hash: u64) -> impl Iterator<Item = &NameSlot<M>> {
    let first = hash as usize % slots.len();
    slots[first..].iter().chain(&slots[..first])
}

impl<M: Default, const SEGMENTS: usize> Names<M, SEGMENTS> {
    /// The most scopes that the table holds: the sum of the capacities of its segments.
    pub(super) const MAX_SCOPES: usize = (capacity(SEGMENTS) - FIRST_CAPACITY) / 3;

    pub(super) fn is_empty(&self) -> bool {
        self.segments[0].get().is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len.load(Ordering::SeqCst) >= Self::MAX_SCOPES
    }

    pub(super) fn get(&self, scope: Scope, hash: u64) -> Option<&M> {
        self.segments.iter().map_while(OnceLock::get).find_map(|slots| {
            probe(slots, hash)
                .map_while(|(name, marks)| Some((name.get()?, marks)))
                .find_map(|(name, marks)| (*name == scope).then_some(marks))
        })
    }

    /// Returns the data of a scope. Adds the scope if the table does not have it. Returns `None` if
    /// there is no room for a new scope. The caller holds the `write_lock` of the
    /// [`NamespaceTable`](super::table::NamespaceTable).
    pub(super) fn get_or_add(&self, scope: Scope, hash: u64, usage: &Usage) -> Option<&M> {
        let known = self.get(scope, hash);
        if known.is_some() || self.is_full() {
            return known;
        }
        let (name, marks) = probe(self.segment(usage)?, hash).find(|(name, _)| name.get().is_none())?;
        name.set(scope).ok()?;
        self.len.fetch_add(1, Ordering::SeqCst);
        Some(marks)
    }

    /// Returns the segment for the next new scope. Allocates the segment if this scope is its
    /// first.
    fn segment(&self, usage: &Usage) -> Option<&[NameSlot<M>]> {
        let mut rest = self.len.load(Ordering::SeqCst);
        let at = (0..SEGMENTS).find(|at| match rest.checked_sub(capacity(*at)) {
            Some(more) => {
                rest = more;
                false
            }
            None => true,
        })?;
        Some(self.segments[at].get_or_init(|| usage.allocate(2 * capacity(at))))
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
    fn every_added_scope_is_found_until_the_table_is_full() {
        let usage = Usage::new(0, &Arc::default());
        let names = Names::<AtomicUsize, 3>::default();
        let scope = |number: usize| Scope::tag(&number.to_string());
        // The first hash function is the worst case: every search begins at the same slot.
        for hash_of in [|_: usize| 7_u64, |number: usize| number as u64 * 0x9e37_79b9] {
            let names = Names::<AtomicUsize, 3>::default();
            for number in 0..100 {
                let added = names.get_or_add(scope(number), hash_of(number), &usage);
                assert_eq!(added.is_some(), number < 84, "{number}");
                added.into_iter().for_each(|marks| marks.store(number, Ordering::SeqCst));
                assert_eq!(names.is_full(), number >= 83);
                for known in 0..=number.min(83) {
                    let marks = names.get(scope(known), hash_of(known)).expect("an added scope");
                    assert_eq!(marks.load(Ordering::SeqCst), known);
                }
                assert!(names.get(scope(number + 1), hash_of(number + 1)).is_none());
            }
        }
        assert!(names.is_empty() && !names.is_full());
    }

    #[test]
    fn table_memory_grows_with_its_scopes() {
        let usage = Usage::new(0, &Arc::default());
        let names = Names::<(), 6>::default();
        assert_eq!(usage.bytes(), 0);
        for number in 0..Names::<(), 6>::MAX_SCOPES {
            let scope = Scope::tag(&number.to_string());
            assert!(names.get_or_add(scope, number as u64, &usage).is_some());
            assert!(usage.bytes() <= (number + 1) * 10 * size_of::<NameSlot<()>>(), "{number}");
        }
    }
}
