//! The parameters of a purge: its targets and options.

use crate::cache::Invalidation;
use http::uri::Authority;

/// The largest number of targets in one request. A request with more is a mistake, or should use
/// `all`.
const MAX_TARGETS: usize = 256;

/// The parameters of a purge, in a query or a form.
#[derive(Debug, Default)]
pub(crate) struct PurgeQuery {
    paths: Vec<String>,
    uris: Vec<String>,
    subtrees: Vec<String>,
    tags: Vec<String>,
    all: bool,
    soft: bool,
    host: Option<String>,
}

impl PurgeQuery {
    /// Parses a query.
    ///
    /// # Errors
    /// Returns a description of the first mistake.
    pub(super) fn read(query: &str) -> Result<Self, &'static str> {
        Self::of_parameters(form_urlencoded::parse(query.as_bytes()).into_owned())
    }

    /// Reads decoded parameters.
    ///
    /// # Errors
    /// Returns a description of the first mistake.
    pub(crate) fn of_parameters(
        parameters: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, &'static str> {
        let mut read = Self::default();
        for (name, value) in parameters {
            read.add(&name, value)?;
            if read.targets() > MAX_TARGETS {
                return Err("more than 256 targets");
            }
        }
        match (read.all, read.targets()) {
            (false, 0) => Err("no target: path, uri, subtree, tag or all=true"),
            (true, 1..) => Err("`all` excludes other targets"),
            _ => Ok(read),
        }
    }

    fn add(&mut self, name: &str, value: String) -> Result<(), &'static str> {
        match name {
            "path" => self.paths.push(checked_path(value)?),
            "uri" => self.uris.push(checked_path(value)?),
            "subtree" => self.subtrees.push(checked_path(value)?),
            "tag" => self.tags.push(checked_text(value)?),
            "all" if !self.all && value == "true" => self.all = true,
            "soft" if !self.soft && value == "true" => self.soft = true,
            "host" if self.host.is_none() => self.host = Some(checked_host(value)?),
            "all" | "soft" => return Err("`all` and `soft` take the value `true`, once"),
            "host" => return Err("more than one host"),
            _ => return Err("an unknown parameter"),
        }
        Ok(())
    }

    fn targets(&self) -> usize {
        self.paths.len() + self.uris.len() + self.subtrees.len() + self.tags.len()
    }

    pub(crate) fn invalidation(self) -> Invalidation {
        let uris = self.uris.into_iter().map(Invalidation::uri);
        let subtrees = self.subtrees.into_iter().map(Invalidation::subtree);
        let all = self.all.then(Invalidation::all);
        let first = self
            .paths
            .into_iter()
            .map(Invalidation::path)
            .chain(self.tags.into_iter().map(Invalidation::tag))
            .collect::<Invalidation>();
        let named = uris.chain(subtrees).chain(all).fold(first, Invalidation::and);
        let named = if self.soft { named.soft() } else { named };
        match self.host {
            Some(host) => named.host(host),
            None => named,
        }
    }
}

/// Rejects values that are empty or not UTF-8. The parser replaces invalid bytes by U+FFFD, so such
/// a value would name another target.
fn checked_text(value: String) -> Result<String, &'static str> {
    match value {
        value if value.is_empty() => Err("an empty value"),
        value if value.contains(char::REPLACEMENT_CHARACTER) => Err("a value that is not UTF-8"),
        value => Ok(value),
    }
}

/// Rejects a value that is neither a path nor a URL. Otherwise the request would succeed, although
/// the value names no page.
fn checked_path(value: String) -> Result<String, &'static str> {
    let value = checked_text(value)?;
    let is_path_or_url = value.starts_with('/') || value.contains("://");
    if is_path_or_url { Ok(value) } else { Err("a path begins with a slash") }
}

fn checked_host(value: String) -> Result<String, &'static str> {
    let value = checked_text(value)?;
    let is_host = !value.contains('@') && value.parse::<Authority>().is_ok();
    if is_host { Ok(value) } else { Err("not a host") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, proptest};

    fn invalidation(query: &str) -> Result<Invalidation, &'static str> {
        PurgeQuery::read(query).map(PurgeQuery::invalidation)
    }

    #[test]
    fn query_describes_an_invalidation() {
        let uri = |uri: &str| Invalidation::uri(uri);
        let table = [
            ("path=/a", Invalidation::path("/a")),
            ("&path=/a&&path=/b%26c+d%2B&", Invalidation::from(["/a", "/b&c d+"])),
            ("path=/caf%C3%A9", Invalidation::path("/caf\u{e9}")),
            ("path=https://shop.example/a", Invalidation::path("https://shop.example/a")),
            ("uri=/a?x=1&uri=/a?x%3D1%26y", uri("/a?x=1").and(uri("/a?x=1&y"))),
            ("subtree=/&subtree=/b", Invalidation::subtree("/").and(Invalidation::subtree("/b"))),
            ("tag=a&tag=b+c", Invalidation::from(["a", "b c"].map(Invalidation::tag))),
            ("all=true", Invalidation::all()),
            ("soft=true&all=true", Invalidation::all().soft()),
            (
                "tag=a&path=/b&soft=true&host=shop.example:8080",
                Invalidation::path("/b").and(Invalidation::tag("a")).soft().host("shop.example:8080"),
            ),
        ];
        for (query, expected) in table {
            assert_eq!(invalidation(query), Ok(expected), "{query}");
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn every_valid_query_has_a_target(query in "((path|uri|subtree|tag|all|soft|host|x)=[ -~]{0,8}&){0,4}") {
            if let Ok(found) = invalidation(&query) {
                prop_assert!(!found.scopes().is_empty());
            }
        }
    }
}
