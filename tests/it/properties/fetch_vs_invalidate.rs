//! Random fetches, invalidations of every kind, reads, evictions and restarts, checked against a
//! reference model.

use crate::support::*;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use std::cell::Cell;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::clock::Clock;
use tower_response_cache::invalidation::Delivery;
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::store::{
    CacheKey, Dependency, Entry, Generation, Generations, InitialCounter, KeyRef, LocalGenerations, PutMode,
    Scope, StoreFuture, Strength, Validity,
};
use tower_response_cache::{Cache, CacheHints, Invalidation, MemoryStore, Policy, SiteCacheLayer, Store};

/// Sleeps for a number of milliseconds.
async fn pause(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds)).await;
}

// ---- A store that loses entries and invalidations on demand ----

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Local,
    /// Every operation takes 5 milliseconds.
    Remote,
    /// Like `Remote`, but the invalidations are in an ordinary entry of the store, called the
    /// record.
    OneRecord,
}

#[derive(Debug, Clone)]
struct Forgetful(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entries: MemoryStore,
    mode: Mode,
    /// The keys of all entries ever stored.
    keys: Mutex<Vec<CacheKey>>,
    /// The key of the record, in `Mode::OneRecord`.
    record: Mutex<Option<CacheKey>>,
    table: Mutex<Arc<dyn Generations>>,
}

fn new_table() -> Arc<dyn Generations> {
    LocalGenerations::new().namespace("n")
}

impl Forgetful {
    fn new(entries: MemoryStore, mode: Mode) -> Self {
        let table = new_table();
        let (keys, record) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { entries, mode, keys, record, table: Mutex::new(table) }))
    }

    fn table(&self) -> Arc<dyn Generations> {
        Arc::clone(&self.0.table.lock().expect("not poisoned"))
    }

    fn evict(&self, nth: usize) {
        let keys = self.0.keys.lock().expect("not poisoned");
        if let Some(key) = keys.get(nth % keys.len().max(1)) {
            drop(self.0.entries.remove(key.as_ref()));
        }
    }

    /// Loses all invalidations, but no other entry.
    fn restart(&self) {
        *self.0.table.lock().expect("not poisoned") = new_table();
        if let Some(key) = &*self.0.record.lock().expect("not poisoned") {
            drop(self.0.entries.remove(key.as_ref()));
        }
    }

    /// Runs `work`. A local store runs `work` at once. Other stores run `work` after 3
    /// milliseconds, and answer 2 milliseconds after its end.
    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        if self.0.mode == Mode::Local {
            return work(self);
        }
        let this = self.clone();
        StoreFuture::new(async move {
            pause(3).await;
            let done = work(&this).await;
            pause(2).await;
            done
        })
    }

    fn note(&self, key: &CacheKey, entry: &Entry) {
        self.0.keys.lock().expect("not poisoned").push(key.clone());
        if entry.as_raw().is_some() {
            *self.0.record.lock().expect("not poisoned") = Some(key.clone());
        }
    }
}

impl Store for Forgetful {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        let key = key.to_key();
        self.answer(move |this| this.0.entries.get(key.as_ref()))
    }

    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        let key = key.to_key();
        self.note(&key, &entry);
        self.answer(move |this| this.0.entries.put(key.as_ref(), entry, ttl, mode))
    }

    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        let key = key.to_key();
        self.answer(move |this| this.0.entries.remove(key.as_ref()))
    }

    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        let key = key.to_key();
        self.answer(move |this| this.0.entries.increment(key.as_ref(), delta, initial))
    }

    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        let (key, expected) = (key.to_key(), expected.cloned());
        self.note(&key, &new);
        self.answer(move |this| this.0.entries.compare_and_set(key.as_ref(), expected.as_ref(), new, ttl))
    }

    fn generations(&self, _: &str) -> Option<Arc<dyn Generations>> {
        (self.0.mode != Mode::OneRecord).then(|| Arc::new(self.clone()) as _)
    }

    fn is_local(&self) -> bool {
        self.0.mode == Mode::Local
    }
}

impl Generations for Forgetful {
    fn current(&self) -> StoreFuture<Generation> {
        self.answer(|this| this.table().current())
    }

    fn cleared(&self) -> StoreFuture<Generation> {
        self.answer(|this| this.table().cleared())
    }

    fn check(&self, since: Generation, scopes: &[Scope], made_from: &[Dependency]) -> StoreFuture<Validity> {
        let (scopes, made_from) = (scopes.to_vec(), made_from.to_vec());
        self.answer(move |this| this.table().check(since, &scopes, &made_from))
    }

    fn advance(&self, scopes: &[Scope], strength: Strength) -> StoreFuture<()> {
        let scopes = scopes.to_vec();
        self.answer(move |this| this.table().advance(&scopes, strength))
    }

    fn depend(&self, value: Scope) -> StoreFuture<Generation> {
        self.answer(move |this| this.table().depend(value))
    }

    fn written(&self, value: Scope, since: Generation) -> StoreFuture<Option<Generation>> {
        self.answer(move |this| this.table().written(value, since))
    }
}

// ---- Pages, and the scopes that cover them ----

/// Two sections with two pages each.
const PAGES: usize = 4;
const HOSTS: [&str; 2] = ["a.example", "b.example"];
const QUERIES: [&str; 2] = ["", "?x=1&y=2"];
const LANGUAGES: [&str; 2] = ["de", "en"];

fn section(page: usize) -> &'static str {
    ["a", "b"][page / 2]
}

fn path(page: usize) -> String {
    format!("/{}/{page}", section(page))
}

fn page_of(path: &str) -> usize {
    path[3..].parse().expect("a page")
}

/// A page of a host with a query, in all languages.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Target {
    page: usize,
    host: usize,
    query: usize,
}

impl Target {
    const COUNT: usize = PAGES * HOSTS.len() * QUERIES.len();

    fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(|at| Self { page: at / 4, host: at / 2 % 2, query: at % 2 })
    }

    fn number(self) -> usize {
        self.page * 4 + self.host * 2 + self.query
    }

    fn uri(self) -> String {
        format!("{}{}", path(self.page), QUERIES[self.query])
    }

    fn request(self, method: &str, language: usize) -> Request<Body> {
        let lines = [("host", HOSTS[self.host]), ("accept-language", LANGUAGES[language])];
        request(method, &self.uri(), &lines)
    }
}

#[derive(Debug, Clone, Copy)]
enum NamedScope {
    Path(usize),
    Paths(usize, usize),
    Uri(usize, usize),
    Section(usize),
    Root,
    Tag(usize),
    TagOfSection(usize),
    TagOfAll,
    Everything,
    /// A scope that covers no page.
    Unrelated(u32),
}

#[derive(Debug, Clone, Copy)]
struct NamedInvalidation {
    what: NamedScope,
    host: Option<usize>,
    soft: bool,
}

impl NamedInvalidation {
    fn names(&self, target: Target) -> bool {
        let Target { page, host, query } = target;
        let by_name = match self.what {
            NamedScope::Path(named) | NamedScope::Tag(named) => named == page,
            NamedScope::Paths(one, other) => one == page || other == page,
            NamedScope::Uri(named, with) => named == page && with == query,
            NamedScope::Section(named) | NamedScope::TagOfSection(named) => section(named) == section(page),
            NamedScope::Root | NamedScope::TagOfAll | NamedScope::Everything => true,
            NamedScope::Unrelated(_) => false,
        };
        by_name && self.host.is_none_or(|named| named == host)
    }

    fn invalidation(&self) -> Invalidation {
        let what = match self.what {
            NamedScope::Path(page) => Invalidation::path(path(page)),
            NamedScope::Paths(one, other) => Invalidation::from([path(one), path(other)]),
            // The parameters are in another order than in the requests.
            NamedScope::Uri(page, query) => Invalidation::uri(path(page) + ["", "?y=2&x=1"][query]),
            NamedScope::Section(page) => Invalidation::subtree(format!("/{}", section(page))),
            NamedScope::Root => Invalidation::subtree("/"),
            NamedScope::Tag(page) => Invalidation::tag(format!("page:{page}")),
            NamedScope::TagOfSection(page) => Invalidation::tag(format!("section:{}", section(page))),
            NamedScope::TagOfAll => Invalidation::tag("all"),
            NamedScope::Everything => Invalidation::all(),
            NamedScope::Unrelated(n) if n % 2 == 0 => Invalidation::path(format!("/unrelated/{n}")),
            NamedScope::Unrelated(n) => Invalidation::tag(format!("unrelated:{n}")),
        };
        let what = match self.host {
            Some(host) => what.host(HOSTS[host]),
            None => what,
        };
        if self.soft { what.soft() } else { what }
    }
}

fn tags(page: usize) -> [String; 3] {
    [format!("page:{page}"), format!("section:{}", section(page)), "all".to_owned()]
}

/// Picks a page, mostly page 0, so that rare events coincide there.
fn pages() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0), 1 => 0..PAGES]
}

fn targets() -> impl Strategy<Value = Target> {
    (pages(), 0..HOSTS.len(), 0..QUERIES.len()).prop_map(|(page, host, query)| Target { page, host, query })
}

fn named() -> impl Strategy<Value = NamedInvalidation> {
    let what = prop_oneof![
        3 => pages().prop_map(NamedScope::Path),
        1 => (pages(), pages()).prop_map(|(one, other)| NamedScope::Paths(one, other)),
        2 => (pages(), 0..QUERIES.len()).prop_map(|(page, query)| NamedScope::Uri(page, query)),
        2 => pages().prop_map(NamedScope::Section),
        1 => Just(NamedScope::Root),
        3 => pages().prop_map(NamedScope::Tag),
        2 => pages().prop_map(NamedScope::TagOfSection),
        1 => Just(NamedScope::TagOfAll),
        1 => Just(NamedScope::Everything),
        2 => (0..100_u32).prop_map(NamedScope::Unrelated),
    ];
    let host = prop_oneof![3 => Just(None), 1 => (0..HOSTS.len()).prop_map(Some)];
    (what, host, any::<bool>()).prop_map(|(what, host, soft)| NamedInvalidation { what, host, soft })
}

// ---- Concurrent steps ----

#[derive(Debug, Clone)]
enum Step {
    /// A visitor requests a page in a language. The response to a POST may be stored for GETs, and
    /// the response to a HEAD may update the stored response.
    Read {
        method: &'static str,
        target: Target,
        language: usize,
    },
    /// Changes the data of the pages in a scope, and then invalidates the scope.
    Write(NamedInvalidation),
    Evict {
        nth: usize,
    },
    /// The store loses its invalidations.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (methods(), targets(), 0..LANGUAGES.len())
            .prop_map(|(method, target, language)| Step::Read { method, target, language }),
        5 => named().prop_map(Step::Write),
        2 => any::<usize>().prop_map(|nth| Step::Evict { nth }),
        1 => Just(Step::Restart),
    ]
}

fn methods() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just("GET"), 1 => Just("HEAD"), 1 => Just("POST")]
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Local), Just(Mode::Remote), Just(Mode::OneRecord)]
}

/// For each target, the latest version whose invalidation has returned.
#[derive(Default)]
struct AnnouncedVersions {
    /// For hard invalidations: no response may be older than this version.
    hard: [AtomicU64; Target::COUNT],
    /// For soft invalidations: no response may be older than this version, unless `Cache-Status`
    /// reports the response as stale.
    soft: [AtomicU64; Target::COUNT],
}

/// A service that reads the version of a page and then waits, so that a write is likely to happen
/// during the call.
#[derive(Clone)]
struct Origin {
    versions: Arc<[AtomicU64; PAGES]>,
    calls: Arc<AtomicUsize>,
    delays: Arc<Vec<u64>>,
}

type Pieces =
    StreamBody<std::pin::Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>>;

impl Origin {
    async fn answer(self, request: Request<Body>) -> Result<Response<Pieces>, Infallible> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let delay = |nth: usize| self.delays[(call * 3 + nth) % self.delays.len()];
        let page = page_of(request.uri().path());
        let version = self.versions[page].load(Ordering::SeqCst);
        pause(delay(0)).await;
        let etag = format!("\"{page} {version}\"");
        let known = request.headers().get("if-none-match").is_some_and(|tag| tag == etag.as_str());
        let mut response = Response::builder().header("etag", &etag).header("vary", "accept-language");
        if request.method() == "POST" {
            let uri = request.uri().to_string();
            response = response.header("content-location", uri).header("cache-control", "max-age=60");
        }
        if known {
            response = response.status(StatusCode::NOT_MODIFIED);
        }
        let (first, second) = (delay(1), delay(2));
        let frames = futures::stream::unfold(0, move |at| async move {
            pause([first, second][at.min(1)]).await;
            let frame = Frame::data(Bytes::from(format!("{version} ")));
            (at < 2 && !known).then_some((Ok(frame), at + 1))
        });
        let frames: Pieces = StreamBody::new(Box::pin(frames));
        let mut response = response.body(frames).expect("a response");
        // A 304 need not repeat the tags, so this 304 has none.
        if !known {
            CacheHints::new().tags(tags(page)).add_to(response.extensions_mut());
        }
        Ok(response)
    }
}

/// Runs each step at its time, and checks each response against the announced versions.
fn run(
    mode: Mode,
    preset: PolicyBuilder,
    brief: bool,
    capacity: u64,
    steps: Vec<(u64, Step)>,
    delays: Vec<u64>,
) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime").block_on(async move {
        let (clock, manual) = Clock::manual();
        let ticks = tokio::spawn(async move {
            loop {
                pause(5).await;
                manual.advance(Duration::from_millis(5));
            }
        });
        let entries =
            MemoryStore::builder().seed(3).max_bytes(capacity).clock(clock.clone()).build().expect("valid");
        let store = Forgetful::new(entries, mode);
        let builder = Cache::builder(store.clone()).lookup_timeout(Duration::from_millis(250));
        let cache = builder.clock(clock).build().expect("valid");
        let origin = Origin { versions: Arc::default(), calls: Arc::default(), delays: Arc::new(delays) };
        let (versions, announced) = (Arc::clone(&origin.versions), Arc::<AnnouncedVersions>::default());
        let inner = service_fn(move |request: Request<Body>| origin.clone().answer(request));
        let policy = match brief {
            true => preset
                .default_ttl(Duration::from_millis(60))
                .stale_while_revalidate(Duration::from_millis(200)),
            false => preset.stale_while_revalidate(MINUTE),
        };
        let stack = SiteCacheLayer::new(&cache).policy(policy.build().expect("a policy")).layer(inner);
        let tasks: Vec<_> = steps
            .into_iter()
            .map(|(at, step)| {
                let (stack, cache, store) = (stack.clone(), cache.clone(), store.clone());
                let (versions, announced) = (Arc::clone(&versions), Arc::clone(&announced));
                tokio::spawn(async move {
                    pause(at).await;
                    match step {
                        Step::Read { method, target, language } => {
                            let least = |of: &[AtomicU64]| of[target.number()].load(Ordering::SeqCst);
                            let (hard, soft) = (least(&announced.hard), least(&announced.soft));
                            let answer = read(
                                stack.oneshot(target.request(method, language)).await.expect("infallible"),
                            )
                            .await;
                            let tag = answer.header("etag").expect("a tag").trim_matches('"');
                            let tag = tag.split_once(' ').expect("a page").1;
                            let words = answer.text().split_whitespace();
                            let versions: Vec<u64> =
                                words.chain([tag]).map(|text| text.parse().expect("a version")).collect();
                            // This origin sends a body even for a HEAD. A server would drop that
                            // body.
                            let is_complete =
                                versions.len() == 3 || (method == "HEAD" && versions.len() == 1);
                            let alike = versions.iter().all(|version| *version == versions[0]);
                            assert!(is_complete && alike, "{answer:?}");
                            let stale = answer.detail().is_some_and(|detail| detail.starts_with("stale"));
                            assert!(
                                versions[0] >= hard,
                                "{target:?}: {hard} was announced before: {answer:?}"
                            );
                            assert!(
                                stale || versions[0] >= soft,
                                "{target:?}: not marked as stale, but {soft} was announced before: {answer:?}"
                            );
                        }
                        Step::Write(named) => {
                            let concerned: Vec<_> =
                                Target::all().filter(|target| named.names(*target)).collect();
                            let mut now = [0; PAGES];
                            for page in 0..PAGES {
                                let changes = concerned.iter().any(|target| target.page == page);
                                now[page] = versions[page].fetch_add(u64::from(changes), Ordering::SeqCst)
                                    + u64::from(changes);
                            }
                            if cache.invalidate(named.invalidation()).await.is_delivered() {
                                for target in concerned {
                                    let (number, version) = (target.number(), now[target.page]);
                                    announced.soft[number].fetch_max(version, Ordering::SeqCst);
                                    if !named.soft {
                                        announced.hard[number].fetch_max(version, Ordering::SeqCst);
                                    }
                                }
                            }
                        }
                        Step::Evict { nth } => store.evict(nth),
                        Step::Restart => store.restart(),
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no step panics");
        }
        sleep(Duration::from_secs(1)).await;
        ticks.abort();
        assert_eq!((cache.flights(), cache.recording_bytes(), cache.refreshes().running()), (0, 0, 0));
        assert_eq!(cache.store_errors(), 0);
    });
}

proptest! {
    #![proptest_config(crate::support::cases(150))]
    /// A request that begins after a hard invalidation has returned never gets older data. After a
    /// soft invalidation, a request gets older data only as a stale response.
    #[test]
    fn no_response_is_older_than_a_returned_invalidation(
        mode in modes(),
        brief in any::<bool>(),
        small in any::<bool>(),
        proxy in any::<bool>(),
        steps in prop::collection::vec((0..250_u64, step()), 1..120),
        delays in prop::collection::vec(0..60_u64, 31),
    ) {
        // The small capacity evicts entries, including the record of invalidations.
        let preset = if proxy { Policy::rfc9111().default_ttl(MINUTE).cache_status(true) } else { policy() };
        run(mode, preset, brief, if small { 64 << 10 } else { 8 << 20 }, steps, delays);
    }
}

// ---- Concurrent invalidations ----

/// The store takes 10 milliseconds for each read or write of its record. The cache waits at most
/// 250 milliseconds for an invalidation.
#[tokio::test(start_paused = true)]
async fn concurrent_invalidations_all_take_effect_in_time() {
    for processes in [1, 3] {
        let entries = MemoryStore::builder().seed(3).max_bytes(8 << 20).build().expect("valid");
        let store = Forgetful::new(entries, Mode::OneRecord);
        let caches: Vec<_> = (0..processes).map(|_| Cache::new(store.clone())).collect();
        let start = tokio::time::Instant::now();
        let all = (0..200).map(|nth| {
            let cache = &caches[nth % processes];
            let what = Invalidation::tag(format!("page:{nth}"));
            async move { cache.invalidate(what).await }
        });
        for done in futures::future::join_all(all).await {
            assert_eq!(done, Delivery::Delivered, "in time");
        }
        assert!(
            start.elapsed() <= Duration::from_millis(20 * (processes as u64 + 1)),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(caches.iter().map(Cache::store_errors).sum::<u64>(), 0);
    }
}

/// One caller writes the invalidations of all concurrent callers. That caller may be cancelled
/// before the write.
#[tokio::test(start_paused = true)]
async fn a_cancelled_coalesced_invalidation_loses_no_other() {
    for left_after in 0..25 {
        let entries = MemoryStore::builder().seed(3).max_bytes(8 << 20).build().expect("valid");
        let cache = Cache::new(Forgetful::new(entries, Mode::OneRecord));
        let stack = SiteCacheLayer::new(&cache).policy(policy().build().expect("a policy")).layer(
            service_fn(async |request: Request<Body>| {
                let mut response = Response::new(Body::from("page"));
                let tag = format!("path:{}", request.uri().path());
                CacheHints::new().tags([tag]).add_to(response.extensions_mut());
                Ok::<_, Infallible>(response)
            }),
        );
        let request_page = |nth: usize| {
            let stack = stack.clone();
            async move { read(stack.oneshot(get(&format!("/{nth}"))).await.expect("infallible")).await }
        };
        for nth in 0..5 {
            request_page(nth).await;
            assert!(request_page(nth).await.is_hit());
        }
        let invalidate = |nth: usize| cache.invalidate(Invalidation::tag(format!("path:/{nth}")));
        // Caller 0 writes the invalidations of both callers. Caller 1 joins while caller 0 reads
        // the record. Both are cancelled at the same moment.
        let leave = Duration::from_millis(left_after);
        let leaving = |nth| tokio::time::timeout(leave, invalidate(nth));
        let staying = async {
            pause(1).await;
            futures::future::join_all([invalidate(2), invalidate(3)]).await
        };
        let (_, _, stayed) = futures::join!(leaving(0), leaving(1), staying);
        assert!(stayed.iter().all(|delivery| delivery.is_delivered()), "{left_after}: {stayed:?}");
        let hits = futures::future::join_all((2..5).map(request_page)).await;
        let hits: Vec<_> = hits.iter().map(Answer::is_hit).collect();
        assert_eq!(hits, [false, false, true], "{left_after}");
    }
}

// ---- Sequential steps ----

#[derive(Debug, Clone)]
enum ComparedStep {
    Read { target: Target, language: usize },
    Invalidate(NamedInvalidation),
    Restart,
}

fn compared_step() -> impl Strategy<Value = ComparedStep> {
    prop_oneof![
        30 => (targets(), 0..LANGUAGES.len()).prop_map(|(target, language)| ComparedStep::Read { target, language }),
        10 => named().prop_map(ComparedStep::Invalidate),
        1 => Just(ComparedStep::Restart),
    ]
}

/// The state of one stored variant in the model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Absent,
    Fresh(u64),
    Stale(u64),
}

#[derive(Debug, Default)]
struct Tally {
    /// Reads of variants that are stored according to the model.
    expected: Cell<usize>,
    /// The reads counted in `expected` that found the variant absent, or stale instead of fresh.
    lost: Cell<usize>,
}

/// Checks that the cache holds exactly the variants that the model predicts, or fewer if scopes
/// share buckets.
async fn compare_with_model(
    mode: Mode,
    windowed: bool,
    steps: &[ComparedStep],
    tally: &Tally,
) -> Result<(), TestCaseError> {
    let store =
        Forgetful::new(MemoryStore::builder().seed(3).max_bytes(32 << 20).build().expect("valid"), mode);
    let cache = Cache::new(store.clone());
    let (inner, _) = origin(|request, call| {
        let mut response = numbered(&[("vary", "accept-language")], call);
        CacheHints::new().tags(tags(page_of(request.uri().path()))).add_to(response.extensions_mut());
        response
    });
    let hour = Duration::from_secs(3600);
    let policy = match windowed {
        true => Policy::app().default_ttl(hour).stale_while_revalidate(hour),
        false => Policy::app().default_ttl(hour),
    };
    let stack = SiteCacheLayer::new(&cache)
        .policy(policy.cache_status(true).build().expect("a policy"))
        .layer(inner)
        .boxed_clone();
    let mut model = [[State::Absent; 2]; Target::COUNT];
    for step in steps {
        match step {
            ComparedStep::Read { target, language } => {
                let state = &mut model[target.number()][*language];
                let answer = send(&stack, target.request("GET", *language)).await;
                let version: u64 = answer.text().parse().expect("a version");
                let found = match (answer.is_hit(), answer.detail()) {
                    (false, _) => State::Absent,
                    (true, None) => State::Fresh(version),
                    (true, Some(_)) => State::Stale(version),
                };
                if *state != State::Absent {
                    tally.expected.set(tally.expected.get() + 1);
                }
                if found != *state {
                    // Scopes share buckets, so an invalidation of another scope may have made the
                    // entry stale or absent.
                    let (softened, gone) = match *state {
                        State::Fresh(version) => (found == State::Stale(version), found == State::Absent),
                        State::Stale(_) => (false, found == State::Absent),
                        State::Absent => (false, false),
                    };
                    prop_assert!(softened || gone, "{target:?}: found {found:?}, expected {state:?}");
                    tally.lost.set(tally.lost.get() + 1);
                }
                sleep(Duration::from_secs(1)).await;
                // A stale hit starts a background refresh, so the next read shows a newer version.
                *state = match found {
                    State::Absent => State::Fresh(version),
                    State::Fresh(_) => found,
                    State::Stale(before) => {
                        let answer = send(&stack, target.request("GET", *language)).await;
                        let version: u64 = answer.text().parse().expect("a version");
                        prop_assert!(
                            version > before && answer.is_hit() && answer.detail().is_none(),
                            "{answer:?}"
                        );
                        State::Fresh(version)
                    }
                };
            }
            ComparedStep::Invalidate(named) => {
                assert_eq!(cache.invalidate(named.invalidation()).await, Delivery::Delivered);
                for target in Target::all().filter(|target| named.names(*target)) {
                    for state in &mut model[target.number()] {
                        *state = match *state {
                            State::Fresh(version) | State::Stale(version) if named.soft && windowed => {
                                State::Stale(version)
                            }
                            _ => State::Absent,
                        };
                    }
                }
            }
            ComparedStep::Restart => {
                store.restart();
                model = [[State::Absent; 2]; Target::COUNT];
            }
        }
    }
    Ok(())
}

#[test]
fn invalidations_cover_their_scopes_and_little_else() {
    for mode in [Mode::Local, Mode::Remote, Mode::OneRecord] {
        let tally = Tally::default();
        let cases = (any::<bool>(), prop::collection::vec(compared_step(), 1..80));
        let config = ProptestConfig { source_file: Some(file!()), ..crate::support::cases(40) };
        let ran = TestRunner::new(config).run(&cases, |(windowed, steps)| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
            runtime.block_on(compare_with_model(mode, windowed, &steps, &tally))
        });
        if let Err(error) = ran {
            panic!("{mode:?}: {error}");
        }
        let (expected, lost) = (tally.expected.get(), tally.lost.get());
        // A record has 2,048 buckets in each row, and a local table has 16 times as many. In a
        // smaller table, unrelated scopes share buckets more often.
        let most = if mode == Mode::OneRecord { expected / 5 } else { expected / 25 };
        assert!(expected > 100 && lost <= most, "{mode:?}: {lost} of {expected} lost");
    }
}
