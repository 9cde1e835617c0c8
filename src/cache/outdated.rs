//! What becomes of a stored response if the answer that should replace it is not stored.

use super::Cache;
use crate::entry::StoredResponse;
use crate::key::CacheKey;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What becomes of a stored response if the answer that should replace it is not stored.
pub(crate) enum UnstoredAction {
    /// It is removed: the answer stands for the page.
    Forget,
    /// It stays: the request may have provoked the answer.
    Keep,
    /// It stays, and a request without unkeyed fields decides. Behind a mutex, so that bodies stay `Sync`.
    Confirm(Mutex<Box<dyn FnOnce() + Send>>),
}

impl UnstoredAction {
    pub(crate) fn confirm(start: impl FnOnce() + Send + 'static) -> Self {
        Self::Confirm(Mutex::new(Box::new(start)))
    }
}

impl fmt::Debug for UnstoredAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forget => "Forget",
            Self::Keep => "Keep",
            Self::Confirm(_) => "Confirm",
        })
    }
}

/// A stored response that a new answer should replace.
#[derive(Debug)]
pub(crate) struct Outdated {
    pub(crate) response: Arc<StoredResponse>,
    pub(crate) key: CacheKey,
    pub(crate) action: UnstoredAction,
}

impl Outdated {
    /// Acts on an answer that is not stored. Returns `true` if the stored response is removed.
    pub(crate) fn not_stored(self, cache: &Cache) -> bool {
        match self.action {
            UnstoredAction::Forget => cache.forget(self.key, self.response),
            UnstoredAction::Keep => return false,
            UnstoredAction::Confirm(start) => {
                start.into_inner().unwrap_or_else(PoisonError::into_inner)();
                return false;
            }
        }
        true
    }
}
