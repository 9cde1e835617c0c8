//! The connection to the server: commands, their time limit, and their errors.

use super::cluster_connection::PrimariesConnection;
use super::error_message::message;
use super::reconnect::{PrimaryConnection, is_no_primary};
use super::script::ScriptCall;
use crate::error::{StoreError, StoreErrorKind};
use crate::store::StoreFuture;
use futures_util::FutureExt;
use futures_util::future::join_all;
use pin_project_lite::pin_project;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, SingleNodeRoutingInfo, Slot, SlotAddr};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A connection to a single server, or to the primaries of a cluster.
#[derive(Clone)]
pub(super) enum ServerConnection {
    Primary(PrimaryConnection),
    Cluster(PrimariesConnection),
}

/// A connection to the server, which all operations share. It reconnects by itself.
pub(super) struct Link {
    connection: ServerConnection,
    /// The time for an operation, including a new connection.
    timeout: Duration,
    runtime: Arc<LinkRuntime>,
}

/// The runtime of the connection.
struct LinkRuntime {
    handle: Handle,
    /// The receiver is in a task, which the runtime drops when it shuts down.
    end: oneshot::Sender<()>,
}

impl LinkRuntime {
    fn new(handle: Handle) -> Self {
        let (end, ended) = oneshot::channel();
        handle.spawn(ended.map(drop));
        Self { handle, end }
    }

    fn has_shut_down(&self) -> bool {
        self.end.is_closed()
    }
}

impl Link {
    pub(super) fn new(connection: ServerConnection, timeout: Duration, runtime: Handle) -> Self {
        Self { connection, timeout, runtime: Arc::new(LinkRuntime::new(runtime)) }
    }

    /// Returns a future that any executor may poll: each poll enters the runtime of the connection.
    /// After that runtime has shut down, the store is unavailable.
    pub(super) fn run<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> StoreFuture<T> {
        StoreFuture::new(WithinRuntime { runtime: Arc::clone(&self.runtime), work })
    }

    /// Returns the time limit of an operation.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns `true` if one server runs all commands.
    pub(super) fn is_single(&self) -> bool {
        matches!(self.connection, ServerConnection::Primary(_))
    }

    /// Runs a task in the runtime of the connection. After that runtime has shut down, drops the task.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.handle.spawn(task);
    }

    /// Sends a command and returns its reply.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let reply = match &self.connection {
            ServerConnection::Primary(primary) => {
                let send =
                    |mut one: MultiplexedConnection| async move { one.req_packed_command(command).await };
                self.within_limit(primary.run(send, is_no_primary)).await
            }
            ServerConnection::Cluster(primaries) => {
                let send = |mut all: ClusterConnection| async move { all.req_packed_command(command).await };
                self.within_limit(primaries.run(send)).await
            }
        };
        reply?.extract_error()
    }

    /// Sends several commands in one round trip, and returns their replies in order.
    ///
    /// A single server runs them in order. In a cluster, each goes to the primary of its key, at the
    /// same time.
    pub(super) async fn send_all(&self, commands: Vec<Cmd>) -> RedisResult<Vec<RedisResult<Value>>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        match &self.connection {
            ServerConnection::Primary(primary) => self.send_pipeline(primary, commands).await,
            ServerConnection::Cluster(_) => {
                Ok(join_all(commands.iter().map(|command| self.send(command))).await)
            }
        }
    }

    /// Sends several commands over one connection to the primary of a key, which runs them in order.
    pub(super) async fn send_to(
        &self,
        key: &[u8],
        commands: Vec<Cmd>,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let primaries = match &self.connection {
            ServerConnection::Primary(primary) => return self.send_pipeline(primary, commands).await,
            ServerConnection::Cluster(primaries) => primaries,
        };
        let (count, pipeline) = (commands.len(), pipeline(commands));
        let route = Route::with_slot(Slot::for_key(key), SlotAddr::Master);
        let route = SingleNodeRoutingInfo::SpecificNode(route);
        let send =
            |mut all: ClusterConnection| async move { all.route_pipeline(pipeline, 0, count, route).await };
        let replies = self.within_limit(primaries.run(send)).await?;
        Ok(replies.into_iter().map(Value::extract_error).collect())
    }

    async fn send_pipeline(
        &self,
        primary: &PrimaryConnection,
        commands: Vec<Cmd>,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let (count, pipeline) = (commands.len(), &pipeline(commands));
        let send =
            |mut one: MultiplexedConnection| async move { one.req_packed_commands(pipeline, 0, count).await };
        let is_refused = |replies: &Vec<Value>| replies.iter().any(is_no_primary);
        let replies = self.within_limit(primary.run(send, is_refused)).await?;
        Ok(replies.into_iter().map(Value::extract_error).collect())
    }

    /// Calls a script by its digest, or by its code if the server does not know the digest.
    pub(super) async fn call(&self, call: &ScriptCall) -> RedisResult<Value> {
        match self.send(&call.by_digest()).await {
            Err(error) if is_unknown_script(&error) => self.send(&call.by_code()).await,
            reply => reply,
        }
    }

    /// Calls scripts in one round trip. Scripts that the server does not know take a second round
    /// trip.
    pub(super) async fn call_all(&self, calls: &[ScriptCall]) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut replies = self.send_all(calls.iter().map(ScriptCall::by_digest).collect()).await?;
        let is_unknown = |reply: &RedisResult<Value>| reply.as_ref().is_err_and(is_unknown_script);
        let unknown: Vec<_> = (0..replies.len()).filter(|at| is_unknown(&replies[*at])).collect();
        let again = unknown.iter().filter_map(|at| calls.get(*at)).map(ScriptCall::by_code).collect();
        for (at, reply) in unknown.iter().zip(self.send_all(again).await?) {
            replies[*at] = reply;
        }
        Ok(replies)
    }

    async fn within_limit<T>(&self, work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }
}

fn pipeline(commands: Vec<Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    pipeline.ignore_errors();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Returns `true` if the key has a value of another type. Such a key counts as absent.
pub(super) fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || error.to_string().contains("WRONGTYPE")
}

/// Returns the error of an operation that timed out or failed. Its source is a text without
/// the arguments of the command.
#[expect(clippy::needless_pass_by_value, reason = "passed to `map_err`")]
pub(super) fn store_error(error: RedisError) -> StoreError {
    let kind = match error.is_timeout() {
        true => StoreErrorKind::TimedOut,
        false => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind).with_source(message(&error))
}

/// Returns the error for a reply of a type that the command never has.
pub(super) fn unexpected_reply() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable)
        .with_source(std::io::Error::new(std::io::ErrorKind::InvalidData, "unexpected reply of the server"))
}

pin_project! {
    /// A future that is polled within a runtime.
    struct WithinRuntime<F> {
        runtime: Arc<LinkRuntime>,
        #[pin]
        work: F,
    }
}

impl<T, F: Future<Output = Result<T, StoreError>>> Future for WithinRuntime<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // After the shutdown, the timers of the runtime would panic.
        if this.runtime.has_shut_down() {
            let error = StoreError::new(StoreErrorKind::Unavailable);
            return Poll::Ready(Err(error.with_source("the runtime of the store has shut down")));
        }
        let _within = this.runtime.handle.enter();
        this.work.poll(cx)
    }
}
