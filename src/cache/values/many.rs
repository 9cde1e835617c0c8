//! Several values at a time.

use super::encoding::{decoded, encoded};
use super::state::ValueState;
use super::{Cache, Name, tracking};
use crate::cache::PendingRead;
use crate::entry::{Entry, Scope, StoredValue};
use crate::error::{StoreError, ValueError};
use crate::key::{CacheKey, KeyRef};
use crate::policy::Ttl;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

impl Cache {
    /// Returns the values under some keys: of those alone that there are.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.set_many([("a", 1), ("b", 2)], Duration::from_secs(60)).await?;
    /// let found = cache.get_many::<u32, _>(["a", "b", "c"]).await?;
    /// assert_eq!((found.len(), found["a"], found["b"]), (2, 1, 2));
    /// assert_eq!(cache.delete_many(["a", "c"]).await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many<T, K>(&self, keys: impl IntoIterator<Item = K>) -> Result<HashMap<K, T>, StoreError>
    where
        T: DeserializeOwned,
        K: AsRef<[u8]> + Eq + Hash,
    {
        let keys: Vec<K> = keys.into_iter().collect();
        let names = self.names(&keys);
        let mut reads = Vec::new();
        let _pending = PendingRead::begin();
        if tracking::is_tracked() {
            for name in &names {
                let scope = Scope::value(name.as_bytes());
                reads.push((scope, self.depend(scope).await?));
            }
        }
        let entries = self.entries(&names).await.inspect_err(|_| tracking::mark_untrackable())?;
        let mut found = HashMap::with_capacity(keys.len());
        for (at, (key, (_, entry))) in keys.into_iter().zip(entries).enumerate() {
            let state = self.state_of(entry.as_ref()).await.inspect_err(|_| tracking::mark_untrackable());
            let is_live = state? == ValueState::Live;
            if let Some((scope, since)) = reads.get(at)
                && !matches!(entry, Some(Entry::Counter(_)))
            {
                tracking::read(*scope, *since);
                if let (true, Some(Entry::Value(value))) = (is_live, &entry) {
                    tracking::inherit(value);
                }
            }
            if let (true, Some(value)) = (is_live, entry.as_ref().and_then(|entry| decoded(entry).ok())) {
                found.insert(key, value);
            }
        }
        Ok(found)
    }

    /// Sets several values for one time to live. Together they are not atomic.
    ///
    /// # Errors
    /// If one of them can't be written as MessagePack, and then none is set; or if the store fails.
    pub async fn set_many<K: AsRef<[u8]>, T: Serialize>(
        &self,
        values: impl IntoIterator<Item = (K, T)>,
        ttl: impl Into<Ttl>,
    ) -> Result<(), ValueError> {
        let lifetime = self.value("").ttl(ttl).lifetime();
        let since = self.generation().await?;
        let cleared = self.within_limit(self.0.generations.cleared()).await?;
        let (mut puts, mut scopes): (Vec<(CacheKey, Entry)>, Vec<Scope>) = Default::default();
        for (key, value) in values {
            let name = self.name_of(key.as_ref());
            let (bytes, encoding) = encoded(&value)?;
            let (generation, fresh_until) = (Some(since), self.fresh_until(lifetime));
            let value = StoredValue { encoding, generation, fresh_until, ..StoredValue::raw(bytes) };
            puts.push((self.value_key_since(&name, cleared), Entry::Value(Arc::new(value))));
            scopes.push(Scope::value(name.as_bytes()));
        }
        let puts: Vec<_> = puts.iter().map(|(key, entry)| (key.as_ref(), entry.clone(), lifetime)).collect();
        let changing = self.changing(scopes).await?;
        let put = self.within_limit(self.store().put_many(&puts)).await;
        changing.done().await?;
        put?;
        Ok(())
    }

    /// Removes the values under some keys, and returns how many there were.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn delete_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<usize, StoreError> {
        let keys: Vec<K> = keys.into_iter().collect();
        let names = self.names(&keys);
        let entries = self.entries(&names).await?;
        let mut live = 0;
        for (_, entry) in &entries {
            live += usize::from(self.state_of(entry.as_ref()).await? == ValueState::Live);
        }
        let keys: Vec<KeyRef<'_>> = entries.iter().map(|(key, _)| key.as_ref()).collect();
        let scopes = names.iter().map(|name| Scope::value(name.as_bytes())).collect();
        let changing = self.changing(scopes).await?;
        let removed = self.within_limit(self.store().remove_many(&keys)).await;
        changing.done().await?;
        removed?;
        Ok(live)
    }

    fn names<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Name> {
        keys.iter().map(|key| self.name_of(key.as_ref())).collect()
    }

    async fn entries(&self, names: &[Name]) -> Result<Vec<(CacheKey, Option<Entry>)>, StoreError> {
        let cleared = self.within_limit(self.0.generations.cleared()).await?;
        let keys: Vec<_> = names.iter().map(|name| self.value_key_since(name, cleared)).collect();
        let refs: Vec<_> = keys.iter().map(CacheKey::as_ref).collect();
        let entries = self.within_limit(self.store().get_many(&refs)).await?;
        Ok(keys.into_iter().zip(entries).collect())
    }
}
