//! The counters of layers, by name.

use super::layer_counters::LayerCounters;
use super::layer_stats::OTHER_LAYERS;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most layer names with separate counters. All other names share the counters of
/// [`OTHER_LAYERS`].
const MAX_NAMES: usize = 256;

/// The identity of a layer. Two layers of one name have contradictory options if their `scope` is
/// the same and their `id`s differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerIdentity {
    /// The namespace, the version and the level of the layer.
    pub(crate) scope: String,
    /// The ID of the layer, with which its keys begin.
    pub(crate) id: Vec<u8>,
}

#[derive(Debug)]
struct NamedLayer {
    counters: Arc<LayerCounters>,
    /// The identity of the first layer with the name, if the policy sets the name.
    first: Option<LayerIdentity>,
    has_warned: bool,
}

/// The counters of layers, by name.
#[derive(Debug, Default)]
pub(super) struct LayerNames {
    layers: Mutex<BTreeMap<Box<str>, NamedLayer>>,
}

impl LayerNames {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, NamedLayer>> {
        // No code panics under this lock.
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counters of a name. `identity` is the identity of the layer if its policy sets the
    /// name, and otherwise `None`.
    pub(super) fn counters(&self, name: &str, identity: Option<LayerIdentity>) -> Arc<LayerCounters> {
        let (counters, contradicts) = self.register(name, identity);
        if contradicts {
            warning!(layer = name, "two layers with different options have one name");
        }
        counters
    }

    /// Returns the counters of a name. Also returns `true` if this call is the first to find that
    /// two layers of the name contradict each other.
    fn register(&self, name: &str, identity: Option<LayerIdentity>) -> (Arc<LayerCounters>, bool) {
        let mut layers = self.lock();
        let is_full = layers.len() >= MAX_NAMES && !layers.contains_key(name);
        let (name, identity) = if is_full { (OTHER_LAYERS, None) } else { (name, identity) };
        let layer = layers.entry(name.into()).or_insert_with(|| NamedLayer {
            counters: Arc::new(LayerCounters::new(name)),
            first: identity.clone(),
            has_warned: false,
        });
        let contradicts = match (&layer.first, &identity) {
            (Some(first), Some(other)) => first.scope == other.scope && first.id != other.id,
            _ => false,
        };
        let warns = contradicts && !layer.has_warned;
        layer.has_warned |= contradicts;
        (Arc::clone(&layer.counters), warns)
    }

    /// Returns the counters of all names, in the order of the names.
    pub(super) fn all(&self) -> Vec<Arc<LayerCounters>> {
        self.lock().values().map(|layer| Arc::clone(&layer.counters)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_beyond_the_limit_share_counters() {
        let registry = LayerNames::default();
        let names: Vec<_> = (0..1000).map(|number| format!("layer {number}")).collect();
        let counted: BTreeSet<_> =
            names.iter().map(|name| registry.counters(name, None).name().to_owned()).collect();
        assert_eq!((counted.len(), registry.all().len()), (MAX_NAMES + 1, MAX_NAMES + 1));
        assert!(counted.contains(OTHER_LAYERS));
        let again = registry.counters(&names[0], None);
        assert_eq!(again.name(), "layer 0");
    }

    #[test]
    fn contradictory_layers_of_one_name_are_reported_once() {
        let registry = LayerNames::default();
        let identity = |scope: &str, id| Some(LayerIdentity { scope: scope.to_owned(), id: vec![id] });
        let reports = |name, identity| registry.register(name, identity).1;
        assert!(!reports("shop", identity("site", 1)));
        assert!(!reports("shop", identity("site", 1)), "the same layer, built again");
        assert!(!reports("shop", identity("route", 2)), "another level");
        assert!(!reports("blog", identity("site", 2)), "another name");
        assert!(reports("shop", identity("site", 2)));
        assert!(!reports("shop", identity("site", 3)), "reported already");
    }
}
