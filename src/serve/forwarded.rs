//! The hosts and the path prefix of a site's public URLs, from the fields of its proxies.

use crate::rules::list::{elements, field_elements, trim};
use http::header::FORWARDED;
use http::uri::Authority;
use http::{HeaderMap, HeaderName};

const HOSTS: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-host"), HeaderName::from_static("x-host")];
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Adds the hosts that forwarded fields name, other than ignored fields: of each field the first one, which the client
/// used, and the last one, which the nearest proxy used.
pub(super) fn add_hosts(hosts: &mut Vec<String>, request: &HeaderMap, ignored: &[HeaderName]) {
    let is_read = |name: &HeaderName| request.contains_key(name) && !ignored.contains(name);
    for name in HOSTS.iter().filter(|name| is_read(name)) {
        add_ends(hosts, field_elements(request, name));
    }
    if is_read(&FORWARDED) {
        add_ends(hosts, field_elements(request, &FORWARDED).filter_map(host_of));
    }
    if is_read(&PORT) {
        add_port(hosts, field_elements(request, &PORT).next());
    }
}

fn add_ends<'a>(hosts: &mut Vec<String>, named: impl Iterator<Item = &'a [u8]>) {
    let is_host = |host: &&[u8]| Authority::try_from(*host).is_ok_and(|host| !host.as_str().contains('@'));
    let mut named = named.filter(is_host).filter_map(|host| std::str::from_utf8(host).ok());
    let first = named.next();
    for host in first.into_iter().chain(named.last()) {
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
}

/// Adds all hosts that have no port once more, with the one that clients use.
fn add_port(hosts: &mut Vec<String>, port: Option<&[u8]>) {
    let port = port.and_then(|port| std::str::from_utf8(port).ok()?.parse::<u16>().ok());
    let Some(port) = port.filter(|port| !matches!(port, 80 | 443)) else { return };
    let has_port = |host: &str| host.rfind([':', ']']).is_some_and(|at| host[at..].starts_with(':'));
    let with_port: Vec<_> =
        hosts.iter().filter(|host| !has_port(host)).map(|host| format!("{host}:{port}")).collect();
    hosts.extend(with_port);
}

/// Returns the host in an element of `Forwarded` (RFC 7239 section 4).
fn host_of(element: &[u8]) -> Option<&[u8]> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (trim(&pair[..at]), trim(&pair[at + 1..]));
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        name.eq_ignore_ascii_case(b"host").then_some(value)
    })
}

/// Returns the prefix that proxies have removed from the paths of requests: a slash first and none last; `None` if there
/// is none, or it is ignored. The prefixes of several proxies follow one another, the outermost first.
pub(super) fn prefix(request: &HeaderMap, ignored: &[HeaderName]) -> Option<String> {
    if !request.contains_key(&PREFIX) || ignored.contains(&PREFIX) {
        return None;
    }
    let mut prefix = String::new();
    for part in request.get_all(&PREFIX).iter().flat_map(|line| elements(line.as_bytes())) {
        let part = std::str::from_utf8(part).ok().filter(|part| !part.contains(['?', '#']))?;
        let part = part.trim_matches('/');
        if !part.is_empty() {
            prefix.push('/');
            prefix.push_str(part);
        }
    }
    (!prefix.is_empty()).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    fn hosts(lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut hosts = Vec::new();
        add_hosts(&mut hosts, &headers(lines), &[]);
        hosts
    }

    #[test]
    fn the_first_and_the_last_host_of_each_field_count() {
        assert_eq!(hosts(&[("x-forwarded-host", "a, b, c")]), ["a", "c"]);
        assert_eq!(hosts(&[("x-forwarded-host", "a"), ("x-host", "a")]), ["a"]);
        assert_eq!(hosts(&[("forwarded", "for=x;Host=\"a:81\" , host=b, proto=http")]), ["a:81", "b"]);
        assert_eq!(hosts(&[("x-forwarded-host", "a b, me@c, ,d/")]), [""; 0]);
        let with_port = [("x-forwarded-host", "a, b:1, [::1]"), ("x-forwarded-port", "8443")];
        assert_eq!(hosts(&with_port), ["a", "[::1]", "a:8443", "[::1]:8443"]);
        assert_eq!(hosts(&[("x-forwarded-host", "a"), ("x-forwarded-port", "443")]), ["a"]);
    }

    #[test]
    fn the_prefixes_of_several_proxies_follow_one_another() {
        for (value, expected) in [
            ("/shop", Some("/shop")),
            ("shop/", Some("/shop")),
            ("/a, /b/c", Some("/a/b/c")),
            ("/", None),
            ("/a?b", None),
        ] {
            assert_eq!(
                prefix(&headers(&[("x-forwarded-prefix", value)]), &[]).as_deref(),
                expected,
                "{value}"
            );
        }
        let lines = headers(&[("x-forwarded-prefix", "/shop")]);
        assert_eq!(prefix(&lines, &[PREFIX]), None);
    }
}
