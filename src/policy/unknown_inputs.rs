//! The inputs of a decision that `Cache::explain` cannot know.

use super::Policy;

impl Policy {
    /// Returns the inputs that the fields of a request do not show: the results of the user's
    /// functions, the marks of outer layers, and rewrites by routers and outer layers.
    pub(crate) fn unknown_inputs(&self) -> Vec<String> {
        let predicates = &self.predicates;
        let options = [
            ("bypass_if", !predicates.bypass.is_empty()),
            ("store_if", !predicates.store.is_empty()),
            ("identified_if_extension", !predicates.extensions.is_empty()),
        ];
        let options = options.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.to_owned());
        let identity = predicates.identity_name().map(|name| format!("vary_by_identity {name}"));
        let parts = self.key.vary_by.iter().filter(|part| !part.is_fixed());
        let parts = parts.map(|part| format!("vary_by {}", part.name()));
        let outer = ["marks of outer layers", "rewrites by routers and outer layers"].map(str::to_owned);
        options.chain(identity).chain(parts).chain(outer).collect()
    }
}
