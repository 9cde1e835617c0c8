//! Which cookies make a request personal, which enter the key, and which count for nothing.

use crate::error::{ConfigError, ConfigErrorKind};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// What is declared of cookies, by name; `*` at the end of a name stands for any ending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CookiePolicy {
    credentials: Vec<String>,
    ignored: Vec<String>,
    /// Whole names, sorted.
    keyed: Vec<String>,
    ignores_undeclared: bool,
}

/// What a cookie means by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Identifies,
    /// Its place among the keyed ones.
    Keyed(usize),
    Ignored,
}

/// A request's cookies make it personal, or are ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Personal;

impl CookiePolicy {
    pub(crate) fn credentials(&mut self, names: impl IntoIterator<Item = String>) -> Result<(), ConfigError> {
        extend(&mut self.credentials, names)
    }

    pub(crate) fn ignore(&mut self, names: impl IntoIterator<Item = String>) -> Result<(), ConfigError> {
        extend(&mut self.ignored, names)
    }

    pub(crate) fn key(&mut self, names: impl IntoIterator<Item = String>) -> Result<(), ConfigError> {
        let mut added = Vec::new();
        extend(&mut added, names)?;
        if let Some(pattern) = added.iter().find(|name| name.ends_with('*')) {
            return Err(ConfigError::new(ConfigErrorKind::InvalidCookieName, pattern));
        }
        self.keyed.extend(added);
        self.keyed.sort_unstable();
        self.keyed.dedup();
        Ok(())
    }

    pub(crate) fn ignore_undeclared(&mut self) {
        self.ignores_undeclared = true;
    }

    /// The names whose values enter the key, in the order in which they do.
    pub(crate) fn keyed(&self) -> &[String] {
        &self.keyed
    }

    /// Returns all that decides on keys, for a fingerprint.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static [u8], &[String])> {
        let undeclared: &'static [u8] =
            if self.ignores_undeclared { b"undeclared ignored" } else { b"undeclared" };
        [
            (&b"cookie credentials"[..], &self.credentials[..]),
            (b"cookies ignored", &self.ignored),
            (b"cookies keyed", &self.keyed),
            (undeclared, &[]),
        ]
        .into_iter()
    }

    /// Tells whether no cookie at all is anybody's business but its sender's: the default.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn meaning(&self, name: &[u8]) -> Meaning {
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        if listed(&self.credentials) {
            return Meaning::Identifies;
        }
        if let Ok(at) = self.keyed.binary_search_by(|known| known.as_bytes().cmp(name)) {
            return Meaning::Keyed(at);
        }
        if self.ignores_undeclared || listed(&self.ignored) { Meaning::Ignored } else { Meaning::Identifies }
    }

    /// Reads the cookies of a request, all lines as one list (RFC 9113 section 8.2.3), and returns the
    /// values that enter the key, in the order of [`keyed`](Self::keyed).
    pub(crate) fn read<'r>(&self, request: &'r HeaderMap) -> Result<Vec<Option<&'r [u8]>>, Personal> {
        let mut values = vec![None; self.keyed.len()];
        for (name, value) in pairs(request) {
            match self.meaning(name) {
                Meaning::Identifies => return Err(Personal),
                Meaning::Ignored => {}
                // Nobody knows which of two a handler reads.
                Meaning::Keyed(at) if values[at].replace(value).is_some() => return Err(Personal),
                Meaning::Keyed(_) => {}
            }
        }
        Ok(values)
    }

    /// Leaves a request the keyed cookies alone, in the order in which they enter the key.
    pub(crate) fn narrow(&self, request: &mut HeaderMap) {
        let Ok(values) = self.read(request) else { return };
        let mut kept = Vec::new();
        for (name, value) in self.keyed.iter().zip(values) {
            let Some(value) = value else { continue };
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(name.as_bytes());
            kept.push(b'=');
            kept.extend_from_slice(value);
        }
        request.remove(COOKIE);
        // Pieces of a field value make a field value.
        if let Some(kept) = HeaderValue::from_bytes(&kept).ok().filter(|kept| !kept.is_empty()) {
            let _ = request.try_insert(COOKIE, kept);
        }
    }
}

/// Returns the cookies of a request; what has no `=` is a value without a name, as browsers have it.
fn pairs(request: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let crumbs =
        request.get_all(COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    crumbs.map(<[u8]>::trim_ascii).filter(|crumb| !crumb.is_empty()).map(|crumb| {
        match crumb.iter().position(|&byte| byte == b'=') {
            Some(at) => (crumb[..at].trim_ascii(), crumb[at + 1..].trim_ascii()),
            None => (&b""[..], crumb),
        }
    })
}

fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix.as_bytes()),
        None => pattern.as_bytes() == name,
    }
}

fn extend(all: &mut Vec<String>, names: impl IntoIterator<Item = String>) -> Result<(), ConfigError> {
    for name in names {
        let stem = name.strip_suffix('*').unwrap_or(&name);
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"=;,\"*".contains(&byte);
        if stem.is_empty() || !stem.bytes().all(plain) {
            return Err(ConfigError::new(ConfigErrorKind::InvalidCookieName, name));
        }
        all.push(name);
    }
    all.sort_unstable();
    all.dedup();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy() -> CookiePolicy {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let mut policy = CookiePolicy::default();
        policy.credentials(names(&["sid", "secure_*"])).expect("valid");
        policy.ignore(names(&["_ga*", "theme"])).expect("valid");
        policy.key(names(&["lang", "currency"])).expect("valid");
        policy
    }

    fn request(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, line.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn what_is_declared_decides_and_what_is_not_identifies() {
        type Values = Result<[Option<&'static str>; 2], Personal>;
        let table: [(&[&str], Values); 12] = [
            (&[], Ok([None, None])),
            (&["lang=de"], Ok([None, Some("de")])),
            (&["lang=de; currency=EUR"], Ok([Some("EUR"), Some("de")])),
            (&["currency=EUR; lang=de"], Ok([Some("EUR"), Some("de")])),
            (&["currency=EUR", "lang=de"], Ok([Some("EUR"), Some("de")])),
            (&["_ga_X=1; theme=dark; lang="], Ok([None, Some("")])),
            (&["sid=1"], Err(Personal)),
            (&["secure_x=1"], Err(Personal)),
            (&["lang=de; remember_me=1"], Err(Personal)),
            (&["lang=de; lang=en"], Err(Personal)),
            (&["nameless"], Err(Personal)),
            (&["LANG=de"], Err(Personal)),
        ];
        for (lines, expected) in table {
            let expected = expected.map(|values| values.map(|value| value.map(str::as_bytes)).to_vec());
            assert_eq!(policy().read(&request(lines)), expected, "{lines:?}");
        }
        let mut lenient = policy();
        lenient.ignore_undeclared();
        assert!(lenient.read(&request(&["remember_me=1; nameless"])).is_ok());
        assert_eq!(lenient.read(&request(&["sid=1"])), Err(Personal), "a credential is one all the same");
    }

    #[test]
    fn a_fill_has_the_keyed_cookies_alone_in_one_order() {
        let mut sent = request(&["lang=de; _ga=1", "currency=EUR"]);
        policy().narrow(&mut sent);
        assert_eq!(sent.get_all(COOKIE).iter().collect::<Vec<_>>(), ["currency=EUR; lang=de"]);
        let mut sent = request(&["_ga=1"]);
        policy().narrow(&mut sent);
        assert!(!sent.contains_key(COOKIE));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for name in ["", "*", "a b", "a=b", "a;b", "a*b", "caf\u{e9}"] {
            let error = CookiePolicy::default().ignore([name.to_owned()]).expect_err(name);
            assert_eq!((error.kind(), error.value()), (ConfigErrorKind::InvalidCookieName, name));
        }
        assert!(CookiePolicy::default().key(["lang*".to_owned()]).is_err(), "only whole names can be keyed");
    }

    proptest! {
        #[test]
        fn what_is_narrowed_reads_as_before_and_again(line in "[a-z_=; ]{0,40}") {
            let mut policy = policy();
            policy.ignore_undeclared();
            let mut sent = request(&[&line]);
            if let Ok(before) = policy.read(&request(&[&line])) {
                policy.narrow(&mut sent);
                prop_assert_eq!(policy.read(&sent), Ok(before));
            }
        }
    }
}
