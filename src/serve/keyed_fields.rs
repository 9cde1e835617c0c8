//! `Vary` for clients and caches downstream: the request fields that a page is keyed by.
//!
//! It is written on the way out only. An outer cache layer of this crate gets the names in an extension, so that it
//! selects no variants by them; the outermost one writes the field.

use crate::policy::Policy;
use crate::rules::patch::{distinct, patch_vary};
use http::header::VARY;
use http::{HeaderName, HeaderValue, Response};
use std::sync::Arc;

/// The names of the request fields that a page is keyed by: on a response, those of inner cache layers.
#[derive(Debug, Clone)]
pub(in crate::serve) struct KeyedFields(Arc<[String]>);

impl KeyedFields {
    /// Returns what a policy emits. `Host` and the fields of proxies are in every key, and any cache keys by the target.
    pub(in crate::serve) fn of(policy: &Policy) -> Option<Self> {
        let mut names: Vec<_> = policy.keyed_fields().map(HeaderName::as_str).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        (policy.emit_vary && !names.is_empty()).then(|| Self(names.into()))
    }

    pub(in crate::serve) fn names(&self) -> &[String] {
        &self.0
    }

    /// Returns those that inner layers have left in a response.
    pub(in crate::serve) fn of_response<B>(response: &Response<B>) -> Option<Self> {
        response.extensions().get::<Self>().cloned()
    }

    /// Adds the names that came in the header field of a response, where the extension may be lost.
    pub(in crate::serve) fn receive<B>(response: &mut Response<B>, names: Vec<String>) {
        let received = Self(names.into());
        let all = match Self::of_response(response) {
            Some(own) => own.joined(&received),
            None => received,
        };
        response.extensions_mut().insert(all);
    }

    fn joined(self, inner: &Self) -> Self {
        Self(distinct(self.0.iter().chain(&*inner.0).cloned()).into())
    }
}

/// Emits the names of a layer and of those inside of it: in `Vary`, or to a cache layer further out.
pub(in crate::serve) fn emit<B>(response: &mut Response<B>, own: Option<&KeyedFields>, has_outer: bool) {
    let inner = response.extensions_mut().remove::<KeyedFields>();
    let all = match (own, inner) {
        (None, None) => return,
        (Some(own), None) => own.clone(),
        (None, Some(inner)) => inner,
        (Some(own), Some(inner)) => own.clone().joined(&inner),
    };
    match has_outer {
        true => drop(response.extensions_mut().insert(all)),
        false => patch_vary(response.headers_mut(), &all.0),
    }
}

/// Leaves what a stored response says in `Vary` for clients to a cache layer further out.
pub(in crate::serve) fn leave_to_outer<'a, B>(
    response: &mut Response<B>,
    keyed: &KeyedFields,
    said: impl Iterator<Item = &'a HeaderValue>,
) {
    let headers = response.headers_mut();
    headers.remove(VARY);
    for value in said {
        // They were there before.
        let _ = headers.try_append(VARY, value.clone());
    }
    response.extensions_mut().insert(keyed.clone());
}
