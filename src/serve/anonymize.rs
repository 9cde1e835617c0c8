//! What a background request carries of the request that led to it.

use super::miss::Way;
use super::shared::Shared;
use crate::entry::{Entry, StoredResponse};
use crate::policy::request_fields::{Meaning, meaning};
use http::header::{COOKIE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, request};

/// Which fields a background request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Those that are keyed, and those that say what its client is.
    Known,
    /// Those that are keyed.
    Keyed,
}

impl Shared {
    /// Returns `true` if a field identifies the visitor, or is about this request alone.
    pub(super) fn is_personal(&self, name: &HeaderName) -> bool {
        let meaning = meaning(name.as_str());
        let is_credential = match meaning {
            Meaning::NamedLikeCredential => !self.policy.key.covers(name),
            meaning => meaning.identifies(),
        };
        let identifies = is_credential || self.policy.credentials.contains(name);
        identifies || meaning.selects() || matches!(meaning, Meaning::Directives)
    }

    fn carries(&self, name: &HeaderName, nominated: &[HeaderName], carries: Carries) -> bool {
        let policy = &self.policy;
        let is_keyed = meaning(name.as_str()).is_keyed()
            || policy.key.covers(name)
            || nominated.contains(name)
            || (*name == COOKIE && !policy.cookies.keyed().is_empty());
        let is_known = || {
            *name == USER_AGENT
                || *name == "accept"
                || name.as_str().starts_with("accept-")
                || policy.refresh_headers.contains(name)
                || policy.allowed.as_ref().is_some_and(|allowed| allowed.contains(name))
        };
        is_keyed || (carries == Carries::Known && is_known())
    }

    /// Removes from a request what a background request does not carry.
    pub(super) fn anonymize(
        &self,
        request: &mut request::Parts,
        key_parts: &[Option<String>],
        nominated: &[HeaderName],
        carries: Carries,
    ) {
        request.method = Method::GET;
        for name in request.headers.keys().cloned().collect::<Vec<_>>() {
            let is_personal = self.is_personal(&name);
            if !is_personal && self.carries(&name, nominated, carries) {
                continue;
            }
            let values: Vec<HeaderValue> = request.headers.get_all(&name).iter().cloned().collect();
            request.headers.remove(&name);
            // A function may compute a part of the key from it.
            if !is_personal && self.policy.key.parts((&*request).into()) != key_parts {
                for value in values {
                    let _ = request.headers.try_append(&name, value);
                }
            }
        }
    }
}

impl Way {
    /// Returns the fields that select the variant of this request.
    pub(super) async fn nominated(&self, stored: Option<&StoredResponse>) -> Vec<HeaderName> {
        let mut names: Vec<_> = stored.map(nominated).unwrap_or_default();
        let cache = &self.shared.cache;
        if let Ok(Some(Entry::Index(index))) = cache.within_limit(cache.store().get(self.key.as_ref())).await
        {
            names.extend_from_slice(index.fields());
        }
        names
    }
}

/// Returns the fields that a stored response was selected by.
pub(super) fn nominated(stored: &StoredResponse) -> Vec<HeaderName> {
    stored.head().nominated.iter().map(|field| field.name().clone()).collect()
}
