//! Admission under outer layers: an inner layer stores a response only after the outermost layer of
//! this crate has admitted its head.
//!
//! ```text
//!         ┌─► admitted    the head has left the outermost layer: stored
//! held ───┼─► refused     the head forbids sharing: each follower calls the service
//!         └─► abandoned   the outermost request was dropped: a follower leads
//! ```

use super::forecast::Forecast;
use crate::marks::{self, Decider, Identified, LayerPosition, PendingVerdict, Verdict};
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

/// An admission that waits for the outermost layer, in the extensions of its response.
///
/// If all its clones are dropped without a decision, the admission is refused, or abandoned during
/// a panic.
#[derive(Debug, Clone)]
pub(in crate::serve) struct HeldAdmission {
    decider: Arc<Decider>,
    /// The configuration of the layer that would store the response.
    config: Arc<LayerConfig>,
    /// Whether the response would be stored for its own visitor only.
    personal: bool,
    /// The restrictions in the head for which the outermost layer must not refuse the response.
    accepted: AcceptedHead,
    /// The `Cache-Status` before and after the admission. `None` for a response to a HEAD.
    status: Option<HeldStatus>,
}

/// The parts of a head that are no reason to refuse its response: the storing layer accepted them,
/// or layers of this crate wrote them for clients.
#[derive(Debug, Clone, Default)]
struct AcceptedHead {
    no_store: bool,
    private: bool,
    vary: HashSet<HeaderName>,
    cookies: HashSet<HeaderValue>,
}

/// The `Cache-Status` of a response with a held admission: `held` until the verdict, and `stored`
/// once the response is admitted.
#[derive(Debug, Clone)]
pub(in crate::serve) struct HeldStatus {
    pub(in crate::serve) held: CacheStatus,
    pub(in crate::serve) stored: Forecast,
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

/// Returns whether `Cache-Control` or a targeted field has `no-store`, and whether one has
/// `private`.
fn restrictions(headers: &HeaderMap) -> (bool, bool) {
    let directives = ResponseDirectives::from_headers(headers);
    let (no_store, private) = targeted_restrictions(headers);
    (directives.no_store || no_store, directives.private != Qualified::Absent || private)
}

impl HeldAdmission {
    /// Holds the admission of a response with these fields, and returns the pending verdict.
    pub(in crate::serve) fn new(
        config: &Arc<LayerConfig>,
        personal: bool,
        headers: &HeaderMap,
        status: Option<HeldStatus>,
    ) -> (Self, PendingVerdict) {
        let decider = Decider::new();
        let pending = decider.pending();
        let (config, accepted) = (Arc::clone(config), AcceptedHead::of(headers));
        (Self { decider: Arc::new(decider), config, personal, accepted, status }, pending)
    }

    /// Returns the reason why the response must not be shared, if a layer outside the layer that
    /// would store it has added a reason.
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

    /// Returns the reason for a refusal if the response issues a credential.
    fn issued_credential(&self, headers: &HeaderMap) -> Option<Detail> {
        let policy = &self.config.policy;
        policy.issued_credential(headers, &ResponseDirectives::for_targets(headers, &policy.targets))
    }

    /// Returns a reason if the response has `Vary: *`. In an entry for all visitors, also returns a
    /// reason if a layer has added a credential to `Vary`.
    fn varies(&self, headers: &HeaderMap) -> Option<Detail> {
        let Vary::Fields(fields) = Vary::from_headers(headers) else { return Some(Detail::VaryAny) };
        let identifies = |name: &HeaderName| self.config.policy.is_secret(name);
        let added = fields.iter().filter(|name| !self.accepted.vary.contains(*name));
        let varies = !self.personal && added.into_iter().any(identifies);
        varies.then_some(Detail::VaryOnCredential)
    }

    /// Counts the response as not stored.
    fn note_refusal(&self, why: Detail) {
        match &self.status {
            Some(status) => drop(status.stored.note_not_stored(why)),
            None => self.config.note_not_stored(why),
        }
    }

    /// Replaces the `Cache-Status` that was written before the verdict by the final one.
    fn replace_status<B>(&self, response: &mut Response<B>, refusal: Option<Detail>) {
        let Some(HeldStatus { held, stored }) = &self.status else { return };
        let now = refusal.map_or_else(|| stored.status(), |why| held.detail(why));
        stored.replace(response, *held, now);
    }
}

/// Reads the marks that inner layers have put on a response. Refuses its held admission if the head
/// forbids sharing, or has a field that the layer declares in `credentials`.
///
/// A layer calls this function before it rewrites the head for clients.
pub(crate) fn receive<B>(response: &mut Response<B>, credentials: &[HeaderName]) {
    let keyed = marks::receive(response);
    if !keyed.is_empty() {
        KeyedFields::receive(response, keyed);
    }
    let Some(held) = response.extensions().get::<HeldAdmission>() else { return };
    let is_declared = |name: &HeaderName| response.headers().contains_key(name);
    let declared = credentials.iter().any(is_declared).then_some(Detail::Credentials);
    let Some(why) = held.refusal(response).or(declared) else { return };
    held.note_refusal(why);
    if let Some(held) = response.extensions_mut().remove::<HeldAdmission>() {
        held.replace_status(response, Some(why));
        held.decider.decide(Verdict::Refused);
    }
}

/// Prepares a response to leave a layer. The outermost layer admits a held response. An inner layer
/// writes the marks for outer layers and, for a held response, records the present head as accepted
/// (see [`AcceptedHead`]).
#[inline]
pub(in crate::serve) fn send<B>(response: &mut Response<B>, is_outermost: bool) {
    // Marks and held admissions are extensions.
    if response.extensions().is_empty() {
        return;
    }
    if !is_outermost {
        marks::send(response, KeyedFields::of_response(response).as_ref().map_or(&[], KeyedFields::names));
    }
    if is_outermost {
        if let Some(held) = response.extensions_mut().remove::<HeldAdmission>() {
            // Decided before the status is replaced. A local store writes the response during this
            // call, so the status can report the outcome.
            held.decider.decide(Verdict::Admitted);
            held.replace_status(response, None);
        }
    } else if response.extensions().get::<HeldAdmission>().is_some() {
        let accepted = AcceptedHead::of(response.headers());
        if let Some(held) = response.extensions_mut().get_mut::<HeldAdmission>() {
            held.accepted = accepted;
        }
    }
}

/// Corrects the status of a response after its body was read ahead, which may have ended the
/// recording. Returns the final status. The status of a held response changes only at its
/// admission.
pub(in crate::serve) fn correct_status<B>(
    response: &mut Response<B>,
    written: CacheStatus,
    forecast: Forecast,
) -> CacheStatus {
    let code = response.status();
    let forecast = forecast.with_response_code(code);
    if let Some(held) = response.extensions_mut().get_mut::<HeldAdmission>() {
        if let Some(status) = &mut held.status {
            status.stored = forecast;
        }
        return written.with_response_code(code);
    }
    let now = forecast.status();
    forecast.replace(response, written.with_response_code(code), now);
    now
}

/// Sends a response from a layer. The outermost layer also refuses the admissions whose responses
/// did not reach it.
pub(crate) fn send_and_refuse_rest<B>(response: &mut Response<B>, position: &mut LayerPosition) {
    send(response, position.is_outermost());
    position.refuse_rest();
}
