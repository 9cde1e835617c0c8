//! Soft invalidation: entries become stale. Without a stale window, the next request is forwarded.

use crate::support::stacks::*;
use crate::support::*;
use http::StatusCode;
use tokio::time::sleep;
use tower_response_cache::{CacheHints, Invalidation, Policy};

#[tokio::test(start_paused = true)]
async fn a_softly_invalidated_page_is_served_during_one_refresh() {
    for &kept in ALL {
        for what in [
            Invalidation::path("/page"),
            Invalidation::path("/page").host("a.example"),
            Invalidation::uri("/page"),
            Invalidation::subtree("/"),
            Invalidation::tag("t"),
            Invalidation::tag("t").host("a.example"),
            Invalidation::all(),
            Invalidation::all().host("a.example"),
        ] {
            let (cache, _manual) = kept.cache(0);
            let (inner, calls) = origin(|_, call| tagged(["t"], &[], call));
            let stack = layered(&cache, windowed(), inner);
            send(&stack, get_with("/page", &[A])).await;
            settle().await;
            invalidate(&cache, what.clone().soft()).await;
            let requests = futures::future::join_all((0..5).map(|_| send(&stack, get_with("/page", &[A]))));
            for answer in requests.await {
                assert_eq!((answer.text(), is_stale(&answer)), ("1", true), "{kept:?} {what:?}");
            }
            settle().await;
            let answer = send(&stack, get_with("/page", &[A])).await;
            assert_eq!((answer.text(), answer.is_hit(), is_stale(&answer)), ("2", true, false), "{kept:?}");
            assert_eq!((calls.count(), cache.refreshes().succeeded()), (2, 1), "{kept:?} {what:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_window_soft_invalidation_forwards_or_revalidates() {
    for &kept in ALL {
        // Fields of the response, and whether the cache revalidates it.
        let table: [(&[(&str, &str)], bool); 4] = [
            (&[], false),
            (&[("etag", "\"1\"")], true),
            (&[("last-modified", "Tue, 04 Mar 2025 09:12:44 GMT")], true),
            (&[("cache-control", "max-age=600, must-revalidate"), ("etag", "\"1\"")], true),
        ];
        for (lines, revalidates) in table {
            let (cache, _manual) = kept.cache(0);
            let (inner, calls) = origin(move |request, call| {
                let about = has_validators(request) || request.headers().contains_key("if-modified-since");
                assert_eq!(about, revalidates && call > 1, "{lines:?}");
                if about { not_modified(lines) } else { numbered(lines, call) }
            });
            let policy = if lines.len() == 2 { windowed() } else { lasting() };
            let stack = layered(&cache, policy, inner);
            send(&stack, get("/")).await;
            settle().await;
            invalidate(&cache, Invalidation::path("/").soft()).await;
            let answer = send(&stack, get("/")).await;
            let expected = if revalidates { "1" } else { "2" };
            assert_eq!((answer.text(), answer.is_hit(), calls.count()), (expected, false, 2), "{lines:?}");
            settle().await;
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.text(), answer.is_hit(), calls.count()), (expected, true, 2), "{lines:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hard_invalidation_prevents_revalidation_and_stale_if_error() {
    for &kept in ALL {
        let (cache, _manual) = kept.cache(0);
        let (inner, _) = origin(|request, call| {
            assert!(!has_validators(request));
            with_status(numbered(&[("etag", "\"1\"")], call), if call == 1 { 200 } else { 503 })
        });
        let stack = layered(&cache, windowed().stale_if_error(60 * S), inner);
        send(&stack, get("/")).await;
        settle().await;
        invalidate(&cache, Invalidation::path("/")).await;
        assert_eq!(send(&stack, get("/")).await.status, StatusCode::SERVICE_UNAVAILABLE, "{kept:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_softly_invalidated_page_is_served_if_the_service_fails() {
    for &kept in ALL {
        let (cache, manual) = kept.cache(0);
        let (inner, _) =
            origin(|_, call| with_status(numbered(&[], call), if call == 1 { 200 } else { 503 }));
        let stack = layered(&cache, lasting().stale_if_error(60 * S), inner);
        send(&stack, get("/")).await;
        settle().await;
        invalidate(&cache, Invalidation::path("/").soft()).await;
        for (after, status) in [(0, 200), (59, 200), (2, 503)] {
            manual.advance(after * S);
            assert_eq!(send(&stack, get("/")).await.status, status, "{kept:?} {after}");
            settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_soft_invalidation_never_undoes_a_hard_one() {
    let (soft, hard) = (Invalidation::tag("t").soft(), Invalidation::tag("t"));
    let other = Invalidation::path("/page").soft();
    for &kept in ALL {
        for all in [
            vec![hard.clone(), soft.clone()],
            vec![soft.clone(), hard.clone()],
            vec![hard.clone(), other.clone()],
            vec![other.clone(), hard.clone()],
            vec![soft.clone(), hard.clone(), soft.clone(), other.clone()],
            vec![hard.clone().and(other.clone())],
            vec![other.clone().and(hard.clone())],
            vec![Invalidation::all(), Invalidation::all().soft()],
        ] {
            let (cache, _manual) = kept.cache(0);
            let (inner, _) = origin(|_, call| tagged(["t"], &[("etag", "\"x\"")], call));
            let stack = layered(&cache, windowed().stale_if_error(60 * S), inner);
            send(&stack, get("/page")).await;
            settle().await;
            for what in &all {
                invalidate(&cache, what.clone()).await;
            }
            let answer = send(&stack, get("/page")).await;
            assert_eq!((answer.text(), answer.is_hit()), ("2", false), "{kept:?} {all:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_invalidation_removes_a_page_that_is_served_stale() {
    for &kept in ALL {
        for hard in [Invalidation::tag("t"), Invalidation::path("/"), Invalidation::all()] {
            let (cache, _manual) = kept.cache(0);
            // The background refresh fails.
            let (inner, _) =
                origin(|_, call| with_status(tagged(["t"], &[], call), if call == 2 { 503 } else { 200 }));
            let stack = layered(&cache, windowed(), inner);
            send(&stack, get("/")).await;
            settle().await;
            invalidate(&cache, Invalidation::tag("t").soft()).await;
            for _ in 0..3 {
                assert!(is_stale(&send(&stack, get("/")).await));
                settle().await;
            }
            invalidate(&cache, hard.clone()).await;
            let answer = send(&stack, get("/")).await;
            assert_eq!((answer.text(), answer.is_hit()), ("3", false), "{kept:?} {hard:?}");
        }
    }
}

/// The hard invalidation occurs after 0 to 59 milliseconds. An operation of a remote store takes 5
/// milliseconds.
#[tokio::test(start_paused = true)]
async fn a_hard_invalidation_during_a_soft_hit_removes_the_page() {
    for &kept in ALL {
        for moment in 0..60 {
            let (cache, _manual) = kept.cache(0);
            // Background refreshes fail, so the stored response stays.
            let (inner, _) =
                origin(|_, call| with_status(numbered(&[], call), if call == 1 { 200 } else { 503 }));
            let stack = layered(&cache, windowed().stale_if_error(60 * S), inner);
            send(&stack, get("/")).await;
            settle().await;
            invalidate(&cache, Invalidation::path("/").soft()).await;
            let met = begin(&stack, get("/"));
            sleep(moment * MS).await;
            invalidate(&cache, Invalidation::path("/")).await;
            let after = send(&stack, get("/")).await;
            assert_eq!(after.status, StatusCode::SERVICE_UNAVAILABLE, "{kept:?} {moment}");
            met.await.expect("no panic");
            settle().await;
            let later = send(&stack, get("/")).await;
            assert_eq!(later.status, StatusCode::SERVICE_UNAVAILABLE, "{kept:?} {moment}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_stale_window_begins_at_the_first_hit_after_invalidation() {
    for &kept in ALL {
        // Hits before the invalidation: none, or so many that the thread keeps a copy of the page.
        for visitors in [0, 200] {
            let (cache, manual) = kept.cache(0);
            let (inner, _) =
                origin(|_, call| with_status(numbered(&[], call), if call == 1 { 200 } else { 503 }));
            let policy = Policy::app().default_ttl(24 * 3600 * S).stale_while_revalidate(30 * S);
            let stack = layered(&cache, policy, inner);
            for _ in 0..=visitors {
                send(&stack, get("/")).await;
            }
            settle().await;
            invalidate(&cache, Invalidation::path("/").soft()).await;
            manual.advance(3600 * S);
            for (after, stale) in [(0, true), (15, true), (14, true), (2, false), (0, false)] {
                manual.advance(after * S);
                let answer = send(&stack, get("/")).await;
                assert_eq!(is_stale(&answer), stale, "{kept:?} {visitors} {after}");
                settle().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_soft_invalidation_does_not_extend_a_begun_stale_window() {
    for &kept in ALL {
        let (cache, manual) = kept.cache(0);
        let (inner, _) =
            origin(|_, call| with_status(numbered(&[], call), if call == 1 { 200 } else { 503 }));
        let policy = Policy::app().default_ttl(10 * S).stale_while_revalidate(30 * S);
        let stack = layered(&cache, policy, inner);
        send(&stack, get("/")).await;
        settle().await;
        for (after, stale) in [(25, true), (10, true), (4, true), (2, false)] {
            manual.advance(after * S);
            invalidate(&cache, Invalidation::path("/").soft()).await;
            assert_eq!(is_stale(&send(&stack, get("/")).await), stale, "{kept:?} {after}");
            settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_softly_invalidated_variant_is_refreshed_separately() {
    for &kept in ALL {
        let (cache, _manual) = kept.cache(0);
        let (inner, calls) = origin(|request, call| {
            let language = request
                .headers()
                .get("accept-language")
                .map_or("none", |value| value.to_str().expect("text"));
            let body = format!("{language} {call}");
            let mut response = with_lines(&[("vary", "accept-language")], body);
            CacheHints::new().tags(["t", language]).add_to(response.extensions_mut());
            response
        });
        let stack = layered(&cache, windowed(), inner);
        let request_page = async |path: &str, language: &str| {
            let answer = send(&stack, get_with(path, &[("accept-language", language)])).await;
            settle().await;
            answer
        };
        for language in ["de", "en", "fr"] {
            request_page("/", language).await;
        }
        request_page("/other", "de").await;
        // The first invalidation is by a tag of one variant, the next by the path of all variants.
        invalidate(&cache, Invalidation::tag("fr").soft()).await;
        assert_eq!(
            (request_page("/", "de").await.text(), request_page("/", "en").await.text()),
            ("de 1", "en 2")
        );
        assert!(is_stale(&request_page("/", "fr").await));
        assert_eq!((request_page("/", "fr").await.text(), calls.count()), ("fr 5", 5));
        invalidate(&cache, Invalidation::path("/").soft()).await;
        for (language, before) in [("en", "en 2"), ("de", "de 1"), ("fr", "fr 5")] {
            let answer = request_page("/", language).await;
            assert_eq!((answer.text(), is_stale(&answer)), (before, true), "{kept:?}");
        }
        for (language, after) in [("en", "en 6"), ("de", "de 7"), ("fr", "fr 8")] {
            let answer = request_page("/", language).await;
            assert_eq!((answer.text(), answer.is_hit(), is_stale(&answer)), (after, true, false), "{kept:?}");
        }
        assert_eq!(request_page("/other", "de").await.text(), "de 4");
    }
}

#[tokio::test(start_paused = true)]
async fn each_soft_invalidation_leads_to_one_refresh() {
    for &kept in ALL {
        let (cache, _manual) = kept.cache(0);
        let (inner, calls) = origin(|_, call| tagged(["t"], &[("etag", &format!("\"{call}\""))], call));
        let stack = layered(&cache, windowed(), inner);
        send(&stack, get("/")).await;
        settle().await;
        for round in 1..=5 {
            invalidate(&cache, Invalidation::tag("t").soft()).await;
            // A second invalidation before the next request has no further effect.
            invalidate(&cache, Invalidation::path("/").soft()).await;
            let stale = send(&stack, get("/")).await;
            assert_eq!((stale.text(), is_stale(&stale)), (&*round.to_string(), true), "{kept:?}");
            settle().await;
            let fresh = send(&stack, get("/")).await;
            assert_eq!((fresh.text(), is_stale(&fresh)), (&*(round + 1).to_string(), false), "{kept:?}");
        }
        assert_eq!(calls.count(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_invalidated_during_its_refresh_is_refreshed_again() {
    for &kept in ALL {
        for what in [Invalidation::tag("t"), Invalidation::path("/"), Invalidation::subtree("/")] {
            let (cache, _manual) = kept.cache(0);
            let (inner, calls) = slow(&["t"], &[]);
            let stack = layered(&cache, windowed(), inner);
            send(&stack, get("/")).await;
            settle().await;
            invalidate(&cache, Invalidation::tag("t").soft()).await;
            assert!(is_stale(&send(&stack, get("/")).await));
            sleep(30 * MS).await;
            assert_eq!(calls.count(), 2);
            // The refresh began before this soft invalidation, so its response is stale from the
            // start.
            invalidate(&cache, what.clone().soft()).await;
            let meanwhile = send(&stack, get("/")).await;
            assert_eq!((meanwhile.text(), is_stale(&meanwhile)), ("1", true));
            settle().await;
            let after = send(&stack, get("/")).await;
            assert!(after.text() == "3" || is_stale(&after), "{kept:?} {what:?} {after:?}");
            settle().await;
            let after = send(&stack, get("/")).await;
            assert_eq!((after.text(), after.is_hit(), is_stale(&after)), ("3", true, false), "{kept:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_hard_invalidation_requests_await_a_newer_page() {
    for &kept in ALL {
        for hard in [Invalidation::tag("t"), Invalidation::path("/"), Invalidation::uri("/")] {
            let (cache, _manual) = kept.cache(0);
            let (inner, calls) = slow(&["t"], &[]);
            let stack = layered(&cache, windowed().stale_if_error(60 * S), inner);
            send(&stack, get("/")).await;
            settle().await;
            invalidate(&cache, Invalidation::path("/").soft()).await;
            assert!(is_stale(&send(&stack, get("/")).await));
            sleep(30 * MS).await;
            assert_eq!(calls.count(), 2, "the refresh is running");
            invalidate(&cache, hard.clone()).await;
            let requests = futures::future::join_all((0..3).map(|_| send(&stack, get("/"))));
            for answer in requests.await {
                assert_eq!((answer.text(), is_stale(&answer)), ("3", false), "{kept:?} {hard:?}");
            }
            settle().await;
            let after = send(&stack, get("/")).await;
            assert_eq!((after.text(), after.is_hit(), calls.count()), ("3", true, 3), "{kept:?} {hard:?}");
        }
    }
}

/// The fetch begins before a soft invalidation. A request that arrives after the invalidation does
/// not get the response of that fetch.
#[tokio::test(start_paused = true)]
async fn a_first_fetch_invalidated_softly_is_not_shared() {
    for &kept in ALL {
        for soft in [Invalidation::tag("t"), Invalidation::path("/"), Invalidation::all()] {
            let (cache, _manual) = kept.cache(0);
            let (inner, _) = slow(&["t"], &[]);
            let stack = layered(&cache, windowed(), inner);
            let first = begin(&stack, get("/"));
            sleep(50 * MS).await;
            invalidate(&cache, soft.clone().soft()).await;
            let second = send(&stack, get("/")).await;
            assert_eq!((second.text(), is_stale(&second)), ("2", false), "{kept:?} {soft:?}");
            assert_eq!(first.await.expect("no panic").text(), "1");
            settle().await;
            let third = send(&stack, get("/")).await;
            assert_eq!((third.text(), third.is_hit()), ("2", true), "{kept:?} {soft:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_background_304_freshens_the_page_and_keeps_its_tags() {
    for &kept in ALL {
        let (cache, _manual) = kept.cache(0);
        let (inner, calls) = origin(|request, call| match has_validators(request) {
            true => not_modified(&[("etag", "\"1\"")]),
            false => tagged(["t"], &[("etag", "\"1\"")], call),
        });
        let stack = layered(&cache, windowed(), inner);
        send(&stack, get("/")).await;
        settle().await;
        for round in 1..=3 {
            invalidate(&cache, Invalidation::tag("t").soft()).await;
            assert!(is_stale(&send(&stack, get("/")).await), "{kept:?}");
            settle().await;
            let fresh = send(&stack, get("/")).await;
            assert_eq!((fresh.text(), fresh.is_hit(), is_stale(&fresh)), ("1", true, false), "{kept:?}");
            assert_eq!(calls.count(), 1 + round);
        }
        invalidate(&cache, Invalidation::tag("t")).await;
        assert_eq!(send(&stack, get("/")).await.text(), "5", "{kept:?}");
    }
}
