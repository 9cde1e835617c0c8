//! What was invalidated, and whether what is stored is still valid.

use super::handle::Cache;
use super::invalidation::Invalidation;
use crate::entry::{Dependency, Generation, Scope, StoredResponse};
use crate::error::StoreError;
use crate::store::{StoreFuture, Validity};
use futures_util::FutureExt;
use std::pin::pin;

impl Cache {
    /// Makes stored responses invisible, now and for good, to all layers over this cache; or stale
    /// ([`Invalidation::soft`]). `what` is a path, an [`Invalidation`], or a reference to a model
    /// of yours ([`Dependents`](crate::invalidation::Dependents)). The time does not depend on the
    /// number of entries.
    ///
    /// Once this has returned, no request that begins later gets a response that was made before,
    /// not even from a call that is still running. Call it after the transaction is committed: a
    /// page made in between would be as old as the data it was made from.
    ///
    /// # Errors
    /// If the store fails or does not answer in time: then the old responses may still be served.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may or may not have taken place.
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
    pub fn invalidate(
        &self,
        what: impl Into<Invalidation>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        // Now, so that the future holds nothing of a model, which others may not share.
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

    /// Invalidates what nobody has called [`invalidate`](Self::invalidate) for: an event tells of a
    /// failure.
    pub(crate) async fn invalidate_by_itself(&self, what: Invalidation) -> Result<(), StoreError> {
        let result = self.invalidate(what).await;
        log_failure(&result);
        result
    }

    /// Invalidates where nothing can be waited for: at once over a store inside the process, else
    /// in a task of its own. Returns `false` if that is known to have failed; a failure is counted.
    pub(crate) fn invalidate_later(&self, what: Invalidation) -> bool {
        if self.is_local() {
            return matches!(pin!(self.invalidate_by_itself(what)).now_or_never(), Some(Ok(())));
        }
        let cache = self.clone();
        // No response is there to say so, but the event does.
        self.spawn_or_run_invalidation(async move { drop(cache.invalidate_by_itself(what).await) })
    }

    /// Does in the background what invalidates. Returns `false`, after an event, if there is nobody
    /// to do it.
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

    /// Looks a response's scopes up, once for each generation.
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

    /// Tells what became, since a generation, of what has these scopes.
    pub(crate) async fn validity(
        &self,
        since: Generation,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> Result<Validity, StoreError> {
        self.within_limit(self.0.generations.check(since, scopes, dependencies)).await
    }
}

/// Logs an invalidation that failed: old responses may still be served.
pub(super) fn log_failure<T>(result: &Result<T, StoreError>) {
    if result.is_err() {
        warning!(error = result.as_ref().err().map(tracing::field::display), "invalidation failed");
    }
}
