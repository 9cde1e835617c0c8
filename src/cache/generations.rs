//! Invalidations, and the checks whether an entry is still valid.

use super::handle::Cache;
use super::invalidation::Invalidation;
use crate::entry::{Dependency, Generation, Scope, StoredResponse};
use crate::error::StoreError;
use crate::store::{StoreFuture, Validity};
use futures_util::FutureExt;
use std::pin::pin;

impl Cache {
    /// Invalidates stored responses and values, for all layers over this cache. The cost does not
    /// depend on the number of entries.
    ///
    /// `what` is a path, an [`Invalidation`], an array of these, or a reference to a model of the
    /// application that implements [`Dependents`](crate::invalidation::Dependents).
    ///
    /// After this has returned, no request that begins later gets a response that was made before,
    /// even if it comes from a fetch that is still running. A [soft](Invalidation::soft)
    /// invalidation permits stale windows.
    ///
    /// Invalidate after the transaction is committed: a page that is made before the commit
    /// contains the old data.
    ///
    /// # Errors
    /// If the store fails, or does not answer within the [time
    /// limit](crate::cache::CacheBuilder::store_timeout). The old responses may then still be
    /// served.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, the invalidation may or may not have taken
    /// effect.
    ///
    /// # Example
    /// ```
    /// # use tower_response_cache::{Cache, Invalidation, MemoryStore};
    /// # futures::executor::block_on(async {
    /// # let cache = Cache::new(MemoryStore::with_max_bytes(1 << 20));
    /// cache.invalidate(["/", "/flavours/vanilla"]).await?;
    /// cache.invalidate(Invalidation::all()).await?;
    /// # Ok::<_, tower_response_cache::error::StoreError>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "purge")]
    #[doc(alias = "ban")]
    pub fn invalidate(
        &self,
        what: impl Into<Invalidation>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        // Converted now, so that the future does not borrow from the model, which may not be
        // `Sync`.
        let what = what.into();
        let scopes = what.scopes();
        event!(scopes = scopes.len(), strength = ?what.strength(), "invalidate");
        async move {
            let _write = self.begin_write();
            match scopes.is_empty() {
                true => Ok(()),
                false => self.within_limit(self.0.generations.advance(&scopes, what.strength())).await,
            }
        }
    }

    /// Invalidates without a caller that could report a failure: an event reports it.
    pub(crate) async fn invalidate_by_itself(&self, what: Invalidation) -> Result<(), StoreError> {
        let result = self.invalidate(what).await;
        log_failure(&result);
        result
    }

    /// Invalidates in the background, from code that cannot await. Returns `false` if the
    /// invalidation is known to have failed.
    ///
    /// Over a store inside the process, the invalidation takes effect at once. Otherwise a new task
    /// runs it. A failure is counted.
    pub(crate) fn invalidate_later(&self, what: Invalidation) -> bool {
        if self.is_local() {
            return matches!(pin!(self.invalidate_by_itself(what)).now_or_never(), Some(Ok(())));
        }
        let cache = self.clone();
        // The event reports a failure; no response can.
        self.spawn_or_run_invalidation(async move { drop(cache.invalidate_by_itself(what).await) })
    }

    /// Runs the work of an invalidation in the background. Returns `false`, after an event, if no
    /// task can run it.
    pub(super) fn spawn_or_run_invalidation(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let begun = self.spawn_or_run(work);
        if !begun {
            warning!("invalidation failed: no tokio runtime");
        }
        begun
    }

    pub(crate) async fn generation(&self) -> Result<Generation, StoreError> {
        self.within_limit(self.0.generations.current()).await
    }

    /// Returns `true` if a stored response is known to be valid without waiting for the store.
    #[inline]
    pub(crate) fn is_valid_now(&self, response: &StoredResponse) -> bool {
        let Ok(Ok(current)) = self.0.generations.current().now() else { return false };
        response.was_valid_at(current) || self.is_found_valid(response, current)
    }

    /// Checks the scopes of a response, once per generation.
    fn is_found_valid(&self, response: &StoredResponse, current: Generation) -> bool {
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

    pub(crate) async fn validity_of(&self, response: &StoredResponse) -> Result<Validity, StoreError> {
        if self.is_local() && self.is_valid_now(response) {
            return Ok(Validity::Valid);
        }
        self.within_limit(self.check(response)).await
    }

    /// Returns whether an entry of a generation, with these scopes and dependencies, is still
    /// valid.
    pub(crate) async fn validity(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> Result<Validity, StoreError> {
        self.within_limit(self.0.generations.check(since, scopes, dependencies)).await
    }
}

/// Logs a failed invalidation: old responses may still be served.
pub(super) fn log_failure<T>(result: &Result<T, StoreError>) {
    if result.is_err() {
        warning!(error = result.as_ref().err().map(tracing::field::display), "invalidation failed");
    }
}
