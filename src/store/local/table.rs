//! The invalidations of one namespace: a counter, and a bounded number of [marks](super::marks).
//! The counter and the marks only grow.

use super::marks::{ExactScopes, LocalMarks, ScopeGroup, ValuesWithDependents};
use super::usage::Usage;
use crate::store::incarnation::{next_incarnation, random};
use crate::store::placement::{EVERYTHING, FIXED, GROUPS, ScopeSlot, Secret, TABLES, VALUES};
use crate::store::{Dependency, Generation, Generations, Scope, StoreFuture, Strength, Validity};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The invalidations of one namespace. Changes hold a lock. Checks hold no lock, and never wait for
/// a change.
pub(super) struct NamespaceTable {
    incarnation: u64,
    secret: Secret,
    counter: AtomicU64,
    /// The lock of changes: held while a scope is added or a mark is set.
    write_lock: Mutex<()>,
    fixed: [LocalMarks; FIXED],
    named: [ExactScopes; TABLES],
    groups: [ScopeGroup; GROUPS],
    values_with_dependents: ValuesWithDependents,
    usage: Usage,
}

impl NamespaceTable {
    pub(super) fn new(seed: Option<u64>, growth: &Arc<AtomicUsize>) -> Self {
        Self {
            incarnation: next_incarnation(),
            secret: seed.map_or_else(|| Secret(random(), random()), |seed| Secret(seed, 0)),
            counter: AtomicU64::new(0),
            write_lock: Mutex::new(()),
            fixed: Default::default(),
            named: Default::default(),
            groups: Default::default(),
            values_with_dependents: ValuesWithDependents::default(),
            usage: Usage::new(size_of::<Self>(), growth),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.usage.bytes()
    }

    fn generation(&self, counter: u64) -> Generation {
        Generation::new(self.incarnation, counter)
    }

    fn current_counter(&self) -> u64 {
        self.counter.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // No code panics in the middle of a change, so a poisoned lock is usable.
        self.write_lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the marks of the scopes to the next counter, then advances the counter. Returns the new
    /// counter.
    ///
    /// The order matters:
    ///
    /// - A fetch that reads the new counter began after the application changed its data.
    /// - A fetch that reads the old counter makes an entry that is older than the marks, and so
    ///   invalid.
    /// - A check that reads the new counter also sees the marks.
    fn bump(&self, scopes: &[Scope], strength: Strength) -> u64 {
        let next = self.current_counter() + 1;
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
    fn validity_since(&self, scope: Scope, since: Generation) -> Validity {
        if since.incarnation() != self.incarnation || since.counter() > self.current_counter() {
            return Validity::Invalid;
        }
        let since = since.counter();
        match ScopeSlot::of(scope) {
            ScopeSlot::Fixed(at) => Validity::of(self.fixed[at].exceed(since)),
            ScopeSlot::Named { table, .. } if self.named[table].is_empty() => Validity::Valid,
            ScopeSlot::Named { table, group } => {
                let hash = self.secret.hash(scope);
                match self.named[table].get(scope, hash) {
                    Some(marks) => Validity::of(marks.exceed(since)),
                    None if self.named[table].is_full() => {
                        self.groups[group].validity_since(scope, hash, since)
                    }
                    None => Validity::Valid,
                }
            }
            ScopeSlot::Rows { group } if self.groups[group].exact.is_empty() => Validity::Valid,
            ScopeSlot::Rows { group } => {
                self.groups[group].validity_since(scope, self.secret.hash(scope), since)
            }
        }
    }

    fn has_dependents(&self, value: Scope) -> bool {
        // The value was written before this fence. If this check misses a concurrent `depend`, the
        // fence of `depend` comes later, so the dependent reads the new value.
        fence(Ordering::SeqCst);
        !self.values_with_dependents.is_empty()
            && self.values_with_dependents.contains(value, self.secret.hash(value))
    }
}

impl Generations for NamespaceTable {
    #[inline]
    fn current(&self) -> StoreFuture<Generation> {
        StoreFuture::ready(Ok(self.generation(self.current_counter())))
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
        let own =
            std::iter::once(&Scope::EVERYTHING).chain(scopes).map(|&scope| self.validity_since(scope, since));
        let others =
            dependencies.iter().map(|dependency| self.validity_since(dependency.value, dependency.since));
        StoreFuture::ready(Ok(Validity::worst(own.chain(others))))
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let _lock = self.lock();
        self.bump(scopes, strength);
        StoreFuture::ready(Ok(()))
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        let hash = self.secret.hash(value);
        if !self.values_with_dependents.contains(value, hash) {
            let _lock = self.lock();
            self.values_with_dependents.add(value, hash, &self.usage);
        }
        fence(Ordering::SeqCst);
        self.current()
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        if !self.has_dependents(value) {
            return StoreFuture::ready(Ok(Some(since)));
        }
        let _lock = self.lock();
        let before = self.validity_since(value, since);
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
