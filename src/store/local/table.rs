//! The invalidations of one namespace: a counter, and a bounded number of marks that only grow.

use super::marks::{DependedValues, ExactScopes, LocalMarks, ScopeGroup};
use super::usage::Usage;
use crate::store::incarnation::{next_incarnation, random};
use crate::store::placement::{EVERYTHING, FIXED, GROUPS, ScopeSlot, Secret, TABLES, VALUES};
use crate::store::{Dependency, Generation, Generations, Scope, StoreFuture, Strength, Validity};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The invalidations of one namespace. Changes take turns. Checks take no lock.
pub(super) struct NamespaceTable {
    incarnation: u64,
    secret: Secret,
    counter: AtomicU64,
    /// The lock for adding a scope or raising a mark. Checks never wait for it.
    turn: Mutex<()>,
    fixed: [LocalMarks; FIXED],
    named: [ExactScopes; TABLES],
    groups: [ScopeGroup; GROUPS],
    depended: DependedValues,
    usage: Usage,
}

impl NamespaceTable {
    pub(super) fn new(seed: Option<u64>, grown: &Arc<AtomicUsize>) -> Self {
        Self {
            incarnation: next_incarnation(),
            secret: seed.map_or_else(|| Secret(random(), random()), |seed| Secret(seed, 0)),
            counter: AtomicU64::new(0),
            turn: Mutex::new(()),
            fixed: Default::default(),
            named: Default::default(),
            groups: Default::default(),
            depended: DependedValues::default(),
            usage: Usage::new(size_of::<Self>(), grown),
        }
    }

    /// Returns how many bytes the table takes.
    pub(super) fn bytes(&self) -> usize {
        self.usage.bytes()
    }

    fn generation(&self, counter: u64) -> Generation {
        Generation::new(self.incarnation, counter)
    }

    fn now(&self) -> u64 {
        self.counter.load(Ordering::SeqCst)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // A panic leaves no change half done under this lock.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises the marks of the scopes, then the counter. Returns the new counter.
    ///
    /// The order matters. A fetch that reads the new counter began after the write that this
    /// invalidation follows. The entry of a fetch that reads the old counter is older than the
    /// marks, so it is invalid. A check that reads the new counter sees the marks. Growth of the
    /// table does not change this, since marks never move.
    fn bump(&self, scopes: &[Scope], strength: Strength) -> u64 {
        let next = self.now() + 1;
        for &scope in scopes {
            self.mark(scope, strength, next);
        }
        self.counter.store(next, Ordering::SeqCst);
        next
    }

    fn mark(&self, scope: Scope, strength: Strength, to: u64) {
        let (hash, usage) = (self.secret.hash(scope), &self.usage);
        let group = match ScopeSlot::of(scope) {
            ScopeSlot::Fixed(at) => return self.fixed[at].bump(strength, to),
            ScopeSlot::Named { table, group } => match self.named[table].get_or_add(scope, hash, usage) {
                Some(marks) => return marks.bump(strength, to),
                None => group,
            },
            ScopeSlot::Rows { group } => group,
        };
        self.groups[group].bump(scope, hash, strength, to, usage);
    }

    /// Returns the state of an entry with this scope and generation.
    fn since(&self, scope: Scope, since: Generation) -> Validity {
        if since.incarnation() != self.incarnation || since.counter() > self.now() {
            return Validity::Invalid;
        }
        let since = since.counter();
        match ScopeSlot::of(scope) {
            ScopeSlot::Fixed(at) => Validity::of(self.fixed[at].since(since)),
            ScopeSlot::Named { table, .. } if self.named[table].is_empty() => Validity::Valid,
            ScopeSlot::Named { table, group } => {
                let hash = self.secret.hash(scope);
                match self.named[table].get(scope, hash) {
                    Some(marks) => Validity::of(marks.since(since)),
                    None if self.named[table].is_full() => self.groups[group].since(scope, hash, since),
                    None => Validity::Valid,
                }
            }
            ScopeSlot::Rows { group } if self.groups[group].exact.is_empty() => Validity::Valid,
            ScopeSlot::Rows { group } => self.groups[group].since(scope, self.secret.hash(scope), since),
        }
    }

    fn is_depended(&self, value: Scope) -> bool {
        // The value was written before this fence. A dependent that is not yet in the table passes
        // the fence of `depend` later, so it reads the new value.
        fence(Ordering::SeqCst);
        !self.depended.is_empty() && self.depended.contains(value, self.secret.hash(value))
    }
}

impl Generations for NamespaceTable {
    #[inline]
    fn current(&self) -> StoreFuture<Generation> {
        StoreFuture::ready(Ok(self.generation(self.now())))
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        let cleared = self.fixed[EVERYTHING].hard().max(self.fixed[VALUES].hard());
        StoreFuture::ready(Ok(self.generation(cleared)))
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let own = std::iter::once(&Scope::EVERYTHING).chain(scopes).map(|&scope| self.since(scope, since));
        let others = dependencies.iter().map(|dependency| self.since(dependency.value, dependency.since));
        StoreFuture::ready(Ok(Validity::worst(own.chain(others))))
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let _turn = self.turn();
        self.bump(scopes, strength);
        StoreFuture::ready(Ok(()))
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        let hash = self.secret.hash(value);
        if !self.depended.contains(value, hash) {
            let _turn = self.turn();
            self.depended.add(value, hash, &self.usage);
        }
        fence(Ordering::SeqCst);
        self.current()
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        if !self.is_depended(value) {
            return StoreFuture::ready(Ok(Some(since)));
        }
        let _turn = self.turn();
        let before = self.since(value, since);
        let next = self.bump(&[value], Strength::Hard);
        let sole = before != Validity::Invalid;
        StoreFuture::ready(Ok(sole.then(|| self.generation(next))))
    }
}

impl fmt::Debug for NamespaceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceTable").field("counter", &self.counter).finish_non_exhaustive()
    }
}
