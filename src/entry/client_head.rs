//! Stored heads whose header fields are rewritten for clients.

use super::head::Head;
use super::packing::packed;
use super::rewritten_headers::{RewrittenHeaders, is_rewritten};
use crate::clock::{Clock, Moment};
use crate::rules::client::{self, ClientCacheControl};
use crate::rules::date;
use crate::rules::patch::patch_vary;
use http::header::{AGE, DATE, HeaderName, HeaderValue, VARY};
use http::{HeaderMap, response::Parts};
use std::time::Duration;

impl Head {
    /// Rewrites the fields for clients: the client `Cache-Control`, and `vary` as additional
    /// members of `Vary`.
    ///
    /// A client lifetime counts from when the client gets the response. So if there is one, `Date`
    /// takes the place of `Age` as the first field.
    pub(crate) fn tell(&mut self, told: ClientCacheControl, vary: &[String]) {
        if told == ClientCacheControl::default() && vary.is_empty() {
            return;
        }
        let headers = &self.parts.headers;
        let lines = headers.iter().filter(|(name, _)| is_rewritten(name));
        let said: Vec<_> = lines.map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut outward = headers.clone();
        if told != ClientCacheControl::default() {
            client::tell(&mut outward, told);
        }
        if !vary.is_empty() {
            patch_vary(&mut outward, vary);
        }
        self.outward = Some(Box::new(RewrittenHeaders::new(told, &said)));
        self.parts.headers = packed(&outward, &[], HeaderName::clone, &self.first());
    }

    /// Returns the stored fields as the origin sent them.
    pub(crate) fn said(&self) -> HeaderMap {
        let mut headers = self.parts.headers.clone();
        let Some(outward) = &self.outward else { return headers };
        let rewritten: Vec<_> = headers.keys().filter(|name| is_rewritten(name)).cloned().collect();
        for name in rewritten {
            headers.remove(name);
        }
        for (name, value) in &outward.said {
            // Cannot fail: the section had room for these lines before.
            let _ = headers.try_append(name, value.clone());
        }
        headers
    }

    /// Returns `true` if clients get a lifetime of their own, or `private`.
    pub(crate) fn is_told(&self) -> bool {
        self.outward.as_ref().is_some_and(|outward| outward.told != ClientCacheControl::default())
    }

    /// Returns the origin's `Vary` lines of a rewritten head.
    pub(crate) fn vary_said(&self) -> impl Iterator<Item = &HeaderValue> {
        let said = self.outward.iter().flat_map(|outward| &outward.said);
        said.filter(|(name, _)| *name == VARY).map(|(_, value)| value)
    }

    /// Returns the name of the first field of the header section, whose value a hit sets.
    pub(super) fn first(&self) -> HeaderName {
        match &self.outward {
            Some(outward) if outward.told.max_age.is_some() => DATE,
            _ => AGE,
        }
    }

    /// Sets `Date` to the time at which the response is sent, if `Date` is the first field. If the
    /// response is stale, also sets the client lifetime to zero.
    #[cold]
    pub(super) fn set_date(&self, parts: &mut Parts, now: Moment, clock: &Clock) {
        let Some(outward) = &self.outward else { return };
        if let Some((name, value)) = parts.headers.iter_mut().next()
            && *name == DATE
            && let Some(date) = date::format(clock.wall())
        {
            *value = date;
        }
        // A response that is stale here must not stay in clients for another lifetime.
        if now >= self.fresh_until && outward.told.max_age.is_some_and(|told| !told.is_zero()) {
            client::tell(
                &mut parts.headers,
                ClientCacheControl { max_age: Some(Duration::ZERO), ..outward.told },
            );
        }
    }
}
