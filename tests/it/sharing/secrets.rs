//! No secret of a request is stored in plain text: not in keys, indexes or stored responses.

use crate::support::*;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::{Layer, ServiceExt};
use tower_response_cache::clock::Clock;
use tower_response_cache::key::{KeyPart, RequestHead};
use tower_response_cache::policy::PolicyBuilder;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode, StoreFuture};
use tower_response_cache::{Cache, MemoryStore, Policy, SiteCacheLayer, Store};

/// A remote store that records all keys and entries that it gets.
#[derive(Debug, Clone)]
struct Wiretap {
    inner: MemoryStore,
    seen: Arc<Mutex<Vec<Bytes>>>,
}

impl Wiretap {
    fn new() -> Self {
        Self { inner: memory_store(8 << 20), seen: Arc::default() }
    }

    fn note(&self, key: KeyRef<'_>, entry: Option<&Entry>) {
        let mut seen = self.seen.lock().expect("not poisoned");
        seen.push(Bytes::copy_from_slice(key.as_bytes()));
        seen.extend(entry.map(|entry| entry.encode(&Clock::system())));
    }

    fn has_seen(&self, text: &[u8]) -> bool {
        let seen = self.seen.lock().expect("not poisoned");
        seen.iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text))
    }

    fn keys(&self) -> Vec<Bytes> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

impl Store for Wiretap {
    fn get(&self, key: KeyRef<'_>) -> StoreFuture<Option<Entry>> {
        self.note(key, None);
        self.inner.get(key)
    }
    fn put(&self, key: KeyRef<'_>, entry: Entry, ttl: Option<Duration>, mode: PutMode) -> StoreFuture<bool> {
        self.note(key, Some(&entry));
        self.inner.put(key, entry, ttl, mode)
    }
    fn remove(&self, key: KeyRef<'_>) -> StoreFuture<bool> {
        self.note(key, None);
        self.inner.remove(key)
    }
    fn increment(&self, key: KeyRef<'_>, delta: i64, initial: Option<InitialCounter>) -> StoreFuture<i64> {
        self.note(key, None);
        self.inner.increment(key, delta, initial)
    }
    fn compare_and_set(
        &self,
        key: KeyRef<'_>,
        expected: Option<&Entry>,
        new: Entry,
        ttl: Option<Duration>,
    ) -> StoreFuture<bool> {
        self.note(key, Some(&new));
        self.inner.compare_and_set(key, expected, new, ttl)
    }
}

fn rfc9111() -> PolicyBuilder {
    Policy::rfc9111().default_ttl(MINUTE).cache_status(true)
}

/// Policies, each with a request field that selects the stored response, and two values of the
/// field.
fn cases() -> Vec<(PolicyBuilder, &'static str, [&'static str; 2])> {
    let part = KeyPart::new("session", |request| {
        Some(request.headers.get("x-session-kind")?.to_str().ok()?.to_owned())
    });
    let keyed_fields = ["client-cert", "x-user-segment"].map(http::HeaderName::from_static);
    let declared = rfc9111().vary_on_cookies(["lang"]);
    let authorization =
        |request: RequestHead<'_>| Some(request.headers.get("authorization")?.to_str().ok()?.to_owned());
    let plan = |request: RequestHead<'_>| Some(request.headers.get("x-plan")?.to_str().ok()?.to_owned());
    let replacing = KeyPart::new("plan", plan).replacing(http::HeaderName::from_static("x-plan"));
    vec![
        (rfc9111().vary_by("a", authorization), "authorization", ["Bearer s3cret-a", "Bearer s3cret-b"]),
        (rfc9111().vary_by_part(replacing), "x-plan", ["s3cret-a", "s3cret-b"]),
        (rfc9111(), "authorization", ["Bearer s3cret-a", "Bearer s3cret-b"]),
        (rfc9111(), "cookie", ["sid=s3cret-a", "sid=s3cret-b"]),
        (rfc9111(), "client-cert", [":s3cret-a:", ":s3cret-b:"]),
        (rfc9111(), "x-acme-session", ["s3cret-a", "s3cret-b"]),
        (declared, "cookie", ["lang=s3cret-a", "lang=s3cret-b"]),
        (policy().vary_on_cookies(["lang"]), "cookie", ["lang=s3cret-a", "lang=s3cret-b"]),
        (policy().vary_on_headers(keyed_fields.clone()), "client-cert", ["s3cret-a", "s3cret-b"]),
        (policy().vary_on_headers(keyed_fields), "x-user-segment", ["s3cret-a", "s3cret-b"]),
        (
            policy().vary_by_part(part.replacing(http::HeaderName::from_static("x-session-kind"))),
            "x-session-kind",
            ["s3cret-a", "s3cret-b"],
        ),
        (
            policy().vary_by_identity("user", |request| {
                Some(request.headers.get("x-user")?.to_str().ok()?.to_owned())
            }),
            "x-user",
            ["s3cret-a", "s3cret-b"],
        ),
    ]
}

/// Creates a cached page whose `Vary` names the field `name`.
fn stack_over(cache: &Cache, policy: PolicyBuilder, name: &'static str) -> (Stack, Calls) {
    let (inner, calls) =
        origin(move |_, call| numbered(&[("vary", name), ("cache-control", "public, max-age=60")], call));
    (SiteCacheLayer::new(cache).policy(policy.build().expect("a policy")).layer(inner).boxed_clone(), calls)
}

/// Sends a request, and lets background tasks run, so that they can store the response.
async fn send_and_store(stack: &Stack, request: http::Request<Body>) -> Answer {
    let answer = send(stack, request).await;
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    answer
}

#[tokio::test]
async fn identifying_values_are_not_stored_in_plain_text() {
    for (policy, name, [alice, bob]) in cases() {
        let store = Wiretap::new();
        let (stack, calls) = stack_over(&Cache::new(store.clone()), policy, name);
        for round in 0..2 {
            for (value, text) in [(Some(alice), "1"), (Some(bob), "2"), (None, "3")] {
                let line = value.map(|value| (name, value));
                let answer = send_and_store(&stack, get_with("/", line.as_slice())).await;
                let status = answer.header("cache-status");
                assert_eq!(
                    (answer.text(), answer.is_hit()),
                    (text, round > 0),
                    "{name}: {value:?} {status:?}"
                );
            }
        }
        assert_eq!(calls.count(), 3, "{name}");
        assert!(!store.has_seen(b"s3cret"), "{name}");
    }
}

/// Values that identify no visitor stay readable.
#[tokio::test]
async fn other_selecting_values_are_stored_in_plain_text() {
    let store = Wiretap::new();
    let (stack, _) = stack_over(&Cache::new(store.clone()), policy(), "accept-language");
    send_and_store(&stack, get_with("/", &[("accept-language", "de")])).await;
    assert!(send_and_store(&stack, get_with("/", &[("accept-language", "de")])).await.is_hit());
    assert!(store.has_seen(b"accept-language\x02\0\0\0de"));
}

/// Each cache of the test stands for a process or a machine. All share one store.
#[tokio::test]
async fn caches_with_one_secret_share_entries_and_others_do_not() {
    for (policy, name, [alice, _]) in cases() {
        let store = Wiretap::new();
        let over = |secret: &str| {
            let cache = Cache::builder(store.clone()).key_secret(secret).build().expect("valid");
            stack_over(&cache, policy.clone(), name).0
        };
        let request = || get_with("/", &[(name, alice)]);
        send_and_store(&over("one"), request()).await;
        assert!(send_and_store(&over("one"), request()).await.is_hit(), "{name}");
        assert!(!send_and_store(&over("another"), request()).await.is_hit(), "{name}");
    }
}

/// The values of these key parts are from a short list of the site, so they identify no visitor.
#[tokio::test]
async fn ready_made_key_parts_are_stored_in_plain_text() {
    let store = Wiretap::new();
    let policy = policy().vary_by_part(KeyPart::language(["en", "pt-BR"]).expect("valid"));
    let (stack, _) = stack_over(&Cache::new(store.clone()), policy, "accept");
    send_and_store(&stack, get_with("/", &[("accept-language", "pt")])).await;
    assert!(store.has_seen(b"\x05\0\0\0pt-BR"));
}

#[tokio::test]
async fn a_computed_part_that_is_empty_differs_from_none() {
    let part = |request: RequestHead<'_>| Some(request.headers.get("x-plan")?.to_str().ok()?.to_owned());
    let (stack, calls) = site(policy().vary_by("plan", part), |_, call| numbered(&[], call));
    for (request, text) in [(get("/"), "1"), (get_with("/", &[("x-plan", "")]), "2")] {
        assert_eq!(send(&stack, request).await.text(), text);
    }
    assert_eq!(calls.count(), 2);
}

/// Even without a key secret, the same value has different hashes in two namespaces.
#[tokio::test]
async fn stored_hashes_of_a_value_differ_between_namespaces() {
    let digests = |namespace: &'static str| async move {
        let store = Wiretap::new();
        let cache = Cache::builder(store.clone()).namespace(namespace).build().expect("valid");
        let policy = policy().vary_on_cookies(["lang"]);
        let (stack, _) = stack_over(&cache, policy, "accept");
        send_and_store(&stack, get_with("/", &[("cookie", "lang=de")])).await;
        let keys = store.keys();
        // The wiretap also records entries, which begin with `trc`.
        let is_key = |noted: &Bytes| noted.len() > 64 && !noted.starts_with(b"trc");
        keys.iter()
            .filter(|noted| is_key(noted))
            .map(|key| key[key.len() - 32..].to_vec())
            .collect::<Vec<_>>()
    };
    let (a, b) = (digests("a").await, digests("b").await);
    assert!(!a.is_empty() && a.iter().all(|one| !b.contains(one)));
}
