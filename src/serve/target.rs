//! The targets of a request: what its client asked for, and what the handler sees.

use super::forwarded::{self, add_hosts};
use super::reference::Base;
use crate::cache::Invalidation;
use crate::entry::{ExtendOnHost, Scope};
use crate::key::{KeyPolicy, RequestHead, is_same_target};
use crate::policy::{Policy, Sharing};
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

/// Returns the hosts that a request names: in what its client sent, in what the handler sees, and in forwarded fields.
pub(super) fn hosts(request: RequestHead<'_>, key: &KeyPolicy) -> Vec<String> {
    let public = public_uri(request).authority().map(Authority::as_str);
    let public = public.or_else(|| request.headers.get(HOST)?.to_str().ok());
    let seen = rewritten_uri(request).and_then(Uri::authority).map(Authority::as_str);
    let seen = seen.filter(|seen| Some(*seen) != public);
    let mut hosts = public.into_iter().chain(seen).map(str::to_owned).collect();
    add_hosts(&mut hosts, request.headers, &key.ignored);
    hosts
}

/// Returns all that may name the targets of a request in an invalidation, the public path first.
pub(super) fn scopes(request: RequestHead<'_>, key: &KeyPolicy, hosts: &[String]) -> Vec<Scope> {
    let public = public_uri(request);
    let of =
        |path: &str, uri: &Uri| Scope::of_target(path, key.query.normalised(uri.query()).as_deref(), None);
    let mut scopes = of(public.path(), public);
    let prefix = forwarded::prefix(request.headers, &key.ignored);
    let prefixed = prefix.map(|prefix| of(&format!("{prefix}{}", public.path()), public));
    let seen = rewritten_uri(request).map(|seen| of(seen.path(), seen));
    for others in [seen, prefixed].into_iter().flatten() {
        let others: Vec<_> = others.into_iter().filter(|scope| !scopes.contains(scope)).collect();
        scopes.extend(others);
    }
    scopes.extend_on_hosts(hosts);
    scopes
}

/// A target of a write, and the authority that it is on.
#[derive(Debug)]
pub(super) struct WriteTarget {
    pub(super) uri: Uri,
    pub(super) authority: Option<Authority>,
}

/// What a write may have changed by its targets.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) public: WriteTarget,
    /// What the handler sees, if it is another one.
    seen: Option<WriteTarget>,
    /// The hosts that forwarded fields name.
    forwarded_hosts: Vec<String>,
    /// What proxies have removed from the public path.
    prefix: Option<String>,
    sharing: Sharing,
}

impl Written {
    pub(super) fn new(request: RequestHead<'_>, policy: &Policy) -> Self {
        let uri = public_uri(request).clone();
        let host = request.headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let authority = uri.authority().cloned().or(host);
        let seen = rewritten_uri(request).map(|seen| WriteTarget {
            uri: seen.clone(),
            authority: seen.authority().or(authority.as_ref()).cloned(),
        });
        let ignored = &policy.key.ignored;
        let mut forwarded_hosts: Vec<_> =
            authority.iter().map(|host| without_user(host).to_owned()).collect();
        add_hosts(&mut forwarded_hosts, request.headers, ignored);
        let prefix = forwarded::prefix(request.headers, ignored);
        Self {
            public: WriteTarget { uri, authority },
            seen,
            forwarded_hosts,
            prefix,
            sharing: policy.sharing,
        }
    }

    fn targets(&self) -> impl Iterator<Item = &WriteTarget> {
        std::iter::once(&self.public).chain(&self.seen)
    }

    /// Returns the public path as clients use it, if proxies have removed a part of it.
    fn prefixed_path(&self) -> Option<String> {
        Some(format!("{}{}", self.prefix.as_ref()?, self.public.uri.path()))
    }

    /// Returns the paths of the targets themselves.
    pub(super) fn paths(&self) -> Vec<String> {
        // Without the prefix, which any client may send: what came through the proxy has the path without it, too.
        self.targets().map(|target| target.uri.path().to_owned()).collect()
    }

    /// Returns the paths that the lines of a field point to, on the origin of any target.
    pub(super) fn referred(&self, headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
        let prefixed = self.prefixed_path();
        let bases: Vec<_> = self
            .targets()
            .map(|target| self.base(target, target.uri.path()))
            .chain(prefixed.as_deref().map(|path| self.base(&self.public, path)))
            .collect();
        let lines = headers.get_all(name).iter();
        let mut paths: Vec<_> =
            lines.flat_map(|line| bases.iter().filter_map(|base| base.path_of(line))).collect();
        if let Some(prefix) = &self.prefix {
            let inner = |path: &String| {
                path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).map(str::to_owned)
            };
            let inner: Vec<_> = paths.iter().filter_map(inner).collect();
            paths.extend(inner);
        }
        paths
    }

    fn base<'a>(&'a self, target: &'a WriteTarget, path: &'a str) -> Base<'a> {
        let own = target.authority.iter().map(Authority::as_str);
        let hosts = own.chain(self.forwarded_hosts.iter().map(String::as_str)).collect();
        Base { sharing: self.sharing, scheme: target.uri.scheme_str(), hosts, path }
    }

    /// Narrows an invalidation to the hosts of the targets; leaves it if none is known. Hosts of forwarded fields do not
    /// count: any client may name others there.
    pub(super) fn on_own_hosts(&self, what: Invalidation) -> Invalidation {
        let hosts = self.targets().filter_map(|target| Some(without_user(target.authority.as_ref()?)));
        let stripped = hosts.map(|host| what.clone().host(host)).reduce(Invalidation::and);
        stripped.unwrap_or(what)
    }
}

/// Returns the host and the port.
fn without_user(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}
