//! Marks on requests and responses, by which layers learn of one another.

mod edge;
mod field;
mod verdict;

pub(crate) use edge::{Edge, Holds};
pub(crate) use field::{receive, remove_from_request, send};
#[cfg(feature = "axum")]
pub(crate) use field::{write_identified, write_never};
pub(crate) use verdict::{Decider, PendingVerdict, Verdict};

use crate::entry::Scope;
use crate::policy::{CacheHints, CookiePolicy, Cookies, KnownExtension, cookie_names};
use crate::status::WantsStatus;
use http::{Extensions, Request};
use std::sync::{Arc, Weak};

/// The length in bytes of the place of a layer in the key.
pub(crate) const PREFIX: usize = 16;

/// The place of a layer in the key: a digest of all that is the same for all its requests.
pub(crate) type LayerId = [u8; PREFIX];

/// A mark on a request, of layers further out: what they know of it, and that they want to know
/// whether a cache layer further in handled it.
#[derive(Debug, Clone, Default)]
pub(crate) struct OuterContext {
    /// The places in the key of the cache layers among them.
    pub(crate) places: Arc<[LayerId]>,
    /// One of them saw who the sender is; a layer in between may have taken that off.
    pub(crate) identified: bool,
    /// One that decides on anonymity did.
    pub(crate) is_barred: bool,
    /// Only the current representation is an answer: no stored and no arriving one.
    pub(crate) needs_current: bool,
    /// What else is known to be harmless, or to identify, where somebody decides on anonymity.
    pub(crate) cookies: Option<Arc<CookiePolicy>>,
    /// The names of cookies that nobody has declared so far; a layer in between may have taken them off.
    pub(crate) undeclared: Option<Arc<[Vec<u8>]>>,
    /// All that names the targets that outer cache layers know the request by: an invalidation of them is one of inner
    /// responses, too.
    pub(crate) targets: Option<Arc<[Scope]>>,
    /// What inner layers hold of the responses to the request.
    pub(crate) holds: Weak<Holds>,
    /// The extensions that the request had where it entered the outermost layer, if any.
    pub(crate) start: Option<Arc<Extensions>>,
}

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
/// visitor, and an [`AnonymousOnlyLayer`](crate::AnonymousOnlyLayer) tells caches downstream to.
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

impl OuterContext {
    /// Returns the mark of the outermost layer.
    pub(crate) fn outermost(request: &Extensions) -> Self {
        Self { start: Self::start(request), ..Self::default() }
    }

    /// Returns a copy of the extensions of a request, if it has any.
    #[inline]
    pub(crate) fn start(request: &Extensions) -> Option<Arc<Extensions>> {
        (!request.is_empty()).then(|| Arc::new(request.clone()))
    }

    /// Marks a request of this crate's own that needs the current representation: every inner cache layer forwards it
    /// uncollapsed. Clients cannot send the mark.
    pub(crate) fn require_current(request: &mut Extensions) {
        let mark = request.remove::<Self>().unwrap_or_else(|| Self::outermost(request));
        request.insert(Self { needs_current: true, ..mark });
    }

    /// Returns `true` if a layer between the outermost one and here has left something in the extensions of a request,
    /// apart from what is known to say nothing of a visitor.
    pub(crate) fn is_extended(&self, request: &Extensions, known: &[KnownExtension]) -> bool {
        let start = self.start.as_deref();
        // Most requests have no more than at the start, but for the mark.
        if request.len() <= start.map_or(0, Extensions::len) + 1 {
            return false;
        }
        let is_added = |(_, is_there): &&KnownExtension| is_there(request) && !start.is_some_and(is_there);
        let declared = known.iter().filter(is_added).count();
        foreign_extensions(request) > start.map_or(0, foreign_extensions) + declared
    }

    /// Returns `true` if one of them has identified the sender, or can't rule it out.
    pub(crate) fn may_identify(&self) -> bool {
        self.identified || self.is_barred || self.undeclared.is_some()
    }

    /// Marks a request that passes a layer which knows more of its sender.
    pub(crate) fn know<B>(request: &mut Request<B>, identified: bool, cookies: &Arc<CookiePolicy>) {
        let extensions = request.extensions_mut();
        let mut mark = extensions.remove::<Self>().unwrap_or_else(|| Self::outermost(extensions));
        mark.is_barred |= identified;
        mark.cookies = Some(match mark.cookies {
            None => Arc::clone(cookies),
            Some(known) if Arc::ptr_eq(&known, cookies) => known,
            Some(known) => Arc::new(known.joined(cookies)),
        });
        let known = Cookies { own: cookies, outer: mark.cookies.as_deref(), personal: false };
        let before = mark.undeclared.iter().flat_map(|names| names.iter().map(Vec::as_slice));
        let undeclared: Vec<_> = before
            .chain(cookie_names(request.headers()))
            .filter(|name| !known.declares(name))
            .map(<[u8]>::to_vec)
            .collect();
        mark.undeclared = (!undeclared.is_empty()).then(|| undeclared.into());
        request.extensions_mut().insert(mark);
    }
}

/// Counts the extensions that say something of a request beyond its route.
fn foreign_extensions(request: &Extensions) -> usize {
    if request.is_empty() {
        return 0;
    }
    let own = usize::from(request.get::<OuterContext>().is_some())
        + usize::from(request.get::<WantsStatus>().is_some());
    request.len().saturating_sub(own + routing_extensions(request))
}

/// Counts those that a router of axum adds.
#[cfg(feature = "axum")]
fn routing_extensions(request: &Extensions) -> usize {
    use axum::extract::{MatchedPath, NestedPath, OriginalUri};
    let is_nested = request.get::<NestedPath>().is_some();
    // The matched path, or that of the outer router so far, comes with the parameters in it, whose type is private.
    2 * usize::from(is_nested || request.get::<MatchedPath>().is_some())
        + usize::from(is_nested)
        + usize::from(request.get::<OriginalUri>().is_some())
}

#[cfg(not(feature = "axum"))]
fn routing_extensions(_: &Extensions) -> usize {
    0
}

/// Tells whether a cache layer further out has marked the request.
#[inline]
pub(crate) fn was_announced(request: &Extensions) -> bool {
    request.get::<OuterContext>().is_some_and(|outer| !outer.places.is_empty())
}

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

/// Returns `true` if no outer layer of this crate has marked the request.
#[inline]
pub(crate) fn is_outermost(request: &Extensions) -> bool {
    request.get::<OuterContext>().is_none()
}
