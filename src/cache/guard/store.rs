//! A store outside the process, whose operations run through a [`StoreGuard`].

use super::store_guard::{GuardedOperation, StoreGuard};
use crate::entry::{Entry, Generation};
use crate::key::KeyRef;
use crate::store::{Generations, InitialCounter, PutMode, Store, StoreFuture};
use std::sync::Arc;
use std::time::Duration;

/// A store whose operations have a time limit and a circuit breaker.
#[derive(Debug)]
pub(super) struct GuardedStore(Arc<StoreGuard>);

impl GuardedStore {
    pub(super) fn new(guard: &Arc<StoreGuard>) -> Self {
        Self(Arc::clone(guard))
    }
}

impl Store for GuardedStore {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.0.run(GuardedOperation::Lookup, || self.0.unguarded().get(key))
    }

    fn get_at(&self, namespace: &str, key: KeyRef<'_>) -> StoreFuture<(Option<Entry>, Option<Generation>)> {
        self.0.run(GuardedOperation::Lookup, || self.0.unguarded().get_at(namespace, key))
    }

    fn peek(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.0.run(GuardedOperation::Lookup, || self.0.unguarded().peek(key))
    }

    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        self.0.run(GuardedOperation::Write, || self.0.unguarded().put(key, entry, ttl, mode))
    }

    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        self.0.run(GuardedOperation::Write, || self.0.unguarded().remove(key))
    }

    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.0.run(GuardedOperation::Write, || self.0.unguarded().increment(key, delta, initial))
    }

    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        self.0.run(GuardedOperation::Write, || self.0.unguarded().compare_and_set(key, expected, new, ttl))
    }

    fn get_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<Option<Entry>>> {
        self.0.run(GuardedOperation::Lookup, || self.0.unguarded().get_many(keys))
    }

    fn get_many_at(
        &self,
        namespace: &str,
        keys: &[KeyRef<'_>],
    ) -> StoreFuture<(Vec<Option<Entry>>, Option<Generation>)> {
        self.0.run(GuardedOperation::Lookup, || self.0.unguarded().get_many_at(namespace, keys))
    }

    fn put_many(&self, entries: &[(KeyRef<'_>, Entry, Option<Duration>)]) -> StoreFuture<Vec<bool>> {
        self.0.run(GuardedOperation::Write, || self.0.unguarded().put_many(entries))
    }

    fn remove_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<bool>> {
        self.0.run(GuardedOperation::Write, || self.0.unguarded().remove_many(keys))
    }

    fn touch(&self, key: KeyRef<'_>, ttl: Option<Duration>) -> StoreFuture<bool> {
        self.0.run(GuardedOperation::Write, || self.0.unguarded().touch(key, ttl))
    }

    /// Returns the generations without a guard: the caller wraps them in `GuardedGenerations`.
    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        self.0.unguarded().generations(namespace)
    }

    fn is_local(&self) -> bool {
        self.0.unguarded().is_local()
    }

    fn largest_entry(&self) -> Option<u64> {
        self.0.unguarded().largest_entry()
    }
}
