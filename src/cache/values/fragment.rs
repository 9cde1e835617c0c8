//! Fragments of pages, by name and inputs.

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

/// A fragment of a page: a value with a name. The cache keeps a copy of the fragment for each list
/// of inputs.
///
/// List every input that the fragment is rendered from, such as the host, the language or the
/// visitor. Different lists never share a copy, regardless of the characters in the inputs. The
/// cache cannot enumerate the copies. To be able to invalidate all of them, give the fragment a
/// [tag](Self::tags).
///
/// [`Cache::fragment`] creates it. A page that is made from a fragment depends on it.
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
    /// A handle with the options of the fragment, but without a name. [`value`](Self::value())
    /// returns this handle with the name of a copy.
    value: Value<'a>,
}

impl Cache {
    /// Returns a handle to the fragment with a name. The methods of [`Fragment`] set the inputs, the
    /// TTL and the tags of the fragment, and render or delete it.
    ///
    /// A fragment and a value are separate even if the name of one is the key of the other.
    pub fn fragment(&self, name: impl AsRef<[u8]>) -> Fragment<'_> {
        Fragment {
            name: name.as_ref().to_vec(),
            vary_on: Vec::new(),
            value: self.value_named(Name::unnamed()),
        }
    }
}

impl<'a> Fragment<'a> {
    /// Adds inputs that the fragment varies on. The same inputs in another order select another
    /// copy.
    pub fn vary_on<A: AsRef<[u8]>>(mut self, parts: impl IntoIterator<Item = A>) -> Self {
        self.vary_on.extend(parts.into_iter().map(|part| part.as_ref().to_vec()));
        self
    }

    /// Sets the TTL of the fragment. See [`Value::ttl`].
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.value = self.value.ttl(ttl);
        self
    }

    /// Adds tags. [`Invalidation::tag`](crate::Invalidation::tag) invalidates all fragments, values
    /// and pages with a tag, and their dependents.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.value = self.value.tags(tags);
        self
    }

    /// Sets the stale window: how long after its TTL the fragment may be used while one call renders
    /// it again. See [`Value::stale_while_revalidate`].
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.value = self.value.stale_while_revalidate(window);
        self
    }

    /// Returns the fragment. If it is absent, renders and stores it. See [`Value::get_or_set`].
    ///
    /// A `Result` is a value like any other: an `Err` is stored, too. If rendering can fail, use
    /// [`try_get_or_render`](Self::try_get_or_render).
    ///
    /// # Errors
    /// - [`ValueError::Unwritable`] if the fragment can't be written as MessagePack.
    /// - [`ValueError::Loop`] if a fifth nested rendering of the fragment would begin.
    ///
    /// # Cancel safety
    /// If the call that renders is dropped, a follower renders the fragment.
    pub async fn get_or_render<M, V>(&self, render: V) -> Result<V::Value, ValueError>
    where
        V: IntoValue<M>,
        V::Value: Serialize + DeserializeOwned,
    {
        self.value().get_or_set(render).await
    }

    /// Returns the fragment. If it is absent, renders the fragment, and stores it if rendering
    /// succeeds. See [`Value::try_get_or_set`].
    ///
    /// # Errors
    /// - [`ComputeError::Failed`] if rendering fails.
    /// - [`ComputeError::Unwritable`] if the fragment can't be written as MessagePack.
    /// - [`ComputeError::Loop`] if a fifth nested rendering of the fragment would begin.
    ///
    /// # Cancel safety
    /// If the call that renders is dropped, a follower renders the fragment.
    pub async fn try_get_or_render<T, E, F, Fut>(&self, render: F) -> Result<T, ComputeError<E>>
    where
        T: Serialize + DeserializeOwned,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.value().try_get_or_set(render).await
    }

    /// Removes the copy for the inputs of this handle, and returns `true` if the copy was present
    /// and fresh. Invalidates the dependents of the copy.
    ///
    /// # Errors
    /// If the store fails. The removal is then queued: see [`Value::delete`].
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the removal may or may not have taken effect.
    pub async fn delete(&self) -> Result<bool, StoreError> {
        self.value().delete().await
    }

    /// Returns a handle to the value that holds the copy for the inputs of this handle.
    fn value(&self) -> Value<'a> {
        let parts = std::iter::once(&self.name).chain(&self.vary_on).map(Vec::as_slice);
        let name = Name::of_parts(self.value.cache.version(), b"fragment", parts);
        self.value.with_name(name)
    }
}
