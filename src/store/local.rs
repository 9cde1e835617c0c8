//! Invalidations in this process's memory: a counter and a bounded number of marks, each only ever raised.

use super::placement::{EVERYTHING, FIXED, GROUPS, NAMES, ROWS, ScopeSlot, Secret, TABLES, in_rows};
use super::{Dependency, Generation, Generations, Scope, StoreFuture, Strength, Validity};
use dashmap::DashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

/// The invalidations of a store that lives in this process, by namespace.
///
/// A namespace takes 2 MiB for each kind of scope invalidated so far, about 16 MiB at most: paths, URIs and tags, each on
/// all hosts or on one; values; subtrees and hosts past the first 1,024.
///
/// # Example
/// ```
/// use tower_response_cache::store::{LocalGenerations, Scope, Strength, Validity};
///
/// # futures::executor::block_on(async {
/// let generations = LocalGenerations::new().namespace("shop");
/// let before = generations.current().await?;
/// let page = Scope::path("/flavours");
/// generations.advance(&[page], Strength::Hard).await?;
/// assert_eq!(generations.check(before, &[page], &[]).await?, Validity::Invalid);
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

    /// Creates the same, with a fixed secret for the choice of buckets, for tests. By default the secret is
    /// random, so that nobody can tell which scopes share buckets.
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

/// Each row has `1 << BITS` buckets: of 10,000 invalidations, an unrelated scope meets all rows once in 200.
const BITS: u32 = 15;
/// An exact table is at most half full, so that a search soon meets an empty slot.
const SLOTS: usize = 2 * NAMES;

struct Table {
    incarnation: u64,
    secret: Secret,
    counter: AtomicU64,
    /// Who advances; readers never wait for that.
    turn: Mutex<()>,
    fixed: [Marks; FIXED],
    named: [OnceLock<Names>; TABLES],
    /// The rows of each group, from its first invalidation on.
    rows: [OnceLock<Box<[Marks]>>; GROUPS],
    /// The buckets in the rows of values that anything was ever made from.
    depended: OnceLock<Box<[AtomicBool]>>,
}

/// The last invalidations of the scopes that share it.
#[derive(Default)]
struct Marks {
    hard: AtomicU64,
    soft: AtomicU64,
}

/// The last invalidations of names, each its own. A name that is in it stays.
struct Names {
    slots: Box<[(OnceLock<Scope>, Marks)]>,
    len: AtomicUsize,
}

/// Returns a number nobody can guess: the standard library's hash keys are the operating system's.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// The start of 2026, in seconds since 1970. A clock that shows an earlier time was never set.
const EARLIEST: u64 = 1_767_225_600;
/// Ten years in seconds. Clocks differ by less.
pub(super) const MOST_AHEAD: u64 = 10 * 365 * 86_400;

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().max(EARLIEST)
}

/// Returns `false` if an incarnation begins in so far a future that no store has begun it. The last ones have no
/// successor, so that a single damaged entry could turn the cache off for good.
pub(super) fn is_believable(incarnation: u64) -> bool {
    incarnation >> 32 <= seconds_now() + MOST_AHEAD
}

/// Returns a new incarnation, later than a believable one.
pub(super) fn new_incarnation(after: Option<u64>) -> u64 {
    let earliest = after.map_or(0, |incarnation| (incarnation >> 32) + 1);
    let start = seconds_now().max(earliest).min(u32::MAX.into());
    start << 32 | u64::from(random() as u32)
}

impl Marks {
    fn raise(&self, strength: Strength, to: u64) {
        let side = match strength {
            Strength::Hard => &self.hard,
            Strength::Soft => &self.soft,
        };
        side.store(to, Ordering::SeqCst);
    }

    fn since(&self, counter: u64) -> (bool, bool) {
        (self.hard.load(Ordering::SeqCst) > counter, self.soft.load(Ordering::SeqCst) > counter)
    }
}

impl Names {
    fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Default::default()).collect(), len: AtomicUsize::new(0) }
    }

    fn search(&self, hash: u64) -> impl Iterator<Item = &(OnceLock<Scope>, Marks)> {
        let first = hash as usize % SLOTS;
        self.slots[first..].iter().chain(&self.slots[..first])
    }

    fn is_full(&self) -> bool {
        self.len.load(Ordering::SeqCst) >= NAMES
    }

    fn get(&self, scope: Scope, hash: u64) -> Option<&Marks> {
        self.search(hash)
            .map_while(|(name, marks)| Some((name.get()?, marks)))
            .find_map(|(name, marks)| (*name == scope).then_some(marks))
    }

    /// Returns the marks of a name, new ones if there is room. Only the one whose turn it is calls this.
    fn get_or_add(&self, scope: Scope, hash: u64) -> Option<&Marks> {
        let known = self.get(scope, hash);
        if known.is_some() || self.is_full() {
            return known;
        }
        let (name, marks) = self.search(hash).find(|(name, _)| name.get().is_none())?;
        name.set(scope).ok()?;
        self.len.fetch_add(1, Ordering::SeqCst);
        Some(marks)
    }
}

/// Returns the places of a scope's buckets among those of a group, one in each row.
fn buckets(hash: u64) -> impl Iterator<Item = usize> {
    in_rows(hash, BITS).into_iter().enumerate().map(|(row, number)| (row << BITS) + number)
}

impl Table {
    fn new(seed: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            incarnation: new_incarnation(None),
            secret: seed.map_or_else(|| Secret(random(), random()), |seed| Secret(seed, 0)),
            counter: AtomicU64::new(0),
            turn: Mutex::new(()),
            fixed: Default::default(),
            named: Default::default(),
            rows: Default::default(),
            depended: OnceLock::new(),
        })
    }

    fn generation(&self, counter: u64) -> Generation {
        Generation::new(self.incarnation, counter)
    }

    fn now(&self) -> u64 {
        self.counter.load(Ordering::SeqCst)
    }

    /// Raises marks, and then the counter; returns the new one.
    ///
    /// In this order: a fill that reads the new number began after the write that this invalidation follows,
    /// one that reads the old number is caught by the marks; and who reads the new number sees the marks.
    fn raise(&self, scopes: &[Scope], strength: Strength) -> u64 {
        let next = self.now() + 1;
        for &scope in scopes {
            self.mark(scope, strength, next);
        }
        self.counter.store(next, Ordering::SeqCst);
        next
    }

    fn mark(&self, scope: Scope, strength: Strength, to: u64) {
        let hash = self.secret.hash(scope);
        let group = match ScopeSlot::of(scope) {
            ScopeSlot::Fixed(at) => return self.fixed[at].raise(strength, to),
            ScopeSlot::Named { table, group } => {
                match self.named[table].get_or_init(Names::new).get_or_add(scope, hash) {
                    Some(marks) => return marks.raise(strength, to),
                    None => group,
                }
            }
            ScopeSlot::Rows { group } => group,
        };
        let rows = self.rows[group].get_or_init(|| (0..ROWS << BITS).map(|_| Marks::default()).collect());
        buckets(hash).for_each(|at| rows[at].raise(strength, to));
    }

    /// Tells what became of a scope since a generation.
    fn since(&self, scope: Scope, since: Generation) -> Validity {
        if since.incarnation() != self.incarnation || since.counter() > self.now() {
            return Validity::Invalid;
        }
        let since = since.counter();
        let (hash, group) = match ScopeSlot::of(scope) {
            ScopeSlot::Fixed(at) => return Validity::of(self.fixed[at].since(since)),
            ScopeSlot::Named { table, group } => {
                let Some(names) = self.named[table].get() else { return Validity::Valid };
                let hash = self.secret.hash(scope);
                match names.get(scope, hash) {
                    Some(marks) => return Validity::of(marks.since(since)),
                    None if names.is_full() => (hash, group),
                    None => return Validity::Valid,
                }
            }
            ScopeSlot::Rows { group } if self.rows[group].get().is_none() => return Validity::Valid,
            ScopeSlot::Rows { group } => (self.secret.hash(scope), group),
        };
        match self.rows[group].get() {
            Some(rows) => Validity::in_all(buckets(hash).map(|at| rows[at].since(since))),
            None => Validity::Valid,
        }
    }

    fn is_depended(&self, value: Scope) -> bool {
        let Some(depended) = self.depended.get() else { return false };
        buckets(self.secret.hash(value)).all(|at| depended[at].load(Ordering::SeqCst))
    }
}

impl Generations for Table {
    #[inline]
    fn current(&self) -> StoreFuture<Generation> {
        StoreFuture::ready(Ok(self.generation(self.now())))
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        StoreFuture::ready(Ok(self.generation(self.fixed[EVERYTHING].hard.load(Ordering::SeqCst))))
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
        let depended =
            self.depended.get_or_init(|| (0..ROWS << BITS).map(|_| AtomicBool::new(false)).collect());
        for bucket in buckets(self.secret.hash(value)).map(|at| &depended[at]) {
            if !bucket.load(Ordering::SeqCst) {
                bucket.store(true, Ordering::SeqCst);
            }
        }
        self.current()
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        if !self.is_depended(value) {
            return StoreFuture::ready(Ok(Some(since)));
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.since(value, since);
        let next = self.raise(&[value], Strength::Hard);
        let sole = before != Validity::Invalid;
        StoreFuture::ready(Ok(sole.then(|| self.generation(next))))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("counter", &self.counter).finish_non_exhaustive()
    }
}
