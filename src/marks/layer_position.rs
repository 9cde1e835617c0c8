//! The outermost layer of this crate around a request. It decides on the admissions that inner
//! layers hold.

use super::field::remove_from_request;
use super::held_admissions::HeldAdmissions;
use super::outer_context::OuterContext;
use super::verdict::Verdict;
use http::{Extensions, Request};
use std::sync::Arc;

/// The role of one layer for one request: the outermost layer, or an inner one.
///
/// If the outermost layer drops this value before it has the response, the held admissions are
/// abandoned ([`Verdict::Abandoned`]).
#[derive(Debug)]
pub(crate) struct LayerPosition(Option<Arc<HeldAdmissions>>);

impl LayerPosition {
    /// Returns the role of a layer for a request that enters it, as [`of`](Self::of) does.
    ///
    /// Also removes the header field for marks, which only responses may have.
    pub(crate) fn enter<B>(request: &mut Request<B>) -> Self {
        remove_from_request(request.headers_mut());
        Self::of(request.extensions_mut())
    }

    /// Returns the role of a layer for a request. Without the mark of an outer layer, this is the
    /// outermost layer, and the request gets its mark.
    pub(crate) fn of(request: &mut Extensions) -> Self {
        if request.get::<OuterContext>().is_some() { Self::inner() } else { Self::outermost(request) }
    }

    /// Returns the role of an inner layer.
    pub(crate) fn inner() -> Self {
        Self(None)
    }

    /// Makes a layer the outermost one of a request, even if outer layers have marked the request.
    ///
    /// A background refresh needs this: its response reaches no outer layer.
    pub(crate) fn outermost(request: &mut Extensions) -> Self {
        let holds = Arc::<HeldAdmissions>::default();
        let mark = request.remove::<OuterContext>().unwrap_or_else(|| OuterContext::outermost(request));
        request.insert(OuterContext { holds: Arc::downgrade(&holds), ..mark });
        Self(Some(holds))
    }

    /// Returns `true` for the outermost layer of this crate, until it calls
    /// [`refuse_rest`](Self::refuse_rest).
    pub(crate) fn is_outermost(&self) -> bool {
        self.0.is_some()
    }

    /// Refuses the admissions that inner layers still hold.
    ///
    /// The outermost layer calls this when its response is ready. An admission that is undecided at
    /// that time belongs to another response, which did not reach the layer.
    pub(crate) fn refuse_rest(&mut self) {
        if let Some(holds) = self.0.take() {
            holds.decide(Verdict::Refused);
        }
    }
}

impl Drop for LayerPosition {
    fn drop(&mut self) {
        if let Some(holds) = self.0.take() {
            holds.decide(Verdict::Abandoned);
        }
    }
}
