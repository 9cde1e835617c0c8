//! The addresses of an inspector.

use crate::key::RequestHead;
use crate::serve::public_uri;

/// What a request addresses, by the last segment of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Page,
    Style,
    Script,
    Stats,
    Token,
    Explain,
    Purge,
    Enabled,
}

impl Endpoint {
    const ALL: [(&'static str, Self); 8] = [
        ("", Self::Page),
        ("inspector.css", Self::Style),
        ("inspector.js", Self::Script),
        ("stats.json", Self::Stats),
        ("token.json", Self::Token),
        ("explain.json", Self::Explain),
        ("purge", Self::Purge),
        ("enabled", Self::Enabled),
    ];

    /// Returns the endpoint of a path, whether or not a router has stripped its prefix.
    pub(super) fn of(path: &str) -> Option<Self> {
        let name = last_segment(path);
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, endpoint)| endpoint)
    }

    /// Returns the methods of the endpoint, as in `Allow`.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Page | Self::Style | Self::Script | Self::Stats | Self::Token => "GET, HEAD",
            Self::Explain => "GET, HEAD, POST",
            Self::Purge | Self::Enabled => "POST",
        }
    }

    /// Returns `true` if the endpoint has this method.
    pub(super) fn allows(self, method: &str) -> bool {
        self.methods().split(", ").any(|allowed| allowed == method)
    }
}

/// Returns the relative reference to the page with a slash at its end, if the client requested it
/// without one. The relative links of the page need the slash.
pub(super) fn missing_slash(head: RequestHead<'_>) -> Option<String> {
    let path = public_uri(head).path();
    // `./` keeps a segment with a colon from being read as a scheme.
    (!path.ends_with('/')).then(|| format!("./{}/", last_segment(path)))
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_segment_selects_the_endpoint() {
        for (path, expected) in [
            ("/", Some(Endpoint::Page)),
            ("/_cache/", Some(Endpoint::Page)),
            ("/stats.json", Some(Endpoint::Stats)),
            ("/admin/_cache/purge", Some(Endpoint::Purge)),
            ("/Stats.json", None),
            ("/_cache", None),
            ("/stats.json/", Some(Endpoint::Page)),
            ("/%2e%2e", None),
        ] {
            assert_eq!(Endpoint::of(path), expected, "{path}");
        }
    }

    #[test]
    fn reference_with_a_slash_stays_on_the_host() {
        for (path, expected) in [
            ("/_cache", Some("./_cache/")),
            ("//evil.example", Some("./evil.example/")),
            ("/a:b", Some("./a:b/")),
            ("/_cache/", None),
        ] {
            let request = http::Request::get(path).body(()).expect("a request");
            assert_eq!(missing_slash((&request).into()).as_deref(), expected, "{path}");
        }
    }
}
