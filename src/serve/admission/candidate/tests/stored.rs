//! Tables of the stored fields and of the body limit.

use super::{SampleExchange, X_A, app, seconds};
use crate::entry::StoredResponse;
use crate::policy::Policy;
use crate::rules::groups::TagField;
use crate::serve::admission::candidate::{Candidate, ENTRY_OVERHEAD};
use crate::status::Detail;
use crate::store::MemoryStore;
use http::{HeaderMap, HeaderName};

/// RFC 9111 section 3.1: "The Connection header field and fields whose names are listed in it".
/// RFC 9110 section 6.6.1: "A recipient with a clock that receives a response message without a
/// Date header field MUST record the time it was received".
#[test]
fn fields_of_one_exchange_or_named_by_the_policy_are_not_stored() {
    let lb = || app().policy(|policy| policy.ignore_response_cookies(["lb"]));
    let shares = || SampleExchange::new(Policy::rfc9111().share_set_cookie(true));
    let emitting = |fields: &[TagField]| app().policy(|policy| policy.emit_tags_in(fields.iter().copied()));
    let table: [(SampleExchange, &[&str]); 15] = [
        (app(), &["age: 0", "date: Thu, 01 Jan 2026 00:00:00 GMT"]),
        (SampleExchange { delay: seconds(5), ..app() }, &["age: 0", "date: Thu, 01 Jan 2026 00:00:05 GMT"]),
        (app().response_field("date", "x"), &["age: 0", "date: x"]),
        (app().response_field("date", "x").response_field("age", "7"), &["age: 0", "date: x"]),
        (
            app().response_field("date", "x").response_field("connection", "x-a").response_field("x-a", "1"),
            &["age: 0", "date: x"],
        ),
        (
            app().response_field("date", "x").response_field("proxy-authenticate", "Basic"),
            &["age: 0", "date: x"],
        ),
        (
            app()
                .response_field("date", "x")
                .response_field("cache-control", "no-cache=\"x-a\"")
                .response_field("x-a", "1")
                .response_field("x-b", "1"),
            &["age: 0", "cache-control: no-cache=\"x-a\"", "date: x", "x-b: 1"],
        ),
        (lb().response_field("date", "x").response_field("set-cookie", "lb=1"), &["age: 0", "date: x"]),
        (
            shares()
                .response_field("date", "x")
                .response_field("set-cookie", "a=1")
                .response_field("cache-control", "max-age=9"),
            &["age: 0", "cache-control: max-age=9", "date: x", "set-cookie: a=1"],
        ),
        (
            app().response_field("date", "x").response_field("retry-after", "9").status(429),
            &["age: 0", "date: x"],
        ),
        (
            app().response_field("date", "x").response_field("retry-after", "9").status(503),
            &["age: 0", "date: x", "retry-after: 9"],
        ),
        (
            app()
                .response_field("date", "x")
                .response_field("x-a", "1")
                .policy(|policy| policy.unstored_headers([X_A])),
            &["age: 0", "date: x"],
        ),
        (
            emitting(&[TagField::SurrogateKey]).response_field("date", "x"),
            &["age: 0", "date: x", "surrogate-key: a b"],
        ),
        (
            emitting(&[]).response_field("date", "x").response_field("cache-groups", "\"a\""),
            &["age: 0", "date: x"],
        ),
        (
            app().response_field("date", "x").response_field("cache-groups", "\"a\""),
            &["age: 0", "cache-groups: \"a\"", "date: x"],
        ),
    ];
    let tags = ["a".to_owned(), "b".to_owned()];
    for (row, (sample, expected)) in table.into_iter().enumerate() {
        let headers = sample.run(|candidate| candidate.stored_headers(&tags));
        let line = |(name, value): (&HeaderName, &http::HeaderValue)| {
            format!("{name}: {}", value.to_str().expect("text"))
        };
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort_unstable();
        assert_eq!(lines, expected, "row {row}");
    }
}

#[test]
fn body_limit_is_the_smaller_of_store_and_policy() {
    let largest = 16 << 10;
    let store =
        || MemoryStore::builder().max_bytes(4 * largest).largest_entry(largest).build().expect("a store");
    let own = |bytes| app().policy(|policy| policy.max_body_bytes(bytes));
    let weight = |candidate: &Candidate<'_>| {
        let (until, selecting) = (candidate.freshness().expect("fresh"), candidate.selecting_fields());
        let head = candidate.head(HeaderMap::new(), &selecting.expect("fields"), &until, &[]);
        StoredResponse::new(head, bytes::Bytes::new())
    };
    let limit = |sample: &SampleExchange, declared| {
        sample.run_in(store(), |candidate| candidate.limit(&weight(&candidate), declared))
    };
    let fresh = |sample: SampleExchange| sample.response_field("cache-control", "max-age=9");
    let room = largest - fresh(app()).run(|candidate| weight(&candidate).weight()) - ENTRY_OVERHEAD;
    let table: [(u64, Option<u64>, Result<u64, Detail>); 7] = [
        (100, None, Ok(100)),
        (100, Some(100), Ok(100)),
        (100, Some(101), Err(Detail::TooLarge)),
        (0, Some(0), Ok(0)),
        (1 << 20, None, Ok(room)),
        (1 << 20, Some(room), Ok(room)),
        (1 << 20, Some(room + 1), Err(Detail::TooLarge)),
    ];
    for (bytes, declared, expected) in table {
        assert_eq!(limit(&fresh(own(bytes)), declared), expected, "{bytes} {declared:?}");
    }
    let unbounded = fresh(own(100)).run(|candidate| candidate.limit(&weight(&candidate), None));
    assert_eq!(unbounded, Ok(100));
    let full = fresh(app()).response_field("x-a", &"a".repeat(largest as usize));
    assert_eq!(full.run_in(store(), |candidate| candidate.admit()).map(|_| ()), Err(Detail::TooLarge));
}
