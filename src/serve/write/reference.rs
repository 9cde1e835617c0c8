//! Resolves the references of a response against the target of its request (RFC 3986 section 5.2).

use crate::key::canonical_authority;
use crate::policy::Sharing;
use http::HeaderValue;

/// The base of the references in a response.
#[derive(Debug)]
pub(in crate::serve) struct Base<'a> {
    /// `Sharing::App` treats `http` and `https` as one origin, and parses references like browsers
    /// do.
    pub(in crate::serve) sharing: Sharing,
    pub(in crate::serve) scheme: Option<&'a str>,
    /// The authorities that name the origin.
    pub(in crate::serve) hosts: Vec<&'a str>,
    pub(in crate::serve) path: &'a str,
}

impl Base<'_> {
    /// Resolves a reference, and returns its path. Returns `None` if the reference is not on this
    /// origin, or is not UTF-8.
    pub(in crate::serve) fn path_of(&self, reference: &HeaderValue) -> Option<String> {
        // UTF-8, not only ASCII: some services send IRIs unencoded.
        let reference = std::str::from_utf8(reference.as_bytes()).ok()?.trim();
        let reference = reference.split(['?', '#']).next()?;
        let is_app = self.sharing == Sharing::App;
        let reference = if is_app { reference.replace('\\', "/") } else { reference.to_owned() };
        let (scheme, rest) = match reference.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => (None, reference.as_str()),
        };
        let Some(rest) = rest.strip_prefix("//") else {
            // Browsers read `http:/c` as `/c`.
            let is_relative = scheme.is_none_or(|scheme| is_app && is_of_web(scheme));
            return is_relative.then(|| resolve(self.path, rest));
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        (self.has_scheme(scheme) && self.has_host(authority, scheme)).then(|| resolve("/", path))
    }

    /// Returns `true` if a reference with this scheme may be on this origin.
    ///
    /// Under [`Sharing::App`], `http` and `https` count as one scheme. Under [`Sharing::Rfc9111`],
    /// the schemes must be equal if both are known.
    fn has_scheme(&self, scheme: Option<&str>) -> bool {
        match self.sharing {
            Sharing::App => scheme.is_none_or(is_of_web),
            Sharing::Rfc9111 => scheme.zip(self.scheme).is_none_or(|(a, b)| a.eq_ignore_ascii_case(b)),
        }
    }

    fn has_host(&self, authority: &str, scheme: Option<&str>) -> bool {
        let Some(named) = canonical(authority, scheme.or(self.scheme)) else { return false };
        let schemes = [self.scheme.or(scheme), scheme.or(self.scheme)];
        self.hosts
            .iter()
            .any(|host| schemes.iter().any(|scheme| canonical(host, *scheme).as_ref() == Some(&named)))
    }
}

fn is_scheme(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_of_web(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Returns the canonical form of an authority without user information. `scheme` gives the default
/// port.
fn canonical(authority: &str, scheme: Option<&str>) -> Option<String> {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let scheme = scheme.map(str::to_ascii_lowercase);
    canonical_authority(host.as_bytes(), scheme.as_deref())
}

/// Resolves a relative path (RFC 3986 sections 5.2.3 and 5.2.4).
fn resolve(base: &str, reference: &str) -> String {
    if reference.is_empty() {
        return base.to_owned();
    }
    let merged = if reference.starts_with('/') {
        reference.to_owned()
    } else {
        format!("{}/{reference}", base.rsplit_once('/').map_or("", |(parent, _)| parent))
    };
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in merged.split('/').skip(1) {
        let dots = dots(segment);
        ends_open = dots.is_some();
        match dots {
            Some(1) => {}
            Some(_) => drop(segments.pop()),
            None => segments.push(segment),
        }
    }
    let slash = if ends_open && !segments.is_empty() { "/" } else { "" };
    format!("/{}{slash}", segments.join("/"))
}

/// Returns the number of dots in a dot segment, percent-encoded or not (RFC 3986 section 6.2.2.2).
fn dots(segment: &str) -> Option<usize> {
    match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
        "." => Some(1),
        ".." => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(reference: &str, sharing: Sharing, scheme: Option<&str>) -> Option<String> {
        let base = Base { sharing, scheme, hosts: vec!["shop.example"], path: "/a/b" };
        base.path_of(&HeaderValue::from_bytes(reference.as_bytes()).expect("a value"))
    }

    #[test]
    fn only_references_to_the_same_origin_name_a_path() {
        let table = [
            ("/b", Some("/b")),
            ("c", Some("/a/c")),
            ("../c?x", Some("/c")),
            ("./", Some("/a/")),
            ("?x=1", Some("/a/b")),
            ("http://shop.example/c", Some("/c")),
            ("http://SHOP.example/c", Some("/c")),
            ("//shop.example/c?x", Some("/c")),
            ("http://other.example/c", None),
            ("//other.example/c", None),
            ("http://shop.example:81/c", None),
            ("http://shop.example:80/c", Some("/c")),
            ("http://shop.example.:80/c", Some("/c")),
            ("http://me:secret@shop.example/c", Some("/c")),
            ("http://shop.example@other.example/c", None),
            ("https://shop.example:443/c", Some("/c")),
            ("https://shop.example:80/c", None),
            ("HTTP://shop.example/a/../c/./d", Some("/c/d")),
            ("/x/%2E./c", Some("/c")),
            ("/x/y/../../../c/..", Some("/")),
            ("/x/..%2fc", Some("/x/..%2fc")),
            ("http://shop.example", Some("/")),
            ("http://[::1]/c", None),
            ("/caf\u{e9}", Some("/caf\u{e9}")),
            ("mailto:shop.example", None),
        ];
        for (reference, path) in table {
            for sharing in [Sharing::App, Sharing::Rfc9111] {
                assert_eq!(path_of(reference, sharing, None).as_deref(), path, "{reference}");
            }
        }
    }

    #[test]
    fn app_merges_http_and_https_and_parses_like_browsers() {
        let (http, path) = (Some("http"), Some("/c".to_owned()));
        for reference in
            ["https://shop.example/c", "https://shop.example:443/c", "http:/c", "\\c", "http:../c"]
        {
            assert_eq!(path_of(reference, Sharing::App, http), path, "{reference}");
            assert_ne!(path_of(reference, Sharing::Rfc9111, http), path, "{reference}");
        }
        assert_eq!(path_of("ftp://shop.example/c", Sharing::App, http), None);
        assert_eq!(path_of("/\\other.example/c", Sharing::App, http), None);
    }
}
