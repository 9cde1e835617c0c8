//! The last advances of a record. They show whether a record only grew, or went back and was
//! advanced again.

use super::super::Generation;
use super::super::incarnation::{is_believable, random};
use super::wire::{RecordReader, number};
use std::cmp::Ordering;
use std::collections::VecDeque;

/// The most advances whose stamps are kept. They take 1 KiB.
pub(super) const MAX_STAMPS: usize = 256;

/// An incarnation, its counter, and the stamps of the last advances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct History {
    incarnation: u64,
    counter: u64,
    /// The stamps of the last advances, the newest last. There is at least one: the last stamp
    /// belongs to `counter`.
    stamps: VecDeque<u32>,
}

impl History {
    pub(super) fn new(first: Generation) -> Self {
        Self { incarnation: first.incarnation(), counter: first.counter(), stamps: [first.stamp()].into() }
    }

    pub(in crate::store) fn generation(&self) -> Generation {
        let stamp = self.stamps.back().copied().unwrap_or_default();
        Generation::new(self.incarnation, self.counter).with_stamp(stamp)
    }

    /// Advances the counter with a random stamp, and returns the new counter.
    pub(super) fn advance(&mut self) -> u64 {
        self.advance_with(random() as u32)
    }

    /// Advances the counter with a stamp, and returns the new counter.
    pub(super) fn advance_with(&mut self, stamp: u32) -> u64 {
        if self.stamps.len() >= MAX_STAMPS {
            self.stamps.pop_front();
        }
        self.stamps.push_back(stamp);
        self.counter += 1;
        self.counter
    }

    /// Returns `true` if this history ends before a generation.
    pub(in crate::store) fn is_behind(&self, generation: Generation) -> bool {
        let own = (self.incarnation, self.counter);
        own.cmp(&(generation.incarnation(), generation.counter())) == Ordering::Less
    }

    /// Returns `true` if a generation is of this incarnation, but this history has another stamp for
    /// the generation's counter.
    pub(in crate::store) fn contradicts(&self, generation: Generation) -> bool {
        let age = self.counter.checked_sub(generation.counter()).and_then(|age| usize::try_from(age).ok());
        let at = age.and_then(|age| self.stamps.len().checked_sub(age + 1));
        let stamp = at.and_then(|at| self.stamps.get(at));
        self.incarnation == generation.incarnation() && stamp.is_some_and(|own| *own != generation.stamp())
    }

    pub(in crate::store) fn is_believable(&self) -> bool {
        is_believable(self.incarnation)
    }

    /// Returns `true` if this history may have passed a generation, or is of a newer incarnation.
    pub(in crate::store) fn follows(&self, generation: Generation) -> bool {
        !self.is_behind(generation) && !self.contradicts(generation)
    }

    /// Returns `true` if a generation is of this incarnation and this history may have passed it.
    pub(in crate::store) fn contains(&self, generation: Generation) -> bool {
        self.incarnation == generation.incarnation() && self.follows(generation)
    }

    /// Returns `true` unless the stamps show that neither history is an extension of the other.
    pub(in crate::store) fn agrees_with(&self, other: &Self) -> bool {
        let (earlier, later) = if self.is_behind(other.generation()) { (self, other) } else { (other, self) };
        !later.contradicts(earlier.generation())
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.incarnation.to_le_bytes());
        to.extend(self.counter.to_le_bytes());
        number(self.stamps.len() as u64, to);
        self.stamps.iter().for_each(|stamp| to.extend(stamp.to_le_bytes()));
    }

    pub(super) fn read(from: &mut RecordReader<'_>) -> Option<Self> {
        let (incarnation, counter) = (from.fixed()?, from.fixed()?);
        let most = counter.saturating_add(1).min(MAX_STAMPS as u64);
        let len = from.number().filter(|len| (1..=most).contains(len))?;
        let stamps = (0..len).map(|_| from.bytes().map(u32::from_le_bytes)).collect::<Option<_>>()?;
        Some(Self { incarnation, counter, stamps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advanced(history: &History, by: usize) -> History {
        let mut history = history.clone();
        for _ in 0..by {
            history.advance();
        }
        history
    }

    #[test]
    fn history_contains_its_own_past_but_not_a_fork() {
        let first = advanced(&History::new(Generation::new(1, 0)), 3);
        for by in [1, 2, MAX_STAMPS - 1] {
            let (one, other) = (advanced(&first, by), advanced(&first, by));
            assert!(one.contains(first.generation()) && one.agrees_with(&first) && first.agrees_with(&one));
            assert!(!first.contains(one.generation()), "the generation is ahead");
            assert!(!one.contains(other.generation()) && !one.agrees_with(&other), "{by}");
            let later = advanced(&other, MAX_STAMPS - 1);
            assert!(
                later.contradicts(one.generation()) && !later.agrees_with(&one) && !one.agrees_with(&later)
            );
        }
    }

    #[test]
    fn generation_without_a_kept_stamp_counts_as_passed() {
        let first = advanced(&History::new(Generation::new(1, 0)), 1);
        let other = Generation::new(1, 1).with_stamp(first.generation().stamp() ^ 1);
        assert!(!advanced(&first, MAX_STAMPS - 1).contains(other));
        assert!(advanced(&first, MAX_STAMPS).contains(other));
    }

    #[test]
    fn newer_incarnation_follows_an_older_one_without_containing_it() {
        let newer = History::new(Generation::new(2, 0));
        let older = Generation::new(1, 7);
        assert!(newer.follows(older) && !newer.contains(older));
        assert!(!History::new(older).follows(newer.generation()));
    }
}
