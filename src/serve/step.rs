//! What is to be done with a request, decided before anything is awaited.

use super::config::LayerConfig;
use super::inspect::{InspectedRequest, RequestFacts};
use super::lookup::Lookup;
use crate::cache::poll_now;
use crate::clock::Moment;
use crate::entry::StoredResponse;
use crate::flight::HitForMissReason;
use crate::key::{KeyBuf, KeyRef, RequestHead};
use crate::marks::OuterContext;
use crate::rules::method::is_safe;
use crate::status::{Detail, ForwardReason, Reason};
use http::{HeaderMap, Method};
use http_body::Body;
use std::pin::pin;
use std::sync::Arc;

/// What is to be done with a request.
pub(super) enum Step {
    Hit(Arc<StoredResponse>, RequestFacts, Moment),
    Forward(Forward),
    Unsafe,
    /// The key is in the buffer.
    Miss(Missed),
}

/// A request that has to look further.
pub(super) struct Missed {
    pub(super) facts: RequestFacts,
    /// The parts of its key that the user computes.
    pub(super) parts: Vec<Option<String>>,
    pub(super) lookup: Option<Lookup>,
}

/// A request that goes to the service without more ado.
pub(super) struct Forward {
    pub(super) bypass: Reason,
    /// Where a layer further in is to answer, it has to know that there is one further out.
    pub(super) announce: bool,
    /// Whether a layer further out is told that this one handled the request.
    pub(super) mark: bool,
    /// Present if the key of the request is in the buffer. An inner layer may store the response, so the forwarded
    /// request must have no unkeyed input of this layer.
    pub(super) stripped: Option<(RequestFacts, Vec<Option<String>>)>,
}

impl Step {
    fn forward(bypass: Reason) -> Self {
        Self::Forward(Forward { bypass, announce: true, mark: true, stripped: None })
    }

    fn stripped(bypass: Reason, facts: RequestFacts, parts: Vec<Option<String>>) -> Self {
        Self::Forward(Forward { bypass, announce: true, mark: true, stripped: Some((facts, parts)) })
    }
}

impl LayerConfig {
    #[inline]
    pub(super) fn decide<B: Body>(&self, request: RequestHead<'_>, body: &B, buf: &mut KeyBuf) -> Step {
        let outer = request.extensions.get::<OuterContext>();
        if let Some(outer) = outer {
            // Two layers with one place in the key would answer with each other's responses, past
            // whatever stands between them. The outer one does it all.
            if self.is_within_itself(outer) {
                let bypass = Reason::bypass(Detail::SameName);
                return Step::Forward(Forward { bypass, announce: false, mark: false, stripped: None });
            }
            if outer.is_barred && is_safe(request.method) {
                return Step::forward(Reason::bypass(Detail::Identified));
            }
            // A cookie that was there may have been taken off since.
            if !self.knows_all(outer) && is_safe(request.method) {
                return Step::forward(Reason::bypass(Detail::Cookie));
            }
        }
        let mut inspected = InspectedRequest::default();
        match self.inspect(request, body.is_end_stream(), outer, &mut inspected) {
            Ok(()) => {}
            // A tunnel has no target that could have changed.
            Err(bypass)
                if bypass.forward == ForwardReason::Method
                    && !is_safe(request.method)
                    && *request.method != Method::CONNECT =>
            {
                return Step::Unsafe;
            }
            Err(bypass) => return Step::forward(bypass),
        };
        // What identified the sender may have been taken off since; the page is theirs all the same.
        if outer.is_some_and(|outer| outer.identified) && !inspected.facts.personal {
            return Step::forward(Reason::bypass(Detail::Identified));
        }
        inspected.parts = self.policy.key.parts(request);
        if let Err(bypass) = self.key(request, &inspected, buf) {
            return Step::forward(bypass);
        }
        let mut facts = inspected.facts;
        if facts.directives && self.forbids_storing(request.headers) {
            return Step::forward(Reason::bypass(Detail::RequestNoStore));
        }
        if !self.cache.is_local() || facts.needs_current {
            return Step::Miss(Missed { facts, parts: inspected.parts, lookup: None });
        }
        let (key, now) = (buf.key(), self.cache.clock().now());
        match self.plain_hit(request.headers, key, facts, now) {
            Some(stored) if self.is_to_refresh(&stored, request.headers, facts, now) => {
                let lookup = Some(Lookup::Stale { stored, variant: None });
                Step::Miss(Missed { facts, parts: inspected.parts, lookup })
            }
            Some(stored) => {
                facts.has_tag = inspected.copy.is_some_and(|copy| stored.has_tag(copy));
                Step::Hit(stored, facts, now)
            }
            None => self.look_further(request.headers, key, facts, now, inspected.parts),
        }
    }

    /// What is not the plainest hit; apart, so that the plainest has a small stack frame.
    #[inline(never)]
    fn look_further(
        &self,
        request: &HeaderMap,
        key: KeyRef<'_>,
        facts: RequestFacts,
        now: Moment,
        parts: Vec<Option<String>>,
    ) -> Step {
        match poll_now(pin!(self.lookup(request, key, facts, now))) {
            Some(Lookup::Hit(stored)) => Step::Hit(stored, facts, now),
            // A HEAD can't fill the cache, so there is nothing to wait for.
            Some(Lookup::Miss { reason, stale: None, .. })
                if facts.head
                    && self.policy.origin_timeout.is_none()
                    && !self.wants_only_what_is_cached(request, facts.directives) =>
            {
                Step::stripped(Reason::new(reason.forward, Detail::Head), facts, parts)
            }
            lookup => match self.cache.hit_for_miss().get(key, now) {
                Some(HitForMissReason::HandledByInner) => {
                    Step::stripped(Reason::bypass(Detail::HandledByInner), facts, parts)
                }
                _ => Step::Miss(Missed { facts, parts, lookup }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Level;
    use super::{KeyBuf, LayerConfig, Step};
    use crate::{Cache, NullStore, Policy};
    use http_body_util::Empty;

    #[test]
    fn a_key_has_a_digest_of_an_identity_and_nothing_of_a_credential() {
        let policy = Policy::app().vary_by_identity("user", |_| Some("alice@shop.example".to_owned()));
        let config = LayerConfig::new(Cache::new(NullStore::new()), policy, Level::Site);
        let request = http::Request::get("/account")
            .header("authorization", "Bearer s3cret")
            .header("cookie", "sid=s3cret")
            .body(Empty::<bytes::Bytes>::new())
            .expect("a request");
        let mut buf = KeyBuf::new();
        let step = config.decide((&request).into(), request.body(), &mut buf);
        assert!(matches!(step, Step::Miss(..)));
        let key = String::from_utf8_lossy(buf.as_bytes());
        assert!(key.contains("/account") && !key.contains("alice") && !key.contains("s3cret"));
    }
}
