//! The targets of a request: the URI that the client sent, and the URI that the handler sees.

use super::forwarded::{add_hosts, forwarded_prefix, forwarded_urls};
use crate::entry::{ExtendOnHost, Scope};
use crate::key::{ForwardedFields, RequestHead, is_same_target};
use crate::marks::{LazyTargetNames, OuterContext, TargetNames};
use crate::serve::config::LayerConfig;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};
use std::sync::Arc;

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

/// Returns the names of the target of a request. They are computed at first use, from copies of the
/// parts of the request that they need.
pub(in crate::serve) fn target_names(
    config: &Arc<LayerConfig>,
    request: RequestHead<'_>,
    forwarded: ForwardedFields,
) -> Arc<LazyTargetNames> {
    let source = TargetSource {
        config: Arc::clone(config),
        public: public_uri(request).clone(),
        seen: rewritten_uri(request).cloned(),
        host: request.headers.get(HOST).cloned(),
        forwarded: (!forwarded.is_empty()).then(|| (forwarded, request.headers.clone())),
        outer: request.extensions.get::<OuterContext>().and_then(|outer| outer.target.clone()),
    };
    Arc::new(LazyTargetNames::new(Box::new(move || source.names())))
}

/// The parts of a request that name its target.
struct TargetSource {
    config: Arc<LayerConfig>,
    public: Uri,
    /// The URI that the handler sees, if a router or a layer has changed it.
    seen: Option<Uri>,
    /// The value of `Host`.
    host: Option<HeaderValue>,
    /// The forwarded fields that the policy does not ignore, and all fields of the request.
    forwarded: Option<(ForwardedFields, HeaderMap)>,
    /// The names of the target in outer cache layers.
    outer: Option<Arc<LazyTargetNames>>,
}

impl TargetSource {
    fn names(&self) -> TargetNames {
        let hosts = self.hosts();
        let mut scopes = self.scopes(&hosts);
        if let Some(outer) = &self.outer {
            let more: Vec<_> = outer.scopes.iter().filter(|scope| !scopes.contains(scope)).copied().collect();
            scopes.extend(more);
        }
        TargetNames { hosts, scopes }
    }

    /// Returns the hosts that the request names: in the client's URL, in the URI that the handler
    /// sees, and in forwarded fields.
    fn hosts(&self) -> Vec<String> {
        let public = self.public.authority().map(Authority::as_str);
        let public = public.or_else(|| self.host.as_ref()?.to_str().ok());
        let seen = self.seen.as_ref().and_then(Uri::authority).map(Authority::as_str);
        let seen = seen.filter(|seen| Some(*seen) != public);
        let mut hosts = public.into_iter().chain(seen).map(str::to_owned).collect();
        if let Some((forwarded, headers)) = &self.forwarded {
            add_hosts(&mut hosts, headers, *forwarded);
        }
        hosts
    }

    /// Returns the scopes by which an invalidation names the target, the public path first.
    fn scopes(&self, hosts: &[String]) -> Vec<Scope> {
        let (key, public) = (&self.config.policy.key, &self.public);
        let of = |path: &str, uri: &Uri| {
            Scope::of_target(path, key.query.normalized(uri.query()).as_deref(), None)
        };
        let mut scopes = of(public.path(), public);
        let mut others: Vec<_> = self.seen.iter().flat_map(|seen| of(seen.path(), seen)).collect();
        if let Some((forwarded, headers)) = &self.forwarded {
            if let Some(prefix) = forwarded_prefix(headers, *forwarded) {
                others.extend(of(&format!("{prefix}{}", public.path()), public));
            }
            others.extend(forwarded_urls(headers, *forwarded).flat_map(|url| of(url.path(), &url)));
        }
        for scope in others {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        scopes.extend_on_hosts(hosts);
        scopes
    }
}
