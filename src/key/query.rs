//! The modes in which the query enters the key.

use super::buf::KeyBuf;
use std::borrow::Cow;

/// How the query enters the key.
///
/// Parameters that do not enter the key are removed before the handler sees the request, so that no
/// stored response depends on them. Parameters are separated by `&` alone, and compared without
/// decoding. Repeated parameters keep their order.
///
/// # Example
/// ```
/// use tower_response_cache::Policy;
/// use tower_response_cache::key::QueryKey;
///
/// let policy = Policy::app().query(QueryKey::without(["utm_*", "fbclid"]));
/// # let _ = policy;
/// ```
#[doc(alias = "query string")]
#[doc(alias = "cache key")]
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
    /// Uses the unchanged query. This is the default.
    #[must_use]
    pub fn raw() -> Self {
        Self(Mode::Raw)
    }

    /// Sorts the parameters by name, so that their order makes no difference.
    #[must_use]
    pub fn sorted() -> Self {
        Self(Mode::Sorted)
    }

    /// Uses only the named parameters, sorted by name.
    ///
    /// A `*` at the end of a name matches any ending. Without names, the query is ignored.
    #[doc(alias = "allowlist")]
    #[must_use]
    pub fn only<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(Mode::Only(sorted(names)))
    }

    /// Uses all parameters except the named ones, sorted by name.
    ///
    /// A `*` at the end of a name matches any ending.
    #[doc(alias = "ignore")]
    #[must_use]
    pub fn without<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(Mode::Without(sorted(names)))
    }

    /// Uses all parameters except tracking parameters, sorted by name.
    ///
    /// Ad and mailing services add these parameters to links: `utm_*`, `pk_*`, `gclid`, `gclsrc`,
    /// `dclid`, `gbraid`, `wbraid`, `fbclid`, `msclkid`, `twclid`, `ttclid`, `li_fat_id`, `igshid`,
    /// `mc_cid`, `mc_eid`, `yclid`, `_hsenc` and `_hsmi`. A later release may add others to the
    /// list.
    #[doc(alias = "utm")]
    #[must_use]
    pub fn without_tracking() -> Self {
        Self::without(TRACKING)
    }

    /// Writes the mode, for the fingerprint of a policy.
    pub(super) fn write(&self, buf: &mut KeyBuf) {
        let (kind, names): (&[u8], &[String]) = match &self.0 {
            Mode::Raw => (b"raw", &[]),
            Mode::Sorted => (b"sorted", &[]),
            Mode::Only(names) => (b"only", names),
            Mode::Without(names) => (b"without", names),
        };
        buf.named(kind, names);
    }

    /// Returns the query that enters the key. On a fetch, the handler sees the same query.
    #[inline]
    pub(crate) fn normalized<'q>(&self, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        match &self.0 {
            Mode::Raw => query.map(Cow::Borrowed),
            mode => mode.key_parameters(query?).map(Cow::Owned),
        }
    }
}

impl Mode {
    /// Returns the parameters that enter the key, in order, or `None` for an empty list.
    fn key_parameters(&self, query: &str) -> Option<String> {
        let keep: &dyn Fn(&str) -> bool = match self {
            Self::Raw => return Some(query.to_owned()),
            Self::Sorted => &|_| true,
            Self::Only(names) => &|name| names.iter().any(|pattern| matches(pattern, name)),
            Self::Without(names) => &|name| !names.iter().any(|pattern| matches(pattern, name)),
        };
        let mut pairs: Vec<&str> = query.split('&').filter(|pair| keep(name_of(pair))).collect();
        pairs.sort_by_key(|pair| name_of(pair));
        (!pairs.is_empty()).then(|| pairs.join("&"))
    }
}

/// The parameters of widespread ad and mailing services. Keep the docs of `without_tracking` in
/// step.
const TRACKING: [&str; 18] = [
    "utm_*",
    "gclid",
    "gclsrc",
    "dclid",
    "gbraid",
    "wbraid",
    "fbclid",
    "msclkid",
    "twclid",
    "ttclid",
    "li_fat_id",
    "igshid",
    "mc_cid",
    "mc_eid",
    "yclid",
    "_hsenc",
    "_hsmi",
    "pk_*",
];

fn sorted<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Vec<String> {
    let mut names: Vec<_> = names.into_iter().map(Into::into).collect();
    names.sort_unstable();
    names.dedup();
    names
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_modes_select_and_sort_parameters() {
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
            (
                QueryKey::without_tracking(),
                "fbclid=1&utm_source=x&gclid=2&utm=3&page=2",
                Some("page=2&utm=3"),
            ),
        ];
        for (mode, query, expected) in table {
            assert_eq!(mode.normalized(Some(query)).as_deref(), expected, "{mode:?} {query}");
        }
    }
}
