//! Invalidations that a response requests, and invalidations that a write requires.

use crate::cache::{Cache, InvalidateOnSuccess, Invalidation};
use crate::error::StoreError;
use http::Response;

/// Returns the invalidation that a handler requested for success, if its response has a 2xx or 3xx
/// status.
pub(in crate::serve) fn invalidation_on_success<B>(response: &Response<B>) -> Option<Invalidation> {
    let InvalidateOnSuccess(what) = response.extensions().get()?;
    let status = response.status();
    (status.is_success() || status.is_redirection()).then(|| what.clone())
}

/// The pending invalidations of a write.
///
/// Dropping it runs them: if the client left, or the service panicked or failed, the write may
/// still have been committed.
pub(in crate::serve) struct Changed<'a> {
    cache: &'a Cache,
    what: Vec<Invalidation>,
}

impl<'a> Changed<'a> {
    pub(in crate::serve) fn new(cache: &'a Cache, what: Invalidation) -> Self {
        Self { cache, what: vec![what] }
    }

    /// Replaces the pending invalidations once the outcome of the write is known.
    pub(in crate::serve) fn replace(&mut self, what: Vec<Invalidation>) {
        self.what = what;
    }

    /// Invalidates everything pending. Returns the number of non-empty invalidations, or the last
    /// error if any failed.
    ///
    /// The cache counts and logs a failure. The write itself has taken place.
    ///
    /// # Cancel safety
    /// An invalidation stays pending until it has run, so a dropped future leaves it to `Drop`.
    pub(in crate::serve) async fn invalidate(&mut self) -> Result<u64, StoreError> {
        let mut steps = Ok(0);
        while let Some(what) = self.what.last().cloned() {
            let step = u64::from(!what.is_empty());
            let result = self.cache.invalidate_by_itself(what).await;
            steps = result.and(steps.map(|steps: u64| steps + step));
            self.what.pop();
        }
        steps
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        for what in self.what.drain(..) {
            self.cache.invalidate_later(what);
        }
    }
}
