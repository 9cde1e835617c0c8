//! The use flag of a variant. If a URL has too many variants, one without a set flag is evicted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that is set if a request has used a variant since the flags of its URL were last cleared.
///
/// All copies of a variant share one flag. A response that is not a variant has no flag.
#[derive(Debug, Clone, Default)]
pub(super) struct UseFlag(Option<Arc<AtomicBool>>);

impl UseFlag {
    /// Creates the flag of a variant.
    pub(super) fn of_variant(is_used: bool) -> Self {
        Self(Some(Arc::new(AtomicBool::new(is_used))))
    }

    pub(super) fn is_of_variant(&self) -> bool {
        self.0.is_some()
    }

    #[inline]
    pub(super) fn set(&self) {
        // A flag that is set is not written again, so that reading threads do not contend.
        if let Some(used) = self.0.as_ref().filter(|used| !used.load(Ordering::Relaxed)) {
            used.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self) {
        self.0.iter().for_each(|used| used.store(false, Ordering::Relaxed));
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|used| used.load(Ordering::Relaxed))
    }
}
