//! Invalidations in this process's memory: a counter and a fixed number of buckets, each only ever raised.

use super::{Dependency, Generation, Generations, Scope, StoreFuture, Strength, Validity};
use dashmap::DashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The invalidations of a store that lives in this process, by namespace.
///
/// Each namespace takes a little over a mebibyte, whatever the number of scopes ever named.
///
/// # Example
/// ```
/// use tower_response_cache::store::{LocalGenerations, Scope, Strength, Validity};
///
/// # futures::executor::block_on(async {
/// let generations = LocalGenerations::new().namespace("shop");
/// let before = generations.current().await?;
/// let page = Scope::path(generations.seed(), "/flavours");
/// generations.advance(&[page], Strength::Gone).await?;
/// assert_eq!(generations.check(before, &[page], &[]).await?, Validity::Gone);
/// # Ok::<_, tower_response_cache::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct LocalGenerations {
    namespaces: Arc<DashMap<String, Arc<Table>>>,
    seed: Option<u64>,
}

impl LocalGenerations {
    /// Creates the invalidations of no namespace yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the same, with scopes that are hashed alike each time: for tests, where two names must not share
    /// a bucket once in a while. By default nobody can guess which names do.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self { seed: Some(seed), ..Self::default() }
    }

    /// Returns the invalidations of a namespace.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Arc<dyn Generations> {
        if let Some(table) = self.namespaces.get(namespace) {
            return Arc::clone(&table) as _;
        }
        let table = self.namespaces.entry(namespace.to_owned()).or_insert_with(|| Table::new(self.seed));
        Arc::clone(&table) as _
    }
}

const BUCKETS: usize = 1 << 16;

struct Table {
    incarnation: u64,
    seed: u64,
    counter: AtomicU64,
    /// Who advances; readers never wait for that.
    turn: Mutex<()>,
    everything: Bucket,
    buckets: Box<[Bucket]>,
    /// Whether anything was ever made from a value of the bucket.
    depended: Box<[AtomicBool]>,
}

/// The last invalidations of the scopes that share it.
#[derive(Default)]
struct Bucket {
    gone: AtomicU64,
    stale: AtomicU64,
}

/// Returns a number nobody can guess: the standard library's hash keys are the operating system's.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

impl Table {
    fn new(seed: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            incarnation: random(),
            seed: seed.unwrap_or_else(random),
            counter: AtomicU64::new(0),
            turn: Mutex::new(()),
            everything: Bucket::default(),
            buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(),
            depended: (0..BUCKETS).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    fn bucket(&self, scope: Scope) -> &Bucket {
        match scope {
            Scope::EVERYTHING => &self.everything,
            scope => &self.buckets[scope.hash_value() as usize % BUCKETS],
        }
    }

    fn depended(&self, value: Scope) -> &AtomicBool {
        &self.depended[value.hash_value() as usize % BUCKETS]
    }

    fn generation(&self, counter: u64) -> Generation {
        Generation::new(self.incarnation, counter)
    }

    fn now(&self) -> u64 {
        self.counter.load(Ordering::SeqCst)
    }

    /// Raises buckets, and then the counter; returns the new one.
    ///
    /// In this order: a fill that reads the new number began after the write that this invalidation follows,
    /// one that reads the old number is caught by the bucket; and who reads the new number sees the bucket.
    fn raise(&self, scopes: &[Scope], strength: Strength) -> u64 {
        let next = self.now() + 1;
        for &scope in scopes {
            let bucket = self.bucket(scope);
            let side = match strength {
                Strength::Gone => &bucket.gone,
                Strength::Stale => &bucket.stale,
            };
            side.store(next, Ordering::SeqCst);
        }
        self.counter.store(next, Ordering::SeqCst);
        next
    }

    /// Tells what became of a scope since a generation.
    fn since(&self, scope: Scope, since: Generation) -> Validity {
        let bucket = self.bucket(scope);
        let (gone, stale) = (bucket.gone.load(Ordering::SeqCst), bucket.stale.load(Ordering::SeqCst));
        Validity::of(self.incarnation, gone, stale, since)
    }
}

impl Generations for Table {
    fn seed(&self) -> u64 {
        self.seed
    }

    #[inline]
    fn current(&self) -> StoreFuture<Generation> {
        StoreFuture::ready(Ok(self.generation(self.now())))
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        StoreFuture::ready(Ok(self.generation(self.everything.gone.load(Ordering::SeqCst))))
    }

    fn check(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> StoreFuture<Validity> {
        let own = std::iter::once(&Scope::EVERYTHING).chain(scopes).map(|&scope| self.since(scope, since));
        let others = dependencies.iter().map(|dependency| self.since(dependency.value, dependency.since));
        StoreFuture::ready(Ok(Validity::worst(own.chain(others))))
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        // A panic leaves nothing half done under this lock.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.raise(scopes, strength);
        StoreFuture::ready(Ok(()))
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        let depended = self.depended(value);
        if !depended.load(Ordering::SeqCst) {
            depended.store(true, Ordering::SeqCst);
        }
        self.current()
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        if !self.depended(value).load(Ordering::SeqCst) {
            return StoreFuture::ready(Ok(Some(since)));
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.since(value, since);
        let next = self.raise(&[value], Strength::Gone);
        let sole = before != Validity::Gone;
        StoreFuture::ready(Ok(sole.then(|| self.generation(next))))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("counter", &self.counter).finish_non_exhaustive()
    }
}
