//! The outermost layer of this crate around a request: it decides on what inner layers hold.

use super::field::remove_from_request;
use super::holds::Holds;
use super::outer_context::OuterContext;
use super::verdict::Verdict;
use http::{Extensions, Request};
use std::sync::Arc;

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
