//! What of a request enters its key: scheme, authority, public path, query, and parts of the user's.

use super::{KeyBuf, RequestHead};
use http::{HeaderName, HeaderValue, Uri};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// How the query enters the key. What does not enter it is removed before the handler sees it, so
/// that no page depends on something its key ignores.
///
/// Parameters are separated by `&` alone and compared as sent, without decoding. Repeated
/// parameters keep their order.
///
/// # Example
/// ```
/// use tower_response_cache::{Policy, QueryKey};
///
/// let policy = Policy::app().query(QueryKey::without(["utm_*", "fbclid"]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryKey(Mode);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Raw,
    Sorted,
    Only(Vec<String>),
    Without(Vec<String>),
}

impl QueryKey {
    /// The query as it was sent: the default.
    #[must_use]
    pub fn raw() -> Self {
        Self(Mode::Raw)
    }

    /// The parameters sorted by name, so that their order makes no second copy.
    #[must_use]
    pub fn sorted() -> Self {
        Self(Mode::Sorted)
    }

    /// Only these parameters, sorted by name; `*` at the end of a name stands for any ending.
    /// With no names at all, the query does not count.
    #[must_use]
    pub fn only<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(Mode::Only(names.into_iter().map(Into::into).collect()))
    }

    /// All parameters but these, sorted by name; `*` at the end of a name stands for any ending.
    #[must_use]
    pub fn without<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(Mode::Without(names.into_iter().map(Into::into).collect()))
    }

    /// Returns the query as it enters the key and as the handler sees it.
    pub(crate) fn normalised<'q>(&self, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        let query = query?;
        let keep: &dyn Fn(&str) -> bool = match &self.0 {
            Mode::Raw => return Some(Cow::Borrowed(query)),
            Mode::Sorted => &|_| true,
            Mode::Only(names) => &|name| names.iter().any(|pattern| matches(pattern, name)),
            Mode::Without(names) => &|name| !names.iter().any(|pattern| matches(pattern, name)),
        };
        let mut kept: Vec<&str> = query.split('&').filter(|pair| keep(name_of(pair))).collect();
        kept.sort_by_key(|pair| name_of(pair));
        (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
    }
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

type Part = dyn Fn(RequestHead<'_>) -> Option<String> + Send + Sync;

/// A part of the key that the user computes.
#[derive(Clone)]
pub(crate) struct VaryBy {
    name: String,
    part: Arc<Part>,
}

impl VaryBy {
    pub(crate) fn new(name: String, part: Arc<Part>) -> Self {
        Self { name, part }
    }
}

impl fmt::Debug for VaryBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VaryBy").field(&self.name).finish()
    }
}

/// What of a request enters its key.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyPolicy {
    pub(crate) query: QueryKey,
    /// Fields that are neither keyed nor shown to the handler.
    pub(crate) ignored: Vec<HeaderName>,
    pub(crate) vary_by: Vec<VaryBy>,
}

impl KeyPolicy {
    /// Returns a digest of the policy, the same in every process: keys made under different rules differ.
    pub(crate) fn fingerprint(&self) -> [u8; 8] {
        let mut buf = KeyBuf::new();
        match &self.query.0 {
            Mode::Raw => buf.part(b"raw"),
            Mode::Sorted => buf.part(b"sorted"),
            Mode::Only(names) => named(&mut buf, b"only", names),
            Mode::Without(names) => named(&mut buf, b"without", names),
        }
        named(&mut buf, b"ignored", &self.ignored);
        let parts: Vec<_> = self.vary_by.iter().map(|part| &part.name).collect();
        named(&mut buf, b"vary-by", &parts);
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&Sha256::digest(buf.as_bytes())[..8]);
        fingerprint
    }
}

fn named<N: AsRef<str>>(buf: &mut KeyBuf, kind: &[u8], names: &[N]) {
    buf.part(kind);
    buf.length(names.len());
    for name in names {
        buf.part(name.as_ref().as_bytes());
    }
}

/// Why no key can be built: such a request is neither looked up nor collapsed nor stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyError {
    Host,
    TooLong,
}

/// Writes the key of a request after the prefix that is already in `buf`.
///
/// `uri` is the public one: where a router stripped a prefix, the one from before.
pub(crate) fn write_key<'f>(
    buf: &mut KeyBuf,
    policy: &KeyPolicy,
    uri: &Uri,
    host: Option<&HeaderValue>,
    forwarded: impl Iterator<Item = (u8, &'f HeaderValue)>,
    request: RequestHead<'_>,
) -> Result<(), KeyError> {
    buf.optional(uri.scheme_str().map(str::as_bytes));
    write_authority(buf, uri, host)?;
    buf.part(uri.path().as_bytes());
    match policy.query.normalised(uri.query()) {
        Some(query) => buf.part(query.as_bytes()),
        None => buf.absent(),
    }
    // What a router or a rewrite made of the target since: the handler answers to that.
    if !std::ptr::eq(request.uri, uri) && request.uri != uri {
        buf.part(request.uri.path().as_bytes());
        buf.optional(policy.query.normalised(request.uri.query()).as_deref().map(str::as_bytes));
    }
    for (name, value) in forwarded {
        buf.raw(&[name]);
        buf.part(value.as_bytes());
    }
    buf.raw(&[u8::MAX]);
    for vary_by in &policy.vary_by {
        buf.optional((vary_by.part)(request).as_deref().map(str::as_bytes));
    }
    if buf.is_too_long() { Err(KeyError::TooLong) } else { Ok(()) }
}

fn write_authority(buf: &mut KeyBuf, uri: &Uri, host: Option<&HeaderValue>) -> Result<(), KeyError> {
    let scheme = uri.scheme_str();
    let from_host = host.map(|host| canonical(host.as_bytes(), scheme)).transpose()?;
    let from_uri =
        uri.authority().map(|authority| canonical(authority.as_str().as_bytes(), scheme)).transpose()?;
    let authority = match (from_uri, from_host) {
        // RFC 9112 section 3.2.2: they name one target; if they do not, nobody knows whose page it is.
        (Some(a), Some(b)) if !same(a, b) => return Err(KeyError::Host),
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) => {
            buf.absent();
            return Ok(());
        }
    };
    // A handler sees them as they were sent, so only the canonical spelling may share a key.
    if [from_uri, from_host].into_iter().flatten().any(|sent| !sent.is_canonical) {
        return Err(KeyError::Host);
    }
    buf.length(authority.name.len() + authority.port.len());
    buf.raw(authority.name);
    buf.raw(authority.port);
    Ok(())
}

#[derive(Clone, Copy)]
struct Authority<'a> {
    name: &'a [u8],
    /// With its colon; empty if there is none, or the scheme's default.
    port: &'a [u8],
    /// Whether it was sent in this spelling.
    is_canonical: bool,
}

fn same(a: Authority<'_>, b: Authority<'_>) -> bool {
    a.name.eq_ignore_ascii_case(b.name) && a.port == b.port
}

/// What a byte of an authority is (RFC 3986 section 3.2.2); that of user information is refused.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Refused,
    Allowed,
    /// As most hosts are made of: they are canonical, and have no port.
    Plain,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Refused; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.' {
            classes[byte as usize] = Class::Plain;
        } else if byte.is_ascii_uppercase() {
            classes[byte as usize] = Class::Allowed;
        }
        byte += 1;
    }
    let others = b"_~!$&'()*+;=:[]%";
    let mut at = 0;
    while at < others.len() {
        classes[others[at] as usize] = Class::Allowed;
        at += 1;
    }
    classes
};

/// Splits an authority, without a trailing dot and without the default port of a known scheme.
///
/// Where the scheme is not known, a port stays: `Host: shop:80` at a TLS listener is not `shop`.
#[inline]
fn canonical<'a>(authority: &'a [u8], scheme: Option<&str>) -> Result<Authority<'a>, KeyError> {
    // To the end, since most are plain and short.
    let plain =
        authority.iter().fold(true, |plain, &byte| plain & (CLASSES[usize::from(byte)] == Class::Plain));
    if plain && authority.last().is_some_and(|&last| last != b'.') {
        return Ok(Authority { name: authority, port: &[], is_canonical: true });
    }
    split(authority, scheme)
}

fn split<'a>(authority: &'a [u8], scheme: Option<&str>) -> Result<Authority<'a>, KeyError> {
    if authority.is_empty() || authority.iter().any(|&byte| CLASSES[usize::from(byte)] == Class::Refused) {
        return Err(KeyError::Host);
    }
    // A colon before a bracket belongs to an address.
    let last = authority.iter().rposition(|&byte| byte == b':' || byte == b']');
    let colon = last.filter(|&at| authority[at] == b':').unwrap_or(authority.len());
    let (name, port) = authority.split_at(colon);
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || !port.iter().skip(1).all(u8::is_ascii_digit) {
        return Err(KeyError::Host);
    }
    let default = matches!((scheme, port), (Some("http"), b":80") | (Some("https"), b":443") | (_, b":"));
    let port = if default { &[] } else { port };
    let whole = name.len() + port.len() == authority.len();
    let is_canonical = whole && !authority.iter().any(u8::is_ascii_uppercase);
    Ok(Authority { name, port, is_canonical })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str, host: Option<&str>) -> Result<Vec<u8>, KeyError> {
        key_with(&KeyPolicy::default(), uri, host)
    }

    fn key_with(policy: &KeyPolicy, uri: &str, host: Option<&str>) -> Result<Vec<u8>, KeyError> {
        let uri: Uri = uri.parse().expect("a uri");
        let host = host.map(|host| HeaderValue::from_bytes(host.as_bytes()).expect("a value"));
        let request = http::Request::new(());
        let mut buf = KeyBuf::new();
        write_key(&mut buf, policy, &uri, host.as_ref(), std::iter::empty(), (&request).into())?;
        Ok(buf.as_bytes().to_vec())
    }

    #[test]
    fn a_host_that_is_not_spelt_canonically_has_no_key_since_the_handler_sees_it_as_sent() {
        for host in ["SHOP.example", "shop.example.", "shop.example:"] {
            assert_eq!(key("/x", Some(host)), Err(KeyError::Host), "{host}");
            assert_eq!(key(&format!("http://{host}/x"), None), Err(KeyError::Host), "{host}");
        }
        assert_eq!(key("http://shop.example:80/x", None), Err(KeyError::Host));
        assert!(key("https://shop.example:80/x", Some("shop.example:80")).is_ok());
        assert!(key("/x", Some("shop.example")).is_ok());
    }

    #[test]
    fn another_host_port_scheme_path_or_query_makes_another_key() {
        let keys: Vec<_> = [
            ("/x", Some("a")),
            ("/x", Some("b")),
            ("/x", Some("a:80")),
            ("/x", Some("a:8080")),
            ("/x", None),
            ("http://a/x", None),
            ("https://a/x", None),
            ("/X", Some("a")),
            ("//x", Some("a")),
            ("/%78", Some("a")),
            ("/x/", Some("a")),
            ("/x?", Some("a")),
            ("/x?a", Some("a")),
            ("/x?a=1", Some("a")),
            ("/x?b=1&a=1", Some("a")),
            ("/x?a=1&b=1", Some("a")),
        ]
        .into_iter()
        .map(|(uri, host)| key(uri, host).expect("a key"))
        .collect();
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b), "key {i} is not unique");
        }
    }

    #[test]
    fn no_key_is_built_for_a_host_that_is_malformed_or_contradicts_the_target() {
        for host in ["", "a b", "a,b", "a/b", "user@a", "a?b", "caf\u{e9}", "a:8x", ".", ":80"] {
            assert_eq!(key("/x", Some(host)), Err(KeyError::Host), "{host:?}");
        }
        assert_eq!(key("http://a/x", Some("b")), Err(KeyError::Host));
        assert!(key("/x", Some("[::1]:8080")).is_ok());
    }

    #[test]
    fn a_key_has_a_greatest_length() {
        let long = format!("/{}", "x".repeat(8 * 1024));
        assert_eq!(key(&long, Some("a")), Err(KeyError::TooLong));
    }

    #[test]
    fn query_modes_decide_what_counts() {
        let table = [
            (QueryKey::raw(), "b=2&a=1&utm_x=3", Some("b=2&a=1&utm_x=3")),
            (QueryKey::sorted(), "b=2&a=1", Some("a=1&b=2")),
            (QueryKey::sorted(), "a=2&b=0&a=1", Some("a=2&a=1&b=0")),
            (QueryKey::sorted(), "a=1;b=2", Some("a=1;b=2")),
            (QueryKey::only(["a"]), "b=2&a=1&a", Some("a=1&a")),
            (QueryKey::only(Vec::<String>::new()), "b=2", None),
            (QueryKey::without(["utm_*", "b"]), "b=2&a=1&utm_x=3&bb=4", Some("a=1&bb=4")),
            (QueryKey::without(["utm_*"]), "utm_source=x", None),
            (QueryKey::without(["utm_*"]), "a=1;utm_x=2", Some("a=1;utm_x=2")),
        ];
        for (mode, query, expected) in table {
            assert_eq!(mode.normalised(Some(query)).as_deref(), expected, "{mode:?} {query}");
        }
    }

    #[test]
    fn different_rules_have_different_fingerprints() {
        let policies = [
            KeyPolicy::default(),
            KeyPolicy { query: QueryKey::sorted(), ..KeyPolicy::default() },
            KeyPolicy { query: QueryKey::only(["a"]), ..KeyPolicy::default() },
            KeyPolicy { query: QueryKey::without(["a"]), ..KeyPolicy::default() },
            KeyPolicy { ignored: vec![http::header::FORWARDED], ..KeyPolicy::default() },
        ];
        for (i, a) in policies.iter().enumerate() {
            assert!(policies[i + 1..].iter().all(|b| a.fingerprint() != b.fingerprint()));
        }
    }
}
