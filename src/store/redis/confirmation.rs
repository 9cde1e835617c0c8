//! Replicas that confirm the advances of a namespace.

use super::link::Link;
use super::script::ScriptCall;
use crate::store::StoreErrorKind;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use redis::{Cmd, RedisResult, Value};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The longest wait of a server for its replicas. A server without other work may notice the end of
/// this time up to 100 ms late, at the next tick of its timer.
const SERVER_WAIT: Duration = Duration::from_millis(100);
/// The longest wait for a round. With the advance before it, it is shorter than the cache's default
/// limit for invalidations.
const ROUND_WAIT: Duration = Duration::from_millis(150);

/// The confirmation of advances by a number of replicas.
pub(super) struct Confirmation {
    /// A separate connection: while the server waits for replicas, it runs no other command of the
    /// connection.
    link: Link,
    replicas: usize,
    server_wait: Duration,
}

/// The server's reply to one request for confirmation (see `ConfirmationRounds`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoundReply {
    Confirmed,
    /// Too few replicas answered in time.
    Unconfirmed,
    /// The server lacks the generation.
    Lacking,
}

/// The outcome of a round: whether enough replicas have the generation.
type RoundResult = Result<bool, StoreErrorKind>;
type SharedRound = Shared<BoxFuture<'static, RoundResult>>;

/// The rounds of a namespace. A round confirms all advances that the process knows when the round
/// begins. At most one round is in progress, and one waits for its end.
#[derive(Default)]
pub(super) struct ConfirmationRounds(Mutex<Option<ConfirmationRound>>);

struct ConfirmationRound {
    result: WeakShared<BoxFuture<'static, RoundResult>>,
    has_begun: Arc<AtomicBool>,
}

impl Confirmation {
    /// `timeout` limits an operation of the link.
    pub(super) fn new(link: Link, replicas: usize, timeout: Duration) -> Self {
        Self { link, replicas, server_wait: SERVER_WAIT.min(timeout / 2) }
    }

    /// Verifies that the server can wait for replicas.
    pub(super) async fn verify(&self) -> RedisResult<()> {
        self.link.send(&wait(0, Duration::from_millis(1))).await.map(drop)
    }

    /// Calls a script that writes if the server has the generation, and waits for the replicas.
    ///
    /// The replicas then have all earlier writes too, of any connection. Sends the code of the
    /// script: with an unknown digest, the server would wait for the replicas twice.
    pub(super) async fn call(&self, call: &ScriptCall) -> RedisResult<RoundReply> {
        let commands = vec![call.by_code(), wait(self.replicas, self.server_wait)];
        let replies = match self.link.send_to(&call.key, commands).await {
            Err(error) if error.is_timeout() => return Ok(RoundReply::Unconfirmed),
            replies => replies?,
        };
        let mut replies = replies.into_iter();
        if replies.next().unwrap_or(Ok(Value::Nil))? != Value::Int(1) {
            return Ok(RoundReply::Lacking);
        }
        let count = match replies.next() {
            Some(Ok(Value::Int(count))) => usize::try_from(count).unwrap_or(0),
            _ => 0,
        };
        Ok(if count >= self.replicas { RoundReply::Confirmed } else { RoundReply::Unconfirmed })
    }
}

impl ConfirmationRounds {
    /// Returns the result of a round that begins after this call. Concurrent callers share the
    /// round.
    ///
    /// Call it within a tokio runtime.
    pub(super) async fn confirm(
        &self,
        work: impl Future<Output = RoundResult> + Send + 'static,
    ) -> RoundResult {
        let round = self.join(work);
        tokio::time::timeout(ROUND_WAIT, round).await.unwrap_or(Ok(false))
    }

    /// Joins the round that has not begun yet, or prepares `work` as the next one.
    fn join(&self, work: impl Future<Output = RoundResult> + Send + 'static) -> SharedRound {
        let next = {
            // No code under this lock panics.
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let earlier = last.as_ref().and_then(|round| round.result.upgrade());
            // Orders the caller's advance before this read, and so before the round.
            let is_waiting = |round: &ConfirmationRound| !round.has_begun.fetch_or(false, Ordering::AcqRel);
            if let Some(earlier) = &earlier
                && last.as_ref().is_some_and(is_waiting)
            {
                return earlier.clone();
            }
            let has_begun = Arc::new(AtomicBool::new(false));
            let begins = Arc::clone(&has_begun);
            let round = async move {
                if let Some(earlier) = earlier {
                    let _ = earlier.await;
                }
                begins.swap(true, Ordering::AcqRel);
                work.await
            };
            let next = round.boxed().shared();
            *last = next.downgrade().map(|result| ConfirmationRound { result, has_begun });
            next
        };
        // The callers may be dropped before the server replies.
        tokio::spawn(next.clone());
        next
    }
}

fn wait(replicas: usize, limit: Duration) -> Cmd {
    let mut command = redis::cmd("WAIT");
    // Zero would mean no limit.
    command.arg(replicas).arg(limit.as_millis().max(1) as u64);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn concurrent_confirmations_share_the_next_round() {
        let rounds = ConfirmationRounds::default();
        let (advances, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (advances, count) = (Arc::clone(&advances), Arc::clone(&count));
            async move {
                let seen = advances.load(Ordering::Relaxed);
                sleep(Duration::from_millis(20)).await;
                count.fetch_add(1, Ordering::Relaxed);
                Ok(seen >= 11)
            }
        };
        let first = rounds.confirm(work());
        let others = async {
            sleep(Duration::from_millis(10)).await;
            let all = (0..10).map(|_| {
                advances.fetch_add(1, Ordering::Relaxed);
                rounds.confirm(work())
            });
            futures_util::future::join_all(all).await
        };
        advances.fetch_add(1, Ordering::Relaxed);
        let (first, others) = tokio::join!(first, others);
        assert_eq!(first, Ok(false), "the first round began before the other advances");
        assert_eq!(others, [Ok(true); 10]);
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn round_without_an_answer_is_unconfirmed() {
        let rounds = ConfirmationRounds::default();
        let silent = || async {
            sleep(Duration::from_secs(1)).await;
            Ok(true)
        };
        let all = (0..10).map(|_| rounds.confirm(silent()));
        assert_eq!(futures_util::future::join_all(all).await, [Ok(false); 10]);
    }
}
