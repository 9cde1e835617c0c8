//! What a cache layer reads from marks on requests, and writes into them.

use super::config::LayerConfig;
use super::target;
use crate::entry::Scope;
use crate::key::RequestHead;
use crate::marks::OuterContext;
use crate::policy::Cookies;
use http::Extensions;
use std::sync::Arc;

impl LayerConfig {
    /// Tells whether one of the outer layers has the place of this layer.
    pub(super) fn is_within_itself(&self, outer: &OuterContext) -> bool {
        outer.places.contains(self.place())
    }

    /// Tells whether this layer's own rules declare all cookies that were unknown further out.
    pub(super) fn knows_all(&self, outer: &OuterContext) -> bool {
        let own = Cookies { own: &self.policy.cookies, outer: None, personal: false };
        outer.undeclared.as_ref().is_none_or(|names| names.iter().all(|name| own.declares(name)))
    }

    /// Marks a request that this layer passes on, and that is named by these scopes.
    pub(super) fn announce(&self, request: &mut Extensions, identified: bool, scopes: &[Scope]) {
        let mut mark = match request.get::<OuterContext>() {
            None => OuterContext {
                places: Arc::clone(self.alone()),
                start: OuterContext::start(request),
                ..OuterContext::default()
            },
            Some(outer) => {
                let places = match &*outer.places {
                    [] => Arc::clone(self.alone()),
                    places => places.iter().copied().chain([*self.place()]).collect(),
                };
                OuterContext { places, ..outer.clone() }
            }
        };
        mark.identified |= identified;
        if !scopes.is_empty() {
            mark.targets = Some(scopes.into());
        }
        request.insert(mark);
    }

    /// Returns all that may name the targets of a request: its own, the public path first, and those that outer layers
    /// know.
    pub(super) fn scopes_on(&self, request: RequestHead<'_>, hosts: &[String]) -> Vec<Scope> {
        let mut scopes = target::scopes(request, &self.policy.key, hosts);
        if let Some(targets) =
            request.extensions.get::<OuterContext>().and_then(|outer| outer.targets.as_ref())
        {
            let more: Vec<_> = targets.iter().filter(|scope| !scopes.contains(scope)).copied().collect();
            scopes.extend(more);
        }
        scopes
    }

    pub(super) fn scopes(&self, request: RequestHead<'_>) -> Vec<Scope> {
        self.scopes_on(request, &target::hosts(request, &self.policy.key))
    }
}
