//! What depends on a model of the application.

/// A type, typically a model of the application, that lists the paths and tags that depend on it.
///
/// [`Cache::invalidate`](crate::cache::Cache::invalidate) accepts a reference to it. Call `invalidate` once the
/// change is committed. If the change removes the model, compute its dependents before. Name the pages of related
/// models, too.
///
/// # Example
/// ```
/// use tower_response_cache::{Cache, MemoryStore};
/// use tower_response_cache::invalidation::Dependents;
///
/// struct Flavour { id: u64, slug: String }
///
/// impl Dependents for Flavour {
///     fn paths(&self) -> Vec<String> {
///         vec![format!("/flavours/{}", self.slug), "/".to_owned()]
///     }
///     fn tags(&self) -> Vec<String> {
///         vec![format!("flavour:{}", self.id)]
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let vanilla = Flavour { id: 7, slug: "vanilla".to_owned() };
/// cache.invalidate(&vanilla).await?;
/// # Ok::<_, tower_response_cache::error::StoreError>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name what depends on it",
    note = "pass a path, an `Invalidation`, or a reference to a type that implements `Dependents`"
)]
pub trait Dependents {
    /// Returns the paths, as [`Invalidation::path`](super::Invalidation::path) takes them.
    fn paths(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the tags.
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
