//! Malformed and repeated directives, targeted fields, and responses that arrive within their stale
//! window.

use crate::support::rfc9111::{SECOND, app, date, proxy, standing, with_status};
use crate::support::*;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::{CacheHints, Policy};

/// RFC 9111 section 5.2: "recipients ought to accept" a token as well as a quoted string, here for
/// the field name of `no-cache` and `private`.
#[tokio::test]
async fn an_unquoted_field_name_is_accepted_as_an_argument() {
    for policy in [policy(), proxy()] {
        for (value, is_kept) in [
            ("max-age=60, no-cache=Set-Cookie", true),
            ("no-cache=Set-Cookie, max-age=60", true),
            ("max-age=60, NO-CACHE = set-cookie", true),
            ("max-age=60, private=X-Note", false),
            ("max-age=60, no-cache=x-note, private=Set-Cookie", false),
        ] {
            let lines = [("cache-control", value), ("x-note", "1")];
            let (stack, _) = site(policy.clone(), move |_, call| numbered(&lines, call));
            send(&stack, get("/")).await;
            let hit = send(&stack, get("/")).await;
            assert!(hit.is_hit(), "{value}");
            assert_eq!(hit.header("x-note").is_some(), is_kept, "{value}");
        }
    }
}

#[tokio::test]
async fn an_ambiguous_argument_restricts_the_whole_response() {
    for policy in [policy(), proxy()] {
        for value in [
            // A list without quotes.
            "max-age=60, private=Set-Cookie, X-Note",
            "private=Set-Cookie, X-Note, max-age=60",
            "no-cache=Set-Cookie, X-Other, X-Note, max-age=60",
            // Values that are no field names of a response.
            "max-age=60, private=1",
            "max-age=60, private=true",
            "max-age=60, private=-1",
            "max-age=60, no-cache=no-store",
            "max-age=60, private=",
            "max-age=60, private=\"\"",
        ] {
            let lines = [("cache-control", value), ("x-note", "1")];
            let (stack, _) = site(policy.clone(), move |_, call| numbered(&lines, call));
            assert!(!shares(&stack, get("/"), get("/")).await, "{value}");
        }
    }
}

/// RFC 9111 section 3.5: a malformed directive does not let a response to `Authorization` be
/// shared.
#[tokio::test]
async fn a_directive_with_a_malformed_argument_permits_nothing() {
    let authorized = || get_with("/", &[("authorization", "Basic eA==")]);
    for (name, value, is_shared) in [
        ("cache-control", "max-age=60, must-revalidate=bad", false),
        ("cache-control", "max-age=60, must-revalidate=\"\"", false),
        ("cache-control", "max-age=60, must-revalidate=", false),
        ("cache-control", "max-age=60, public=1", false),
        ("cache-control", "max-age=60, s-maxage", false),
        ("cache-control", "max-age=60, s-maxage=bad", false),
        ("cache-control", "max-age=60, s-maxage=60, s-maxage=bad", false),
        ("cdn-cache-control", "max-age=60, must-revalidate=1", false),
        ("cdn-cache-control", "max-age=60, s-maxage=x", false),
        ("cdn-cache-control", "max-age=60, public=1", false),
        ("cache-control", "max-age=60, must-revalidate", true),
        ("cache-control", "max-age=60, must-revalidate=bad, must-revalidate", true),
        ("cache-control", "s-maxage=60", true),
        ("cache-control", "s-maxage=\"60\"", true),
        ("cache-control", "max-age=60, public", true),
        ("cdn-cache-control", "max-age=60, must-revalidate", true),
    ] {
        let lines = [(name, value), ("etag", "\"a\"")];
        let (stack, _) =
            site(proxy(), move |request, call| match request.headers().contains_key("if-none-match") {
                true => with_status(304, with_lines(&lines, "")),
                false => numbered(&lines, call),
            });
        let first = send(&stack, authorized()).await;
        let expected = (!is_shared).then_some("authorization");
        assert_eq!(first.detail(), expected, "{name}: {value}");
        assert_eq!(send(&stack, get("/")).await.text() == "1", is_shared, "{name}: {value}");
    }
}

/// RFC 9111 section 5.2.2.3.
#[tokio::test]
async fn must_understand_with_an_argument_does_not_lift_no_store() {
    for (value, is_stored) in [
        ("max-age=60, no-store, must-understand", true),
        ("max-age=60, no-store, must-understand=1", false),
        ("max-age=60, no-store, must-understand=\"x\"", false),
    ] {
        let (stack, _) = site(proxy(), move |_, call| numbered(&[("cache-control", value)], call));
        assert_eq!(shares(&stack, get("/"), get("/")).await, is_stored, "{value}");
    }
}

/// RFC 9111 section 5.2.2.2: a restricting directive applies even if its argument is malformed.
#[tokio::test]
async fn a_directive_with_a_malformed_argument_still_restricts() {
    for value in ["must-revalidate=bad", "proxy-revalidate=1", "s-maxage=bad"] {
        let control = format!("max-age=60, {value}, stale-if-error=600");
        let (stack, _, manual) = standing(proxy().stale_if_error(MINUTE), move |_, call| match call {
            1 => numbered(&[("cache-control", &control), ("etag", "\"a\"")], call),
            _ => with_status(503, numbered(&[], call)),
        });
        send(&stack, get("/")).await;
        manual.advance(61 * SECOND);
        assert_eq!(send(&stack, get("/")).await.status, 503, "{value}");
    }
}

/// RFC 9111 section 5.2.1 has no rule for a repeated request directive. This cache applies the
/// strictest value.
#[tokio::test]
async fn the_strictest_of_repeated_request_directives_applies() {
    for (age, value, is_hit) in [
        (10, "min-fresh=1", true),
        (10, "min-fresh=1, min-fresh=100", false),
        (10, "min-fresh=100, min-fresh=1", false),
        (10, "min-fresh=1, min-fresh=bad", false),
        (10, "min-fresh=bad, min-fresh=1", false),
        (10, "max-age=30", true),
        (10, "max-age=1, max-age=30", false),
        (10, "max-age=30, max-age=1", false),
        (10, "max-age=30, max-age=bad", false),
        (90, "max-stale=60", true),
        (90, "max-stale", true),
        (90, "max-stale=60, max-stale=1", false),
        (90, "max-stale=1, max-stale=60", false),
        (90, "max-stale, max-stale=1", false),
        (90, "max-stale=1, max-stale", false),
        (90, "max-stale=60, max-stale=bad", false),
        (90, "max-stale=bad, max-stale", false),
    ] {
        let lines: Vec<_> = value.split(", ").map(|value| ("cache-control", value)).collect();
        for lines in [&[("cache-control", value)][..], &lines] {
            let (stack, _, manual) =
                standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
            send(&stack, get("/")).await;
            manual.advance(age * SECOND);
            assert_eq!(send(&stack, get_with("/", lines)).await.text() == "1", is_hit, "{age}: {lines:?}");
        }
    }
}

/// RFC 5861 section 3: the window begins when the lifetime ends, even if the lifetime ended in
/// another cache.
#[tokio::test(start_paused = true)]
async fn a_response_that_arrives_within_its_stale_window_is_stored() {
    let own = |policy: PolicyBuilder| [policy.clone(), policy.stale_while_revalidate(MINUTE)];
    for policy in own(policy()).into_iter().chain(own(proxy())) {
        for (value, age, is_stored) in [
            ("max-age=10, stale-while-revalidate=60", "30", true),
            ("max-age=0, stale-while-revalidate=60", "0", true),
            ("s-maxage=10, stale-while-revalidate=60", "30", false),
            ("max-age=10, stale-while-revalidate=60", "70", false),
            ("max-age=10, stale-while-revalidate=60, must-revalidate", "30", false),
            ("max-age=10, stale-while-revalidate=60, no-store", "30", false),
            ("max-age=10, stale-while-revalidate=60; x", "30", false),
            ("max-age=10, stale-while-revalidate=bad", "30", false),
            ("max-age=10", "30", false),
        ] {
            let (stack, _, manual) = standing(policy.clone(), move |_, call| {
                numbered(&[("cache-control", value), ("age", age)], call)
            });
            let first = send(&stack, get("/")).await;
            let is_told = first.header("cache-status").is_some_and(|line| line.contains("; stored"));
            assert_eq!(is_told, is_stored, "{value}, {age}");
            let second = send(&stack, get("/")).await;
            assert_eq!(second.is_hit() && second.text() == "1", is_stored, "{value}, {age}");
            if is_stored {
                tokio::time::sleep(SECOND).await;
                assert_eq!(send(&stack, get("/")).await.text(), "2", "refreshed in the background: {value}");
                tokio::time::sleep(SECOND).await;
                manual.advance(61 * SECOND);
                let late = send(&stack, get("/")).await;
                assert!(!late.is_hit(), "the window is over: {value}, {age}");
            }
        }
    }
}

#[tokio::test]
async fn a_stale_error_is_stored_as_a_fresh_one_would_be() {
    for (policy, code, is_stored) in
        [(policy(), 503, false), (policy(), 404, true), (proxy(), 404, true), (proxy(), 503, true)]
    {
        for age in ["0", "30"] {
            let (stack, _) = site(policy.clone(), move |_, call| {
                let lines = [("cache-control", "max-age=10, stale-while-revalidate=60"), ("age", age)];
                with_status(code, numbered(&lines, call))
            });
            assert_eq!(shares(&stack, get("/"), get("/")).await, is_stored, "{code}, {age}");
        }
    }
}

/// RFC 9111 section 4.2.1: a response with a malformed `Cache-Control` is not fresh.
#[tokio::test]
async fn an_unterminated_quoted_string_hides_no_restriction() {
    for response_control in [
        "max-age=60, ext=\"x, no-store",
        "max-age=60, ext=\"x, private",
        "max-age=60, ext=\"x\\\", private",
        "max-age=60, ext=\"x, no-cache",
    ] {
        let (stack, ..) =
            standing(proxy(), move |_, call| numbered(&[("cache-control", response_control)], call));
        assert!(!shares(&stack, get("/"), get("/")).await, "{response_control}");
    }
}

/// RFC 9111 section 4.2.1: "caches are encouraged to consider responses that have invalid freshness
/// information … stale".
#[tokio::test]
async fn malformed_cache_control_gets_no_heuristic_lifetime() {
    let mut stored = Vec::new();
    for response_control in [
        "private; max-age=60",
        "private; max-age=0",
        "no-store; no-cache; must-revalidate",
        "no-cache private",
        "\"private\"",
        "private\u{1}",
    ] {
        let lm = date(-1_000_000);
        let Ok(value) = http::HeaderValue::from_str(response_control) else { continue };
        let (stack, ..) = standing(proxy(), move |_, call| {
            let mut response = numbered(&[("last-modified", &lm)], call);
            response.headers_mut().insert("cache-control", value.clone());
            response
        });
        if shares(&stack, get("/"), get("/")).await {
            stored.push(response_control);
        }
    }
    assert!(stored.is_empty(), "{stored:?}");
}

/// RFC 9111 section 4.2.4.
#[tokio::test(start_paused = true)]
async fn malformed_must_revalidate_forbids_stale_responses() {
    let mut served = Vec::new();
    for response_control in [
        "must-revalidate; max-age=1, stale-while-revalidate=600",
        "proxy-revalidate; x, max-age=1, stale-while-revalidate=600",
        "s-maxage: 1, max-age=1, stale-while-revalidate=600",
        "must-revalidate; max-age=1, stale-if-error=600",
    ] {
        let (stack, calls, manual) = standing(proxy(), move |_, call| {
            let lines = [("cache-control", response_control), ("etag", "\"1\"")];
            if call == 1 { numbered(&lines, call) } else { with_status(503, numbered(&[], call)) }
        });
        send(&stack, get("/")).await;
        manual.advance(10 * SECOND);
        let answer = send(&stack, get("/")).await;
        if answer.text() == "1" {
            served.push((response_control, answer.header("cache-status").map(str::to_owned), calls.count()));
        }
    }
    assert!(served.is_empty(), "{served:#?}");
}

/// `must-revalidate` forbids stale responses even if it is malformed. The stale windows of the
/// policy then do not apply.
#[tokio::test(start_paused = true)]
async fn malformed_must_revalidate_closes_the_layers_stale_windows() {
    let policy = Policy::app().stale_while_revalidate(MINUTE).stale_if_error(MINUTE).cache_status(true);
    let (stack, _, manual) = standing(policy, |_, call| {
        let mut response = numbered(&[("cache-control", "must-revalidate; public"), ("etag", "\"1\"")], call);
        CacheHints::new().ttl(SECOND).add_to(response.extensions_mut());
        response
    });
    send(&stack, get("/")).await;
    manual.advance(2 * SECOND);
    let answer = send(&stack, get("/")).await;
    assert_ne!(answer.text(), "1", "{answer:?}");
}

type Lines = &'static [(&'static str, &'static str)];

/// RFC 9111 section 5.2.2.3.
#[tokio::test]
async fn must_understand_overrides_no_store_for_known_statuses() {
    for (policy, code, stored) in [
        (proxy(), 200, true),
        (proxy(), 404, true),
        (proxy(), 299, false),
        (proxy(), 599, false),
        (app(), 200, false),
    ] {
        let (stack, ..) = standing(policy, move |_, call| {
            with_status(code, numbered(&[("cache-control", "max-age=60, no-store, must-understand")], call))
        });
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{code}");
    }
}

/// RFC 9213 sections 2.1, 2.2 and 3.1.
#[tokio::test]
async fn cdn_cache_control_outranks_cache_control_if_valid() {
    const PAST: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let table: [(Lines, bool); 21] = [
        (&[("cdn-cache-control", "max-age=60")], true),
        (&[("cdn-cache-control", "max-age=99999999999")], true),
        (&[("cdn-cache-control", "max-age=999999999999999")], true),
        (&[("cdn-cache-control", "foobar, max-age=60")], true),
        (&[("cdn-cache-control", "max-age=60;a=b, c=(d e)")], true),
        (&[("cdn-cache-control", "foobar"), ("cdn-cache-control", "max-age=60")], true),
        (&[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], true),
        (&[("cdn-cache-control", "max-age=60"), ("cache-control", "max-age=0, private")], true),
        (&[("cdn-cache-control", "max-age=60"), ("expires", PAST)], true),
        (&[("cdn-cache-control", "max-age=60"), ("expires", "0")], true),
        (&[("cdn-cache-control", "max-age=0"), ("cache-control", "max-age=60")], false),
        (&[("cdn-cache-control", "private"), ("cache-control", "max-age=60")], false),
        (&[("cdn-cache-control", "no-store"), ("cache-control", "max-age=60")], false),
        (&[("cdn-cache-control", "no-cache"), ("cache-control", "max-age=60")], false),
        (&[("cdn-cache-control", "max-age=60"), ("age", "61")], false),
        // The last of several equal dictionary keys counts (RFC 8941 section 4.2.2).
        (&[("cdn-cache-control", "max-age=60"), ("cdn-cache-control", "max-age=0")], false),
        // An unparsable or empty field is ignored. A lifetime that is not a number counts as zero.
        (&[("cdn-cache-control", "max-age=60, &&&"), ("cache-control", "no-store")], false),
        (&[("cdn-cache-control", "max-age=\"60\""), ("cache-control", "no-store")], false),
        (&[("cdn-cache-control", ""), ("cache-control", "no-store")], false),
        (&[("cdn-cache-control", "MAX-AGE=60"), ("cache-control", "no-store")], false),
        (&[("cdn-cache-control", "max-age =60"), ("cache-control", "max-age=60")], true),
    ];
    for (lines, stored) in table {
        let (stack, ..) = standing(proxy(), move |_, call| numbered(lines, call));
        assert_eq!(shares(&stack, get("/"), get("/")).await, stored, "{lines:?}");
        // Clients also get the field.
        let answer = send(&stack, get("/")).await;
        assert_eq!(
            answer.headers.get_all("cdn-cache-control").iter().next().map(|v| v.as_bytes()),
            Some(lines[0].1.as_bytes())
        );
    }
    // `Policy::app` ignores the field unless it is enabled.
    let lines: Lines = &[("cdn-cache-control", "max-age=60")];
    for policy in [app(), proxy().targeted_fields([""; 0])] {
        let (stack, ..) = standing(policy, move |_, call| numbered(lines, call));
        assert!(!shares(&stack, get("/"), get("/")).await);
    }
}
