//! Directives whose arguments are malformed or that come twice, and windows that are open on arrival.

use crate::corners::{SECOND, proxy, standing};
use crate::support::*;

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
