//! Heuristic freshness lifetimes (RFC 9111 section 4.2.2).

use crate::support::rfc9111::{SECOND, app, earlier, proxy, standing, with_status};
use crate::support::*;
use std::time::Duration;
use tower_response_cache::policy::PolicyBuilder;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
type Lines = &'static [(&'static str, &'static str)];

/// RFC 9111 section 4.2.2 names 10 % of the time since `Last-Modified` as typical.
#[tokio::test]
async fn heuristic_is_a_tenth_since_last_modified_up_to_a_limit() {
    for (policy, ago, fresh) in [
        (proxy(), 10 * HOUR, HOUR),
        (proxy(), 30 * DAY, DAY),
        (proxy().heuristic_freshness(HOUR), 30 * DAY, HOUR),
        (app().heuristic_freshness(HOUR), 5 * HOUR, HOUR / 2),
        // A `default_ttl` takes precedence over the heuristic.
        (proxy().default_ttl(MINUTE), 10 * HOUR, MINUTE),
    ] {
        let modified = earlier(ago);
        let (stack, calls, manual) =
            standing(policy, move |_, call| numbered(&[("last-modified", &modified)], call));
        send(&stack, get("/")).await;
        manual.advance(fresh - SECOND);
        assert!(send(&stack, get("/")).await.is_hit(), "{ago:?}");
        manual.advance(SECOND);
        send(&stack, get("/")).await;
        assert_eq!(calls.count(), 2, "{ago:?}");
    }
}

/// RFC 9111 section 4.2.2: "MUST NOT use heuristics … when an explicit expiration time is present".
#[tokio::test]
async fn heuristic_lifetime_needs_the_option_and_no_explicit_lifetime() {
    let table: [(PolicyBuilder, u16, Lines); 11] = [
        (app(), 200, &[]),
        (proxy().heuristic_freshness(Duration::ZERO), 200, &[]),
        (proxy(), 201, &[]),
        (proxy(), 302, &[]),
        (proxy(), 503, &[]),
        (proxy(), 200, &[("cache-control", "max-age=0")]),
        (proxy(), 200, &[("expires", "0")]),
        (proxy(), 200, &[("cache-control", "private")]),
        // By default, `Policy::app` does not store responses with these statuses.
        (app().heuristic_freshness(HOUR), 414, &[("cache-control", "public")]),
        (app().heuristic_freshness(HOUR), 501, &[]),
        (app().heuristic_freshness(HOUR), 204, &[]),
    ];
    for (policy, code, lines) in table {
        let modified = earlier(10 * DAY);
        let (stack, ..) = standing(policy, move |_, call| {
            let lines: Vec<_> = lines.iter().copied().chain([("last-modified", modified.as_str())]).collect();
            with_status(code, numbered(&lines, call))
        });
        assert!(!shares(&stack, get("/"), get("/")).await, "{code} {lines:?}");
    }
}
