//! The table of invalidations: a counter and a fixed number of buckets, each only ever raised.

use super::{Generation, Scope, StoreFuture};
use dashmap::DashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the invalidations of a namespace say of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validity {
    /// No invalidation since its generation names one of its scopes.
    Valid,
    /// It was invalidated and must not be used.
    Gone,
}

/// The invalidations of one namespace.
///
/// # Contract
/// An entry is valid if it carries the generation that was [`current`](Self::current) before the
/// work that made it began, and no later [`advance`](Self::advance) named a scope of it. Once
/// `advance` has returned, no [`check`](Self::check) on any machine may call an older entry of
/// these scopes valid. Nothing a store evicts may make it valid again: a store that lost the
/// counter draws a new incarnation, under which every older entry is gone.
pub trait Generations: fmt::Debug + Send + Sync {
    /// Returns the seed of the namespace's [`Scope`]s: the same for all its users.
    fn seed(&self) -> u64;

    /// Returns the generation that entries made from now on carry.
    fn current(&self) -> StoreFuture<Generation>;

    /// Tells whether an entry of a generation and scopes is still valid.
    fn check(&self, since: Generation, scopes: &[Scope]) -> StoreFuture<Validity>;

    /// Invalidates all that carries one of the scopes.
    fn advance(&self, scopes: &[Scope]) -> StoreFuture<()>;

    /// Invalidates all entries of the namespace.
    fn advance_all(&self) -> StoreFuture<()>;
}

/// The invalidations of a store that lives in this process, by namespace.
///
/// Each namespace takes half a mebibyte, whatever the number of scopes ever named.
///
/// # Example
/// ```
/// use tower_response_cache::store::{LocalGenerations, Scope, Validity};
///
/// # futures::executor::block_on(async {
/// let generations = LocalGenerations::new().namespace("shop");
/// let before = generations.current().await?;
/// let page = Scope::path(generations.seed(), "/flavours");
/// generations.advance(&[page]).await?;
/// assert_eq!(generations.check(before, &[page]).await?, Validity::Gone);
/// # Ok::<_, tower_response_cache::store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct LocalGenerations {
    namespaces: Arc<DashMap<String, Arc<Table>>>,
}

impl LocalGenerations {
    /// Creates the invalidations of no namespace yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the invalidations of a namespace.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Arc<dyn Generations> {
        if let Some(table) = self.namespaces.get(namespace) {
            return Arc::clone(&table) as _;
        }
        let table = self.namespaces.entry(namespace.to_owned()).or_insert_with(Table::new);
        Arc::clone(&table) as _
    }
}

const BUCKETS: usize = 1 << 16;

struct Table {
    incarnation: u64,
    seed: u64,
    counter: AtomicU64,
    all: AtomicU64,
    gone: Box<[AtomicU64]>,
}

impl Table {
    fn new() -> Arc<Self> {
        // The standard library's hash keys are the operating system's random numbers.
        let random = || RandomState::new().hash_one(0_u8);
        Arc::new(Self {
            incarnation: random(),
            seed: random(),
            counter: AtomicU64::new(0),
            all: AtomicU64::new(0),
            gone: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn bucket(&self, scope: Scope) -> &AtomicU64 {
        &self.gone[scope.value() as usize % BUCKETS]
    }
}

impl Generations for Table {
    fn seed(&self) -> u64 {
        self.seed
    }

    #[inline]
    fn current(&self) -> StoreFuture<Generation> {
        let counter = self.counter.load(Ordering::SeqCst);
        StoreFuture::ready(Ok(Generation::new(self.incarnation, counter)))
    }

    #[inline]
    fn check(&self, since: Generation, scopes: &[Scope]) -> StoreFuture<Validity> {
        let newer = |bucket: &AtomicU64| bucket.load(Ordering::SeqCst) > since.counter();
        let valid = since.incarnation() == self.incarnation
            && (since.counter() == self.counter.load(Ordering::SeqCst)
                || !newer(&self.all) && !scopes.iter().any(|&scope| newer(self.bucket(scope))));
        StoreFuture::ready(Ok(if valid { Validity::Valid } else { Validity::Gone }))
    }

    fn advance(&self, scopes: &[Scope]) -> StoreFuture<()> {
        // The counter first: a fill that reads the new number began after the write that this
        // invalidation follows, one that reads the old number is caught by the bucket.
        let next = self.next();
        for &scope in scopes {
            self.bucket(scope).fetch_max(next, Ordering::SeqCst);
        }
        StoreFuture::ready(Ok(()))
    }

    fn advance_all(&self) -> StoreFuture<()> {
        self.all.fetch_max(self.next(), Ordering::SeqCst);
        StoreFuture::ready(Ok(()))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("counter", &self.counter).finish_non_exhaustive()
    }
}
