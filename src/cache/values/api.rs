//! One value at a time, as in Django's `django.core.cache`.

use crate::cache::Cache;
use crate::error::{StoreError, ValueError};
use crate::policy::Ttl;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Cache {
    /// Returns the value under a key, or `None` if there is none.
    ///
    /// A value counts as absent if it has another type, is damaged, has expired or was invalidated. A `DEBUG` event
    /// (feature `tracing`) reports a value that can't be read; the next `set` or `get_or_set` replaces it. If
    /// `None` was set as an `Option`, `get::<Option<T>>` returns `Some(None)`.
    ///
    /// A page or a value that this task is making depends on the value: it is invalidated when the value is set or
    /// deleted, and lives no longer than the value. If there is no value, the page is invalidated when one is set,
    /// but not when one is computed: use [`get_or_set`](Self::get_or_set) there, too.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
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

    /// Returns the bytes that [`set_bytes`](Self::set_bytes) has set under a key, or `None` if there are none.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
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

    /// Sets the value under a key for a time, and returns whether it is stored. See
    /// [`Value::set`](crate::values::Value::set).
    ///
    /// The TTL is a [`Duration`](std::time::Duration), an `Option<Duration>` (`None` is for ever) or a [`Ttl`].
    ///
    /// # Errors
    /// If the value can't be written as MessagePack, or the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn set<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: impl Into<Ttl>,
    ) -> Result<bool, ValueError> {
        self.value(key).ttl(ttl).set(value).await
    }

    /// Sets the value under a key to bytes as they are, and returns whether they are stored.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn set_bytes(
        &self,
        key: impl AsRef<[u8]>,
        bytes: impl Into<Bytes>,
        ttl: impl Into<Ttl>,
    ) -> Result<bool, StoreError> {
        self.value(key).ttl(ttl).set_bytes(bytes).await
    }

    /// Sets the value under a key atomically if there is none, and returns whether it did. With a TTL of zero, it
    /// sets nothing and returns `false`.
    ///
    /// # Errors
    /// If the value can't be written as MessagePack, or the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
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
    /// assert!(!cache.add("lock", "somebody else", minute).await?);
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

    /// Removes the value or the counter under a key, and returns whether there was one that had not expired. Pages and values
    /// that were made from the value are invalidated.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        self.value(key).delete().await
    }

    /// Returns `true` if there is a value or a counter under a key, of any type, that has not expired.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        self.value(key).contains().await
    }

    /// Sets the time from now for which the value under a key lives, and returns whether there is one. Zero removes it. See
    /// [`Value::touch`](crate::values::Value::touch).
    ///
    /// # Errors
    /// If the store fails, or others changed the value in each of 64 tries.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> Result<bool, StoreError> {
        self.value(key).ttl(ttl).touch().await
    }
}
