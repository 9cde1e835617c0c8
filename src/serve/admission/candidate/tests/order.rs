//! The order of the steps of an admission. If several steps would refuse the response, the earliest
//! of them gives the reason.

use super::{SampleExchange, X_A, app, seconds};
use crate::policy::CacheHints;
use crate::status::Detail;
use http::Request;
use http::header::USER_AGENT;

type Defect = (Detail, fn(SampleExchange) -> SampleExchange);

/// Gives a response all defects, then removes one defect after the other. Each time, the first
/// remaining defect is the reason.
fn check_order(sample: fn() -> SampleExchange, defects: &[Defect]) {
    for (at, (expected, _)) in defects.iter().enumerate() {
        let left = defects[at..].iter().rev();
        let sample = left.fold(sample(), |sample, (_, defect)| defect(sample));
        assert_eq!(sample.run(|candidate| candidate.admit()).map(|_| ()), Err(*expected), "{at}");
    }
    assert!(sample().run(|candidate| candidate.admit()).is_ok());
}

fn storable() -> SampleExchange {
    app().policy(|policy| policy.default_ttl(seconds(60)))
}

/// RFC 9111 sections 3, 4.1 and 4.2.
#[test]
fn first_failing_step_gives_the_reason() {
    check_order(
        storable,
        &[
            (Detail::Hint, |sample| sample.hints(CacheHints::new().never())),
            (Detail::Identified, SampleExchange::identified),
            (Detail::Credential("x-user-id"), |sample| sample.response_field("x-user-id", "1")),
            (Detail::Partial, |sample| sample.status(206)),
            (Detail::Status, |sample| sample.status(412)),
            (Detail::NoStore, |sample| sample.response_field("cache-control", "no-store")),
            (Detail::Private, |sample| sample.response_field("cache-control", "private")),
            (Detail::NoCache, |sample| sample.response_field("cache-control", "no-cache")),
            (Detail::SetCookie, |sample| sample.response_field("set-cookie", "a=1")),
            (Detail::VaryAny, |sample| sample.response_field("vary", "*")),
            (Detail::Authorization, |sample| sample.facts(|facts| facts.authorization = true)),
            (Detail::EventStream, |sample| sample.response_field("content-type", "text/event-stream")),
            (Detail::ContentLength, |sample| sample.response_field("content-length", "x")),
            (Detail::VaryOnIgnored, |sample| {
                sample.response_field("vary", "x-a").policy(|policy| policy.ignore_headers([X_A]))
            }),
            (Detail::Unkeyed, |sample| {
                sample
                    .facts(|facts| facts.conditional = true)
                    .policy(|policy| policy.strip_unkeyed_inputs(true).allow_unkeyed_headers([USER_AGENT]))
            }),
            (Detail::ContentEncoding, |sample| sample.response_field("content-encoding", "gzip")),
            (Detail::KeyLength, |sample| {
                SampleExchange { key: vec![b'k'; 8 * 1024], ..sample }.response_field("vary", "user-agent")
            }),
            (Detail::Cors, |sample| {
                sample.response_field("access-control-allow-origin", "https://a.example")
            }),
            (Detail::Nonce, |sample| {
                sample.response_field("content-security-policy", "script-src 'nonce-1'")
            }),
            (Detail::Predicate, |sample| {
                let request_head = Request::get("/").body(()).expect("a request").into_parts().0;
                SampleExchange {
                    request_head: Some(request_head),
                    ..sample.policy(|policy| policy.store_if(|_, _| false))
                }
            }),
            (Detail::NotFresh, |sample| sample.response_field("cache-control", "max-age=0")),
            (Detail::Tags, |sample| sample.response_field("cache-groups", "?")),
            (Detail::TooLarge, |sample| {
                sample.response_field("content-length", "9").policy(|policy| policy.max_body_bytes(8))
            }),
        ],
    );
}

/// `must-understand` (RFC 9111 section 5.2.2.3) is checked before `no-store`. A nominated field
/// that was stripped from the request (section 4.1) is checked before the content coding.
#[test]
fn must_understand_and_removed_fields_are_checked_first() {
    check_order(
        storable,
        &[
            (Detail::MustUnderstand, |sample| {
                sample.status(299).response_field("cache-control", "must-understand")
            }),
            (Detail::NoStore, |sample| sample.response_field("cache-control", "no-store")),
            (Detail::VaryOnRemoved, |sample| {
                sample.response_field("vary", "x-a").policy(|policy| policy.strip_unkeyed_inputs(true))
            }),
            (Detail::ContentEncoding, |sample| sample.response_field("content-encoding", "gzip")),
        ],
    );
}
