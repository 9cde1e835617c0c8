//! The generations of a store outside the process, behind its guard.

use super::store_guard::{GuardedOperation, StoreGuard};
use crate::entry::{Dependency, Generation, Scope};
use crate::store::{Generations, StoreFuture, Strength, Validity};
use std::sync::Arc;

/// Generations whose operations run through a [`StoreGuard`]: within time limits, and only if the
/// circuit permits them.
#[derive(Debug)]
pub(super) struct GuardedGenerations {
    inner: Arc<dyn Generations>,
    guard: Arc<StoreGuard>,
}

impl GuardedGenerations {
    pub(super) fn new(inner: Arc<dyn Generations>, guard: &Arc<StoreGuard>) -> Self {
        Self { inner, guard: Arc::clone(guard) }
    }
}

impl Generations for GuardedGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        self.guard.run(GuardedOperation::Lookup, || self.inner.current())
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        self.guard.run(GuardedOperation::Lookup, || self.inner.cleared())
    }

    fn known_cleared(&self) -> Option<Generation> {
        self.inner.known_cleared()
    }

    fn cleared_at(&self, read: Generation) -> StoreFuture<Generation> {
        self.guard.run(GuardedOperation::Lookup, || self.inner.cleared_at(read))
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        self.guard.run(GuardedOperation::Lookup, || self.inner.check(since, scopes, dependencies))
    }

    fn check_at(
        &self,
        read: Generation,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        self.guard.run(GuardedOperation::Lookup, || self.inner.check_at(read, since, scopes, dependencies))
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        self.guard.run(GuardedOperation::Invalidation, || self.inner.advance(scopes, strength))
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.guard.run(GuardedOperation::Write, || self.inner.depend(value))
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.guard.run(GuardedOperation::Invalidation, || self.inner.written(value, since))
    }
}
