//! Admission under outer layers: an inner response is stored once the outermost layer has judged its head.

use super::forecast::Forecast;
use crate::marks::{self, Decider, Edge, Identified, PendingVerdict, Verdict};
use crate::policy::{CacheHints, sets_only};
use crate::rules::cache_control::{Qualified, ResponseDirectives};
use crate::rules::storability::SET_COOKIE2;
use crate::rules::targeted::targeted_restrictions;
use crate::rules::vary::Vary;
use crate::serve::config::LayerConfig;
use crate::serve::keyed_fields::KeyedFields;
use crate::status::{CacheStatus, Detail};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use std::collections::HashSet;
use std::sync::Arc;

/// An admission that waits for the outermost layer, in the extensions of its response. If all clones of it are
/// dropped undecided, the response is refused.
#[derive(Debug, Clone)]
pub(in crate::serve) struct HeldAdmission {
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
pub(in crate::serve) struct HeldStatus {
    pub(in crate::serve) held: CacheStatus,
    pub(in crate::serve) stored: Forecast,
    pub(in crate::serve) key: Option<Arc<str>>,
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
    pub(in crate::serve) fn new(
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
pub(in crate::serve) fn send<B>(response: &mut Response<B>, is_outermost: bool) {
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

/// Corrects the status of a response that said another one, or that of a held response once it is admitted: reading its
/// body ahead may have ended the recording.
pub(in crate::serve) fn correct_status<B>(response: &mut Response<B>, said: CacheStatus, forecast: Forecast) {
    let code = response.status();
    let forecast = forecast.answered(code);
    if let Some(held) = response.extensions_mut().get_mut::<HeldAdmission>() {
        if let Some(told) = &mut held.told {
            told.stored = forecast;
        }
        return;
    }
    let (said, now) = (said.answered(code), forecast.status());
    if said != now {
        said.replace(response, now, forecast.shown().as_deref());
    }
}

/// Sends a response from a layer, and refuses what the outermost one did not get back.
pub(crate) fn leave<B>(response: &mut Response<B>, edge: &mut Edge) {
    send(response, edge.is_outermost());
    edge.refuse_rest();
}
