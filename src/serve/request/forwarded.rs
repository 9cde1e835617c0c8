//! The hosts and the path prefix in a site's public URLs, from the forwarded fields of its proxies.

use crate::key::{ForwardedField, ForwardedFields, prefix_of};
use crate::rules::list::field_elements;
use http::{HeaderMap, Uri};

/// The forwarded fields that contain a URL.
const URLS: [ForwardedField; 2] = [ForwardedField::XOriginalUrl, ForwardedField::XRewriteUrl];

/// The forwarded fields that can name hosts. The fields of [`URLS`] do so only if their URL is
/// absolute.
const HOSTS: [ForwardedField; 5] =
    [ForwardedField::XForwardedHost, ForwardedField::XHost, ForwardedField::Forwarded, URLS[0], URLS[1]];

/// Adds the hosts that the forwarded fields of a request name.
///
/// Adds the first and the last host of each field. Then adds all hosts of the list once more, with
/// the port of `X-Forwarded-Port` (see [`add_port`]).
pub(in crate::serve) fn add_hosts(hosts: &mut Vec<String>, request: &HeaderMap, forwarded: ForwardedFields) {
    if forwarded.is_empty() {
        return;
    }
    for field in HOSTS.into_iter().filter(|field| forwarded.contains(*field)) {
        // A value that can't be parsed names no host.
        let mut named = field.hosts(request).into_iter().flatten();
        let first = named.next();
        for host in first.into_iter().chain(named.last()) {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    if forwarded.contains(ForwardedField::XForwardedPort) {
        add_port(hosts, field_elements(request, ForwardedField::XForwardedPort.name()).next());
    }
}

/// Adds each host without a port a second time, with `port`: the port that clients use. The default
/// ports, 80 and 443, add nothing.
fn add_port(hosts: &mut Vec<String>, port: Option<&[u8]>) {
    let port = port.and_then(|port| std::str::from_utf8(port).ok()?.parse::<u16>().ok());
    let Some(port) = port.filter(|port| !matches!(port, 80 | 443)) else { return };
    let has_port = |host: &str| host.rfind([':', ']']).is_some_and(|at| host[at..].starts_with(':'));
    let with_port: Vec<_> =
        hosts.iter().filter(|host| !has_port(host)).map(|host| format!("{host}:{port}")).collect();
    hosts.extend(with_port);
}

/// Returns the URLs in the forwarded fields of a request.
pub(in crate::serve) fn forwarded_urls(
    request: &HeaderMap,
    forwarded: ForwardedFields,
) -> impl Iterator<Item = Uri> {
    URLS.into_iter().filter(move |field| forwarded.contains(*field)).filter_map(|field| field.url(request))
}

/// Returns the path prefix that proxies have removed from the request's path, as stated in
/// `X-Forwarded-Prefix`. The prefix begins with a slash and does not end with one. The prefixes of
/// several proxies are joined, the outermost first.
///
/// Returns `None` if no prefix was removed, if a prefix is malformed, or if `forwarded` lacks the
/// field.
pub(in crate::serve) fn forwarded_prefix(request: &HeaderMap, forwarded: ForwardedFields) -> Option<String> {
    let field = ForwardedField::XForwardedPrefix;
    if !forwarded.contains(field) {
        return None;
    }
    let parts: Option<Vec<_>> = field_elements(request, field.name()).map(prefix_of).collect();
    parts.map(|parts| parts.concat()).filter(|prefix| !prefix.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    fn hosts(lines: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut hosts = Vec::new();
        let headers = headers(lines);
        add_hosts(&mut hosts, &headers, ForwardedFields::of(&headers, &[]));
        hosts
    }

    fn prefix(lines: &[(&'static str, &'static str)], ignored: &[HeaderName]) -> Option<String> {
        let headers = headers(lines);
        forwarded_prefix(&headers, ForwardedFields::of(&headers, ignored))
    }

    #[test]
    fn first_and_last_host_of_each_field_count() {
        assert_eq!(hosts(&[("x-forwarded-host", "a, b, c")]), ["a", "c"]);
        assert_eq!(hosts(&[("x-forwarded-host", "a"), ("x-host", "a")]), ["a"]);
        assert_eq!(hosts(&[("forwarded", "for=x;Host=\"a:81\" , host=b, proto=http")]), ["a:81", "b"]);
        assert_eq!(hosts(&[("x-forwarded-host", "a b, me@c, ,d/")]), [""; 0]);
        let with_port = [("x-forwarded-host", "a, b:1, [::1]"), ("x-forwarded-port", "8443")];
        assert_eq!(hosts(&with_port), ["a", "[::1]", "a:8443", "[::1]:8443"]);
        assert_eq!(hosts(&[("x-forwarded-host", "a"), ("x-forwarded-port", "443")]), ["a"]);
    }

    #[test]
    fn prefixes_of_several_proxies_are_joined() {
        for (value, expected) in [
            ("/shop", Some("/shop")),
            ("shop/", Some("/shop")),
            ("/a, /b/c", Some("/a/b/c")),
            ("/", None),
            ("/a?b", None),
        ] {
            assert_eq!(prefix(&[("x-forwarded-prefix", value)], &[]).as_deref(), expected, "{value}");
        }
        let ignored = ForwardedField::XForwardedPrefix.name().clone();
        assert_eq!(prefix(&[("x-forwarded-prefix", "/shop")], &[ignored]), None);
    }
}
