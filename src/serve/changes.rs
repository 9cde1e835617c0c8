//! What a response says that it has changed, and what it may have changed.

use crate::cache::{Cache, InvalidateOnSuccess, Invalidation};
use crate::error::StoreError;
use http::Response;

/// Returns what a handler says that it has changed, if it has succeeded.
pub(in crate::serve) fn invalidation_on_success<B>(response: &Response<B>) -> Option<Invalidation> {
    let InvalidateOnSuccess(what) = response.extensions().get()?;
    let status = response.status();
    (status.is_success() || status.is_redirection()).then(|| what.clone())
}

/// What a request may have changed. Dropped before it is known (the client left, the service
/// panicked or failed to answer), or invalidated, that is done: the write may have been committed.
pub(in crate::serve) struct Changed<'a> {
    cache: &'a Cache,
    what: Vec<Invalidation>,
}

impl<'a> Changed<'a> {
    pub(in crate::serve) fn new(cache: &'a Cache, what: Invalidation) -> Self {
        Self { cache, what: vec![what] }
    }

    /// Takes the place of what may have changed, now that it is known.
    pub(in crate::serve) fn replace(&mut self, what: Vec<Invalidation>) {
        self.what = what;
    }

    /// Invalidates it, and returns in how many steps. A failure is counted by the cache, and an event tells of it; the
    /// write itself has taken place.
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
