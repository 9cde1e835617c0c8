//! The roles of cookies: which identify a visitor, which enter the key, and which are ignored.

use super::contradictions::{contradiction, shared};
use crate::error::{ConfigError, ConfigErrorKind};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeSet;

/// The declared cookies, by name. A `*` at the end of a name matches any ending, except in keyed
/// names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CookiePolicy {
    credentials: Vec<String>,
    ignored: Vec<String>,
    /// Exact names, sorted and unique. `role` searches them by bisection.
    keyed: Vec<String>,
    ignores_undeclared: bool,
}

/// The role of a cookie, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CookieRole {
    Identifies,
    /// Enters the key, with its index in the keyed names.
    Keyed(usize),
    Ignored,
    Undeclared,
}

/// The error for a request whose response must not be shared. A cookie of the request identifies a
/// visitor or is undeclared, or a keyed cookie has two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PersonalCookie;

impl CookiePolicy {
    pub(crate) fn credentials(
        &mut self,
        names: impl IntoIterator<Item = String>,
    ) -> Result<(), Vec<ConfigError>> {
        add_names(&mut self.credentials, names)
    }

    pub(crate) fn ignore(&mut self, names: impl IntoIterator<Item = String>) -> Result<(), Vec<ConfigError>> {
        add_names(&mut self.ignored, names)
    }

    pub(crate) fn key(&mut self, names: impl IntoIterator<Item = String>) -> Result<(), Vec<ConfigError>> {
        let (patterns, exact): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.ends_with('*'));
        let errors =
            patterns.into_iter().map(|name| ConfigError::new(ConfigErrorKind::InvalidCookieName, name));
        let mut errors: Vec<_> = errors.collect();
        errors.extend(add_names(&mut self.keyed, exact).err().into_iter().flatten());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Returns an error for each name that is declared in two roles. A name that only matches a
    /// pattern of another role is permitted: it is an exception to the pattern.
    pub(crate) fn contradictions(&self) -> impl Iterator<Item = ConfigError> {
        let Self { credentials, ignored, keyed, .. } = self;
        let roles = [(credentials, ignored), (credentials, keyed), (ignored, keyed)];
        let names: BTreeSet<_> = roles.into_iter().flat_map(|(one, other)| shared(one, other)).collect();
        names.into_iter().map(contradiction)
    }

    pub(crate) fn ignore_undeclared(&mut self) {
        self.ignores_undeclared = true;
    }

    /// Returns the names whose values enter the key, in the order in which they enter.
    pub(crate) fn keyed(&self) -> &[String] {
        &self.keyed
    }

    /// Returns all declarations, as labeled lists. They enter the ID of the layer, so that layers
    /// with different declarations share no key.
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

    /// Returns `true` if nothing is declared, so that every cookie is undeclared.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Merges the declarations of two layers. Leaves out keyed names: a cookie in the key of one
    /// layer is not in the keys of other layers.
    pub(crate) fn join(&self, other: &Self) -> Self {
        let join = |own: &[String], others: &[String]| own.iter().chain(others).cloned().collect();
        Self {
            credentials: join(&self.credentials, &other.credentials),
            ignored: join(&self.ignored, &other.ignored),
            keyed: Vec::new(),
            ignores_undeclared: self.ignores_undeclared || other.ignores_undeclared,
        }
    }

    /// Returns `true` if any cookie of a request is declared as a credential.
    pub(crate) fn identifies(&self, request: &HeaderMap) -> bool {
        pairs(request).any(|(name, _)| matches_any(&self.credentials, name))
    }

    fn names_exactly(&self, name: &[u8]) -> bool {
        self.ignored.iter().any(|known| known.as_bytes() == name)
    }
}

/// The cookie declarations that apply to one request, from this layer and from outer layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cookies<'p> {
    pub(crate) own: &'p CookiePolicy,
    pub(crate) outer: Option<&'p CookiePolicy>,
    /// Whether the visitor's identity is part of the key.
    pub(crate) personal: bool,
}

impl Cookies<'_> {
    /// Returns `true` if this layer declares no cookie, and no outer `AnonymousOnlyLayer` exists.
    pub(crate) fn is_default(self) -> bool {
        self.own.is_default() && self.outer.is_none()
    }

    /// Returns `true` if a cookie with this name is declared.
    pub(crate) fn declares(self, name: &[u8]) -> bool {
        self.role(name) != CookieRole::Undeclared
    }

    fn role(self, name: &[u8]) -> CookieRole {
        let any = |list: fn(&CookiePolicy) -> &[String]| {
            matches_any(list(self.own), name)
                || self.outer.is_some_and(|outer| matches_any(list(outer), name))
        };
        // `s%69d` may be a credential: some frameworks decode percent-encoded names, and read it as
        // `sid`.
        let disguised = name.contains(&b'%')
            && !self.own.names_exactly(name)
            && !self.outer.is_some_and(|outer| outer.names_exactly(name));
        if disguised || any(|policy| &policy.credentials) {
            return CookieRole::Identifies;
        }
        if let Ok(at) = self.own.keyed.binary_search_by(|known| known.as_bytes().cmp(name)) {
            return CookieRole::Keyed(at);
        }
        if any(|policy| &policy.ignored) {
            return CookieRole::Ignored;
        }
        let ignores = self.own.ignores_undeclared || self.outer.is_some_and(|outer| outer.ignores_undeclared);
        if ignores { CookieRole::Ignored } else { CookieRole::Undeclared }
    }

    /// Returns the names of the cookies for which a request bypasses the cache: cookies that
    /// identify the visitor, undeclared cookies, and keyed cookies with two values.
    ///
    /// Returns at most 16 names, cut and escaped, since a client chooses the names.
    pub(crate) fn identifying_names(self, request: &HeaderMap) -> Vec<String> {
        const MAX_NAMES: usize = 16;
        const MAX_NAME_BYTES: usize = 64;
        let mut keyed = BTreeSet::new();
        let identifying = pairs(request).filter(|(name, _)| match self.role(name) {
            CookieRole::Identifies | CookieRole::Undeclared => true,
            CookieRole::Keyed(at) => !keyed.insert(at),
            CookieRole::Ignored => false,
        });
        let shown = identifying.map(|(name, value)| match name {
            [] => "cookie without a name".to_owned(),
            // A Base64 value without a name may have this form, so the text is not shown.
            _ if value.iter().all(|&byte| byte == b'=') => "cookie without a value".to_owned(),
            name => {
                let escaped = name.escape_ascii().take(MAX_NAME_BYTES).map(char::from);
                format!("cookie {}", escaped.collect::<String>())
            }
        });
        shown.take(MAX_NAMES).collect()
    }

    /// Reads the cookies of a request, all lines as one list (RFC 9113 section 8.2.3).
    ///
    /// Returns the values that enter the key, in the order of [`keyed`](CookiePolicy::keyed).
    ///
    /// # Errors
    /// Fails if a keyed cookie is repeated. Unless the visitor's identity is part of the key, also
    /// fails for a cookie that identifies the visitor or is undeclared.
    pub(crate) fn read(self, request: &HeaderMap) -> Result<Vec<Option<&[u8]>>, PersonalCookie> {
        let mut values = vec![None; self.own.keyed.len()];
        for (name, value) in pairs(request) {
            match self.role(name) {
                CookieRole::Identifies | CookieRole::Undeclared if !self.personal => {
                    return Err(PersonalCookie);
                }
                CookieRole::Identifies | CookieRole::Undeclared | CookieRole::Ignored => {}
                // Of two cookies with the same name, frameworks differ in which one they read.
                CookieRole::Keyed(at) if values[at].replace(value).is_some() => return Err(PersonalCookie),
                CookieRole::Keyed(_) => {}
            }
        }
        Ok(values)
    }

    /// Removes unkeyed cookies from a request, and writes the keyed ones in the order of the key.
    ///
    /// If the visitor's identity is part of the key, only ignored cookies are removed. If
    /// [`read`](Self::read) fails, the cookies stay unchanged.
    pub(crate) fn strip_unkeyed(self, request: &mut HeaderMap) {
        let Ok(values) = self.read(request) else { return };
        let keyed = self.own.keyed.iter().map(String::as_bytes).zip(values);
        let keyed = keyed.filter_map(|(name, value)| Some((name, value?)));
        let others = pairs(request).filter(|(name, _)| {
            self.personal && matches!(self.role(name), CookieRole::Identifies | CookieRole::Undeclared)
        });
        let mut line = Vec::new();
        for (name, value) in keyed.chain(others) {
            if !line.is_empty() {
                line.extend_from_slice(b"; ");
            }
            // A cookie without a name needs a leading `=` only if its value contains a `=`.
            if !name.is_empty() || value.contains(&b'=') {
                line.extend_from_slice(name);
                line.push(b'=');
            }
            line.extend_from_slice(value);
        }
        request.remove(COOKIE);
        // The pieces come from field values, so the conversion does not fail.
        if let Some(line) = HeaderValue::from_bytes(&line).ok().filter(|line| !line.is_empty()) {
            let _ = request.try_insert(COOKIE, line);
        }
    }
}

/// Returns the names of the cookies of a request.
pub(crate) fn cookie_names(request: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    pairs(request).map(|(name, _)| name)
}

/// Returns the names and values of the cookies of a request.
///
/// A cookie without `=` is a value without a name, as in browsers.
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

/// Returns `true` if each of these `Set-Cookie` values sets a cookie whose name matches one of
/// `names`.
pub(crate) fn sets_only<'a>(names: &[String], values: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
    values.into_iter().all(|value| {
        // RFC 6265 section 5.2: the name-value pair ends at the first semicolon.
        let pair = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
        pair.contains(&b'=') && matches_any(names, name.trim_ascii())
    })
}

fn matches_any(patterns: &[String], name: &[u8]) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix.as_bytes()),
        None => pattern.as_bytes() == name,
    }
}

/// Adds names to a sorted list. Returns an error for each invalid name.
pub(super) fn add_names(
    all: &mut Vec<String>,
    names: impl IntoIterator<Item = String>,
) -> Result<(), Vec<ConfigError>> {
    let is_valid = |name: &String| {
        let stem = name.strip_suffix('*').unwrap_or(name);
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"=;,\"*".contains(&byte);
        !stem.is_empty() && stem.bytes().all(plain)
    };
    let (valid, invalid): (Vec<_>, Vec<_>) = names.into_iter().partition(is_valid);
    all.extend(valid);
    all.sort_unstable();
    all.dedup();
    match invalid.is_empty() {
        true => Ok(()),
        false => Err(invalid
            .into_iter()
            .map(|name| ConfigError::new(ConfigErrorKind::InvalidCookieName, name))
            .collect()),
    }
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

    fn without_outer(own: &CookiePolicy) -> Cookies<'_> {
        Cookies { own, outer: None, personal: false }
    }

    fn request(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, line.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn declared_cookies_have_their_role_and_others_identify() {
        type Values = Result<[Option<&'static str>; 2], PersonalCookie>;
        let table: [(&[&str], Values); 14] = [
            (&[], Ok([None, None])),
            (&["lang=de"], Ok([None, Some("de")])),
            (&["lang=de; currency=EUR"], Ok([Some("EUR"), Some("de")])),
            (&["currency=EUR; lang=de"], Ok([Some("EUR"), Some("de")])),
            (&["currency=EUR", "lang=de"], Ok([Some("EUR"), Some("de")])),
            (&["_ga_X=1; theme=dark; lang="], Ok([None, Some("")])),
            (&["sid=1"], Err(PersonalCookie)),
            (&["secure_x=1"], Err(PersonalCookie)),
            (&["lang=de; remember_me=1"], Err(PersonalCookie)),
            (&["lang=de; lang=en"], Err(PersonalCookie)),
            (&["nameless"], Err(PersonalCookie)),
            (&["LANG=de"], Err(PersonalCookie)),
            (&["l%61ng=de"], Err(PersonalCookie)),
            (&["_ga%58=1"], Err(PersonalCookie)),
        ];
        for (lines, expected) in table {
            let expected = expected.map(|values| values.map(|value| value.map(str::as_bytes)).to_vec());
            assert_eq!(without_outer(&policy()).read(&request(lines)), expected, "{lines:?}");
        }
        let mut lenient = policy();
        lenient.ignore_undeclared();
        assert_eq!(
            without_outer(&lenient).read(&request(&["s%69d=1"])),
            Err(PersonalCookie),
            "an encoded name of a credential"
        );
        assert!(without_outer(&lenient).read(&request(&["remember_me=1; nameless"])).is_ok());
        assert_eq!(
            without_outer(&lenient).read(&request(&["sid=1"])),
            Err(PersonalCookie),
            "a declared credential always identifies"
        );
    }

    #[test]
    fn a_fetch_has_only_keyed_cookies_in_one_order() {
        let mut sent = request(&["lang=de; _ga=1", "currency=EUR"]);
        without_outer(&policy()).strip_unkeyed(&mut sent);
        assert_eq!(sent.get_all(COOKIE).iter().collect::<Vec<_>>(), ["currency=EUR; lang=de"]);
        let mut sent = request(&["_ga=1"]);
        without_outer(&policy()).strip_unkeyed(&mut sent);
        assert!(!sent.contains_key(COOKIE));
    }

    #[test]
    fn declarations_of_outer_layers_apply_except_keyed_cookies() {
        let mut outer = CookiePolicy::default();
        outer.ignore(["harmless".to_owned(), "sid".to_owned()]).expect("valid");
        outer.credentials(["theme".to_owned()]).expect("valid");
        outer.key(["other".to_owned()]).expect("valid");
        let own = policy();
        let both = Cookies { own: &own, outer: Some(&outer), personal: false };
        assert!(both.read(&request(&["harmless=1; lang=de; _ga=1"])).is_ok());
        for cookie in ["sid=1", "theme=dark", "other=1", "undeclared=1"] {
            assert_eq!(both.read(&request(&[cookie])), Err(PersonalCookie), "{cookie}");
        }
        assert!(
            outer.identifies(&request(&["a=1", "theme=dark"])) && !outer.identifies(&request(&["sid=1"]))
        );
    }

    #[test]
    fn with_an_identity_only_harmless_cookies_are_stripped() {
        let own = policy();
        let personal = Cookies { own: &own, outer: None, personal: true };
        let mut sent = request(&["sid=1; _ga=2; lang=de; nameless", "undeclared=a=b"]);
        assert_eq!(personal.read(&sent), Ok(vec![None, Some(&b"de"[..])]));
        personal.strip_unkeyed(&mut sent);
        assert_eq!(sent[COOKIE], "lang=de; sid=1; nameless; undeclared=a=b");
        assert_eq!(personal.read(&request(&["lang=de; lang=en"])), Err(PersonalCookie));
    }

    #[test]
    fn invalid_names_are_refused() {
        for name in ["", "*", "a b", "a=b", "a;b", "a*b", "caf\u{e9}"] {
            let errors = CookiePolicy::default().ignore([name.to_owned()]).expect_err(name);
            assert_eq!(errors, [ConfigError::new(ConfigErrorKind::InvalidCookieName, name)]);
        }
        assert!(CookiePolicy::default().key(["lang*".to_owned()]).is_err(), "only whole names can be keyed");
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn stripped_cookies_read_like_the_original_ones(line in "[a-z_=; ]{0,40}") {
            let mut policy = policy();
            policy.ignore_undeclared();
            let mut sent = request(&[&line]);
            if let Ok(before) = without_outer(&policy).read(&request(&[&line])) {
                without_outer(&policy).strip_unkeyed(&mut sent);
                prop_assert_eq!(without_outer(&policy).read(&sent), Ok(before));
            }
        }
    }
}
