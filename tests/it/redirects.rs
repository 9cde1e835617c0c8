//! Which targets of a write's response are invalidated.

use crate::support::*;
use http::StatusCode;
use tower_response_cache::Policy;

/// Returns `true` if a write that answers so clears `/page`.
async fn clears(policy: Policy, code: u16, field: &'static str) -> bool {
    let (stack, _) = site(policy, move |request, call| {
        if request.method() == "GET" {
            return numbered(&[], call);
        }
        let mut response = with_lines(&[(field, "/page")], "");
        *response.status_mut() = StatusCode::from_u16(code).expect("a status");
        response
    });
    send(&stack, get("/page")).await;
    send(&stack, request("POST", "/write", &[])).await;
    !send(&stack, get("/page")).await.is_hit()
}

#[tokio::test]
async fn a_write_invalidates_what_it_created_and_the_page_that_shows_it_but_no_new_address_of_its_own() {
    let rfc9111 = Policy::rfc9111().default_ttl(MINUTE).cache_status(true);
    for policy in [policy(), rfc9111] {
        for (code, by_default, without) in [
            (201, true, true),
            (302, true, false),
            (303, true, false),
            (200, true, true),
            (202, true, true),
            (300, false, false),
            (301, false, false),
            (307, false, false),
            (308, false, false),
            (400, false, false),
            (500, false, false),
        ] {
            let off = policy.clone().invalidate_redirects(false);
            assert_eq!(clears(policy.clone(), code, "location").await, by_default, "{code}");
            assert_eq!(clears(off, code, "location").await, without, "{code}, off");
        }
    }
}

#[tokio::test]
async fn content_location_is_invalidated_whatever_the_option_says() {
    for code in [200, 201, 303] {
        for policy in [policy(), policy().invalidate_redirects(false)] {
            assert!(clears(policy, code, "content-location").await, "{code}");
        }
    }
    assert!(!clears(policy(), 409, "content-location").await);
}
