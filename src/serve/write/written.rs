//! The targets of a write, and the paths that its response refers to.

use super::reference::Base;
use crate::cache::Invalidation;
use crate::key::{ForwardedFields, RequestHead};
use crate::policy::{Policy, Sharing};
use crate::serve::request::{add_hosts, forwarded_prefix, public_uri, rewritten_uri};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Uri};

/// A target of a write, and its authority.
#[derive(Debug)]
pub(in crate::serve) struct WriteTarget {
    pub(in crate::serve) uri: Uri,
    pub(in crate::serve) authority: Option<Authority>,
}

/// The targets of a write, and the origins that its response may refer to.
#[derive(Debug)]
pub(in crate::serve) struct WriteTargets {
    /// The target in the public URL.
    pub(in crate::serve) public: WriteTarget,
    /// The target that the handler sees, if it differs from the public target.
    seen: Option<WriteTarget>,
    /// The public host, and the hosts that forwarded fields name.
    forwarded_hosts: Vec<String>,
    /// The prefix that proxies removed from the public path.
    prefix: Option<String>,
    sharing: Sharing,
}

impl WriteTargets {
    pub(in crate::serve) fn new(request: RequestHead<'_>, policy: &Policy) -> Self {
        let uri = public_uri(request).clone();
        let host = request.headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let authority = uri.authority().cloned().or(host);
        let seen = rewritten_uri(request).map(|seen| WriteTarget {
            uri: seen.clone(),
            authority: seen.authority().or(authority.as_ref()).cloned(),
        });
        let forwarded = ForwardedFields::of(request.headers, &policy.key.ignored);
        let mut forwarded_hosts: Vec<_> =
            authority.iter().map(|host| without_user(host).to_owned()).collect();
        add_hosts(&mut forwarded_hosts, request.headers, forwarded);
        let prefix = forwarded_prefix(request.headers, forwarded);
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

    /// Returns the public path with the prefix that proxies removed, if there is one.
    fn prefixed_path(&self) -> Option<String> {
        Some(format!("{}{}", self.prefix.as_ref()?, self.public.uri.path()))
    }

    /// Returns the paths of the targets.
    pub(in crate::serve) fn paths(&self) -> Vec<String> {
        // The paths do not have the prefix of `X-Forwarded-Prefix`, because any client can send
        // that field. Every entry has the scope of its path without the prefix.
        self.targets().map(|target| target.uri.path().to_owned()).collect()
    }

    /// Returns the invalidation that covers the targets of the write.
    pub(in crate::serve) fn target(&self) -> Invalidation {
        self.of_site(self.paths())
    }

    /// Returns the invalidation that covers these paths.
    ///
    /// Under `Sharing::Rfc9111`, only entries on the hosts of the targets are covered (RFC 9111
    /// section 4.4). Under `Sharing::App`, entries on all hosts are covered: an application is one
    /// site under all its names.
    pub(in crate::serve) fn of_site(&self, paths: Vec<String>) -> Invalidation {
        match self.sharing {
            Sharing::Rfc9111 => self.on_own_hosts(Invalidation::request_paths(paths)),
            Sharing::App => Invalidation::request_paths(paths),
        }
    }

    /// Returns the paths that the lines of a field refer to, on the origin of any target.
    pub(in crate::serve) fn referred(&self, headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
        let prefixed = self.prefixed_path();
        let bases: Vec<_> = self
            .targets()
            .map(|target| self.base(target, target.uri.path()))
            .chain(prefixed.as_deref().map(|path| self.base(&self.public, path)))
            .collect();
        let lines = headers.get_all(name).iter();
        let mut paths: Vec<_> =
            lines.flat_map(|line| bases.iter().filter_map(|base| base.path_of(line))).collect();
        // A client may send a request past the proxies, so that its path has no prefix. The entry
        // of such a request has only the scope of that path.
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

    /// Limits an invalidation to the hosts of the targets. If no host is known, returns the
    /// invalidation unchanged.
    ///
    /// The hosts of forwarded fields do not count, because a client may name any host there.
    pub(in crate::serve) fn on_own_hosts(&self, what: Invalidation) -> Invalidation {
        let hosts = self.targets().filter_map(|target| Some(without_user(target.authority.as_ref()?)));
        let stripped = hosts.map(|host| what.clone().host(host)).reduce(Invalidation::and);
        stripped.unwrap_or(what)
    }
}

/// Returns the host and the port.
fn without_user(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}
