//! Random clients of a site that encodes: each answer is the right page, in a coding that the client
//! accepts.

use super::*;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tower_response_cache::Invalidation;

#[derive(Debug, Clone)]
enum Step {
    Get {
        codings: &'static str,
        condition: Condition,
    },
    Head(&'static str),
    /// The page changes, and is invalidated.
    Publish,
    Expire,
    /// Waits until encodings that have begun are done.
    Settle,
}

#[derive(Debug, Clone, Copy)]
enum Condition {
    None,
    /// `If-None-Match` with the tag of an earlier answer.
    HasCopy(usize),
    /// `Range` and `If-Range` with the tag of an earlier answer.
    Resume(usize),
}

const ACCEPTED: &[&str] = &[
    "",
    "gzip",
    "br",
    "zstd",
    "deflate",
    "gzip, br",
    "*",
    "br;q=0, *",
    "gzip;q=0.2, br;q=0.1",
    "identity",
    "identity, gzip;q=0.5",
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let condition = prop_oneof![
        3 => proptest::strategy::Just(Condition::None),
        1 => any::<usize>().prop_map(Condition::HasCopy),
        2 => any::<usize>().prop_map(Condition::Resume),
    ];
    let step = prop_oneof![
        12 => (select(ACCEPTED), condition).prop_map(|(codings, condition)| Step::Get { codings, condition }),
        1 => select(ACCEPTED).prop_map(Step::Head),
        1 => proptest::strategy::Just(Step::Publish),
        1 => proptest::strategy::Just(Step::Expire),
        3 => proptest::strategy::Just(Step::Settle),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Returns `true` if a client with this `Accept-Encoding` asked for a coding.
fn asked(codings: &str, coding: &str) -> bool {
    let named = codings.split(", ").find(|element| element.split(';').next() == Some(coding));
    let weight = named.or_else(|| codings.split(", ").find(|element| *element == "*"));
    weight.is_some_and(|element| !element.ends_with("q=0")) && !codings.starts_with("identity,")
}

fn tag(answer: &Answer) -> Option<&str> {
    answer.header("etag")
}

async fn run(steps: Vec<Step>, tagged: bool) -> Result<(), proptest::test_runner::TestCaseError> {
    let (cache, clock) = timed();
    let version = Arc::new(AtomicUsize::new(1));
    let current = Arc::clone(&version);
    let inner = origin(move |_, _| {
        let now = current.load(Ordering::SeqCst);
        with_lines(&[("etag", &*format!("\"v{now}\""))][..usize::from(tagged)], text(now))
    });
    let stack = encoding(&cache, policy().etags(true), inner.0);
    // Complete answers, with the pages that they decode to.
    let mut seen: Vec<Answer> = Vec::new();
    for step in steps {
        match step {
            Step::Publish => {
                version.fetch_add(1, Ordering::SeqCst);
                let _ = cache.invalidate(Invalidation::path("/")).await;
            }
            Step::Expire => clock.advance(Duration::from_secs(61)),
            Step::Settle => cache.wait_idle().await,
            Step::Head(codings) => {
                let lines = [("accept-encoding", codings)];
                let head = send(&stack, request("HEAD", "/", &lines)).await;
                if let Some(coding) = head.header("content-encoding") {
                    prop_assert!(asked(codings, coding), "{} got {}", codings, coding);
                }
                prop_assert!(head.body.is_empty() || !head.is_hit(), "the origin sends a body");
            }
            Step::Get { codings, condition } => {
                let earlier =
                    |at: usize| seen.get(at % seen.len().max(1)).filter(|answer| tag(answer).is_some());
                let mut lines = vec![("accept-encoding", codings)];
                let copy = match condition {
                    Condition::None => None,
                    Condition::HasCopy(at) => earlier(at).inspect(|copy| {
                        lines.push(("if-none-match", tag(copy).expect("a tag")));
                    }),
                    Condition::Resume(at) => earlier(at).inspect(|copy| {
                        lines.extend([("range", "bytes=7-"), ("if-range", tag(copy).expect("a tag"))]);
                    }),
                };
                let answer = send(&stack, get_with("/", &lines)).await;
                if let Some(coding) = answer.header("content-encoding") {
                    prop_assert!(asked(codings, coding), "{} got {}", codings, coding);
                }
                let complete = match (answer.status.as_u16(), copy) {
                    (200, _) => answer.clone(),
                    (304, Some(copy)) => {
                        prop_assert_eq!(tag(&answer), tag(copy));
                        copy.clone()
                    }
                    // The client has the first bytes of its copy, and appends the rest.
                    (206, Some(copy)) => {
                        prop_assert_eq!(tag(&answer), tag(copy));
                        prop_assert_eq!(answer.header("content-encoding"), copy.header("content-encoding"));
                        let body = [&copy.body[..7], &answer.body].concat().into();
                        Answer { body, ..copy.clone() }
                    }
                    (status, _) => panic!("status {status}"),
                };
                prop_assert_eq!(decoded(&complete).await, text(version.load(Ordering::SeqCst)));
                prop_assert!(vary(&answer.headers).contains(&"accept-encoding".to_owned()));
                seen.push(complete);
            }
        }
    }
    cache.wait_idle().await;
    Ok(())
}

proptest! {
    #![proptest_config(default_cases())]

    #[test]
    fn every_client_gets_the_current_page_in_a_coding_it_accepts(steps in steps(), tagged in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(steps, tagged))?;
    }
}

/// Returns the number of the page that an answer decodes to.
async fn number_of_page(answer: &Answer) -> usize {
    let page = decoded(answer).await;
    let page = std::str::from_utf8(&page).expect("text");
    let number = page.trim_start_matches("page ").split(':').next().expect("a number");
    let number = number.parse().expect("a number");
    assert_eq!(page, text(number), "the page is whole");
    number
}

/// Encodings, invalidations and requests race on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_client_gets_a_page_older_than_its_invalidation() {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 250;
    const PAGES: usize = 60;
    let cache = memory();
    let [version, published, sent] = [1, 1, 0].map(|number| Arc::new(AtomicUsize::new(number)));
    let current = Arc::clone(&version);
    let inner = origin(move |_, _| html(current.load(Ordering::SeqCst))).0;
    let encoder = ResponseEncoder::new(CompressionLayer::new()).after_requests(1);
    let stack = encoding_by(&cache, policy().etags(true), encoder, inner);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (stack, published, sent) = (stack.clone(), Arc::clone(&published), Arc::clone(&sent));
            tokio::spawn(async move {
                for request in 0..REQUESTS {
                    let codings = ACCEPTED[(client * 3 + request) % ACCEPTED.len()];
                    let least = published.load(Ordering::SeqCst);
                    let call = stack.clone().oneshot(accepting("/", codings));
                    let answer = read(call.await.expect("infallible")).await;
                    if let Some(coding) = answer.header("content-encoding") {
                        assert!(asked(codings, coding), "{codings} got {coding}");
                    }
                    let number = number_of_page(&answer).await;
                    assert!(number >= least, "page {number} after {least} was published");
                    sent.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for number in 2..=PAGES {
        while sent.load(Ordering::SeqCst) < CLIENTS * REQUESTS * number / (PAGES + 10) {
            assert!(!clients.iter().all(tokio::task::JoinHandle::is_finished), "the clients go on");
            tokio::task::yield_now().await;
        }
        version.store(number, Ordering::SeqCst);
        let _ = cache.invalidate(Invalidation::path("/")).await;
        published.store(number, Ordering::SeqCst);
    }
    for client in clients {
        client.await.expect("no panic");
    }
    cache.wait_idle().await;
    assert_eq!(number_of_page(&encoded(&cache, &stack, "br").await).await, PAGES);
}
