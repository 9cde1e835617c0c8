//! What becomes of a stored response if the answer that should replace it is not stored.

use super::contradictions::UnkeyedFields;
use super::handle::Cache;
use crate::entry::{Entry, EntryKind, StoredResponse};
use crate::key::CacheKey;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What becomes of a stored response if the answer that should replace it is not stored.
pub(crate) enum UnstoredAction {
    /// It is removed: the answer stands for the page.
    Forget,
    /// It stays: the request may have provoked the answer.
    Keep,
    /// It stays, and a request without unkeyed fields decides; or another visitor, if an outer layer has refused the
    /// answer. Behind a mutex, so that bodies stay `Sync`.
    Confirm(Mutex<Box<dyn FnOnce() + Send>>, UnkeyedFields),
    /// It stays until another visitor is answered with what is not stored, since no request without unkeyed fields can
    /// be made.
    AwaitAnother(UnkeyedFields),
}

impl UnstoredAction {
    pub(crate) fn confirm(fields: UnkeyedFields, start: impl FnOnce() + Send + 'static) -> Self {
        Self::Confirm(Mutex::new(Box::new(start)), fields)
    }
}

impl fmt::Debug for UnstoredAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forget => "Forget",
            Self::Keep => "Keep",
            Self::Confirm(..) => "Confirm",
            Self::AwaitAnother(_) => "AwaitAnother",
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
    /// Acts on an answer that an outer layer has refused: no layer would judge one to a request of the cache's own.
    pub(crate) fn refused(mut self, cache: &Cache) {
        if let UnstoredAction::Confirm(_, fields) = self.action {
            self.action = UnstoredAction::AwaitAnother(fields);
        }
        self.not_stored(cache);
    }

    /// Acts on an answer that is not stored. Returns `true` if the stored response is removed.
    pub(crate) fn not_stored(self, cache: &Cache) -> bool {
        let is_removed = match self.action {
            UnstoredAction::Forget => true,
            UnstoredAction::Keep => false,
            UnstoredAction::Confirm(start, _) => {
                start.into_inner().unwrap_or_else(PoisonError::into_inner)();
                false
            }
            UnstoredAction::AwaitAnother(fields) => {
                cache.contradicts(self.key.as_ref(), self.response.head().response_time, fields)
            }
        };
        if is_removed {
            cache.forget(self.key, self.response);
        }
        is_removed
    }
}

impl Cache {
    /// Removes a response from the store, if it is there still, whoever leaves meanwhile. A failure is counted.
    pub(crate) fn forget(&self, key: CacheKey, outdated: Arc<StoredResponse>) {
        let cache = self.clone();
        self.spawn_or_run(async move {
            let outdated = Entry(EntryKind::Response(outdated));
            let (new, zero) = (outdated.clone(), Some(Duration::ZERO));
            let removed = cache.store().compare_and_set(key.as_ref(), Some(&outdated), new, zero);
            let _ = cache.within_limit(removed).await;
        });
    }
}
