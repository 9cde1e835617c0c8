//! The scopes that an application can invalidate. A scope is a set of entries: the responses of a
//! path or URI, the entries with a tag, or all entries of the namespace.

use super::dependents::Dependents;
use crate::entry::Scope;
use crate::store::Strength;
use http::uri::Authority;

/// One or more scopes to invalidate, for [`Cache::invalidate`](crate::cache::Cache::invalidate).
///
/// A scope is a set of entries, such as the responses of a path or the entries with a tag. By
/// default, an invalidation is hard: the entries become unusable. A [`soft`](Self::soft) one makes
/// them stale.
///
/// # Example
/// ```
/// use tower_response_cache::Invalidation;
///
/// let one = Invalidation::path("/flavors/vanilla");
/// let here = Invalidation::path("/").host("shop.example");
/// let some = Invalidation::from(["flavors", "flavor:7"].map(Invalidation::tag)).soft();
/// let all_below = Invalidation::subtree("/flavors");
/// let several = Invalidation::path("/").and(Invalidation::tag("flavors"));
/// # let _ = (one, here, some, all_below, several);
/// ```
#[doc(alias = "ban")]
#[doc(alias = "purge")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "pass it to `Cache::invalidate`"]
pub struct Invalidation {
    targets: Vec<InvalidationTarget>,
    soft: bool,
}

/// One scope to invalidate, on one host or on all hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InvalidationTarget {
    kind: TargetKind,
    host: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TargetKind {
    Path(String),
    /// The path of a request, or of a reference in a response. It is percent-encoded, and never
    /// read as decoded text.
    RequestPath(String),
    Uri(String),
    Subtree(String),
    Tag(String),
    All,
}

/// The kinds of scopes in the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScopeKind {
    Path,
    Uri,
    Subtree,
    Tag,
    All,
    Values,
}

impl ScopeKind {
    pub(super) const ALL: [Self; 6] =
        [Self::Path, Self::Uri, Self::Subtree, Self::Tag, Self::All, Self::Values];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Uri => "uri",
            Self::Subtree => "subtree",
            Self::Tag => "tag",
            Self::All => "all",
            Self::Values => "values",
        }
    }
}

impl TargetKind {
    fn scope_kind(&self) -> ScopeKind {
        match self {
            Self::Path(_) | Self::RequestPath(_) => ScopeKind::Path,
            Self::Uri(_) => ScopeKind::Uri,
            Self::Subtree(_) => ScopeKind::Subtree,
            Self::Tag(_) => ScopeKind::Tag,
            Self::All => ScopeKind::All,
        }
    }
}

impl Invalidation {
    /// Names a path as clients see it: all its responses, for every query, host, method, variant
    /// and layer.
    ///
    /// The path is matched as a whole: `/a` does not name `/a/` or `/a/b`. It may be
    /// percent-encoded or decoded. If both readings are possible, both are invalidated. In the same
    /// way, a `?` or `#` is read both as a delimiter and as text of the path. If a full URL is
    /// passed, only its path counts.
    ///
    /// With feature `axum`, a cache layer in a nested router also matches the path that the handler
    /// sees, without the prefix of the nesting. If a proxy has removed a prefix
    /// (`X-Forwarded-Prefix`), the path with the prefix names the response, too.
    pub fn path(path: impl Into<String>) -> Self {
        Self::of([TargetKind::Path(path.into())])
    }

    /// Names the paths of requests, and ignores duplicates. The paths are percent-encoded, and
    /// never read as decoded text.
    pub(crate) fn request_paths(paths: Vec<String>) -> Self {
        let mut once: Vec<String> = Vec::with_capacity(paths.len());
        for path in paths {
            if !once.contains(&path) {
                once.push(path);
            }
        }
        Self::of(once.into_iter().map(TargetKind::RequestPath))
    }

    /// Names a path with one query, such as `/flavors?page=2`.
    ///
    /// - A path with a query applies to every host. A full URL applies only to its host.
    /// - The parameters may be in any order.
    /// - A URI without a query names only the responses without a query.
    /// - Spellings that a form parser reads alike are the same: `/search?q=café` names
    ///   `/search?q=caf%C3%A9`, and `+` equals `%20`.
    /// - The path and the query may each be percent-encoded or decoded, as in [`path`](Self::path).
    ///   Text with both readings names the responses of both. In the value of a parameter, encode
    ///   `&` and `=`.
    /// - The query must be equal to the query in the key. Omit the parameters that the
    ///   [`QueryKey`](crate::key::QueryKey) of the layer leaves out of the key.
    pub fn uri(uri: impl Into<String>) -> Self {
        Self::of([TargetKind::Uri(uri.into())])
    }

    /// Names a path and all paths below it, segment by segment.
    ///
    /// `/shop` includes `/shop/flavors`, but not `/shops`. `/` includes all paths. Only the first
    /// 32 segments of a path count. Like a [`path`](Self::path), the path may be percent-encoded or
    /// decoded.
    pub fn subtree(path: impl Into<String>) -> Self {
        Self::of([TargetKind::Subtree(path.into())])
    }

    /// Names a tag: all responses and values that have it.
    ///
    /// Tags come from [`CacheHints::tags`](crate::policy::CacheHints::tags), from the
    /// `Cache-Groups` field (RFC 9875) and from [`Value::tags`](crate::values::Value::tags). They
    /// are case-sensitive.
    #[doc(alias = "surrogate key")]
    pub fn tag(tag: impl Into<String>) -> Self {
        Self::of([TargetKind::Tag(tag.into())])
    }

    /// Names all pages, values and counters in the namespace of the cache. Other namespaces of the
    /// store are not affected.
    pub fn all() -> Self {
        Self::of([TargetKind::All])
    }

    /// Restricts the scopes that this invalidation has so far to one host.
    ///
    /// A host matches the `Host` of a request, the authority of its URI, or the host in a keyed
    /// forwarded field (`Forwarded`, `X-Forwarded-Host`). Include the port unless it is 80 or 443.
    /// Values belong to no host, so an invalidation with a host does not include them.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        let host = host.into();
        self.targets.iter_mut().for_each(|target| target.host = Some(host.clone()));
        self
    }

    /// Makes the invalidation soft: responses become stale instead of unusable.
    ///
    /// A response with a stale window
    /// ([`PolicyBuilder::stale_while_revalidate`](crate::policy::PolicyBuilder::stale_while_revalidate))
    /// is served while the cache fetches a new one. The window begins with the first request that
    /// finds the response stale. A soft invalidation never undoes a hard one.
    #[doc(alias = "soft purge")]
    #[doc(alias = "grace")]
    pub fn soft(mut self) -> Self {
        self.soft = true;
        self
    }

    /// Returns a response extension that invalidates these scopes if the response is a success. See
    /// [`InvalidateOnSuccess`].
    ///
    /// It has no effect without a cache layer around the route.
    #[must_use]
    pub fn on_success(self) -> InvalidateOnSuccess {
        InvalidateOnSuccess(self)
    }

    /// Adds the scopes of another invalidation.
    ///
    /// One call invalidates all scopes. If both invalidations are soft, the result is soft.
    /// Otherwise, the invalidation of all scopes is hard.
    pub fn and(mut self, other: impl Into<Self>) -> Self {
        let other = other.into();
        self.targets.extend(other.targets);
        self.soft &= other.soft;
        self
    }

    fn of(all: impl IntoIterator<Item = TargetKind>) -> Self {
        let targets = all.into_iter().map(|kind| InvalidationTarget { kind, host: None }).collect();
        Self { targets, soft: false }
    }

    pub(crate) fn strength(&self) -> Strength {
        if self.soft { Strength::Soft } else { Strength::Hard }
    }

    /// Returns the text of the first eight scopes for an event, without queries.
    #[cfg(feature = "tracing")]
    pub(crate) fn names(&self) -> String {
        const MAX_SCOPES: usize = 8;
        const MAX_NAME: usize = 128;
        let mut names = String::new();
        for InvalidationTarget { kind, host } in self.targets.iter().take(MAX_SCOPES) {
            let word = kind.scope_kind().as_str();
            let name = match kind {
                TargetKind::Uri(name) => name.split('?').next().unwrap_or_default(),
                TargetKind::Path(name)
                | TargetKind::RequestPath(name)
                | TargetKind::Subtree(name)
                | TargetKind::Tag(name) => name.as_str(),
                TargetKind::All => "",
            };
            let separator = if names.is_empty() { "" } else { ", " };
            names.extend([separator, word, if name.is_empty() { "" } else { " " }]);
            names.extend(name.escape_debug().take(MAX_NAME));
            if let Some(host) = host {
                names.push_str(" on ");
                names.extend(host.escape_debug().take(MAX_NAME));
            }
        }
        if self.targets.len() > MAX_SCOPES {
            names.push_str(", …");
        }
        names
    }

    /// Returns the kind of each named scope.
    pub(super) fn kinds(&self) -> impl Iterator<Item = ScopeKind> + '_ {
        self.targets.iter().map(|target| target.kind.scope_kind())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Returns the scopes to invalidate. An application's path with `%`, `?` or `#` may be encoded
    /// or decoded text, so it has a scope for each reading.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        let mut scopes = Vec::with_capacity(self.targets.len());
        for InvalidationTarget { kind, host } in &self.targets {
            let first = scopes.len();
            let mut named = None;
            match kind {
                TargetKind::Path(path) => {
                    scopes.push(Scope::path(path_of(path)));
                    // An application may build the path from decoded parameters of a router. In
                    // these, `%`, `?` and `#` are text.
                    scopes.extend(path.contains(['%', '?', '#']).then(|| Scope::decoded_path(path)));
                }
                TargetKind::RequestPath(path) => scopes.push(Scope::path(path)),
                TargetKind::Uri(uri) => {
                    scopes.extend(uri_scopes(uri));
                    named = host_of(uri);
                }
                TargetKind::Subtree(path) => {
                    scopes.push(Scope::subtree(path_of(path)));
                    scopes.extend(path.contains(['%', '?', '#']).then(|| Scope::decoded_subtree(path)));
                }
                TargetKind::Tag(tag) => scopes.push(Scope::tag(tag)),
                // The subtree `/` of a host contains every path on that host.
                TargetKind::All if host.is_some() => scopes.push(Scope::subtree("/")),
                TargetKind::All => scopes.push(Scope::EVERYTHING),
            }
            let host = host.as_deref().or(named);
            if let Some(host) = host {
                scopes[first..].iter_mut().for_each(|scope| *scope = scope.on_host(host));
            }
        }
        scopes
    }
}

/// Names a path, like [`Invalidation::path`]. For a tag, use [`Invalidation::tag`].
///
/// # Example
/// ```
/// # use tower_response_cache::{Cache, MemoryStore};
/// # use tower_response_cache::error::StoreError;
/// # async fn run(cache: Cache) -> Result<(), StoreError> {
/// let _ = cache.invalidate("/flavors").await;
/// # Ok(()) }
/// ```
impl From<&str> for Invalidation {
    fn from(path: &str) -> Self {
        Self::path(path)
    }
}

/// Names a path, like [`Invalidation::path`].
impl From<String> for Invalidation {
    fn from(path: String) -> Self {
        Self::path(path)
    }
}

/// Names the paths and tags that depend on a model.
impl<D: Dependents + ?Sized> From<&D> for Invalidation {
    fn from(changed: &D) -> Self {
        let (paths, tags) =
            (changed.paths().into_iter().map(Self::path), changed.tags().into_iter().map(Self::tag));
        paths.chain(tags).collect()
    }
}

/// Combines several invalidations, like [`Invalidation::and`]. An empty array names nothing.
///
/// # Example
/// ```
/// # use tower_response_cache::{Cache, Invalidation};
/// # use tower_response_cache::error::StoreError;
/// # async fn run(cache: Cache) -> Result<(), StoreError> {
/// let _ = cache.invalidate(["/flavors", "/flavors/mint"]).await;
/// let _ = cache.invalidate(["flavors", "front"].map(Invalidation::tag)).await;
/// # Ok(()) }
/// ```
impl<I: Into<Self>, const N: usize> From<[I; N]> for Invalidation {
    fn from(all: [I; N]) -> Self {
        all.into_iter().collect()
    }
}

/// Combines several invalidations, like [`Invalidation::and`]. An empty iterator names nothing.
///
/// The result is soft only if all of them are.
impl<I: Into<Self>> FromIterator<I> for Invalidation {
    fn from_iter<T: IntoIterator<Item = I>>(all: T) -> Self {
        let all = all.into_iter().map(Into::into);
        all.reduce(Self::and).unwrap_or(Self { targets: Vec::new(), soft: false })
    }
}

/// An invalidation that takes effect if the response of a handler is a success.
///
/// [`Invalidation::on_success`] creates it. Insert it into the extensions of the response, or call
/// [`add_to`](Self::add_to). An axum handler can also return it, alone or with the response. Only
/// cache layers act on it, so it has no effect on a route without a cache layer.
///
/// # Rules
/// 1. A success is a response with a 2xx or 3xx status.
/// 2. Every cache layer that the response passes invalidates the scopes in its cache, before the
///    client receives the response.
/// 3. Rule 2 has one exception: the response to a request with a safe method does not wait for an
///    invalidation in a store outside the process.
///
/// # Example
/// ```
/// use tower_response_cache::Invalidation;
///
/// let mut response = http::Response::new("saved");
/// response.extensions_mut().insert(Invalidation::tag("flavors").on_success());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidateOnSuccess(pub(crate) Invalidation);

impl InvalidateOnSuccess {
    /// Inserts this invalidation into the extensions of a response. If the extensions already have an
    /// invalidation, the scopes of both are invalidated.
    pub fn add_to(self, extensions: &mut http::Extensions) {
        let all = match extensions.remove::<Self>() {
            Some(before) => Self(before.0.and(self.0)),
            None => self,
        };
        extensions.insert(all);
    }
}

/// Returns the scopes of a URI in all its readings: the path and the query may each be encoded or
/// decoded.
fn uri_scopes(uri: &str) -> Vec<Scope> {
    let target = split_authority(uri).map_or(uri, |(_, rest)| rest);
    let mut scopes = Vec::new();
    // A `#` begins the fragment of an encoded URI, but is text in a decoded one. Both readings
    // count.
    for target in [target.split('#').next().unwrap_or_default(), target] {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        for path in [path.to_owned(), path.replace('%', "%25")] {
            // A plus sign stands for a space only in an encoded query. In a path and in a decoded
            // query, it is literal.
            let text = query.map(|query| query.replace('%', "%25").replace('+', "%2B"));
            for query in [query.map(str::to_owned), text] {
                let query = query.map(|query| query.replace('#', "%23"));
                let scope = Scope::uri(&path, query.as_deref());
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
        }
    }
    scopes
}

/// Splits a full URL into its authority and the rest.
fn split_authority(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let is_scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme.then(|| rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())))
}

/// Returns the host and port of a full URL, or `None` if the text has no valid authority.
fn host_of(url: &str) -> Option<&str> {
    let (authority, _) = split_authority(url)?;
    let host = authority.rsplit('@').next()?;
    Authority::try_from(host).is_ok().then_some(host)
}

/// Returns the path of a full URL, or of a path with a query or fragment.
fn path_of(url: &str) -> &str {
    let path = split_authority(url).map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() { "/" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_url_names_its_path() {
        let table = [
            ("/a/b", "/a/b"),
            ("/a?x=1", "/a"),
            ("/a#top", "/a"),
            ("https://shop.example/a?x=/b", "/a"),
            ("https://shop.example", "/"),
            ("https://shop.example?x=/b", "/"),
            ("/go/https://other.example/a", "/go/https://other.example/a"),
            ("", "/"),
        ];
        for (given, path) in table {
            assert_eq!(path_of(given), path, "{given}");
        }
    }

    #[test]
    fn uri_names_its_query_and_the_host_of_a_full_url() {
        let scopes = |uri: &str| Invalidation::uri(uri).scopes();
        let with_text = Scope::uri("/a", Some("x=1%23top"));
        assert_eq!(scopes("/a?x=1#top"), [Scope::uri("/a", Some("x=1")), with_text]);
        assert_eq!(scopes("/a"), [Scope::uri("/a", None)]);
        let here = Scope::uri("/a", Some("x=1")).on_host("shop.example");
        for full in
            ["https://shop.example/a?x=1", "HTTP://me@Shop.example:80/a?x=1", "https://shop.example/a?%78=1"]
        {
            assert_eq!(scopes(full)[0], here, "{full}");
        }
        let spelled = Scope::uri("/a", Some("x=%C3%A9")).on_host("shop.example");
        assert_eq!(scopes("https://shop.example/a?x=é"), [spelled]);
        assert_eq!(scopes("https://no host/a?x=1"), [Scope::uri("/a", Some("x=1"))]);
        assert_eq!(Invalidation::uri("/a?x=1").host("Shop.example").scopes(), [here]);
    }

    #[test]
    fn uri_is_also_read_as_decoded_text() {
        let table = [
            ("/s?q=a+b", "q=a%2Bb"),
            ("/s?q=50%25", "q=50%2525"),
            ("/s?q=c#&x=1", "q=c%23&x=1"),
            ("/s?q=%e9#", "q=%25e9%23"),
        ];
        for (text, query) in table {
            assert!(Invalidation::uri(text).scopes().contains(&Scope::uri("/s", Some(query))), "{text}");
        }
        let path = Scope::uri("/50%2525+", Some("q"));
        assert!(Invalidation::uri("/50%25+?q").scopes().contains(&path));
    }

    #[test]
    fn request_paths_are_deduplicated() {
        let paths = ["/50%25", "/a", "/50%25"].map(str::to_owned);
        let scopes = Invalidation::request_paths(paths.to_vec()).scopes();
        assert_eq!(scopes, [Scope::path("/50%25"), Scope::path("/a")]);
    }

    proptest::proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn every_uri_names_a_scope(text in "(https?://)?[ -~é]{0,24}") {
            proptest::prop_assert!(!Invalidation::uri(text).scopes().is_empty());
        }
    }

    #[test]
    fn host_restricts_the_scopes_before_it() {
        let both = Invalidation::path("/a").host("shop.example").and(Invalidation::tag("t"));
        assert_eq!(both.scopes(), [Scope::path("/a").on_host("shop.example"), Scope::tag("t")]);
        let all = Invalidation::all().host("shop.example");
        assert_eq!(all.scopes(), [Scope::subtree("/").on_host("shop.example")]);
        assert_eq!(Invalidation::all().scopes(), [Scope::EVERYTHING]);
    }

    #[test]
    fn hard_and_soft_combine_to_hard() {
        let (soft, hard) = (Invalidation::tag("a").soft(), Invalidation::tag("b"));
        assert_eq!(soft.clone().and(hard).strength(), Strength::Hard);
        assert_eq!(soft.clone().and(soft).strength(), Strength::Soft);
    }

    #[test]
    fn add_to_combines_the_invalidations_of_several_handlers() {
        let mut extensions = http::Extensions::new();
        Invalidation::path("/a").on_success().add_to(&mut extensions);
        Invalidation::tag("t").on_success().add_to(&mut extensions);
        let all = Invalidation::path("/a").and(Invalidation::tag("t"));
        assert_eq!(extensions.get(), Some(&InvalidateOnSuccess(all)));
    }
}
