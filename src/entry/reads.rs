//! What something was made from.

use super::{Dependency, Generation, Scope, StoredResponse};
use crate::clock::Moment;

/// More values are not held: what is made from them is not stored.
const MOST: usize = 1024;

/// What something was made from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads {
    pub(crate) values: Vec<Dependency>,
    /// When the first of them expires, if any does.
    until: Option<Moment>,
    /// There were too many, or what they depend on is not known.
    pub(crate) is_unfit: bool,
}

impl Reads {
    /// Returns when the first of them expires.
    pub(crate) fn until(&self) -> Moment {
        self.until.unwrap_or(Moment::NEVER)
    }

    /// Notes a value that was read; the first reading counts.
    pub(crate) fn read(&mut self, value: Dependency) {
        if self.known(value).is_none() {
            self.push(value);
        }
    }

    /// Notes a value that was written; nothing that was read before counts.
    pub(crate) fn wrote(&mut self, value: Dependency) {
        match self.known(value) {
            Some(known) => *known = value,
            None => self.push(value),
        }
    }

    /// Adds what names a stored response, what that was made from, and the end of its freshness.
    pub(crate) fn inherit_response(&mut self, response: &StoredResponse) {
        let head = response.head();
        self.inherit_scopes(&head.scopes, head.generation);
        head.dependencies.iter().for_each(|each| self.inherit(*each));
        self.live_until(head.fresh_until);
    }

    /// Adds what names something that was made since a generation.
    pub(crate) fn inherit_scopes(&mut self, scopes: &[Scope], since: Generation) {
        scopes.iter().for_each(|scope| self.inherit(Dependency { value: *scope, since }));
    }

    /// Lives no longer than this.
    pub(crate) fn live_until(&mut self, moment: Moment) {
        self.until = Some(self.until().min(moment));
    }

    /// Adds what something else was made from, which this is made from in turn.
    pub(crate) fn merge(&mut self, other: &Self) {
        other.values.iter().for_each(|value| self.inherit(*value));
        self.live_until(other.until());
        self.is_unfit |= other.is_unfit;
    }

    /// Tells whether it is all known, and known to this namespace: of values of another one nobody would hear.
    pub(crate) fn is_fit(&self, own: Generation) -> bool {
        let is_own = |value: &Dependency| value.since.incarnation() == own.incarnation();
        !self.is_unfit && self.values.iter().all(is_own)
    }

    /// Returns what is known of the same value. Of another namespace, whose names may be hashed alike, it is another.
    fn known(&mut self, value: Dependency) -> Option<&mut Dependency> {
        let is_same = |known: &&mut Dependency| {
            known.value == value.value && known.since.incarnation() == value.since.incarnation()
        };
        self.values.iter_mut().find(is_same)
    }

    fn push(&mut self, value: Dependency) {
        if self.values.len() >= MOST {
            self.is_unfit = true;
        } else {
            self.values.push(value);
        }
    }

    /// Adds what a value was made from; the older reading counts.
    pub(crate) fn inherit(&mut self, value: Dependency) {
        match self.known(value) {
            Some(known) if known.since.counter() > value.since.counter() => *known = value,
            Some(_) => {}
            None => self.push(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Scope;

    fn at(incarnation: u64, counter: u64) -> Dependency {
        Dependency { value: Scope::EVERYTHING, since: Generation::new(incarnation, counter) }
    }

    #[test]
    fn a_value_of_another_namespace_is_not_taken_for_one_of_this_one() {
        let mut reads = Reads::default();
        reads.read(at(1, 5));
        reads.inherit(at(2, 9));
        assert!(!reads.is_fit(Generation::new(1, 5)), "it is remembered");
        assert_eq!(reads.values, [at(1, 5), at(2, 9)]);
        reads.inherit(at(1, 3));
        assert_eq!(reads.values, [at(1, 3), at(2, 9)], "of one value, the older reading counts");
    }
}
