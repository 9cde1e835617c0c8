//! Advances that replicas confirm.

use super::link::Link;
use super::script::ScriptCall;
use redis::{Cmd, RedisResult, Value};
use std::time::Duration;

/// The longest wait for replicas. It is shorter than the cache's default limit for invalidations.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// The replicas that must have an advance before it counts.
pub(super) struct Confirmation {
    /// A separate connection: while the server waits for replicas, it runs no other command of the
    /// connection.
    link: Link,
    replicas: usize,
    wait: Duration,
}

/// The reply to a script, and whether enough replicas have its writes.
pub(super) struct ConfirmedReply {
    pub(super) reply: Value,
    pub(super) is_confirmed: bool,
}

impl Confirmation {
    /// `timeout` limits an operation of the link.
    pub(super) fn new(link: Link, replicas: usize, timeout: Duration) -> Self {
        Self { link, replicas, wait: LONGEST_WAIT.min(timeout / 2) }
    }

    /// Verifies that the server can wait for replicas.
    pub(super) async fn verify(&self) -> RedisResult<()> {
        self.link.send(&wait(0, Duration::from_millis(1))).await.map(drop)
    }

    /// Calls a script, and waits for the replicas.
    ///
    /// Sends the code of the script: a server that did not know its digest would wait twice.
    pub(super) async fn call(&self, call: &ScriptCall) -> RedisResult<ConfirmedReply> {
        // The replicas confirm the earlier writes of the connection, so both use the same one.
        let commands = vec![call.by_code(), wait(self.replicas, self.wait)];
        let mut replies = self.link.send_to(&call.key, commands).await?.into_iter();
        let reply = replies.next().unwrap_or(Ok(Value::Nil))?;
        let count = match replies.next() {
            Some(Ok(Value::Int(count))) => usize::try_from(count).unwrap_or(0),
            _ => 0,
        };
        Ok(ConfirmedReply { reply, is_confirmed: count >= self.replicas })
    }
}

fn wait(replicas: usize, limit: Duration) -> Cmd {
    let mut command = redis::cmd("WAIT");
    // Zero would mean no limit.
    command.arg(replicas).arg(limit.as_millis().max(1) as u64);
    command
}
