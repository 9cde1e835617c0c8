//! The outermost layer of this crate around a request: it decides on what inner layers hold.

use super::{OuterContext, PendingVerdict, Verdict, remove_from_request};
use crate::waker_relay::relay_waker;
use http::{Extensions, Request};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// A layer's side of one request. If the outermost one is dropped without its response, what inner layers hold is
/// abandoned.
#[derive(Debug)]
pub(crate) struct Edge(Option<Arc<Holds>>);

impl Edge {
    /// Marks a request that enters a layer, and removes what only a response may carry.
    pub(crate) fn enter<B>(request: &mut Request<B>) -> Self {
        remove_from_request(request.headers_mut());
        Self::of(request.extensions_mut())
    }

    /// Marks a request, if no outer layer has.
    pub(crate) fn of(request: &mut Extensions) -> Self {
        if request.get::<OuterContext>().is_some() { Self::inner() } else { Self::outermost(request) }
    }

    /// Returns the side of a layer that is not the outermost one.
    pub(crate) fn inner() -> Self {
        Self(None)
    }

    /// Makes a layer the outermost one of a request, even if outer layers have marked it.
    pub(crate) fn outermost(request: &mut Extensions) -> Self {
        let holds = Arc::<Holds>::default();
        let mark = request.remove::<OuterContext>().unwrap_or_else(|| OuterContext::outermost(request));
        request.insert(OuterContext { holds: Arc::downgrade(&holds), ..mark });
        Self(Some(holds))
    }

    /// Returns `true` if no outer layer of this crate has marked the request.
    pub(crate) fn is_outermost(&self) -> bool {
        self.0.is_some()
    }

    /// Refuses what inner layers still hold: its response did not come back.
    pub(crate) fn refuse_rest(&mut self) {
        if let Some(holds) = self.0.take() {
            holds.decide(Verdict::Refused);
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(holds) = self.0.take() {
            holds.decide(Verdict::Abandoned);
        }
    }
}

/// The admissions that wait for the response to one request.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    pending: Mutex<Vec<PendingVerdict>>,
    added: Notify,
}

/// From this length on, the list is cleared of decided verdicts.
const MANY: usize = 16;

impl Holds {
    /// Returns the holds of the outermost layer around a request, while the layer waits for its response.
    pub(crate) fn around(request: &Extensions) -> Weak<Self> {
        request.get::<OuterContext>().map(|outer| Weak::clone(&outer.holds)).unwrap_or_default()
    }

    pub(crate) fn add(&self, verdict: PendingVerdict) {
        let mut pending = self.lock();
        if pending.len() >= MANY {
            pending.retain(PendingVerdict::is_open);
        }
        pending.push(verdict);
        drop(pending);
        self.added.notify_waiters();
    }

    /// Waits until the request holds an admission itself.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn held(&self) {
        loop {
            let mut added = pin!(self.added.notified());
            // From here on no addition is missed.
            added.as_mut().enable();
            if self.lock().iter().any(PendingVerdict::is_open) {
                return;
            }
            relay_waker(added).await;
        }
    }

    fn decide(&self, verdict: Verdict) {
        let pending = std::mem::take(&mut *self.lock());
        pending.iter().for_each(|each| each.decide(verdict));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PendingVerdict>> {
        // Nothing panics under this lock.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
