//! What a user may invalidate.

use crate::entry::Scope;

/// What [`Cache::invalidate`](crate::Cache::invalidate) makes invisible.
///
/// # Example
/// ```
/// use tower_response_cache::Invalidation;
///
/// let one = Invalidation::path("/flavours/vanilla");
/// let some = Invalidation::paths(["/", "/api/flavours"]);
/// let everything = Invalidation::all();
/// # let _ = (one, some, everything);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "pass it to `Cache::invalidate`"]
pub struct Invalidation(What);

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Paths(Vec<String>),
    All,
}

impl Invalidation {
    /// Names a public path: every response under it, whatever the query, host, method, variant or
    /// layer that stored it.
    ///
    /// Of a full URL the path counts; a query or fragment is cut off. The path may be percent-encoded
    /// or decoded; where it could be read as either, or as a path with a `?` or `#` of its own, both
    /// are invalidated. It is matched as a whole: `/a` does not name `/a/` or `/a/b`.
    pub fn path(path: impl Into<String>) -> Self {
        Self::paths([path])
    }

    /// Names several paths.
    pub fn paths<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self(What::Paths(paths.into_iter().map(Into::into).collect()))
    }

    /// Names everything in the cache's namespace; other namespaces of the store are left alone.
    pub fn all() -> Self {
        Self(What::All)
    }

    /// Returns the scopes, or `None` for all of them.
    pub(crate) fn scopes(&self, seed: u64) -> Option<Vec<Scope>> {
        match &self.0 {
            What::Paths(paths) => {
                let encoded = paths.iter().map(|path| Scope::path(seed, path_of(path)));
                // A slug from a router is decoded: what looks like syntax in it is text.
                let decoded = paths.iter().filter(|path| path.contains(['%', '?', '#']));
                let decoded = decoded.map(|path| Scope::decoded_path(seed, path));
                Some(encoded.chain(decoded).collect())
            }
            What::All => None,
        }
    }
}

/// Returns the path of a URL or of a path with more behind it.
fn path_of(url: &str) -> &str {
    let path = match url.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => {
            rest.find(['/', '?', '#']).map_or("", |at| &rest[at..])
        }
        _ => url,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() { "/" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_full_url_the_path_counts() {
        let table = [
            ("/a/b", "/a/b"),
            ("/a?x=1", "/a"),
            ("/a#top", "/a"),
            ("https://shop.example/a?x=/b", "/a"),
            ("https://shop.example", "/"),
            ("https://shop.example?x=/b", "/"),
            ("/go/https://other.example/a", "/go/https://other.example/a"),
            ("", "/"),
        ];
        for (given, path) in table {
            assert_eq!(path_of(given), path, "{given}");
        }
    }
}
