//! Corners of HTTP's semantics (RFC 9110), alike on a hit, in `ConditionalLayer` and in `ConditionLayer`.

use crate::support::*;
use tower_response_cache::{ConditionLayer, ConditionalLayer};

type Lines = &'static [(&'static str, &'static str)];

/// One page behind each layer that selects what a request is sent: stored in a cache, and in `ConditionalLayer`.
async fn selecting(lines: Lines, body: &'static str) -> [(&'static str, Stack); 2] {
    let page = move || origin(move |_, _| with_lines(lines, body)).0;
    let cache = site_over(&memory(), page());
    send(&cache, get("/")).await;
    assert!(send(&cache, get("/")).await.is_hit());
    [("hit", cache), ("layer", ConditionalLayer::new().strong().layer(page()).boxed_clone())]
}

/// RFC 9110 sections 14.1.2 and 14.2.
#[tokio::test]
async fn a_range_from_the_start_of_an_empty_page_is_the_whole_page() {
    for lines in [&[][..], &[("content-length", "0")], &[("etag", "\"a\"")]] {
        for (by, stack) in selecting(lines, "").await {
            for value in ["bytes=-5", "bytes=0-", "bytes=0-99", "bytes=9-, -1", "BYTES=0-0"] {
                let answer = send(&stack, get_with("/", &[("range", value)])).await;
                let range = answer.header("content-range");
                assert_eq!((answer.status.as_u16(), range), (200, None), "{by}: {value}");
            }
            for value in ["bytes=-0", "bytes=1-", "bytes=5-9"] {
                let answer = send(&stack, get_with("/", &[("range", value)])).await;
                let range = answer.header("content-range");
                assert_eq!((answer.status.as_u16(), range), (416, Some("bytes */0")), "{by}: {value}");
            }
        }
    }
}
