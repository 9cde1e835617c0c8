//! `Vary` for clients and downstream caches: the names of the request fields that enter the key.
//!
//! Between layers of this crate, the names travel in an extension of the response. The outermost
//! cache layer writes them into `Vary`. A stored response has them in its `Vary` already, and keeps
//! the `Vary` of the service separately.

use crate::policy::Policy;
use crate::rules::patch::{patch_vary, without_duplicates};
use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderName, HeaderValue, Response};
use std::sync::Arc;

/// The names of the keyed request fields. In the extensions of a response, they are the names that
/// inner cache layers emit.
#[derive(Debug, Clone)]
pub(in crate::serve) struct KeyedFields(Arc<[String]>);

impl KeyedFields {
    /// Returns the names that a policy emits, if any. `Host` and the forwarded fields are left out,
    /// although they enter keys without an option: a downstream cache keys by the target URI
    /// itself.
    pub(in crate::serve) fn of(policy: &Policy) -> Option<Self> {
        let mut names: Vec<_> = policy.keyed_fields().map(HeaderName::as_str).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        (policy.emit_vary && !names.is_empty()).then(|| Self(names.into()))
    }

    /// Returns the names for responses with encoded variants: the names that a policy emits, and
    /// `Accept-Encoding`.
    pub(in crate::serve) fn with_accept_encoding(keyed: Option<&Self>) -> Self {
        let names = keyed.map(Self::names).unwrap_or_default().iter().cloned();
        Self(without_duplicates(names.chain([ACCEPT_ENCODING.as_str().to_owned()])).into())
    }

    pub(in crate::serve) fn names(&self) -> &[String] {
        &self.0
    }

    /// Returns the names that inner layers have left in the extensions of a response.
    pub(in crate::serve) fn of_response<B>(response: &Response<B>) -> Option<Self> {
        response.extensions().get::<Self>().cloned()
    }

    /// Adds `names` to the names in the extension. Inner cache layers also send their names in a
    /// header field, because a layer in between may drop extensions. `names` come from that field.
    pub(in crate::serve) fn receive<B>(response: &mut Response<B>, names: Vec<String>) {
        let received = Self(names.into());
        let all = match Self::of_response(response) {
            Some(own) => own.join(&received),
            None => received,
        };
        response.extensions_mut().insert(all);
    }

    fn join(self, inner: &Self) -> Self {
        Self(without_duplicates(self.0.iter().chain(&*inner.0).cloned()).into())
    }
}

/// Emits the names of the keyed fields of this layer and of inner layers. If there is an outer
/// cache layer, the names are in an extension, otherwise in `Vary`.
pub(in crate::serve) fn emit<B>(response: &mut Response<B>, own: Option<&KeyedFields>, has_outer: bool) {
    let inner = response.extensions_mut().remove::<KeyedFields>();
    let all = match (own, inner) {
        (None, None) => return,
        (Some(own), None) => own.clone(),
        (None, Some(inner)) => inner,
        (Some(own), Some(inner)) => own.clone().join(&inner),
    };
    match has_outer {
        true => drop(response.extensions_mut().insert(all)),
        false => patch_vary(response.headers_mut(), &all.0),
    }
}

/// Leaves the names to the outer cache layer: puts them into an extension, and restores the `Vary`
/// of the service (`original_vary`).
pub(in crate::serve) fn emit_to_outer<'a, B>(
    response: &mut Response<B>,
    keyed: &KeyedFields,
    original_vary: impl Iterator<Item = &'a HeaderValue>,
) {
    let headers = response.headers_mut();
    headers.remove(VARY);
    for value in original_vary {
        // Cannot fail: the header section had at least as many lines before.
        let _ = headers.try_append(VARY, value.clone());
    }
    response.extensions_mut().insert(keyed.clone());
}
