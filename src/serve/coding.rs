//! Responses whose content coding was not negotiated: which requests may have them.

use super::config::LayerConfig;
use super::lookup::Lookup;
use super::not_reusable::NotReusable;
use crate::entry::StoredResponse;
use crate::key::{CacheKey, KeyBuf, KeyRef};
use crate::policy::Sharing;
use crate::rules::accept;
use crate::status::{Detail, ForwardReason};
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderName};

impl LayerConfig {
    /// Returns `true` if a response has a content coding that neither its `Vary` nor the key asks a request about. A
    /// conformant shared cache relies on `Vary` alone (RFC 9111 section 4.1).
    pub(super) fn is_coded_for_some(&self, response: &HeaderMap, varies_on: &[HeaderName]) -> bool {
        self.policy.sharing == Sharing::App
            && accept::is_coded(response)
            && !varies_on.contains(&ACCEPT_ENCODING)
            && !self.policy.key.covers(&ACCEPT_ENCODING)
    }

    /// Returns `true` if a request selects a response, by the nominated fields and by the codings that it offers.
    #[inline]
    pub(super) fn selects(&self, response: &StoredResponse, request: &HeaderMap) -> bool {
        let is_offered =
            !response.head().is_coded_for_some || accept::offers_codings(request, response.headers());
        is_offered && response.selected_by(request, self.selection())
    }

    /// Returns the flight key of requests that may not use a stored response: the key of its variant, or one for another
    /// coding.
    ///
    /// # Errors
    /// Returns [`Detail::KeyLength`] if the key for another coding is too long.
    pub(super) fn refused_flight_key(
        &self,
        response: &StoredResponse,
        (key, variant): (KeyRef<'_>, Option<KeyRef<'_>>),
        request: &HeaderMap,
        refusal: NotReusable,
    ) -> Result<Option<CacheKey>, Detail> {
        match refusal == NotReusable::Fields && response.head().is_coded_for_some {
            true => self.other_flight_key(response, key, request).map(Some),
            false => Ok(variant.map(KeyRef::to_key)),
        }
    }

    /// Returns the flight key of requests for another variant than this response.
    fn other_flight_key(
        &self,
        response: &StoredResponse,
        key: KeyRef<'_>,
        request: &HeaderMap,
    ) -> Result<CacheKey, Detail> {
        let nominated = response.head().nominated.iter().map(|field| field.name().clone());
        let coding = response.head().is_coded_for_some.then_some(ACCEPT_ENCODING);
        let fields: Vec<_> = nominated.chain(coding).collect();
        let mut buf = KeyBuf::new();
        self.selection().write_key(&mut buf, key, &fields, request);
        if buf.is_too_long() { Err(Detail::KeyLength) } else { Ok(buf.key().to_key()) }
    }

    /// Returns the look-up of a request for another variant than the arriving one: a miss, or a bypass if its
    /// key is too long.
    pub(super) fn other_variant(
        &self,
        arriving: &StoredResponse,
        key: KeyRef<'_>,
        request: &HeaderMap,
    ) -> Lookup {
        match self.other_flight_key(arriving, key, request) {
            Ok(flight) => Lookup::missed(ForwardReason::VaryMiss, Some(flight)),
            Err(why) => Lookup::Bypass(why),
        }
    }
}
