//! The entity tag of a body, generated while the body is recorded.

use crate::rules::entity_tag::EntityTag;
use std::sync::{Arc, OnceLock};

/// The entity tag of a body, set once the body is complete.
#[derive(Debug, Clone, Default)]
pub(crate) struct GeneratedTag(Arc<OnceLock<EntityTag>>);

impl GeneratedTag {
    pub(super) fn set(&self, tag: EntityTag) {
        // A recording ends once, so no other tag is set.
        let _ = self.0.set(tag);
    }

    pub(crate) fn get(&self) -> Option<&EntityTag> {
        self.0.get()
    }
}
