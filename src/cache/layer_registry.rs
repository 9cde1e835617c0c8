//! The cache layers over a cache, for [`Cache::explain`](crate::Cache::explain) and for the names in
//! a policy table.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The most layers that a cache knows. Further layers work, but are not registered.
const MAX_LAYERS: usize = 256;

/// The configuration of a layer, whose concrete type the layer modules define.
type AnyConfig = dyn Any + Send + Sync;

/// The layers that exist now, in the order of their creation. A layer no longer exists once the
/// layer and all its services are dropped.
#[derive(Debug, Default)]
pub(crate) struct LayerRegistry(Mutex<Vec<RegisteredLayer>>);

#[derive(Debug, Clone)]
struct RegisteredLayer {
    name: String,
    config: Weak<AnyConfig>,
}

impl LayerRegistry {
    /// Adds a layer by its name and its configuration.
    pub(crate) fn add(&self, name: &str, config: &Arc<impl Any + Send + Sync>) {
        let config: Arc<AnyConfig> = Arc::clone(config) as Arc<AnyConfig>;
        let mut layers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if layers.len() >= MAX_LAYERS {
            layers.retain(|layer| layer.config.strong_count() > 0);
        }
        if layers.len() < MAX_LAYERS {
            layers.push(RegisteredLayer { name: name.to_owned(), config: Arc::downgrade(&config) });
        }
    }

    /// Returns the configurations of the layers that exist now.
    pub(crate) fn layers<C: Any + Send + Sync>(&self) -> Vec<Arc<C>> {
        let layers = self.registered();
        let configs = layers.iter().filter_map(|layer| layer.config.upgrade());
        configs.filter_map(|config| config.downcast().ok()).collect()
    }

    /// Returns `true` if a layer with this name exists now.
    pub(super) fn has(&self, name: &str) -> bool {
        self.registered().iter().any(|layer| layer.name == name && layer.config.strong_count() > 0)
    }

    /// Copies the list, so that no configuration is dropped under the lock.
    fn registered(&self) -> Vec<RegisteredLayer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_layers_make_room_and_excess_layers_are_ignored() {
        let registry = LayerRegistry::default();
        for number in 0..10 * MAX_LAYERS {
            registry.add("a", &Arc::new(number));
        }
        assert!(registry.layers::<usize>().is_empty() && !registry.has("a"));
        let alive: Vec<_> = (0..2 * MAX_LAYERS).map(Arc::new).collect();
        alive.iter().for_each(|layer| registry.add("b", layer));
        let known = registry.layers::<usize>();
        assert!(registry.has("b") && !registry.has("a"));
        assert!(known.len() <= MAX_LAYERS && known.contains(&alive[0]), "{}", known.len());
        assert!(!known.contains(&alive[2 * MAX_LAYERS - 1]));
    }
}
