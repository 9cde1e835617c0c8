//! The readers of a body, and their positions.

use std::collections::VecDeque;

/// The position of a reader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cursor {
    /// The reader needs the frame with this number next.
    At(usize),
    /// The reader was cut off, but has not returned the error yet. Until then, no other reader gets
    /// its number.
    CutOff,
    /// The reader was dropped, or has returned the error of a cut-off. The next reader that joins
    /// may get its number.
    Gone,
}

/// The readers of a body. Both readers and frames have numbers. The readers are also counted by
/// position, so that the slowest is found without a search of all readers.
#[derive(Debug)]
pub(super) struct Readers {
    /// The position of each reader, by the number of the reader.
    cursors: Vec<Cursor>,
    /// The number of readers that are neither cut off nor gone.
    present: usize,
    /// For each frame that is kept: the number of readers that need this frame next. The last item
    /// counts the readers that have read all frames.
    readers_before: VecDeque<usize>,
    /// The number of the first frame that is kept.
    first_frame: usize,
}

impl Readers {
    /// Creates the readers of a body with `frames` frames: one reader, which has read no frame.
    pub(super) fn with_one_reader(frames: usize) -> Self {
        let readers_before = std::iter::once(1).chain(std::iter::repeat_n(0, frames)).collect();
        Self { cursors: vec![Cursor::At(0)], present: 1, readers_before, first_frame: 0 }
    }

    /// Adds a reader that needs the first kept frame next. Returns the number of the reader.
    pub(super) fn join(&mut self) -> usize {
        let free = self.cursors.iter().position(|place| *place == Cursor::Gone);
        let (number, place) = (free.unwrap_or(self.cursors.len()), Cursor::At(self.first_frame));
        match free {
            Some(number) => self.cursors[number] = place,
            None => self.cursors.push(place),
        }
        self.readers_before[0] += 1;
        self.present += 1;
        number
    }

    /// Returns how many readers are neither cut off nor gone.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    pub(super) fn cursor(&self, number: usize) -> Cursor {
        self.cursors[number]
    }

    /// Returns the index of a frame number among the frames that are kept.
    pub(super) fn index(&self, next: usize) -> usize {
        next - self.first_frame
    }

    /// Moves a reader past the frame that it needs next.
    pub(super) fn advance(&mut self, number: usize) {
        if let Cursor::At(next) = self.cursors[number] {
            self.cursors[number] = Cursor::At(next + 1);
            self.readers_before[next - self.first_frame] -= 1;
            self.readers_before[next + 1 - self.first_frame] += 1;
        }
    }

    pub(super) fn mark_gone(&mut self, number: usize) {
        self.remove(number, Cursor::Gone);
    }

    fn remove(&mut self, number: usize, cursor: Cursor) {
        if let Cursor::At(next) = self.cursors[number] {
            self.readers_before[next - self.first_frame] -= 1;
            self.present -= 1;
        }
        self.cursors[number] = cursor;
    }

    /// Cuts off the readers whose next frame has the number `frame`.
    pub(super) fn cut_off(&mut self, frame: usize) {
        for number in 0..self.cursors.len() {
            if self.cursors[number] == Cursor::At(frame) {
                self.remove(number, Cursor::CutOff);
            }
        }
    }

    pub(super) fn add_frame(&mut self) {
        self.readers_before.push_back(0);
    }

    /// Returns `true` if all readers have read the first frame that is kept.
    pub(super) fn all_have_first_frame(&self) -> bool {
        self.readers_before[0] == 0
    }

    /// Drops the first frame. All readers must have read it.
    pub(super) fn drop_first_frame(&mut self) {
        self.readers_before.pop_front();
        self.first_frame += 1;
    }

    /// Returns the number of the frame that the slowest reader needs next, or `None` if there are
    /// no readers.
    pub(super) fn slowest(&self) -> Option<usize> {
        self.readers_before.iter().position(|count| *count > 0).map(|index| self.first_frame + index)
    }

    /// Returns the number that the next frame to arrive will get.
    pub(super) fn end_frame(&self) -> usize {
        self.first_frame + self.readers_before.len() - 1
    }

    pub(super) fn first_frame(&self) -> usize {
        self.first_frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn reader_counts_agree_with_the_cursors(steps in prop::collection::vec((0..5_u8, 0..6_usize), 0..200)) {
            let mut readers = Readers::with_one_reader(1);
            for (step, number) in steps {
                let number = number % readers.cursors.len();
                let place = readers.cursor(number);
                match step {
                    0 => drop(readers.join()),
                    1 if matches!(place, Cursor::At(next) if next < readers.end_frame()) => readers.advance(number),
                    2 => readers.mark_gone(number),
                    3 => readers.add_frame(),
                    4 if readers.all_have_first_frame() && readers.first_frame() < readers.end_frame() => readers.drop_first_frame(),
                    4 => readers.slowest().into_iter().for_each(|slowest| readers.cut_off(slowest)),
                    _ => {}
                }
                let at = |index| {
                    let there = Cursor::At(readers.first_frame() + index);
                    readers.cursors.iter().filter(|place| **place == there).count()
                };
                let counted: Vec<_> = (0..readers.readers_before.len()).map(at).collect();
                prop_assert!(readers.readers_before.iter().eq(&counted));
                prop_assert_eq!(readers.present(), counted.iter().sum::<usize>());
                let least = readers.cursors.iter().filter_map(|place| match place {
                    Cursor::At(next) => Some(*next),
                    Cursor::CutOff | Cursor::Gone => None,
                });
                prop_assert_eq!(readers.slowest(), least.min());
            }
        }
    }
}
