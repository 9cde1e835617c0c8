//! What a cache layer reads from marks on requests, and writes into them.

use super::shared::Shared;
use crate::marks::{OuterLayer, foreign_extensions};
use crate::policy::Cookies;
use http::Extensions;
use std::sync::{Arc, Weak};

impl Shared {
    /// Tells whether one of the outer layers has the place of this layer.
    pub(super) fn is_within_itself(&self, outer: &OuterLayer) -> bool {
        outer.places.contains(self.place())
    }

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
            needs_current: outer.is_some_and(|outer| outer.needs_current),
            cookies: outer.and_then(|outer| outer.cookies.clone()),
            undeclared: outer.and_then(|outer| outer.undeclared.clone()),
            holds: outer.map(|outer| Weak::clone(&outer.holds)).unwrap_or_default(),
            extensions: outer.map_or_else(|| foreign_extensions(request), |outer| outer.extensions),
        };
        request.insert(mark);
    }
}
