//! Invalidations in this process's memory.

mod marks;
mod names;
mod namespaces;
mod table;
mod usage;

use self::namespaces::LocalNamespaces;
use super::Generations;
use std::sync::Arc;

/// The invalidations of a store that lives in this process, by namespace.
///
/// A namespace grows with the number of different scopes that were invalidated in it. It takes about 6 KiB after one
/// invalidation of each kind of scope (paths, URIs and tags, each on all hosts or on one; values, subtrees, hosts). The
/// first 5,460 scopes of each kind are exact and take 430 KiB; all others of a kind share 2 MiB of buckets. That is about
/// 21 MiB at most. Of 15,000 scopes of one kind, an unrelated one counts as invalidated once in 200.
///
/// # Idle namespaces
/// A namespace is idle while no handle to it exists, such as a [`Cache`](crate::Cache). The idle namespaces that
/// were used last are kept, at most 16,384, and as many as take 24 MiB together, names included. Others are dropped when
/// further handles are made. A dropped namespace begins a new incarnation when it is next used: everything that was stored in it is invalid.
/// A namespace that a handle exists for is never dropped.
///
/// # Example
/// ```
/// use tower_response_cache::store::{LocalGenerations, Scope, Strength, Validity};
///
/// # futures::executor::block_on(async {
/// let generations = LocalGenerations::new().namespace("shop");
/// let before = generations.current().await?;
/// let page = Scope::path("/flavours");
/// generations.advance(&[page], Strength::Hard).await?;
/// assert_eq!(generations.check(before, &[page], &[]).await?, Validity::Invalid);
/// # Ok::<_, tower_response_cache::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct LocalGenerations {
    namespaces: Arc<LocalNamespaces>,
    seed: Option<u64>,
}

impl LocalGenerations {
    /// Creates the invalidations of no namespace yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the same, with a fixed secret for the choice of buckets, for tests. By default the secret is
    /// random, so that nobody can tell which scopes share buckets.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self { seed: Some(seed), ..Self::default() }
    }

    /// Returns a handle to the invalidations of a namespace. All handles to a namespace that exist at the same time share
    /// them.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Arc<dyn Generations> {
        self.namespaces.request(namespace, self.seed)
    }
}
