//! The rules for what enters the key: scheme, authority, public path, query, fields and parts.

use super::authority::{Authority, is_same, split};
use super::buf::{KeyBuf, MAX_PLAIN_VALUE};
use super::digest::{ValueDigest, ValueDigests};
use super::error::KeyError;
use super::forwarded::{ForwardedField, ForwardedFields};
use super::head::RequestHead;
use super::part::KeyPart;
use super::query::QueryKey;
use super::target::write_seen;
use http::header::GetAll;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use sha2::{Digest, Sha256};

/// The rules for what enters the key of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyPolicy {
    pub(crate) query: QueryKey,
    /// Fields that `PolicyBuilder::ignore_headers` declares, sorted by name. They do not enter the
    /// key, and are removed from fetches.
    pub(crate) ignored: Vec<HeaderName>,
    /// Fields that enter the key, sorted by name. Long and secret values enter as digests.
    pub(crate) headers: Vec<HeaderName>,
    /// Parts that functions compute, sorted by [`KeyPart::sort_key`].
    pub(crate) vary_by: Vec<KeyPart>,
    /// The hosts whose requests have keys; an empty list permits all hosts.
    pub(crate) hosts: Vec<String>,
    /// The fields of `headers` whose values are secret. The key contains digests of these values.
    pub(crate) secrets: Vec<HeaderName>,
    pub(crate) digests: ValueDigests,
}

impl KeyPolicy {
    /// Returns a digest of the rules, the same in every process. It enters the ID of a layer, so
    /// that layers with different rules share no key. Hosts are left out: they only decide whether
    /// a request has a key.
    pub(crate) fn fingerprint(&self) -> [u8; 8] {
        let mut buf = KeyBuf::new();
        self.query.write(&mut buf);
        buf.named(b"ignored", &self.ignored);
        buf.named(b"headers", &self.headers);
        let parts: Vec<_> = self.vary_by.iter().map(KeyPart::name).collect();
        buf.named(b"vary-by", &parts);
        for part in &self.vary_by {
            buf.optional(part.replaced_field().map(|field| field.as_str().as_bytes()));
        }
        let mut fingerprint = [0; 8];
        fingerprint.copy_from_slice(&Sha256::digest(buf.as_bytes())[..8]);
        fingerprint
    }

    /// Returns the request fields that enter the key, or that a part of the key replaces.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().chain(self.vary_by.iter().filter_map(KeyPart::replaced_field))
    }

    /// Returns `true` if the field enters the key, or if a key part replaces the field. The handler
    /// sees the same value of such a field in all requests with one key.
    pub(crate) fn covers(&self, field: &HeaderName) -> bool {
        self.headers.contains(field) || self.vary_by.iter().any(|part| part.replaced_field() == Some(field))
    }

    /// Computes the parts of a request's key. Calls functions of the user.
    #[inline]
    pub(crate) fn parts(&self, request: RequestHead<'_>) -> Vec<Option<String>> {
        match self.vary_by.as_slice() {
            [] => Vec::new(),
            parts => parts.iter().map(|part| part.of(request)).collect(),
        }
    }

    /// Writes the value of each part into the request field that the part replaces. Without a
    /// value, removes the field.
    pub(crate) fn strip_unkeyed(&self, request: &mut HeaderMap, parts: &[Option<String>]) {
        for (part, value) in self.vary_by.iter().zip(parts) {
            let Some(field) = part.replaced_field() else { continue };
            request.remove(field);
            if let Some(value) = value.as_ref().and_then(|value| HeaderValue::try_from(value).ok()) {
                // If the header map is full, the field is left out.
                let _ = request.try_insert(field, value);
            }
        }
    }

    /// Writes the canonical values of forwarded fields.
    ///
    /// # Errors
    /// Fails if a field can't be read, or names a host that the policy does not list.
    #[inline(never)]
    fn write_forwarded(
        &self,
        buf: &mut KeyBuf,
        fields: ForwardedFields,
        headers: &HeaderMap,
    ) -> Result<(), KeyError> {
        for field in fields.iter() {
            if !self.hosts.is_empty() {
                self.check_listed(field.hosts(headers))?;
            }
            if let Some(value) = field.canonical(headers, &self.query)? {
                buf.raw(&[field as u8]);
                buf.part_or_digest(value.as_bytes());
            }
        }
        Ok(())
    }

    /// Returns an error unless the policy lists all of these hosts. `None` is a host that can't be
    /// read.
    fn check_listed(&self, hosts: Vec<Option<String>>) -> Result<(), KeyError> {
        for host in hosts {
            let host = host.ok_or(KeyError::Forwarded)?;
            if !self.is_listed(split(host.as_bytes(), None)?) {
                return Err(KeyError::UnknownHost);
            }
        }
        Ok(())
    }

    #[inline]
    fn is_listed(&self, authority: Authority<'_>) -> bool {
        self.hosts.iter().any(|known| authority.matches(known))
    }

    /// Replaces each forwarded field of a fetch by its value in the key. Removes a field without a
    /// value.
    pub(crate) fn canonicalize_forwarded(&self, request: &mut HeaderMap, fields: ForwardedFields) {
        for field in fields.iter() {
            let name = field.name();
            let canonical = field.canonical(request, &self.query).ok().flatten();
            match canonical.and_then(|value| HeaderValue::try_from(value.as_ref()).ok()) {
                // `insert` removes all other lines.
                Some(value) => drop(request.insert(name, value)),
                None => drop(request.remove(name)),
            }
        }
    }

    /// Returns one digest for all lines of a field.
    pub(super) fn digest(&self, name: &HeaderName, lines: &GetAll<'_, HeaderValue>) -> ValueDigest {
        let mut all = Vec::new();
        for line in lines {
            all.extend((line.len() as u64).to_le_bytes());
            all.extend(line.as_bytes());
        }
        self.digests.digest(name.as_str().as_bytes(), &all)
    }

    #[inline]
    fn write_parts(&self, buf: &mut KeyBuf, parts: &[Option<String>]) {
        for (part, value) in self.vary_by.iter().zip(parts) {
            match value {
                // A computed value may contain credentials, so only its digest enters the key.
                Some(value) if !part.is_fixed() => {
                    buf.part(&self.digests.digest(part.name().as_bytes(), value.as_bytes()));
                }
                _ => buf.optional(value.as_deref().map(str::as_bytes)),
            }
        }
    }

    #[inline]
    fn write_headers(&self, buf: &mut KeyBuf, headers: &HeaderMap) {
        // `write_forwarded` has written the canonical values of forwarded fields.
        for name in self.headers.iter().filter(|name| ForwardedField::from_name(name).is_none()) {
            let lines = headers.get_all(name);
            let (count, bytes) = lines
                .iter()
                .fold((0, 0), |(count, bytes), line| (count + 1, bytes + size_of::<u32>() + line.len()));
            if bytes > MAX_PLAIN_VALUE || (count > 0 && self.secrets.contains(name)) {
                buf.digest(&self.digest(name, &lines));
            } else {
                buf.length(count);
                lines.iter().for_each(|line| buf.part(line.as_bytes()));
            }
        }
    }
}

/// Writes the key of a request into `buf`, which begins with the ID of the layer.
///
/// `uri` is the public URI, which the client requested. The URI of `request` is the one that the
/// handler sees.
#[inline]
pub(crate) fn write_key(
    buf: &mut KeyBuf,
    policy: &KeyPolicy,
    uri: &Uri,
    host: Option<&HeaderValue>,
    forwarded: ForwardedFields,
    request: RequestHead<'_>,
    parts: &[Option<String>],
) -> Result<(), KeyError> {
    buf.optional(uri.scheme_str().map(str::as_bytes));
    write_authority(buf, policy, uri, host)?;
    buf.part(uri.path().as_bytes());
    match policy.query.normalized(uri.query()) {
        Some(query) => buf.part(query.as_bytes()),
        None => buf.absent(),
    }
    // The response may depend on the target that the handler sees.
    write_seen(buf, &policy.query, uri, request.uri)?;
    if !forwarded.is_empty() {
        policy.write_forwarded(buf, forwarded, request.headers)?;
    }
    buf.raw(&[u8::MAX]);
    policy.write_headers(buf, request.headers);
    policy.write_parts(buf, parts);
    if buf.is_too_long() { Err(KeyError::TooLong) } else { Ok(()) }
}

#[inline]
fn write_authority(
    buf: &mut KeyBuf,
    policy: &KeyPolicy,
    uri: &Uri,
    host: Option<&HeaderValue>,
) -> Result<(), KeyError> {
    let scheme = uri.scheme_str();
    let from_host = host.map(|host| split(host.as_bytes(), scheme)).transpose()?;
    let from_uri =
        uri.authority().map(|authority| split(authority.as_str().as_bytes(), scheme)).transpose()?;
    let authority = match (from_uri, from_host) {
        // A handler may use the authority of the URI or `Host`, so they must agree (RFC 9112
        // section 3.2.2).
        (Some(a), Some(b)) if !is_same(a, b) => return Err(KeyError::Host),
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) if !policy.hosts.is_empty() => return Err(KeyError::UnknownHost),
        (None, None) => {
            buf.absent();
            return Ok(());
        }
    };
    // A handler sees the host as the client spells it, and may answer each spelling with another
    // page. So only the canonical spelling has a key.
    if [from_uri, from_host].into_iter().flatten().any(|sent| !sent.is_canonical) {
        return Err(KeyError::Host);
    }
    if !policy.hosts.is_empty() && !policy.is_listed(authority) {
        return Err(KeyError::UnknownHost);
    }
    buf.length(authority.name.len() + authority.port.len());
    buf.raw(authority.name);
    buf.raw(authority.port);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str, host: Option<&str>) -> Result<Vec<u8>, KeyError> {
        key_with(&KeyPolicy::default(), uri, host)
    }

    #[test]
    fn hosts_that_are_not_listed_have_no_key() {
        let policy =
            KeyPolicy { hosts: vec!["shop.example".into(), "b.example:8080".into()], ..KeyPolicy::default() };
        let unknown = Err(KeyError::UnknownHost);
        for (host, known) in [
            ("shop.example", true),
            ("shop.example:81", true),
            ("b.example:8080", true),
            ("b.example", false),
            ("b.example:80", false),
            ("shop.example.evil", false),
            ("shop", false),
        ] {
            let key = key_with(&policy, "/x", Some(host)).map(drop);
            assert_eq!(key, if known { Ok(()) } else { unknown }, "{host}");
        }
        assert_eq!(key_with(&policy, "/x", None).map(drop), unknown);
    }

    fn key_with(policy: &KeyPolicy, uri: &str, host: Option<&str>) -> Result<Vec<u8>, KeyError> {
        let uri: Uri = uri.parse().expect("a uri");
        let host = host.map(|host| HeaderValue::from_bytes(host.as_bytes()).expect("a value"));
        let request = http::Request::new(());
        let mut buf = KeyBuf::new();
        write_key(&mut buf, policy, &uri, host.as_ref(), ForwardedFields::default(), (&request).into(), &[])?;
        Ok(buf.as_bytes().to_vec())
    }

    #[test]
    fn a_noncanonical_host_has_no_key() {
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
    fn a_malformed_or_contradicting_host_has_no_key() {
        for host in ["", "a b", "a,b", "a/b", "user@a", "a?b", "caf\u{e9}", "a:8x", ".", ":80"] {
            assert_eq!(key("/x", Some(host)), Err(KeyError::Host), "{host:?}");
        }
        assert_eq!(key("http://a/x", Some("b")), Err(KeyError::Host));
        assert!(key("/x", Some("[::1]:8080")).is_ok());
    }

    #[test]
    fn a_key_above_the_size_limit_is_an_error() {
        let long = format!("/{}", "x".repeat(8 * 1024));
        assert_eq!(key(&long, Some("a")), Err(KeyError::TooLong));
    }

    #[test]
    fn different_rules_have_different_fingerprints() {
        let policies = [
            KeyPolicy::default(),
            KeyPolicy { query: QueryKey::sorted(), ..KeyPolicy::default() },
            KeyPolicy { query: QueryKey::only(["a"]), ..KeyPolicy::default() },
            KeyPolicy { query: QueryKey::without(["a"]), ..KeyPolicy::default() },
            KeyPolicy { ignored: vec![http::header::FORWARDED], ..KeyPolicy::default() },
            KeyPolicy { headers: vec![http::header::FORWARDED], ..KeyPolicy::default() },
            KeyPolicy { vary_by: vec![KeyPart::new("a", |_| None)], ..KeyPolicy::default() },
            KeyPolicy {
                vary_by: vec![KeyPart::new("a", |_| None).replacing(http::header::ACCEPT)],
                ..KeyPolicy::default()
            },
        ];
        for (i, a) in policies.iter().enumerate() {
            assert!(policies[i + 1..].iter().all(|b| a.fingerprint() != b.fingerprint()));
        }
    }
}
