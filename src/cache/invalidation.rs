//! What a user may invalidate.

use super::dependents::Dependents;
use crate::entry::Scope;
use crate::store::Strength;
use http::uri::Authority;

/// What [`Cache::invalidate`](crate::cache::Cache::invalidate) makes invisible, or stale.
///
/// # Example
/// ```
/// use tower_response_cache::Invalidation;
///
/// let one = Invalidation::path("/flavours/vanilla");
/// let here = Invalidation::path("/").host("shop.example");
/// let some = Invalidation::from(["flavours", "flavour:7"].map(Invalidation::tag)).soft();
/// let all_below = Invalidation::subtree("/flavours");
/// let several = Invalidation::path("/").and(Invalidation::tag("flavours"));
/// # let _ = (one, here, some, all_below, several);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "pass it to `Cache::invalidate`"]
pub struct Invalidation {
    targets: Vec<InvalidationTarget>,
    soft: bool,
}

/// One thing to invalidate, on one host or on all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InvalidationTarget {
    what: What,
    host: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Path(String),
    /// The path of a request, or of a reference to one: percent-encoded.
    RequestPath(String),
    Uri(String),
    Subtree(String),
    Tag(String),
    All,
}

impl Invalidation {
    /// Names a public path: every response under it, whatever the query, host, method, variant or
    /// layer that stored it. With feature `axum`, it also names the responses whose handler sees that path. If a proxy has
    /// removed a prefix (`X-Forwarded-Prefix`), the path with the prefix names a response, too.
    ///
    /// Of a full URL the path counts; a query or fragment is cut off. The path may be percent-encoded
    /// or decoded; where it could be read as either, or as a path with a `?` or `#` of its own, both
    /// are invalidated. It is matched as a whole: `/a` does not name `/a/` or `/a/b`.
    pub fn path(path: impl Into<String>) -> Self {
        Self::of([What::Path(path.into())])
    }

    /// Names paths of requests, each once. What looks like percent-encoding in them is.
    pub(crate) fn request_paths(paths: Vec<String>) -> Self {
        let mut once: Vec<String> = Vec::with_capacity(paths.len());
        for path in paths {
            if !once.contains(&path) {
                once.push(path);
            }
        }
        Self::of(once.into_iter().map(What::RequestPath))
    }

    /// Names a path with one query: `/flavours?page=2`, its parameters in any order, on every host; of a full
    /// URL, on the host that it names. Without a query it names the path without one, and no others.
    ///
    /// It names every spelling that a form parser reads alike: `/search?q=café` names `/search?q=caf%C3%A9`,
    /// `+` and `%20` are equal. Like a [`path`](Self::path), the path and the query may each be percent-encoded or decoded; if
    /// both readings are possible, both are invalidated. A `&` or `=` in a value has to be encoded.
    ///
    /// The query is that of the key: without the parameters that a layer ignores
    /// ([`QueryKey`](crate::key::QueryKey)).
    pub fn uri(uri: impl Into<String>) -> Self {
        Self::of([What::Uri(uri.into())])
    }

    /// Names a path and everything under it, segment by segment: `/shop` has `/shop/flavours`, not `/shops`;
    /// `/` has all paths. Paths are told apart up to their 32nd segment. Like a
    /// [`path`](Self::path), it may be percent-encoded or decoded.
    pub fn subtree(path: impl Into<String>) -> Self {
        Self::of([What::Subtree(path.into())])
    }

    /// Names a tag: everything that carries it ([`CacheHints::tags`](crate::policy::CacheHints::tags), `Cache-Groups`).
    /// Case counts.
    pub fn tag(tag: impl Into<String>) -> Self {
        Self::of([What::Tag(tag.into())])
    }

    /// Names everything in the cache's namespace, values included; other namespaces of the store are left alone.
    pub fn all() -> Self {
        Self::of([What::All])
    }

    /// Narrows what was named so far to one host: the `Host` of requests, the authority of their URIs, or a host that a
    /// keyed forwarded field names (`Forwarded`, `X-Forwarded-Host`), with its port unless that is 80 or 443. Values are on no host.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        let host = host.into();
        self.targets.iter_mut().for_each(|target| target.host = Some(host.clone()));
        self
    }

    /// Makes what is named stale instead of gone: where it has a stale window
    /// ([`PolicyBuilder::stale_while_revalidate`](crate::policy::PolicyBuilder::stale_while_revalidate)), it is served while a new
    /// response is made. The window begins with the first request that meets it. What another invalidation
    /// has made gone stays gone.
    pub fn soft(mut self) -> Self {
        self.soft = true;
        self
    }

    /// Returns a response extension that invalidates this if the response is a success. See
    /// [`InvalidateOnSuccess`].
    #[must_use]
    pub fn on_success(self) -> InvalidateOnSuccess {
        InvalidateOnSuccess(self)
    }

    /// Names what another one names, too. Both take place at once, as the stronger of the two.
    pub fn and(mut self, other: impl Into<Self>) -> Self {
        let other = other.into();
        self.targets.extend(other.targets);
        self.soft &= other.soft;
        self
    }

    fn of(all: impl IntoIterator<Item = What>) -> Self {
        let targets = all.into_iter().map(|what| InvalidationTarget { what, host: None }).collect();
        Self { targets, soft: false }
    }

    pub(crate) fn strength(&self) -> Strength {
        if self.soft { Strength::Soft } else { Strength::Hard }
    }

    /// Returns `true` if nothing is named.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Returns the scopes; none if nothing is named.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        let mut scopes = Vec::with_capacity(self.targets.len());
        for InvalidationTarget { what, host } in &self.targets {
            let first = scopes.len();
            let mut named = None;
            match what {
                What::Path(path) => {
                    scopes.push(Scope::path(path_of(path)));
                    // A slug from a router is decoded: what looks like syntax in it is text.
                    scopes.extend(path.contains(['%', '?', '#']).then(|| Scope::decoded_path(path)));
                }
                What::RequestPath(path) => scopes.push(Scope::path(path)),
                What::Uri(uri) => {
                    scopes.extend(uri_scopes(uri));
                    named = host_of(uri);
                }
                What::Subtree(path) => {
                    scopes.push(Scope::subtree(path_of(path)));
                    scopes.extend(path.contains(['%', '?', '#']).then(|| Scope::decoded_subtree(path)));
                }
                What::Tag(tag) => scopes.push(Scope::tag(tag)),
                // Every path on a host is in the subtree of its root.
                What::All if host.is_some() => scopes.push(Scope::subtree("/")),
                What::All => scopes.push(Scope::EVERYTHING),
            }
            let host = host.as_deref().or(named);
            if let Some(host) = host {
                scopes[first..].iter_mut().for_each(|scope| *scope = scope.on_host(host));
            }
        }
        scopes
    }
}

/// A path, as by [`Invalidation::path`].
///
/// # Example
/// ```
/// # use tower_response_cache::{Cache, MemoryStore};
/// # use tower_response_cache::error::StoreError;
/// # async fn run(cache: Cache) -> Result<(), StoreError> {
/// cache.invalidate("/flavours").await?;
/// # Ok(()) }
/// ```
impl From<&str> for Invalidation {
    fn from(path: &str) -> Self {
        Self::path(path)
    }
}

/// A path, as by [`Invalidation::path`].
impl From<String> for Invalidation {
    fn from(path: String) -> Self {
        Self::path(path)
    }
}

impl<D: Dependents + ?Sized> From<&D> for Invalidation {
    fn from(changed: &D) -> Self {
        let (paths, tags) =
            (changed.paths().into_iter().map(Self::path), changed.tags().into_iter().map(Self::tag));
        paths.chain(tags).collect()
    }
}

/// Names what any of the invalidations names. An empty array names nothing.
///
/// # Example
/// ```
/// # use tower_response_cache::{Cache, Invalidation};
/// # use tower_response_cache::error::StoreError;
/// # async fn run(cache: Cache) -> Result<(), StoreError> {
/// cache.invalidate(["/flavours", "/flavours/mint"]).await?;
/// cache.invalidate(["flavours", "front"].map(Invalidation::tag)).await?;
/// # Ok(()) }
/// ```
impl<I: Into<Self>, const N: usize> From<[I; N]> for Invalidation {
    fn from(all: [I; N]) -> Self {
        all.into_iter().collect()
    }
}

/// Names what any of the invalidations names. An empty iterator names nothing.
///
/// The invalidation is soft only if all of them are.
impl<I: Into<Self>> FromIterator<I> for Invalidation {
    fn from_iter<T: IntoIterator<Item = I>>(all: T) -> Self {
        let all = all.into_iter().map(Into::into);
        all.reduce(Self::and).unwrap_or(Self { targets: Vec::new(), soft: false })
    }
}

/// An invalidation that a successful response of a handler causes.
///
/// [`Invalidation::on_success`] creates it. A handler puts it into the extensions of its response; an axum handler
/// may also return it with the response.
///
/// If the response is a success (2xx or 3xx), it is invalidated before the client has the response, in the
/// cache of every cache layer that the response passes. Over a store outside the process, the answer to a
/// request with a safe method does not wait for that.
///
/// # Example
/// ```
/// use tower_response_cache::Invalidation;
///
/// let mut response = http::Response::new("saved");
/// response.extensions_mut().insert(Invalidation::tag("flavours").on_success());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidateOnSuccess(pub(crate) Invalidation);

impl InvalidateOnSuccess {
    /// Adds it to what the extensions of a response say already.
    pub fn add_to(self, extensions: &mut http::Extensions) {
        let all = match extensions.remove::<Self>() {
            Some(before) => Self(before.0.and(self.0)),
            None => self,
        };
        extensions.insert(all);
    }
}

/// Returns the scopes of a URI in all of its readings: its path and its query, each encoded or as text.
fn uri_scopes(uri: &str) -> Vec<Scope> {
    let target = split_authority(uri).map_or(uri, |(_, rest)| rest);
    let mut scopes = Vec::new();
    // Without a fragment, and with what looks like one as text.
    for target in [target.split('#').next().unwrap_or_default(), target] {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        for path in [path.to_owned(), path.replace('%', "%25")] {
            // A plus sign in a path is one.
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

/// Returns the authority of a full URL, and what follows it.
fn split_authority(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let is_scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme.then(|| rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())))
}

/// Returns the host that a full URL names, with its port; none if it can't be one, which leaves all hosts named.
fn host_of(url: &str) -> Option<&str> {
    let (authority, _) = split_authority(url)?;
    let host = authority.rsplit('@').next()?;
    Authority::try_from(host).is_ok().then_some(host)
}

/// Returns the path of a URL or of a path with more behind it.
fn path_of(url: &str) -> &str {
    let path = split_authority(url).map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() { "/" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_full_url_the_path_counts() {
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
    fn a_uri_names_its_query_and_of_a_full_one_its_host() {
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
    fn a_uri_that_can_be_read_as_decoded_text_is_read_as_that_too() {
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
    fn the_path_of_a_request_is_named_once() {
        let paths = ["/50%25", "/a", "/50%25"].map(str::to_owned);
        let scopes = Invalidation::request_paths(paths.to_vec()).scopes();
        assert_eq!(scopes, [Scope::path("/50%25"), Scope::path("/a")]);
    }

    proptest::proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn no_text_makes_a_uri_name_nothing(text in "(https?://)?[ -~é]{0,24}") {
            proptest::prop_assert!(!Invalidation::uri(text).scopes().is_empty());
        }
    }

    #[test]
    fn a_host_narrows_what_was_named_before_it() {
        let both = Invalidation::path("/a").host("shop.example").and(Invalidation::tag("t"));
        assert_eq!(both.scopes(), [Scope::path("/a").on_host("shop.example"), Scope::tag("t")]);
        let all = Invalidation::all().host("shop.example");
        assert_eq!(all.scopes(), [Scope::subtree("/").on_host("shop.example")]);
        assert_eq!(Invalidation::all().scopes(), [Scope::EVERYTHING]);
    }

    #[test]
    fn of_two_strengths_the_stronger_counts() {
        let (soft, hard) = (Invalidation::tag("a").soft(), Invalidation::tag("b"));
        assert_eq!(soft.clone().and(hard).strength(), Strength::Hard);
        assert_eq!(soft.clone().and(soft).strength(), Strength::Soft);
    }

    #[test]
    fn what_handlers_have_changed_adds_up() {
        let mut extensions = http::Extensions::new();
        Invalidation::path("/a").on_success().add_to(&mut extensions);
        Invalidation::tag("t").on_success().add_to(&mut extensions);
        let all = Invalidation::path("/a").and(Invalidation::tag("t"));
        assert_eq!(extensions.get(), Some(&InvalidateOnSuccess(all)));
    }
}
