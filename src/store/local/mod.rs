//! The invalidations of namespaces, in the memory of a process.

mod marks;
mod names;
mod namespaces;
mod table;
mod usage;

use self::namespaces::LocalNamespaces;
use super::Generations;
use std::sync::Arc;

/// The invalidations of a store inside the process, for each namespace.
///
/// Use it as a field of a store inside the process, whose
/// [`Store::generations`](super::Store::generations) returns the result of
/// [`namespace`](Self::namespace). Clones share the invalidations.
///
/// # Memory
/// A namespace grows with the number of scopes that were ever invalidated. There are nine kinds of
/// scope: paths, URIs and tags, each on all hosts or on one, and values, subtrees and hosts. A
/// namespace takes about 6 KiB after one invalidation of each kind.
///
/// Of each kind, the first 5,460 scopes are kept exactly, in 430 KiB. The other scopes of a kind
/// share 2 MiB of buckets, so an invalidation of one scope may also apply to another. After
/// invalidations of 15,000 scopes of one kind, one other scope in 200 counts as invalidated, too. A
/// namespace takes about 21 MiB at most.
///
/// # Idle namespaces
/// A namespace is idle while no handle to it exists. A handle is the result of
/// [`namespace`](Self::namespace); each [`Cache`](crate::cache::Cache) has one. A namespace with a
/// handle is never dropped.
///
/// Of the idle namespaces, the most recently used ones are kept: at most 16,384, which take at most
/// 24 MiB together with their names. Calls of `namespace` drop the others. A dropped namespace
/// begins a new incarnation at its next use, in which all its older entries are invalid.
///
/// # Example
/// ```
/// use tower_response_cache::store::{LocalGenerations, Scope, Strength, Validity};
///
/// # futures::executor::block_on(async {
/// let generations = LocalGenerations::new().namespace("shop");
/// let before = generations.current().await?;
/// let page = Scope::path("/flavors");
/// generations.advance(&[page], Strength::Hard).await?;
/// assert_eq!(generations.check(before, &[page], &[]).await?, Validity::Invalid);
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct LocalGenerations {
    namespaces: Arc<LocalNamespaces>,
    seed: Option<u64>,
}

impl LocalGenerations {
    /// Creates an empty set of namespaces.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty set of namespaces with a fixed secret, for tests. The secret selects the
    /// buckets of scopes.
    ///
    /// By default the secret is random, so that no client can predict which scopes share buckets.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self { seed: Some(seed), ..Self::default() }
    }

    /// Returns a handle to the invalidations of a namespace. All handles to a namespace share its
    /// invalidations.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Arc<dyn Generations> {
        self.namespaces.table(namespace, self.seed)
    }
}
