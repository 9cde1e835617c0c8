//! Generations: readings of a namespace's invalidation counter.

/// A reading of a namespace's invalidation counter.
///
/// Each invalidation advances the counter. Each entry carries the generation that was read before
/// the entry was made. An invalidation applies to an entry if its counter is higher than the
/// counter of the entry, and it names one of the entry's scopes.
///
/// A store may lose the counter, or go back to an earlier one. A process that notices the loss
/// begins a new incarnation, in which older entries are invalid. If no process notices the loss at
/// once, the counter may reach a number twice. So a store whose counter can go back gives each
/// advance a random stamp, which distinguishes two advances to one number. Generations are ordered
/// by incarnation, then by counter, then by stamp.
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

    /// Returns the same generation with another stamp.
    #[must_use]
    pub const fn with_stamp(self, stamp: u32) -> Self {
        Self { stamp, ..self }
    }

    /// Returns the incarnation.
    ///
    /// The upper 32 bits are its start in seconds since 1970, the lower 32 bits are random.
    #[must_use]
    pub const fn incarnation(self) -> u64 {
        self.incarnation
    }

    /// Returns the number of advances in this incarnation.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.counter
    }

    /// Returns the random number of the advance that led to this counter.
    ///
    /// It is 0 in a store whose counter cannot go back.
    #[must_use]
    pub const fn stamp(self) -> u32 {
        self.stamp
    }
}
