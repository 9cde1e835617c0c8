//! A Redis server on a free port of the loopback interface, and a site whose cache is in it.

use super::{Answer, Body, SMALL, request, response};
use http::{Request, Response};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Value};
use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_response_cache::store::RedisStore;
use tower_response_cache::{Cache, Policy, SiteCacheLayer};

/// A running server. Dropping it kills the process.
pub(crate) struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts the program that `REDIS_SERVER` names, or `redis-server`. Returns `None`, after a
    /// message, if there is no such program.
    pub(crate) fn start() -> Option<Self> {
        let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let mut command = Command::new(&program);
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            eprintln!("skipped: {} can't be run", program.display());
            return None;
        };
        let server = Self { process, port };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < end, "the server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(server)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection of the Redis client without a cache, and the commands that read the stored
/// responses.
pub(crate) struct Client {
    connection: MultiplexedConnection,
    gets: Vec<Cmd>,
}

impl Client {
    /// Connects to a server that has entries.
    pub(crate) async fn connect(server: &Server) -> Self {
        let client = redis::Client::open(server.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
        let keys: Vec<Vec<u8>> = Cmd::keys("trc:e:*").query_async(&mut connection).await.expect("the keys");
        assert!(!keys.is_empty(), "a response is stored");
        Self { connection, gets: keys.iter().map(Cmd::get).collect() }
    }

    /// Reads the bytes of one of the stored responses.
    pub(crate) async fn get(&self, number: usize) {
        let get = &self.gets[number % self.gets.len()];
        let reply = self.connection.clone().req_packed_command(get).await;
        assert!(matches!(reply, Ok(Value::BulkString(_))), "the entry is present");
    }
}

/// Returns a runtime of one thread, for the callers and the client alike.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Connects a cache to a server.
pub(crate) async fn cache(server: &Server) -> Cache {
    let store = RedisStore::connect(server.url()).await.expect("connected");
    // With the default limits, a pause of the machine would cause misses.
    let limit = Duration::from_secs(1);
    Cache::builder(store).lookup_timeout(limit).write_timeout(limit).build().expect("a cache")
}

/// Returns a site whose cache has stored the response to the request.
pub(crate) async fn site(
    cache: &Cache,
) -> impl Service<Request<Body>, Response: Answer, Error = Infallible> + Clone + use<> {
    let policy = Policy::app().default_ttl(Duration::from_secs(600)).build().expect("a policy");
    // The service is never called by a hit, but cloned.
    let response = Arc::new(response(SMALL));
    let inner = service_fn(move |_: Request<Body>| {
        let response = Response::clone(&response);
        async move { Ok::<_, Infallible>(response) }
    });
    let service = SiteCacheLayer::new(cache).policy(policy).layer(inner);
    let _ = service.clone().oneshot(request()).await;
    cache.shutdown().await;
    hit(service.clone(), request()).await;
    service
}

/// Sends a request. Panics if the response is not a hit.
pub(crate) async fn hit<S>(mut service: S, request: Request<Body>)
where
    S: Service<Request<Body>, Response: Answer, Error = Infallible>,
{
    let Ok(response) = service.call(request).await;
    assert!(response.is_hit());
}
