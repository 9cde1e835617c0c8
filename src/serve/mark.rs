//! Marks on requests and responses, by which layers learn of one another.

use super::service::Shared;
use crate::policy::CookiePolicy;
use http::Extensions;
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
    pub(crate) identified: bool,
    /// What else is known to be harmless, or to identify, where somebody decides on anonymity.
    pub(crate) cookies: Option<Arc<CookiePolicy>>,
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
    pub(crate) fn know(request: &mut Extensions, identified: bool, cookies: &Arc<CookiePolicy>) {
        let mut mark = request.remove::<Self>().unwrap_or_default();
        mark.identified |= identified;
        mark.cookies = Some(match mark.cookies {
            None => Arc::clone(cookies),
            Some(known) if Arc::ptr_eq(&known, cookies) => known,
            Some(known) => Arc::new(known.joined(cookies)),
        });
        request.insert(mark);
    }
}

impl Shared {
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
            cookies: outer.and_then(|outer| outer.cookies.clone()),
        };
        request.insert(mark);
    }
}

/// Tells whether a cache layer further out has marked the request.
pub(super) fn was_announced(request: &Extensions) -> bool {
    request.get::<OuterLayer>().is_some_and(|outer| !outer.places.is_empty())
}
