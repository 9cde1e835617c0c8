//! Directives whose arguments are malformed or that come twice, and windows that are open on arrival.

use crate::corners::{SECOND, proxy, standing};
use crate::support::*;

/// RFC 9111 sections 5.2.2.4 and 5.2.2.7: "recipients ought to accept" a field name without quotes.
#[tokio::test]
async fn a_field_name_without_quotes_is_a_list_of_one() {
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

/// In doubt, the directive is about all of the response.
#[tokio::test]
async fn an_argument_that_may_be_no_single_field_name_names_none() {
    for policy in [policy(), proxy()] {
        for value in [
            // A list without quotes.
            "max-age=60, private=Set-Cookie, X-Note",
            "private=Set-Cookie, X-Note, max-age=60",
            "no-cache=Set-Cookie, X-Other, X-Note, max-age=60",
            // No names of fields.
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

/// RFC 9111 section 5.2.1: of a request directive that comes twice, the stricter counts.
#[tokio::test]
async fn of_repeated_request_directives_the_stricter_counts() {
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
            let (stack, _, hand) =
                standing(proxy(), |_, call| numbered(&[("cache-control", "max-age=60")], call));
            send(&stack, get("/")).await;
            hand.advance(age * SECOND);
            assert_eq!(send(&stack, get_with("/", lines)).await.text() == "1", is_hit, "{age}: {lines:?}");
        }
    }
}
