//! The mark on a request: what outer layers know of it.

use super::holds::Holds;
use crate::entry::Scope;
use crate::policy::{CookiePolicy, Cookies, KnownExtension, cookie_names};
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
    /// The ids of the cache layers among them.
    pub(crate) layers: Arc<[LayerId]>,
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

impl Holds {
    /// Returns the holds of the outermost layer around a request, while the layer waits for its response.
    pub(crate) fn around(request: &Extensions) -> Weak<Self> {
        request.get::<OuterContext>().map(|outer| Weak::clone(&outer.holds)).unwrap_or_default()
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

/// Returns `true` if a cache layer further out has marked the request.
#[inline]
pub(crate) fn was_announced(request: &Extensions) -> bool {
    request.get::<OuterContext>().is_some_and(|outer| !outer.layers.is_empty())
}

/// Returns `true` if no outer layer of this crate has marked the request.
#[inline]
pub(crate) fn is_outermost(request: &Extensions) -> bool {
    request.get::<OuterContext>().is_none()
}
