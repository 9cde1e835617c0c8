//! The generations that decide which entries an invalidation kills.

/// A reading of a namespace's invalidation counter.
///
/// The counter is lost when the store loses it, or goes back to an earlier one. Each time that this is noticed, a
/// new incarnation begins, so that no old entry is taken for a current one. A counter that went back and was
/// advanced again reads as before: a store that can go back gives each advance a random stamp, which tells the
/// two apart. Generations are ordered by incarnation, then by counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    pub(super) incarnation: u64,
    pub(super) counter: u64,
    pub(super) stamp: u32,
}

impl Generation {
    /// Creates a generation of an incarnation, with a stamp of 0.
    #[must_use]
    pub const fn new(incarnation: u64, counter: u64) -> Self {
        Self { incarnation, counter, stamp: 0 }
    }

    /// Returns the same generation with a stamp.
    #[must_use]
    pub const fn with_stamp(self, stamp: u32) -> Self {
        Self { stamp, ..self }
    }

    /// Returns the incarnation: start time in seconds since 1970 (upper half) and a random number (lower half).
    #[must_use]
    pub const fn incarnation(self) -> u64 {
        self.incarnation
    }

    /// Returns how many invalidations there were in this incarnation.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.counter
    }

    /// Returns the random number of the advance that led to this counter; 0 in a store that cannot go back.
    #[must_use]
    pub const fn stamp(self) -> u32 {
        self.stamp
    }
}
