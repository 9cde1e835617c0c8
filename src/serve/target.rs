//! The two targets of a request: what its client asked for, and what the handler sees.

use super::unsafe_method::path_on_same_origin;
use crate::cache::Invalidation;
use crate::entry::{ExtendOnHost, Scope};
use crate::key::{QueryKey, RequestHead, is_same_target};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Uri};

/// Returns the URI as the client sent it: a nested axum router strips the prefix of the one it passes on.
pub(super) fn public_uri(request: RequestHead<'_>) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = request.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    request.uri
}

/// Returns the URI that the handler sees, if a router or a layer has made it another one than the client sent.
fn rewritten_uri(request: RequestHead<'_>) -> Option<&Uri> {
    (!is_same_target(public_uri(request), request.uri)).then_some(request.uri)
}

/// Returns the hosts that a request names: in what its client sent, and in what the handler sees.
pub(super) fn hosts(request: RequestHead<'_>) -> Vec<String> {
    let public = public_uri(request).authority().map(Authority::as_str);
    let public = public.or_else(|| request.headers.get(HOST)?.to_str().ok());
    let seen = rewritten_uri(request).and_then(Uri::authority).map(Authority::as_str);
    let seen = seen.filter(|seen| Some(*seen) != public);
    public.into_iter().chain(seen).map(str::to_owned).collect()
}

/// Returns all that may name the targets of a request in an invalidation, the public path first.
pub(super) fn scopes(request: RequestHead<'_>, query: &QueryKey, hosts: &[String]) -> Vec<Scope> {
    let of = |uri: &Uri| Scope::of_target(uri.path(), query.normalised(uri.query()).as_deref(), None);
    let mut scopes = of(public_uri(request));
    if let Some(seen) = rewritten_uri(request) {
        let others: Vec<_> = of(seen).into_iter().filter(|scope| !scopes.contains(scope)).collect();
        scopes.extend(others);
    }
    scopes.extend_on_hosts(hosts);
    scopes
}

/// A target of a write, and the authority that it is on.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) uri: Uri,
    pub(super) authority: Option<Authority>,
}

/// What a write may have changed by its targets.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) public: Target,
    /// What the handler sees, if it is another one.
    seen: Option<Target>,
}

impl Written {
    pub(super) fn new(request: RequestHead<'_>) -> Self {
        let uri = public_uri(request).clone();
        let host = request.headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let authority = uri.authority().cloned().or(host);
        let seen = rewritten_uri(request).map(|seen| Target {
            uri: seen.clone(),
            authority: seen.authority().or(authority.as_ref()).cloned(),
        });
        Self { public: Target { uri, authority }, seen }
    }

    fn targets(&self) -> impl Iterator<Item = &Target> {
        std::iter::once(&self.public).chain(&self.seen)
    }

    /// Returns the paths of the targets themselves.
    pub(super) fn paths(&self) -> Vec<String> {
        self.targets().map(|target| target.uri.path().to_owned()).collect()
    }

    /// Returns the paths that a field points to, on the origin of either target.
    pub(super) fn referred(&self, headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
        let path =
            |target: &Target| path_on_same_origin(headers, name, &target.uri, target.authority.as_ref());
        self.targets().filter_map(path).collect()
    }

    /// Narrows an invalidation to the hosts of the targets; leaves it if none is known.
    pub(super) fn on_own_hosts(&self, what: Invalidation) -> Invalidation {
        let hosts = self.targets().filter_map(|target| Some(without_user(target.authority.as_ref()?)));
        let narrowed = hosts.map(|host| what.clone().host(host)).reduce(Invalidation::and);
        narrowed.unwrap_or(what)
    }
}

/// Returns the host and the port.
fn without_user(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}
