//! Invalidations as one record of a store: for those that have no better place for them.

mod changes;

use self::changes::{Attempt, Changes};
use super::local::random;
use super::{
    Dependency, Entry, Generation, Generations, KeyRef, Scope, Store, StoreError, StoreErrorKind,
    StoreFuture, Strength, Validity,
};
use crate::key::KeyBuf;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// The invalidations of a namespace, counter and buckets in one entry, so that they are lost together or not
/// at all. Changed by compare-and-set alone.
#[derive(Clone)]
pub(crate) struct RecordGenerations {
    store: Arc<dyn Store>,
    key: Arc<[u8]>,
    seed: u64,
    changes: Arc<Changes>,
}

/// So many buckets have room in the record, each only from its first invalidation on.
const BUCKETS: u64 = 4096;
/// The bucket of [`Scope::EVERYTHING`].
const EVERYTHING: u16 = BUCKETS as u16;
/// So often a change that other processes interfered with is tried again.
const TRIES: usize = 256;
const VERSION: u8 = 1;

/// What the record says, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    incarnation: u64,
    counter: u64,
    buckets: BTreeMap<u16, Bucket>,
}

/// The last invalidations of the scopes that share it, and whether anything was made from a value of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    gone: u64,
    stale: u64,
    depended: bool,
}

const HEAD: usize = 1 + 8 + 8;
const BUCKET: usize = 2 + 8 + 8 + 1;

impl Record {
    fn new() -> Self {
        Self { incarnation: random(), counter: 0, buckets: BTreeMap::new() }
    }

    fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(HEAD + BUCKET * self.buckets.len());
        bytes.push(VERSION);
        bytes.extend(self.incarnation.to_le_bytes());
        bytes.extend(self.counter.to_le_bytes());
        for (number, bucket) in &self.buckets {
            bytes.extend(number.to_le_bytes());
            bytes.extend(bucket.gone.to_le_bytes());
            bytes.extend(bucket.stale.to_le_bytes());
            bytes.push(u8::from(bucket.depended));
        }
        bytes.into()
    }

    /// Reads what may come from anywhere.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (buckets, []) = rest.as_chunks::<BUCKET>() else { return None };
        let buckets = buckets.iter().map(|bytes| {
            let (number, rest) = bytes.split_first_chunk()?;
            let (gone, rest) = rest.split_first_chunk()?;
            let (stale, rest) = rest.split_first_chunk()?;
            let bucket = Bucket {
                gone: u64::from_le_bytes(*gone),
                stale: u64::from_le_bytes(*stale),
                depended: rest == [1],
            };
            Some((u16::from_le_bytes(*number), bucket))
        });
        let record = Self {
            incarnation: u64::from_le_bytes(*incarnation),
            counter: u64::from_le_bytes(*counter),
            buckets: buckets.collect::<Option<_>>()?,
        };
        // One that is at its end can't go on, and one that speaks of what has not been is none.
        let last = record.buckets.values().map(|bucket| bucket.gone.max(bucket.stale)).max();
        let is_sound = record.counter < 1 << 63 && last.is_none_or(|last| last <= record.counter);
        (version == VERSION && is_sound).then_some(record)
    }

    fn bucket(&self, scope: Scope) -> Bucket {
        self.buckets.get(&number(scope)).copied().unwrap_or_default()
    }

    fn generation(&self) -> Generation {
        Generation::new(self.incarnation, self.counter)
    }

    fn raise(&mut self, scopes: &[Scope], strength: Strength) {
        self.counter += 1;
        for &scope in scopes {
            let bucket = self.buckets.entry(number(scope)).or_default();
            match strength {
                Strength::Gone => bucket.gone = self.counter,
                Strength::Stale => bucket.stale = self.counter,
            }
        }
    }

    fn since(&self, scope: Scope, since: Generation) -> Validity {
        let bucket = self.bucket(scope);
        Validity::of(self.incarnation, bucket.gone, bucket.stale, since)
    }
}

fn number(scope: Scope) -> u16 {
    match scope {
        Scope::EVERYTHING => EVERYTHING,
        scope => (scope.hash_value() % BUCKETS) as u16,
    }
}

impl RecordGenerations {
    pub(crate) fn new(store: Arc<dyn Store>, namespace: &str) -> Self {
        let mut buf = KeyBuf::new();
        buf.part(b"tower-response-cache generations");
        buf.part(namespace.as_bytes());
        // The same in every process, which has to be known before the store is asked.
        let digest = Sha256::digest(buf.as_bytes());
        let mut seed = [0; 8];
        seed.copy_from_slice(&digest[..8]);
        Self { store, key: buf.as_bytes().into(), seed: u64::from_le_bytes(seed), changes: Arc::default() }
    }

    /// Reads the record; where there is none, a new one is begun.
    async fn read(&self) -> Result<Record, StoreError> {
        match self.seen().await? {
            (_, Some(record)) => Ok(record),
            (_, None) => self.change(|record| record.clone()).await,
        }
    }

    /// Returns what is stored, and what that says.
    async fn seen(&self) -> Result<(Option<Entry>, Option<Record>), StoreError> {
        let seen = self.store.get(KeyRef::new(&self.key)).await?;
        let record = match &seen {
            Some(Entry::Value(value)) => Record::decode(value.bytes()),
            _ => None,
        };
        Ok((seen, record))
    }

    /// Changes the record, and returns what the change did. One that is lost, or is not one, begins anew.
    async fn change<T: Clone + Send + Sync + 'static>(
        &self,
        change: impl Fn(&mut Record) -> T + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        // Only what was written is told, and only once, though several may write it.
        let told = Arc::new(OnceLock::new());
        let _place = self.changes.join({
            let told = Arc::clone(&told);
            move |record| {
                let (did, told) = (change(record), Arc::clone(&told));
                Box::new(move || drop(told.set(did)))
            }
        });
        for _ in 0..TRIES {
            // Before the record is read: what changes nothing counts as of then.
            let waiting = self.changes.waiting();
            let (seen, record) = self.seen().await?;
            if let Some(did) = told.get() {
                return Ok(T::clone(did));
            }
            let mut changed = record.clone().unwrap_or_else(Record::new);
            let attempt = Attempt::new(waiting, &mut changed);
            let new = || Entry::raw(changed.encode());
            if record.as_ref() == Some(&changed)
                || self.store.compare_and_set(KeyRef::new(&self.key), seen.as_ref(), new(), None).await?
            {
                attempt.told();
            }
            if let Some(did) = told.get() {
                return Ok(T::clone(did));
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    fn spawned<T, F>(&self, work: impl FnOnce(Self) -> F) -> StoreFuture<T>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        StoreFuture::new(work(self.clone()))
    }
}

impl Generations for RecordGenerations {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn current(&self) -> StoreFuture<Generation> {
        self.spawned(|this| async move { Ok(this.read().await?.generation()) })
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        self.spawned(|this| async move {
            let record = this.read().await?;
            Ok(Generation::new(record.incarnation, record.bucket(Scope::EVERYTHING).gone))
        })
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let own = std::iter::once(&Scope::EVERYTHING).chain(scopes).map(|scope| (*scope, since));
        let others = dependencies.iter().map(|dependency| (dependency.value, dependency.since));
        let all: Vec<_> = own.chain(others).collect();
        self.spawned(|this| async move {
            let record = this.read().await?;
            Ok(Validity::worst(all.iter().map(|(scope, since)| record.since(*scope, *since))))
        })
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let scopes = scopes.to_vec();
        self.spawned(|this| async move { this.change(move |record| record.raise(&scopes, strength)).await })
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.spawned(move |this| async move {
            this.change(move |record| {
                record.buckets.entry(number(value)).or_default().depended = true;
                record.generation()
            })
            .await
        })
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.spawned(move |this| async move {
            // What others wrote since is found in the record that the change is made to.
            this.change(move |record| {
                if !record.bucket(value).depended {
                    return Some(since);
                }
                let is_sole = record.since(value, since) != Validity::Gone;
                record.raise(&[value], Strength::Gone);
                is_sole.then(|| record.generation())
            })
            .await
        })
    }
}

impl fmt::Debug for RecordGenerations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordGenerations").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;
    use crate::store::PutMode;
    use proptest::prelude::*;

    #[tokio::test]
    async fn several_changes_of_a_record_that_is_near_its_end_do_not_go_past_it() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::with_capacity(1 << 20));
        let generations = RecordGenerations::new(Arc::clone(&store), "n");
        for counter in [u64::MAX - 2, (1 << 63) - 2] {
            let last = Record { incarnation: 1, counter, buckets: BTreeMap::new() };
            let put =
                store.put(KeyRef::new(&generations.key), Entry::raw(last.encode()), None, PutMode::Always);
            put.await.expect("put");
            let advances = (0..4).map(|_| generations.advance(&[Scope::EVERYTHING], Strength::Gone));
            let advanced = futures::future::join_all(advances).await;
            assert!(advanced.iter().all(Result::is_ok), "{advanced:?}");
            let since = Generation::new(1, counter);
            let validity = generations.check(since, &[], &[]).await.expect("read");
            assert_eq!(validity, Validity::Gone, "{counter}");
        }
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            incarnation in any::<u64>(),
            counter in (1_u64 << 32)..1 << 63,
            buckets in prop::collection::btree_map(any::<u16>(), (0..1_u64 << 32, 0..1_u64 << 32, any::<bool>()), 0..20),
        ) {
            let buckets = buckets.into_iter().map(|(number, (gone, stale, depended))| (number, Bucket { gone, stale, depended }));
            let record = Record { incarnation, counter, buckets: buckets.collect() };
            prop_assert_eq!(Record::decode(&record.encode()), Some(record));
        }

        #[test]
        fn whatever_is_in_its_place_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Record::decode(&bytes);
        }
    }
}
