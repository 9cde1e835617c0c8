//! Scopes: the names that an invalidation can use.

use super::{Generation, form};
use crate::rules::percent::percent_decoded;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use std::net::Ipv6Addr;

/// A name that an invalidation can use: a path, a URI, a subtree, a tag, a value or everything, on
/// all hosts or on one.
///
/// Applications use [`Invalidation`](crate::Invalidation). Stores get scopes in
/// [`Generations`](crate::store::Generations). A scope has a kind and a digest of a name, and is
/// the same in every process.
///
/// Scopes of different kinds are never equal. A scope on one host never equals the same scope on
/// all hosts. [`EVERYTHING`](Self::EVERYTHING), limited to a host, is the root subtree of the host.
///
/// # Security
/// Clients choose paths, and can compute their digests. A store that keeps invalidations in buckets
/// must mix a secret into the choice of a bucket. Otherwise, a client could choose paths that share
/// a bucket with other pages.
///
/// # Example
/// ```
/// use tower_response_cache::store::Scope;
///
/// let page = Scope::path("/flavors");
/// assert_ne!(page, Scope::subtree("/flavors"));
/// assert_eq!(Scope::from_bytes(page.to_bytes()), Some(page));
/// assert!(Scope::subtree("/").is_wide());
/// ```
#[doc(alias = "surrogate key")]
#[doc(alias = "cache tag")]
#[doc(alias = "ban")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    high: u64,
    /// The lowest byte is the type: the [`Kind`], and the flags [`ON_HOST`] and [`WIDE`].
    low: u64,
}

/// A value, or another cached part, that an entry was made from, and the generation of its read or
/// write.
///
/// The entry is called a dependent of the value or part. If the scope of the value or part is
/// invalidated after that generation, the invalidation applies to the entry, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dependency {
    pub(crate) value: Scope,
    pub(crate) since: Generation,
}

impl Dependency {
    /// Creates a dependency on a value.
    ///
    /// `since` is the result of [`Generations::depend`](crate::store::Generations::depend) before
    /// the read, or of [`Generations::written`](crate::store::Generations::written) after the
    /// write.
    #[must_use]
    pub const fn new(value: Scope, since: Generation) -> Self {
        Self { value, since }
    }

    /// Returns the scope of the value.
    #[must_use]
    pub const fn value(&self) -> Scope {
        self.value
    }

    /// Returns the generation of the read or write of the value.
    #[must_use]
    pub const fn since(&self) -> Generation {
        self.since
    }
}

/// The kind of a scope. Stores keep the numbers, so they must not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Everything = 0,
    Path = 1,
    Uri = 2,
    Subtree = 3,
    Tag = 4,
    Value = 5,
    Values = 6,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Everything, Self::Path, Self::Uri, Self::Subtree, Self::Tag, Self::Value, Self::Values];
}

const KIND: u64 = 0x0f;
const ON_HOST: u64 = 0x10;
const WIDE: u64 = 0x20;
const TYPE: u64 = 0xff;
/// The first byte of the hash input of a host. The hash input of any other name begins with the
/// number of a [`Kind`], so the two kinds of input always differ.
const HOST: u8 = 0xf0;

/// The key of the hash, the same in every process: "tower-response-c".
const KEYS: (u64, u64) = (0x746f_7765_722d_7265, 0x7370_6f6e_7365_2d63);

/// The most segments that name a subtree. Deeper subtrees share the scope of their first segments.
const MAX_SEGMENTS: usize = 32;

impl Scope {
    /// Everything in a namespace. Every entry has this scope.
    pub const EVERYTHING: Self = Self { high: 0, low: Kind::Everything as u64 | WIDE };

    /// All values in a namespace. Every [value](crate::values) has this scope.
    pub const VALUES: Self = Self { high: 0, low: Kind::Values as u64 | WIDE };

    /// Returns the scope of a path with all its queries, hosts and variants.
    ///
    /// The path is percent-decoded first, so that `/caf%C3%A9` and `/café` are one scope.
    #[must_use]
    pub fn path(path: &str) -> Self {
        Self::hash(Kind::Path, &percent_decoded(path))
    }

    /// Returns the [scope of a path](Self::path) that is already decoded: `%` has no special
    /// meaning.
    #[must_use]
    pub fn decoded_path(path: &str) -> Self {
        Self::hash(Kind::Path, path.as_bytes())
    }

    /// Returns the scope of a path with one query.
    ///
    /// Two queries are one scope if a form parser (`application/x-www-form-urlencoded`) reads the
    /// same pairs from both, in any order. An empty query equals an absent one.
    #[must_use]
    pub fn uri(path: &str, query: Option<&str>) -> Self {
        Self::decoded_uri(&percent_decoded(path), query)
    }

    fn decoded_uri(path: &[u8], query: Option<&str>) -> Self {
        let mut hasher = hasher(Kind::Uri as u8);
        hasher.write(path);
        // This byte separates the path from the query, because UTF-8 text never contains it. Two
        // URIs that are not UTF-8 may share a scope, and are then invalidated together.
        hasher.write(&[0xff]);
        let query = form::canonical(query);
        hasher.write(&query);
        Self::new(Kind::Uri, hasher.finish128().as_u64(), path == b"/" && query.is_empty())
    }

    /// Returns the scope of a path and all paths under it, by segments: `/a` includes `/a/b`, not
    /// `/ab`.
    ///
    /// The path is percent-decoded first. Only the first 32 segments count: subtrees that differ
    /// only in deeper segments are one scope.
    #[must_use]
    pub fn subtree(path: &str) -> Self {
        Self::narrowest_subtree(&percent_decoded(path))
    }

    /// Returns the [scope of a subtree](Self::subtree) for a path that is already decoded: `%` has
    /// no special meaning.
    #[must_use]
    pub fn decoded_subtree(path: &str) -> Self {
        Self::narrowest_subtree(path.as_bytes())
    }

    /// Returns the narrowest subtree that contains a path: that path and all paths under it.
    fn narrowest_subtree(path: &[u8]) -> Self {
        subtrees(path).last().unwrap_or_else(Self::root)
    }

    /// Returns the subtree of all paths.
    fn root() -> Self {
        Self::new(Kind::Subtree, hasher(Kind::Subtree as u8).finish128().as_u64(), true)
    }

    /// Returns the scope of a tag, also known as a surrogate key.
    #[must_use]
    pub fn tag(tag: &str) -> Self {
        Self::hash(Kind::Tag, tag.as_bytes())
    }

    /// Returns the scope of a [value](crate::values), by its internal name.
    ///
    /// For implementors of [`Store`](crate::store::Store): the name is not the key that an
    /// application passes to [`Cache::get`](crate::Cache::get). Applications use
    /// [`Cache::delete`](crate::Cache::delete).
    #[must_use]
    pub fn value(key: &[u8]) -> Self {
        Self::hash(Kind::Value, key)
    }

    /// Returns this scope, limited to one host.
    ///
    /// Upper case, a trailing dot, a port of 80 or 443, and the spelling of an IPv6 address make no
    /// difference.
    #[must_use]
    pub fn on_host(self, host: &str) -> Self {
        // Every path on a host is in the root subtree of the host, so that subtree stands for
        // everything on the host.
        let scope = if self == Self::EVERYTHING { Self::root() } else { self };
        scope.mix_host(hash_of_host(host))
    }

    /// Returns this scope, limited to the host with this hash. Multiplications mix the two digests,
    /// so that every bit of the result depends on both.
    fn mix_host(self, host: u128) -> Self {
        const FACTORS: [u128; 2] =
            [0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645, 0xda94_2042_e4dd_58b5_0ff5_1af7_fd85_3a2d];
        let own = u128::from(self.high) << 64 | u128::from(self.low & !TYPE);
        let mixed = (own ^ (own >> 65)).wrapping_mul(FACTORS[0]) ^ host;
        let mixed = (mixed ^ (mixed >> 61)).wrapping_mul(FACTORS[1]);
        let mixed = mixed ^ (mixed >> 67);
        Self { high: (mixed >> 64) as u64, low: mixed as u64 & !TYPE | self.low & TYPE | ON_HOST }
    }

    /// Returns all path, URI and subtree scopes of a request target, on all hosts and on its host.
    pub(crate) fn of_target(path: &str, query: Option<&str>, host: Option<&str>) -> Vec<Self> {
        let path = percent_decoded(path);
        let mut scopes = Vec::with_capacity(2 * (3 + path.iter().filter(|byte| **byte == b'/').count()));
        scopes.push(Self::hash(Kind::Path, &path));
        scopes.push(Self::decoded_uri(&path, query));
        scopes.extend(subtrees(&path));
        scopes.extend_on_hosts(host.as_slice());
        scopes
    }

    fn hash(kind: Kind, name: &[u8]) -> Self {
        let mut hasher = hasher(kind as u8);
        hasher.write(name);
        Self::new(kind, hasher.finish128().as_u64(), kind == Kind::Path && name == b"/")
    }

    fn new(kind: Kind, (high, low): (u64, u64), is_wide: bool) -> Self {
        let wide = if is_wide { WIDE } else { 0 };
        Self { high, low: low & !TYPE | kind as u64 | wide }
    }

    pub(crate) fn kind(self) -> Kind {
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u64 == self.low & KIND);
        kind.unwrap_or(Kind::Everything)
    }

    pub(crate) fn is_on_host(self) -> bool {
        self.low & ON_HOST != 0
    }

    /// Returns `true` for everything, for all values, and for the root path, URI and subtree, on
    /// all hosts or on one.
    ///
    /// Many entries have these scopes. So a store that keeps invalidations in buckets should keep
    /// other scopes out of their buckets.
    #[must_use]
    pub const fn is_wide(self) -> bool {
        self.low & WIDE != 0
    }

    pub(crate) const fn halves(self) -> (u64, u64) {
        (self.high, self.low)
    }

    /// Returns the scope as bytes, the same in every process.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.high.to_le_bytes());
        bytes[8..].copy_from_slice(&self.low.to_le_bytes());
        bytes
    }

    /// Returns the scope with these bytes, as [`to_bytes`](Self::to_bytes) returns them. Returns
    /// `None` if the kind or a flag is unknown.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        let number = u128::from_le_bytes(bytes);
        let (high, low) = (number as u64, (number >> 64) as u64);
        let is_known = low & TYPE & !(KIND | ON_HOST | WIDE) == 0
            && Kind::ALL.iter().any(|kind| *kind as u64 == low & KIND);
        let scope = Self { high, low };
        (is_known && (low & KIND != 0 || scope == Self::EVERYTHING)).then_some(scope)
    }
}

/// An extension of lists of scopes.
pub(crate) trait ExtendOnHost {
    /// For each of the hosts, adds a copy of each scope, limited to that host.
    fn extend_on_hosts<H: AsRef<str>>(&mut self, hosts: &[H]);
}

impl ExtendOnHost for Vec<Scope> {
    fn extend_on_hosts<H: AsRef<str>>(&mut self, hosts: &[H]) {
        let wide = self.len();
        for host in hosts.iter().map(|host| hash_of_host(host.as_ref())) {
            for at in 0..wide {
                self.push(self[at].mix_host(host));
            }
        }
    }
}

/// Hashes the canonical spelling of a host: in lower case, without a trailing dot, and without a
/// port of 80 or 443. An IPv6 address is written in its canonical form, in brackets.
fn hash_of_host(host: &str) -> u128 {
    let (name, port) = name_and_port(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    let port = port.trim_start_matches('0');
    let mut hasher = hasher(HOST);
    match address(name) {
        Some(address) => hasher.write(format!("[{address}]").as_bytes()),
        None if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            hasher.write(name.to_ascii_lowercase().as_bytes());
        }
        None => hasher.write(name.as_bytes()),
    }
    if !matches!(port, "" | "80" | "443") {
        hasher.write(b":");
        hasher.write(port.as_bytes());
    }
    hasher.finish128().as_u128()
}

/// Splits a host into name and port. An absent port is empty. The colons of an IPv6 address belong
/// to the name.
fn name_and_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') && host.parse::<Ipv6Addr>().is_err() => (name, port),
        _ => (host, ""),
    }
}

/// Parses a name as an IPv6 address, with or without brackets.
fn address(name: &str) -> Option<Ipv6Addr> {
    if !name.contains(':') {
        return None;
    }
    name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name).parse().ok()
}

fn hasher(domain: u8) -> SipHasher24 {
    let mut hasher = SipHasher24::new_with_keys(KEYS.0, KEYS.1);
    hasher.write(&[domain]);
    hasher
}

/// Returns the scopes of the subtrees that contain a path, beginning with the subtree of all paths.
fn subtrees(path: &[u8]) -> impl Iterator<Item = Scope> {
    let mut hasher = hasher(Kind::Subtree as u8);
    let segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    let nested = segments.take(MAX_SEGMENTS).map(move |segment| {
        hasher.write(b"/");
        hasher.write(segment);
        Scope::new(Kind::Subtree, hasher.finish128().as_u64(), false)
    });
    std::iter::once(Scope::root()).chain(nested)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_its_percent_encoded_form_are_one_scope() {
        assert_eq!(Scope::path("/caf%C3%A9"), Scope::path("/café"));
        assert_eq!(Scope::path("/a%2"), Scope::path("/a%2"));
        assert_ne!(Scope::path("/a"), Scope::path("/b"));
        assert_eq!(Scope::path("/50%2525"), Scope::decoded_path("/50%25"));
    }

    #[test]
    fn scope_bytes_are_stable_and_decode_to_the_scope() {
        let scopes = [
            Scope::EVERYTHING,
            Scope::VALUES,
            Scope::path("/a"),
            Scope::subtree("/").on_host("a"),
            Scope::uri("/", None),
            Scope::tag("t").on_host("b"),
            Scope::value(b"v"),
        ];
        for scope in scopes {
            assert_eq!(Scope::from_bytes(scope.to_bytes()), Some(scope));
        }
        let known = [6, 118, 228, 219, 207, 207, 70, 152, 1];
        assert_eq!(Scope::path("/a").to_bytes()[..9], known);
        for unknown in [0x07, 0x41, 0x80, 0x10, 0x00] {
            let mut bytes = Scope::path("/a").to_bytes();
            bytes[8] = unknown;
            assert_eq!(Scope::from_bytes(bytes), None, "{unknown}");
        }
    }

    #[test]
    fn only_root_scopes_are_wide() {
        let wide =
            [Scope::EVERYTHING, Scope::VALUES, Scope::path("/"), Scope::uri("/", None), Scope::subtree("")];
        for scope in wide {
            assert!(scope.is_wide() && scope.on_host("a").is_wide());
        }
        assert_eq!(Scope::EVERYTHING.on_host("a"), Scope::subtree("/").on_host("A"));
        let others = [
            Scope::path("/a"),
            Scope::uri("/", Some("a")),
            Scope::subtree("/a"),
            Scope::tag("/"),
            Scope::value(b"/"),
        ];
        for scope in others {
            assert!(!scope.is_wide() && !scope.on_host("a").is_wide());
        }
    }

    #[test]
    fn scopes_of_different_kinds_or_hosts_differ() {
        let all = [
            Scope::path("/a"),
            Scope::uri("/a", None),
            Scope::uri("/a", Some("b")),
            Scope::subtree("/a"),
            Scope::tag("/a"),
            Scope::value(b"/a"),
            Scope::path("/a").on_host("a"),
            Scope::path("/a").on_host("b"),
        ];
        for (at, scope) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(scope), "{at}");
        }
    }

    #[test]
    fn order_of_query_parameters_does_not_matter() {
        assert_eq!(Scope::uri("/a", Some("x=1&y=2")), Scope::uri("/a", Some("y=2&x=1")));
        assert_ne!(Scope::uri("/a", Some("x=1&y=2")), Scope::uri("/a", Some("x=1&x=1&y=2")));
    }

    #[test]
    fn queries_that_a_form_parser_reads_alike_are_one_scope() {
        for (one, other) in
            [("q=caf%C3%A9", "q=café"), ("q=a+b", "q=a%20b"), ("%71=%61", "q=a"), ("a", "a="), ("a&", "&a")]
        {
            assert_eq!(Scope::uri("/a", Some(one)), Scope::uri("/%61", Some(other)), "{one} {other}");
        }
        assert_eq!(Scope::uri("/a", None), Scope::uri("/a", Some("")));
        for other in ["q=a%2Bb", "q=a+b+", "q=a&b", "Q=a+b"] {
            assert_ne!(Scope::uri("/a", Some("q=a+b")), Scope::uri("/a", Some(other)), "{other}");
        }
    }

    #[test]
    fn spellings_of_a_host_are_one_scope() {
        let page = Scope::path("/");
        let plain = "shop.example";
        for host in
            [plain, "SHOP.example", "shop.example:80", "shop.example:443", "shop.example:", "shop.example."]
        {
            assert_eq!(page.on_host(host), page.on_host(plain), "{host}");
        }
        let other = page.on_host("shop.example:8080");
        assert_ne!(other, page.on_host(plain));
        for host in ["shop.example.:8080", "Shop.Example:8080", "SHOP.EXAMPLE.:08080"] {
            assert_eq!(page.on_host(host), other, "{host}");
        }
        for host in ["shop.example.:443", "shop.example.:80", "shop.example.:", "shop.example:0080"] {
            assert_eq!(page.on_host(host), page.on_host(plain), "{host}");
        }
    }

    #[test]
    fn spellings_of_an_ipv6_address_are_one_host() {
        let page = Scope::path("/");
        let plain = page.on_host("[2001:db8::80]");
        for host in [
            "[2001:DB8::80]",
            "[2001:db8:0:0:0:0:0:80]",
            "[2001:0db8::0080]:80",
            "[2001:db8::80]:443",
            "[2001:db8::80]:",
            "2001:db8::80",
        ] {
            assert_eq!(page.on_host(host), plain, "{host}");
        }
        for other in ["[2001:db8::]", "[2001:db8::80]:8080", "[2001:db8::443]", "2001:db8:"] {
            assert_ne!(page.on_host(other), plain, "{other}");
        }
        assert_eq!(page.on_host("[2001:db8:0::80]:8080"), page.on_host("[2001:db8::80]:8080"));
    }

    #[test]
    fn target_is_only_in_the_subtrees_of_its_segments() {
        let target = Scope::of_target("/shop/fl%61vors/1", Some("x=1"), Some("shop.example"));
        for within in ["", "/", "/shop", "/shop/", "/shop/flavors", "/shop/flavors/1"] {
            let subtree = Scope::subtree(within);
            assert!(
                target.contains(&subtree) && target.contains(&subtree.on_host("Shop.Example")),
                "{within}"
            );
        }
        for other in ["/sh", "/shop/flavor", "/flavors", "/shop/flavors/1/x"] {
            assert!(!target.contains(&Scope::subtree(other)), "{other}");
        }
        for named in [Scope::path("/shop/flavors/1"), Scope::uri("/shop/flavors/1", Some("x=1"))] {
            assert!(target.contains(&named) && target.contains(&named.on_host("shop.example")));
            assert!(!target.contains(&named.on_host("other.example")));
        }
    }

    #[test]
    fn deep_subtree_shares_the_scope_of_its_first_segments() {
        let deep = "/a".repeat(40);
        assert!(Scope::of_target(&deep, None, None).contains(&Scope::subtree(&deep)));
        assert_eq!(Scope::of_target(&deep, None, None).len(), 2 + 1 + MAX_SEGMENTS);
    }
}
