//! Fragments of pages, by a name and what they vary on.

use super::compute_error::ComputeError;
use super::into_value::IntoValue;
use super::name::Name;
use super::value::Value;
use crate::cache::Cache;
use crate::error::{StoreError, ValueError};
use crate::policy::Ttl;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::time::Duration;

/// A fragment of a page: a value with a name, and one copy for each list of inputs that it varies on.
///
/// List every input that the fragment is rendered from, such as the host, the language or the visitor. Lists with
/// different parts never share a copy, whatever characters the parts have. The cache has no list of the copies: to
/// invalidate all of them, use a [tag](Self::tags).
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::{Cache, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let menu = cache.fragment("menu").vary_on(["shop.example", "en"]).ttl(Duration::from_secs(3600)).tags(["menu"]);
/// let html = menu.get_or_render(|| async { "<ul></ul>".to_owned() }).await?;
/// assert_eq!(html, "<ul></ul>");
/// assert!(menu.delete().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a fragment does nothing unless it is rendered or deleted"]
#[doc(alias = "donut")]
pub struct Fragment<'a> {
    name: Vec<u8>,
    vary_on: Vec<Vec<u8>>,
    /// With everything but the name.
    value: Value<'a>,
}

impl Cache {
    /// Names a fragment of a page. [`Fragment`] sets what it varies on, its TTL and its tags, and renders or deletes it.
    pub fn fragment(&self, name: impl AsRef<[u8]>) -> Fragment<'_> {
        Fragment {
            name: name.as_ref().to_vec(),
            vary_on: Vec::new(),
            value: self.value_named(Name::unnamed()),
        }
    }
}

impl<'a> Fragment<'a> {
    /// Adds to the list of what the fragment varies on. The order counts.
    pub fn vary_on<A: AsRef<[u8]>>(mut self, parts: impl IntoIterator<Item = A>) -> Self {
        self.vary_on.extend(parts.into_iter().map(|part| part.as_ref().to_vec()));
        self
    }

    /// Sets how long the fragment lives. See [`Value::ttl`].
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.value = self.value.ttl(ttl);
        self
    }

    /// Adds tags, by which the fragment, and what is made from it, can be invalidated.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.value = self.value.tags(tags);
        self
    }

    /// Sets for how long past its TTL the fragment is used while one task renders it again. See
    /// [`Value::stale_while_revalidate`].
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.value = self.value.stale_while_revalidate(window);
        self
    }

    /// Returns the fragment; if there is none, renders and stores it. See [`Value::get_or_set`].
    ///
    /// # Errors
    /// If the fragment can't be written as MessagePack, or needs itself without end.
    ///
    /// # Cancel safety
    /// That of [`Value::get_or_set`].
    pub async fn get_or_render<M, V>(&self, render: V) -> Result<V::Value, ValueError>
    where
        V: IntoValue<M>,
        V::Value: Serialize + DeserializeOwned,
    {
        self.value().get_or_set(render).await
    }

    /// Returns the fragment; if there is none, renders and stores it, unless that fails. See [`Value::try_get_or_set`].
    ///
    /// # Errors
    /// If rendering fails, the fragment can't be written as MessagePack, or it needs itself without end.
    ///
    /// # Cancel safety
    /// That of [`Value::get_or_set`].
    pub async fn try_get_or_render<T, E, F, Fut>(&self, render: F) -> Result<T, ComputeError<E>>
    where
        T: Serialize + DeserializeOwned,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.value().try_get_or_set(render).await
    }

    /// Removes the copy for what the fragment varies on, and returns whether there was one. Pages made from it are invalidated.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn delete(&self) -> Result<bool, StoreError> {
        self.value().delete().await
    }

    /// Returns the value that the fragment is stored as.
    fn value(&self) -> Value<'a> {
        let parts = std::iter::once(&self.name).chain(&self.vary_on).map(Vec::as_slice);
        let name = Name::of_parts(self.value.cache.version(), b"fragment", parts);
        self.value.named(name)
    }
}
