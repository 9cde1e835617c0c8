//! Options of a policy that contradict each other, in every order of the calls.

use http::HeaderName;
use tower_response_cache::error::ConfigErrorKind;
use tower_response_cache::key::KeyPart;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{AnonymousOnlyLayer, Policy};

type Call = fn(PolicyBuilder) -> PolicyBuilder;

const X: &str = "x-plan";

fn part() -> KeyPart {
    KeyPart::new("plan", |_| None).replacing(HeaderName::from_static(X))
}

const KEYED: Call = |policy| policy.vary_on_headers([X]);
const IGNORED: Call = |policy| policy.ignore_headers([X]);
const CREDENTIAL: Call = |policy| policy.credential_headers([X]);
const REPLACED: Call = |policy| policy.vary_by_part(part());
const ALLOWED: Call = |policy| policy.allow_unkeyed_headers([X]);
const CARRIED: Call = |policy| policy.refresh_headers([X]);
const UNSTORED: Call = |policy| policy.unstored_headers([X]);

/// Returns all orders of some calls.
fn orders(calls: &[Call]) -> Vec<Vec<Call>> {
    let Some((first, rest)) = calls.split_first() else { return vec![Vec::new()] };
    let rest = orders(rest);
    let with_first = |order: &Vec<Call>| {
        (0..=order.len()).map(|at| [&order[..at], &[*first], &order[at..]].concat()).collect::<Vec<_>>()
    };
    rest.iter().flat_map(with_first).collect()
}

/// Returns the contradictions that the calls report. Panics if the order of the calls changes them.
fn contradictions(calls: &[Call]) -> Vec<String> {
    let mut all: Vec<Vec<String>> = orders(calls)
        .into_iter()
        .map(|order| match order.into_iter().fold(Policy::app(), |policy, call| call(policy)).build() {
            Ok(_) => Vec::new(),
            Err(error) => {
                assert!(error.all().all(|error| error.kind() == ConfigErrorKind::Contradiction), "{error}");
                error.all().map(|error| error.value().to_owned()).collect()
            }
        })
        .collect();
    all.dedup();
    assert_eq!(all.len(), 1, "the order of calls matters: {all:?}");
    all.swap_remove(0)
}

#[test]
fn roles_of_a_field_contradict_each_other_in_every_order() {
    let roles = [KEYED, IGNORED, CREDENTIAL, REPLACED, ALLOWED, CARRIED, UNSTORED];
    let names = ["keyed", "ignored", "credential", "replaced", "allowed", "carried", "unstored"];
    let mut found = Vec::new();
    for (at, one) in roles.iter().enumerate() {
        for (other_at, other) in roles.iter().enumerate().skip(at + 1) {
            if !contradictions(&[*one, *other]).is_empty() {
                found.push((names[at], names[other_at]));
            }
        }
    }
    let expected = [
        ("keyed", "ignored"),
        ("keyed", "credential"),
        ("ignored", "credential"),
        ("ignored", "allowed"),
        ("ignored", "carried"),
        ("credential", "replaced"),
        ("credential", "allowed"),
        ("credential", "carried"),
        ("credential", "unstored"),
    ];
    assert_eq!(found, expected);
    for calls in [[KEYED, IGNORED, CREDENTIAL], [ALLOWED, CREDENTIAL, REPLACED]] {
        assert_eq!(contradictions(&calls), [X]);
    }
}

#[test]
fn secret_fields_are_never_keyed() {
    const SECRET: Call = |policy| policy.vary_on_headers(["authorization", "cookie"]);
    const IGNORES: Call = |policy| policy.ignore_headers(["authorization"]);
    assert_eq!(contradictions(&[SECRET, IGNORES]), ["authorization", "cookie"]);
}

#[test]
fn roles_of_a_cookie_contradict_each_other_in_every_order() {
    const KEYED: Call = |policy| policy.vary_on_cookies(["b", "a"]);
    const IGNORED: Call = |policy| policy.ignore_cookies(["a", "b", "c"]);
    const CREDENTIAL: Call = |policy| policy.credential_cookies(["c", "a", "d*"]);
    const EXCEPTION: Call = |policy| policy.ignore_cookies(["dx", "e*"]);
    assert_eq!(contradictions(&[KEYED, IGNORED]), ["a", "b"]);
    assert_eq!(contradictions(&[KEYED, CREDENTIAL]), ["a"]);
    assert_eq!(contradictions(&[IGNORED, CREDENTIAL]), ["a", "c"]);
    assert_eq!(contradictions(&[KEYED, IGNORED, CREDENTIAL]), ["a", "b", "c"]);
    assert!(contradictions(&[CREDENTIAL, EXCEPTION]).is_empty());
}

#[test]
fn anonymous_only_layer_reports_all_contradictions() {
    let builder = AnonymousOnlyLayer::builder;
    let values = |result: Result<_, tower_response_cache::error::ConfigError>| {
        let error = result.map(|_: AnonymousOnlyLayer| ()).expect_err("a contradiction");
        error.all().map(|error| error.value().to_owned()).collect::<Vec<_>>()
    };
    let first = builder().ignore_cookies(["a", "b"]).ignore_headers([X]);
    assert_eq!(values(first.credential_headers([X]).credential_cookies(["b", "a"]).build()), [X, "a", "b"]);
    let first = builder().credential_cookies(["b", "a"]).credential_headers([X]);
    assert_eq!(values(first.ignore_headers([X]).ignore_cookies(["a", "b"]).build()), [X, "a", "b"]);
}

#[test]
fn build_lists_every_invalid_cookie_name() {
    let error = Policy::app()
        .ignore_cookies(["a b", "ok", "*"])
        .vary_on_cookies(["x*", "y*"])
        .ignore_response_cookies(["c;", "d;"])
        .build()
        .expect_err("invalid names");
    let values: Vec<_> = error.all().map(|error| error.value()).collect();
    assert_eq!(values, ["a b", "*", "x*", "y*", "c;", "d;"]);
}
