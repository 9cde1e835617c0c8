//! A request that fills the cache has nothing that its key ignores, so that no page can depend on it.

use super::config::LayerConfig;
use super::inspect::RequestFacts;
use super::target::public_uri;
use crate::key::{QueryKey, RequestHead};
use crate::marks::OuterContext;
use crate::policy::Cookies;
use crate::policy::request_fields::meaning;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Uri, request};

/// Gives all requests with one key the same form.
///
/// Adds `Host` if the target has an authority (RFC 9112 section 3.2.2). Removes `Content-Length` from a GET or HEAD.
/// That has no content: requests with content bypass the cache.
pub(super) fn normalize<B>(request: &mut Request<B>) {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        request.headers_mut().remove(CONTENT_LENGTH);
    }
    if request.headers().contains_key(HOST) {
        return;
    }
    let authority = public_uri((&*request).into()).authority();
    let host = authority.and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    if let Some(host) = host {
        // A header section that is full goes without.
        let _ = request.headers_mut().try_insert(HOST, host);
    }
}

impl LayerConfig {
    /// Removes from a fill what its key ignores.
    pub(super) fn strip_unkeyed<B>(
        &self,
        request: &mut Request<B>,
        facts: RequestFacts,
        parts: &[Option<String>],
    ) {
        let policy = &self.policy.key;
        let outer = request.extensions().get::<OuterContext>().and_then(|outer| outer.cookies.clone());
        policy.canonicalize_forwarded(request.headers_mut(), facts.forwarded);
        policy.strip_unkeyed(request.headers_mut(), parts);
        for name in &policy.ignored {
            request.headers_mut().remove(name);
        }
        let cookies =
            Cookies { own: &self.policy.cookies, outer: outer.as_deref(), personal: facts.personal };
        if !cookies.is_default() {
            cookies.strip_unkeyed(request.headers_mut());
        }
        self.remove_unkeyed(request, facts);
        narrow_uri(request.uri_mut(), &policy.query);
        #[cfg(feature = "axum")]
        if let Some(original) = request.extensions_mut().get_mut::<axum::extract::OriginalUri>() {
            narrow_uri(&mut original.0, &policy.query);
        }
    }

    /// Tells whether a fill would lack anything that this request has. One that is sent on as it is, whatever its
    /// answer, then has an answer that its key does not cover.
    pub(super) fn hides_anything_of(
        &self,
        request: &request::Parts,
        facts: RequestFacts,
        parts: &[Option<String>],
    ) -> bool {
        if self.policy.allowed.is_some() {
            return true;
        }
        let mut stripped = Request::from_parts(request.clone(), ());
        self.strip_unkeyed(&mut stripped, facts, parts);
        let is_same = |head: RequestHead<'_>| {
            (public_uri(head), head.uri) == (public_uri(request.into()), &request.uri)
        };
        stripped.headers() != &request.headers || !is_same((&stripped).into())
    }

    fn remove_unkeyed<B>(&self, request: &mut Request<B>, facts: RequestFacts) {
        let policy = &self.policy;
        if policy.allowed.is_none() && !policy.predicates.reports() {
            return;
        }
        let headers = request.headers_mut();
        let unkeyed = headers.keys().filter(|name| !self.reaches_handler(name, facts)).cloned();
        for name in unkeyed.collect::<Vec<_>>() {
            policy.predicates.report(&name);
            if policy.allowed.is_some() {
                headers.remove(name);
            }
        }
    }

    /// Tells whether the handler may see a field, where it may not see all.
    pub(super) fn reaches_handler(&self, name: &HeaderName, facts: RequestFacts) -> bool {
        let policy = &self.policy;
        let meaning = meaning(name.as_str());
        meaning.is_keyed()
            // Those that are left are keyed, and the others are taken off or keep the response from being stored.
            || *name == COOKIE
            || meaning.selects()
            || (facts.personal && (meaning.identifies() || policy.credentials.contains(name)))
            || *name == CONTENT_LENGTH
            || policy.key.covers(name)
            || policy.allowed.as_ref().is_some_and(|allowed| allowed.contains(name))
    }
}

fn narrow_uri(uri: &mut Uri, query: &QueryKey) {
    let normalised = query.normalised(uri.query());
    if normalised.as_deref() == uri.query() {
        return;
    }
    let path_and_query = match normalised {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    };
    let mut parts = std::mem::take(uri).into_parts();
    // Pieces of a valid query make a valid query; were it not so, the handler gets none.
    parts.path_and_query = path_and_query.try_into().ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}
