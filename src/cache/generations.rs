//! Invalidations, and the checks whether an entry is still valid.

use super::guard::Delivery;
use super::handle::{Cache, CacheInner};
use super::invalidation::Invalidation;
use crate::cache::values::Name;
use crate::entry::{Dependency, Entry, Generation, Scope, StoredResponse};
use crate::error::{StoreError, StoreErrorKind};
use crate::key::{CacheKey, KeyRef};
#[cfg(feature = "tracing")]
use crate::store::marked_places;
use crate::store::{StoreFuture, Strength, Validity};
use futures_util::FutureExt;
use std::pin::pin;

impl Cache {
    /// Invalidates stored responses and values, for all layers over this cache. The cost does not
    /// depend on the number of entries.
    ///
    /// `what` is a path, an [`Invalidation`], an array of these, or a reference to a model of the
    /// application that implements [`Dependents`](crate::invalidation::Dependents).
    ///
    /// A string is always a path. For a tag, use [`Invalidation::tag`].
    ///
    /// Once the future has completed, no new request gets a response whose fetch began before the
    /// invalidation. A [soft](Invalidation::soft) invalidation permits stale windows.
    ///
    /// Invalidate after the transaction is committed: a page that is made before the commit
    /// contains the old data.
    ///
    /// If the store fails, times out or has an open [circuit](crate::cache::CircuitState), the
    /// invalidation is [queued](Delivery::Queued): it counts in this process alone until the store
    /// confirms it.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll and before it completes, the invalidation is
    /// queued.
    ///
    /// # Example
    /// ```
    /// # use tower_response_cache::{Cache, Invalidation, MemoryStore};
    /// # futures::executor::block_on(async {
    /// # let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
    /// let delivery = cache.invalidate(["/", "/flavors/vanilla"]).await;
    /// assert!(delivery.is_delivered());
    /// assert!(cache.invalidate(Invalidation::all()).await.is_delivered());
    /// # });
    /// ```
    #[doc(alias = "purge")]
    #[doc(alias = "ban")]
    pub fn invalidate(&self, what: impl Into<Invalidation>) -> impl Future<Output = Delivery> + Send {
        // Converted before the future is made: `what` may be a reference to a type that is not
        // `Sync`, and the future must be `Send`.
        let what = what.into();
        let scopes = what.scopes();
        async move {
            let _write = self.begin_write();
            self.note_invalidation(&what, &scopes);
            self.advance(scopes, what.strength()).await
        }
    }

    /// Counts an invalidation and emits its event, unless the invalidation names no scope.
    fn note_invalidation(&self, what: &Invalidation, scopes: &[Scope]) {
        if !scopes.is_empty() {
            event!(buckets = marked_places(scopes), names = what.names(), strength = ?what.strength(), "invalidate");
            self.0.counters.count_invalidation(what.kinds());
        }
    }

    /// Invalidates scopes. An invalidation that the store does not confirm is queued.
    pub(super) async fn advance(&self, scopes: Vec<Scope>, strength: Strength) -> Delivery {
        self.unconfirmed(scopes, strength).advance().await
    }

    /// Returns a guard that queues the invalidation of scopes, unless the store confirms it.
    pub(super) fn unconfirmed(&self, scopes: Vec<Scope>, strength: Strength) -> Unconfirmed {
        Unconfirmed { cache: self.clone(), scopes, strength }
    }

    /// Queues the invalidation of scopes. `value` is the name of a value to remove.
    pub(super) fn queue_invalidation(&self, scopes: &[Scope], strength: Strength, value: Option<&Name>) {
        let CacheInner { guard, namespace, unguarded_generations, .. } = &*self.0;
        guard.keep(namespace, unguarded_generations, scopes, strength, value);
    }

    /// Queues the removal of values if their write failed, because the store may still have the old
    /// values.
    ///
    /// A write has failed if the store failed or the circuit is open. After other errors, nothing
    /// is queued.
    pub(super) fn queue_removals<T>(&self, names: &[Name], result: &Result<T, StoreError>) {
        let Err(error) = result else { return };
        if error.kind().is_failure() || error.kind() == StoreErrorKind::CircuitOpen {
            for name in names {
                self.queue_invalidation(&[Scope::value(name.as_bytes())], Strength::Hard, Some(name));
            }
        }
    }

    /// Invalidates in the background, from code that cannot await. Returns `false` if the
    /// invalidation is known to have failed.
    ///
    /// Over a store inside the process, the invalidation takes effect at once. Otherwise a new task
    /// runs it, and a failure queues the invalidation.
    pub(crate) fn invalidate_later(&self, what: &Invalidation) -> bool {
        self.note_invalidation(what, &what.scopes());
        self.invalidate_again_later(what)
    }

    /// Returns the same as [`invalidate_later`](Self::invalidate_later), for an invalidation that is
    /// counted already.
    pub(crate) fn invalidate_again_later(&self, what: &Invalidation) -> bool {
        let (scopes, strength) = (what.scopes(), what.strength());
        if self.is_local() {
            let is_delivered =
                pin!(self.advance(scopes, strength)).now_or_never() == Some(Delivery::Delivered);
            if !is_delivered {
                self.count_failed_invalidation();
            }
            return is_delivered;
        }
        // If the task is dropped, `unconfirmed` is dropped with it and queues the invalidation.
        let unconfirmed = self.unconfirmed(scopes, strength);
        let cache = self.clone();
        self.spawn_or_run_invalidation(async move {
            if unconfirmed.advance().await == Delivery::Queued {
                cache.count_failed_invalidation();
            }
        })
    }

    /// Runs the work of an invalidation in the background. If no task can run the work, counts the
    /// failure, emits an event and returns `false`.
    pub(super) fn spawn_or_run_invalidation(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let begun = self.spawn_or_run(work);
        if !begun {
            self.count_failed_invalidation();
            warning!("invalidation queued: no tokio runtime");
        }
        begun
    }

    pub(crate) async fn generation(&self) -> Result<Generation, StoreError> {
        self.await_lookup(self.0.generations.current()).await
    }

    /// Returns `true` if a stored response is valid according to a check that does not wait for the
    /// store. Returns `false` for other responses, if the check would have to wait, or if any
    /// invalidation is undelivered.
    #[inline]
    pub(crate) fn is_valid_now(&self, response: &StoredResponse) -> bool {
        if self.0.guard.has_undelivered() {
            return false;
        }
        let Ok(Ok(current)) = self.0.generations.current().now() else { return false };
        response.was_valid_at(current) || self.check_now(response, current)
    }

    /// Checks the scopes and dependencies of a response. If the response is valid, records that for
    /// the current generation.
    fn check_now(&self, response: &StoredResponse, current: Generation) -> bool {
        let valid = matches!(self.check(response).now(), Ok(Ok(Validity::Valid)));
        if valid {
            response.note_valid_at(current);
        }
        valid
    }

    fn check(&self, response: &StoredResponse) -> StoreFuture<Validity> {
        let head = response.head();
        self.0.generations.check(head.generation, &head.scopes, &head.dependencies)
    }

    /// Returns the entry under a key. If the store reads the entry and the generation in one round
    /// trip, also returns the generation.
    ///
    /// Returns no generation if an invalidation was queued before the read. A check against the
    /// generation could miss that invalidation. The generation is older than the invalidation, and
    /// the queue may be empty by the time of the check.
    pub(crate) async fn find(
        &self,
        key: KeyRef<'_>,
    ) -> Result<(Option<Entry>, Option<Generation>), StoreError> {
        let had_undelivered = self.0.guard.has_undelivered();
        let (entry, read) = self.await_lookup(self.0.store.get_at(&self.0.namespace, key)).await?;
        Ok((entry, read.filter(|_| !had_undelivered)))
    }

    /// Returns the same as [`find`](Self::find), for several keys.
    pub(super) async fn find_many(
        &self,
        keys: &[CacheKey],
    ) -> Result<(Vec<Option<Entry>>, Option<Generation>), StoreError> {
        let had_undelivered = self.0.guard.has_undelivered();
        let keys: Vec<_> = keys.iter().map(CacheKey::as_ref).collect();
        let (entries, read) = self.await_lookup(self.0.store.get_many_at(&self.0.namespace, &keys)).await?;
        Ok((entries, read.filter(|_| !had_undelivered)))
    }

    /// Returns the generation of the last clear.
    pub(super) async fn cleared(&self) -> Result<Generation, StoreError> {
        self.await_lookup(self.0.generations.cleared()).await
    }

    /// Returns the generation of the last clear, which is part of the key of each value.
    ///
    /// Usually, it is the last clear that this process knows, which may be outdated. It is read from
    /// the store if this process knows none, or has an undelivered invalidation.
    pub(super) async fn assumed_clear(&self) -> Result<AssumedClear, StoreError> {
        let known = self.0.generations.known_cleared().filter(|_| !self.0.guard.has_undelivered());
        Ok(match known {
            Some(generation) => AssumedClear { generation, is_current: false },
            None => AssumedClear { generation: self.cleared().await?, is_current: true },
        })
    }

    /// Checks an assumed clear after the look-up of a value. Returns the generation of the last
    /// clear if it differs from the assumed one. The key of the look-up was then wrong, so the
    /// caller must look up the value again. `read` is the generation that the look-up returned.
    pub(super) async fn corrected_clear(
        &self,
        assumed: AssumedClear,
        read: Option<Generation>,
    ) -> Result<Option<Generation>, StoreError> {
        if assumed.is_current {
            return Ok(None);
        }
        // `cleared` is at least as new as the look-up, so it includes every clear that was delivered
        // before the look-up.
        let cleared = match read {
            Some(read) => self.await_lookup(self.0.generations.cleared_at(read)).await?,
            None => self.cleared().await?,
        };
        Ok(Some(cleared).filter(|cleared| *cleared != assumed.generation))
    }

    /// Returns the validity of a response. `read` is the generation that was read together with the
    /// response.
    pub(crate) async fn response_validity_at(
        &self,
        read: Option<Generation>,
        response: &StoredResponse,
    ) -> Result<Validity, StoreError> {
        let Some(read) = read else { return self.validity_of(response).await };
        // The last check of this response was at the same generation, and the generation was read for
        // this look-up.
        if response.was_valid_at(read) && !self.0.guard.has_undelivered() {
            return Ok(Validity::Valid);
        }
        let head = response.head();
        let validity = self.validity_at(read, head.generation, &head.scopes, &head.dependencies).await?;
        if validity == Validity::Valid {
            response.note_valid_at(read);
        }
        Ok(validity)
    }

    /// Returns the same as [`validity`](Self::validity), for an entry that [`find`](Self::find)
    /// returned together with the generation `read`.
    pub(crate) async fn validity_at(
        &self,
        read: Generation,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> Result<Validity, StoreError> {
        let check = self.0.generations.check_at(read, since, scopes, dependencies);
        let stored = self.await_lookup(check).await?;
        // Evaluated after the store's answer, to include invalidations that were queued meanwhile.
        let undelivered = self.0.guard.validity(&self.0.namespace, scopes, dependencies);
        Ok(Validity::worst([stored, undelivered].into_iter()))
    }

    pub(crate) async fn validity_of(&self, response: &StoredResponse) -> Result<Validity, StoreError> {
        if self.is_local() && self.is_valid_now(response) {
            return Ok(Validity::Valid);
        }
        let head = response.head();
        self.validity(head.generation, &head.scopes, &head.dependencies).await
    }

    /// Returns the validity of an entry with these scopes and dependencies, according to the store
    /// and to the undelivered invalidations. `since` is the generation of the entry.
    pub(crate) async fn validity(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> Result<Validity, StoreError> {
        let undelivered = || self.0.guard.validity(&self.0.namespace, scopes, dependencies);
        // Evaluated before and after the store's answer, since an invalidation may leave or enter
        // the queue during the check.
        let before = undelivered();
        let stored = self.await_lookup(self.0.generations.check(since, scopes, dependencies)).await?;
        Ok(Validity::worst([before, stored, undelivered()].into_iter()))
    }
}

/// The generation of the last clear, as far as it is known when a look-up of a value begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct AssumedClear {
    pub(super) generation: Generation,
    /// Whether the store returned the generation for this look-up.
    is_current: bool,
}

/// Scopes whose invalidation the store has not confirmed. When this value is dropped, the cache
/// queues the invalidation of the scopes.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    cache: Cache,
    scopes: Vec<Scope>,
    strength: Strength,
}

impl Unconfirmed {
    async fn advance(mut self) -> Delivery {
        if self.scopes.is_empty() {
            return Delivery::Delivered;
        }
        let advance = self.cache.0.generations.advance(&self.scopes, self.strength);
        let result = self.cache.await_invalidation(advance).await;
        log_failure(&result);
        match result {
            Ok(()) => {
                self.scopes.clear();
                Delivery::Delivered
            }
            Err(_) => Delivery::Queued,
        }
    }

    /// Invalidates the dependents of values that were just written or removed. `since` is a
    /// generation from before the write.
    pub(super) async fn written(mut self, since: Generation) {
        while let Some(scope) = self.scopes.last().copied() {
            let written = self.cache.0.generations.written(scope, since);
            let written = self.cache.await_invalidation(written).await;
            log_failure(&written);
            if written.is_err() {
                self.cache.count_failed_invalidation();
                return;
            }
            self.scopes.pop();
        }
    }
}

impl Drop for Unconfirmed {
    fn drop(&mut self) {
        if !self.scopes.is_empty() {
            self.cache.queue_invalidation(&self.scopes, self.strength, None);
        }
    }
}

/// Logs a failed invalidation: old responses may still be served.
pub(super) fn log_failure<T>(result: &Result<T, StoreError>) {
    if result.is_err() {
        warning!(error = result.as_ref().err().map(tracing::field::display), "invalidation failed");
    }
}
