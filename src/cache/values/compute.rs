//! Computed values. If several calls in this process need a value at the same time, one computes it.
//!
//! The call that computes is the leader. The others are followers. Together they form a flight,
//! which ends with the outcome of the computation.
//!
//! ```text
//! find ─┬─ live ────────────────────────────────────────────► return the value
//!       ├─ the store failed ────────────────────────────────► compute alone, do not store
//!       └─ no usable value ─► join
//! join ─┬─ leader ─► load ─┬─ live ─────────────────────────► share and return the value
//!       │                  └─ no usable value ──────────────► compute, store, end the flight
//!       ├─ follower ─┬─ stale value in its window ──────────► return the stale value
//!       │            ├─ waiting could deadlock ─────────────► compute alone
//!       │            └─ wait ─┬─ valid value ───────────────► return the value
//!       │                     ├─ failed ────────────────────► return the leader's error
//!       │                     ├─ not shared, other type,
//!       │                     │  or ten seconds have passed ► compute alone
//!       │                     └─ abandoned, invalid value ──► find
//!       └─ too many flights, or the store failed ───────────► compute alone
//! ```

use super::compute_error::ComputeError;
use super::encoding::{decode, decode_or_report, encode};
use super::into_value::IntoValue;
use super::state::{ValueSnapshot, ValueState};
use super::value::Value;
use crate::cache::compute_outcome::ComputeOutcome;
use crate::cache::{DependencyGuard, PendingRead, Tracker, tracking};
use crate::entry::{Entry, EntryKind, Generation, Scope, StoredValue};
use crate::error::ValueError;
use crate::flight::{Chain, Flight, Leader, Role};
use crate::key::CacheKey;
use crate::store::Validity;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How long a follower waits for the leader's computation before it computes the value itself.
const MAX_WAIT: Duration = Duration::from_secs(10);

impl PendingComputation {
    /// Creates a computation without followers. `since`, the generation before the computation, is
    /// not known yet. The value is not stored unless the caller sets `since`.
    fn without_followers(chain: &Arc<Chain>) -> Self {
        Self { chain: Arc::clone(chain), leader: None, since: None, unreadable: None }
    }
}

/// A usable value, or the computation of the value, which the caller must run.
enum ComputeRole<T> {
    Found(T),
    Compute(PendingComputation),
}

/// The result of a look-up that found no usable value.
struct MissingValue {
    /// The key of the value in the store, or `None` if the store failed.
    key: Option<CacheKey>,
    /// An entry whose state is `Live`, but which can't be decoded as the requested type.
    unreadable: Option<Entry>,
    /// An entry whose state is `Stale`.
    stale: Option<Entry>,
}

/// A computation that has not started.
struct PendingComputation {
    /// The computation and its ancestors: the requests and computations that led to it.
    chain: Arc<Chain>,
    /// Ends the flight that followers wait for. `None` if the computation has no followers.
    leader: Option<Leader<ComputeOutcome>>,
    /// The generation before the computation. `None` if the store failed: the value is then not
    /// stored.
    since: Option<Generation>,
    /// The `Live` entry that can't be decoded as the requested type. The computed value replaces
    /// this entry.
    unreadable: Option<Entry>,
}

impl Value<'_> {
    /// Returns the value. If it is absent, computes and stores it.
    ///
    /// `value` is a plain value, a closure, a future, or a closure that returns a future: see
    /// [`IntoValue`].
    ///
    /// A `Result` is a value like any other: an `Err` is stored, too. If the computation can fail,
    /// use [`try_get_or_set`](Self::try_get_or_set).
    ///
    /// # Rules
    /// 1. Of concurrent calls in this process, the leader computes the value, and the followers
    ///    wait for up to ten seconds. Outside a tokio runtime, they wait without a limit.
    /// 2. Within the window of [`stale_while_revalidate`](Self::stale_while_revalidate), a follower
    ///    does not wait: it returns the stale value.
    /// 3. Every value and page that the computation reads from the cache becomes a dependency of
    ///    the value.
    /// 4. A value that was deleted, set or invalidated during its computation is returned, but not
    ///    stored.
    /// 5. If the store fails, the value is computed without it.
    ///    [`Cache::store_errors`](crate::Cache::store_errors) counts the failure.
    /// 6. If a computation reads its own value, directly or through other values, a nested
    ///    computation makes the value again. At most four computations of a value may be nested: a
    ///    fifth one fails. Computations and requests in other tasks count as nested only if their
    ///    futures are wrapped in [`propagate_dependencies`](crate::values::propagate_dependencies).
    ///
    /// # Errors
    /// - [`ValueError::Unwritable`] if the value can't be written as MessagePack.
    /// - [`ValueError::Loop`] if a fifth nested computation of the value would begin (rule 6).
    ///
    /// # Cancel safety
    /// If the call that computes is dropped, a follower computes the value.
    #[doc(alias = "single-flight")]
    #[doc(alias = "stampede")]
    #[doc(alias = "dogpile")]
    pub async fn get_or_set<M, V>(&self, value: V) -> Result<V::Value, ValueError>
    where
        V: IntoValue<M>,
        V::Value: Serialize + DeserializeOwned,
    {
        let compute = || async { Ok::<_, Infallible>(value.into_value().await) };
        match self.try_get_or_set(compute).await {
            Ok(value) => Ok(value),
            Err(ComputeError::Unwritable(error)) => Err(error),
            Err(ComputeError::Loop) => Err(ValueError::Loop),
            Err(ComputeError::Failed(never)) => match *never {},
        }
    }

    /// Returns the value. If the value is absent, computes it with a function that can fail, and
    /// stores the result.
    ///
    /// An error is not stored. Followers of the computation return the same error. A follower with
    /// another error type computes the value itself. In all other respects, this method works like
    /// [`get_or_set`](Self::get_or_set).
    ///
    /// # Errors
    /// - [`ComputeError::Failed`] if the computation fails.
    /// - [`ComputeError::Unwritable`] if the value can't be written as MessagePack.
    /// - [`ComputeError::Loop`] if a fifth nested computation of the value would begin.
    ///
    /// # Cancel safety
    /// If the call that computes is dropped, a follower computes the value.
    pub async fn try_get_or_set<T, E, F, Fut>(&self, compute: F) -> Result<T, ComputeError<E>>
    where
        T: Serialize + DeserializeOwned,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let _pending = PendingRead::begin();
        match self.acquire::<T, E>().await? {
            ComputeRole::Found(value) => Ok(value),
            ComputeRole::Compute(computing) => self.compute(computing, compute).await,
        }
    }

    /// Returns the value, or the computation that the caller must run. Waits for another caller's
    /// computation if there is one.
    async fn acquire<T, E>(&self) -> Result<ComputeRole<T>, ComputeError<E>>
    where
        T: DeserializeOwned,
        E: Send + Sync + 'static,
    {
        let limit = tokio::time::Instant::now() + MAX_WAIT;
        let mut own_chain = None;
        loop {
            let MissingValue { key, unreadable, stale } = match self.find().await {
                Ok(value) => return Ok(ComputeRole::Found(value)),
                Err(none) => none,
            };
            let chain = own_chain.get_or_insert_with(|| self.chain());
            if chain.is_loop() {
                return Err(ComputeError::Loop);
            }
            let computing = PendingComputation::without_followers(chain);
            let Some(key) = key else { return Ok(ComputeRole::Compute(computing)) };
            // After `depend`, each write or removal of the value advances the generation. So the
            // checks below notice a write during the computation.
            let Ok(since) = self.cache.depend(self.scope()).await else {
                return Ok(ComputeRole::Compute(computing));
            };
            let computing = PendingComputation { since: Some(since), unreadable, ..computing };
            let flight = match self.join(&key, since, chain).await {
                Role::Leader(leader) => return Ok(self.lead(leader, computing).await),
                Role::TableFull => return Ok(ComputeRole::Compute(computing)),
                Role::Follower(flight) => flight,
            };
            if let Some(old) = self.stale_value(stale) {
                return Ok(ComputeRole::Found(old));
            }
            let Some(_wait) = chain.wait_for(&flight.leader) else {
                return Ok(ComputeRole::Compute(computing));
            };
            let outcome = match tokio::runtime::Handle::try_current() {
                Ok(_) => tokio::time::timeout_at(limit, flight.outcome()).await.ok(),
                Err(_) => Some(flight.outcome().await),
            };
            match outcome {
                // The value may have tags and dependencies that this handle does not name. One of
                // them may have been invalidated since the flight began.
                Some(ComputeOutcome::Value(value)) if !self.is_valid(&value).await => {}
                Some(ComputeOutcome::Value(value)) => {
                    tracking::inherit(&value);
                    return Ok(decode(&Entry(EntryKind::Value(value)))
                        .map_or(ComputeRole::Compute(computing), ComputeRole::Found));
                }
                Some(ComputeOutcome::Failed(error, reads)) => {
                    tracking::merge(&reads);
                    return match error.downcast() {
                        Ok(error) => Err(ComputeError::Failed(error)),
                        Err(_) => Ok(ComputeRole::Compute(computing)),
                    };
                }
                Some(ComputeOutcome::Abandoned) => {}
                // The leader does not share its value, or its computation takes too long. Each
                // follower then computes the value.
                Some(ComputeOutcome::NotStored) | None => return Ok(ComputeRole::Compute(computing)),
            }
        }
    }

    /// Looks up the value. If the current task makes a page or another value, records a dependency
    /// on this value.
    async fn find<T: DeserializeOwned>(&self) -> Result<T, MissingValue> {
        match self.cache.read(&self.name).await {
            Ok(ValueSnapshot { state: ValueState::Live, entry: Some(entry), key }) => {
                decode_or_report(self.cache, &entry).ok_or(MissingValue {
                    key: Some(key),
                    unreadable: Some(entry),
                    stale: None,
                })
            }
            Ok(ValueSnapshot { state: ValueState::Stale, entry, key }) => {
                Err(MissingValue { key: Some(key), unreadable: None, stale: entry })
            }
            Ok(ValueSnapshot { key, .. }) => {
                Err(MissingValue { key: Some(key), unreadable: None, stale: None })
            }
            Err(_) => Err(MissingValue { key: None, unreadable: None, stale: None }),
        }
    }

    /// Returns a stale value for a follower, if its stale window has not ended.
    fn stale_value<T: DeserializeOwned>(&self, stale: Option<Entry>) -> Option<T> {
        let Some(Entry(EntryKind::Value(value))) = stale else { return None };
        // A soft invalidation makes a value stale before its TTL ends. Without a window, no stale
        // value is used.
        if self.window.is_zero() || self.cache.clock().now() >= value.fresh_until.after(self.window) {
            return None;
        }
        let old = decode(&Entry(EntryKind::Value(Arc::clone(&value))))?;
        tracking::inherit(&value);
        Some(old)
    }

    /// Joins the flight of the value, or leads a new one.
    ///
    /// Replaces a flight that began before the last change of the value, because the outcome of
    /// that flight would be outdated.
    async fn join(&self, key: &CacheKey, since: Generation, chain: &Arc<Chain>) -> Role<ComputeOutcome> {
        let mut outdated: Option<Arc<Flight<ComputeOutcome>>> = None;
        let leader = Arc::downgrade(chain);
        loop {
            let flights = &self.cache.0.computations;
            let flight = match flights.join(key, outdated.as_ref(), since, 0, &leader) {
                Role::Follower(flight) => flight,
                role => return role,
            };
            let scopes: Vec<_> = self.scopes().collect();
            match self.cache.validity(flight.generation, &scopes, &[]).await {
                Ok(Validity::Valid) => return Role::Follower(flight),
                Ok(_) => outdated = Some(flight),
                Err(_) => return Role::TableFull,
            }
        }
    }

    /// Ends the flight with the stored value if another call stored it between the look-up and the
    /// join. Otherwise returns the computation that the leader must run.
    async fn lead<T: DeserializeOwned>(
        &self,
        leader: Leader<ComputeOutcome>,
        computing: PendingComputation,
    ) -> ComputeRole<T> {
        if let Ok(ValueSnapshot {
            state: ValueState::Live, entry: Some(Entry(EntryKind::Value(value))), ..
        }) = self.cache.load(&self.name).await
            && let Some(decoded) = decode(&Entry(EntryKind::Value(Arc::clone(&value))))
        {
            tracking::inherit(&value);
            leader.end(ComputeOutcome::Value(value));
            return ComputeRole::Found(decoded);
        }
        ComputeRole::Compute(PendingComputation { leader: Some(leader), ..computing })
    }

    /// Creates the chain of a computation. Too many equal keys in a chain count as a loop. The key
    /// contains a fixed generation, so that a computation that invalidates all values keeps its key.
    fn chain(&self) -> Arc<Chain> {
        Chain::computation(self.cache.value_key_since(&self.name, Generation::new(0, 0)))
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        std::iter::once(self.scope()).chain(self.shared_scopes())
    }

    async fn compute<T, E, F, Fut>(
        &self,
        PendingComputation { chain, leader, since, unreadable }: PendingComputation,
        compute: F,
    ) -> Result<T, ComputeError<E>>
    where
        T: Serialize,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let mut tracker = DependencyGuard(Tracker::for_chain(&chain));
        let value = tracker.0.track(async { compute().await }).await;
        let reads = tracker.0.peek().unwrap_or_default();
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                let error = Arc::new(error);
                if let Some(leader) = leader {
                    leader.end(ComputeOutcome::Failed(Arc::clone(&error) as _, Arc::new(reads)));
                }
                return Err(ComputeError::Failed(error));
            }
        };
        let (bytes, encoding) = encode(&value).map_err(ComputeError::Unwritable)?;
        let fresh_until = self.cache.fresh_until(self.lifetime());
        let stored = Arc::new(StoredValue {
            bytes,
            encoding,
            generation: since,
            scopes: self.scopes().collect(),
            fresh_until: reads.fresh_until().min(fresh_until),
            dependencies: reads.values.clone().into(),
        });
        let is_trackable = since.is_some_and(|since| reads.is_trackable_in(since));
        if is_trackable {
            tracking::inherit(&stored);
            self.store(&stored, unreadable.as_ref()).await;
        } else {
            tracking::mark_untrackable();
        }
        if let Some(leader) = leader {
            leader.end(if is_trackable { ComputeOutcome::Value(stored) } else { ComputeOutcome::NotStored });
        }
        Ok(value)
    }

    /// Returns `true` if neither the value nor its dependencies were invalidated since the
    /// computation began. Returns `false` if the check fails, for example because the store fails.
    async fn is_valid(&self, value: &StoredValue) -> bool {
        let Some(since) = value.generation else { return false };
        let validity = self.cache.validity(since, &value.scopes, &value.dependencies).await;
        matches!(validity, Ok(Validity::Valid))
    }

    /// Stores a computed value, unless it was invalidated or another task has set the value. A
    /// failure of the store is only counted.
    async fn store(&self, stored: &Arc<StoredValue>, unreadable: Option<&Entry>) {
        let _write = self.cache.begin_write();
        // Load before the validity check. If another task sets the value after this load, the
        // compare-and-set fails.
        let Ok(seen) = self.cache.load(&self.name).await else { return };
        let is_set = seen.state == ValueState::Live && seen.entry.as_ref() != unreadable;
        if !is_set && self.is_valid(stored).await {
            let _ = self.replace(&seen, Entry(EntryKind::Value(Arc::clone(stored)))).await;
        }
    }
}
