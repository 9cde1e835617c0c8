//! Invalidations that a response requests, and invalidations that a write requires.

use crate::cache::{Cache, Delivery, InvalidateOnSuccess, Invalidation};
use http::Response;

/// Returns the invalidation that a handler attached to its response as [`InvalidateOnSuccess`], if
/// the status is 2xx or 3xx.
pub(in crate::serve) fn invalidation_on_success<B>(response: &Response<B>) -> Option<Invalidation> {
    let InvalidateOnSuccess(what) = response.extensions().get()?;
    let status = response.status();
    (status.is_success() || status.is_redirection()).then(|| what.clone())
}

/// The pending invalidations of a write.
///
/// Dropping this value starts the pending invalidations: a canceled or failed write may still have
/// been committed.
pub(in crate::serve) struct WriteInvalidations<'a> {
    cache: &'a Cache,
    pending: Vec<Invalidation>,
    /// Whether the last pending invalidation has begun, and so is counted.
    has_begun: bool,
}

impl<'a> WriteInvalidations<'a> {
    pub(in crate::serve) fn new(cache: &'a Cache, what: Invalidation) -> Self {
        Self { cache, pending: vec![what], has_begun: false }
    }

    /// Replaces the pending invalidations. Call this when the response shows the outcome of the
    /// write.
    pub(in crate::serve) fn replace(&mut self, what: Vec<Invalidation>) {
        self.pending = what;
    }

    /// Runs all pending invalidations. Returns the number of invalidations that are not empty.
    /// Also returns [`Delivery::Queued`] if the store has not confirmed one of them.
    ///
    /// If the store does not confirm an invalidation, the cache queues it and delivers it later.
    ///
    /// # Cancel safety
    /// If the future is dropped, the invalidations that have not completed stay pending. `Drop`
    /// starts them.
    pub(in crate::serve) async fn invalidate(&mut self) -> (u64, Delivery) {
        let (mut steps, mut all) = (0, Delivery::Delivered);
        while let Some(what) = self.pending.last().cloned() {
            steps += u64::from(!what.is_empty());
            self.has_begun = true;
            let delivery = self.cache.invalidate(what).await;
            self.has_begun = false;
            self.pending.pop();
            if delivery == Delivery::Queued {
                self.cache.count_failed_invalidation();
                all = delivery;
            }
        }
        (steps, all)
    }
}

impl Drop for WriteInvalidations<'_> {
    fn drop(&mut self) {
        if self.has_begun
            && let Some(what) = self.pending.pop()
        {
            self.cache.invalidate_again_later(&what);
        }
        for what in self.pending.drain(..) {
            self.cache.invalidate_later(&what);
        }
    }
}
