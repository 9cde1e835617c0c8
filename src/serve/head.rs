//! What a HEAD tells of a stored response (RFC 9111 section 4.3.5).

use super::decision::Keep;
use super::forward::{Fill, Sent};
use super::next::Stored;
use super::revalidate::updating;
use crate::cache::{Cache, Storing};
use crate::entry::{Generation, StoredResponse};
use crate::policy::Sharing;
use crate::rules::update::{is_still, updated};
use crate::store::Validity;
use http::{Response, StatusCode};
use std::sync::Arc;

/// A stored response that the answer to a HEAD says something of, and what was current before the service was asked.
pub(super) struct Known {
    stored: Stored,
    generation: Generation,
}

/// A stored response with new fields, that is to take its own place.
pub(super) struct Update {
    storing: Storing,
    before: Arc<StoredResponse>,
}

impl Update {
    pub(super) async fn store(self, cache: &Cache) {
        self.storing.store(cache, self.before.body().clone()).await;
    }
}

impl Fill {
    /// Returns what a HEAD may update: where the word of the origin counts alone, and the request says nothing of who
    /// has sent it.
    pub(super) async fn known_by_head(&self) -> Option<Known> {
        let (shared, context) = (&self.way.shared, self.way.context);
        let asks = context.head && shared.policy.sharing == Sharing::Rfc9111;
        let stored =
            self.call.stored.clone().filter(|_| asks && !context.goes_alone() && !context.identified)?;
        // In this order: what was invalidated before is not made current by it.
        let generation = shared.cache.generation().await.ok()?;
        let is_valid = matches!(shared.cache.validity_of(&stored.0).await, Ok(Validity::Valid));
        (is_valid && stored.0.status() == StatusCode::OK).then_some(Known { stored, generation })
    }

    /// Learns of what is stored from the answer to a HEAD: it gets the new fields, or goes if it is another one.
    pub(super) fn learn<B>(&self, known: Known, response: &Response<B>, sent: &Sent) -> Option<Update> {
        let (shared, Known { stored: (before, key), generation }) = (&self.way.shared, known);
        if response.status() != StatusCode::OK {
            return None;
        }
        if !is_still(before.headers(), before.body().len() as u64, response.headers()) {
            shared.cache.forget(key, before);
            return None;
        }
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.headers = updated(&before.head().said(), response.headers(), true);
        parts.extensions = response.extensions().clone();
        let Keep { head, retained, .. } = shared.keep(&sent.exchanged(&self.way, generation), &parts).ok()?;
        let storing = updating(&self.way, head, &before, &sent.headers, retained, None);
        Some(Update { storing, before })
    }
}
