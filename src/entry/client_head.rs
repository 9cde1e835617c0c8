//! The head of a stored response whose clients are told something else than its origin has said.

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
    /// Rewrites the fields to send, and names in `Vary` what the page is keyed by. Where clients count from when they
    /// get the response, the place of `Age` is that of `Date`.
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

    /// Returns the fields as the origin sent them, of those that are stored.
    pub(crate) fn said(&self) -> HeaderMap {
        let mut headers = self.parts.headers.clone();
        let Some(outward) = &self.outward else { return headers };
        let rewritten: Vec<_> = headers.keys().filter(|name| is_rewritten(name)).cloned().collect();
        for name in rewritten {
            headers.remove(name);
        }
        for (name, value) in &outward.said {
            // They were there before.
            let _ = headers.try_append(name, value.clone());
        }
        headers
    }

    /// Returns `true` if clients are told another lifetime, or that the response is private.
    pub(crate) fn is_told(&self) -> bool {
        self.outward.as_ref().is_some_and(|outward| outward.told != ClientCacheControl::default())
    }

    /// Returns what the origin said in `Vary`, of a response with more in it for clients.
    pub(crate) fn vary_said(&self) -> impl Iterator<Item = &HeaderValue> {
        let said = self.outward.iter().flat_map(|outward| &outward.said);
        said.filter(|(name, _)| *name == VARY).map(|(_, value)| value)
    }

    /// Returns which field a header section begins with, so that a hit finds it at once.
    pub(super) fn first(&self) -> HeaderName {
        match &self.outward {
            Some(outward) if outward.told.max_age.is_some() => DATE,
            _ => AGE,
        }
    }

    /// Sets `Date` to the moment at which a response is sent, if it is the first field.
    #[cold]
    pub(super) fn set_date(&self, parts: &mut Parts, now: Moment, clock: &Clock) {
        let Some(outward) = &self.outward else { return };
        if let Some((name, value)) = parts.headers.iter_mut().next()
            && *name == DATE
            && let Some(date) = date::format(clock.wall())
        {
            *value = date;
        }
        // What is stale here already is not to be held elsewhere for a lifetime more.
        if now >= self.fresh_until && outward.told.max_age.is_some_and(|told| !told.is_zero()) {
            client::tell(
                &mut parts.headers,
                ClientCacheControl { max_age: Some(Duration::ZERO), ..outward.told },
            );
        }
    }
}
