//! What an invalidation names, and the generations that decide which entries it kills.

use super::form;
use siphasher::sip::SipHasher13;
use std::borrow::Cow;
use std::hash::Hasher;

/// A reading of a namespace's invalidation counter.
///
/// The incarnation is drawn at random whenever the counter starts anew, so that a store that lost
/// its counter never takes an old entry for a current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation {
    pub(super) incarnation: u64,
    pub(super) counter: u64,
}

impl Generation {
    /// Creates a generation of an incarnation.
    #[must_use]
    pub const fn new(incarnation: u64, counter: u64) -> Self {
        Self { incarnation, counter }
    }

    /// Returns the random number that names the life of the counter.
    #[must_use]
    pub const fn incarnation(self) -> u64 {
        self.incarnation
    }

    /// Returns how many invalidations there were in this incarnation.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.counter
    }
}

/// One thing that an invalidation can name, as a hash seeded per namespace.
///
/// Two names that share a hash, or a bucket of the table it falls into, invalidate each other: that
/// costs a miss, never a stale answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope(pub(super) u64);

/// A value that something was made from, and the generation as of which it was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dependency {
    /// The scope of the value.
    pub value: Scope,
    /// An invalidation of that scope after this one is of what was made from it, too.
    pub since: Generation,
}

/// What a scope is of.
#[derive(Clone, Copy)]
enum Kind {
    Path = 1,
    Uri,
    Subtree,
    Tag,
    Value,
    Host,
}

/// The second half of the hash's key; the seed is the first.
const KEY: u64 = 0x7265_7370_6f6e_7365;

/// A subtree is named by no more segments of its path: one further down is invalidated with all of those.
const MOST_SEGMENTS: usize = 32;

impl Scope {
    /// Everything in a namespace: a scope that every entry has.
    pub const EVERYTHING: Self = Self(u64::MAX);

    /// Returns the scope of a path: all its queries, hosts and variants.
    ///
    /// Percent-encoding is undone first, so that `/caf%C3%A9` and `/café` are one scope.
    #[must_use]
    pub fn path(seed: u64, path: &str) -> Self {
        Self::hash(seed, Kind::Path, &percent_decoded(path))
    }

    /// Returns the same scope for a path that is decoded already, whatever characters it has.
    #[must_use]
    pub fn decoded_path(seed: u64, path: &str) -> Self {
        Self::hash(seed, Kind::Path, path.as_bytes())
    }

    /// Returns the scope of a path with one query, whose parameters may come in any order, in every spelling that a
    /// form parser (`application/x-www-form-urlencoded`) reads alike. An empty query is none.
    #[must_use]
    pub fn uri(seed: u64, path: &str, query: Option<&str>) -> Self {
        Self::decoded_uri(seed, &percent_decoded(path), query)
    }

    fn decoded_uri(seed: u64, path: &[u8], query: Option<&str>) -> Self {
        let mut hasher = hasher(seed, Kind::Uri);
        hasher.write(path);
        // No path has this byte after it is decoded as text.
        hasher.write(&[0xff]);
        hasher.write(&form::canonical(query));
        Self(hasher.finish())
    }

    /// Returns the scope of a path and everything under it, segment by segment: `/a` has `/a/b`, not `/ab`.
    #[must_use]
    pub fn subtree(seed: u64, path: &str) -> Self {
        Self::narrowest(seed, &percent_decoded(path))
    }

    /// Returns the same scope for a path that is decoded already, whatever characters it has.
    #[must_use]
    pub fn decoded_subtree(seed: u64, path: &str) -> Self {
        Self::narrowest(seed, path.as_bytes())
    }

    /// Returns the narrowest subtree that a path is in.
    fn narrowest(seed: u64, path: &[u8]) -> Self {
        subtrees(seed, path).last().unwrap_or(Self(hasher(seed, Kind::Subtree).finish()))
    }

    /// Returns the scope of a tag.
    #[must_use]
    pub fn tag(seed: u64, tag: &str) -> Self {
        Self::hash(seed, Kind::Tag, tag.as_bytes())
    }

    /// Returns the scope of a value of the low-level cache, by its key.
    #[must_use]
    pub fn value(seed: u64, key: &[u8]) -> Self {
        Self::hash(seed, Kind::Value, key)
    }

    /// Returns the same on one host alone. A default port and upper case make no other host.
    #[must_use]
    pub fn on_host(self, host: &str) -> Self {
        self.on(hash_of_host(host))
    }

    /// Mixes two hashes, by the finaliser of SplitMix64: both are as good as random, and one of them secret.
    fn on(self, host: u64) -> Self {
        let mut mixed = self.0.rotate_left(32) ^ host;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }

    /// Returns all that may name the target of a request.
    pub(crate) fn of_target(seed: u64, path: &str, query: Option<&str>, host: Option<&str>) -> Vec<Self> {
        let path = percent_decoded(path);
        let mut scopes = Vec::with_capacity(2 * (3 + path.iter().filter(|byte| **byte == b'/').count()));
        scopes.push(Self::hash(seed, Kind::Path, &path));
        scopes.push(Self::decoded_uri(seed, &path, query));
        scopes.extend(subtrees(seed, &path));
        scopes.extend_on_hosts(host.as_slice());
        scopes
    }

    fn hash(seed: u64, kind: Kind, name: &[u8]) -> Self {
        let mut hasher = hasher(seed, kind);
        hasher.write(name);
        Self(hasher.finish())
    }

    /// Returns the hash.
    #[must_use]
    pub const fn hash_value(self) -> u64 {
        self.0
    }
}

/// More scopes for what has some.
pub(crate) trait ExtendOnHost {
    /// Adds the same scopes, on each of the hosts alone.
    fn extend_on_hosts<H: AsRef<str>>(&mut self, hosts: &[H]);
}

impl ExtendOnHost for Vec<Scope> {
    fn extend_on_hosts<H: AsRef<str>>(&mut self, hosts: &[H]) {
        let wide = self.len();
        for host in hosts.iter().map(|host| hash_of_host(host.as_ref())) {
            for at in 0..wide {
                self.push(self[at].on(host));
            }
        }
    }
}

fn hash_of_host(host: &str) -> u64 {
    let bytes = host.as_bytes();
    let port =
        [&b":443"[..], b":80", b":"].into_iter().find(|port| bytes.ends_with(port)).unwrap_or_default();
    let bytes = &bytes[..bytes.len() - port.len()];
    let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
    let mut hasher = hasher(0, Kind::Host);
    match bytes.iter().any(u8::is_ascii_uppercase) {
        true => hasher.write(&bytes.to_ascii_lowercase()),
        false => hasher.write(bytes),
    }
    hasher.finish()
}

fn hasher(seed: u64, kind: Kind) -> SipHasher13 {
    let mut hasher = SipHasher13::new_with_keys(seed, KEY);
    hasher.write(&[kind as u8]);
    hasher
}

/// Returns the scopes of the subtrees that a path is in, the widest first, that of all paths.
fn subtrees(seed: u64, path: &[u8]) -> impl Iterator<Item = Scope> {
    let mut hasher = hasher(seed, Kind::Subtree);
    let root = Scope(hasher.finish());
    let segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    let nested = segments.take(MOST_SEGMENTS).map(move |segment| {
        hasher.write(b"/");
        hasher.write(segment);
        Scope(hasher.finish())
    });
    std::iter::once(root).chain(nested)
}

fn percent_decoded(path: &str) -> Cow<'_, [u8]> {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let hex = |at: usize| bytes.get(at).and_then(|&b| (b as char).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_percent_encoded_form_are_one_scope() {
        assert_eq!(Scope::path(7, "/caf%C3%A9"), Scope::path(7, "/café"));
        assert_eq!(Scope::path(7, "/a%2"), Scope::path(7, "/a%2"));
        assert_ne!(Scope::path(7, "/a"), Scope::path(7, "/b"));
        assert_eq!(Scope::path(7, "/50%2525"), Scope::decoded_path(7, "/50%25"));
    }

    #[test]
    fn a_scope_depends_on_the_seed_so_that_collisions_cannot_be_precomputed() {
        assert_ne!(Scope::path(1, "/a"), Scope::path(2, "/a"));
    }

    #[test]
    fn what_is_of_another_kind_is_another_scope_whatever_its_name() {
        let all = [
            Scope::path(7, "/a"),
            Scope::uri(7, "/a", None),
            Scope::uri(7, "/a", Some("b")),
            Scope::subtree(7, "/a"),
            Scope::tag(7, "/a"),
            Scope::value(7, b"/a"),
            Scope::path(7, "/a").on_host("a"),
            Scope::path(7, "/a").on_host("b"),
        ];
        for (at, scope) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(scope), "{at}");
        }
    }

    #[test]
    fn the_parameters_of_a_uri_may_come_in_any_order() {
        assert_eq!(Scope::uri(7, "/a", Some("x=1&y=2")), Scope::uri(7, "/a", Some("y=2&x=1")));
        assert_ne!(Scope::uri(7, "/a", Some("x=1&y=2")), Scope::uri(7, "/a", Some("x=1&x=1&y=2")));
    }

    #[test]
    fn a_uri_is_one_scope_however_a_form_parser_would_be_sent_it() {
        for (one, other) in
            [("q=caf%C3%A9", "q=café"), ("q=a+b", "q=a%20b"), ("%71=%61", "q=a"), ("a", "a="), ("a&", "&a")]
        {
            assert_eq!(Scope::uri(7, "/a", Some(one)), Scope::uri(7, "/%61", Some(other)), "{one} {other}");
        }
        assert_eq!(Scope::uri(7, "/a", None), Scope::uri(7, "/a", Some("")));
        for other in ["q=a%2Bb", "q=a+b+", "q=a&b", "Q=a+b"] {
            assert_ne!(Scope::uri(7, "/a", Some("q=a+b")), Scope::uri(7, "/a", Some(other)), "{other}");
        }
    }

    #[test]
    fn a_host_is_the_same_in_upper_case_and_with_a_default_port() {
        let page = Scope::path(7, "/");
        let plain = "shop.example";
        for host in
            [plain, "SHOP.example", "shop.example:80", "shop.example:443", "shop.example:", "shop.example."]
        {
            assert_eq!(page.on_host(host), page.on_host(plain), "{host}");
        }
        assert_ne!(page.on_host("shop.example:8080"), page.on_host(plain));
    }

    #[test]
    fn a_target_is_in_the_subtrees_of_its_segments_and_in_no_others() {
        let target = Scope::of_target(7, "/shop/fl%61vours/1", Some("x=1"), Some("shop.example"));
        for within in ["", "/", "/shop", "/shop/", "/shop/flavours", "/shop/flavours/1"] {
            let subtree = Scope::subtree(7, within);
            assert!(
                target.contains(&subtree) && target.contains(&subtree.on_host("Shop.Example")),
                "{within}"
            );
        }
        for other in ["/sh", "/shop/flavour", "/flavours", "/shop/flavours/1/x"] {
            assert!(!target.contains(&Scope::subtree(7, other)), "{other}");
        }
        for named in [Scope::path(7, "/shop/flavours/1"), Scope::uri(7, "/shop/flavours/1", Some("x=1"))] {
            assert!(target.contains(&named) && target.contains(&named.on_host("shop.example")));
            assert!(!target.contains(&named.on_host("other.example")));
        }
    }

    #[test]
    fn a_subtree_that_is_too_deep_to_be_told_apart_is_invalidated_with_those_beside_it() {
        let deep = "/a".repeat(40);
        assert!(Scope::of_target(7, &deep, None, None).contains(&Scope::subtree(7, &deep)));
        assert_eq!(Scope::of_target(7, &deep, None, None).len(), 2 + 1 + MOST_SEGMENTS);
    }
}
