//! The dependencies of a response or value: the entries that it was made from.
//!
//! While a page is made, its handler may read cached values, and include stored responses as parts.
//! An invalidation of any of them must also invalidate the page.

use super::{Dependency, Generation, Head, Scope};
use crate::clock::Moment;
use crate::rules::position_index::PositionIndex;

/// The most dependencies of an entry. An entry with more is not stored.
const MAX_DEPENDENCIES: usize = 1024;

/// The entries that a response or value was made from, collected while it is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dependencies {
    pub(crate) values: Vec<Dependency>,
    positions: PositionIndex<(Scope, u64)>,
    /// The earliest moment at which a dependency expires; `None` if no dependency expires.
    fresh_until: Option<Moment>,
    /// The number of changes so far. If the number is unchanged, so are the dependencies and
    /// `fresh_until`.
    changes: u64,
    /// The number of reads that have begun and are not recorded yet.
    pending: usize,
    /// `true` if there are too many dependencies, or unknown ones. The entry is then not stored.
    pub(crate) is_untrackable: bool,
}

impl Dependencies {
    /// Returns the earliest moment at which a dependency expires. Returns [`Moment::NEVER`] if no
    /// dependency expires.
    pub(crate) fn fresh_until(&self) -> Moment {
        self.fresh_until.unwrap_or(Moment::NEVER)
    }

    /// Counts a read of a part that has begun. Until [`end_read`](Self::end_read), the dependencies
    /// may be incomplete.
    pub(crate) fn begin_read(&mut self) {
        self.pending += 1;
    }

    /// Ends a read that [`begin_read`](Self::begin_read) has counted.
    pub(crate) fn end_read(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// Returns `true` if a read has begun and is not recorded yet.
    pub(crate) fn has_pending_read(&self) -> bool {
        self.pending > 0
    }

    /// Returns how often the dependencies or their `fresh_until` have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Records a read of a value, unless a read or a write of the value is recorded already. The
    /// first record stays: its generation is the oldest, so no invalidation between two reads is
    /// missed.
    pub(crate) fn record_read(&mut self, value: Dependency) {
        if self.find(value).is_none() {
            self.push(value);
        }
    }

    /// Records a write of a value. The write replaces earlier reads and writes of the value: the
    /// entry is made from the value as it was written.
    pub(crate) fn record_write(&mut self, value: Dependency) {
        match self.find(value) {
            Some(known) => {
                *known = value;
                self.changes += 1;
            }
            None => self.push(value),
        }
    }

    /// Records that the entry includes a stored response. Adds the scopes and dependencies of the
    /// response. The entry is then fresh no longer than the response.
    pub(crate) fn inherit_head(&mut self, head: &Head) {
        self.inherit_scopes(&head.scopes, head.generation);
        head.dependencies.iter().for_each(|each| self.inherit(*each));
        self.limit_freshness(head.fresh_until);
    }

    /// Adds a dependency on each of the scopes, with `since` as the generation of the read.
    pub(crate) fn inherit_scopes(&mut self, scopes: &[Scope], since: Generation) {
        scopes.iter().for_each(|scope| self.inherit(Dependency { value: *scope, since }));
    }

    /// Sets the end of the freshness to `moment`, unless the freshness ends earlier.
    pub(crate) fn limit_freshness(&mut self, moment: Moment) {
        let fresh_until = Some(self.fresh_until().min(moment));
        self.changes += u64::from(fresh_until != self.fresh_until);
        self.fresh_until = fresh_until;
    }

    /// Adds the dependencies of a part that this page or value includes. The page or value is then
    /// fresh no longer than the part, and is untrackable if the part is.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.values.iter().for_each(|value| self.inherit(*value));
        self.limit_freshness(other.fresh_until());
        if other.is_untrackable {
            self.mark_untrackable();
        }
    }

    /// Returns `true` if all dependencies are known and belong to the namespace whose generation is
    /// `own`. Otherwise the entry is not storable: an invalidation in another namespace would not
    /// reach the entry.
    pub(crate) fn is_trackable_in(&self, own: Generation) -> bool {
        let is_own = |value: &Dependency| value.since.incarnation() == own.incarnation();
        !self.is_untrackable && self.values.iter().all(is_own)
    }

    /// Returns the recorded dependency on the value that `value` names.
    ///
    /// Compares the scope and the incarnation: values of two namespaces may have equal scopes, but
    /// their incarnations differ.
    fn find(&mut self, value: Dependency) -> Option<&mut Dependency> {
        let key_of = |known: &Dependency| (known.value, known.since.incarnation());
        let at = self.positions.find(&self.values, &key_of(&value), key_of)?;
        self.values.get_mut(at)
    }

    fn push(&mut self, value: Dependency) {
        if self.values.len() >= MAX_DEPENDENCIES {
            self.mark_untrackable();
        } else {
            self.values.push(value);
            self.changes += 1;
        }
    }

    /// Records that some dependencies are unknown.
    pub(crate) fn mark_untrackable(&mut self) {
        self.changes += u64::from(!self.is_untrackable);
        self.is_untrackable = true;
    }

    /// Adds a dependency of an included part. If the value is recorded already, the older of the
    /// two generations counts.
    pub(crate) fn inherit(&mut self, value: Dependency) {
        match self.find(value) {
            Some(known) if known.since.counter() > value.since.counter() => {
                *known = value;
                self.changes += 1;
            }
            Some(_) => {}
            None => self.push(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Scope;
    use proptest::prelude::*;

    fn at(incarnation: u64, counter: u64) -> Dependency {
        Dependency { value: Scope::EVERYTHING, since: Generation::new(incarnation, counter) }
    }

    #[test]
    fn equal_values_of_two_namespaces_are_distinct() {
        let mut reads = Dependencies::default();
        reads.record_read(at(1, 5));
        reads.inherit(at(2, 9));
        assert!(!reads.is_trackable_in(Generation::new(1, 5)), "the other namespace is remembered");
        assert_eq!(reads.values, [at(1, 5), at(2, 9)]);
        reads.inherit(at(1, 3));
        assert_eq!(reads.values, [at(1, 3), at(2, 9)], "for one value, the older generation counts");
    }

    /// A model of [`Dependencies`] that finds each value by a linear search. The flag is
    /// `is_untrackable`.
    #[derive(Default)]
    struct Model(Vec<Dependency>, bool);

    impl Model {
        fn note(&mut self, value: Dependency, replaces: impl Fn(Dependency) -> bool) {
            let is_same = |known: &&mut Dependency| {
                (known.value, known.since.incarnation()) == (value.value, value.since.incarnation())
            };
            let is_full = self.0.len() >= MAX_DEPENDENCIES;
            match self.0.iter_mut().find(is_same) {
                Some(known) if replaces(*known) => *known = value,
                Some(_) => {}
                None if is_full => self.1 = true,
                None => self.0.push(value),
            }
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn reads_agree_with_a_linear_search(
            steps in prop::collection::vec((0..3_u8, 0..1_200_u64, 1..3_u64, 0..9_u64), 0..3_000),
        ) {
            let (mut reads, mut model) = (Dependencies::default(), Model::default());
            for (kind, name, incarnation, counter) in steps {
                let since = Generation::new(incarnation, counter);
                let value = Dependency { value: Scope::value(&name.to_le_bytes()), since };
                match kind {
                    0 => {
                        reads.record_read(value);
                        model.note(value, |_| false);
                    }
                    1 => {
                        reads.record_write(value);
                        model.note(value, |_| true);
                    }
                    _ => {
                        reads.inherit(value);
                        model.note(value, |known| known.since.counter() > counter);
                    }
                }
            }
            prop_assert_eq!((reads.values, reads.is_untrackable), (model.0, model.1));
        }
    }

    /// This test takes very long if `Dependencies` finds each value by a linear search.
    #[test]
    fn many_parts_with_many_values_merge_in_linear_time() {
        let mut part = Dependencies::default();
        (0..MAX_DEPENDENCIES as u64).for_each(|name| {
            let since = Generation::new(1, name);
            part.record_read(Dependency { value: Scope::value(&name.to_le_bytes()), since });
        });
        let mut page = Dependencies::default();
        (0..10_000).for_each(|_| page.merge(&part));
        assert!(page.values == part.values && !page.is_untrackable);
    }
}
