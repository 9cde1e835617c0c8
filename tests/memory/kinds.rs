//! The memory of a store that is full of one kind of entry: pages with many fields, or values.

use super::{MINUTE, on_runtime};
use allocation_counter::measure;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LINK, RANGE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};
use tower_response_cache::Store;
use tower_response_cache::clock::Clock;
use tower_response_cache::policy::{PolicyBuilder, TagField};
use tower_response_cache::store::{Entry, Generations, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{Cache, CacheHints, MemoryStore, Policy, SiteCacheLayer};

const CAPACITY: u64 = 2 << 20;
/// Numbers of fields just below and above the sizes at which the index of a header map grows.
const NUMBERS: [usize; 16] = [0, 1, 3, 5, 6, 10, 11, 22, 23, 46, 47, 94, 95, 100, 192, 200];
const FEW_NUMBERS: [usize; 4] = [0, 11, 95, 192];
/// A store is full once this number of entries in a row does not increase its weight.
const NO_HEAVIER: usize = 100;

type Body = Full<Bytes>;

/// A kind of page, and the requests for each page.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    policy: fn() -> PolicyBuilder,
    /// Returns a response with this number of fields or tags.
    page: fn(usize) -> Response<Body>,
    asks: &'static [RequestMaker],
}

fn policy() -> PolicyBuilder {
    Policy::app().default_ttl(MINUTE)
}

fn empty_page() -> Response<Body> {
    Response::new(Full::from("a"))
}

fn page_with(lines: impl IntoIterator<Item = (String, &'static str)>) -> Response<Body> {
    let mut response = empty_page();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        response.headers_mut().append(name, HeaderValue::from_static(value));
    }
    response
}

fn short(count: usize) -> Response<Body> {
    page_with((0..count).map(|number| (format!("x-{number}"), "v")))
}

fn long(count: usize) -> Response<Body> {
    const VALUE: &str = "a value that is about as long as the values of fields are, with some more behind it";
    page_with((0..count).map(|number| (format!("x-a-longer-name-{number}"), VALUE)))
}

fn with_fields_of_a_304(count: usize) -> Response<Body> {
    let mut response = page_with((0..count).map(|number| (format!("access-control-{number}"), "v")));
    response.headers_mut().insert(ETAG, HeaderValue::from_static("\"a\""));
    response
}

fn lines(count: usize) -> Response<Body> {
    page_with((0..count).map(|_| (LINK.to_string(), "<a>")))
}

fn dated(count: usize) -> Response<Body> {
    let mut response = short(count);
    response.headers_mut().insert(LAST_MODIFIED, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
    response
}

fn controlled(count: usize) -> Response<Body> {
    let mut response = short(count);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60, s-maxage=600"));
    response.headers_mut().insert("cdn-cache-control", HeaderValue::from_static("max-age=600"));
    response
}

fn varying(count: usize) -> Response<Body> {
    let mut response = short(count);
    response.headers_mut().insert(VARY, HeaderValue::from_static("x-lang, x-place"));
    response
}

fn tagged(count: usize) -> Response<Body> {
    let mut response = empty_page();
    CacheHints::new().tags((0..count).map(|tag| format!("tag-{tag}"))).add_to(response.extensions_mut());
    response
}

fn one(name: HeaderName, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a value"))])
}

/// Returns a request, made from the fields of the previous response, and its expected status.
type RequestMaker = fn(&HeaderMap) -> ExpectedRequest;
type ExpectedRequest = (Method, HeaderMap, StatusCode);

fn get(_: &HeaderMap) -> ExpectedRequest {
    (Method::GET, HeaderMap::new(), StatusCode::OK)
}

fn head(_: &HeaderMap) -> ExpectedRequest {
    (Method::HEAD, HeaderMap::new(), StatusCode::OK)
}

fn part(_: &HeaderMap) -> ExpectedRequest {
    (Method::GET, one(RANGE, "bytes=0-0"), StatusCode::PARTIAL_CONTENT)
}

fn by_tag(read: &HeaderMap) -> ExpectedRequest {
    let tag = read.get(ETAG).cloned().expect("a tag");
    (Method::GET, HeaderMap::from_iter([(IF_NONE_MATCH, tag)]), StatusCode::NOT_MODIFIED)
}

fn by_date(read: &HeaderMap) -> ExpectedRequest {
    let date = read[LAST_MODIFIED].to_str().expect("a date");
    (Method::GET, one(IF_MODIFIED_SINCE, date), StatusCode::NOT_MODIFIED)
}

fn if_none(_: &HeaderMap) -> ExpectedRequest {
    (Method::GET, one(IF_NONE_MATCH, "*"), StatusCode::NOT_MODIFIED)
}

fn variant<const LANGUAGE: usize>(_: &HeaderMap) -> ExpectedRequest {
    (Method::GET, one(HeaderName::from_static("x-lang"), &format!("language-{LANGUAGE}")), StatusCode::OK)
}

const KINDS: [Kind; 13] = [
    Kind { name: "plain", policy, page: short, asks: &[get, get] },
    Kind { name: "long fields", policy, page: long, asks: &[get, get, head, part] },
    Kind { name: "lines of one field", policy, page: lines, asks: &[get, get] },
    Kind { name: "If-None-Match: *", policy, page: short, asks: &[get, if_none] },
    Kind { name: "304 by date", policy, page: dated, asks: &[get, by_date] },
    Kind { name: "304 with all fields", policy, page: with_fields_of_a_304, asks: &[get, by_tag] },
    Kind {
        name: "etags, 304",
        policy: || policy().etags(true),
        page: short,
        asks: &[get, by_tag, head, part],
    },
    Kind {
        name: "client_max_age",
        policy: || policy().client_max_age(MINUTE),
        page: controlled,
        asks: &[get, get, if_none],
    },
    Kind {
        name: "client_max_age, 304",
        policy: || policy().client_max_age(MINUTE).etags(true),
        page: controlled,
        asks: &[get, by_tag, head],
    },
    Kind {
        name: "client_max_age, 304 by date, long",
        policy: || policy().client_max_age(MINUTE),
        page: |count| {
            let mut response = long(count);
            response.headers_mut().extend(dated(0).headers().clone());
            response
        },
        asks: &[get, by_date],
    },
    Kind {
        name: "variants",
        policy,
        page: varying,
        asks: &[variant::<0>, variant::<1>, variant::<2>, variant::<3>],
    },
    Kind { name: "tags", policy, page: tagged, asks: &[get, get] },
    Kind {
        name: "emitted tags, 304",
        policy: || policy().emit_tags_in([TagField::SurrogateKey]).etags(true),
        page: tagged,
        asks: &[get, by_tag],
    },
];

/// The bytes that a store holds beyond an empty store, their peak, and the weight of the store.
#[derive(Debug)]
struct Held {
    bytes: u64,
    most: u64,
    weight: u64,
}

fn held(fill: &impl AsyncFn(&MemoryStore)) -> Held {
    let (mut weight, mut kept, mut empty) = (0, None, None);
    let tables = measure(|| empty = Some(MemoryStore::with_max_bytes(CAPACITY))).bytes_current;
    let info = measure(|| {
        let store = MemoryStore::with_max_bytes(CAPACITY);
        on_runtime(fill(&store));
        weight = store.weight();
        kept = Some(store);
    });
    let beyond = |bytes: i64| u64::try_from(bytes - tables).unwrap_or(0);
    Held { bytes: beyond(info.bytes_current), most: beyond(info.bytes_max.cast_signed()), weight }
}

/// Puts entries through a cache until the store grows no heavier. Returns the memory of the store.
fn held_when_full(cache: fn(&MemoryStore) -> Cache, put: &impl AsyncFn(&Cache, usize)) -> Held {
    held(&async |store| {
        let cache = cache(store);
        let (mut heaviest, mut since) = (0, 0);
        for number in 0.. {
            put(&cache, number).await;
            since = if store.weight() > heaviest { 0 } else { since + 1 };
            heaviest = heaviest.max(store.weight());
            if since == NO_HEAVIER {
                break;
            }
        }
        assert!(heaviest > CAPACITY * 4 / 5, "{heaviest}");
    })
}

fn local(store: &MemoryStore) -> Cache {
    Cache::new(store.clone())
}

/// Sends the requests of a kind for one page.
async fn ask_for(cache: &Cache, kind: Kind, fields: usize, number: usize) {
    let page = kind.page;
    let inner = service_fn(move |_: Request<Body>| async move { Ok::<_, Infallible>(page(fields)) });
    let site = SiteCacheLayer::new(cache).policy((kind.policy)().build().expect("a policy")).layer(inner);
    let mut read = HeaderMap::new();
    for ask in kind.asks {
        let (method, headers, status) = ask(&read);
        let mut request = Request::new(Full::default());
        *request.uri_mut() = format!("/{number:06}").parse().expect("a path");
        (*request.method_mut(), *request.headers_mut()) = (method, headers);
        let response = site.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), status, "{} with {fields}", kind.name);
        let (parts, body) = response.into_parts();
        body.collect().await.expect("the body");
        read = parts.headers;
    }
}

/// Prints a row, and returns `true` if the store takes at most 1.15 times its capacity.
fn is_bounded(name: &str, number: usize, held: &Held) -> bool {
    let times = |bytes: u64| bytes as f64 / CAPACITY as f64;
    let (bytes, most, weight) = (times(held.bytes), times(held.most), times(held.weight));
    println!("{name:34} {number:4} {bytes:.3} held, {most:.3} at most, {weight:.3} counted");
    held.bytes <= CAPACITY * 115 / 100
}

#[test]
fn pages_hold_no_more_than_their_weight() {
    let mut beyond = Vec::new();
    for (at, kind) in KINDS.into_iter().enumerate() {
        let numbers = if at == 0 { &NUMBERS[..] } else { &FEW_NUMBERS };
        for number in numbers.iter().copied() {
            let held = held_when_full(local, &async |cache, page| ask_for(cache, kind, number, page).await);
            if !is_bounded(kind.name, number, &held) {
                beyond.push((kind.name, number, held));
            }
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}

#[test]
fn values_and_counters_hold_no_more_than_their_weight() {
    let mut beyond = Vec::new();
    let mut check = |name: &'static str, number: usize, held: Held| {
        if !is_bounded(name, number, &held) {
            beyond.push((name, number, held));
        }
    };
    for tags in [0, 1, 20, 200] {
        let put = async |cache: &Cache, number: usize| {
            let tags = (0..tags).map(|tag| format!("tag-{number}-{tag}"));
            let value = cache.value(number.to_string()).ttl(MINUTE).tags(tags);
            value.set(&1_u8).await.expect("stored");
            let read: Option<u8> = cache.get(number.to_string()).await.expect("read");
            assert_eq!(read, Some(1));
        };
        check("tagged values", tags, held_when_full(local, &put));
    }
    for read in [1, 50] {
        let put = async |cache: &Cache, number: usize| {
            if number == 0 {
                for base in 0..50 {
                    cache.set(format!("base {base}"), &1_u8, MINUTE).await.expect("stored");
                }
            }
            let make = || async {
                for base in 0..read {
                    let _: Option<u8> = cache.get(format!("base {base}")).await.expect("read");
                }
                1_u8
            };
            cache.get_or_set(number.to_string(), MINUTE, make).await.expect("made");
        };
        check("values made from values", read, held_when_full(local, &put));
    }
    let raw = async |cache: &Cache, number: usize| {
        cache.set_bytes(number.to_string(), Bytes::from_static(b"1"), MINUTE).await.expect("stored");
        cache.get_bytes(number.to_string()).await.expect("read");
    };
    check("values of one byte", 0, held_when_full(local, &raw));
    let counter = async |cache: &Cache, number: usize| {
        cache.set_counter(number.to_string(), 1, MINUTE).await.expect("stored");
    };
    check("counters", 0, held_when_full(local, &counter));
    assert!(beyond.is_empty(), "{beyond:#?}");
}

/// This test also fails if `http` changes the layout of a header map.
#[test]
fn weight_of_a_page_equals_the_allocations_of_its_fields() {
    const PAGES: usize = 2;
    let of = |kind: Kind, fields: usize| {
        let held = held(&async |store| {
            let cache = Cache::new(store.clone());
            for page in 0..PAGES {
                ask_for(&cache, kind, fields, page).await;
            }
        });
        held.bytes.cast_signed() - held.weight.cast_signed()
    };
    for kind in KINDS {
        // The first run also allocates statics, so it is not counted.
        let _ = of(kind, 0);
        let first = of(kind, 0);
        let all: Vec<_> = (0..300).collect();
        for fields in if kind.name == "plain" { &all } else { &NUMBERS[..] } {
            let beyond = of(kind, *fields) - first;
            // The weight also counts the name of the field with the tags. That name is static, so
            // it takes no memory.
            let least = if kind.name.starts_with("emitted tags") { -400 } else { 0 };
            assert!((least..=0).contains(&beyond), "{} with {fields}: {beyond} more", kind.name);
        }
    }
}

/// A thread keeps copies of hot pages. The copies take memory even after the store has evicted the
/// pages.
#[test]
fn copies_of_hot_pages_take_at_most_4_mib_per_thread() {
    for fields in [150, 280, 520] {
        let kind = Kind { name: "hot", policy, page: long, asks: &[get as RequestMaker; 40] };
        let fill = move || {
            held(&async |store| {
                let cache = Cache::new(store.clone());
                for page in 0..200 {
                    ask_for(&cache, kind, fields, page).await;
                }
                // The store evicts the hot pages.
                for page in 200..300 {
                    ask_for(&cache, Kind { asks: &[get], ..kind }, fields, page).await;
                }
            })
        };
        let held = std::thread::spawn(fill).join().expect("no panic");
        println!("{fields} fields: {held:?}");
        assert!(held.bytes <= CAPACITY * 115 / 100 + (4 << 20), "{fields} fields: {held:?}");
    }
}

/// A store whose entries have been encoded and decoded, as in a remote store.
#[derive(Debug, Clone)]
struct Remote {
    entries: MemoryStore,
    clock: Clock,
}

impl Remote {
    fn decoded(&self, entry: &Entry) -> Entry {
        let frame = entry.encode(&self.clock);
        // A slice of a larger buffer, such as the buffer of a connection.
        let read = Bytes::from([vec![0; 100], frame.to_vec(), vec![0; 4096]].concat());
        Entry::decode(read.slice(100..100 + frame.len()), &self.clock).expect("decoded")
    }
}

impl Store for Remote {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.entries.get(key)
    }

    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        self.entries.put(key, self.decoded(&entry), ttl, mode)
    }

    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        self.entries.remove(key)
    }

    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.entries.increment(key, delta, initial)
    }

    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        self.entries.compare_and_set(key, expected, self.decoded(&new), ttl)
    }

    fn generations(&self, namespace: &str) -> Option<Arc<dyn Generations>> {
        self.entries.generations(namespace)
    }
}

#[test]
fn decoded_pages_hold_no_more_than_their_weight() {
    let mut beyond = Vec::new();
    for kind in KINDS {
        for number in [0, 192] {
            let held = held_when_full(remote, &async |cache, page| {
                ask_for(cache, kind, number, page).await;
            });
            if !is_bounded(kind.name, number, &held) {
                beyond.push((kind.name, number, held));
            }
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}

fn remote(store: &MemoryStore) -> Cache {
    Cache::new(Remote { entries: store.clone(), clock: Clock::system() })
}
