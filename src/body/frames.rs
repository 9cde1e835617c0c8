//! A queue of frames.

use bytes::Bytes;
use http_body::Frame;
use std::collections::VecDeque;

/// A queue of frames that are read and not yet sent. Most bodies are one frame, so the first frame
/// needs no allocation.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The first frame; `None` only if the queue is empty.
    first: Option<Frame<Bytes>>,
    rest: VecDeque<Frame<Bytes>>,
}

impl Frames {
    /// Creates a queue with one data frame, or an empty one if `data` is empty.
    pub(super) fn one(data: Bytes) -> Self {
        Self { first: (!data.is_empty()).then(|| Frame::data(data)), rest: VecDeque::new() }
    }

    pub(super) fn push(&mut self, frame: Frame<Bytes>) {
        match self.first {
            None => self.first = Some(frame),
            Some(_) => self.rest.push_back(frame),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Frame<Bytes>> {
        std::mem::replace(&mut self.first, self.rest.pop_front())
    }

    pub(super) fn last(&self) -> Option<&Frame<Bytes>> {
        self.rest.back().or(self.first.as_ref())
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Frame<Bytes>> {
        self.first.into_iter().chain(self.rest)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Frame<Bytes>> {
        self.first.iter().chain(&self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_order() {
        let frame = |byte: u8| Frame::data(Bytes::from(vec![byte]));
        let byte = |frame: &Frame<Bytes>| frame.data_ref().map(|data| data[0]);
        let mut frames = Frames::default();
        for round in 0..3 {
            for number in 0..round {
                frames.push(frame(number));
            }
            assert_eq!(frames.len(), usize::from(round));
            assert_eq!(frames.last().and_then(byte), round.checked_sub(1));
            assert!(frames.iter().map(byte).eq((0..round).map(Some)));
            for number in 0..round {
                assert!(!frames.is_empty());
                assert_eq!(frames.pop().as_ref().and_then(byte), Some(number));
            }
            assert!(frames.is_empty() && frames.pop().is_none());
        }
    }
}
