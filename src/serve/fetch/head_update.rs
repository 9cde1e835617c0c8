//! Updates a stored response from the response to a HEAD (RFC 9111 section 4.3.5).

use super::forwarded_request::ForwardedRequest;
use super::plan::{Fetch, StoredEntry};
use crate::cache::Cache;
use crate::clock::Moment;
use crate::entry::{Dependencies, Entry, EntryKind, Generation, Head, StoredResponse};
use crate::key::CacheKey;
use crate::marks::{HandledByInner, PendingVerdict, Verdict};
use crate::rules::preconditions::has_validator;
use crate::rules::stale::StaleOverrides;
use crate::rules::update::{matches_stored_body, updated_fields};
use crate::serve::admission::{Admission, admit};
use crate::serve::lookup::{is_stale_early, retention};
use crate::store::Validity;
use http::{Response, StatusCode};
use std::sync::Arc;

/// A stored response that a HEAD may update, and the generation read before the HEAD is forwarded.
pub(in crate::serve) struct HeadTarget {
    stored: StoredEntry,
    generation: Generation,
}

/// The replacement of a stored response. It is written only if the stored response is still in the
/// store.
pub(in crate::serve) struct HeadUpdate {
    url: CacheKey,
    key: CacheKey,
    before: Arc<StoredResponse>,
    after: StoredResponse,
    expires: Moment,
}

impl HeadUpdate {
    /// Stores the replacement once the outermost layer has admitted the response to the HEAD. Drops
    /// it after any other verdict.
    pub(in crate::serve) fn store_if_admitted(self, verdict: &PendingVerdict, cache: &Cache) {
        let cache = cache.clone();
        verdict.when_decided(move |verdict| {
            if verdict == Verdict::Admitted {
                let own = cache.clone();
                cache.spawn_or_run(async move { self.store(&own).await });
            }
        });
    }

    /// Stores the replacement, unless the cache was turned off in the meantime.
    pub(in crate::serve) async fn store(self, cache: &Cache) {
        if !cache.is_enabled() {
            return;
        }
        let Self { url, key, before, after, expires } = self;
        // If a write fails, the cache counts the failure, and the stored response stays unchanged.
        if key != url && cache.extend_index(url.as_ref(), expires).await.is_err() {
            return;
        }
        let (before, after) =
            (Entry(EntryKind::Response(before)), Entry(EntryKind::Response(Arc::new(after))));
        let ttl = cache.ttl_until(expires);
        let put = cache.store().compare_and_set(key.as_ref(), Some(&before), after, ttl);
        let _ = cache.await_write(put).await;
    }
}

impl Fetch {
    /// Returns the stored response that a HEAD may update, if there is one.
    ///
    /// Under `Policy::app`, a HEAD updates nothing.
    pub(in crate::serve) async fn head_target(&self) -> Option<HeadTarget> {
        let (config, facts) = (&self.state.config, self.state.facts);
        let is_updatable =
            facts.head && config.policy.updates_from_head() && facts.is_collapsible() && !facts.identified;
        let stored = self.plan.stored.clone().filter(|_| is_updatable)?;
        // The generation is read before the validity, so that an update revives no invalidated
        // response.
        let generation = config.cache.generation().await.ok()?;
        let is_valid = matches!(config.cache.validity_of(&stored.response).await, Ok(Validity::Valid));
        // A stored response that has hints, dependencies or a rewritten `Cache-Control` is not
        // updated.
        let head = stored.response.head();
        let hinted = head.hinted_ttl.is_some()
            || head.hinted_windows != StaleOverrides::default()
            || head.has_client_control();
        let is_updatable =
            stored.response.status() == StatusCode::OK && !hinted && head.dependencies.is_empty();
        (is_valid && is_updatable).then_some(HeadTarget { stored, generation })
    }

    /// Compares the response to a HEAD with the stored response. Returns the update to write, if
    /// there is one. The first case that applies decides:
    ///
    /// - A status other than 200, an answer of an inner cache layer, or a response that was made
    ///   from cached values: nothing changes.
    /// - Another representation: the stored response becomes stale.
    /// - No validator, and the stored response is [stale early](is_stale_early): nothing changes.
    /// - A response that is not storable: the stored response is removed at once.
    /// - Other nominated fields: the stored response becomes stale.
    /// - Otherwise, the stored response gets the new fields.
    pub(in crate::serve) fn head_update<B>(
        &self,
        target: HeadTarget,
        response: &Response<B>,
        forwarded: &ForwardedRequest,
        reads: Option<Dependencies>,
    ) -> Option<HeadUpdate> {
        let (config, HeadTarget { stored: StoredEntry { response: before, key }, generation }) =
            (&self.state.config, target);
        let has_read = reads.is_some_and(|reads| reads.is_untrackable || !reads.values.is_empty());
        // An inner cache layer answers from its own entry, which proves nothing about the origin.
        let is_handled_by_inner = response.extensions().get::<HandledByInner>().is_some();
        if response.status() != StatusCode::OK || has_read || is_handled_by_inner {
            return None;
        }
        let now = config.cache.clock().now();
        let outdated = |key, before: Arc<StoredResponse>| {
            let (url, expires) =
                (self.state.key.clone(), now.after(retention(&config.policy, before.head())));
            let after = before.as_stale(generation, now);
            before.is_fresh(now).then_some(HeadUpdate { url, key, before, after, expires })
        };
        if !matches_stored_body(before.headers(), before.body().len() as u64, response.headers()) {
            return outdated(key, before);
        }
        if !has_validator(response.headers()) && is_stale_early(config, &before) {
            // The update could make the stored response fresh again. Without a validator, an equal
            // length does not prove that the representation is the same.
            return None;
        }
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.headers = updated_fields(&before.head().original_headers(), response.headers(), true);
        parts.extensions = response.extensions().clone();
        let Ok(Admission { stored, retention, .. }) =
            admit(config, &forwarded.exchange(&self.state, generation), &parts)
        else {
            config.cache.remove_response(key, before);
            return None;
        };
        let mut head = stored.into_head();
        let nominated = |head: &Head| head.nominated.len();
        head.nominate(&before.head().nominated, &forwarded.headers, config.selection());
        if nominated(&head) != nominated(before.head()) {
            // The variant key depends on other fields now, so the entry can't be updated under its
            // key.
            return outdated(key, before);
        }
        head.inherit(before.head());
        let (url, expires) = (self.state.key.clone(), head.fresh_until.max(now).after(retention));
        let after = before.successor(head, before.body().clone());
        Some(HeadUpdate { url, key, before, after, expires })
    }
}
