//! Stored heads whose header fields are rewritten for clients.
//!
//! A rewritten head has the fields that clients receive: another lifetime, `private`, or further
//! names in `Vary`. A hit sends these fields unchanged. [`RewrittenHeaders`] keeps the lines that
//! the origin sent, for example to revalidate the response.

use super::head::Head;
use super::packing::pack;
use super::rewritten_headers::{RewrittenHeaders, is_rewritten};
use crate::clock::{Clock, Moment};
use crate::rules::client::{self, ClientCacheControl};
use crate::rules::date;
use crate::rules::patch::patch_vary;
use http::header::{AGE, DATE, HeaderName, HeaderValue, VARY};
use http::{HeaderMap, response::Parts};
use std::time::Duration;

impl Head {
    /// Rewrites the fields for clients: applies `client_control`, and adds the names in `vary` to
    /// `Vary`.
    ///
    /// A lifetime of `client_control` begins when a client receives the response, so a hit sends
    /// the current `Date` and no `Age`.
    pub(crate) fn rewrite_for_clients(&mut self, client_control: ClientCacheControl, vary: &[String]) {
        if client_control == ClientCacheControl::default() && vary.is_empty() {
            return;
        }
        let headers = &self.parts.headers;
        let lines = headers.iter().filter(|(name, _)| is_rewritten(name));
        let original: Vec<_> = lines.map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut rewritten = headers.clone();
        if client_control != ClientCacheControl::default() {
            client::rewrite(&mut rewritten, client_control);
        }
        if !vary.is_empty() {
            patch_vary(&mut rewritten, vary);
        }
        self.rewritten = Some(Box::new(RewrittenHeaders::new(client_control, &original)));
        self.parts.headers = pack(&rewritten, HeaderName::clone, &self.first_field());
    }

    /// Returns the stored fields as the origin sent them.
    pub(crate) fn original_headers(&self) -> HeaderMap {
        let mut headers = self.parts.headers.clone();
        let Some(rewritten) = &self.rewritten else { return headers };
        let rewritten_names: Vec<_> = headers.keys().filter(|name| is_rewritten(name)).cloned().collect();
        for name in rewritten_names {
            headers.remove(name);
        }
        for (name, value) in &rewritten.original {
            // `try_append` cannot fail: the map had room for these lines before.
            let _ = headers.try_append(name, value.clone());
        }
        headers
    }

    /// Returns `true` if the head is rewritten with a lifetime for clients, or with `private`.
    pub(crate) fn has_client_control(&self) -> bool {
        self.rewritten
            .as_ref()
            .is_some_and(|rewritten| rewritten.client_control != ClientCacheControl::default())
    }

    /// Returns the `Vary` lines that the origin sent, if the head is rewritten.
    pub(crate) fn original_vary(&self) -> impl Iterator<Item = &HeaderValue> {
        let original = self.rewritten.iter().flat_map(|rewritten| &rewritten.original);
        original.filter(|(name, _)| *name == VARY).map(|(_, value)| value)
    }

    /// Returns the name of the field that a hit sets. The field comes first, so a hit needs no
    /// search.
    pub(super) fn first_field(&self) -> HeaderName {
        match &self.rewritten {
            Some(rewritten) if rewritten.client_control.max_age.is_some() => DATE,
            _ => AGE,
        }
    }

    /// Updates a head that is rewritten for clients. Sets `Date` to the current time, if `Date` is
    /// the first field. If the response is stale, sets `max-age` to zero.
    #[cold]
    pub(super) fn set_date(&self, parts: &mut Parts, now: Moment, clock: &Clock) {
        let Some(rewritten) = &self.rewritten else { return };
        if let Some((name, value)) = parts.headers.iter_mut().next()
            && *name == DATE
            && let Some(date) = date::format(clock.wall())
        {
            *value = date;
        }
        // A response that is stale in this cache must not be fresh in clients for another lifetime.
        if now >= self.fresh_until
            && rewritten.client_control.max_age.is_some_and(|max_age| !max_age.is_zero())
        {
            client::rewrite(
                &mut parts.headers,
                ClientCacheControl { max_age: Some(Duration::ZERO), ..rewritten.client_control },
            );
        }
    }
}
