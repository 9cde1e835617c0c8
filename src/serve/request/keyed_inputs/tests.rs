//! Checks with random policies and pairs of requests that the key covers the inputs that the
//! handler sees.

mod single_inputs;

use super::{KeyBuf, KeyedInputs, reaches_handler, write_request_key};
use crate::cache::Cache;
use crate::key::{KeyPart, QueryKey};
use crate::policy::request_fields::role_of;
use crate::policy::{Cookies, Policy, PolicyBuilder};
use crate::serve::config::{LayerConfig, Level};
use crate::serve::request::{InspectedRequest, RequestFacts, inspect};
use crate::store::NullStore;
use http::header::{CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderName, USER_AGENT};
use http::{Method, Request, Uri};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;

/// The fields of a request, each with its possible values. In a value, `|` separates the lines of
/// the field.
const FIELDS: [(&str, &[&str]); 24] = [
    ("host", &["h.example", "h.example", "i.example", "h.example:81"]),
    ("x-k", &["1", "2", "", "1|2", "12"]),
    ("x-ignored", &["1", "2"]),
    ("accept-language", &["de", "en, de;q=0.5", "fr", "de|en"]),
    (
        "cookie",
        &["lang=de", "lang=en; _ga=1", "_ga=2; lang=de", "_ga=3", "lang=de|_ga=4", "lang=", "sid=1; lang=de"],
    ),
    ("x-plan", &["a", "b", ""]),
    ("x-allowed", &["1", "2"]),
    ("x-other", &["1", "2"]),
    ("user-agent", &["a", "b"]),
    ("forwarded", &["for=1;host=a.example", "Host=\"a.example\";for=2", "for=9", "for=1, host=b.example"]),
    ("x-forwarded-host", &["a.example", "A.example", "b.example, a.example", "a.example|b.example"]),
    ("x-forwarded-proto", &["https", "HTTPS", "http"]),
    ("x-forwarded-prefix", &["/p", "p/", "/"]),
    ("x-forwarded-port", &["443", "0443"]),
    ("x-original-url", &["/a?b=1&a=2", "/a?a=2&b=1", "http://A.example/x"]),
    ("authorization", &["Basic a", "Basic b"]),
    ("x-shop-token", &["1", "2"]),
    ("x-who", &["1", "2", ""]),
    ("range", &["bytes=0-1", "bytes=2-3"]),
    ("if-none-match", &["\"a\"", "\"b\""]),
    ("if-match", &["\"a\""]),
    ("cache-control", &["no-cache", "max-age=0"]),
    ("content-length", &["0"]),
    ("te", &["trailers"]),
];

const TARGETS: [&str; 12] = [
    "/a",
    "/a?a=1&b=2",
    "/a?b=2&a=1",
    "/a?a=1",
    "/a?",
    "/b?a=1",
    "http://h.example/a?a=1",
    "http://h.example/a?b=3&a=1",
    "https://h.example/a",
    "http://h.example:81/a",
    "http://h.example",
    "http://h.example?b=2",
];

/// A request as a list of indices: for each of [`FIELDS`] the index of its value, the index of the
/// target, and the index of the original URI of a nested router. Except for the target, 0 stands
/// for none and the indices start at 1.
type Choices = Vec<usize>;

const TARGET: usize = FIELDS.len();
const ORIGINAL: usize = TARGET + 1;

fn choices() -> impl Strategy<Value = Choices> {
    let fields = FIELDS.map(|(_, values)| prop_oneof![6 => Just(0), 1 => 1..=values.len()].boxed());
    let target = (0..TARGETS.len()).boxed();
    let original = prop_oneof![6 => Just(0), 1 => 1..=TARGETS.len()].boxed();
    fields.into_iter().chain([target, original]).collect::<Vec<_>>()
}

/// Two requests that differ in a few choices.
fn pairs() -> impl Strategy<Value = (Choices, Choices)> {
    let at = prop_oneof![1 => Just(TARGET), 1 => Just(ORIGINAL), 6 => 0..TARGET];
    let changes = proptest::collection::vec((at, any::<prop::sample::Index>()), 1..3);
    (choices(), changes).prop_map(|(first, changes)| {
        let mut second = first.clone();
        for (at, choice) in changes {
            second[at] = match at {
                TARGET => choice.index(TARGETS.len()),
                ORIGINAL => choice.index(TARGETS.len() + 1),
                _ => choice.index(FIELDS[at].1.len() + 1),
            };
        }
        (first, second)
    })
}

fn request(choices: &Choices, method: &Method) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.uri_mut() = TARGETS[choices[TARGET]].parse().expect("a target");
    if let Some(original) = choices[ORIGINAL].checked_sub(1) {
        set_original(&mut request, TARGETS[original].parse().expect("a target"));
    }
    for ((name, values), choice) in FIELDS.iter().zip(choices) {
        let lines = choice.checked_sub(1).map(|at| values[at].split('|'));
        for line in lines.into_iter().flatten() {
            request.headers_mut().append(*name, line.parse().expect("a value"));
        }
    }
    request
}

#[cfg(feature = "axum")]
fn set_original(request: &mut Request<()>, uri: Uri) {
    request.extensions_mut().insert(axum::extract::OriginalUri(uri));
}

#[cfg(not(feature = "axum"))]
fn set_original(_: &mut Request<()>, _: Uri) {}

#[cfg(feature = "axum")]
fn original(request: &Request<()>) -> &Uri {
    request.extensions().get::<axum::extract::OriginalUri>().map_or(request.uri(), |original| &original.0)
}

#[cfg(not(feature = "axum"))]
fn original(request: &Request<()>) -> &Uri {
    request.uri()
}

fn text(name: &'static str) -> impl Fn(crate::key::RequestHead<'_>) -> Option<String> + Send + Sync {
    move |request| Some(request.headers.get(name)?.to_str().ok()?.to_owned())
}

fn names(names: &[&'static str]) -> Vec<HeaderName> {
    names.iter().map(|name| HeaderName::from_static(name)).collect()
}

fn presets() -> impl Strategy<Value = PolicyBuilder> {
    let queries = [QueryKey::raw(), QueryKey::sorted(), QueryKey::only(["a"]), QueryKey::without(["b*"])];
    let ignored: [&[&str]; 7] = [
        &[],
        &[],
        &["x-ignored"],
        &["authorization"],
        &["x-forwarded-host", "cookie"],
        &["host"],
        &["range"],
    ];
    let keyed: [&[&str]; 10] = [
        &[],
        &["x-k"],
        &["accept-language", "x-k"],
        &["x-forwarded-proto"],
        &["x-shop-token"],
        &["host"],
        &["te"],
        &["range"],
        &["cache-control"],
        &["content-length"],
    ];
    (any::<bool>(), select(queries.to_vec()), select(ignored.to_vec()), select(keyed.to_vec())).prop_map(
        |(by_rfc, query, ignored, keyed)| {
            let policy = if by_rfc { Policy::rfc9111() } else { Policy::app() };
            let keyed = names(keyed).into_iter().filter(|name| !ignored.contains(&name.as_str()));
            policy.query(query).vary_on_headers(keyed.collect::<Vec<_>>()).ignore_headers(names(ignored))
        },
    )
}

fn policies() -> impl Strategy<Value = PolicyBuilder> {
    (presets(), 0..6_u8, 0..9_u8, any::<bool>(), 0..4_u8).prop_map(
        |(policy, cookies, part, identity, allowed)| {
            let policy = match cookies {
                0 => policy,
                1 => policy.vary_on_cookies(["lang"]),
                2 => policy.ignore_cookies(["_ga*"]),
                3 => policy.vary_on_cookies(["lang"]).ignore_cookies(["_ga"]),
                4 => policy.vary_on_cookies(["lang"]).ignore_undeclared_cookies(),
                _ => policy.credential_cookies(["sid"]).ignore_undeclared_cookies(),
            };
            let policy = match part {
                0 | 1 => policy,
                2 => policy.vary_by("plan", text("x-plan")),
                3 => policy.vary_by_part(KeyPart::language(["en", "de"]).expect("tags")),
                4 => policy
                    .vary_by_part(KeyPart::new("k", text("x-k")).replacing(HeaderName::from_static("x-k"))),
                5 => policy.vary_by_part(KeyPart::new("c", text("cookie")).replacing(COOKIE)),
                6 => policy.vary_by_part(KeyPart::new("h", text("x-plan")).replacing(HOST)),
                7 => policy.vary_by_part(KeyPart::new("f", text("x-plan")).replacing(FORWARDED)),
                _ => policy.vary_by_part(KeyPart::new("plan", text("x-plan")).replacing(USER_AGENT)),
            };
            let policy = if identity { policy.vary_by_identity("who", text("x-who")) } else { policy };
            match allowed {
                0 | 1 => policy,
                2 => policy.strip_unkeyed_inputs(true),
                _ => policy.strip_unkeyed_inputs(true).allow_unkeyed_headers(["x-allowed"]),
            }
        },
    )
}

/// The key of a request, and the request that the handler sees.
#[derive(Debug)]
struct HandlerRequest {
    key: Vec<u8>,
    facts: RequestFacts,
    identity: Option<String>,
    parts: Vec<Option<String>>,
    stripped: Request<()>,
}

/// Returns the key of a request, and the request that the handler sees. Returns `None` if the
/// request bypasses the cache.
fn seen_by_handler(config: &LayerConfig, mut request: Request<()>) -> Option<HandlerRequest> {
    let (mut buf, mut inspected) = (KeyBuf::new(), InspectedRequest::default());
    let head = crate::key::RequestHead::from(&request);
    inspect(&config.policy, head, true, None, &mut inspected).ok()?;
    inspected.parts = config.policy.key.parts(head);
    write_request_key(config, head, &inspected, &mut buf).ok()?;
    let (facts, identity, parts) = (inspected.facts, inspected.identity.clone(), inspected.parts.clone());
    KeyedInputs::new(&config.policy, facts, &parts).strip(&mut request);
    Some(HandlerRequest { key: buf.as_bytes().to_vec(), facts, identity, parts, stripped: request })
}

impl HandlerRequest {
    /// Returns `true` if the key determines the lines of a field that the handler sees.
    fn is_decided(&self, policy: &Policy, name: &HeaderName) -> bool {
        let is_allowed = policy.strips_unkeyed && policy.allowed_unkeyed.contains(name);
        let identifies = role_of(name.as_str()).identifies() || policy.credentials.contains(name);
        let is_own = self.facts.personal && (*name == COOKIE || identifies);
        let is_cookie = *name == COOKIE && !policy.cookies.is_default();
        let is_listed = policy.is_keyed(name) || policy.key.ignored.contains(name) || is_cookie;
        let is_free = is_allowed || role_of(name.as_str()).selects() || is_own;
        policy.key.covers(name) || (!is_free && (is_listed || policy.strips_unkeyed))
    }

    /// Returns all inputs that the handler sees and the key determines.
    fn decided(&self, policy: &Policy) -> Vec<String> {
        let request = &self.stripped;
        let mut lines: Vec<_> = (request.headers().iter())
            .filter(|(name, _)| self.is_decided(policy, name))
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        // The order of lines matters within one field only.
        lines.sort_by_key(|line| line.split(':').next().map(str::to_owned));
        let cookies = Cookies { own: &policy.cookies, outer: None, personal: self.facts.personal };
        if !policy.cookies.keyed().is_empty() {
            lines.push(format!("{:?}", cookies.read(request.headers())));
        }
        lines.push(format!("{} {}", request.uri(), original(request)));
        lines.push(format!("{:?} {:?}", self.identity, self.parts));
        lines
    }
}

/// Checks one pair of requests, and returns whether they have the same key. Returns `None` if a
/// request bypasses the cache.
fn check(
    config: &LayerConfig,
    first: Request<()>,
    second: Request<()>,
) -> Result<Option<bool>, TestCaseError> {
    let (Some(first), Some(second)) = (seen_by_handler(config, first), seen_by_handler(config, second))
    else {
        return Ok(None);
    };
    let (a, b) = (first.decided(&config.policy), second.decided(&config.policy));
    let has_one_key = first.key == second.key;
    if has_one_key {
        prop_assert_eq!(&a, &b, "the keys are equal, but the handler sees different requests");
    }
    // Requests that look equal to the handler have one key. The keys may differ only if the policy
    // keys a field as it was sent, and the handler sees another form of it (`Host`, forwarded
    // fields, a field that a key part replaces) or does not see it (`Content-Length`).
    let is_twice = |name: &HeaderName| role_of(name.as_str()).is_keyed() || *name == CONTENT_LENGTH;
    let is_replaced = |name| config.policy.key.fields().filter(|field| *field == name).count() > 1;
    let keys_twice = config.policy.key.fields().any(|name| is_twice(name) || is_replaced(name));
    let is_whole = |seen: &HandlerRequest| {
        let names = seen.stripped.headers().keys();
        !keys_twice && names.into_iter().all(|name| seen.is_decided(&config.policy, name))
    };
    if a == b && is_whole(&first) && is_whole(&second) && first.facts.personal == second.facts.personal {
        prop_assert!(has_one_key, "the keys differ, but the handler sees equal requests: {:?}", a);
    }
    for name in first.stripped.headers().keys().filter(|_| config.policy.strips_unkeyed) {
        prop_assert!(reaches_handler(&config.policy, name, first.facts), "{name}");
    }
    Ok(Some(has_one_key))
}

#[test]
fn requests_with_one_key_are_one_request_to_the_handler() {
    let (same, other) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 3000, max_global_rejects: 1, ..Config::default() });
    let run = runner.run(&(policies(), pairs(), any::<bool>()), |(policy, (first, second), head)| {
        let config =
            LayerConfig::new(Cache::new(NullStore::new()), policy.build().expect("a policy"), Level::Site);
        let method = if head { Method::HEAD } else { Method::GET };
        let counted = match check(&config, request(&first, &Method::GET), request(&second, &method))? {
            Some(true) => &same,
            Some(false) => &other,
            None => return Ok(()),
        };
        counted.set(counted.get() + 1);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(same.get() > 200 && other.get() > 200, "{same:?} {other:?}");
}
