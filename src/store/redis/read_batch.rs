//! Reads of entries that concurrent callers send together.

use super::inner::RedisInner;
use super::link::{is_wrong_type, store_error, unexpected_reply};
use super::namespace::NamespaceRecord;
use super::read_queue::{EntryReply, ReadBatch, ReadTurn};
use super::recent_entries::RecentEntry;
use crate::entry::{Entry, Generation};
use crate::store::{StoreError, StoreErrorKind};
use bytes::Bytes;
use redis::{RedisResult, Value};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// A task that sends batches until the queue is empty. Dropped before that, it fails the reads that no
/// other task can send.
struct BatchTask {
    inner: Arc<RedisInner>,
    is_starting: bool,
    is_over: bool,
}

impl BatchTask {
    async fn run(mut self) {
        loop {
            // The callers that are ready to run join the next batch.
            run_others().await;
            let is_starting = std::mem::take(&mut self.is_starting);
            let Some(batch) = self.inner.reads.take(self.inner.link.timeout(), is_starting) else {
                self.is_over = true;
                return;
            };
            if !batch.callers.is_empty() {
                self.answer(batch).await;
            }
        }
    }

    /// Sends a batch, and hands out its replies.
    async fn answer(&self, batch: ReadBatch) {
        let commands = batch.entries.iter().map(|entry| self.inner.get(&entry.recent.slot)).collect();
        let replies = match self.inner.send_reads(commands, &batch.namespaces).await {
            Ok(replies) => replies,
            Err(error) => return batch.fail(&error),
        };
        let mut values: Vec<_> = replies.values.into_iter().map(|reply| Some(value_of(reply))).collect();
        let length = |value: &Option<RedisResult<Option<Bytes>>>| match value {
            Some(Ok(Some(bytes))) => bytes.len(),
            _ => 0,
        };
        self.inner.reads.note_bytes(values.len(), values.iter().map(length).sum());
        let offset = self.inner.format.clock.wall_offset();
        let mut entries = batch.entries;
        for caller in batch.callers {
            let (Some(entry), Some(value)) = (entries.get_mut(caller.entry), values.get_mut(caller.entry))
            else {
                continue;
            };
            entry.callers -= 1;
            // The last caller gets the value without a copy of its reference.
            let value = if entry.callers == 0 { value.take() } else { value.clone() };
            let Some(value) = value else { continue };
            let read = caller.namespace.and_then(|at| replies.generations.get(at));
            let reply = EntryReply { value, generation: read.copied().flatten(), offset };
            // The caller may have been dropped.
            let _ = caller.reply.send(Ok(reply));
        }
    }
}

impl Drop for BatchTask {
    fn drop(&mut self) {
        if !self.is_over {
            self.inner.reads.abandon(self.is_starting);
        }
    }
}

/// Returns the bytes of a reply. A value of another type is as good as absent.
fn value_of(reply: RedisResult<Value>) -> RedisResult<Option<Bytes>> {
    match reply {
        Ok(Value::BulkString(value)) => Ok(Some(value.into())),
        Ok(_) => Ok(None),
        Err(error) if is_wrong_type(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

impl RedisInner {
    /// Reads an entry, and then the generation of a namespace. Reads of concurrent callers are sent
    /// together.
    pub(super) async fn read(
        self: &Arc<Self>,
        recent: &Arc<RecentEntry>,
        namespace: Option<&Arc<NamespaceRecord>>,
    ) -> Result<(Option<Entry>, Option<Generation>), StoreError> {
        let turn = match self.link.is_single() {
            true => self.reads.enter(recent, namespace),
            false => ReadTurn::Alone(None),
        };
        let EntryReply { value, generation, offset } = match turn {
            ReadTurn::Alone(_lone) => self.read_alone(recent, namespace).await?,
            ReadTurn::Queued { reply, needs_task } => {
                if needs_task {
                    let task = BatchTask { inner: Arc::clone(self), is_starting: true, is_over: false };
                    self.link.spawn(task.run());
                }
                match reply.await {
                    Ok(reply) => reply.map_err(store_error)?,
                    // The runtime of the connection has shut down.
                    Err(_) => return Err(StoreError::new(StoreErrorKind::Unavailable)),
                }
            }
        };
        let found = value.map_err(store_error)?.and_then(|value| self.opened_again(recent, value, offset));
        Ok((found, generation))
    }

    async fn read_alone(
        &self,
        recent: &RecentEntry,
        namespace: Option<&Arc<NamespaceRecord>>,
    ) -> Result<EntryReply, StoreError> {
        let namespaces = namespace.map(std::slice::from_ref).unwrap_or_default();
        let replies = self.send_reads(vec![self.get(&recent.slot)], namespaces).await.map_err(store_error)?;
        let value = value_of(replies.values.into_iter().next().ok_or_else(unexpected_reply)?);
        let generation = replies.generations.into_iter().next().flatten();
        Ok(EntryReply { value, generation, offset: self.format.clock.wall_offset() })
    }
}

/// Returns to the runtime once, so that the tasks that are ready run first.
async fn run_others() {
    let mut has_run = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_run, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
