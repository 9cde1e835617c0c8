//! Invalidations, as a store keeps them: what every implementation promises.

use super::{Dependency, Generation, Scope, StoreFuture};
use std::fmt;

/// What the invalidations of a namespace say of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// No invalidation since its generation names one of its scopes.
    Valid,
    /// It was invalidated, and may be used as one that has become stale may.
    Stale,
    /// It was invalidated and must not be used, or its generation is ahead of the counter or of another incarnation.
    Invalid,
}

impl Validity {
    /// Returns what marks say: whether a hard, and whether a soft invalidation is newer than the entry.
    pub(super) fn of((hard, soft): (bool, bool)) -> Self {
        match (hard, soft) {
            (true, _) => Self::Invalid,
            (false, true) => Self::Stale,
            (false, false) => Self::Valid,
        }
    }

    /// Returns what marks in several rows say, of which a scope's own invalidation is in all.
    pub(super) fn in_all(rows: impl Iterator<Item = (bool, bool)>) -> Self {
        let mut all = (true, true);
        for (hard, soft) in rows {
            all = (all.0 && hard, all.1 && soft);
            if all == (false, false) {
                break;
            }
        }
        Self::of(all)
    }

    /// Returns what several findings come to.
    pub(super) fn worst(all: impl Iterator<Item = Self>) -> Self {
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

/// How much an invalidation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Entries are invalid.
    Hard,
    /// Entries are stale: their stale windows still serve. This never undoes a [`Hard`](Self::Hard) one.
    Soft,
}

/// The invalidations of one namespace.
///
/// # Contract
/// An entry is valid if it carries the generation that was [`current`](Self::current) before the
/// work that made it began, and no later [`advance`](Self::advance) named a scope of it. Once
/// `advance` has returned, no [`check`](Self::check) on any machine may call an older entry of
/// these scopes valid. Nothing a store evicts may make it valid again: a store that lost the
/// counter begins a new incarnation, under which every older entry is invalid. A store that drops a namespace without a
/// handle does the same.
///
/// The counter only grows, and a generation becomes current no sooner than the invalidation that led to it
/// can be seen by every check: who reads a generation and then finds an entry valid may go on taking it for
/// valid while that generation is current.
///
/// An entry of another incarnation, or ahead of the counter, is never valid. A counter that goes back (a
/// replica takes over, a snapshot is restored) has lost invalidations. That is noticed by a process that has
/// seen a later generation, and through an entry that was made after a lost invalidation; the store begins a
/// new incarnation then. A lost invalidation goes unnoticed if no running process has seen it and no entry was
/// made after it.
///
/// A counter that went back may be advanced again before any process notices. Therefore each advance has a random
/// [stamp](Generation::stamp), and the store keeps the stamps of the last advances with the counter. A generation
/// with another stamp than the kept one is of a history that was lost: its entry is invalid, and a new incarnation
/// begins. The record that this crate keeps in a store has the last 256 stamps; older generations are not compared.
/// Stamps are 0 in a store whose counter cannot go back.
///
/// An entry whose incarnation begins more than ten years from now is invalid, and begins no new incarnation.
///
/// Scopes are the same in every process. An implementation with buckets keeps several rows of them and treats an
/// entry as invalid only if its bucket in every row is newer. Clients cannot know the secret that selects the buckets;
/// [wide](Scope::is_wide) scopes share no bucket with others.
pub trait Generations: fmt::Debug + Send + Sync {
    /// Returns the generation that entries made from now on carry.
    fn current(&self) -> StoreFuture<Generation>;

    /// Returns the generation of the last time that [`Scope::EVERYTHING`] or [`Scope::VALUES`] was invalidated
    /// ([`Strength::Hard`]), or the first one of the incarnation: counters, which carry no generation themselves, have it in their
    /// keys.
    fn cleared(&self) -> StoreFuture<Generation>;

    /// Returns `true` if an entry is still valid: of a generation, scopes, and values that it was made from.
    /// [`Scope::EVERYTHING`] is always among the scopes.
    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity>;

    /// Invalidates all that carries one of the scopes; [`Scope::EVERYTHING`] is all of the namespace.
    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()>;

    /// Notes that something is about to be made from a value, and returns the current generation: before the
    /// value is read. A store whose counter can go back advances it if this is new: else a write of the value
    /// after that would find no dependent.
    fn depend(&self, value: Scope) -> StoreFuture<Generation>;

    /// Invalidates what was made from a value that was written or removed just now, where
    /// [`depend`](Self::depend) was ever called for it; else nothing is advanced, so that values nobody
    /// depends on cost nothing.
    ///
    /// Returns the generation as of which what is made from the new value counts, or `None` if somebody else
    /// has written it since `since`, a generation that was current before the write.
    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>>;
}
