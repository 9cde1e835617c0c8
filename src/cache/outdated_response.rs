//! The decision whether to remove a stored response after a fetch whose response is not stored.
//!
//! Such a fetch may show that the stored response is outdated: for example, the page was removed.
//! But an unkeyed field of the request may have caused the answer. The stored response is then
//! still current for other requests. An unkeyed field is neither in the key nor nominated by
//! `Vary`.

use super::contradictions::UnkeyedFieldsDigest;
use super::handle::Cache;
use crate::entry::{Entry, EntryKind, StoredResponse};
use crate::key::CacheKey;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The action on a stored response if the answer that should replace it is not stored.
///
/// ```text
/// answer not stored ─┬─ Remove ───────► remove the stored response
///                    ├─ Keep ─────────► keep it
///                    ├─ Confirm ──────► keep it, and send a request without unkeyed fields
///                    │    └─ an outer layer refused the answer ─► AwaitAnother
///                    └─ AwaitAnother ─┬─ first visitor with such an answer ─► keep it
///                                     └─ second visitor ────────────────────► remove it
/// ```
pub(crate) enum UnstoredAction {
    /// Remove the stored response. The request had no unkeyed field that could have caused the
    /// answer.
    Remove,
    /// Keep the stored response. A background refresh uses this variant in its first attempt,
    /// because its second attempt, without unkeyed fields, decides. After a fetch has taken its
    /// action, the fetch has this variant, too.
    Keep,
    /// Keep the stored response, and start a background request without unkeyed fields. If the
    /// answer to that request is not stored either, the stored response is removed.
    ///
    /// If an outer layer has refused the answer to the visitor, no background request is started.
    /// This variant is then handled like [`AwaitAnother`](Self::AwaitAnother).
    ///
    /// The function starts the background request. The mutex makes this variant `Sync`, so that
    /// response bodies, which contain the variant, are `Sync`, too.
    Confirm(Mutex<Box<dyn FnOnce() + Send>>, UnkeyedFieldsDigest),
    /// Keep the stored response for now. If the answer to another visitor is not stored either, the
    /// stored response is removed. This variant is for requests that the cache cannot repeat
    /// without unkeyed fields.
    AwaitAnother(UnkeyedFieldsDigest),
}

impl UnstoredAction {
    pub(crate) fn confirm(fields: UnkeyedFieldsDigest, start: impl FnOnce() + Send + 'static) -> Self {
        Self::Confirm(Mutex::new(Box::new(start)), fields)
    }
}

impl fmt::Debug for UnstoredAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Remove => "Remove",
            Self::Keep => "Keep",
            Self::Confirm(..) => "Confirm",
            Self::AwaitAnother(_) => "AwaitAnother",
        })
    }
}

/// A stored response that a new answer should replace.
#[derive(Debug)]
pub(crate) struct OutdatedResponse {
    pub(crate) response: Arc<StoredResponse>,
    pub(crate) key: CacheKey,
    pub(crate) action: UnstoredAction,
}

impl OutdatedResponse {
    /// Handles an answer that an outer layer has refused.
    ///
    /// Sends no background request, because the outer layer would not see the answer to it.
    /// [`Confirm`](UnstoredAction::Confirm) becomes [`AwaitAnother`](UnstoredAction::AwaitAnother).
    pub(crate) fn handle_refusal(mut self, cache: &Cache) {
        if let UnstoredAction::Confirm(_, fields) = self.action {
            self.action = UnstoredAction::AwaitAnother(fields);
        }
        self.handle_not_stored(cache);
    }

    /// Handles an answer that is not stored. Returns `true` if it removes the stored response.
    pub(crate) fn handle_not_stored(self, cache: &Cache) -> bool {
        let is_removed = match self.action {
            UnstoredAction::Remove => true,
            UnstoredAction::Keep => false,
            UnstoredAction::Confirm(start, _) => {
                start.into_inner().unwrap_or_else(PoisonError::into_inner)();
                false
            }
            UnstoredAction::AwaitAnother(fields) => {
                cache.add_contradiction(self.key.as_ref(), self.response.head().response_time, fields)
            }
        };
        if is_removed {
            cache.remove_response(self.key, self.response);
        }
        is_removed
    }
}

impl Cache {
    /// Removes a response from the store in the background, unless another entry has replaced it. A
    /// failure of the store is counted.
    pub(crate) fn remove_response(&self, key: CacheKey, outdated: Arc<StoredResponse>) {
        let cache = self.clone();
        self.spawn_or_run(async move {
            let outdated = Entry(EntryKind::Response(outdated));
            let (new, zero) = (outdated.clone(), Some(Duration::ZERO));
            let removed = cache.store().compare_and_set(key.as_ref(), Some(&outdated), new, zero);
            let _ = cache.await_write(removed).await;
        });
    }
}
