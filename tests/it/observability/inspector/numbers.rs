//! The statistics as JSON.

use super::*;
use std::time::Duration;
use tower_response_cache::MemoryStore;
use tower_response_cache::clock::Clock;

#[tokio::test]
async fn numbers_move_when_requests_are_made() {
    let cache = Cache::builder(memory_store(1 << 20)).namespace("shop").top_paths(10).build().expect("valid");
    let service = inspector(&cache);
    let answer = |request: &Request<Body>, call| match request.uri().path() {
        "/private" => numbered(&[("cache-control", "private")], call),
        _ => numbered(&[], call),
    };
    let stack = site_over(&cache, origin(answer).0);
    let before = stats(&service).await;
    assert_eq!((before["namespace"].as_str(), before["enabled"].as_bool()), (Some("shop"), Some(true)));
    assert_eq!(before["period"]["layers"], serde_json::json!([]));
    for path in ["/a", "/a", "/a", "/private"] {
        send(&stack, get(path)).await;
    }
    send(&stack, get_with("/a", &[("cookie", "sid=31d4")])).await;
    send(&stack, request("POST", "/b", &[])).await;
    let after = stats(&service).await;
    let site = &after["period"]["layers"][0];
    assert_eq!((site["name"].as_str(), site["requests"].as_u64()), (Some("site"), Some(6)));
    assert_eq!((site["hits"]["fresh"].as_u64(), site["misses"]["uri-miss"].as_u64()), (Some(2), Some(2)));
    assert_eq!((site["bypasses"].as_u64(), site["writes"].as_u64()), (Some(1), Some(1)));
    assert_eq!(site["hit_ratio"].as_f64(), Some(0.5));
    let total = &after["totals"][0];
    assert_eq!(
        (total["stored"].as_u64(), total["not_stored"][0]["detail"].as_str()),
        (Some(1), Some("private"))
    );
    assert_eq!(total["bypasses_by_detail"][0]["detail"].as_str(), Some("cookie"));
    assert!(total["not_stored"][0]["meaning"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(after["store"]["entries"].as_u64(), Some(1));
    assert!(after["store"]["bytes"].as_u64() > Some(0));
    assert_eq!(
        (after["store"]["circuit"].as_str(), after["work"]["flights"].as_u64()),
        (Some("closed"), Some(0))
    );
    assert_eq!(after["invalidations"]["total"].as_u64(), Some(1));
    let paths: Vec<_> = after["paths"].as_array().expect("a list").iter().map(|path| &path["path"]).collect();
    assert_eq!(paths, ["/a", "/b", "/private"]);
}

#[tokio::test]
async fn evictions_are_shown() {
    let cache = Cache::new(memory_store(256 << 10));
    let service = inspector(&cache);
    let stack = site_over(&cache, origin(|_, _| with_lines(&[], "x".repeat(20_000))).0);
    for number in 0..50 {
        send(&stack, get(&format!("/{number}"))).await;
    }
    let stats = stats(&service).await;
    assert!(stats["store"]["evictions"].as_u64() > Some(10), "{}", stats["store"]);
    assert!(stats["store"]["bytes"].as_u64() <= Some(256 << 10));
}

#[tokio::test]
async fn paths_are_null_unless_they_are_counted() {
    assert!(stats(&inspector(&memory())).await["paths"].is_null());
}

#[tokio::test]
async fn numbers_cover_an_hour_once_samples_exist() {
    let (clock, manual) = Clock::manual();
    let store = MemoryStore::builder().clock(clock.clone()).build().expect("valid");
    let cache = Cache::builder(store).clock(clock).build().expect("valid");
    let stack = site_over(&cache, origin(|_, call| numbered(&[], call)).0);
    send(&stack, get("/earlier")).await;
    let service = inspector(&cache);
    let period = async || {
        let stats = stats(&service).await;
        let period = &stats["period"];
        let requests = period["layers"][0]["requests"].as_u64();
        (period["seconds"].as_u64(), period["since"].as_str().map(str::to_owned), requests)
    };
    let expected = |seconds, since: &str, requests| (Some(seconds), Some(since.to_owned()), Some(requests));
    assert_eq!(period().await, expected(0, "creation", 0));
    for minute in 1..=60 {
        manual.advance(MINUTE);
        send(&stack, get("/")).await;
        assert_eq!(period().await, expected(60 * minute, "creation", minute));
    }
    manual.advance(MINUTE);
    assert_eq!(period().await, expected(3600, "sample", 59));
    manual.advance(2 * Duration::from_secs(3600));
    assert_eq!(period().await, expected(3 * 3600 + 60, "creation", 60));
}

/// `http::Uri` refuses `<` and `>` in a path, but not quotes. A name of a layer may have any character.
#[tokio::test]
async fn hostile_names_and_paths_are_text_in_json() {
    let cache = Cache::builder(memory_store(1 << 20)).top_paths(10).build().expect("valid");
    let (name, path) = ("</script><script>alert(1)</script>\u{2028}", "/\"}{'&\\u003c");
    let policy = policy().name(name);
    let stack = crate::support::stacks::layered(&cache, policy, origin(|_, call| numbered(&[], call)).0);
    assert!("/<script>".parse::<http::Uri>().is_err());
    send(&stack, get(path)).await;
    let service = inspector(&cache);
    let answer = operator_get(&service, "/stats.json").await;
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let stats = json(&answer);
    assert_eq!(stats["paths"][0]["path"].as_str(), Some(path));
    assert_eq!(stats["totals"][0]["name"].as_str(), Some(name));
}
