//! Marks on requests and responses, by which layers learn of one another.

use super::shared::Shared;
use crate::policy::{CookiePolicy, Cookies, cookie_names};
use http::{Extensions, Request};
use std::sync::Arc;

pub(super) const PREFIX: usize = 16;

/// The place of a layer in the key: a digest of all that is the same for all its requests.
pub(super) type Place = [u8; PREFIX];

/// A mark on a request, of layers further out: what they know of it, and that they want to know
/// whether a cache layer further in handled it.
#[derive(Debug, Clone, Default)]
pub(crate) struct OuterLayer {
    /// The places in the key of the cache layers among them.
    places: Arc<[Place]>,
    /// One of them saw who the sender is; a layer in between may have taken that off.
    pub(super) identified: bool,
    /// One that decides on anonymity did.
    pub(super) is_barred: bool,
    /// What else is known to be harmless, or to identify, where somebody decides on anonymity.
    pub(crate) cookies: Option<Arc<CookiePolicy>>,
    /// The names of cookies that nobody has declared so far; a layer in between may have taken them off.
    undeclared: Option<Arc<[Vec<u8>]>>,
}

/// A mark on a response: a cache layer further in handled it, so nobody else may share it.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandledWithin;

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
/// # Example
/// ```
/// use tower_response_cache::Identified;
///
/// let mut response = http::Response::new("Hello, Alice");
/// response.extensions_mut().insert(Identified);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identified;

impl OuterLayer {
    /// Tells whether one of them has the place of this layer.
    pub(super) fn has(&self, layer: &Shared) -> bool {
        self.places.contains(layer.place())
    }

    /// Marks a request that passes a layer which knows more of its sender.
    pub(crate) fn know<B>(request: &mut Request<B>, identified: bool, cookies: &Arc<CookiePolicy>) {
        let mut mark = request.extensions_mut().remove::<Self>().unwrap_or_default();
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

impl Shared {
    /// Tells whether this layer's own rules declare all cookies that were unknown further out.
    pub(super) fn knows_all(&self, outer: &OuterLayer) -> bool {
        let own = Cookies { own: &self.policy.cookies, outer: None, personal: false };
        outer.undeclared.as_ref().is_none_or(|names| names.iter().all(|name| own.declares(name)))
    }

    /// Marks a request that this layer passes on.
    pub(super) fn announce(&self, request: &mut Extensions, identified: bool) {
        let outer = request.get::<OuterLayer>();
        let places = match outer {
            Some(outer) if !outer.places.is_empty() => {
                outer.places.iter().copied().chain([*self.place()]).collect()
            }
            _ => Arc::clone(self.alone()),
        };
        let mark = OuterLayer {
            places,
            identified: identified || outer.is_some_and(|outer| outer.identified),
            is_barred: outer.is_some_and(|outer| outer.is_barred),
            cookies: outer.and_then(|outer| outer.cookies.clone()),
            undeclared: outer.and_then(|outer| outer.undeclared.clone()),
        };
        request.insert(mark);
    }
}

/// Tells whether a cache layer further out has marked the request.
#[inline]
pub(super) fn was_announced(request: &Extensions) -> bool {
    request.get::<OuterLayer>().is_some_and(|outer| !outer.places.is_empty())
}
