//! The [`Generations`] of a faulty store.

use super::faults::Faults;
use super::operation::Operation;
use crate::store::{Dependency, Generation, Generations, Scope, StoreFuture, Strength, Validity};
use std::sync::Arc;

/// The generations of a [`FaultyStore`](super::FaultyStore).
#[derive(Debug)]
pub(super) struct FaultyGenerations {
    inner: Arc<dyn Generations>,
    faults: Faults,
}

impl FaultyGenerations {
    pub(super) fn new(inner: Arc<dyn Generations>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        lost: T,
        work: impl FnOnce(&dyn Generations) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let inner = Arc::clone(&self.inner);
        self.faults.run(operation, lost, move || work(&*inner))
    }
}

impl Generations for FaultyGenerations {
    fn current(&self) -> StoreFuture<Generation> {
        self.run(Operation::Generation, Generation::new(0, 0), |inner| inner.current())
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        self.run(Operation::Generation, Generation::new(0, 0), |inner| inner.cleared())
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let (scopes, dependencies) = (scopes.to_vec(), dependencies.to_vec());
        self.run(Operation::Generation, Validity::Valid, move |inner| {
            inner.check(since, &scopes, &dependencies)
        })
    }

    fn known_cleared(&self) -> Option<Generation> {
        self.inner.known_cleared()
    }

    fn cleared_at(&self, read: Generation) -> StoreFuture<Generation> {
        self.run(Operation::Generation, Generation::new(0, 0), move |inner| inner.cleared_at(read))
    }

    fn check_at(
        &self,
        read: Generation,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let (scopes, dependencies) = (scopes.to_vec(), dependencies.to_vec());
        self.run(Operation::Generation, Validity::Valid, move |inner| {
            inner.check_at(read, since, &scopes, &dependencies)
        })
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let scopes = scopes.to_vec();
        self.run(Operation::Invalidation, (), move |inner| inner.advance(&scopes, strength))
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.run(Operation::Generation, Generation::new(0, 0), move |inner| inner.depend(value))
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.run(Operation::Invalidation, Some(since), move |inner| inner.written(value, since))
    }
}
