//! The low-level cache: values of the application's own, by key.
//!
//! A value is read, written and computed through [`Cache`], or through [`Value`] where more is to be said of it
//! than its time to live. What is made from values depends on them: see
//! [`propagate_dependencies`](super::propagate_dependencies).

mod api;
mod computed;
mod counters;
mod encoding;
mod many;
mod shortcuts;
mod state;

pub use computed::ComputeError;
use state::{Name, ValueSnapshot, ValueState};

use super::generations::log_failure;
use super::{Cache, tracking};
use crate::entry::{Encoding, Entry, Generation, Scope, StoredValue, body_for_storage};
use crate::error::{StoreError, ValueError};
use crate::policy::Ttl;
use crate::store::{PutMode, StoreErrorKind};
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// A value of the low-level cache, by its key, and what is to be said of it when it is set.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::{Cache, Invalidation, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// let top = cache.value("top-10").ttl(Duration::from_secs(60)).tags(["flavours"]);
/// top.set(&["vanilla", "pistachio"]).await?;
/// cache.invalidate(Invalidation::tag("flavours")).await?;
/// assert!(cache.get::<Vec<String>>("top-10").await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a value does nothing unless it is set or computed"]
pub struct Value<'a> {
    cache: &'a Cache,
    name: Name,
    ttl: Ttl,
    tags: Vec<String>,
    window: Duration,
}

impl Cache {
    /// Names a value, to say more of it than its time to live. Keys are any bytes, of any length.
    pub fn value(&self, key: impl AsRef<[u8]>) -> Value<'_> {
        self.value_named(self.name_of(key.as_ref()))
    }

    fn name_of(&self, key: &[u8]) -> Name {
        match &self.0.key_function {
            Some(rename) => Name::of_key(self.version(), &rename(key)),
            None => Name::of_key(self.version(), key),
        }
    }

    fn value_named(&self, name: Name) -> Value<'_> {
        Value { cache: self, name, ttl: Ttl::Default, tags: Vec::new(), window: Duration::ZERO }
    }
}

impl Value<'_> {
    /// Sets how long the value lives. [`Ttl::Default`] is the cache's own
    /// ([`value_ttl`](super::CacheBuilder::value_ttl)); zero sets nothing, and removes what is there.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Adds tags, by which the value, and what is made from it, can be invalidated.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Sets how long past its time to live the value may be used while it is computed anew: by those who ask
    /// for it with [`get_or_set`](Self::get_or_set) while another one computes it. None by default.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets the value, and returns whether it is stored: with a time to live of zero, or in a store that it is
    /// too large for, it is not. What was made from the value that was there before is invalidated.
    ///
    /// # Errors
    /// If the value can't be written as MessagePack, or the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn set<T: Serialize + ?Sized>(&self, value: &T) -> Result<bool, ValueError> {
        Ok(self.write(encoding::encoded(value)?, PutMode::Always).await?)
    }

    /// Sets the value if there is none, and returns whether it did. Of many who do, one does.
    ///
    /// # Errors
    /// If the value can't be written as MessagePack, or the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn add<T: Serialize + ?Sized>(&self, value: &T) -> Result<bool, ValueError> {
        Ok(self.write(encoding::encoded(value)?, PutMode::IfAbsent).await?)
    }

    /// Sets the value to bytes as they are, which [`Cache::get_bytes`] returns.
    ///
    /// # Errors
    /// If the store fails.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
    pub async fn set_bytes(&self, bytes: impl Into<Bytes>) -> Result<bool, StoreError> {
        // Not the buffer that they may be a slice of.
        let (bytes, _) = body_for_storage(bytes.into());
        self.write((bytes, Encoding::Raw), PutMode::Always).await
    }

    /// Returns how long it lives, or `None` for ever.
    fn lifetime(&self) -> Option<Duration> {
        match self.ttl {
            // In the milliseconds of a moment.
            Ttl::For(ttl) if ttl.as_millis() == 0 => Some(Duration::ZERO),
            Ttl::For(ttl) => Some(ttl),
            Ttl::Forever => None,
            Ttl::Default => Some(self.cache.0.value_ttl),
        }
    }

    fn scope(&self) -> Scope {
        Scope::value(self.name.as_bytes())
    }

    fn tag_scopes(&self) -> impl Iterator<Item = Scope> {
        self.tags.iter().map(|tag| Scope::tag(tag))
    }

    /// Returns how long an entry may be of use in the store.
    fn kept(&self) -> Option<Duration> {
        self.lifetime().map(|ttl| if ttl.is_zero() { ttl } else { ttl.saturating_add(self.window) })
    }

    /// Stores an entry as long as it may be of use.
    async fn put(&self, entry: Entry, mode: PutMode) -> Result<bool, StoreError> {
        let (cache, ttl) = (self.cache, self.kept());
        if mode == PutMode::Always {
            let key = cache.value_key(&self.name).await?;
            return cache.within_limit(cache.store().put(key.as_ref(), entry, ttl, mode)).await;
        }
        if ttl == Some(Duration::ZERO) {
            return Ok(false);
        }
        for _ in 0..TRIES {
            let seen = cache.load(&self.name).await?;
            if seen.state == ValueState::Live {
                return Ok(false);
            }
            let is_put = self.replace(&seen, entry.clone()).await?;
            // Of what was absent, the first answer is the last: another one was first, or it is too large.
            if is_put || seen.entry.is_none() {
                return Ok(is_put);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Puts an entry in the place of what was seen there, and tells whether it did.
    async fn replace(&self, seen: &ValueSnapshot, entry: Entry) -> Result<bool, StoreError> {
        let (store, key, ttl) = (self.cache.store(), seen.key.as_ref(), self.kept());
        let put = match &seen.entry {
            None => store.put(key, entry, ttl, PutMode::IfAbsent),
            // What is there may be past its use, and then it is as good as absent.
            Some(_) => store.compare_and_set(key, seen.entry.as_ref(), entry, ttl),
        };
        self.cache.within_limit(put).await
    }

    async fn write(&self, (bytes, encoding): (Bytes, Encoding), mode: PutMode) -> Result<bool, StoreError> {
        let cache = self.cache;
        let changing = cache.changing(vec![self.scope()]).await?;
        let since = changing.since;
        let fresh_until = cache.fresh_until(self.lifetime());
        let entry = Entry::Value(Arc::new(StoredValue {
            bytes,
            encoding,
            generation: Some(since),
            scopes: self.tag_scopes().collect(),
            dependencies: Box::default(),
            fresh_until,
        }));
        let put = self.put(entry, mode).await;
        event!(?mode, stored = matches!(put, Ok(true)), "set a value");
        // Where it failed, too: what was there before may be gone.
        match mode == PutMode::Always || !matches!(put, Ok(false)) {
            true => changing.done().await?,
            false => changing.nothing(),
        }
        put
    }
}

/// So often a change that others interfere with is tried.
const TRIES: usize = 64;

/// Values that are being written or removed. Once that is done, what was made from them is invalidated; if it is
/// dropped before, that is done later: they may have been written.
struct WriteGuard {
    cache: Cache,
    scopes: Vec<Scope>,
    /// What was current before.
    since: Generation,
}

impl Cache {
    /// Begins to change values.
    async fn changing(&self, scopes: Vec<Scope>) -> Result<WriteGuard, StoreError> {
        let mut since = self.generation().await?;
        if tracking::is_tracked() {
            // What is being made depends on what it writes.
            for scope in &scopes {
                since = self.depend(*scope).await?;
            }
        }
        Ok(WriteGuard { cache: self.clone(), scopes, since })
    }
}

impl WriteGuard {
    /// Invalidates what was made from the values.
    async fn done(mut self) -> Result<(), StoreError> {
        while let Some(scope) = self.scopes.last().copied() {
            let cache = &self.cache;
            let written = cache.within_limit(cache.0.generations.written(scope, self.since)).await;
            tracking::wrote(scope, written.as_ref().ok().copied().flatten());
            written?;
            self.scopes.pop();
        }
        Ok(())
    }

    /// Nothing was changed.
    fn nothing(mut self) {
        self.scopes.clear();
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if self.scopes.is_empty() {
            return;
        }
        let (cache, scopes, since) = (self.cache.clone(), std::mem::take(&mut self.scopes), self.since);
        self.cache.spawn_or_run_invalidation(async move {
            for scope in scopes {
                log_failure(&cache.within_limit(cache.0.generations.written(scope, since)).await);
            }
        });
    }
}
