//! Admission under outer layers: an inner response is stored once the outermost layer has judged its head.

use super::config::LayerConfig;
use super::emitted::KeyedFields;
use super::fetch::Fetch;
use super::forecast::Forecast;
use super::forwarded_request::ForwardedRequest;
use super::record::applies_to_resource;
use crate::flight::{HitForMissReason, Leader, Outcome};
use crate::marks::{self, Decider, Edge, Identified, PendingVerdict, Verdict};
use crate::policy::{CacheHints, sets_only};
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::storability::SET_COOKIE2;
use crate::rules::targeted::targeted_restrictions;
use crate::rules::vary::Vary;
use crate::status::{CacheStatus, Detail};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use std::collections::HashSet;
use std::sync::Arc;

/// An admission that waits for the outermost layer, in the extensions of its response. If all clones of it are
/// dropped undecided, the response is refused.
#[derive(Debug, Clone)]
pub(super) struct HeldAdmission {
    decider: Arc<Decider>,
    /// The layer that would store the response.
    config: Arc<LayerConfig>,
    /// It would be stored for its own visitor alone.
    personal: bool,
    accepted: AcceptedHead,
    told: Option<HeldStatus>,
}

/// What of a head does not count against its response: the storing layer accepted it, or layers of this crate
/// wrote it for clients.
#[derive(Debug, Clone, Default)]
struct AcceptedHead {
    no_store: bool,
    private: bool,
    vary: HashSet<HeaderName>,
    cookies: HashSet<HeaderValue>,
}

/// `Cache-Status` before the verdict, and of an admitted response.
#[derive(Debug, Clone)]
pub(super) struct HeldStatus {
    pub(super) held: CacheStatus,
    pub(super) stored: Forecast,
    pub(super) key: Option<Arc<str>>,
}

impl AcceptedHead {
    fn of(headers: &HeaderMap) -> Self {
        let vary = match Vary::from_headers(headers) {
            Vary::Fields(fields) => fields.into_iter().collect(),
            Vary::Any => HashSet::new(),
        };
        let cookies = headers.get_all(SET_COOKIE).iter().chain(headers.get_all(SET_COOKIE2)).cloned();
        let (no_store, private) = restrictions(headers);
        Self { no_store, private, vary, cookies: cookies.collect() }
    }
}

/// Returns whether any field for caches says `no-store`, and whether any says `private`.
fn restrictions(headers: &HeaderMap) -> (bool, bool) {
    let said = ResponseDirectives::from_headers(headers);
    let (no_store, private) = targeted_restrictions(headers);
    (said.no_store || no_store, said.private != Qualified::Absent || private)
}

impl HeldAdmission {
    /// Holds the admission of a response with these fields, and returns what waits for the verdict.
    pub(super) fn new(
        config: &Arc<LayerConfig>,
        personal: bool,
        headers: &HeaderMap,
        told: Option<HeldStatus>,
    ) -> (Self, PendingVerdict) {
        let decider = Decider::new();
        let pending = decider.pending();
        let (config, accepted) = (Arc::clone(config), AcceptedHead::of(headers));
        (Self { decider: Arc::new(decider), config, personal, accepted, told }, pending)
    }

    /// Returns why the response must not be shared, if anything between the storing layer and here says so.
    fn refusal<B>(&self, response: &Response<B>) -> Option<Detail> {
        let (headers, accepted) = (response.headers(), &self.accepted);
        let (no_store, private) = restrictions(headers);
        let cookies = headers.get_all(SET_COOKIE).iter().chain(headers.get_all(SET_COOKIE2));
        let added = cookies.filter(|cookie| !accepted.cookies.contains(cookie));
        let sets_cookie = !sets_only(&self.config.policy.response_cookies, added);
        let identified = response.extensions().get::<Identified>().is_some();
        let never = response.extensions().get::<CacheHints>().is_some_and(|hints| hints.never);
        let refusals = [
            (never, Detail::Hint),
            (identified && !self.personal, Detail::Identified),
            (sets_cookie, Detail::SetCookie),
            (no_store && !accepted.no_store, Detail::NoStore),
            (private && !accepted.private && !self.personal, Detail::Private),
        ];
        let refusal = refusals.iter().find(|(refused, _)| *refused).map(|(_, why)| *why);
        refusal.or_else(|| self.issued_credential(headers)).or_else(|| self.varies(headers))
    }

    fn issued_credential(&self, headers: &HeaderMap) -> Option<Detail> {
        let policy = &self.config.policy;
        policy.issued_credential(headers, &ResponseDirectives::for_targets(headers, &policy.targets))
    }

    fn varies(&self, headers: &HeaderMap) -> Option<Detail> {
        let Vary::Fields(fields) = Vary::from_headers(headers) else { return Some(Detail::VaryAny) };
        let identifies = |name: &HeaderName| self.config.policy.is_secret(name);
        let added = fields.iter().filter(|name| !self.accepted.vary.contains(*name));
        let varies = !self.personal && added.into_iter().any(identifies);
        varies.then_some(Detail::VaryOnCredential)
    }

    /// Says in `Cache-Status` what the verdict was.
    fn tell<B>(&self, response: &mut Response<B>, refusal: Option<Detail>) {
        let Some(HeldStatus { held, stored, key }) = &self.told else { return };
        let now = refusal.map_or_else(|| stored.status(), |why| held.detail(why));
        held.replace(response, now, key.as_deref());
    }
}

impl Fetch {
    /// Holds the admission of a response that an outer layer is to judge, and returns what waits for the verdict;
    /// `None` if there is no outer layer. If the response is refused, followers are released, and later requests do
    /// not collapse for a while. If it is abandoned, one of the followers starts over.
    pub(super) fn hold<B>(
        &self,
        sent: &ForwardedRequest,
        response: &mut Response<B>,
        statuses: Option<(CacheStatus, Forecast)>,
    ) -> Option<PendingVerdict> {
        if !sent.held {
            return None;
        }
        let (state, status) = (&self.state, response.status());
        let told = statuses.and_then(|(held, stored)| {
            // The status of a revalidation names that of the 304.
            let held = held.forward_status().map_or_else(|| held.answered(status), |_| held);
            sent.finish.told_of(held, stored.answered(status))
        });
        let (held, verdict) =
            HeldAdmission::new(&state.config, state.facts.personal, response.headers(), told);
        response.extensions_mut().insert(held);
        let is_of_others = !state.facts.goes_alone() && !state.facts.identified && !state.facts.head;
        let (cache, key) = (state.config.cache.clone(), state.key.clone());
        let ending = self.call.leader.as_ref().map(Leader::ending);
        verdict.when_decided(move |verdict| {
            let outcome = match verdict {
                Verdict::Admitted => return,
                Verdict::Refused => Outcome::Pass,
                Verdict::Abandoned => Outcome::Dangling,
            };
            if verdict == Verdict::Refused && is_of_others && applies_to_resource(status) {
                cache.hit_for_miss().remember(
                    key.as_ref(),
                    HitForMissReason::Uncacheable,
                    cache.clock().now(),
                );
            }
            ending.into_iter().for_each(|end| end(outcome.clone()));
        });
        if let Some(holds) = state.holds.upgrade() {
            holds.add(verdict.clone());
        }
        Some(verdict)
    }
}

/// Reads the marks of a response that arrives at a layer, and refuses a held admission if the head says so. To be
/// called before the layer changes the head; with the fields that the layer declares to be credentials.
pub(crate) fn receive<B>(response: &mut Response<B>, credentials: &[HeaderName]) {
    let keyed = marks::receive(response);
    if !keyed.is_empty() {
        KeyedFields::receive(response, keyed);
    }
    let Some(held) = response.extensions().get::<HeldAdmission>() else { return };
    let is_declared = |name: &HeaderName| response.headers().contains_key(name);
    let declared = credentials.iter().any(is_declared).then_some(Detail::Credentials);
    let Some(why) = held.refusal(response).or(declared) else { return };
    event!(detail = %why, "not stored");
    if let Some(held) = response.extensions_mut().remove::<HeldAdmission>() {
        held.tell(response, Some(why));
        held.decider.decide(Verdict::Refused);
    }
}

/// Writes the marks of a response that leaves a layer, and admits a held one if the layer is the outermost.
/// Otherwise, what the layer wrote does not count against the response.
#[inline]
pub(super) fn send<B>(response: &mut Response<B>, is_outermost: bool) {
    // Marks are extensions.
    if response.extensions().is_empty() {
        return;
    }
    if !is_outermost {
        marks::send(response, KeyedFields::of_response(response).as_ref().map_or(&[], KeyedFields::names));
    }
    if is_outermost {
        if let Some(held) = response.extensions_mut().remove::<HeldAdmission>() {
            // First, so that a local store has the response, or not, when the status says so.
            held.decider.decide(Verdict::Admitted);
            held.tell(response, None);
        }
    } else if response.extensions().get::<HeldAdmission>().is_some() {
        let accepted = AcceptedHead::of(response.headers());
        if let Some(held) = response.extensions_mut().get_mut::<HeldAdmission>() {
            held.accepted = accepted;
        }
    }
}

/// Corrects the status that a held response gets once it is admitted. Returns `false` if the response is not held.
pub(super) fn correct<B>(response: &mut Response<B>, stored: Forecast) -> bool {
    let Some(held) = response.extensions_mut().get_mut::<HeldAdmission>() else { return false };
    if let Some(told) = &mut held.told {
        told.stored = stored;
    }
    true
}

/// Sends a response from a layer, and refuses what the outermost one did not get back.
pub(crate) fn leave<B>(response: &mut Response<B>, edge: &mut Edge) {
    send(response, edge.is_outermost());
    edge.refuse_rest();
}
