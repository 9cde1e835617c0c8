//! The modes in which a query enters the key.

use super::buf::KeyBuf;
use std::borrow::Cow;

/// How the query enters the key. What does not enter it is removed before the handler sees it, so
/// that no page depends on something its key ignores.
///
/// Parameters are separated by `&` alone and compared as sent, without decoding. Repeated
/// parameters keep their order.
///
/// # Example
/// ```
/// use tower_response_cache::Policy;
/// use tower_response_cache::key::QueryKey;
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
        Self(Mode::Only(sorted(names)))
    }

    /// All parameters but these, sorted by name; `*` at the end of a name stands for any ending.
    #[must_use]
    pub fn without<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(Mode::Without(sorted(names)))
    }

    /// All parameters but those that advertisers and newsletters add to follow a visitor (`utm_*`, `gclid`,
    /// `fbclid` and the like), sorted by name.
    #[must_use]
    pub fn without_tracking() -> Self {
        Self::without(TRACKING)
    }

    /// Writes all that decides on keys, for a fingerprint.
    pub(super) fn write(&self, buf: &mut KeyBuf) {
        let (kind, names): (&[u8], &[String]) = match &self.0 {
            Mode::Raw => (b"raw", &[]),
            Mode::Sorted => (b"sorted", &[]),
            Mode::Only(names) => (b"only", names),
            Mode::Without(names) => (b"without", names),
        };
        buf.named(kind, names);
    }

    /// Returns the query as it enters the key and as the handler sees it.
    #[inline]
    pub(crate) fn normalised<'q>(&self, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        match &self.0 {
            Mode::Raw => query.map(Cow::Borrowed),
            mode => mode.reduced(query?).map(Cow::Owned),
        }
    }
}

impl Mode {
    /// Returns the parameters that count, in order, if there are any.
    fn reduced(&self, query: &str) -> Option<String> {
        let keep: &dyn Fn(&str) -> bool = match self {
            Self::Raw => return Some(query.to_owned()),
            Self::Sorted => &|_| true,
            Self::Only(names) => &|name| names.iter().any(|pattern| matches(pattern, name)),
            Self::Without(names) => &|name| !names.iter().any(|pattern| matches(pattern, name)),
        };
        let mut kept: Vec<&str> = query.split('&').filter(|pair| keep(name_of(pair))).collect();
        kept.sort_by_key(|pair| name_of(pair));
        (!kept.is_empty()).then(|| kept.join("&"))
    }
}

/// What the widespread ad and mailing services add.
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
            (
                QueryKey::without_tracking(),
                "fbclid=1&utm_source=x&gclid=2&utm=3&page=2",
                Some("page=2&utm=3"),
            ),
        ];
        for (mode, query, expected) in table {
            assert_eq!(mode.normalised(Some(query)).as_deref(), expected, "{mode:?} {query}");
        }
    }
}
