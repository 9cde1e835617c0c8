//! Tables of pairs of requests that differ in one input.

use super::{names, seen_by_handler, text};
use crate::cache::Cache;
use crate::key::{KeyPart, QueryKey};
use crate::policy::Policy;
use crate::serve::config::{LayerConfig, Level};
use crate::store::NullStore;
use http::Request;

/// Returns a request for a target, with one field. If the name is empty, the field is left out.
fn with_field(target: &str, name: &str, value: &str) -> Request<()> {
    let request = Request::get(target).header("host", "h.example");
    let request = if name.is_empty() { request } else { request.header(name, value) };
    request.body(()).expect("a request")
}

#[test]
fn each_keyed_input_changes_the_key() {
    let app = Policy::app;
    let x_k = || names(&["x-k"]);
    let lang = || app().vary_on_cookies(["lang"]);
    let table = [
        (app(), ["/a", "", ""], ["/b", "", ""]),
        (app(), ["/a?a=1", "", ""], ["/a?a=2", "", ""]),
        (app().query(QueryKey::only(["a"])), ["/a?a=1", "", ""], ["/a?a=2", "", ""]),
        (app(), ["http://h.example/a", "", ""], ["https://h.example/a", "", ""]),
        (app().vary_on_headers(x_k()), ["/a", "x-k", "1"], ["/a", "x-k", "2"]),
        (app().vary_on_headers(x_k()), ["/a", "x-k", ""], ["/a", "", ""]),
        (lang(), ["/a", "cookie", "lang=de"], ["/a", "cookie", "lang=en"]),
        (lang(), ["/a", "cookie", "lang="], ["/a", "", ""]),
        (app().vary_by("plan", text("x-plan")), ["/a", "x-plan", "a"], ["/a", "x-plan", "b"]),
        (app().vary_by("plan", text("x-plan")), ["/a", "x-plan", ""], ["/a", "", ""]),
        (app().vary_by_identity("who", text("x-who")), ["/a", "x-who", "1"], ["/a", "x-who", "2"]),
        (app().vary_by_identity("who", text("x-who")), ["/a", "x-who", "1"], ["/a", "", ""]),
        (app(), ["/a", "x-forwarded-host", "a.example"], ["/a", "x-forwarded-host", "b.example"]),
        (app(), ["/a", "x-forwarded-proto", "https"], ["/a", "", ""]),
    ];
    for (row, (policy, first, second)) in table.into_iter().enumerate() {
        let config =
            LayerConfig::new(Cache::new(NullStore::new()), policy.build().expect("a policy"), Level::Site);
        let key = |[target, name, value]: [&str; 3]| {
            seen_by_handler(&config, with_field(target, name, value)).expect("it has a key").key
        };
        assert_ne!(key(first), key(second), "row {row}");
    }
}

#[test]
fn no_unkeyed_input_changes_the_key() {
    let app = Policy::app;
    let ignored = || app().ignore_headers(names(&["x-ignored", "authorization"]));
    let cookies = || app().vary_on_cookies(["lang"]).ignore_cookies(["_ga"]);
    let language = || app().vary_by_part(KeyPart::language(["en", "de"]).expect("tags"));
    let table = [
        (ignored(), ["/a", "x-ignored", "1"], ["/a", "x-ignored", "2"]),
        (ignored(), ["/a", "authorization", "Basic a"], ["/a", "", ""]),
        (app().query(QueryKey::sorted()), ["/a?b=1&a=1", "", ""], ["/a?a=1&b=1", "", ""]),
        (app().query(QueryKey::without(["b"])), ["/a?b=1", "", ""], ["/a", "", ""]),
        (cookies(), ["/a", "cookie", "lang=de; _ga=1"], ["/a", "cookie", "_ga=2;lang=de"]),
        (cookies(), ["/a", "cookie", "_ga=1"], ["/a", "", ""]),
        (language(), ["/a", "accept-language", "de, fr"], ["/a", "accept-language", "de;q=0.9"]),
        (app(), ["/a", "x-forwarded-host", "A.example"], ["/a", "x-forwarded-host", "a.example"]),
        (app(), ["/a", "forwarded", "for=1;host=a"], ["/a", "forwarded", "Host=a;for=2"]),
        (app().strip_unkeyed_inputs(true), ["/a", "x-other", "1"], ["/a", "", ""]),
    ];
    for (row, (policy, first, second)) in table.into_iter().enumerate() {
        let config =
            LayerConfig::new(Cache::new(NullStore::new()), policy.build().expect("a policy"), Level::Site);
        let seen = |[target, name, value]: [&str; 3]| {
            let seen = seen_by_handler(&config, with_field(target, name, value)).expect("it has a key");
            (seen.key, seen.stripped.uri().clone(), seen.stripped.headers().clone())
        };
        assert_eq!(seen(first), seen(second), "row {row}");
    }
}
