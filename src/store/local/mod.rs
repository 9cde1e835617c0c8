//! Invalidations in the memory of a process.

mod marks;
mod names;
mod namespaces;
mod table;
mod usage;

use self::namespaces::LocalNamespaces;
use super::Generations;
use std::sync::Arc;

/// The invalidations of a store inside the process, by namespace.
///
/// A store inside the process has a field of this type, and returns [`namespace`](Self::namespace)
/// from [`Store::generations`](super::Store::generations). Clones share the invalidations.
///
/// # Memory
/// A namespace grows with the number of invalidated scopes. The kinds of scope are paths, URIs and
/// tags, each on all hosts or on one, and values, subtrees and hosts. A namespace takes about 6 KiB
/// after one invalidation of each kind.
///
/// The first 5,460 scopes of each kind are exact and take 430 KiB. All others of a kind share 2 MiB
/// of buckets. A namespace takes about 21 MiB at most. After invalidations of 15,000 scopes of one
/// kind, one unrelated scope in 200 counts as invalidated.
///
/// # Idle namespaces
/// A namespace is idle while no handle to it exists, such as a [`Cache`](crate::cache::Cache). The
/// most recently used idle namespaces are kept: at most 16,384, which take at most 24 MiB together
/// with their names. The others are dropped when handles are requested. A dropped namespace begins
/// a new incarnation at its next use: all entries of it are invalid. A namespace with a handle is
/// never dropped.
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

    /// Creates an empty set of namespaces with a fixed secret for the choice of buckets, for tests.
    ///
    /// By default the secret is random, so that no client can predict which scopes share buckets.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self { seed: Some(seed), ..Self::default() }
    }

    /// Returns a handle to the invalidations of a namespace. Handles that exist at the same time
    /// share them.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Arc<dyn Generations> {
        self.namespaces.table(namespace, self.seed)
    }
}
