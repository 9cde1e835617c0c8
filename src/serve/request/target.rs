//! The targets of a request: the URI that the client sent, and the URI that the handler sees.

use super::forwarded::{add_hosts, forwarded_prefix, forwarded_urls};
use crate::entry::{ExtendOnHost, Scope};
use crate::key::{ForwardedFields, KeyPolicy, RequestHead, is_same_target};
use crate::marks::OuterContext;
use http::Uri;
use http::header::HOST;
use http::uri::Authority;

/// Returns the URI that the client sent. A nested axum router strips its prefix from the URI that
/// the handler sees.
pub(crate) fn public_uri(request: RequestHead<'_>) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    request.uri
}

/// Returns the URI that the handler sees, if a router or a layer has changed it.
pub(in crate::serve) fn rewritten_uri(request: RequestHead<'_>) -> Option<&Uri> {
    (!is_same_target(public_uri(request), request.uri)).then_some(request.uri)
}

/// Returns the hosts that a request names: in the client's URL, in the URI that the handler sees,
/// and in forwarded fields.
pub(in crate::serve) fn hosts(request: RequestHead<'_>, forwarded: ForwardedFields) -> Vec<String> {
    let public = public_uri(request).authority().map(Authority::as_str);
    let public = public.or_else(|| request.headers.get(HOST)?.to_str().ok());
    let seen = rewritten_uri(request).and_then(Uri::authority).map(Authority::as_str);
    let seen = seen.filter(|seen| Some(*seen) != public);
    let mut hosts = public.into_iter().chain(seen).map(str::to_owned).collect();
    add_hosts(&mut hosts, request.headers, forwarded);
    hosts
}

/// Returns the scopes by which an invalidation names the target of a request, the public path
/// first.
fn target_scopes(
    request: RequestHead<'_>,
    key: &KeyPolicy,
    forwarded: ForwardedFields,
    hosts: &[String],
) -> Vec<Scope> {
    let public = public_uri(request);
    let of =
        |path: &str, uri: &Uri| Scope::of_target(path, key.query.normalized(uri.query()).as_deref(), None);
    let mut scopes = of(public.path(), public);
    let prefix = forwarded_prefix(request.headers, forwarded);
    let prefixed = prefix.map(|prefix| of(&format!("{prefix}{}", public.path()), public));
    let seen = rewritten_uri(request).map(|seen| of(seen.path(), seen));
    let forwarded = forwarded_urls(request.headers, forwarded).map(|url| of(url.path(), &url));
    for others in seen.into_iter().chain(prefixed).chain(forwarded) {
        let others: Vec<_> = others.into_iter().filter(|scope| !scopes.contains(scope)).collect();
        scopes.extend(others);
    }
    scopes.extend_on_hosts(hosts);
    scopes
}

/// Returns the scopes of the target of a request on these hosts. The scope of the public path is
/// the first, then come the other scopes that this layer finds. The scopes that outer layers found
/// come last.
pub(in crate::serve) fn scopes_on(
    request: RequestHead<'_>,
    key: &KeyPolicy,
    forwarded: ForwardedFields,
    hosts: &[String],
) -> Vec<Scope> {
    let mut scopes = target_scopes(request, key, forwarded, hosts);
    if let Some(targets) = request.extensions.get::<OuterContext>().and_then(|outer| outer.targets.as_ref()) {
        let more: Vec<_> = targets.iter().filter(|scope| !scopes.contains(scope)).copied().collect();
        scopes.extend(more);
    }
    scopes
}

/// Returns the scopes that name the target of a request on all hosts that the request names.
pub(in crate::serve) fn scopes(request: RequestHead<'_>, key: &KeyPolicy) -> Vec<Scope> {
    let forwarded = ForwardedFields::of(request.headers, &key.ignored);
    scopes_on(request, key, forwarded, &hosts(request, forwarded))
}
