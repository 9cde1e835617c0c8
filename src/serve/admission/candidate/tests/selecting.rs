//! Tables of the fields that select a response among the variants of its URL.

use super::{SampleExchange, X_A, app, rfc};
use crate::policy::CacheHints;
use crate::status::Detail;
use http::HeaderName;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE, ORIGIN, RANGE, USER_AGENT};

/// RFC 9111 section 4.1: "all the presented request header fields nominated by that Vary field
/// value match those fields in the original request".
#[test]
fn only_nominated_fields_outside_the_key_select() {
    let keyed = || app().policy(|policy| policy.vary_on_headers([X_A]));
    let cookie =
        |declared| SampleExchange { cookies_declared: declared, ..app() }.response_field("vary", "cookie");
    let gzip = |sample: SampleExchange| sample.response_field("content-encoding", "gzip");
    let offers = |sample: SampleExchange| gzip(sample).request_field("accept-encoding", "gzip");
    let long = |length| SampleExchange { key: vec![b'k'; length], ..app() }.response_field("vary", "x-a");
    let cors = |origin: &str| app().response_field("access-control-allow-origin", origin);
    type Selected = (&'static [&'static str], bool);
    let table: [(SampleExchange, Result<Selected, Detail>); 23] = [
        (app(), Ok((&[], false))),
        (app().response_field("vary", "*"), Err(Detail::VaryAny)),
        (rfc().response_field("vary", "x-a, *"), Err(Detail::VaryAny)),
        (
            app().response_field("vary", "x-b, X-A").response_field("vary", "x-b"),
            Ok((&["x-a", "x-b"], false)),
        ),
        (
            app().response_field("vary", "x-b").hints(CacheHints::new().vary([X_A])),
            Ok((&["x-a", "x-b"], false)),
        ),
        (keyed().response_field("vary", "x-a, x-b"), Ok((&["x-b"], false))),
        (app().response_field("vary", "forwarded, x-forwarded-host, x-a"), Ok((&["x-a"], false))),
        (cookie(true), Ok((&[], false))),
        (cookie(false), Ok((&["cookie"], false))),
        (cookie(true).facts(|facts| facts.personal = true), Ok((&["cookie"], false))),
        // Only clients that accept the coding may get the response.
        (gzip(app()), Err(Detail::ContentEncoding)),
        (offers(app()), Ok((&[], true))),
        (gzip(app()).response_field("vary", "accept-encoding"), Ok((&["accept-encoding"], false))),
        (gzip(rfc()), Ok((&[], false))),
        (long(8 * 1024 - 100), Ok((&["x-a"], false))),
        (long(8 * 1024), Err(Detail::KeyLength)),
        (SampleExchange { key: vec![b'k'; 8 * 1024], ..app() }, Ok((&[], false))),
        // Fetch standard, "CORS protocol and HTTP caches".
        (cors("https://a.example"), Err(Detail::Cors)),
        (cors("*"), Ok((&[], false))),
        (cors("https://a.example").response_field("vary", "origin"), Ok((&["origin"], false))),
        (cors("https://a.example").policy(|p| p.vary_on_headers([ORIGIN])), Ok((&[], false))),
        (rfc().response_field("access-control-allow-origin", "https://a.example"), Ok((&[], false))),
        // A nonce must differ in every response (Content Security Policy).
        (app().response_field("content-security-policy", "script-src 'nonce-1'"), Err(Detail::Nonce)),
    ];
    for (row, (sample, expected)) in table.into_iter().enumerate() {
        let selecting = sample.run(|candidate| candidate.selecting_fields());
        let found = selecting.map(|selecting| {
            let names: Vec<_> = selecting.fields.iter().map(|name| name.as_str().to_owned()).collect();
            (names, selecting.requires_coding)
        });
        let expected =
            expected.map(|(names, coded)| (names.iter().map(|name| (*name).to_owned()).collect(), coded));
        assert_eq!(found, expected, "row {row}");
    }
}

/// RFC 9111 section 4.1: a response that names a field in `Vary` depends on the field, so the
/// handler must have seen it.
#[test]
fn nominated_fields_must_have_reached_the_handler() {
    let keyed_only =
        || app().policy(|policy| policy.strip_unkeyed_inputs(true).allow_unkeyed_headers([USER_AGENT]));
    let keys = |sample: SampleExchange| sample.policy(|p| p.vary_on_headers([ACCEPT]));
    let secret = |personal: bool| keyed_only().facts(|facts| facts.personal = personal);
    let table: [(SampleExchange, HeaderName, Result<(), Detail>); 16] = [
        (app(), X_A, Ok(())),
        (app().policy(|policy| policy.ignore_headers([X_A])), X_A, Err(Detail::VaryOnIgnored)),
        (keyed_only().policy(|policy| policy.ignore_headers([X_A])), X_A, Err(Detail::VaryOnIgnored)),
        (app().facts(|facts| facts.range = true), X_A, Ok(())),
        (app().facts(|facts| facts.conditional = true), X_A, Ok(())),
        (keyed_only().facts(|facts| facts.range = true), USER_AGENT, Err(Detail::Unkeyed)),
        (keyed_only().facts(|facts| facts.conditional = true), USER_AGENT, Err(Detail::Unkeyed)),
        (keyed_only().facts(|facts| facts.has_copy = true), USER_AGENT, Ok(())),
        (keyed_only(), X_A, Err(Detail::VaryOnRemoved)),
        (keyed_only(), USER_AGENT, Ok(())),
        (keyed_only(), ACCEPT, Err(Detail::VaryOnRemoved)),
        (keys(keyed_only()), ACCEPT, Ok(())),
        (keyed_only(), COOKIE, Ok(())),
        (keyed_only(), RANGE, Ok(())),
        (secret(true), AUTHORIZATION, Ok(())),
        (secret(false), AUTHORIZATION, Err(Detail::VaryOnRemoved)),
    ];
    for (row, (sample, field, expected)) in table.into_iter().enumerate() {
        let found = sample.run(|candidate| candidate.could_depend_on(&[field]));
        assert_eq!(found, expected, "row {row}");
    }
}
