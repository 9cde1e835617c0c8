//! Revalidation: a conditional request asks the service whether a stored response is current
//! (RFC 9111 section 4.3).

use super::forwarded_request::ForwardedRequest;
use super::plan::Fetch;
use super::record::start_hit_for_miss;
use super::variants::Variants;
use crate::body::ResponseBody;
use crate::cache::{AnswerDependencies, OutdatedResponse, PendingStore, RefreshOutcome, StoreReport};
use crate::clock::Moment;
use crate::entry::{Dependencies, Head, StoredResponse};
use crate::flight::{HitForMissReason, Leader};
use crate::marks::{HandledByInner, Verdict, restrictions};
use crate::policy::{CacheHints, Sharing, Ttl};
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::stale::StaleOverrides;
use crate::rules::update::{ValidatorMatch, updated_fields};
use crate::serve::admission::{Admission, admit, tags};
use crate::serve::request::RequestState;
use crate::serve::respond::{Forecast, HeldAdmission, Hit, client_cache_control, rewrite_cache_control};
use crate::status::{CacheStatus, Detail};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, Response, StatusCode, response};
use std::sync::Arc;
use std::time::Duration;

impl Fetch {
    /// Answers with the stored response as updated by a 304 (RFC 9111 section 4.3.4).
    pub(in crate::serve) async fn answer_with_freshened<B>(
        mut self,
        stale: &StoredResponse,
        validated: response::Parts,
        forwarded: ForwardedRequest,
        reads: Option<Dependencies>,
    ) -> (Response<ResponseBody<B>>, AnswerDependencies) {
        let validators = ValidatorMatch::new(stale.headers(), &validated.headers);
        if validators == ValidatorMatch::Another {
            return self.answer_mismatch(&validated.extensions, &forwarded, reads).await;
        }
        self.state.config.counters().count_revalidation();
        let outdated = self.take_outdated(stale.status());
        let (config, facts) = (Arc::clone(&self.state.config), self.state.facts);
        let now = config.cache.clock().now();
        let updates = validators == ValidatorMatch::Same;
        let mut parts = self.updated_head(stale, &validated.headers, validated.extensions, updates);
        let marks = restrictions(&parts.extensions);
        let handled_by_inner = parts.extensions.remove::<HandledByInner>().is_some();
        // An admission that an inner layer holds. This layer passes it on, unless this layer holds
        // another one.
        let held_within = parts.extensions.remove::<HeldAdmission>();
        let admission = match self.plan.generation {
            _ if handled_by_inner => Err(Detail::HandledByInner),
            _ if !updates => Err(Detail::Mismatch),
            Some(generation) => admit(&config, &forwarded.exchange(&self.state, generation), &parts),
            None => Err(Detail::StoreFailed),
        };
        let pending_store =
            admission.and_then(|admission| self.pending_update(stale, admission, &forwarded, reads.clone()));
        let (stored, status, held) = match pending_store {
            Ok(pending_store) => {
                let (stored, status, held) = self
                    .store_freshened(stale, pending_store, validated.headers, &forwarded, reads.clone())
                    .await;
                (stored, status, held.or(held_within))
            }
            Err(why) => {
                let status = self.revalidated_status().detail(why);
                config.note_not_stored(why);
                self.handle_not_stored((handled_by_inner, updates), outdated, &mut parts, now);
                (Arc::new(stale.with_headers(parts.headers)), status, held_within)
            }
        };
        let ForwardedRequest { headers: request, version, outgoing, mut position, .. } = forwarded;
        let inherited = AnswerDependencies::from(&*stored).with(reads);
        let outgoing = outgoing.encodable(&config, stored.head().is_encodable);
        let hit = Hit::after_fetch(&config, stored, version, &request, facts, now);
        let mut response = hit.with_keyed_fields(outgoing.keyed_fields_for_outer()).response();
        if let Some(held) = held {
            response.extensions_mut().insert(held);
        }
        response.extensions_mut().extend(marks);
        outgoing.with_status(status).without_rewrites().apply(&mut response);
        position.refuse_rest();
        (response, inherited)
    }

    /// Returns the `Cache-Status` of a response that a 304 has validated.
    fn revalidated_status(&self) -> CacheStatus {
        self.status.with_response_code(StatusCode::NOT_MODIFIED).detail(Detail::Revalidated)
    }

    /// Returns the head of the stored response, with the [`CacheHints`] of the stored response and
    /// of the 304. If `updates` is `true`, the fields of the 304 replace stored ones.
    fn updated_head(
        &self,
        stale: &StoredResponse,
        validated: &HeaderMap,
        extensions: Extensions,
        updates: bool,
    ) -> response::Parts {
        let config = &self.state.config;
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = stale.status();
        let original = stale.head().original_headers();
        let retyped = config.policy.sharing == Sharing::Rfc9111;
        parts.headers = if updates { updated_fields(&original, validated, retyped) } else { original };
        parts.extensions = extensions;
        let mut hints = parts.extensions.remove::<CacheHints>().unwrap_or_default();
        // A handler's TTL stays in force until the handler sets another one or the 304 restricts
        // the response.
        if hints.ttl == Ttl::Default
            && !restricts(validated, &config.policy.targets)
            && let Some(ttl) = stale.head().hinted_ttl
        {
            hints.ttl = Ttl::For(ttl);
        }
        if hints.stale == StaleOverrides::default() {
            hints.stale = stale.head().hinted_windows;
        }
        let max_age_before =
            stale.head().rewritten.as_ref().and_then(|rewritten| rewritten.client_control.max_age);
        hints.client_max_age = hints.client_max_age.or(max_age_before);
        // The stored tag fields include the tags of earlier hints, which stay in force.
        if let Some(fields) = config.policy.tag_fields_emitted {
            hints.tags.extend(fields.read(stale.headers()).unwrap_or_default());
        }
        parts.extensions.insert(hints);
        parts
    }

    /// Returns the pending write of the updated response, and how long the response is retained
    /// once it is stale.
    fn pending_update(
        &self,
        stale: &StoredResponse,
        Admission { stored, retention, .. }: Admission,
        forwarded: &ForwardedRequest,
        reads: Option<Dependencies>,
    ) -> Result<(PendingStore, Duration), Detail> {
        let (head, settled) = (stored.into_head(), self.background.clone());
        let mut pending_store =
            replacement_of(&self.state, head, stale, &forwarded.headers, retention, settled);
        // A response whose dependencies cannot be recorded is not stored: invalidations would miss
        // it.
        if pending_store.add_dependencies(reads) {
            Ok((pending_store, retention))
        } else {
            Err(Detail::Dependencies)
        }
    }

    /// Stores the freshened response, at once or when an outer layer admits it. Returns the
    /// response, its status, and the held admission.
    async fn store_freshened(
        self,
        stale: &StoredResponse,
        (mut pending_store, retention): (PendingStore, Duration),
        validated: HeaderMap,
        forwarded: &ForwardedRequest,
        reads: Option<Dependencies>,
    ) -> (Arc<StoredResponse>, CacheStatus, Option<HeldAdmission>) {
        let (status, now) = (self.revalidated_status(), self.state.config.cache.clock().now());
        pending_store.settle_refresh();
        let mut answer = Response::new(());
        *answer.headers_mut() = pending_store.response.headers().clone();
        let forecast = Forecast::new(
            status,
            &self.state,
            pending_store.response.head(),
            &forwarded.headers,
            reads,
            pending_store.report(),
        )
        .with_ended_recording();
        let verdict = self.hold(forwarded, &mut answer, Some((status, forecast.clone())));
        pending_store.set_body(stale.body().clone());
        let stored = Arc::clone(&pending_store.response);
        let (state, leader) = (self.state, self.plan.leader);
        let freshened = FreshenedResponse { state, leader, pending_store, retention, validated, now };
        if let Some(verdict) = verdict {
            verdict.when_decided(move |verdict| freshened.store_if_admitted(verdict));
            // The status does not report the response as stored until an outer layer admits it.
            return (stored, status, answer.extensions_mut().remove());
        }
        let is_placed = freshened.store().await;
        let final_status = forecast.status();
        (stored, if is_placed || !final_status.is_stored() { final_status } else { status }, None)
    }

    /// Handles a 304 whose updated response is not stored.
    ///
    /// Releases the followers, and rewrites the head for the client. Marks the key as hit-for-miss
    /// if the answer predicts the answers to other requests for the key.
    fn handle_not_stored(
        self,
        (handled_by_inner, updates): (bool, bool),
        outdated: Option<OutdatedResponse>,
        parts: &mut response::Parts,
        now: Moment,
    ) {
        let (config, facts) = (&self.state.config, self.state.facts);
        let reason = match handled_by_inner {
            true => HitForMissReason::HandledByInner,
            false => HitForMissReason::Uncacheable,
        };
        // If the request had credentials, a precondition or a range, its answer predicts nothing
        // about other requests for the key.
        let of_the_page = facts.is_collapsible() && !facts.identified;
        if of_the_page && self.plan.generation.is_some() && updates {
            config.cache.hit_for_miss().remember(self.state.key.as_ref(), reason, now);
        }
        if outdated.is_some_and(|outdated| outdated.handle_not_stored(&config.cache)) {
            self.background.iter().for_each(RefreshOutcome::settle);
        }
        let client_control = client_cache_control(&config.policy, parts.extensions.get(), facts);
        rewrite_cache_control(&mut parts.headers, client_control, config.cache.clock());
        if let Some(fields) = config.policy.tag_fields_emitted {
            // Tags that cannot be parsed are not emitted.
            let tags = tags(&config.policy, &parts.headers, parts.extensions.get()).unwrap_or_default();
            fields.write(&tags, &mut parts.headers);
        }
        if let Some(leader) = self.plan.leader {
            leader.end_unshared();
        }
    }
}

/// A stored response that a 304 has freshened, and the flight to end once it is written.
struct FreshenedResponse {
    state: RequestState,
    leader: Option<Leader>,
    pending_store: PendingStore,
    retention: Duration,
    /// The header fields of the 304.
    validated: HeaderMap,
    now: Moment,
}

impl FreshenedResponse {
    /// Stores the response, freshens the other variants, and shares the response with followers.
    /// Returns `true` if the response is stored.
    async fn store(self) -> bool {
        let Self { state, leader, pending_store, retention, validated, now } = self;
        let config = &state.config;
        let variants = Variants { config, key: pending_store.key.clone(), retention };
        let (stored, is_placed) = pending_store.store_whole(&config.cache).await;
        // A cache that was turned off in the meantime writes nothing.
        if config.cache.is_enabled() {
            // If this fails, the cache counts the failure, and the other variants stay unchanged.
            let _ = variants.freshen(&stored, &validated).await;
        }
        if let Some(leader) = leader {
            match stored.is_fresh(now) || config.policy.followers_accept_stale() {
                true => leader.end_stored(stored),
                false => start_hit_for_miss(&state, leader),
            }
        }
        is_placed
    }

    /// Stores the response, and shares it with the followers, if the outermost layer has admitted
    /// it.
    fn store_if_admitted(self, verdict: Verdict) {
        if verdict == Verdict::Admitted {
            let cache = self.state.config.cache.clone();
            cache.spawn_or_run(async move {
                self.store().await;
            });
        }
    }
}

/// Returns the pending write of a stored response with a new head. The stored response's scopes and
/// dependencies are kept. The caller sets the body.
fn replacement_of(
    state: &RequestState,
    mut head: Head,
    before: &StoredResponse,
    request: &HeaderMap,
    retention: Duration,
    refresh_outcome: Option<RefreshOutcome>,
) -> PendingStore {
    let selection = Arc::clone(state.config.selection());
    head.nominate(&before.head().nominated, request, &selection);
    head.inherit(before.head());
    let response = Arc::new(before.successor(head, Bytes::new()));
    let (key, request, max_variants) = (state.key.clone(), request.clone(), state.config.policy.max_variants);
    let report = StoreReport::new(state.config.counters());
    let mut pending_store =
        PendingStore::new(key, response, request, selection, max_variants, retention, report);
    pending_store.refresh_outcome = refresh_outcome;
    pending_store
}

/// Returns `true` if a 304 restricts the use of the stored response: it has `no-store`, or it has
/// `private` or `no-cache` without field names.
fn restricts(validated: &HeaderMap, targets: &[HeaderName]) -> bool {
    let directives = ResponseDirectives::for_targets(validated, targets);
    directives.no_store || directives.private == Qualified::All || directives.no_cache == Qualified::All
}

#[cfg(test)]
mod tests;
