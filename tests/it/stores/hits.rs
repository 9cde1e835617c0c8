//! Hits over every kind of store get the same answers.

use crate::support::stacks::{ALL, S, StoreSetup, layered, settle};
use crate::support::*;
use tower::Service;
use tower_response_cache::Cache;

const TAG: &str = "\"a\"";

async fn stored(cache: &Cache) -> (Stack, Calls) {
    let (inner, calls) = origin(|_, call| numbered(&[("etag", TAG)], call));
    let stack = layered(cache, policy().stale_while_revalidate(MINUTE), inner);
    send(&stack, get("/")).await;
    settle().await;
    (stack, calls)
}

#[tokio::test(start_paused = true)]
async fn hit_selects_what_the_request_asks_for() {
    for setup in ALL {
        let (cache, _) = setup.cache(0);
        let (stack, calls) = stored(&cache).await;
        let head = send(&stack, request("HEAD", "/", &[])).await;
        assert_eq!((head.status.as_u16(), head.text()), (200, ""), "{setup:?}");
        let cases = [
            (("if-none-match", TAG), 304, ""),
            (("if-none-match", "\"b\""), 200, "1"),
            (("if-match", "\"b\""), 412, ""),
            (("range", "bytes=0-0"), 206, "1"),
            (("range", "bytes=7-"), 416, ""),
        ];
        for (line, status, text) in cases {
            let answer = send(&stack, get_with("/", &[line])).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (status, text), "{setup:?} {line:?}");
            assert!(answer.is_hit(), "{setup:?} {line:?}");
        }
        assert_eq!(calls.count(), 1, "{setup:?}");
        let answer = send(&stack, get_with("/", &[("cookie", "sid=1")])).await;
        assert_eq!((answer.text(), answer.detail()), ("2", Some("cookie")), "{setup:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stale_hit_is_refreshed_in_the_background() {
    for setup in ALL {
        let (cache, manual) = setup.cache(0);
        let (stack, calls) = stored(&cache).await;
        manual.advance(61 * S);
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.detail()), ("1", Some("stale")), "{setup:?}");
        settle().await;
        let answer = send(&stack, get("/")).await;
        assert_eq!((answer.text(), answer.is_hit(), calls.count()), ("2", true, 2), "{setup:?}");
        assert!(cache.invalidate("/").await.is_delivered());
        assert!(!send(&stack, get("/")).await.is_hit(), "{setup:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn remote_hit_is_judged_when_it_is_polled() {
    let (cache, manual) = StoreSetup::Remote.cache(0);
    let (inner, calls) = origin(|_, call| numbered(&[], call));
    let stack = layered(&cache, policy(), inner);
    send(&stack, get("/")).await;
    settle().await;
    let mut service = stack.clone();
    let response = service.call(get("/"));
    manual.advance(61 * S);
    let answer = read(response.await.expect("infallible")).await;
    assert_eq!((answer.text(), answer.is_hit(), calls.count()), ("2", false, 2));
}
