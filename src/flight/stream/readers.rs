//! The readers of a body, and their positions.

use std::collections::VecDeque;

/// The position of a reader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cursor {
    /// Before the frame with this number.
    At(usize),
    CutOff,
    Gone,
}

/// The readers of a body. They are also counted by position, so that no operation searches them for
/// the slowest.
#[derive(Debug)]
pub(super) struct Readers {
    places: Vec<Cursor>,
    /// The number of readers that are neither cut off nor gone.
    present: usize,
    /// The number of readers at each position: before each frame that is kept, and last, after all
    /// frames.
    before: VecDeque<usize>,
    /// The number of the first frame that is kept.
    base: usize,
}

impl Readers {
    /// Creates the readers of a body with `frames` frames: one reader, before the first of them.
    pub(super) fn one(frames: usize) -> Self {
        let before = std::iter::once(1).chain(std::iter::repeat_n(0, frames)).collect();
        Self { places: vec![Cursor::At(0)], present: 1, before, base: 0 }
    }

    /// Adds a reader before the first frame that is kept, and returns its number.
    pub(super) fn join(&mut self) -> usize {
        let free = self.places.iter().position(|place| *place == Cursor::Gone);
        let (number, place) = (free.unwrap_or(self.places.len()), Cursor::At(self.base));
        match free {
            Some(number) => self.places[number] = place,
            None => self.places.push(place),
        }
        self.before[0] += 1;
        self.present += 1;
        number
    }

    /// Returns how many readers are neither cut off nor gone.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    pub(super) fn place(&self, number: usize) -> Cursor {
        self.places[number]
    }

    /// Returns the index of a frame number among the frames that are kept.
    pub(super) fn index(&self, next: usize) -> usize {
        next - self.base
    }

    /// Moves a reader past a frame.
    pub(super) fn advance(&mut self, number: usize) {
        if let Cursor::At(next) = self.places[number] {
            self.places[number] = Cursor::At(next + 1);
            self.before[next - self.base] -= 1;
            self.before[next + 1 - self.base] += 1;
        }
    }

    pub(super) fn leave(&mut self, number: usize) {
        self.remove(number, Cursor::Gone);
    }

    fn remove(&mut self, number: usize, left: Cursor) {
        if let Cursor::At(next) = self.places[number] {
            self.before[next - self.base] -= 1;
            self.present -= 1;
        }
        self.places[number] = left;
    }

    /// Cuts off the readers that need this frame next.
    pub(super) fn cut_off(&mut self, stalled: usize) {
        for number in 0..self.places.len() {
            if self.places[number] == Cursor::At(stalled) {
                self.remove(number, Cursor::CutOff);
            }
        }
    }

    /// Adds a frame at the end.
    pub(super) fn frame_added(&mut self) {
        self.before.push_back(0);
    }

    /// Returns `true` if all readers have the first frame that is kept.
    pub(super) fn have_the_first(&self) -> bool {
        self.before[0] == 0
    }

    /// Drops the first frame, which all readers must have.
    pub(super) fn frame_dropped(&mut self) {
        self.before.pop_front();
        self.base += 1;
    }

    /// Returns the number of the frame that the slowest reader needs next.
    pub(super) fn slowest(&self) -> Option<usize> {
        self.before.iter().position(|count| *count > 0).map(|index| self.base + index)
    }

    /// Returns the number after the last frame.
    pub(super) fn end(&self) -> usize {
        self.base + self.before.len() - 1
    }

    /// Returns the number of the first frame that is kept.
    pub(super) fn base(&self) -> usize {
        self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn counts_agree_with_the_positions(steps in prop::collection::vec((0..5_u8, 0..6_usize), 0..200)) {
            let mut readers = Readers::one(1);
            for (step, number) in steps {
                let number = number % readers.places.len();
                let place = readers.place(number);
                match step {
                    0 => drop(readers.join()),
                    1 if matches!(place, Cursor::At(next) if next < readers.end()) => readers.advance(number),
                    2 => readers.leave(number),
                    3 => readers.frame_added(),
                    4 if readers.have_the_first() && readers.base() < readers.end() => readers.frame_dropped(),
                    4 => readers.slowest().into_iter().for_each(|slowest| readers.cut_off(slowest)),
                    _ => {}
                }
                let at = |index| {
                    let there = Cursor::At(readers.base() + index);
                    readers.places.iter().filter(|place| **place == there).count()
                };
                let counted: Vec<_> = (0..readers.before.len()).map(at).collect();
                prop_assert!(readers.before.iter().eq(&counted));
                prop_assert_eq!(readers.present(), counted.iter().sum::<usize>());
                let least = readers.places.iter().filter_map(|place| match place {
                    Cursor::At(next) => Some(*next),
                    Cursor::CutOff | Cursor::Gone => None,
                });
                prop_assert_eq!(readers.slowest(), least.min());
            }
        }
    }
}
