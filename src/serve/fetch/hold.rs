//! Holds the admission of a response until an outer layer decides on it.

use super::forwarded_request::ForwardedRequest;
use super::plan::Fetch;
use super::record::applies_to_resource;
use crate::flight::{HitForMissReason, Leader, Outcome};
use crate::marks::{PendingVerdict, Verdict};
use crate::serve::respond::{Forecast, HeldAdmission, HeldStatus};
use crate::status::CacheStatus;
use http::Response;

impl Fetch {
    /// Holds the admission of a response and returns the pending verdict, or `None` if no outer
    /// layer has to decide.
    ///
    /// A refusal releases the followers, and may mark the key as hit-for-miss. If the admission is
    /// abandoned, one follower leads a new flight.
    pub(in crate::serve) fn hold<B>(
        &self,
        forwarded: &ForwardedRequest,
        response: &mut Response<B>,
        statuses: Option<(CacheStatus, Forecast)>,
    ) -> Option<PendingVerdict> {
        if !forwarded.held {
            return None;
        }
        let (state, status) = (&self.state, response.status());
        let forecast = statuses.as_ref().map(|(_, stored)| stored.clone());
        let held_status = statuses.map(|(held, stored)| {
            // The status of a revalidation already has the code of the 304.
            let held = held.forward_status().map_or_else(|| held.with_response_code(status), |_| held);
            HeldStatus { held, stored: stored.with_response_code(status) }
        });
        let (held, verdict) =
            HeldAdmission::new(&state.config, state.facts.personal, response.headers(), held_status);
        response.extensions_mut().insert(held);
        let is_for_other_requests =
            state.facts.is_collapsible() && !state.facts.identified && !state.facts.head;
        let (cache, key) = (state.config.cache.clone(), state.key.clone());
        let end_flight = self.plan.leader.as_ref().map(Leader::ender);
        verdict.when_decided(move |verdict| {
            let outcome = match verdict {
                Verdict::Admitted => return,
                Verdict::Refused => Outcome::Unshared,
                Verdict::Abandoned => Outcome::Abandoned,
            };
            if verdict == Verdict::Refused {
                forecast.iter().for_each(Forecast::note_refused);
            }
            if verdict == Verdict::Refused && is_for_other_requests && applies_to_resource(status) {
                cache.hit_for_miss().remember(
                    key.as_ref(),
                    HitForMissReason::Uncacheable,
                    cache.clock().now(),
                );
            }
            end_flight.into_iter().for_each(|end| end(outcome.clone()));
        });
        if let Some(holds) = state.holds.upgrade() {
            holds.add(verdict.clone());
        }
        Some(verdict)
    }
}
