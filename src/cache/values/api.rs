//! Methods for one value, as in Django's `django.core.cache`.

use crate::cache::Cache;
use crate::error::{StoreError, ValueError};
use crate::policy::Ttl;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Cache {
    /// Returns the value under a key, or `None` if it is absent.
    ///
    /// A value counts as absent if it has another type, is damaged, has expired or was invalidated.
    /// A `DEBUG` event (feature `tracing`) reports a value that can't be read. The next `set` or
    /// `get_or_set` replaces such a value. For a stored `None`, `get::<Option<T>>` returns
    /// `Some(None)`.
    ///
    /// # Dependencies
    /// The page or value that the current task makes becomes a dependent of this value. The dependent
    /// expires no later than this value, and is invalidated if this value is set, deleted or
    /// invalidated.
    ///
    /// If this value is absent, the dependent is invalidated once a value is set. A value that
    /// [`get_or_set`](Self::get_or_set) computes does not invalidate the dependent. If other code
    /// computes the value with `get_or_set`, call `get_or_set` here, too.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.set("greeting", "hello", Duration::from_secs(60)).await?;
    /// assert_eq!(cache.get::<String>("greeting").await?.as_deref(), Some("hello"));
    /// assert_eq!(cache.get::<u64>("greeting").await?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, StoreError> {
        self.value(key).get().await
    }

    /// Returns the bytes that [`set_bytes`](Self::set_bytes) stored under a key, or `None` if they
    /// are absent.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.set_bytes("pixel", &b"GIF89a"[..], Duration::from_secs(60)).await?;
    /// assert_eq!(cache.get_bytes("pixel").await?.as_deref(), Some(&b"GIF89a"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_bytes(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, StoreError> {
        self.value(key).get_bytes().await
    }

    /// Stores a value under a key with a TTL, and returns `true` if the store accepts the value.
    /// See [`Value::set`](crate::values::Value::set).
    ///
    /// The TTL is a [`Duration`](std::time::Duration), an `Option<Duration>` (`None` means forever)
    /// or a [`Ttl`]. The dependents of the previous value are invalidated.
    ///
    /// # Errors
    /// - [`ValueError::Unwritable`] if the value can't be written as MessagePack.
    /// - [`ValueError::Store`] if the store fails. The previous value may be lost.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the write may or may not have taken effect.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore, Ttl};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.set("rate", &1.08, Duration::from_secs(60)).await?;
    /// cache.set("motto", "brrr", None).await?; // Forever.
    /// cache.set("greeting", "hello", Ttl::Default).await?; // Five minutes, unless the builder sets another TTL.
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: impl Into<Ttl>,
    ) -> Result<bool, ValueError> {
        self.value(key).ttl(ttl).set(value).await
    }

    /// Stores bytes under a key without encoding them, and returns `true` if the store accepts
    /// them.
    ///
    /// # Errors
    /// If the store fails. The previous value may be lost.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the write may or may not have taken effect.
    pub async fn set_bytes(
        &self,
        key: impl AsRef<[u8]>,
        bytes: impl Into<Bytes>,
        ttl: impl Into<Ttl>,
    ) -> Result<bool, StoreError> {
        self.value(key).ttl(ttl).set_bytes(bytes).await
    }

    /// Stores a value atomically if the key has no value, and returns `true` if the store accepts
    /// the value. With a TTL of zero, stores nothing and returns `false`.
    ///
    /// Use it to implement a lock with an expiry. See [`Value::add`](crate::values::Value::add).
    ///
    /// # Errors
    /// - [`ValueError::Unwritable`] if the value can't be written as MessagePack.
    /// - [`ValueError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the write may or may not have taken effect.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let minute = Duration::from_secs(60);
    /// assert!(cache.add("lock", "me", minute).await?);
    /// assert!(!cache.add("lock", "another task", minute).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn add<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: impl Into<Ttl>,
    ) -> Result<bool, ValueError> {
        self.value(key).ttl(ttl).add(value).await
    }

    /// Removes the value or counter under a key, and returns `true` if it was present and fresh.
    /// Invalidates the pages and values that depend on the value.
    ///
    /// # Errors
    /// If the store fails. The removal is then queued: see
    /// [`Value::delete`](crate::values::Value::delete).
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the removal may or may not have taken effect.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        self.value(key).delete().await
    }

    /// Returns `true` if there is a counter or a fresh value of any type under a key.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        self.value(key).contains().await
    }

    /// Sets the TTL of the value or counter under a key, counted from now, and returns `true` if
    /// the key has a value or counter. A TTL of zero removes it.
    ///
    /// The value loses its stale window. To keep the window, use
    /// [`Value::touch`](crate::values::Value::touch) on a handle with the same window.
    ///
    /// # Errors
    /// - [`StoreErrorKind::Contended`](crate::error::StoreErrorKind::Contended) if other tasks
    ///   changed the value during each of 64 attempts.
    /// - Any other kind if the store fails.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the change may or may not have taken effect.
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> Result<bool, StoreError> {
        self.value(key).ttl(ttl).touch().await
    }
}
