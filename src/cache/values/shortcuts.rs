//! Computed values in one call, and fragments of pages.

use super::{Cache, ComputeError, Name, Value};
use crate::error::ValueError;
use crate::policy::Ttl;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;

impl Cache {
    /// Returns the value under a key; where there is none, computes it and sets it for a time. Of many who ask at
    /// a time, one computes it: see [`Value::get_or_set`].
    ///
    /// # Errors
    /// If the value can't be written as MessagePack.
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
    /// assert_eq!((sum, cache.get("sum").await?), (5050, 5050_u64));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_set<T, F, Fut>(
        &self,
        key: impl AsRef<[u8]>,
        ttl: impl Into<Ttl>,
        compute: F,
    ) -> Result<T, ValueError>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = T>,
    {
        self.value(key).ttl(ttl).get_or_set(compute).await
    }

    /// The same for a computation that may fail: see [`Value::try_get_or_set`].
    ///
    /// # Errors
    /// If the computation fails, or the value can't be written as MessagePack.
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

    /// Returns a fragment of a page, by its name and what it varies on; where there is none, renders it. What it
    /// is rendered from has to be among what it varies on: the host, the language, who sees it.
    ///
    /// No two lists of arguments are one, whatever characters are in them.
    ///
    /// # Errors
    /// If the fragment can't be written as MessagePack.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let (hour, vary_on) = (Duration::from_secs(3600), ["shop.example", "en"]);
    /// let menu = cache.fragment("menu", &vary_on, hour, || async { "<ul></ul>".to_owned() }).await?;
    /// # assert_eq!(menu, "<ul></ul>");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fragment<T, A, F, Fut>(
        &self,
        name: &str,
        vary_on: &[A],
        ttl: impl Into<Ttl>,
        render: F,
    ) -> Result<T, ValueError>
    where
        T: Serialize + DeserializeOwned,
        A: AsRef<[u8]>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = T>,
    {
        self.fragment_value(name, vary_on).ttl(ttl).get_or_set(render).await
    }

    /// Names a fragment, to say more of it than its time to live.
    pub fn fragment_value<A: AsRef<[u8]>>(&self, name: &str, vary_on: &[A]) -> Value<'_> {
        let parts = std::iter::once(name.as_bytes()).chain(vary_on.iter().map(AsRef::as_ref));
        self.value_named(Name::of_parts(self.version(), b"fragment", parts))
    }
}
