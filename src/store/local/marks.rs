//! The last invalidations of scopes, and the values that have dependents.
//!
//! The counter of a namespace is the number of its invalidations. A scope has two marks: the values
//! that the counter had after its last hard and its last soft invalidation. Some scopes have exact
//! marks, which no other scope shares. All others share buckets: see
//! [`placement`](crate::store::placement).

use super::names::Names;
use super::usage::Usage;
use crate::store::placement::{ROWS, row_buckets};
use crate::store::{Scope, Strength, Validity};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Each row has `1 << BITS` buckets. After invalidations of 10,000 scopes in the buckets, one other
/// scope in 200 counts as invalidated, too.
const BITS: u32 = 15;

/// The marks of a scope, or of the scopes that share a bucket: the counter after the last hard and
/// after the last soft invalidation. Zero if there was none.
#[derive(Default)]
pub(super) struct LocalMarks {
    hard: AtomicU64,
    soft: AtomicU64,
}

/// A table of the exact marks of at most 5,460 scopes.
pub(super) type ExactScopes = Names<LocalMarks, 6>;

/// The marks of the scopes of a group. The first 5,460 scopes have exact marks; later scopes share
/// buckets.
#[derive(Default)]
pub(super) struct ScopeGroup {
    pub(super) exact: ExactScopes,
    rows: OnceLock<Box<[LocalMarks]>>,
}

/// The values that have ever had a dependent. The table `exact` has the first 340 of them. Each
/// later value sets one bit in each of the `rows`; several values may share a bit.
#[derive(Default)]
pub(super) struct ValuesWithDependents {
    exact: Names<(), 4>,
    rows: OnceLock<Box<[AtomicU64]>>,
}

impl LocalMarks {
    pub(super) fn bump(&self, strength: Strength, to: u64) {
        let side = match strength {
            Strength::Hard => &self.hard,
            Strength::Soft => &self.soft,
        };
        side.store(to, Ordering::SeqCst);
    }

    pub(super) fn exceed(&self, counter: u64) -> (bool, bool) {
        (self.hard() > counter, self.soft.load(Ordering::SeqCst) > counter)
    }

    /// Returns the counter of the last hard invalidation.
    pub(super) fn hard(&self) -> u64 {
        self.hard.load(Ordering::SeqCst)
    }
}

/// Returns the index of a scope's bucket in each row. The rows follow each other in one slice.
fn buckets(hash: u64) -> impl Iterator<Item = usize> {
    row_buckets(hash, BITS).into_iter().enumerate().map(|(row, number)| (row << BITS) + number)
}

impl ScopeGroup {
    /// Sets a mark of a scope to the counter `to`. The caller holds the `write_lock` of the
    /// [`NamespaceTable`](super::table::NamespaceTable).
    pub(super) fn bump(&self, scope: Scope, hash: u64, strength: Strength, to: u64, usage: &Usage) {
        if let Some(marks) = self.exact.get_or_add(scope, hash, usage) {
            return marks.bump(strength, to);
        }
        let rows = self.rows.get_or_init(|| usage.allocate(ROWS << BITS));
        buckets(hash).for_each(|at| rows[at].bump(strength, to));
    }

    pub(super) fn validity_since(&self, scope: Scope, hash: u64, since: u64) -> Validity {
        match (self.exact.get(scope, hash), self.rows.get()) {
            (Some(marks), _) => Validity::of(marks.exceed(since)),
            (None, Some(rows)) => Validity::of_buckets(buckets(hash).map(|at| rows[at].exceed(since))),
            (None, None) => Validity::Valid,
        }
    }
}

impl ValuesWithDependents {
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    pub(super) fn contains(&self, value: Scope, hash: u64) -> bool {
        let is_in =
            |rows: &[AtomicU64], at: usize| rows[at / 64].load(Ordering::SeqCst) >> (at % 64) & 1 == 1;
        self.exact.get(value, hash).is_some()
            || self.rows.get().is_some_and(|rows| buckets(hash).all(|at| is_in(rows, at)))
    }

    /// Adds a value. The caller holds the `write_lock` of the
    /// [`NamespaceTable`](super::table::NamespaceTable).
    pub(super) fn add(&self, value: Scope, hash: u64, usage: &Usage) {
        if self.exact.get_or_add(value, hash, usage).is_some() {
            return;
        }
        let rows: &[AtomicU64] = self.rows.get_or_init(|| usage.allocate((ROWS << BITS) / 64));
        for at in buckets(hash) {
            rows[at / 64].fetch_or(1 << (at % 64), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn contains_finds_all_added_values_and_few_others() {
        let (usage, depended) = (Usage::new(0, &Arc::default()), ValuesWithDependents::default());
        let hash = |number: u64| {
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xd6e8_feb8_6659_fd93)
        };
        let value = |number: u64| Scope::value(&number.to_le_bytes());
        for number in 0..10_000 {
            depended.add(value(number), hash(number), &usage);
            assert!(depended.contains(value(number), hash(number)));
        }
        assert!((0..10_000).all(|number| depended.contains(value(number), hash(number))));
        let others = (10_000..20_000).filter(|number| depended.contains(value(*number), hash(*number)));
        assert!(others.count() < 200);
        assert!(usage.bytes() <= 40 << 10, "{}", usage.bytes());
    }
}
