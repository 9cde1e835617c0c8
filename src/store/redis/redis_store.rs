//! The store in Redis or Valkey.

use super::generations::RedisGenerations;
use super::inner::RedisInner;
use super::link::store_error;
use super::operations::is_done;
use super::record_client::RecordClient;
use super::script::{PUT_IF_ABSENT, REMOVE, TOUCH};
use crate::entry::{Entry, Generation};
use crate::key::KeyRef;
use crate::store::{Generations, InitialCounter, PutMode, Store, StoreFuture};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A store in Redis 7 or later, or in Valkey, which several processes share.
///
/// A hit takes one round trip: the entry and the generation of its namespace are read together. Each
/// process keeps a copy of the invalidations, and reads only the new ones after the generation has
/// changed. Concurrent look-ups share pipelines, except in a cluster. A look-up of values takes one
/// round trip, too, and two more after a clear. See the [module docs](super::super) for the rules of
/// all stores, and [several machines](crate::docs::several_machines) for the first steps.
///
/// # What the server keeps
/// - Each entry is one string under the SHA-256 of its key. The string contains the key in full, and
///   the key is compared in full.
/// - The invalidations of a namespace are one hash, so that the server loses all of them or none. It
///   takes at most 600 KiB.
/// - Everything expires. An entry without a TTL, or with a longer one, expires after
///   [`max_ttl`](super::RedisStoreBuilder::max_ttl), and invalidations after twice that time. Reads
///   and invalidations renew them.
/// - No other keys are touched. All keys begin with the
///   [prefix](super::RedisStoreBuilder::prefix).
///
/// # Eviction
/// Invalidations work while the memory of the server is full. If the server evicts the invalidations
/// of a namespace, all older entries of the namespace become invalid. This is safe, but costs every
/// hit. These policies (`maxmemory-policy`) are suitable:
/// - `allkeys-lru`, `allkeys-lfu`, `volatile-lru` and `volatile-lfu`: each hit uses the invalidations,
///   so they stay.
/// - `volatile-ttl`: the invalidations expire after all entries.
///
/// The other policies are unsuitable, and
/// [`build`](super::RedisStoreBuilder::build) warns of them if the memory is limited:
/// - `allkeys-random`, `volatile-random`, `allkeys-lrm` and `volatile-lrm` may evict the
///   invalidations long before the entries.
/// - Under `noeviction`, a full server refuses new entries until old ones expire.
///
/// # Fail-over
/// A primary answers before its replicas have its writes. If it fails then, the new primary lacks the
/// last invalidations, unless replicas [confirm](super::RedisStoreBuilder::confirm_by) them. Until a
/// process that knows of such an invalidation uses the namespace, other processes serve the old
/// entries. From then on, all older entries are invalid.
///
/// A single server may become a replica without closing its connections. A process then notices the
/// change at its next write, and reads old data until then. Use Sentinel or a cluster for
/// fail-overs.
///
/// # Values and counters
/// The last write that the server receives counts. Invalidations protect responses from late writes,
/// and values only in part:
/// - A write that timed out may take effect after a later one, if the network delivers it late.
/// - In a cluster, the client repeats an increment whose connection broke, so it may count twice.
/// - The queued removal of a value by one process may remove a value that another process has set
///   meanwhile. Do not rely on [`Cache::add`](crate::Cache::add) as the only lock of critical data.
///
/// # Security
/// A program that can write to the server decides what the cache answers, unless entries are
/// [authenticated](super::RedisStoreBuilder::authenticate).
///
/// # Cancel safety
/// The command of a dropped operation may or may not take effect. The connection stays usable.
/// A look-up that is dropped does not delay the others in its pipeline.
///
/// # Example
/// ```no_run
/// use tower_response_cache::Cache;
/// use tower_response_cache::store::RedisStore;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// let cache = Cache::new(store);
/// assert!(cache.invalidate("/flavors").await.is_delivered());
/// # Ok(())
/// # }
/// ```
#[doc(alias = "valkey")]
#[derive(Clone)]
pub struct RedisStore(pub(super) Arc<RedisInner>);

impl Store for RedisStore {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let (inner, recent) = (Arc::clone(&self.0), self.0.recent(key));
        self.0.link.run(async move {
            let (found, _) = inner.read(&recent, None).await?;
            Ok(found)
        })
    }

    fn get_at(&self, namespace: &str, key: KeyRef<'_>) -> StoreFuture<(Option<Entry>, Option<Generation>)> {
        let (inner, recent) = (Arc::clone(&self.0), self.0.recent(key));
        let namespace = self.0.namespace(namespace);
        self.0.link.run(async move { inner.read(&recent, Some(&namespace)).await })
    }

    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        let (inner, slot) = (Arc::clone(&self.0), self.0.slot(key));
        if mode == PutMode::Always {
            return self.0.link.run(async move {
                let put = inner.put_all(vec![(slot, entry, ttl)]).await?;
                Ok(put.first() == Some(&true))
            });
        }
        if ttl == Some(Duration::ZERO) || self.0.is_too_large(&slot, &entry) {
            return StoreFuture::ready(Ok(false));
        }
        self.0.link.run(async move {
            let millis = inner.millis(ttl).to_string().into_bytes();
            let call = inner.call(&PUT_IF_ABSENT, &slot, [inner.format.seal(&slot, &entry), millis]);
            inner.unless_present(&slot, call).await
        })
    }

    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        let (inner, slot) = (Arc::clone(&self.0), self.0.slot(key));
        self.0.link.run(async move { is_done(inner.link.call(&inner.call(&REMOVE, &slot, [])).await) })
    }

    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        let (inner, slot) = (Arc::clone(&self.0), self.0.slot(key));
        self.0.link.run(async move {
            match inner.format.has_plain_counters() {
                true => inner.increment(&slot, delta, initial).await,
                false => inner.increment_signed(&slot, delta, initial).await,
            }
        })
    }

    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        let (inner, slot) = (Arc::clone(&self.0), self.0.slot(key));
        let expected = expected.cloned();
        self.0.link.run(async move { inner.compare_and_set(&slot, expected.as_ref(), &new, ttl).await })
    }

    fn get_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<Option<Entry>>> {
        let inner = Arc::clone(&self.0);
        let slots: Vec<_> = keys.iter().map(|key| self.0.slot(*key)).collect();
        self.0.link.run(async move {
            let commands = slots.iter().map(|slot| inner.get(slot)).collect();
            let replies = inner.link.send_all(commands).await.map_err(store_error)?;
            slots.iter().zip(replies).map(|(slot, reply)| inner.found(slot, reply)).collect()
        })
    }

    fn get_many_at(
        &self,
        namespace: &str,
        keys: &[KeyRef<'_>],
    ) -> StoreFuture<(Vec<Option<Entry>>, Option<Generation>)> {
        let (inner, namespace) = (Arc::clone(&self.0), self.0.namespace(namespace));
        let slots: Vec<_> = keys.iter().map(|key| self.0.slot(*key)).collect();
        self.0.link.run(async move { inner.get_at(&namespace, &slots).await })
    }

    fn put_many(&self, entries: &[(KeyRef<'_>, Entry, Option<Duration>)]) -> StoreFuture<Vec<bool>> {
        let inner = Arc::clone(&self.0);
        let put = |(key, entry, ttl): &(KeyRef<'_>, Entry, _)| (self.0.slot(*key), entry.clone(), *ttl);
        let entries = entries.iter().map(put).collect();
        self.0.link.run(async move { inner.put_all(entries).await })
    }

    fn remove_many(&self, keys: &[KeyRef<'_>]) -> StoreFuture<Vec<bool>> {
        let inner = Arc::clone(&self.0);
        let calls: Vec<_> = keys.iter().map(|key| self.0.call(&REMOVE, &self.0.slot(*key), [])).collect();
        self.0.link.run(async move {
            let replies = inner.link.call_all(&calls).await.map_err(store_error)?;
            replies.into_iter().map(is_done).collect()
        })
    }

    fn touch(&self, key: KeyRef<'_>, ttl: Option<Duration>) -> StoreFuture<bool> {
        let (inner, slot) = (Arc::clone(&self.0), self.0.slot(key));
        self.0.link.run(async move {
            let millis = inner.millis(ttl).to_string().into_bytes();
            is_done(inner.link.call(&inner.call(&TOUCH, &slot, [millis])).await)
        })
    }

    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        let (inner, namespace) = (Arc::clone(&self.0), self.0.namespace(namespace));
        Some(Arc::new(RedisGenerations(RecordClient { inner, namespace })))
    }

    fn largest_entry(&self) -> Option<u64> {
        Some(self.0.largest_entry)
    }
}

impl fmt::Debug for RedisStore {
    /// Leaves out the URL, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}
