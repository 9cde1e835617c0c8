//! A connection to one server. A new connection replaces it after a failure.

use super::error_message::Passwords;
use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt, StreamExt, stream};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, PushInfo, PushKind, RedisError, RedisResult,
    ServerErrorKind, Value,
};
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// The server to connect to.
#[derive(Clone)]
pub(super) enum PrimarySource {
    Server(Client),
    /// The primary of a service, as the sentinels name it.
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        service: String,
        primary: SentinelNodeConnectionInfo,
    },
}

/// A connection to a server, or to the primary that sentinels name.
///
/// Another connection begins with the first command after one of these events:
/// - The connection was closed, or a reply was malformed.
/// - The connection attempt failed. Every reason counts as temporary, even a refused password.
/// - The server is no longer a primary. Its name may already stand for another server.
/// - The server has answered no command for longer than the time limit. The reply to a dropped command
///   is lost, so a `PING` follows it.
///
/// The connection manager of the client stops after a refused password or a malformed reply, so it
/// is not used.
#[derive(Clone)]
pub(super) struct PrimaryConnection(Arc<PrimaryInner>);

struct PrimaryInner {
    source: PrimarySource,
    config: AsyncConnectionConfig,
    timeout: Duration,
    passwords: Passwords,
    /// The runtime of the connection.
    runtime: Handle,
    state: Mutex<PrimaryState>,
}

#[derive(Default)]
struct PrimaryState {
    attempt: Option<ConnectionAttempt>,
    /// The time of the first command since the last reply.
    unanswered: Option<Instant>,
}

/// A connection, or the attempt to begin it.
#[derive(Clone)]
struct ConnectionAttempt {
    connecting: Connecting,
    began: Instant,
    marks: Arc<AttemptMarks>,
}

#[derive(Default)]
struct AttemptMarks {
    is_lost: AtomicBool,
    /// Whether a `PING` follows a dropped command.
    is_verifying: AtomicBool,
}

/// A command. Dropping it without a result verifies the connection.
struct UnfinishedCommand<'a> {
    connection: &'a PrimaryConnection,
    attempt: &'a ConnectionAttempt,
    has_result: bool,
}

/// A guard whose drop ends a `PING`, with or without a reply.
struct EndOfPing(Arc<AttemptMarks>);

type Connecting = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

/// The least time from the beginning of one connection attempt to the next. If an attempt fails
/// earlier, commands fail at once until this time has passed.
const INTERVAL: Duration = Duration::from_millis(50);
/// The most sentinels that are asked at once.
const MOST_SENTINELS: usize = 64;

impl PrimarySource {
    async fn client(self) -> RedisResult<Client> {
        match self {
            Self::Server(client) => Ok(client),
            Self::Sentinels { sentinels, service, primary } => {
                named_primary(sentinels, &service, &primary).await
            }
        }
    }
}

/// Returns the first primary that a sentinel names. A sentinel that does not answer does not delay
/// the others.
async fn named_primary(
    sentinels: Vec<ConnectionInfo>,
    service: &str,
    primary: &SentinelNodeConnectionInfo,
) -> RedisResult<Client> {
    let asked: Vec<_> = sentinels
        .into_iter()
        .map(|sentinel| async move {
            Sentinel::build(vec![sentinel])?.async_master_for(service, Some(primary)).await
        })
        .collect();
    let mut replies = stream::iter(asked).buffer_unordered(MOST_SENTINELS);
    let mut failure = None;
    while let Some(reply) = replies.next().await {
        match reply {
            Ok(client) => return Ok(client),
            Err(error) if failure.as_ref().is_none_or(|known| rank(known) <= rank(&error)) => {
                failure = Some(error)
            }
            Err(_) => {}
        }
    }
    Err(failure.unwrap_or_else(|| RedisError::from((ErrorKind::EmptySentinelList, "there is no sentinel"))))
}

/// Returns the rank of a sentinel's error: 0 if the sentinel is unreachable, 1 if it does not know
/// the service, otherwise 2. A user can mend other errors.
fn rank(error: &RedisError) -> u8 {
    match error.kind() {
        ErrorKind::Io => 0,
        ErrorKind::MasterNameNotFoundBySentinel => 1,
        _ => 2,
    }
}

impl ConnectionAttempt {
    fn is_usable(&self) -> bool {
        let has_failed = self.connecting.peek().is_some_and(Result::is_err);
        let is_over = has_failed && self.began.elapsed() >= INTERVAL;
        !is_over && !self.marks.is_lost.load(Ordering::Acquire)
    }
}

impl PrimaryConnection {
    /// Call it within the runtime of the connection. `timeout` limits a connection attempt.
    pub(super) fn new(
        source: PrimarySource,
        config: AsyncConnectionConfig,
        timeout: Duration,
        passwords: Passwords,
    ) -> Self {
        let (runtime, state) = (Handle::current(), Mutex::default());
        Self(Arc::new(PrimaryInner { source, config, timeout, passwords, runtime, state }))
    }

    /// Runs a command. `is_refused` returns `true` if the reply shows that the server is no primary.
    pub(super) async fn run<T, F>(
        &self,
        command: impl FnOnce(MultiplexedConnection) -> F,
        is_refused: impl FnOnce(&T) -> bool,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let attempt = self.attempt();
        let mut sent = UnfinishedCommand { connection: self, attempt: &attempt, has_result: false };
        let connected = attempt.connecting.clone().await;
        // A failed connection attempt needs no `PING`: the next command replaces it.
        sent.has_result = connected.is_err();
        let result = command(connected?).await;
        sent.has_result = true;
        let is_lost = match &result {
            Ok(reply) => {
                self.note_reply(&attempt);
                is_refused(reply)
            }
            Err(error) => error.is_unrecoverable_error(),
        };
        if is_lost {
            attempt.marks.is_lost.store(true, Ordering::Release);
        }
        result
    }

    /// Sends a `PING` in a task, unless one has no reply yet. Its reply comes after the replies to
    /// earlier commands.
    fn verify(&self, attempt: &ConnectionAttempt) {
        if attempt.marks.is_verifying.swap(true, Ordering::AcqRel) {
            return;
        }
        let end = EndOfPing(Arc::clone(&attempt.marks));
        let (this, attempt) = (self.clone(), attempt.clone());
        self.0.runtime.spawn(async move {
            let ping = async {
                let mut connection = attempt.connecting.clone().await?;
                connection.req_packed_command(&redis::cmd("PING")).await
            };
            let reply = tokio::time::timeout(this.0.timeout, ping).await;
            // A command that is dropped after this reply needs another `PING`.
            drop(end);
            if matches!(reply, Ok(Ok(_))) {
                this.note_reply(&attempt);
            }
        });
    }

    fn note_reply(&self, from: &ConnectionAttempt) {
        let mut state = self.state();
        if state.attempt.as_ref().is_some_and(|attempt| Arc::ptr_eq(&attempt.marks, &from.marks)) {
            state.unanswered = None;
        }
    }

    /// Returns the connection, or begins a new one if it is lost or silent.
    fn attempt(&self) -> ConnectionAttempt {
        let mut state = self.state();
        // The future of a command may be dropped before it notices that there is no reply.
        let is_silent = state.unanswered.is_some_and(|since| since.elapsed() > self.0.timeout);
        if let Some(attempt) = state.attempt.as_ref().filter(|attempt| !is_silent && attempt.is_usable()) {
            let attempt = attempt.clone();
            state.unanswered.get_or_insert_with(Instant::now);
            return attempt;
        }
        let passed = state.attempt.as_ref().map_or(INTERVAL, |attempt| attempt.began.elapsed());
        let attempt = self.begin(INTERVAL.saturating_sub(passed));
        (state.attempt, state.unanswered) = (Some(attempt.clone()), Some(attempt.began));
        attempt
    }

    fn begin(&self, delay: Duration) -> ConnectionAttempt {
        let PrimaryInner { source, config, timeout, passwords, .. } = &*self.0;
        let marks = Arc::<AttemptMarks>::default();
        let (lost, passwords) = (Arc::clone(&marks), passwords.clone());
        let closed = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                lost.is_lost.store(true, Ordering::Release);
            }
            Ok::<_, Infallible>(())
        };
        let (source, config, timeout) = (source.clone(), config.clone().set_push_sender(closed), *timeout);
        let connect = async move {
            tokio::time::sleep(delay).await;
            let connect =
                async { source.client().await?.get_multiplexed_async_connection_with_config(&config).await };
            let limited = tokio::time::timeout(timeout, connect).await;
            let connected = limited.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            connected.map_err(|error| passwords.hide(error))
        };
        let connecting = connect.boxed().shared();
        // A task drives the attempt, since the futures of commands may be dropped before the
        // connection exists.
        tokio::spawn(connecting.clone());
        ConnectionAttempt { connecting, began: Instant::now(), marks }
    }

    fn state(&self) -> MutexGuard<'_, PrimaryState> {
        // No code under this lock panics.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnfinishedCommand<'_> {
    fn drop(&mut self) {
        if !self.has_result {
            self.connection.verify(self.attempt);
        }
    }
}

impl Drop for EndOfPing {
    fn drop(&mut self) {
        self.0.is_verifying.store(false, Ordering::Release);
    }
}

/// Returns `true` if a reply shows that the server is no primary, or not yet.
pub(super) fn is_no_primary(reply: &Value) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    match reply {
        Value::ServerError(error) => matches!(error.kind(), Some(ReadOnly | MasterDown | BusyLoading)),
        _ => false,
    }
}
