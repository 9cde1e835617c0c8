//! One value at a time: as Django's `django.core.cache`.

use super::encoding::decoded;
use super::state::{ValueSnapshot, ValueState};
use super::{Cache, TRIES};
use crate::entry::{Encoding, Entry, Scope, StoredValue};
use crate::error::{Absent, AbsentKind, StoreError, ValueError};
use crate::policy::Ttl;
use crate::store::{PutMode, StoreErrorKind};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

impl Cache {
    /// Returns the value under a key. What is made meanwhile, a page or another value, depends on it: it goes when
    /// the value is set or deleted, or lives no longer. One that has found no value goes when it is set, but not
    /// when somebody computes it: use [`get_or_set`](Self::get_or_set) there, too.
    ///
    /// # Errors
    /// If there is none, with the reason: a value of another type, or one that was cut short, is as good as
    /// none. So is one of a store that fails, which is counted.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use tower_response_cache::{Cache, MemoryStore};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    /// cache.set("greeting", "hello", Duration::from_secs(60)).await?;
    /// assert_eq!(cache.get::<String>("greeting").await?, "hello");
    /// assert_eq!(cache.get::<u64>("greeting").await.ok(), None);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<T, Absent> {
        let seen = self.read(&self.name_of(key.as_ref())).await?;
        match seen {
            ValueSnapshot { state: ValueState::Live, entry: Some(entry), .. } => decoded(&entry),
            ValueSnapshot { state, .. } => Err(Absent::new(state.into())),
        }
    }

    /// Returns bytes that were set as they are.
    ///
    /// # Errors
    /// If there are none, with the reason.
    pub async fn get_bytes(&self, key: impl AsRef<[u8]>) -> Result<Bytes, Absent> {
        let seen = self.read(&self.name_of(key.as_ref())).await?;
        match (seen.state, seen.entry) {
            (ValueState::Live, Some(Entry::Value(value))) if value.encoding() == Encoding::Raw => {
                Ok(value.bytes().clone())
            }
            (ValueState::Live, _) => Err(Absent::new(AbsentKind::Unreadable)),
            (state, _) => Err(Absent::new(state.into())),
        }
    }

    /// Sets the value under a key for a time, and returns whether it is stored: see
    /// [`Value::set`](super::Value::set).
    ///
    /// # Errors
    /// If the value can't be written as MessagePack, or the store fails.
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
    pub async fn set_bytes(
        &self,
        key: impl AsRef<[u8]>,
        bytes: impl Into<Bytes>,
        ttl: impl Into<Ttl>,
    ) -> Result<bool, StoreError> {
        self.value(key).ttl(ttl).set_bytes(bytes).await
    }

    /// Sets the value under a key if there is none, atomically, and returns whether it did. With a time to live
    /// of zero it does not.
    ///
    /// # Errors
    /// If the value can't be written as MessagePack, or the store fails.
    pub async fn add<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        ttl: impl Into<Ttl>,
    ) -> Result<bool, ValueError> {
        self.value(key).ttl(ttl).add(value).await
    }

    /// Removes the value under a key, or the counter, and returns whether there was one that had not expired.
    /// What was made from it is invalidated.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        let name = self.name_of(key.as_ref());
        let seen = self.load(&name).await?;
        let changing = self.changing(vec![Scope::value(name.as_bytes())]).await?;
        let removed = self.within_limit(self.store().remove(seen.key.as_ref())).await;
        // Where it failed, too: it may be gone.
        changing.done().await?;
        Ok(removed? && seen.state == ValueState::Live)
    }

    /// Tells whether there is a value, or a counter, under a key.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        let name = self.name_of(key.as_ref());
        match self.read(&name).await {
            Ok(seen) => Ok(seen.state == ValueState::Live),
            Err(_) => Ok(self.load(&name).await?.state == ValueState::Live),
        }
    }

    /// Sets how long the value under a key lives from now on, and returns whether there is one. Zero removes it.
    /// What was computed from other values lives no longer than before; there is no stale window any more.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn touch(&self, key: impl AsRef<[u8]>, ttl: impl Into<Ttl>) -> Result<bool, StoreError> {
        let lifetime = self.value(&key).ttl(ttl).lifetime();
        if lifetime == Some(Duration::ZERO) {
            return self.delete(key).await;
        }
        let name = self.name_of(key.as_ref());
        for _ in 0..TRIES {
            let ValueSnapshot { key, entry, state } = self.load(&name).await?;
            let (ValueState::Live, Some(entry)) = (state, entry) else { return Ok(false) };
            let touched = match &entry {
                Entry::Value(value) => {
                    let fresh_until = self.fresh_until(lifetime);
                    // What was made from others lives no longer than they do.
                    let fresh_until = match value.dependencies.is_empty() {
                        true => fresh_until,
                        false => fresh_until.min(value.fresh_until),
                    };
                    Entry::Value(Arc::new(StoredValue { fresh_until, ..StoredValue::clone(value) }))
                }
                // Without a time of its own, so that it is not read to be touched where the store can do that.
                other => match self.within_limit(self.store().touch(key.as_ref(), lifetime)).await {
                    Err(error) if error.kind() == StoreErrorKind::Unsupported => other.clone(),
                    touched => return touched,
                },
            };
            let put = self.store().compare_and_set(key.as_ref(), Some(&entry), touched, lifetime);
            if self.within_limit(put).await? {
                return Ok(true);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Invalidates everything in this namespace at once, pages, values and counters, and leaves others alone: as
    /// [`Invalidation::all`](crate::Invalidation::all).
    ///
    /// # Errors
    /// If the store fails.
    pub async fn clear(&self) -> Result<(), StoreError> {
        self.invalidate(crate::cache::Invalidation::all()).await
    }

    /// Moves the value under a key to the next version, and returns that: it is found through
    /// [`with_version`](Self::with_version) then, as long as it would have lived. To outdate all values at
    /// once, use another version or [`clear`](Self::clear).
    ///
    /// # Errors
    /// If there is no value (a counter is none), or the store fails.
    pub async fn incr_version(&self, key: impl AsRef<[u8]>) -> Result<u32, Absent> {
        self.move_to(key.as_ref(), self.version().wrapping_add(1)).await
    }

    /// Moves the value under a key to the version before, and returns that: see
    /// [`incr_version`](Self::incr_version).
    ///
    /// # Errors
    /// If there is no value (a counter is none), or the store fails.
    pub async fn decr_version(&self, key: impl AsRef<[u8]>) -> Result<u32, Absent> {
        self.move_to(key.as_ref(), self.version().wrapping_sub(1)).await
    }

    async fn move_to(&self, key: &[u8], version: u32) -> Result<u32, Absent> {
        let failed = |error| Absent::because(AbsentKind::StoreFailed, error);
        let name = self.name_of(key.as_ref());
        let seen = self.load(&name).await.map_err(failed)?;
        let (ValueState::Live, Some(Entry::Value(value))) = (seen.state, seen.entry) else {
            return Err(Absent::new(seen.state.into()));
        };
        let next = self.with_version(version);
        let own = Scope::value(name.as_bytes());
        let ttl = match value.fresh_until {
            crate::clock::Moment::NEVER => Ttl::Forever,
            until => Ttl::For(until.since(self.clock().now())),
        };
        let moved = next.value(key).ttl(ttl);
        let mut copy = StoredValue::clone(&value);
        // It is no longer named by where it was.
        copy.scopes = copy.scopes.iter().copied().filter(|scope| *scope != own).collect();
        let changing = self.changing(vec![moved.scope()]).await.map_err(failed)?;
        moved.put(Entry::Value(Arc::new(copy)), PutMode::Always).await.map_err(failed)?;
        changing.done().await.map_err(failed)?;
        self.delete(key).await.map_err(failed)?;
        Ok(next.version())
    }
}
