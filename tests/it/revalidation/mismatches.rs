//! A 304 whose validators do not match the stored response (RFC 9111 section 4.3.4).

use crate::support::rfc9111::{SECOND, proxy, standing, with_status};
use crate::support::validators::not_modified;
use crate::support::*;
use futures::future::join_all;
use http::Request;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::{Clock, ManualClock};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{Cache, MemoryStore, SiteCacheLayer, Store};

const TAGGED: [(&str, &str); 2] = [("etag", "\"a\""), ("cache-control", "public, max-age=60")];

fn is_conditional(request: &Request<Body>) -> bool {
    ["if-none-match", "if-modified-since"].iter().any(|name| request.headers().contains_key(*name))
}

/// A site that answers each conditional request with a 304 for another representation, and records
/// which requests were conditional.
fn mismatching_site(
    policy: PolicyBuilder,
    given: (&'static str, &'static str),
) -> (Stack, Arc<Mutex<Vec<bool>>>, ManualClock) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (stack, _, manual) = standing(policy, move |request, call| {
        let asks = is_conditional(request);
        log.lock().expect("no panic").push(asks);
        match asks {
            true => with_status(304, with_lines(&[given], "")),
            false => numbered(&TAGGED, call),
        }
    });
    (stack, seen, manual)
}

fn were_conditional(seen: &Mutex<Vec<bool>>) -> Vec<bool> {
    seen.lock().expect("no panic").clone()
}

#[tokio::test(start_paused = true)]
async fn a_mismatched_304_gets_a_502_and_removes_the_entry() {
    for policy in [policy(), proxy()] {
        for given in
            [("etag", "\"b\""), ("etag", "W/\"b\""), ("last-modified", "Sun, 06 Nov 1994 08:48:37 GMT")]
        {
            let (stack, seen, manual) = mismatching_site(policy.clone(), given);
            send(&stack, get("/")).await;
            manual.advance(61 * SECOND);
            let refused = send(&stack, get("/")).await;
            assert_eq!((refused.status.as_u16(), refused.text()), (502, ""), "{given:?}");
            assert_eq!(refused.detail(), Some("mismatch"), "{given:?}");
            assert!(refused.header("cache-status").is_some_and(|line| line.contains("fwd-status=304")));
            assert_eq!(refused.header("etag"), None);
            let healed = send(&stack, get("/")).await;
            assert_eq!((healed.status.as_u16(), healed.text()), (200, "3"), "{given:?}");
            assert!(send(&stack, get("/")).await.is_hit(), "{given:?}");
            assert_eq!(were_conditional(&seen), [false, true, false], "{given:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stale_if_error_answers_a_mismatched_304() {
    for policy in [policy(), proxy()] {
        let (stack, seen, manual) = mismatching_site(policy.stale_if_error(MINUTE), ("etag", "\"b\""));
        send(&stack, get("/")).await;
        manual.advance(61 * SECOND);
        let stale = send(&stack, get("/")).await;
        assert_eq!((stale.status.as_u16(), stale.text(), stale.header("etag")), (200, "1", Some("\"a\"")));
        assert_eq!(stale.detail(), Some("stale-if-error"));
        assert_eq!(send(&stack, get("/")).await.text(), "3");
        assert_eq!(were_conditional(&seen), [false, true, false]);
    }
}

/// After a mismatch, the next request is forwarded without a condition, even if it has unkeyed
/// fields, a condition of its own, a credential or a cookie.
#[tokio::test(start_paused = true)]
async fn the_next_request_of_any_visitor_heals_the_entry() {
    type Lines = &'static [(&'static str, &'static str)];
    let app: [Lines; 3] = [&[("user-agent", "one")], &[("x-any", "1")], &[("if-none-match", "\"other\"")]];
    let all: [Lines; 2] = [&[("authorization", "Basic eA==")], &[("cookie", "a=1")]];
    let cases = app.into_iter().flat_map(|lines| [(policy(), lines), (proxy(), lines)]);
    for (policy, lines) in cases.chain(all.map(|lines| (proxy(), lines))) {
        let (stack, seen, manual) = mismatching_site(policy, ("etag", "\"b\""));
        send(&stack, get_with("/", lines)).await;
        manual.advance(61 * SECOND);
        let first = send(&stack, get_with("/", lines)).await;
        assert_eq!(first.status, 502, "{lines:?}");
        let next = send(&stack, get_with("/", lines)).await;
        assert_eq!(next.status, 200, "{lines:?}: {:?}", were_conditional(&seen));
        assert_ne!(next.text(), "1", "{lines:?}");
        assert!(send(&stack, get("/")).await.is_hit(), "{lines:?}");
    }
}

/// A store outside the process: each look-up decodes the entry again.
#[derive(Debug, Clone)]
struct Encoded(MemoryStore);

impl Store for Encoded {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let (found, clock) = (self.0.get(key), Clock::system());
        StoreFuture::new(async move {
            Ok(found.await?.map(|entry| Entry::decode(entry.encode(&clock), &clock).expect("an entry")))
        })
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        self.0.put(key, entry, ttl, mode)
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        self.0.remove(key)
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.0.increment(key, delta, initial)
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        self.0.compare_and_set(key, expected, new, ttl)
    }
}

#[tokio::test(start_paused = true)]
async fn a_remote_entry_heals_after_a_mismatched_304() {
    let (inner, _) = origin(|request, call| match is_conditional(request) {
        true => with_status(304, with_lines(&[("etag", "\"b\"")], "")),
        false => numbered(&[("etag", "\"a\""), ("cache-control", "public, no-cache")], call),
    });
    let cache = Cache::new(Encoded(memory_store(8 << 20)));
    let stack = SiteCacheLayer::new(&cache).policy(proxy().build().expect("a policy")).layer(inner);
    let authorized = || get_with("/", &[("authorization", "Basic eA==")]);
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(send(&stack, authorized()).await);
        // A separate task writes to the store.
        tokio::time::sleep(SECOND).await;
    }
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!((statuses, answers[2].text()), (vec![200, 502, 200], "3"));
}

/// An unkeyed field of one visitor's request causes the mismatch. Other visitors still get the
/// stored page, although the next unconditional request fails.
#[tokio::test(start_paused = true)]
async fn a_provoked_mismatch_keeps_the_page_of_other_visitors() {
    let (stack, _, manual) = standing(policy().stale_if_error(10 * MINUTE), |request, call| {
        let is_evil = request.headers().values().any(|value| value == "evil");
        match (is_conditional(request) && is_evil, call) {
            (true, _) => with_status(304, with_lines(&[("etag", "\"b\"")], "")),
            (false, 1) => numbered(&TAGGED, call),
            _ => with_status(503, numbered(&[], call)),
        }
    });
    send(&stack, get("/")).await;
    manual.advance(61 * SECOND);
    for line in [("user-agent", "evil"), ("x-any", "evil")] {
        send(&stack, get_with("/", &[line])).await;
        tokio::time::sleep(SECOND).await;
        let kept = send(&stack, get("/")).await;
        assert_eq!((kept.status.as_u16(), kept.text()), (200, "1"), "{line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn followers_of_a_mismatch_get_the_new_page() {
    for policy in [policy(), proxy()] {
        let (cache, manual) = timed();
        let calls = Calls::default();
        let counted = calls.clone();
        let inner = service_fn(move |request: Request<Body>| {
            let call = counted.next();
            async move {
                tokio::time::sleep(SECOND).await;
                Ok::<_, std::convert::Infallible>(match is_conditional(&request) {
                    true => with_status(304, with_lines(&[("etag", "\"b\"")], "")),
                    false => numbered(&TAGGED, call),
                })
            }
        });
        let stack =
            SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone();
        send(&stack, get("/")).await;
        manual.advance(61 * SECOND);
        let answers = join_all((0..4).map(|_| send(&stack, get("/")))).await;
        let refused = answers.iter().filter(|answer| answer.status == 502).count();
        let new = answers.iter().filter(|answer| answer.text() == "3").count();
        assert_eq!((refused, new, calls.count()), (1, 3, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_background_refresh_heals_the_entry() {
    for lines in [&[][..], &[("user-agent", "one")]] {
        let (stack, seen, manual) =
            mismatching_site(policy().stale_while_revalidate(10 * MINUTE), ("etag", "\"b\""));
        send(&stack, get("/")).await;
        manual.advance(61 * SECOND);
        assert_eq!(send(&stack, get_with("/", lines)).await.text(), "1");
        tokio::time::sleep(SECOND).await;
        let healed = send(&stack, get_with("/", lines)).await;
        assert_eq!(healed.status, 200, "{lines:?}");
        assert_ne!(healed.text(), "1", "{lines:?}");
        assert_eq!(were_conditional(&seen).last(), Some(&false), "{lines:?}");
    }
}

/// After the unconditional request, the cache revalidates the page before each use again.
#[tokio::test(start_paused = true)]
async fn a_no_cache_page_heals_after_a_mismatched_304() {
    let (stack, calls) = site(policy(), |request, call| {
        let control = ("cache-control", "no-cache");
        match (request.headers().get("if-none-match").map(|tag| tag.to_str().expect("text")), call) {
            (Some("\"old\""), _) => with_status(304, with_lines(&[("etag", "\"new\""), control], "")),
            (Some("\"new\""), _) => with_status(304, with_lines(&[("etag", "\"new\""), control], "")),
            (_, 1) => numbered(&[("etag", "\"old\""), control], call),
            _ => numbered(&[("etag", "\"new\""), control], call),
        }
    });
    let mut answers = Vec::new();
    for _ in 1..=5 {
        let answer = send(&stack, get("/")).await;
        answers.push((answer.status.as_u16(), answer.text().to_owned()));
    }
    let expected = [(200, "1"), (502, ""), (200, "3"), (200, "3"), (200, "3")];
    assert_eq!(answers, expected.map(|(status, text)| (status, text.to_owned())));
    assert_eq!(calls.count(), 5);
}

const EARLIER: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

#[tokio::test]
async fn a_304_about_another_version_changes_no_field() {
    for (own, given, status) in [
        (("etag", "\"1\""), ("etag", "\"2\""), 502),
        // A compressor between cache and origin has made the tag of the 200 weak.
        (("etag", "W/\"1\""), ("etag", "\"1\""), 200),
        (("last-modified", EARLIER), ("last-modified", LATER), 502),
    ] {
        let (cache, manual) = timed();
        let (inner, calls) = origin(move |request, call| {
            let conditional = request.headers().contains_key("if-none-match")
                || request.headers().contains_key("if-modified-since");
            let line = if call == 1 { own } else { given };
            let lines = [("cache-control", "max-age=60"), line];
            if conditional { not_modified(&lines) } else { with_lines(&lines, call.to_string()) }
        });
        let stack = site_over(&cache, inner);
        send(&stack, get("/")).await;
        manual.advance(MINUTE);
        let old = send(&stack, get("/")).await;
        let expected = if status == 200 { ("1", Some(own.1)) } else { ("", None) };
        assert_eq!((old.status.as_u16(), (old.text(), old.header(own.0))), (status, expected));
        assert_eq!(old.detail(), Some("mismatch"));
        let new = send(&stack, get("/")).await;
        assert_eq!((new.text(), new.header(own.0), calls.count()), ("3", Some(given.1), 3));
    }
}
