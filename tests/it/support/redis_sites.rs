//! Sites whose caches share a server. Each site stands for one process.

use super::servers::Server;
use super::{Calls, Stack, get, numbered, origin, policy, send, site_over};
use std::time::Duration;
use tower::Layer;
use tower::ServiceExt;
use tower_response_cache::store::RedisStore;
use tower_response_cache::{Cache, SiteCacheLayer};

/// A site that stands for one process: no other site uses its cache or its connection.
pub(crate) struct RedisSite {
    pub(crate) stack: Stack,
    pub(crate) calls: Calls,
    pub(crate) cache: Cache,
    pub(crate) store: RedisStore,
}

impl RedisSite {
    pub(crate) async fn connect(server: &Server) -> Self {
        let builder = RedisStore::builder(server.url()).timeout(Duration::from_millis(500));
        Self::over(builder.build().await.expect("connected"))
    }

    pub(crate) fn over(store: RedisStore) -> Self {
        // The limits are far above the defaults, so that a slow machine makes no test fail.
        Self::with_limit(store, Duration::from_millis(400))
    }

    pub(crate) fn with_limit(store: RedisStore, limit: Duration) -> Self {
        let cache = Cache::builder(store.clone()).lookup_timeout(limit).write_timeout(limit);
        let cache = cache.invalidation_timeout(limit).build().expect("valid");
        let (inner, calls) = origin(|_, call| numbered(&[], call));
        Self { stack: site_over(&cache, inner), calls, cache, store }
    }

    /// Replaces the service by one whose pages begin with a text. The cache stays.
    pub(crate) fn titled(self, title: &'static str) -> Self {
        let (inner, calls) = origin(move |_, call| super::with_lines(&[], format!("{title}{call}")));
        Self { stack: site_over(&self.cache, inner), calls, ..self }
    }

    /// Sends a request, and waits until the response is stored. Returns its text.
    pub(crate) async fn send(&self, path: &str) -> String {
        let answer = send(&self.stack, get(path)).await;
        self.cache.shutdown().await;
        answer.text().to_owned()
    }

    pub(crate) async fn is_hit(&self, path: &str) -> bool {
        send(&self.stack, get(path)).await.is_hit()
    }

    /// Sends requests until one is a hit, for at most five seconds.
    pub(crate) async fn recovers(&self, path: &str) -> bool {
        for _ in 0..100 {
            if self.is_hit(path).await {
                return true;
            }
            self.cache.shutdown().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Like [`recovers`](Self::recovers), for at most a minute: a fail-over takes seconds.
    pub(crate) async fn recovers_after_fail_over(&self, path: &str) -> bool {
        for _ in 0..12 {
            if self.recovers(path).await {
                return true;
            }
        }
        false
    }

    /// Waits until every invalidation is delivered, for at most a minute.
    pub(crate) async fn delivers(&self) -> bool {
        for _ in 0..1200 {
            if self.cache.undelivered() == 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Returns the same cache in front of a service whose bodies have this number of bytes.
    pub(crate) fn with_large_pages(&self, bytes: usize) -> Stack {
        let (inner, _) = origin(move |_, _| super::with_lines(&[], "x".repeat(bytes)));
        let policy = policy().build().expect("a policy");
        SiteCacheLayer::new(&self.cache).policy(policy).layer(inner).boxed_clone()
    }
}
