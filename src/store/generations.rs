//! The [`Generations`] trait: the invalidations of a namespace, and the contract of every
//! implementation.

use super::{Dependency, Generation, Scope, StoreFuture};
use std::fmt;

/// The state of an entry after the invalidations of its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// None of the entry's scopes was invalidated after the entry's generation.
    Valid,
    /// The entry was softly invalidated. It may be used within its stale windows, like an expired
    /// one.
    #[doc(alias = "grace")]
    Stale,
    /// The entry must not be used: it was invalidated, its generation is ahead of the counter, or
    /// its generation belongs to another incarnation.
    Invalid,
}

impl Validity {
    /// Returns the validity of an entry. `hard` is `true` if a hard invalidation of the entry is
    /// newer than the entry, and `soft` is `true` if a soft one is.
    pub(super) fn of((hard, soft): (bool, bool)) -> Self {
        match (hard, soft) {
            (true, _) => Self::Invalid,
            (false, true) => Self::Stale,
            (false, false) => Self::Valid,
        }
    }

    /// Returns the validity by the flags of a scope's buckets, one in each row. An invalidation of
    /// the scope sets the flag in every row, so a flag counts only if all rows have it.
    pub(super) fn of_buckets(rows: impl Iterator<Item = (bool, bool)>) -> Self {
        let mut all = (true, true);
        for (hard, soft) in rows {
            all = (all.0 && hard, all.1 && soft);
            if all == (false, false) {
                break;
            }
        }
        Self::of(all)
    }

    /// Returns the worst of several states.
    pub(crate) fn worst(all: impl Iterator<Item = Self>) -> Self {
        let mut worst = Self::Valid;
        for validity in all {
            match validity {
                Self::Invalid => return Self::Invalid,
                Self::Stale => worst = Self::Stale,
                Self::Valid => {}
            }
        }
        worst
    }
}

/// The strength of an invalidation: whether stale serving remains possible.
#[doc(alias = "soft purge")]
#[doc(alias = "hard purge")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Entries become invalid, and are never used again.
    Hard,
    /// Entries become stale, and may still be served within their stale windows.
    ///
    /// A soft invalidation never undoes a [`Hard`](Self::Hard) one.
    Soft,
}

/// The invalidations of one namespace: a counter, and the last invalidation of each scope.
///
/// Entries are not removed when they are invalidated. Each entry carries a [`Generation`], which is
/// a reading of the counter from before the entry was made. An invalidation advances the counter
/// and records the new number for its [scopes](Scope). A look-up compares the generation of an
/// entry with the numbers of its scopes. So the cost of an invalidation does not depend on the
/// number of entries.
///
/// Implement this trait only if a backend can do better than the two implementations of this crate:
/// [`LocalGenerations`](super::LocalGenerations) in a process, and the entry that the cache keeps
/// in a store whose [`Store::generations`](super::Store::generations) returns `None`.
///
/// # Contract
/// ## Validity
/// An entry is valid if it carries the generation that was [`current`](Self::current) before the
/// work that made it began, and no later [`advance`](Self::advance) named one of its scopes.
///
/// After `advance` has returned, no [`check`](Self::check) on any machine may find an older entry
/// of these scopes valid. Scopes are the same in every process.
///
/// The counter only grows, and a generation becomes current only when every check can see the
/// invalidation that led to it. A caller may therefore read the current generation, check an entry,
/// and treat a valid entry as valid while that generation is current.
///
/// ## Incarnations
/// An entry of another incarnation, or ahead of the counter, is never valid. No eviction may make
/// an invalid entry valid again: a store that lost the counter begins a new incarnation, in which
/// every older entry is invalid. A store that drops a namespace without handles does the same.
///
/// An entry whose incarnation begins more than ten years from now is invalid, and does not start a
/// new incarnation.
///
/// ## A counter that goes back
/// A counter goes back if a late replica takes over or an older snapshot is restored. Then the
/// invalidations that the replica or the snapshot lacks are lost. The loss is noticed by a process
/// that has seen a later generation, and by a check of an entry that was made after a lost
/// invalidation; the store then begins a new incarnation. A lost invalidation goes unnoticed if no
/// running process has seen it and no entry was made after it.
///
/// A counter that went back may be advanced again before any process notices. Therefore each
/// advance has a random [stamp](Generation::stamp), and the store keeps the stamps of the last
/// advances with the counter. A generation whose stamp differs from the kept one belongs to a lost
/// history: its entry is invalid, and a new incarnation begins. The entry that this crate keeps in
/// a store has the last 256 stamps; older generations are not compared. Stamps are 0 in a store
/// whose counter cannot go back.
///
/// ## Buckets
/// An implementation may let scopes share buckets. It then keeps several rows of buckets. It finds
/// an entry invalid only if the buckets of one of its scopes are newer than the entry in all rows.
/// A secret selects the buckets, so that clients cannot predict which scopes share one.
/// [Wide](Scope::is_wide) scopes share no bucket with others.
///
/// # Cancel safety
/// Dropping the future of [`advance`](Self::advance), [`depend`](Self::depend) or
/// [`written`](Self::written) before it is ready leaves the change either made or not made.
///
/// # Example
/// ```
/// use tower_response_cache::store::{LocalGenerations, Scope, Strength, Validity};
///
/// # futures::executor::block_on(async {
/// let generations = LocalGenerations::new().namespace("shop");
/// // Read the generation first, then make the entry.
/// let since = generations.current().await?;
/// let scopes = [Scope::path("/flavors"), Scope::tag("menu")];
/// assert_eq!(generations.check(since, &scopes, &[]).await?, Validity::Valid);
///
/// generations.advance(&[Scope::tag("menu")], Strength::Soft).await?;
/// assert_eq!(generations.check(since, &scopes, &[]).await?, Validity::Stale);
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[doc(alias = "invalidation")]
#[doc(alias = "ban")]
#[doc(alias = "purge")]
#[doc(alias = "surrogate key")]
pub trait Generations: fmt::Debug + Send + Sync {
    /// Returns the generation that entries made from now on carry.
    fn current(&self) -> StoreFuture<Generation>;

    /// Returns the generation of the last hard invalidation of [`Scope::EVERYTHING`] or
    /// [`Scope::VALUES`], or the first generation of the incarnation if there was none.
    ///
    /// Counters carry no generation. The cache puts the result into the keys of counters, so that
    /// such an invalidation hides all counters.
    fn cleared(&self) -> StoreFuture<Generation>;

    /// Returns what this process knows of [`cleared`](Self::cleared), without a request; `None` if it
    /// keeps no copy of the invalidations. The result may be outdated.
    ///
    /// The cache then looks up a value in one round trip: it makes the key from this generation,
    /// and [`cleared_at`](Self::cleared_at) verifies the generation. The default returns `None`.
    fn known_cleared(&self) -> Option<Generation> {
        None
    }

    /// Returns the same as [`cleared`](Self::cleared), no older than the generation `read`, which
    /// [`Store::get_at`](super::Store::get_at) returned.
    ///
    /// An implementation that keeps a copy of the invalidations answers from the copy if the copy
    /// has reached `read`. The default calls [`cleared`](Self::cleared).
    fn cleared_at(&self, _read: Generation) -> StoreFuture<Generation> {
        self.cleared()
    }

    /// Returns the state of an entry with a generation, scopes, and the values that it was made
    /// from.
    ///
    /// Every entry has [`Scope::EVERYTHING`], even if the scope is not among `scopes`. Each
    /// dependency is checked against the generation that it carries. The result is the worst of
    /// these states.
    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity>;

    /// Returns the same as [`check`](Self::check), for an entry that
    /// [`Store::get_at`](super::Store::get_at) returned together with the generation `read`.
    ///
    /// An implementation that keeps a copy of the invalidations answers from the copy if the copy
    /// has reached `read`. The default calls [`check`](Self::check).
    fn check_at(
        &self,
        _read: Generation,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        self.check(since, scopes, dependencies)
    }

    /// Invalidates every older entry that has one of the scopes.
    ///
    /// [`Scope::EVERYTHING`] invalidates the whole namespace.
    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()>;

    /// Records that an entry is about to be made from a value, and returns the current generation.
    ///
    /// Call this method before reading the value. In a store whose counter can go back, the first
    /// call for a value advances the counter. Otherwise the store could lose the record of the
    /// dependent unnoticed, and a later write of the value would not invalidate the dependent.
    fn depend(&self, value: Scope) -> StoreFuture<Generation>;

    /// Invalidates the dependents of a value that was just written or removed. If
    /// [`depend`](Self::depend) was never called for the value, nothing is advanced, so that values
    /// without dependents cost nothing.
    ///
    /// Returns the generation that dependencies on the new value carry, or `None` if another writer
    /// has written the value after `since`. `since` is a generation that was current before the
    /// write.
    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>>;
}
