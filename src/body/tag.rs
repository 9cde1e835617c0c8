//! The entity tag of a body, generated while the body is recorded.

use crate::rules::entity_tag::EntityTag;
use std::sync::{Arc, OnceLock};

/// The entity tag of a body, set once the body is complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tagged(Arc<OnceLock<EntityTag>>);

impl Tagged {
    pub(super) fn set(&self, tag: EntityTag) {
        // A recording ends once.
        let _ = self.0.set(tag);
    }

    pub(crate) fn get(&self) -> Option<&EntityTag> {
        self.0.get()
    }
}
