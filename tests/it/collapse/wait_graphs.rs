//! Random graphs of pages and values that need each other. No request waits until a timeout, and
//! requests are refused only in a cycle.

use crate::support::*;
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::{Request, Response};
use proptest::prelude::*;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tower::util::BoxCloneSyncService;
use tower::{Layer, service_fn};
use tower_response_cache::response_cache::ResponseBody;
use tower_response_cache::{Cache, SiteCacheLayer};

/// A page or a value, with the nodes that it is made from.
#[derive(Debug, Clone)]
struct Node {
    is_value: bool,
    parts: Vec<usize>,
    /// `true` if its parts are requested concurrently.
    at_once: bool,
}

type Shop = BoxCloneSyncService<Request<Body>, Response<ResponseBody<Body>>, Infallible>;

struct World {
    cache: Cache,
    nodes: Vec<Node>,
    shop: OnceLock<Shop>,
    made: Calls,
    refused: Calls,
}

impl World {
    fn new(nodes: Vec<Node>) -> Arc<Self> {
        let (cache, shop) = (memory(), OnceLock::new());
        let world = Arc::new(Self { cache, nodes, shop, made: Calls::default(), refused: Calls::default() });
        let own = Arc::downgrade(&world);
        let inner = service_fn(move |request: Request<Body>| {
            let (world, node) = (own.upgrade().expect("a world"), request.uri().path()[1..].parse());
            async move {
                world.make(node.expect("a number")).await;
                Ok::<_, Infallible>(Response::new(Body::from(Bytes::from_static(b"page"))))
            }
        });
        let shop = SiteCacheLayer::new(&world.cache).policy(policy().build().expect("a policy")).layer(inner);
        assert!(world.shop.set(BoxCloneSyncService::new(shop)).is_ok());
        world
    }

    fn make(self: Arc<Self>, node: usize) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.made.next();
            tokio::task::yield_now().await;
            let Node { parts, at_once, .. } = &self.nodes[node];
            let parts = parts.iter().map(|part| Arc::clone(&self).request(*part));
            if *at_once {
                join_all(parts).await;
                return;
            }
            for part in parts {
                part.await;
            }
        })
    }

    fn request(self: Arc<Self>, node: usize) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let is_refused = if self.nodes[node].is_value {
                let made = || async { Arc::clone(&self).make(node).await };
                self.cache.get_or_set(node.to_string(), MINUTE, made).await.is_err()
            } else {
                send(self.shop.get().expect("built"), get(&format!("/{node}"))).await.status == 508
            };
            if is_refused {
                self.refused.next();
            }
        })
    }

    fn has_cycle(&self) -> bool {
        let (mut left, mut before): (Vec<_>, _) = ((0..self.nodes.len()).collect(), usize::MAX);
        while left.len() < before {
            before = left.len();
            let needs = |node: &usize| self.nodes[*node].parts.iter().any(|part| left.contains(part));
            left = left.iter().copied().filter(needs).collect();
        }
        !left.is_empty()
    }
}

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let node = (any::<bool>(), proptest::collection::vec(0..4_usize, 0..3), any::<bool>());
    proptest::collection::vec(node, 4).prop_map(|nodes| {
        nodes.into_iter().map(|(is_value, parts, at_once)| Node { is_value, parts, at_once }).collect()
    })
}

/// Leaves each node only parts with higher numbers than its own, so that no cycle is left.
fn without_cycles(nodes: Vec<Node>) -> Vec<Node> {
    let later = |(at, mut node): (usize, Node)| {
        node.parts.retain(|part| *part > at);
        node
    };
    nodes.into_iter().enumerate().map(later).collect()
}

fn assert_no_hang_or_false_refusal(nodes: Vec<Node>, requested: Vec<usize>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let world = World::new(nodes);
        let started = Instant::now();
        let all = requested.into_iter().map(|node| tokio::spawn(Arc::clone(&world).request(node)));
        let all = timeout(Duration::from_secs(600), join_all(all)).await;
        prop_assert!(all.is_ok_and(|all| all.iter().all(Result::is_ok)), "a request hangs or panics");
        prop_assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        prop_assert!(world.has_cycle() || world.refused.count() == 0, "refused without a cycle");
        prop_assert!(world.made.count() < 1000, "{} handler and computation calls", world.made.count());
        Ok(())
    })
}

proptest! {
    #![proptest_config(crate::support::cases(300))]
    #[test]
    fn pages_and_values_that_need_each_other_do_not_hang(
        nodes in nodes(),
        requested in proptest::collection::vec(0..4_usize, 1..5),
    ) {
        assert_no_hang_or_false_refusal(nodes, requested)?;
    }

    #[test]
    fn pages_and_values_without_a_cycle_are_never_refused(
        nodes in nodes(),
        requested in proptest::collection::vec(0..4_usize, 1..5),
    ) {
        assert_no_hang_or_false_refusal(without_cycles(nodes), requested)?;
    }
}
