//! The keyed inputs of a request, and the removal of unkeyed ones before it is forwarded.
//!
//! Inputs that the policy ignores (fields, cookies, query parameters) never reach the handler on a
//! fetch, so no stored response depends on them. With [`strip_unkeyed_inputs`], all other unkeyed
//! fields are removed, too.
//!
//! [`strip_unkeyed_inputs`]: crate::policy::PolicyBuilder::strip_unkeyed_inputs

use super::facts::RequestFacts;
use super::inspect::InspectedRequest;
use super::target::public_uri;
use crate::key::{self, KeyBuf, KeyError, QueryKey, RequestHead};
use crate::marks::OuterContext;
use crate::policy::request_fields::role_of;
use crate::policy::{Cookies, Policy};
use crate::serve::config::LayerConfig;
use crate::status::{Detail, Reason};
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Uri, request};

/// Writes the key of a request into `buf`. The caller provides the buffer, since it is too large to
/// move.
///
/// # Errors
/// Returns the reason for a bypass if the request has no key.
pub(in crate::serve) fn write_request_key(
    config: &LayerConfig,
    request: RequestHead<'_>,
    inspected: &InspectedRequest<'_>,
    buf: &mut KeyBuf,
) -> Result<(), Reason> {
    buf.raw(config.id());
    let (policy, uri, host) = (&config.policy.key, public_uri(request), inspected.host);
    key::write_key(buf, policy, uri, host, inspected.facts.forwarded, request, &inspected.parts).map_err(
        |error| match error {
            KeyError::Host => Reason::bypass(Detail::Host),
            KeyError::Forwarded => Reason::bypass(Detail::Forwarded),
            KeyError::UnknownHost => Reason::bypass(Detail::UnknownHost),
            KeyError::TooLong => Reason::bypass(Detail::KeyLength),
        },
    )?;
    // The key contains digests of the cookies and the identity, not their values: other programs
    // may read the keys of a shared store.
    for (at, name) in config.policy.cookies.keyed().iter().enumerate() {
        let value = inspected.cookies.get(at).copied().flatten();
        let digest = value.map(|value| config.digests().digest(name.as_bytes(), value));
        buf.optional(digest.as_ref().map(<[u8; 32]>::as_slice));
    }
    if let Some(name) = config.policy.predicates.identity_name() {
        let identity = inspected.identity.as_ref().map(String::as_bytes);
        let digest = identity.map(|identity| config.digests().digest(name.as_bytes(), identity));
        buf.optional(digest.as_ref().map(<[u8; 32]>::as_slice));
    }
    if buf.is_too_long() { Err(Reason::bypass(Detail::KeyLength)) } else { Ok(()) }
}

/// The inputs of a request that enter its key.
#[derive(Clone, Copy)]
pub(in crate::serve) struct KeyedInputs<'a> {
    policy: &'a Policy,
    facts: RequestFacts,
    /// The key parts that functions of the user compute.
    parts: &'a [Option<String>],
}

impl<'a> KeyedInputs<'a> {
    pub(in crate::serve) fn new(
        policy: &'a Policy,
        facts: RequestFacts,
        parts: &'a [Option<String>],
    ) -> Self {
        Self { policy, facts, parts }
    }

    /// Removes the inputs that the policy ignores or strips, and gives the remaining inputs a
    /// uniform form.
    pub(in crate::serve) fn strip<B>(self, request: &mut Request<B>) {
        self.strip_unkeyed(request);
        normalize(request);
    }

    /// Removes the inputs that the policy ignores or strips. Gives forwarded fields and the query the
    /// form that they have in the key.
    fn strip_unkeyed<B>(self, request: &mut Request<B>) {
        let Self { policy, facts, parts } = self;
        let outer = request.extensions().get::<OuterContext>().and_then(|outer| outer.cookies.clone());
        policy.key.canonicalize_forwarded(request.headers_mut(), facts.forwarded);
        policy.key.strip_unkeyed(request.headers_mut(), parts);
        for name in &policy.key.ignored {
            request.headers_mut().remove(name);
        }
        let cookies = Cookies { own: &policy.cookies, outer: outer.as_deref(), personal: facts.personal };
        if !cookies.is_default() {
            cookies.strip_unkeyed(request.headers_mut());
        }
        self.remove_unkeyed(request);
        replace_query(request.uri_mut(), &policy.key.query);
        #[cfg(feature = "axum")]
        if let Some(original) = request.extensions_mut().get_mut::<axum::extract::OriginalUri>() {
            replace_query(&mut original.0, &policy.key.query);
        }
    }

    /// Returns `true` if a fetch would remove or change an input of the request, such as an ignored
    /// field. The response to the unchanged request may depend on this input, which the key does
    /// not cover. Always returns `true` if the policy strips unkeyed inputs.
    pub(in crate::serve) fn would_strip_any_of(self, request: &request::Parts) -> bool {
        if self.policy.strips_unkeyed {
            return true;
        }
        let mut stripped = Request::from_parts(request.clone(), ());
        self.strip_unkeyed(&mut stripped);
        let is_same = |head: RequestHead<'_>| {
            (public_uri(head), head.uri) == (public_uri(request.into()), &request.uri)
        };
        stripped.headers() != &request.headers || !is_same((&stripped).into())
    }

    /// Passes the names of the unkeyed fields to the user's report function, if there is one.
    /// Removes these fields if the policy strips unkeyed inputs.
    fn remove_unkeyed<B>(self, request: &mut Request<B>) {
        let policy = self.policy;
        if !policy.strips_unkeyed && !policy.predicates.has_report_function() {
            return;
        }
        let headers = request.headers_mut();
        let unkeyed = headers.keys().filter(|name| !reaches_handler(policy, name, self.facts)).cloned();
        for name in unkeyed.collect::<Vec<_>>() {
            policy.predicates.report(&name);
            if policy.strips_unkeyed {
                headers.remove(name);
            }
        }
    }
}

/// Returns `true` if the handler may see a field under a policy that strips unkeyed inputs.
pub(in crate::serve) fn reaches_handler(policy: &Policy, name: &HeaderName, facts: RequestFacts) -> bool {
    let role = role_of(name.as_str());
    policy.is_keyed(name)
        // All cookies but the keyed ones are removed, or prevent the response from being stored.
        || *name == COOKIE
        || role.selects()
        || (facts.personal && (role.identifies() || policy.credentials.contains(name)))
        || *name == CONTENT_LENGTH
        || policy.allowed_unkeyed.contains(name)
}

/// Removes the differences that remain between stripped requests with the same key.
///
/// Adds a missing `Host` if the target has an authority (RFC 9112 section 3.2.2). Removes
/// `Content-Length` from a GET or HEAD. The value is 0: a GET with content bypasses the cache.
pub(in crate::serve) fn normalize<B>(request: &mut Request<B>) {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        request.headers_mut().remove(CONTENT_LENGTH);
    }
    if request.headers().contains_key(HOST) {
        return;
    }
    let authority = public_uri((&*request).into()).authority();
    let host = authority.and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    if let Some(host) = host {
        // If the header section is full, the request is forwarded without `Host`.
        let _ = request.headers_mut().try_insert(HOST, host);
    }
}

/// Replaces the query of a URI by its keyed form.
fn replace_query(uri: &mut Uri, query: &QueryKey) {
    let normalized = query.normalized(uri.query());
    if normalized.as_deref() == uri.query() {
        return;
    }
    let path_and_query = match normalized {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    };
    let mut parts = std::mem::take(uri).into_parts();
    // The conversion can't fail: pieces of a valid query form a valid query.
    parts.path_and_query = path_and_query.try_into().ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests;
