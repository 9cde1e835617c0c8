//! A connection to a cluster. A new connection replaces it after a primary has stopped answering.

use super::error_message::Passwords;
use redis::aio::ConnectionLike;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{RedisError, RedisResult};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest pause after a verification.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A connection to the primaries of a cluster.
///
/// The client notices a primary whose connection is closed, and slots that have moved. It does not
/// notice a primary that keeps its connections open and answers nothing. All commands to such a
/// primary would fail until its process ends. Therefore, after a command without a reply, the next
/// command begins a verification of all primaries. If a primary does not answer, the store connects
/// to the cluster again.
#[derive(Clone)]
pub(super) struct PrimariesConnection(Arc<PrimariesInner>);

struct PrimariesInner {
    client: ClusterClient,
    /// The time for an answer of every primary. A new connection has twice this time.
    timeout: Duration,
    passwords: Passwords,
    current: Mutex<ClusterConnection>,
    /// Whether a command had no reply since the last verification.
    is_suspect: AtomicBool,
    is_verifying: AtomicBool,
}

/// A command. Dropping it without a reply makes the connection suspect.
struct SentCommand<'a> {
    connection: &'a PrimariesInner,
    is_answered: bool,
}

/// A guard whose drop ends a verification, even after a panic.
struct EndOfVerification(Arc<PrimariesInner>);

impl PrimariesConnection {
    /// Connects to a cluster.
    pub(super) async fn connect(
        client: ClusterClient,
        timeout: Duration,
        passwords: Passwords,
    ) -> RedisResult<Self> {
        let connected = client.get_async_connection().await;
        let current = Mutex::new(connected.map_err(|error| passwords.hide(error))?);
        Ok(Self(Arc::new(PrimariesInner {
            client,
            timeout,
            passwords,
            current,
            is_suspect: AtomicBool::new(false),
            is_verifying: AtomicBool::new(false),
        })))
    }

    pub(super) fn current(&self) -> ClusterConnection {
        self.0.lock().clone()
    }

    /// Runs a command. The future may be dropped at any time.
    pub(super) async fn run<T, F>(&self, command: impl FnOnce(ClusterConnection) -> F) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        if self.0.is_suspect.load(Ordering::Acquire) {
            self.begin_verification();
        }
        let mut sent = SentCommand { connection: &self.0, is_answered: false };
        let result = command(self.current()).await;
        sent.is_answered = !result.as_ref().is_err_and(RedisError::is_timeout);
        result.map_err(|error| self.0.passwords.hide(error))
    }

    /// Begins a task that verifies all primaries, unless such a task is running.
    fn begin_verification(&self) {
        if self.0.is_verifying.swap(true, Ordering::AcqRel) {
            return;
        }
        self.0.is_suspect.store(false, Ordering::Release);
        let end = EndOfVerification(Arc::clone(&self.0));
        tokio::spawn(async move { end.0.verify().await });
    }
}

impl PrimariesInner {
    async fn verify(&self) {
        let mut current = self.lock().clone();
        let ping = redis::cmd("PING");
        let answered = tokio::time::timeout(self.timeout, current.req_packed_command(&ping)).await;
        if matches!(answered, Ok(Ok(_))) {
            return;
        }
        let connecting = self.client.get_async_connection();
        if let Ok(Ok(new)) = tokio::time::timeout(self.timeout.saturating_mul(2), connecting).await {
            *self.lock() = new;
        }
        // The pause limits how often verifications and new connections begin.
        tokio::time::sleep(self.timeout.min(LONGEST_PAUSE)).await;
    }

    fn lock(&self) -> MutexGuard<'_, ClusterConnection> {
        // No code under this lock panics.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SentCommand<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.connection.is_suspect.store(true, Ordering::Release);
        }
    }
}

impl Drop for EndOfVerification {
    fn drop(&mut self) {
        self.0.is_verifying.store(false, Ordering::Release);
    }
}
