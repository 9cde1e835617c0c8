//! What is to be done with a request, decided before anything is awaited.

use super::config::LayerConfig;
use super::lookup::{Lookup, Reuse, lookup, plain_hit};
use super::nesting::{is_within_itself, knows_all};
use super::request::{InspectedRequest, RequestFacts, inspect, write_request_key};
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::flight::HitForMissReason;
use crate::key::{KeyBuf, KeyRef, RequestHead};
use crate::marks::OuterContext;
use crate::rules::method::is_safe;
use crate::status::{Detail, ForwardReason, Reason};
use futures_util::FutureExt;
use http::Method;
use http_body::Body;
use std::pin::pin;
use std::sync::Arc;

/// What is to be done with a request.
pub(in crate::serve) enum Decision {
    Hit(Arc<StoredResponse>, RequestFacts, Moment),
    Forward(Forward),
    Unsafe,
    /// The key is in the buffer.
    Miss(Missed),
}

/// A request that has to look further.
pub(in crate::serve) struct Missed {
    pub(in crate::serve) facts: RequestFacts,
    /// The parts of its key that the user computes.
    pub(in crate::serve) parts: Vec<Option<String>>,
    pub(in crate::serve) lookup: Option<Lookup>,
}

/// A request that goes to the service without more ado.
pub(in crate::serve) struct Forward {
    pub(in crate::serve) bypass: Reason,
    /// Where a layer further in is to answer, it has to know that there is one further out.
    pub(in crate::serve) announce: bool,
    /// Whether a layer further out is told that this one handled the request.
    pub(in crate::serve) mark: bool,
    /// Present if the key of the request is in the buffer. An inner layer may store the response, so the forwarded
    /// request must have no unkeyed input of this layer.
    pub(in crate::serve) stripped: Option<(RequestFacts, Vec<Option<String>>)>,
}

impl Decision {
    fn forward(bypass: Reason) -> Self {
        Self::Forward(Forward { bypass, announce: true, mark: true, stripped: None })
    }

    fn stripped(bypass: Reason, facts: RequestFacts, parts: Vec<Option<String>>) -> Self {
        Self::Forward(Forward { bypass, announce: true, mark: true, stripped: Some((facts, parts)) })
    }
}

/// Decides what is to be done with a request, as far as that can be told without waiting.
#[inline]
pub(super) fn classify<B: Body>(
    config: &LayerConfig,
    request: RequestHead<'_>,
    body: &B,
    buf: &mut KeyBuf,
) -> Decision {
    // Its marks stay, by which inner layers know what stands outside of them. So do the invalidations of writes.
    if !config.is_enabled && is_safe(request.method) {
        return Decision::forward(Reason::bypass(Detail::Disabled));
    }
    let outer = request.extensions.get::<OuterContext>();
    if let Some(outer) = outer {
        // Two layers with one place in the key would answer with each other's responses, past
        // whatever stands between them. The outer one does it all.
        if is_within_itself(config, outer) {
            let bypass = Reason::bypass(Detail::SameName);
            return Decision::Forward(Forward { bypass, announce: false, mark: false, stripped: None });
        }
        if outer.is_barred && is_safe(request.method) {
            return Decision::forward(Reason::bypass(Detail::Identified));
        }
        // A cookie that was there may have been taken off since.
        if !knows_all(&config.policy, outer) && is_safe(request.method) {
            return Decision::forward(Reason::bypass(Detail::Cookie));
        }
    }
    let mut inspected = InspectedRequest::default();
    match inspect(&config.policy, request, body.is_end_stream(), outer, &mut inspected) {
        Ok(()) => {}
        // A tunnel has no target that could have changed.
        Err(bypass)
            if bypass.forward == ForwardReason::Method
                && !is_safe(request.method)
                && *request.method != Method::CONNECT =>
        {
            return Decision::Unsafe;
        }
        Err(bypass) => return Decision::forward(bypass),
    };
    // What identified the sender may have been taken off since; the page is theirs all the same.
    if outer.is_some_and(|outer| outer.identified) && !inspected.facts.personal {
        return Decision::forward(Reason::bypass(Detail::Identified));
    }
    inspected.parts = config.policy.key.parts(request);
    if let Err(bypass) = write_request_key(config, request, &inspected, buf) {
        return Decision::forward(bypass);
    }
    let mut facts = inspected.facts;
    if facts.directives && config.policy.forbids_storing(request.headers) {
        return Decision::forward(Reason::bypass(Detail::RequestNoStore));
    }
    if !config.cache.is_local() || facts.needs_current {
        return Decision::Miss(Missed { facts, parts: inspected.parts, lookup: None });
    }
    let now = config.cache.clock().now();
    let reuse = Reuse { config, request: request.headers, facts, now };
    match plain_hit(reuse, buf.key()) {
        Some(stored) if reuse.is_to_refresh(&stored) => {
            let lookup = Some(Lookup::Stale { stored, variant: None });
            Decision::Miss(Missed { facts, parts: inspected.parts, lookup })
        }
        Some(stored) => {
            facts.has_tag = inspected.copy.is_some_and(|copy| stored.has_tag(copy));
            Decision::Hit(stored, facts, now)
        }
        None => classify_by_lookup(reuse, buf.key(), inspected.parts),
    }
}

/// What is not the plainest hit; apart, so that the plainest has a small stack frame.
#[inline(never)]
fn classify_by_lookup(reuse: Reuse<'_>, key: KeyRef<'_>, parts: Vec<Option<String>>) -> Decision {
    let Reuse { config, request, facts, now } = reuse;
    match pin!(lookup(reuse, key)).now_or_never() {
        Some(Lookup::Hit(stored)) => Decision::Hit(stored, facts, now),
        // A HEAD can't fill the cache, so there is nothing to wait for.
        Some(Lookup::Miss { reason, stale: None, .. })
            if facts.head
                && config.policy.origin_timeout.is_none()
                && !(facts.directives && config.policy.wants_only_if_cached(request)) =>
        {
            Decision::stripped(Reason::new(reason.forward, Detail::Head), facts, parts)
        }
        lookup => match config.cache.hit_for_miss().get(key, now) {
            Some(HitForMissReason::HandledByInner) => {
                Decision::stripped(Reason::bypass(Detail::HandledByInner), facts, parts)
            }
            _ => Decision::Miss(Missed { facts, parts, lookup }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Decision, KeyBuf, LayerConfig, classify};
    use crate::serve::config::Level;
    use crate::store::NullStore;
    use crate::{Cache, Policy};
    use http_body_util::Empty;

    #[test]
    fn a_key_has_a_digest_of_an_identity_and_nothing_of_a_credential() {
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
