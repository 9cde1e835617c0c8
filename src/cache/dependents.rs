//! The paths and tags that depend on a model of the application.

/// A type that lists the paths and tags that depend on it, typically a model of the application.
///
/// [`Cache::invalidate`](crate::cache::Cache::invalidate) accepts a reference to such a type.
/// Invalidate after the change is committed. If the change deletes the model, build the
/// invalidation before the change, while the model still exists. Also list the pages of related
/// models.
///
/// # Example
/// ```
/// use tower_response_cache::{Cache, MemoryStore};
/// use tower_response_cache::invalidation::Dependents;
///
/// struct Flavor { id: u64, slug: String }
///
/// impl Dependents for Flavor {
///     fn paths(&self) -> Vec<String> {
///         vec![format!("/flavors/{}", self.slug), "/".to_owned()]
///     }
///     fn tags(&self) -> Vec<String> {
///         vec![format!("flavor:{}", self.id)]
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let vanilla = Flavor { id: 7, slug: "vanilla".to_owned() };
/// let _ = cache.invalidate(&vanilla).await;
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not list its dependents",
    note = "pass a path, an `Invalidation`, or a reference to a type that implements `Dependents`"
)]
pub trait Dependents {
    /// Returns the paths of the dependent pages, in the form that
    /// [`Invalidation::path`](super::Invalidation::path) accepts. By default, the list is empty.
    fn paths(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the tags of the dependent pages and values. By default, the list is empty.
    fn tags(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<D: Dependents> Dependents for [D] {
    fn paths(&self) -> Vec<String> {
        self.iter().flat_map(D::paths).collect()
    }

    fn tags(&self) -> Vec<String> {
        self.iter().flat_map(D::tags).collect()
    }
}
