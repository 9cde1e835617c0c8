//! Computed values, without a [`Value`](crate::values::Value) handle.

use super::compute_error::ComputeError;
use super::into_value::IntoValue;
use crate::cache::Cache;
use crate::error::ValueError;
use crate::policy::Ttl;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;

impl Cache {
    /// Returns the value under a key. If it is absent, computes the value and stores it with a
    /// TTL.
    ///
    /// `value` is a plain value, a closure, a future, or a closure that returns a future: see
    /// [`IntoValue`]. Of concurrent calls in this process, one computes the value, and the others
    /// wait: see [`Value::get_or_set`](crate::values::Value::get_or_set).
    ///
    /// A `Result` is a value like any other: an `Err` is stored, too. If the computation can fail,
    /// use [`try_get_or_set`](Self::try_get_or_set).
    ///
    /// Prefer a closure that reads the data. A plain value counts as computed when the call begins,
    /// even if its data was read before an invalidation.
    ///
    /// # Errors
    /// - [`ValueError::Unwritable`] if the value can't be written as MessagePack.
    /// - [`ValueError::Loop`] if a fifth nested computation of the value would begin.
    ///
    /// A failure of the store is not an error. The value is then computed without the store, and
    /// [`store_errors`](Self::store_errors) counts the failure.
    ///
    /// # Cancel safety
    /// If the call that computes is dropped, a waiting call computes the value.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let minute = Duration::from_secs(60);
    /// let sum = cache.get_or_set("sum", minute, || async { (1..=100).sum::<u64>() }).await?;
    /// assert_eq!((sum, cache.get("sum").await?), (5050, Some(5050_u64)));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "stampede")]
    #[doc(alias = "thundering herd")]
    #[doc(alias = "single-flight")]
    #[doc(alias = "dogpile")]
    pub async fn get_or_set<M, V>(
        &self,
        key: impl AsRef<[u8]>,
        ttl: impl Into<Ttl>,
        value: V,
    ) -> Result<V::Value, ValueError>
    where
        V: IntoValue<M>,
        V::Value: Serialize + DeserializeOwned,
    {
        self.value(key).ttl(ttl).get_or_set(value).await
    }

    /// Returns the value under a key. If it is absent, computes the value and stores it with a TTL
    /// unless the computation fails.
    ///
    /// See [`Value::try_get_or_set`](crate::values::Value::try_get_or_set).
    ///
    /// # Errors
    /// - [`ComputeError::Failed`] if the computation fails.
    /// - [`ComputeError::Unwritable`] if the value can't be written as MessagePack.
    /// - [`ComputeError::Loop`] if a fifth nested computation of the value would begin.
    ///
    /// # Cancel safety
    /// If the call that computes is dropped, a waiting call computes the value.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let parse = || async { "7".parse::<u8>() };
    /// assert_eq!(cache.try_get_or_set("number", Duration::from_secs(60), parse).await?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_get_or_set<T, E, F, Fut>(
        &self,
        key: impl AsRef<[u8]>,
        ttl: impl Into<Ttl>,
        compute: F,
    ) -> Result<T, ComputeError<E>>
    where
        T: Serialize + DeserializeOwned,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.value(key).ttl(ttl).try_get_or_set(compute).await
    }
}
