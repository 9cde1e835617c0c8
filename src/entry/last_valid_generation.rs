//! The last generation at which a stored response was found valid.

use super::{Generation, Head};
use std::sync::atomic::{AtomicU64, Ordering};

/// The counter and the stamp of the last generation at which an entry was found valid. While that
/// generation is current, the entry needs no other check.
///
/// The incarnation is not part of this number, so the caller must compare the incarnations.
#[derive(Debug)]
pub(super) struct LastValidGeneration(AtomicU64);

impl Clone for LastValidGeneration {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl LastValidGeneration {
    const NEVER: u64 = u64::MAX;

    pub(super) fn never() -> Self {
        Self(AtomicU64::new(Self::NEVER))
    }

    pub(super) fn new(head: &Head) -> Self {
        // An entry without dependencies is valid at its own generation. A dependency may be older
        // than the entry, so it may have been invalidated before the entry was made.
        let at = if head.dependencies.is_empty() { Self::number(head.generation) } else { Self::NEVER };
        Self(AtomicU64::new(at))
    }

    /// Returns `true` if the entry was found valid at this counter and stamp.
    #[inline]
    pub(super) fn is_at(&self, current: Generation) -> bool {
        self.0.load(Ordering::Relaxed) == Self::number(current)
    }

    /// Records that the entry was found valid at this counter and stamp.
    #[inline]
    pub(super) fn set(&self, read: Generation) {
        self.0.store(Self::number(read), Ordering::Relaxed);
    }

    /// Combines the counter and the stamp: the stamp changes the upper 32 bits of the counter. The
    /// result is unique among counters below 2^32.
    #[inline]
    fn number(generation: Generation) -> u64 {
        generation.counter() ^ (u64::from(generation.stamp()) << 32)
    }
}
