//! Random faults, invalidations and reads in two processes over one store.

use super::*;
use crate::support::stacks::begin;
use proptest::prelude::*;
use std::sync::Mutex;
use tokio::task::JoinHandle;

const PATHS: [&str; 3] = ["/a", "/b", "/slow"];

#[derive(Debug, Clone)]
enum Step {
    Break {
        process: usize,
        operation: Operation,
        fault: Fault,
    },
    Mend {
        process: usize,
    },
    /// Changes the data of a page and invalidates it.
    Change {
        process: usize,
        path: usize,
    },
    /// Changes the data of the value, and stores the new value.
    Set {
        process: usize,
    },
    /// Changes the data of the value, and deletes the stored value.
    Delete {
        process: usize,
    },
    Read {
        process: usize,
        path: usize,
    },
    ReadValue {
        process: usize,
    },
    Sleep {
        milliseconds: u64,
    },
}

fn fault() -> impl Strategy<Value = Fault> {
    let delay = |before, after| Fault::Delay { before: before * MS, after: after * MS };
    prop_oneof![
        Just(Fault::Error),
        Just(Fault::ErrorAfter),
        Just(Fault::Hang),
        Just(Fault::HangAfter),
        Just(delay(3, 2)),
        Just(delay(0, 40)),
        Just(delay(200, 100)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![
        Just(Operation::Lookup),
        Just(Operation::Write),
        Just(Operation::Generation),
        Just(Operation::Invalidation),
    ];
    let process = 0..2_usize;
    let milliseconds = prop_oneof![0..5_u64, 20..60_u64, 100..400_u64, Just(2_000)];
    prop_oneof![
        3 => (process.clone(), operation, fault())
            .prop_map(|(process, operation, fault)| Step::Break { process, operation, fault }),
        2 => process.clone().prop_map(|process| Step::Mend { process }),
        4 => (process.clone(), 0..3_usize).prop_map(|(process, path)| Step::Change { process, path }),
        3 => process.clone().prop_map(|process| Step::Set { process }),
        1 => process.clone().prop_map(|process| Step::Delete { process }),
        6 => (process.clone(), 0..3_usize).prop_map(|(process, path)| Step::Read { process, path }),
        2 => process.prop_map(|process| Step::ReadValue { process }),
        6 => milliseconds.prop_map(|milliseconds| Step::Sleep { milliseconds }),
    ]
}

/// For each process and page, the oldest data that a read may return. The last item is for the
/// value.
type Floors = Arc<Mutex<[[usize; 4]; 2]>>;
const VALUE: usize = 3;

/// Two processes over one store. Each page has its own data.
struct World {
    data: [Data; 4],
    caches: [Cache; 2],
    sites: [Stack; 2],
    faults: [Faults; 2],
    floors: Floors,
    running: Vec<JoinHandle<()>>,
}

impl World {
    fn new(has_generations: bool) -> Self {
        let shared = memory_store(8 << 20);
        let stores = [(); 2].map(|()| FaultyStore::new(shared.clone()));
        let stores = stores.map(|store| if has_generations { store } else { store.without_generations() });
        let faults = [0, 1].map(|process: usize| stores[process].faults());
        let caches = stores.map(Cache::new);
        let data: [Data; 4] = Default::default();
        let sites = [0, 1].map(|process: usize| site_of(&caches[process], &data));
        Self { data, caches, sites, faults, floors: Floors::default(), running: Vec::new() }
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Break { process, operation, fault } => self.faults[process].set(operation, fault),
            Step::Mend { process } => self.faults[process].clear(),
            Step::Change { process, path } => {
                self.data[path].change();
                let (number, floors) = (self.data[path].get(), Arc::clone(&self.floors));
                let cache = self.caches[process].clone();
                self.running.push(tokio::spawn(async move {
                    let is_delivered = cache.invalidate(PATHS[path]).await.is_delivered();
                    raise(&floors, process, path, number, is_delivered);
                }));
            }
            // The sets run one after the other, because either of two concurrent writes may be the last.
            Step::Set { process } => {
                self.data[VALUE].change();
                let number = self.data[VALUE].get();
                let is_set = self.caches[process].set("k", &number, 3600 * S).await.is_ok();
                raise(&self.floors, process, VALUE, number, is_set);
            }
            Step::Delete { process } => {
                self.data[VALUE].change();
                let is_deleted = self.caches[process].delete("k").await.is_ok();
                raise(&self.floors, process, VALUE, self.data[VALUE].get(), is_deleted);
            }
            Step::Read { process, path } => {
                let least = self.least(process, path);
                let answer = begin(&self.sites[process], get(PATHS[path]));
                self.running.push(tokio::spawn(async move {
                    let answer = answer.await.expect("no panic");
                    let number: usize = answer.text().parse().expect("a number");
                    assert!(number >= least, "{} is {number}, older than {least}", PATHS[path]);
                }));
            }
            Step::ReadValue { process } => {
                let least = self.least(process, VALUE);
                let cache = self.caches[process].clone();
                let answer = begin(&self.sites[process], get("/value"));
                self.running.push(tokio::spawn(async move {
                    if let Ok(Some(number)) = cache.get::<usize>("k").await {
                        assert!(number >= least, "the value is {number}, older than {least}");
                    }
                    let answer = answer.await.expect("no panic");
                    let number: usize = answer.text().parse().expect("a number");
                    assert!(number >= least, "the page of the value is {number}, older than {least}");
                }));
            }
            Step::Sleep { milliseconds } => sleep(Duration::from_millis(milliseconds)).await,
        }
    }

    fn least(&self, process: usize, page: usize) -> usize {
        self.floors.lock().expect("not poisoned")[process][page]
    }

    /// Ends all faults. Asserts that both processes then return the newest data.
    async fn end(mut self) {
        self.faults.iter().for_each(Faults::clear);
        for task in self.running.drain(..) {
            task.await.expect("no old data");
        }
        for cache in &self.caches {
            let delivery = async {
                while cache.undelivered() > 0 || cache.circuit() != CircuitState::Closed {
                    sleep(10 * MS).await;
                    let _ = cache.get::<usize>("other").await;
                }
            };
            tokio::time::timeout(60 * S, delivery).await.expect("the cache recovers");
        }
        for process in [0, 1] {
            for (path, data) in PATHS.iter().zip(&self.data) {
                for _ in 0..2 {
                    let answer = send(&self.sites[process], get(path)).await;
                    assert_eq!(answer.text(), data.get().to_string(), "{path} of process {process}");
                    settle().await;
                }
                assert!(send(&self.sites[process], get(path)).await.is_hit(), "the cache works again");
            }
            let value = self.caches[process].get::<usize>("k").await.expect("no fault");
            assert!(value.is_none_or(|value| value == self.data[VALUE].get()), "{value:?}");
        }
    }
}

fn raise(floors: &Floors, process: usize, page: usize, number: usize, in_all: bool) {
    let mut floors = floors.lock().expect("not poisoned");
    for (at, floor) in floors.iter_mut().enumerate() {
        if in_all || at == process {
            floor[page] = floor[page].max(number);
        }
    }
}

/// Creates the site of a process. The handler of a page reads the data and then waits.
fn site_of(cache: &Cache, data: &[Data; 4]) -> Stack {
    let (handle, data) = (cache.clone(), data.clone());
    let handler = service_fn(move |request: http::Request<Body>| {
        let (cache, data) = (handle.clone(), data.clone());
        async move {
            let path = request.uri().path();
            let number = match PATHS.iter().position(|known| *known == path) {
                Some(page) => data[page].get(),
                None => {
                    let now = data[VALUE].get();
                    cache.get("k").await.ok().flatten().unwrap_or(now)
                }
            };
            sleep(if path == "/slow" { 120 * MS } else { MS }).await;
            Ok::<_, Infallible>(with_lines(&[], number.to_string()))
        }
    });
    layered(cache, Policy::app().default_ttl(3600 * S), handler.boxed_clone())
}

proptest! {
    #![proptest_config(crate::support::cases(150))]

    /// No response is older than an invalidation that had returned before its request. A delivered
    /// invalidation counts for all processes, a queued one for its own process.
    #[test]
    fn no_response_is_older_than_an_invalidation(
        has_generations in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new(has_generations);
            for step in steps {
                world.run(step).await;
            }
            world.end().await;
        });
    }
}
