//! Tables of the steps that process a 304 (RFC 9111 section 4.3.4).

use super::{Fetch, HeaderMap, StoredResponse, Ttl, ValidatorMatch, restricts};
use crate::cache::Cache;
use crate::entry::{Generation, Head, headers_for_storage};
use crate::key::KeyRef;
use crate::policy::{CacheHints, Policy, PolicyBuilder};
use crate::rules::client::ClientCacheControl;
use crate::rules::groups::TagField;
use crate::serve::config::{LayerConfig, Level};
use crate::serve::fetch::FetchPlan;
use crate::serve::request::{RequestFacts, RequestState};
use crate::status::ForwardReason;
use crate::store::NullStore;
use bytes::Bytes;
use http::{Extensions, HeaderName, Request, StatusCode, response};
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), value.parse().expect("a value"))
    };
    lines.iter().map(line).collect()
}

fn stored(lines: &[(&'static str, &str)], change: impl FnOnce(&mut Head)) -> StoredResponse {
    let now = crate::clock::Clock::system().now();
    let mut head =
        Head::new(StatusCode::OK, headers_for_storage(&headers(lines), &[]), Generation::new(1, 0), now);
    change(&mut head);
    StoredResponse::new(head, Bytes::new())
}

/// Returns the head of a stored response after a 304 with these fields and hints. If `updates` is
/// `false`, only the hints of the 304 count.
fn update(
    policy: PolicyBuilder,
    stale: &StoredResponse,
    validated: &HeaderMap,
    hints: Option<CacheHints>,
    updates: bool,
) -> response::Parts {
    let config =
        LayerConfig::new(Cache::new(NullStore::new()), policy.build().expect("a policy"), Level::Site);
    let request = Request::get("/p").body(()).expect("a request");
    let key = KeyRef::new(b"key").to_key();
    let state = RequestState::new(&config, key, RequestFacts::default(), Vec::new(), (&request).into());
    let fetch = Fetch::new(state, FetchPlan::new(None, ForwardReason::Stale.into(), None));
    let mut extensions = Extensions::new();
    hints.into_iter().for_each(|hints| hints.add_to(&mut extensions));
    fetch.updated_head(stale, validated, extensions, updates)
}

fn hints_of(parts: &response::Parts) -> &CacheHints {
    parts.extensions.get().expect("hints")
}

/// A handler's TTL stays in force until the handler sets another one or the 304 restricts the
/// response (RFC 9111 sections 5.2.2.4, 5.2.2.5 and 5.2.2.7).
#[test]
fn handler_ttl_survives_a_304_that_does_not_restrict() {
    let (app, rfc) = (Policy::app, Policy::rfc9111);
    type Row = (PolicyBuilder, Option<u64>, &'static str, &'static str, Option<u64>, Ttl);
    let table: [Row; 14] = [
        (app(), None, "cache-control", "max-age=9", None, Ttl::Default),
        (app(), Some(60), "cache-control", "max-age=9", None, Ttl::For(seconds(60))),
        (app(), Some(60), "cache-control", "max-age=9", Some(5), Ttl::For(seconds(5))),
        (app(), None, "cache-control", "max-age=9", Some(5), Ttl::For(seconds(5))),
        (app(), Some(u64::MAX), "cache-control", "max-age=9", None, Ttl::For(seconds(u64::MAX))),
        (app(), Some(60), "cache-control", "max-age=0", None, Ttl::For(seconds(60))),
        (app(), Some(60), "cache-control", "no-store", None, Ttl::Default),
        (app(), Some(60), "cache-control", "private", None, Ttl::Default),
        (app(), Some(60), "cache-control", "no-cache", None, Ttl::Default),
        (app(), Some(60), "cache-control", "no-cache", Some(5), Ttl::For(seconds(5))),
        (app(), Some(60), "cache-control", "private=\"x-a\", no-cache=\"x-b\"", None, Ttl::For(seconds(60))),
        // RFC 9213 section 2.2: a targeted field outranks `Cache-Control`.
        (rfc(), Some(60), "cdn-cache-control", "no-store", None, Ttl::Default),
        (app(), Some(60), "cdn-cache-control", "no-store", None, Ttl::For(seconds(60))),
        (rfc(), Some(60), "cache-control", "no-store", None, Ttl::Default),
    ];
    for (row, (policy, before, name, value, hinted, expected)) in table.into_iter().enumerate() {
        let stale = stored(&[], |head| head.hinted_ttl = before.map(seconds));
        let hints = hinted.map(|ttl| CacheHints::new().ttl(seconds(ttl)));
        let validated = headers(&[(name, value)]);
        let parts = update(policy, &stale, &validated, hints, true);
        assert_eq!(hints_of(&parts).ttl, expected, "row {row}: {value}");
    }
}

#[test]
/// A 304 restricts the stored response by `no-store`, or by `private` or `no-cache` without field
/// names. A targeted field replaces `Cache-Control` (RFC 9213 section 2.2).
fn targeted_fields_and_unqualified_directives_restrict() {
    let cdn = [HeaderName::from_static("cdn-cache-control")];
    for (name, value, targets, expected) in [
        ("cache-control", "no-store", &[][..], true),
        ("cache-control", "max-age=0, must-revalidate", &[], false),
        ("cache-control", "no-cache=\"x-a\"", &[], false),
        ("cdn-cache-control", "private", &cdn, true),
        ("cdn-cache-control", "private", &[], false),
    ] {
        assert_eq!(restricts(&headers(&[(name, value)]), targets), expected, "{name}: {value}");
    }
    let both = [("cache-control", "no-store"), ("cdn-cache-control", "max-age=9")];
    assert!(!restricts(&headers(&both), &cdn), "the targeted field alone counts");
}

/// The stale windows (RFC 5861) and the other hints of the handler stay in force until the handler
/// gives new ones.
#[test]
fn other_hints_survive_until_the_handler_replaces_them() {
    let client_control =
        |max_age| ClientCacheControl { max_age: Some(seconds(max_age)), ..Default::default() };
    let stale = stored(&[("surrogate-key", "a b")], |head| {
        head.hinted_windows.while_revalidate = Some(seconds(9));
        head.rewrite_for_clients(client_control(7), &[]);
    });
    let emitting = || Policy::app().emit_tags_in([TagField::SurrogateKey]);
    type Hinted = (Option<u64>, Option<u64>, Option<u64>, &'static [&'static str]);
    let table: [(PolicyBuilder, Option<CacheHints>, Hinted); 7] = [
        (Policy::app(), None, (Some(9), None, Some(7), &[])),
        (Policy::app(), Some(CacheHints::new().ttl(seconds(1))), (Some(9), None, Some(7), &[])),
        // A hint replaces both windows at once.
        (Policy::app(), Some(CacheHints::new().stale_if_error(seconds(3))), (None, Some(3), Some(7), &[])),
        (Policy::app(), Some(CacheHints::new().client_max_age(seconds(2))), (Some(9), None, Some(2), &[])),
        (Policy::app(), Some(CacheHints::new().tags(["c"])), (Some(9), None, Some(7), &["c"])),
        (emitting(), None, (Some(9), None, Some(7), &["a", "b"])),
        (emitting(), Some(CacheHints::new().tags(["c"])), (Some(9), None, Some(7), &["c", "a", "b"])),
    ];
    for (row, (policy, hints, expected)) in table.into_iter().enumerate() {
        let parts = update(policy, &stale, &HeaderMap::new(), hints, true);
        let hints = hints_of(&parts);
        let in_seconds = |window: Option<Duration>| window.map(|window| window.as_secs());
        let tags: Vec<_> = hints.tags.iter().map(String::as_str).collect();
        let windows = (in_seconds(hints.stale.while_revalidate), in_seconds(hints.stale.if_error));
        assert_eq!((windows.0, windows.1, in_seconds(hints.client_max_age), &*tags), expected, "row {row}");
    }
    let never = update(Policy::app(), &stale, &HeaderMap::new(), Some(CacheHints::new().never()), true);
    assert!(hints_of(&never).never);
}

/// RFC 9111 section 3.2: "the cache MUST add each header field in the provided response to the
/// stored response, replacing field values that are already present". Without `updates`, the 304
/// does not identify the stored response, and so updates no field.
#[test]
fn a_304_updates_origin_fields_but_no_rewritten_fields() {
    let lines = [("cache-control", "max-age=60"), ("content-type", "text/html"), ("x-a", "1")];
    let client_control = ClientCacheControl { max_age: Some(seconds(7)), ..Default::default() };
    let stale = stored(&lines, |head| head.rewrite_for_clients(client_control, &[]));
    assert_ne!(stale.headers()["cache-control"], "max-age=60");
    let validated = headers(&[("x-a", "2"), ("content-type", "text/plain")]);
    let table = [
        (Policy::app(), true, ["max-age=60", "text/html", "2"]),
        (Policy::rfc9111(), true, ["max-age=60", "text/plain", "2"]),
        (Policy::app(), false, ["max-age=60", "text/html", "1"]),
        (Policy::rfc9111(), false, ["max-age=60", "text/html", "1"]),
    ];
    for (row, (policy, updates, expected)) in table.into_iter().enumerate() {
        let parts = update(policy, &stale, &validated, None, updates);
        let found = lines.map(|(name, _)| parts.headers[name].to_str().expect("text"));
        assert_eq!((parts.status, found), (StatusCode::OK, expected), "row {row}");
    }
}

/// RFC 9111 section 4.3.4, for validators that only one of the two responses has. `rules::update`
/// tests pairs of validators.
#[test]
fn a_304_with_a_validator_that_is_not_stored_does_not_match() {
    use ValidatorMatch::{Another, Same};
    type Lines = &'static [(&'static str, &'static str)];
    const DATE: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT");
    const LATER: (&str, &str) = ("last-modified", "Mon, 07 Nov 1994 08:48:37 GMT");
    const WEAK: (&str, &str) = ("etag", "W/\"a\"");
    let table: [(Lines, Lines, ValidatorMatch); 9] = [
        (&[], &[], Same),
        (&[], &[DATE], Another),
        (&[], &[WEAK], Another),
        (&[WEAK], &[], Same),
        (&[DATE], &[], Same),
        (&[WEAK, DATE], &[], Same),
        (&[WEAK, DATE], &[DATE], Same),
        (&[WEAK, DATE], &[LATER], Another),
        (&[WEAK, DATE], &[WEAK], Same),
    ];
    for (own, given, expected) in table {
        assert_eq!(ValidatorMatch::new(&headers(own), &headers(given)), expected, "{own:?} {given:?}");
    }
}
