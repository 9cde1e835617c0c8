//! Marks on a response.

use crate::policy::CacheHints;
use http::{Extensions, Response};

/// A mark on a response: an inner cache layer handled the request. Outer cache layers must not
/// store or share the response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandledByInner;

/// Returns `true` if an inner cache layer has handled the request of a response.
#[inline]
pub(crate) fn is_handled_by_inner<B>(response: &Response<B>) -> bool {
    response.extensions().get::<HandledByInner>().is_some()
}

/// A mark on a response for layers that write `Cache-Control`: an inner cache layer identified the
/// visitor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromIdentified;

/// A mark on a response that was made for one visitor. No cache layer shares such a response.
///
/// An authentication layer inside the cache adds this mark to the response's extensions when it has
/// identified the visitor, by any means. Outer cache layers then store the response at most for
/// that visitor ([`vary_by_identity`](crate::policy::PolicyBuilder::vary_by_identity)). An
/// [`AnonymousOnlyLayer`](crate::anonymous_only::AnonymousOnlyLayer) makes the response `private`
/// for downstream caches.
///
/// The mark does not protect a page that is already stored: the cache serves a hit without running
/// the authentication layer. So the cache must also recognize these visitors by their requests.
/// Requests with credentials or undeclared cookies bypass the cache; declare any other header field
/// that identifies a visitor.
///
/// Extensions are lost if a layer builds a new response. For layers that copy the header fields,
/// [`add_to_response`](Self::add_to_response) also adds the header field `tower-response-cache`.
/// The outermost layer of this crate removes the field.
///
/// # Example
/// ```
/// use tower_response_cache::Identified;
///
/// let mut response = http::Response::new("Hello, Alice");
/// response.extensions_mut().insert(Identified);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identified;

/// Returns a copy of those marks of a response that forbid sharing it.
pub(crate) fn restrictions(response: &Extensions) -> Extensions {
    let mut marks = Extensions::new();
    if let Some(identified) = response.get::<Identified>() {
        marks.insert(*identified);
    }
    if response.get::<CacheHints>().is_some_and(|hints| hints.never) {
        marks.insert(CacheHints::new().never());
    }
    marks
}
