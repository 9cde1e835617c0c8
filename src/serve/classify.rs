//! Classifies a request before anything is awaited: hit, forward, unsafe method or miss.

use super::config::LayerConfig;
use super::lookup::{Lookup, Reuse, lookup, plain_hit};
use super::nesting::{declares_all_cookies, is_inside_same_layer};
use super::request::{InspectedRequest, RequestFacts, inspect, write_request_key};
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::flight::HitForMissReason;
use crate::key::{KeyBuf, KeyRef, RequestHead};
use crate::marks::OuterContext;
use crate::rules::method::is_safe;
use crate::status::{Detail, ForwardReason, Reason};
use futures_util::FutureExt;
use http::{HeaderMap, Method};
use http_body::Body;
use std::pin::pin;
use std::sync::Arc;

/// The first decision on a request.
pub(in crate::serve) enum Decision {
    Hit(Arc<StoredResponse>, RequestFacts, Moment),
    Forward(Forward),
    Unsafe,
    /// The buffer of [`classify`] holds the key.
    Miss(Missed),
}

/// A request that needs another look-up, a flight, a fetch or a background refresh.
pub(in crate::serve) struct Missed {
    pub(in crate::serve) facts: RequestFacts,
    /// The key parts that functions of the user compute.
    pub(in crate::serve) parts: Vec<Option<String>>,
    /// The result of the look-up, if it was complete without waiting.
    pub(in crate::serve) lookup: Option<Lookup>,
    /// `true` if the last response for the key forbade storing.
    pub(in crate::serve) is_forbidden: bool,
}

/// A request to forward at once.
pub(in crate::serve) struct Forward {
    pub(in crate::serve) bypass: Reason,
    /// `true` to mark the request, so that inner layers know of this layer.
    pub(in crate::serve) marks_request: bool,
    /// `true` to mark the response for outer layers: a cache layer has handled it.
    pub(in crate::serve) marks_response: bool,
    /// Present if unkeyed inputs must be stripped from the forwarded request. If present, the
    /// buffer of [`classify`] holds the key.
    pub(in crate::serve) stripped: Option<(RequestFacts, Vec<Option<String>>)>,
}

impl Decision {
    /// Forwards a request without marks, so that only the outer layer with the same ID caches.
    fn unmarked(bypass: Reason) -> Self {
        Self::Forward(Forward { bypass, marks_request: false, marks_response: false, stripped: None })
    }

    fn forward(bypass: Reason) -> Self {
        Self::Forward(Forward { bypass, marks_request: true, marks_response: true, stripped: None })
    }

    fn stripped(bypass: Reason, facts: RequestFacts, parts: Vec<Option<String>>) -> Self {
        Self::Forward(Forward {
            bypass,
            marks_request: true,
            marks_response: true,
            stripped: Some((facts, parts)),
        })
    }
}

/// Inspects a request, and writes its key into `buf`. The caller provides `inspected` and `buf`,
/// since they are too large to move.
///
/// Returns the decision on a request that is not looked up: it has an unsafe method, or bypasses
/// the cache. Returns `None` if the key is written.
#[inline(always)]
pub(super) fn examine<'a>(
    config: &LayerConfig,
    request: RequestHead<'a>,
    is_empty: bool,
    inspected: &mut InspectedRequest<'a>,
    buf: &mut KeyBuf,
) -> Option<Decision> {
    // A disabled layer still marks requests for inner layers, and still invalidates after unsafe
    // methods.
    if !config.is_enabled && is_safe(request.method) {
        return Some(Decision::forward(Reason::bypass(Detail::Disabled)));
    }
    let outer = request.extensions.get::<OuterContext>();
    if let Some(outer) = outer {
        // Two layers with the same ID share their keys, so a hit could skip the layers between
        // them. Only the outer layer caches.
        if is_inside_same_layer(config, outer) {
            return Some(Decision::unmarked(Reason::bypass(Detail::SameName)));
        }
        if outer.bypasses_inner && is_safe(request.method) {
            return Some(Decision::forward(Reason::bypass(Detail::Identified)));
        }
        // An outer layer saw a cookie that no layer declares. The cookie may identify the visitor,
        // even if a layer in between has removed it from the request.
        if !declares_all_cookies(&config.policy, outer) && is_safe(request.method) {
            return Some(Decision::forward(Reason::bypass(Detail::Cookie)));
        }
    }
    match inspect(&config.policy, request, is_empty, outer, inspected) {
        Ok(()) => {}
        // CONNECT opens a tunnel. It has no target resource to invalidate.
        Err(bypass)
            if bypass.forward == ForwardReason::Method
                && !is_safe(request.method)
                && *request.method != Method::CONNECT =>
        {
            return Some(Decision::Unsafe);
        }
        Err(bypass) => return Some(Decision::forward(bypass)),
    };
    if outer.is_some_and(|outer| outer.is_uncacheable(inspected.facts.personal)) {
        return Some(Decision::forward(Reason::bypass(Detail::Identified)));
    }
    inspected.parts = config.policy.key.parts(request);
    if let Err(bypass) = write_request_key(config, request, inspected, buf) {
        return Some(Decision::forward(bypass));
    }
    if inspected.facts.directives && config.policy.forbids_storing(request.headers) {
        return Some(Decision::forward(Reason::bypass(Detail::RequestNoStore)));
    }
    None
}

/// Decides on a request without waiting, and writes its key into `buf` if the decision needs one.
#[inline]
pub(super) fn classify<B: Body>(
    config: &LayerConfig,
    request: RequestHead<'_>,
    body: &B,
    buf: &mut KeyBuf,
) -> Decision {
    let mut inspected = InspectedRequest::default();
    if let Some(decision) = examine(config, request, body.is_end_stream(), &mut inspected, buf) {
        return decision;
    }
    let mut facts = inspected.facts;
    facts.needs_current |= config.is_dry_run();
    if !config.cache.is_local() || facts.needs_current {
        return Decision::Miss(Missed { facts, parts: inspected.parts, lookup: None, is_forbidden: false });
    }
    let now = config.cache.clock().now();
    let reuse = Reuse { config, request: request.headers, facts, now, read: None, is_read_only: false };
    match plain_hit(reuse, buf.key()) {
        Some(stored) if reuse.needs_early_refresh(&stored) => {
            let lookup = Some(Lookup::Stale { stored, variant: None });
            Decision::Miss(Missed { facts, parts: inspected.parts, lookup, is_forbidden: false })
        }
        Some(stored) => {
            facts.matches_etag = inspected.if_none_match.is_some_and(|tag| stored.matches_etag(tag));
            Decision::Hit(stored, facts, now)
        }
        None => classify_by_lookup(reuse, buf.key(), inspected.parts),
    }
}

/// Classifies a request that [`plain_hit`] does not answer. Not inlined, so that a plain hit has a
/// small stack frame.
#[inline(never)]
fn classify_by_lookup(reuse: Reuse<'_>, key: KeyRef<'_>, parts: Vec<Option<String>>) -> Decision {
    let Reuse { config, request, facts, now, .. } = reuse;
    match pin!(lookup(reuse, key)).now_or_never() {
        Some(Lookup::Hit(stored)) => Decision::Hit(stored, facts, now),
        // The response to a HEAD has no body to store, so the request neither leads a flight nor
        // joins one.
        Some(Lookup::Miss { reason, stale: None, .. }) if forwards_missed_head(config, facts, request) => {
            Decision::stripped(Reason::new(reason.forward, Detail::Head), facts, parts)
        }
        lookup => match config.cache.hit_for_miss().get(key, now) {
            Some(HitForMissReason::HandledByInner) => {
                Decision::stripped(Reason::bypass(Detail::HandledByInner), facts, parts)
            }
            known => {
                let is_forbidden = known == Some(HitForMissReason::Forbidden);
                Decision::Miss(Missed { facts, parts, lookup, is_forbidden })
            }
        },
    }
}

/// Returns `true` if a miss is a HEAD that the layer forwards without a flight.
///
/// A HEAD is not forwarded in this way if the policy has an `origin_timeout`, or if the request has
/// `only-if-cached` and the policy honors it.
pub(super) fn forwards_missed_head(config: &LayerConfig, facts: RequestFacts, request: &HeaderMap) -> bool {
    facts.head
        && config.policy.origin_timeout.is_none()
        && !(facts.directives && config.policy.wants_only_if_cached(request))
}

#[cfg(test)]
mod tests {
    use super::{Decision, KeyBuf, LayerConfig, classify};
    use crate::serve::config::Level;
    use crate::store::NullStore;
    use crate::{Cache, Policy};
    use http_body_util::Empty;

    #[test]
    fn key_contains_neither_identity_nor_credentials_in_clear_text() {
        let policy = Policy::app().vary_by_identity("user", |_| Some("alice@shop.example".to_owned()));
        let config =
            LayerConfig::new(Cache::new(NullStore::new()), policy.build().expect("a policy"), Level::Site);
        let request = http::Request::get("/account")
            .header("authorization", "Bearer s3cret")
            .header("cookie", "sid=s3cret")
            .body(Empty::<bytes::Bytes>::new())
            .expect("a request");
        let mut buf = KeyBuf::new();
        let decision = classify(&config, (&request).into(), request.body(), &mut buf);
        assert!(matches!(decision, Decision::Miss(..)));
        let key = String::from_utf8_lossy(buf.as_bytes());
        assert!(key.contains("/account") && !key.contains("alice") && !key.contains("s3cret"));
    }
}
