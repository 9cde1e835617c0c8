//! Rollback: a store returns to an older record of invalidations. Other processes advance the older
//! record before any process notices the rollback.
//!
//! A process that notices a rollback begins a new incarnation of the record, in which all older
//! entries are invalid.

use crate::invalidation::generations::{Remote, fill, process};
use crate::support::*;
use http::{Request, Response};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use tower::{ServiceExt, service_fn};
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::store::Entry;
use tower_response_cache::{Cache, Invalidation, Ttl};

/// Returns a remote store and a local store.
fn remotes() -> [Remote; 2] {
    [Remote::new(), Remote::local()]
}

async fn invalidate(cache: &Cache, path: &str) {
    assert_eq!(cache.invalidate(Invalidation::path(path)).await, Delivery::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_seen_invalidation_survives_a_rollback_and_later_advances() {
    for overtaking in [1, 3, 100] {
        for store in remotes() {
            let (cache, stack) = process(&store);
            fill(&stack, "/").await;
            let before = store.record();
            invalidate(&cache, "/").await;
            store.put_back(before);
            let (other, _) = process(&store);
            for number in 0..overtaking {
                invalidate(&other, &format!("/other/{number}")).await;
            }
            assert!(!send(&stack, get("/")).await.is_hit(), "{overtaking}");
            // The processes agree on the record again.
            fill(&stack, "/a").await;
            assert!(send(&process(&store).1, get("/a")).await.is_hit());
            invalidate(&other, "/a").await;
            assert!(!send(&stack, get("/a")).await.is_hit());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_after_a_rollback_covers_older_entries() {
    for store in remotes() {
        let (cache, stack) = process(&store);
        send(&stack, get("/first")).await;
        let before = store.record();
        invalidate(&cache, "/other").await;
        fill(&stack, "/page").await;
        store.put_back(before);
        let (other, stack_of_other) = process(&store);
        invalidate(&other, "/page").await;
        assert!(!send(&stack_of_other, get("/page")).await.is_hit());
        invalidate(&other, "/page").await;
        assert!(!send(&stack, get("/page")).await.is_hit());
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_after_a_rollback_covers_older_values() {
    for store in remotes() {
        let (cache, stack) = process(&store);
        send(&stack, get("/first")).await;
        let before = store.record();
        invalidate(&cache, "/other").await;
        cache.value("name").tags(["t"]).ttl(MINUTE).set("old").await.expect("ok");
        store.put_back(before);
        let (other, _) = process(&store);
        assert_eq!(other.invalidate(Invalidation::tag("t")).await, Delivery::Delivered);
        for cache in [&other, &cache] {
            assert!(cache.get::<String>("name").await.expect("read").is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_fetched_during_a_rollback_can_be_invalidated() {
    for store in remotes() {
        let cache = Cache::new(store.clone());
        let slow = service_fn(|request: Request<Body>| async move {
            if request.uri().path() == "/page" {
                sleep(Duration::from_secs(1)).await;
            }
            Ok::<_, Infallible>(numbered(&[], 0))
        });
        let stack = site_over(&cache, slow.boxed_clone());
        send(&stack, get("/first")).await;
        let before = store.record();
        invalidate(&cache, "/other").await;
        let (other, stack_of_other) = process(&store);
        let meanwhile = async {
            sleep(Duration::from_millis(500)).await;
            store.put_back(before);
            invalidate(&other, "/page").await;
        };
        tokio::join!(send(&stack, get("/page")), meanwhile);
        assert!(!send(&stack_of_other, get("/page")).await.is_hit());
        assert!(!send(&stack, get("/other")).await.is_hit());
    }
}

#[tokio::test(start_paused = true)]
async fn writing_a_value_after_a_rollback_invalidates_its_pages() {
    for store in remotes() {
        for is_same_process in [true, false] {
            let cache = Cache::new(store.clone());
            let (stack, _) = page(&cache, |cache| async move {
                cache.get::<u32>("price").await.ok().flatten().unwrap_or_default().to_string()
            });
            cache.set("price", &7, Ttl::Forever).await.expect("ok");
            let before = store.record();
            let uri = format!("/{is_same_process}");
            assert_eq!(send(&stack, get(&uri)).await.text(), "7");
            store.put_back(before);
            let writer = if is_same_process { cache } else { Cache::new(store.clone()) };
            writer.set("price", &8, Ttl::Forever).await.expect("ok");
            assert_eq!(send(&stack, get(&uri)).await.text(), "8", "{is_same_process}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cleared_counter_does_not_return_after_a_rollback() {
    let store = Remote::new();
    let (cache, stack) = process(&store);
    send(&stack, get("/first")).await;
    let before = store.record();
    assert_eq!(cache.invalidate(Invalidation::all()).await, Delivery::Delivered);
    cache.incr_or("visits", 5, 0, Ttl::Forever).await.expect("ok");
    store.put_back(before);
    let (other, _) = process(&store);
    assert_eq!(other.invalidate(Invalidation::all()).await, Delivery::Delivered);
    assert!(other.get::<i64>("visits").await.expect("read").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_truncated_record_makes_no_invalidated_page_valid() {
    for cut in 0.. {
        let store = Remote::local();
        let (cache, stack) = process(&store);
        fill(&stack, "/page").await;
        for path in ["/page", "/other"] {
            invalidate(&cache, path).await;
        }
        let record = store.record();
        let bytes = record.as_raw().expect("a record is raw");
        if cut >= bytes.len() {
            break;
        }
        store.put_back(Entry::raw(bytes.slice(..cut)));
        assert!(!send(&process(&store).1, get("/page")).await.is_hit(), "{cut}");
    }
}

// ---- A model of processes that share a store ----

const PAGES: usize = 3;
const PROCESSES: usize = 3;
/// The number of the page that is made from the value `price`.
const PRICED: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Read {
        process: usize,
        page: usize,
    },
    Invalidate {
        process: usize,
        page: usize,
    },
    /// Sets the value `price`.
    Set {
        process: usize,
    },
    /// Saves the record.
    Save,
    /// Restores the last saved record, or the last but one.
    PutBack {
        is_last: bool,
    },
    Restart {
        process: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..PROCESSES;
    prop_oneof![
        8 => (process.clone(), 0..PAGES).prop_map(|(process, page)| Step::Read { process, page }),
        3 => (process.clone(), 0..PAGES).prop_map(|(process, page)| Step::Invalidate { process, page }),
        1 => process.clone().prop_map(|process| Step::Set { process }),
        2 => Just(Step::Save),
        2 => any::<bool>().prop_map(|is_last| Step::PutBack { is_last }),
        1 => process.prop_map(|process| Step::Restart { process }),
    ]
}

/// The time and the page of an acknowledged invalidation.
type Acknowledged = (u64, usize);

struct Process {
    cache: Cache,
    stack: Stack,
    /// The invalidations that the process must respect, even after a rollback.
    seen: BTreeSet<Acknowledged>,
}

impl Process {
    /// Starts a process whose pages contain the time at which they were made.
    fn start(store: &Remote, time: &Arc<AtomicU64>) -> Self {
        let cache = Cache::new(store.clone());
        let (handle, time) = (cache.clone(), Arc::clone(time));
        let service = service_fn(move |request: Request<Body>| {
            let (cache, made) = (handle.clone(), time.load(Ordering::SeqCst));
            async move {
                if request.uri().path() == format!("/{PRICED}") {
                    drop(cache.get::<u64>("price").await);
                }
                Ok::<_, Infallible>(Response::new(Body::from(made.to_string())))
            }
        });
        let stack = site_over(&cache, service.boxed_clone());
        Self { cache, stack, seen: BTreeSet::new() }
    }
}

/// The invalidations in the current record, and the saved records with their invalidations.
#[derive(Default)]
struct Model {
    recorded: BTreeSet<Acknowledged>,
    saved: Vec<(Entry, BTreeSet<Acknowledged>)>,
}

async fn run(steps: Vec<Step>, is_local: bool) -> Result<(), TestCaseError> {
    let store = if is_local { Remote::local() } else { Remote::new() };
    let time = Arc::new(AtomicU64::new(0));
    let mut processes: Vec<_> = (0..PROCESSES).map(|_| Process::start(&store, &time)).collect();
    invalidate(&processes[0].cache, "/none").await;
    let mut model = Model::default();
    for step in steps {
        let now = time.fetch_add(1, Ordering::SeqCst) + 1;
        if let Step::Read { process, .. } | Step::Invalidate { process, .. } | Step::Set { process } = step {
            processes[process].seen.extend(&model.recorded);
        }
        match step {
            Step::Read { process, page } => {
                let Process { stack, seen, .. } = &processes[process];
                let answer = send(stack, get(&format!("/{page}"))).await;
                let made: u64 = answer.text().parse().expect("a time");
                let mut newer = seen.union(&model.recorded).filter(|(at, of)| *of == page && *at > made);
                prop_assert_eq!(newer.next(), None, "process {} got a page made at {}", process, made);
            }
            Step::Invalidate { process, page } => {
                invalidate(&processes[process].cache, &format!("/{page}")).await;
                model.recorded.insert((now, page));
                processes[process].seen.insert((now, page));
            }
            Step::Set { process } => {
                processes[process].cache.set("price", &now, Ttl::Forever).await.expect("ok");
                model.recorded.insert((now, PRICED));
                processes[process].seen.insert((now, PRICED));
            }
            Step::Save => model.saved.push((store.record(), model.recorded.clone())),
            Step::PutBack { is_last } => {
                let mut saved = model.saved.iter().rev();
                if let Some((record, recorded)) = saved.nth(usize::from(!is_last)) {
                    store.put_back(record.clone());
                    model.recorded = recorded.clone();
                }
            }
            Step::Restart { process } => processes[process] = Process::start(&store, &time),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::support::cases(400))]
    /// A process never serves a page that is older than an invalidation in the current record, or
    /// than an invalidation that the process has seen.
    #[test]
    fn repeated_rollbacks_lose_no_recorded_or_seen_invalidation(
        steps in prop::collection::vec(step(), 1..80),
        is_local in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(run(steps, is_local))?;
    }
}

/// 1. Process 0 begins a new incarnation of the record.
/// 2. The record returns to the old incarnation, and process 2 invalidates.
/// 3. The record returns to the new incarnation.
#[tokio::test(start_paused = true)]
async fn an_invalidation_survives_the_return_of_a_newer_incarnation() {
    let read = |process| Step::Read { process, page: PRICED };
    let steps = vec![
        Step::Save,
        read(0),
        Step::PutBack { is_last: true },
        read(0),
        Step::Save,
        Step::PutBack { is_last: false },
        Step::Invalidate { process: 2, page: PRICED },
        Step::PutBack { is_last: true },
        read(2),
    ];
    run(steps, false).await.expect("no page is older than its invalidation");
}
