//! Marks on a response.

use crate::policy::CacheHints;
use http::Extensions;

/// A mark on a response: a cache layer further in handled it, so nobody else may share it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandledByInner;

/// A mark on a response, for layers that write `Cache-Control`: an inner cache layer has found the sender of its request identified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromIdentified;

/// A mark on a response: it was made for one visitor. No cache layer stores or shares such a response.
///
/// An authentication layer puts it into the response's extensions once it knows who the visitor is,
/// whatever that was found out by. Cache layers further out than it then keep the response to that
/// visitor, and an [`AnonymousOnlyLayer`](crate::anonymous_only::AnonymousOnlyLayer) tells caches downstream to.
///
/// A page that is stored is answered without that layer. So what may identify a visitor has to be
/// declared as well, or left undeclared: only requests without undeclared cookies or credentials are
/// answered from the cache.
///
/// Extensions are lost if a layer builds a new response. [`add_to_response`](Self::add_to_response) also sets the header
/// field `tower-response-cache`, for layers that copy the header fields. The outermost layer removes it.
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

/// Returns the marks of a response that keep it from others.
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
