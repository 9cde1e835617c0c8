//! Authorities, and their canonical form (RFC 3986 section 3.2.2).

use super::error::KeyError;
use std::net::Ipv6Addr;

/// An authority, split into name and port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Authority<'a> {
    pub(super) name: &'a [u8],
    /// The port with its colon; empty if the authority has no port, or the default port of its
    /// scheme.
    pub(super) port: &'a [u8],
    /// Whether the authority was sent in lower case, and without a trailing dot, an empty port or
    /// the default port.
    pub(super) is_canonical: bool,
}

impl Authority<'_> {
    /// Returns `true` if this authority is equal to `known`. If `known` has no port, any port
    /// matches.
    pub(super) fn matches(&self, known: &str) -> bool {
        let rest = known.as_bytes().strip_prefix(self.name);
        rest.is_some_and(|rest| rest.is_empty() || rest == self.port)
    }
}

pub(super) fn is_same(a: Authority<'_>, b: Authority<'_>) -> bool {
    a.name.eq_ignore_ascii_case(b.name) && a.port == b.port
}

/// A byte of an authority that [`split_other`] must examine. Most authorities have no such byte.
const NOT_PLAIN: u8 = 1;
/// A byte that makes an authority malformed: it is not valid in a host, or is the `@` after user
/// information.
const REFUSED: u8 = 2;

const CLASSES: [u8; 256] = {
    let mut classes = [NOT_PLAIN | REFUSED; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.' {
            classes[byte as usize] = 0;
        } else if byte.is_ascii_uppercase() {
            classes[byte as usize] = NOT_PLAIN;
        }
        byte += 1;
    }
    let others = b"_~!$&'()*+;=:[]%";
    let mut at = 0;
    while at < others.len() {
        classes[others[at] as usize] = NOT_PLAIN;
        at += 1;
    }
    classes
};

/// Splits an authority. Removes a trailing dot, an empty port, and the default port of a known
/// scheme.
///
/// If the scheme is not known, the port stays: `Host: shop:80` at a TLS listener is not `shop`.
#[inline]
pub(super) fn split<'a>(authority: &'a [u8], scheme: Option<&str>) -> Result<Authority<'a>, KeyError> {
    // A loop without an early exit is faster for short authorities.
    let class = authority.iter().fold(0, |class, &byte| class | CLASSES[usize::from(byte)]);
    if class == 0 && authority.last().is_some_and(|&last| last != b'.') {
        return Ok(Authority { name: authority, port: &[], is_canonical: true });
    }
    if authority.is_empty() || class & REFUSED != 0 {
        return Err(KeyError::Host);
    }
    split_other(authority, scheme)
}

/// Splits an authority with a byte that is [`NOT_PLAIN`], or with a trailing dot.
fn split_other<'a>(authority: &'a [u8], scheme: Option<&str>) -> Result<Authority<'a>, KeyError> {
    // A colon before a bracket belongs to an IPv6 address.
    let last = authority.iter().rposition(|&byte| byte == b':' || byte == b']');
    let colon = last.filter(|&at| authority[at] == b':').unwrap_or(authority.len());
    let (name, port) = authority.split_at(colon);
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || !port.iter().skip(1).all(u8::is_ascii_digit) {
        return Err(KeyError::Host);
    }
    // The default ports of RFC 9110 sections 4.2.1 and 4.2.2. An empty port is the default, too
    // (RFC 3986 section 3.2.3).
    let default = matches!((scheme, port), (Some("http"), b":80") | (Some("https"), b":443") | (_, b":"));
    let port = if default { &[] } else { port };
    let whole = name.len() + port.len() == authority.len();
    let is_canonical = whole && !authority.iter().any(u8::is_ascii_uppercase);
    Ok(Authority { name, port, is_canonical })
}

/// Returns an authority in canonical form: in lower case, without a trailing dot, and without an
/// empty port or the default port of its scheme. IPv6 addresses have their shortest form, and ports
/// no leading zeros.
///
/// Returns `None` if the authority is malformed, has user information, or has two trailing dots.
pub(crate) fn canonical_authority(authority: &[u8], scheme: Option<&str>) -> Option<String> {
    let parts = split(authority, None).ok()?;
    http::uri::Authority::try_from(authority).ok()?;
    let mut canonical = std::str::from_utf8(parts.name).ok()?.to_ascii_lowercase();
    // A name with two trailing dots has no canonical form.
    if canonical.ends_with('.') {
        return None;
    }
    if let Some(address) = canonical.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        canonical = format!("[{address}]");
    }
    if let [b':', digits @ ..] = parts.port {
        let port: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let is_default = matches!((scheme, port), (Some("http"), 80) | (Some("https"), 443));
        if !is_default {
            canonical = format!("{canonical}:{port}");
        }
    }
    Some(canonical)
}

#[cfg(test)]
mod tests {
    use super::canonical_authority;

    #[test]
    fn an_authority_has_one_canonical_form() {
        let of = |text: &str, scheme| canonical_authority(text.as_bytes(), scheme);
        for text in ["shop.example", "SHOP.example", "Shop.Example.", "shop.example:", "shop.example.:00443"]
        {
            assert_eq!(of(text, Some("https")).as_deref(), Some("shop.example"), "{text}");
        }
        for text in ["..", "shop.example..", "shop.example..:80"] {
            assert_eq!(of(text, None), None, "{text}");
        }
        for (text, scheme, expected) in [
            ("shop.example:80", Some("http"), "shop.example"),
            ("shop.example:80", Some("https"), "shop.example:80"),
            ("shop.example:443", None, "shop.example:443"),
            ("shop.example:08080", None, "shop.example:8080"),
            ("[2001:DB8:0::1]:443", Some("https"), "[2001:db8::1]"),
        ] {
            assert_eq!(of(text, scheme).as_deref(), Some(expected), "{text}");
        }
        for text in
            ["", ".", ":80", "a b", "a/b", "me@a", "a:x", "a:65536", "[::1", "::1", "[a]", "a,b", "\u{e9}"]
        {
            assert_eq!(of(text, None), None, "{text}");
        }
    }
}
