//! The queue of reads that wait for a batch.

use super::namespace::NamespaceRecord;
use super::recent_entries::RecentEntry;
use crate::clock::WallOffset;
use crate::entry::Generation;
use bytes::Bytes;
use redis::{RedisError, RedisResult};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The queue of the reads that wait for a batch. All handles of a store share it.
///
/// ```text
/// read ─┬─ no read in progress, ─> sent by its caller alone
///       │  or a large value
///       ├─ otherwise ────────────> queue ──> a task sends a batch, and hands out the replies
///       └─ the queue is full ────> sent by its caller alone
/// ```
///
/// A batch is complete before the task sends it. So the generation that the batch reads is not older
/// than any of its callers.
pub(super) struct ReadQueue {
    state: Mutex<QueueState>,
    /// The mean bytes of the last values, which limit the reads of a batch.
    mean_bytes: AtomicUsize,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<QueuedRead>,
    /// The tasks that send batches. While a read waits, there is at least one.
    tasks: usize,
    /// Those of the tasks that have taken no batch yet.
    starting: usize,
    /// Whether a caller sends its own read because no other read was in progress.
    is_one_alone: bool,
}

/// A read in the queue.
struct QueuedRead {
    recent: Arc<RecentEntry>,
    /// The record whose generation is read after the entry.
    namespace: Option<Arc<NamespaceRecord>>,
    queued: Instant,
    reply: oneshot::Sender<RedisResult<EntryReply>>,
}

/// The reply to a read.
pub(super) struct EntryReply {
    /// The value, or `None` if the server has none of this type.
    pub(super) value: RedisResult<Option<Bytes>>,
    /// The generation of the namespace, read after the value.
    pub(super) generation: Option<Generation>,
    /// The offset of the clocks when the reply arrived.
    pub(super) offset: WallOffset,
}

/// The reads that are sent together. Each entry is read once.
#[derive(Default)]
pub(super) struct ReadBatch {
    pub(super) entries: Vec<BatchEntry>,
    /// The records whose generations are read after the entries.
    pub(super) namespaces: Vec<Arc<NamespaceRecord>>,
    pub(super) callers: Vec<BatchCaller>,
}

pub(super) struct BatchEntry {
    pub(super) recent: Arc<RecentEntry>,
    /// The number of its callers.
    pub(super) callers: usize,
}

pub(super) struct BatchCaller {
    /// The position of its entry.
    pub(super) entry: usize,
    /// The position of its namespace.
    pub(super) namespace: Option<usize>,
    pub(super) reply: oneshot::Sender<RedisResult<EntryReply>>,
}

/// How a caller gets the reply to its read.
pub(super) enum ReadTurn<'a> {
    /// The caller sends the read itself.
    Alone(Option<LoneRead<'a>>),
    /// The caller waits for the reply. With `needs_task`, it begins a task, which the queue counts.
    Queued { reply: oneshot::Receiver<RedisResult<EntryReply>>, needs_task: bool },
}

/// A guard of the one read that its caller sends alone.
pub(super) struct LoneRead<'a>(&'a ReadQueue);

/// The most reads in the queue, in batches. The callers of further reads send them alone, so no read
/// waits for more round trips than a few.
const MOST_WAITING_BATCHES: usize = 4;
/// The most tasks, and thus batches in flight.
const MOST_TASKS: usize = 2;
/// The most entries that a batch reads.
const MOST_ENTRIES: usize = 64;
/// The most callers of a batch. Several of them may read the same entry.
const MOST_CALLERS: usize = 128;
/// The bytes that the values of a batch may have if they are as long as the last ones. A longer reply
/// would delay its first callers.
const BATCH_BYTES: usize = 256 << 10;

impl ReadQueue {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), mean_bytes: AtomicUsize::new(0) }
    }

    /// Returns the most entries of the next batch.
    fn most_entries(&self) -> usize {
        (BATCH_BYTES / self.mean_bytes.load(Ordering::Relaxed).max(1)).clamp(1, MOST_ENTRIES)
    }

    /// Notes the size of the values of a batch.
    pub(super) fn note_bytes(&self, reads: usize, bytes: usize) {
        let (before, mean) = (self.mean_bytes.load(Ordering::Relaxed), bytes / reads.max(1));
        // A lost update only delays the adaptation.
        self.mean_bytes.store(before - before / 4 + mean / 4, Ordering::Relaxed);
    }

    /// Adds a read to the queue, or lets its caller send it.
    pub(super) fn enter(
        &self,
        recent: &Arc<RecentEntry>,
        namespace: Option<&Arc<NamespaceRecord>>,
    ) -> ReadTurn<'_> {
        let mut state = self.lock();
        if state.tasks == 0 && !state.is_one_alone {
            state.is_one_alone = true;
            return ReadTurn::Alone(Some(LoneRead(self)));
        }
        // The replies of a batch are handed out together, so a large value would delay the others.
        if recent.is_large || state.waiting.len() >= MOST_WAITING_BATCHES * self.most_entries() {
            return ReadTurn::Alone(None);
        }
        let (reply, receiver) = oneshot::channel();
        state.waiting.push_back(QueuedRead {
            recent: Arc::clone(recent),
            namespace: namespace.cloned(),
            queued: Instant::now(),
            reply,
        });
        let needs_task =
            state.tasks < MOST_TASKS && state.waiting.len() > state.starting * self.most_entries();
        if needs_task {
            state.tasks += 1;
            state.starting += 1;
        }
        ReadTurn::Queued { reply: receiver, needs_task }
    }

    /// Takes the reads of the next batch for a task. Returns `None` if no read waits: the task is then
    /// over. `is_starting` is `true` if the task has taken no batch yet.
    ///
    /// The batch is empty if the callers have left, or have waited longer than the limit.
    pub(super) fn take(&self, limit: Duration, is_starting: bool) -> Option<ReadBatch> {
        let (now, most) = (Instant::now(), self.most_entries());
        let (mut batch, mut late) = (ReadBatch::default(), Vec::new());
        let mut state = self.lock();
        state.starting -= usize::from(is_starting);
        if state.waiting.is_empty() {
            state.tasks -= 1;
            return None;
        }
        while let Some(next) = state.waiting.pop_front() {
            if next.reply.is_closed() || now.saturating_duration_since(next.queued) > limit {
                late.push(next);
            } else if batch.has_room(&next, most) {
                batch.add(next);
            } else {
                state.waiting.push_front(next);
                break;
            }
        }
        drop(state);
        for QueuedRead { reply, .. } in late {
            let _ = reply.send(Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        }
        Some(batch)
    }

    /// Ends a task early. Fails the reads that no other task can send.
    pub(super) fn abandon(&self, is_starting: bool) {
        let mut state = self.lock();
        state.starting -= usize::from(is_starting);
        state.tasks -= 1;
        let failed = if state.tasks == 0 { std::mem::take(&mut state.waiting) } else { VecDeque::new() };
        drop(state);
        // Their callers see that the reply was dropped.
        drop(failed);
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // No code under this lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LoneRead<'_> {
    fn drop(&mut self) {
        self.0.lock().is_one_alone = false;
    }
}

impl ReadBatch {
    /// Returns `true` if the batch reads the entry already, or may read one more.
    fn has_room(&self, read: &QueuedRead, most: usize) -> bool {
        self.callers.len() < MOST_CALLERS
            && (self.entries.len() < most
                || self.entries.iter().any(|known| known.recent.has_key_of(&read.recent)))
    }

    fn add(&mut self, QueuedRead { recent, namespace, reply, .. }: QueuedRead) {
        let new = BatchEntry { recent, callers: 0 };
        let entry = position(&mut self.entries, new, |known, new| known.recent.has_key_of(&new.recent));
        self.entries[entry].callers += 1;
        let namespace = namespace.map(|namespace| position(&mut self.namespaces, namespace, Arc::ptr_eq));
        self.callers.push(BatchCaller { entry, namespace, reply });
    }

    pub(super) fn fail(self, error: &RedisError) {
        for caller in self.callers {
            let _ = caller.reply.send(Err(error.clone()));
        }
    }
}

/// Returns the position of an item in a list. Adds it if the list lacks it.
fn position<T>(list: &mut Vec<T>, item: T, is_same: impl Fn(&T, &T) -> bool) -> usize {
    // Concurrent callers often read the same entry.
    list.iter().rposition(|known| is_same(known, &item)).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::super::recent_entries::RecentEntries;
    use super::super::value::KeySlot;
    use super::*;
    use crate::key::KeyRef;
    use futures_util::FutureExt;

    const LIMIT: Duration = Duration::from_secs(60);

    fn recent(number: usize) -> Arc<RecentEntry> {
        let name = number.to_le_bytes();
        let key = KeyRef::new(&name);
        RecentEntries::new().get(key, || KeySlot::new("p", key))
    }

    /// Adds a read to the queue. Returns whether it needs a task, and its reply.
    fn queued(queue: &ReadQueue, number: usize) -> (bool, oneshot::Receiver<RedisResult<EntryReply>>) {
        match queue.enter(&recent(number), None) {
            ReadTurn::Queued { reply, needs_task } => (needs_task, reply),
            ReadTurn::Alone(_) => panic!("it is sent alone"),
        }
    }

    #[test]
    fn read_is_sent_alone_only_if_no_other_read_is_in_progress() {
        let queue = ReadQueue::new();
        let alone = queue.enter(&recent(0), None);
        assert!(matches!(alone, ReadTurn::Alone(Some(_))));
        let (needs_task, reply) = queued(&queue, 1);
        assert!(needs_task);
        drop(alone);
        let (needs_task, other) = queued(&queue, 2);
        assert!(!needs_task, "the first task takes both");
        assert_eq!(queue.take(LIMIT, true).expect("a batch").callers.len(), 2);
        let _in_flight = queued(&queue, 3);
        assert!(queue.take(LIMIT, true).is_some());
        assert!(queue.take(LIMIT, false).is_none() && queue.take(LIMIT, false).is_none());
        assert!(matches!(queue.enter(&recent(0), None), ReadTurn::Alone(Some(_))));
        drop((reply, other));
    }

    #[test]
    fn tasks_and_the_queue_are_bounded() {
        let queue = ReadQueue::new();
        let _alone = queue.enter(&recent(0), None);
        let reads: Vec<_> =
            (0..MOST_WAITING_BATCHES * MOST_ENTRIES).map(|number| queued(&queue, number)).collect();
        assert_eq!(reads.iter().filter(|(needs_task, _)| *needs_task).count(), MOST_TASKS);
        assert!(matches!(queue.enter(&recent(0), None), ReadTurn::Alone(None)));
        let batch = queue.take(LIMIT, true).expect("a batch");
        assert_eq!((batch.entries.len(), batch.callers.len()), (MOST_ENTRIES, MOST_ENTRIES));
    }

    #[test]
    fn batch_has_each_entry_once() {
        let queue = ReadQueue::new();
        let _alone = queue.enter(&recent(0), None);
        let _replies: Vec<_> = (0..MOST_CALLERS + 1).map(|number| queued(&queue, number % 3)).collect();
        let batch = queue.take(LIMIT, true).expect("a batch");
        assert_eq!((batch.entries.len(), batch.callers.len()), (3, MOST_CALLERS));
        assert_eq!(queue.take(LIMIT, false).expect("the rest").callers.len(), 1);
    }

    #[test]
    fn long_values_make_batches_small() {
        let queue = ReadQueue::new();
        let _alone = queue.enter(&recent(0), None);
        let _replies: Vec<_> = (0..MOST_ENTRIES).map(|number| queued(&queue, number)).collect();
        (0..50).for_each(|_| queue.note_bytes(1, 8 << 20));
        assert_eq!(queue.take(LIMIT, true).expect("a batch").entries.len(), 1);
        (0..200).for_each(|_| queue.note_bytes(1, 100));
        assert_eq!(queue.take(LIMIT, false).expect("a batch").entries.len(), MOST_ENTRIES - 1);
    }

    #[test]
    fn large_value_is_read_alone() {
        let queue = ReadQueue::new();
        let _alone = queue.enter(&recent(0), None);
        let (recents, offset) = (RecentEntries::new(), crate::clock::Clock::system().wall_offset());
        let get = || recents.get(KeyRef::new(b"k"), || KeySlot::new("p", KeyRef::new(b"k")));
        for (length, is_alone) in [(1 << 20, true), (100, false), (70 << 10, true)] {
            recents.keep(&get(), vec![0; length].into(), &crate::entry::Entry::raw("v"), offset);
            let turn = queue.enter(&get(), None);
            assert_eq!(matches!(turn, ReadTurn::Alone(None)), is_alone, "{length}");
        }
    }

    #[test]
    fn few_long_values_wait() {
        let queue = ReadQueue::new();
        let _alone = queue.enter(&recent(0), None);
        (0..50).for_each(|_| queue.note_bytes(1, 8 << 20));
        let _replies: Vec<_> = (0..MOST_WAITING_BATCHES).map(|number| queued(&queue, number)).collect();
        assert!(matches!(queue.enter(&recent(9), None), ReadTurn::Alone(None)));
    }

    #[test]
    fn late_and_dropped_callers_are_in_no_batch() {
        let queue = ReadQueue::new();
        let _alone = queue.enter(&recent(0), None);
        let mut replies: Vec<_> = (0..3).map(|number| queued(&queue, number)).collect();
        replies.remove(1);
        assert_eq!(queue.take(LIMIT, true).expect("a batch").callers.len(), 2);
        let (_, late) = queued(&queue, 3);
        let queued = Instant::now();
        while Instant::now() <= queued {}
        assert!(queue.take(Duration::ZERO, false).expect("a batch").callers.is_empty());
        let late = late.now_or_never().expect("answered").expect("a reply");
        assert!(late.is_err_and(|error| error.is_timeout()));
    }

    #[test]
    fn last_task_that_is_abandoned_fails_the_queued_reads() {
        let queue = ReadQueue::new();
        let _alone = queue.enter(&recent(0), None);
        let (needs_task, reply) = queued(&queue, 1);
        assert!(needs_task);
        queue.abandon(true);
        assert!(reply.now_or_never().expect("answered").is_err());
        assert!(queued(&queue, 2).0, "the next read begins another task");
    }
}
