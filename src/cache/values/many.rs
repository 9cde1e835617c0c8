//! Methods for several values.

use super::encoding::{decode_or_report, encode};
use super::name::Name;
use super::state::ValueState;
use crate::cache::{Cache, PendingRead, tracking};
use crate::entry::{Encoding, Entry, EntryKind, Generation, Scope};
use crate::error::{StoreError, ValueError};
use crate::key::{CacheKey, KeyRef};
use crate::policy::Ttl;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// An item of [`Cache::set_many`]: `(key, value)`, or `(key, value, ttl)` for an item with its own
/// TTL.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an item for `set_many`",
    note = "use `(key, value)` or `(key, value, ttl)`"
)]
pub trait SetItem {
    /// The key.
    type Key: AsRef<[u8]>;
    /// The value.
    type Value: Serialize;

    /// Returns the key, the value and the TTL. [`Ttl::Default`] stands for the TTL that is passed
    /// to [`Cache::set_many`].
    fn into_parts(self) -> (Self::Key, Self::Value, Ttl);
}

impl<K: AsRef<[u8]>, T: Serialize> SetItem for (K, T) {
    type Key = K;
    type Value = T;

    fn into_parts(self) -> (K, T, Ttl) {
        (self.0, self.1, Ttl::Default)
    }
}

impl<K: AsRef<[u8]>, T: Serialize, D: Into<Ttl>> SetItem for (K, T, D) {
    type Key = K;
    type Value = T;

    fn into_parts(self) -> (K, T, Ttl) {
        (self.0, self.1, self.2.into())
    }
}

/// The entries of values, each with its key in the store.
type KeyedEntries = Vec<(CacheKey, Option<Entry>)>;

/// An encoded item of [`Cache::set_many`], which is not stored yet.
struct PendingPut<K> {
    key: K,
    name: Name,
    encoded: (Bytes, Encoding),
    ttl: Ttl,
}

impl Cache {
    /// Returns the values under several keys. The result has no item for a key without a value. See
    /// [`get`](Self::get).
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
    /// cache.set_many([("a", 1), ("b", 2)], Duration::from_secs(60)).await?;
    /// let found = cache.get_many::<u32, _>(["a", "b", "c"]).await?;
    /// assert_eq!((found.len(), found["a"], found["b"]), (2, 1, 2));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many<T, K>(&self, keys: impl IntoIterator<Item = K>) -> Result<HashMap<K, T>, StoreError>
    where
        T: DeserializeOwned,
        K: AsRef<[u8]> + Eq + Hash,
    {
        let keys: Vec<K> = keys.into_iter().collect();
        let names: Vec<_> = keys.iter().map(|key| self.name_of(key.as_ref())).collect();
        let mut reads = Vec::new();
        let _pending = PendingRead::begin();
        if tracking::is_tracked() {
            for name in &names {
                let scope = Scope::value(name.as_bytes());
                reads.push((scope, self.depend(scope).await?));
            }
        }
        let found = self.entries(&names).await.inspect_err(|_| tracking::mark_untrackable());
        let (entries, read) = found?;
        let mut found = HashMap::with_capacity(keys.len());
        for (at, (key, (_, entry))) in keys.into_iter().zip(entries).enumerate() {
            let state = self.state_at(read, entry.as_ref()).await;
            let is_live = state.inspect_err(|_| tracking::mark_untrackable())? == ValueState::Live;
            if let Some((scope, since)) = reads.get(at)
                && !matches!(entry, Some(Entry(EntryKind::Counter(_))))
            {
                tracking::record_read(*scope, *since);
                if let (true, Some(Entry(EntryKind::Value(value)))) = (is_live, &entry) {
                    tracking::inherit(value);
                }
            }
            if let (true, Some(value)) =
                (is_live, entry.as_ref().and_then(|entry| decode_or_report(self, entry)))
            {
                found.insert(key, value);
            }
        }
        Ok(found)
    }

    /// Stores several values, and returns the keys of the values that were not stored.
    ///
    /// An item is `(key, value)`, or `(key, value, ttl)` if its TTL differs from `ttl`. If several
    /// items have the same key, the last one is stored. A value is not stored if its TTL is zero or
    /// if it is too large for the store. Concurrent reads may see some of the writes before others.
    ///
    /// # Errors
    /// - [`ValueError::Unwritable`] if a value can't be written as MessagePack. Then no value is
    ///   stored.
    /// - [`ValueError::Store`] if the store fails. Then any of the values may be stored.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, any of the values may be stored.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore, Ttl};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// let minute = Duration::from_secs(60);
    /// let not_stored = cache.set_many([("a", 1), ("b", 2)], minute).await?;
    /// assert!(not_stored.is_empty());
    /// let not_stored = cache.set_many([("a", 1, minute), ("b", 2, Duration::ZERO)], Ttl::Default).await?;
    /// assert_eq!(not_stored, ["b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_many<I: SetItem>(
        &self,
        items: impl IntoIterator<Item = I>,
        ttl: impl Into<Ttl>,
    ) -> Result<Vec<I::Key>, ValueError> {
        let ttl = ttl.into();
        let _write = self.begin_write();
        let mut puts: Vec<PendingPut<I::Key>> = Vec::new();
        let mut places = HashMap::new();
        for item in items {
            let (key, value, own) = item.into_parts();
            let name = self.name_of(key.as_ref());
            let ttl = if own == Ttl::Default { ttl } else { own };
            let put = PendingPut { encoded: encode(&value)?, name: name.clone(), key, ttl };
            match places.get(&name) {
                Some(at) => puts[*at] = put,
                None => {
                    places.insert(name, puts.len());
                    puts.push(put);
                }
            }
        }
        let stored = self.put_values(&puts).await;
        let names: Vec<Name> = puts.iter().map(|put| put.name.clone()).collect();
        self.queue_removals(&names, &stored);
        // If the store returns fewer results than entries, the entries without a result count as
        // not stored.
        let stored = stored?.into_iter().chain(std::iter::repeat(false));
        Ok(puts.into_iter().zip(stored).filter(|(_, stored)| !stored).map(|(put, _)| put.key).collect())
    }

    /// Stores values, and returns `true` for each value that is stored.
    async fn put_values<K: AsRef<[u8]>>(&self, puts: &[PendingPut<K>]) -> Result<Vec<bool>, StoreError> {
        let begun = self.queue_position();
        let since = self.generation().await?;
        let cleared = self.cleared().await?;
        let (mut entries, mut scopes) = (Vec::new(), Vec::new());
        for put in puts {
            let named = self.value(&put.key).ttl(put.ttl);
            let (bytes, encoding) = put.encoded.clone();
            let entry = Entry(EntryKind::Value(Arc::new(named.new_stored_value(bytes, encoding, since))));
            entries.push((self.value_key_since(&put.name, cleared), entry, named.lifetime()));
            scopes.push(named.scope());
        }
        let refs: Vec<_> =
            entries.iter().map(|(key, entry, ttl)| (key.as_ref(), entry.clone(), *ttl)).collect();
        let write = self.guard_write(scopes).await?;
        puts.iter().zip(&refs).for_each(|(put, (_, entry, _))| self.spare(&put.name, begun, entry));
        let stored = self.await_write(self.store().put_many(&refs)).await;
        write.finish().await?;
        stored
    }

    /// Removes the values and counters under several keys, and returns how many were present and
    /// fresh. Equal keys count once.
    ///
    /// # Errors
    /// If the store fails. Then any of the values may be removed, and the removal of all of them is
    /// queued: see [`Value::delete`](crate::values::Value::delete).
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, any of the values may be removed.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.set_many([("a", 1), ("b", 2)], Duration::from_secs(60)).await?;
    /// assert_eq!(cache.delete_many(["a", "a", "c"]).await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<usize, StoreError> {
        let mut seen = HashSet::new();
        let names = keys.into_iter().map(|key| self.name_of(key.as_ref()));
        let names: Vec<Name> = names.filter(|name| seen.insert(name.clone())).collect();
        let deleted = self.try_delete_many(&names).await;
        self.queue_removals(&names, &deleted);
        deleted
    }

    async fn try_delete_many(&self, names: &[Name]) -> Result<usize, StoreError> {
        let _write = self.begin_write();
        let (entries, read) = self.entries(names).await?;
        let mut live = 0;
        for (_, entry) in &entries {
            live += usize::from(self.state_at(read, entry.as_ref()).await? == ValueState::Live);
        }
        let keys: Vec<KeyRef<'_>> = entries.iter().map(|(key, _)| key.as_ref()).collect();
        let scopes = names.iter().map(|name| Scope::value(name.as_bytes())).collect();
        let write = self.guard_write(scopes).await?;
        let removed = self.await_write(self.store().remove_many(&keys)).await;
        write.finish().await?;
        removed?;
        Ok(live)
    }

    /// Looks up the entries of values, with their keys. Also returns the generation if the store read
    /// it together with the entries.
    async fn entries(&self, names: &[Name]) -> Result<(KeyedEntries, Option<Generation>), StoreError> {
        let were_hidden: Vec<_> = names.iter().map(|name| self.hidden_entries(name)).collect();
        let keys_since =
            |cleared| -> Vec<_> { names.iter().map(|name| self.value_key_since(name, cleared)).collect() };
        let assumed = self.assumed_clear().await?;
        let mut keys = keys_since(assumed.generation);
        let (mut entries, mut read) = self.find_many(&keys).await?;
        if let Some(cleared) = self.corrected_clear(assumed, read).await? {
            keys = keys_since(cleared);
            (entries, read) = self.find_many(&keys).await?;
        }
        let entries = names.iter().zip(were_hidden).zip(entries);
        let entries = entries.map(|((name, hidden), entry)| self.without_hidden(name, hidden, entry));
        Ok((keys.into_iter().zip(entries).collect(), read))
    }
}
