//! The low-level cache: computed values, counters and fragments of pages.

use std::{error::Error, time::Duration};
use tower_response_cache::{Cache, MemoryStore};

/// Simulates a slow query.
async fn best_sellers() -> Vec<String> {
    println!("  querying");
    vec!["mint".to_owned(), "lemon".to_owned()]
}

/// Renders a fragment from a value. The fragment depends on the value that it reads.
async fn render(cache: &Cache) -> String {
    println!("  rendering");
    let names: Vec<String> = cache.get("best-sellers").await.ok().flatten().unwrap_or_default();
    format!("<p>{}</p>", names.join(", "))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
    let hour = Duration::from_secs(3600);

    println!("get_or_set computes once:");
    for _ in 0..2 {
        let names = cache.get_or_set("best-sellers", hour, best_sellers).await?;
        println!("  {names:?}");
    }

    println!("A counter is atomic, and expires after its TTL:");
    for _ in 0..3 {
        let attempts = cache.incr_or("attempts:192.0.2.1", 1, 0, Duration::from_secs(60)).await?;
        println!("  attempt {attempts}");
    }

    println!("A fragment is rendered once for each list of inputs:");
    for language in ["en", "en", "de"] {
        let menu = cache.fragment("menu").vary_on([language]).ttl(hour);
        println!("  {language}: {}", menu.get_or_render(|| render(&cache)).await?);
    }

    println!("A write to a value invalidates the fragments made from it:");
    cache.set("best-sellers", &["coffee"], hour).await?;
    let menu = cache.fragment("menu").vary_on(["en"]).ttl(hour);
    println!("  en: {}", menu.get_or_render(|| render(&cache)).await?);
    Ok(())
}
