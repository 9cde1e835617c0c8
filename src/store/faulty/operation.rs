//! The kinds of operations that a faulty store distinguishes.

/// The kind of a store operation. A fault applies to all operations of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive] // Later versions may add operations.
pub enum Operation {
    /// A read of entries: `get`, `peek`, `get_at`, `get_many` and `get_many_at`.
    Lookup,
    /// A change of entries: `put`, `remove`, `increment`, `compare_and_set`, `touch`, `put_many` and
    /// `remove_many`.
    Write,
    /// An operation of the [generations](crate::store::Generations) that invalidates nothing:
    /// `current`, `cleared`, `cleared_at`, `check`, `check_at` and `depend`.
    Generation,
    /// An invalidation: `advance` and `written` of the [generations](crate::store::Generations).
    Invalidation,
}

impl Operation {
    pub(super) const ALL: [Self; 4] = [Self::Lookup, Self::Write, Self::Generation, Self::Invalidation];
}
