//! Tracking of dependencies: the values and cached parts that are read while a page or value is
//! made.
//!
//! A [`Tracker`] records the reads of the future that makes a page, its body or a computed value.
//! The tracker is entered before each poll of the future and left afterwards. Meanwhile, the reads
//! on the thread of the poll are recorded in the tracker. Without reads, nothing is allocated.
//!
//! ```text
//!  slot of a thread:  Untracked ── enter ──► Empty ── first read ──► Dependencies
//!                         ▲                    │                          │
//!                         └────── leave: the outer slot is restored ──────┘
//! ```

use crate::entry::{Dependencies, Dependency, Generation, Scope, StoredResponse, StoredValue};
use crate::flight::Chain;
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

thread_local! {
    static TRACKING_SLOT: RefCell<TrackingSlot> = const { RefCell::new(TrackingSlot::Untracked) };
}

/// The place where the reads on this thread are recorded.
enum TrackingSlot {
    /// No tracker is entered.
    Untracked,
    /// A tracker is entered, and has recorded no read.
    Empty,
    Dependencies(Arc<Mutex<Dependencies>>),
}

/// The record of the reads of one page, body or computed value.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    pub(super) reads: Option<Arc<Mutex<Dependencies>>>,
    /// The request or the computation whose reads are tracked.
    chain: Option<Arc<Chain>>,
}

impl Tracker {
    /// Returns a tracker that shares the dependencies of the tracker entered on this thread.
    /// Returns `None` if no tracker is entered.
    pub(crate) fn of_current() -> Option<Self> {
        current().map(|reads| Self { reads: Some(reads), chain: Chain::current() })
    }

    /// Creates a tracker for the handler of a request, or for a computation.
    pub(crate) fn for_chain(chain: &Arc<Chain>) -> Self {
        Self { reads: None, chain: Some(Arc::clone(chain)) }
    }

    pub(crate) fn chain(&self) -> Option<Arc<Chain>> {
        self.chain.clone()
    }

    /// Runs work on this thread, and records its reads.
    pub(crate) fn enter<T>(&mut self, work: impl FnOnce() -> T) -> T {
        struct EnteredTracker<'a>(&'a mut Tracker, TrackingSlot);
        impl Drop for EnteredTracker<'_> {
            fn drop(&mut self) {
                let outer = std::mem::replace(&mut self.1, TrackingSlot::Untracked);
                match replace_slot(outer) {
                    Some(TrackingSlot::Dependencies(reads)) => self.0.reads = Some(reads),
                    Some(TrackingSlot::Untracked | TrackingSlot::Empty) => self.0.reads = None,
                    // The thread ends, so some reads are unknown. Other trackers may share the
                    // record, so it is marked as untrackable and not replaced.
                    None => lock(self.0.reads.get_or_insert_default()).mark_untrackable(),
                }
            }
        }
        let chain = self.chain.clone();
        let own = self.reads.clone().map_or(TrackingSlot::Empty, TrackingSlot::Dependencies);
        let outer = replace_slot(own).unwrap_or(TrackingSlot::Untracked);
        let _entered = EnteredTracker(self, outer);
        match chain {
            Some(chain) => chain.enter(work),
            None => work(),
        }
    }

    /// Runs a future, and records its reads in each poll.
    pub(crate) async fn track<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| self.enter(|| work.as_mut().poll(cx))).await
    }

    /// Returns another tracker with the same record.
    pub(crate) fn share(&mut self) -> Self {
        Self { reads: Some(Arc::clone(self.reads.get_or_insert_default())), chain: self.chain.clone() }
    }

    /// Returns another tracker with the same record, or `None` if nothing was read.
    pub(crate) fn share_if_read(&self) -> Option<Self> {
        self.reads.clone().map(|reads| Self { reads: Some(reads), chain: self.chain.clone() })
    }

    /// Returns the dependencies recorded up to now.
    pub(crate) fn peek(&self) -> Option<Dependencies> {
        self.reads.as_ref().map(|reads| lock(reads).clone())
    }

    /// Returns `true` if all dependencies recorded up to now are known, and are in the namespace of
    /// the generation `own`.
    pub(crate) fn is_trackable_in(&self, own: Generation) -> bool {
        self.reads.as_ref().is_none_or(|reads| lock(reads).is_trackable_in(own))
    }

    /// Passes the recorded dependencies to the tracker that is entered on this thread, if any.
    pub(crate) fn pass_on(&self) {
        if let Some(reads) = self.peek() {
            merge(&reads);
        }
    }

    /// Takes the dependencies recorded up to now.
    pub(crate) fn take(&mut self) -> Option<Dependencies> {
        self.reads.take().map(|reads| std::mem::take(&mut *lock(&reads)))
    }
}

/// A guard that, when it is dropped, passes on the dependencies of its tracker (see
/// [`Tracker::pass_on`]).
#[derive(Debug)]
pub(crate) struct DependencyGuard(pub(crate) Tracker);

impl Drop for DependencyGuard {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

pub(super) fn lock(reads: &Mutex<Dependencies>) -> std::sync::MutexGuard<'_, Dependencies> {
    // No code panics under this lock.
    reads.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replaces the slot of this thread. Returns `None` while the thread ends: its thread-local values
/// are destroyed, so its reads are unknown.
fn replace_slot(new: TrackingSlot) -> Option<TrackingSlot> {
    TRACKING_SLOT.try_with(|slot| slot.replace(new)).ok()
}

/// Returns the record of the tracker that is entered on this thread, or `None` if no tracker is
/// entered.
pub(super) fn current() -> Option<Arc<Mutex<Dependencies>>> {
    let current = TRACKING_SLOT.try_with(|slot| match &mut *slot.borrow_mut() {
        TrackingSlot::Untracked => None,
        TrackingSlot::Dependencies(reads) => Some(Arc::clone(reads)),
        slot @ TrackingSlot::Empty => {
            let reads = Arc::default();
            *slot = TrackingSlot::Dependencies(Arc::clone(&reads));
            Some(reads)
        }
    });
    current.ok().flatten()
}

/// Returns `true` if reads on this thread are recorded.
#[inline]
pub(crate) fn is_tracked() -> bool {
    TRACKING_SLOT.try_with(|slot| !matches!(*slot.borrow(), TrackingSlot::Untracked)).unwrap_or(false)
}

/// Records a read of a value at the generation `since`, even if the value was absent.
pub(super) fn record_read(value: Scope, since: Generation) {
    if let Some(reads) = current() {
        lock(&reads).record_read(Dependency { value, since });
    }
}

/// Records the scopes, the dependencies and the expiry of a value that was read.
pub(super) fn inherit(value: &StoredValue) {
    let Some(reads) = current() else { return };
    let mut reads = lock(&reads);
    let since = value.generation;
    let own = value.scopes.iter().filter_map(|scope| Some(Dependency { value: *scope, since: since? }));
    own.chain(value.dependencies.iter().copied()).for_each(|each| reads.inherit(each));
    reads.limit_freshness(value.fresh_until);
}

/// Records a stored response that a page or value is made from.
pub(crate) fn inherit_response(response: &StoredResponse) {
    if let Some(reads) = current() {
        lock(&reads).inherit_head(response.head());
    }
}

/// Records the dependencies of a part that a page or value is made from.
pub(crate) fn merge(other: &Dependencies) {
    if let Some(reads) = current() {
        lock(&reads).merge(other);
    }
}

/// Records that the dependencies are unknown, so that the page or value is not stored.
pub(crate) fn mark_untrackable() {
    if let Some(reads) = current() {
        lock(&reads).mark_untrackable();
    }
}

/// The dependencies that a page inherits from a response that it contains. The response future in
/// `serve` passes them to the tracker of the page.
#[derive(Debug)]
#[must_use]
pub(crate) enum AnswerDependencies {
    Known(Option<Dependencies>),
    /// Some dependencies are unknown, so the page must not be stored.
    Unknown,
}

impl AnswerDependencies {
    /// Creates a value without dependencies, for an answer of the service. The tracker has already
    /// recorded the reads of the service.
    pub(crate) fn none_added() -> Self {
        Self::Known(None)
    }

    /// Adds further dependencies. If some are unknown already, the result stays
    /// [`Unknown`](Self::Unknown).
    pub(crate) fn with(mut self, reads: Option<Dependencies>) -> Self {
        match (&mut self, reads) {
            (Self::Known(Some(known)), Some(reads)) => known.merge(&reads),
            (Self::Known(known @ None), reads) => *known = reads,
            (Self::Known(Some(_)), None) | (Self::Unknown, _) => {}
        }
        self
    }

    /// Passes the dependencies to the tracker that is entered on this thread, if any.
    pub(crate) fn pass_on(&self) {
        match self {
            Self::Known(None) => {}
            _ if !is_tracked() => {}
            Self::Known(Some(reads)) => merge(reads),
            Self::Unknown => mark_untrackable(),
        }
    }
}

impl From<&StoredResponse> for AnswerDependencies {
    fn from(response: &StoredResponse) -> Self {
        let mut reads = Dependencies::default();
        reads.inherit_head(response.head());
        Self::Known(Some(reads))
    }
}

/// Records a dependency on a value that the current page or value has written. `since` is the
/// generation of the write.
///
/// If `since` is `None`, another writer may have replaced the value. The dependencies are then
/// unknown, and the page or value is not stored.
pub(super) fn record_write(value: Scope, since: Option<Generation>) {
    match (current(), since) {
        (Some(reads), Some(since)) => lock(&reads).record_write(Dependency { value, since }),
        (_, Some(_)) => {}
        (_, None) => mark_untrackable(),
    }
}

pin_project! {
    /// The future of [`propagate_dependencies`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct WithDependencies<F> {
        #[pin]
        work: F,
        tracker: Option<Tracker>,
    }
}

/// Records the reads of a future in another task as dependencies of the page or value of this task.
///
/// A page depends on the [values](crate::values) that it reads: when one of them changes, the page
/// is invalidated. By default, the cache sees only reads in the task of the request. To include
/// reads in another task, wrap the future that you pass to `tokio::spawn`. Await the task before
/// the response is complete.
///
/// Several requests may share work, such as a shared future or a data loader. The reads of such
/// work become dependencies only of the page whose request polls the work.
///
/// A page or value with more than 1,024 dependencies (values, tags and cached parts together) is
/// not stored.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use tower_response_cache::{Cache, MemoryStore};
/// use tower_response_cache::values::propagate_dependencies;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::new(MemoryStore::with_max_bytes(64 << 20));
/// cache.set("rate", &1.08, Duration::from_secs(60)).await?;
/// let other = cache.clone();
/// let task = tokio::spawn(propagate_dependencies(async move { other.get::<f64>("rate").await }));
/// assert_eq!(task.await??, Some(1.08));
/// # Ok(())
/// # }
/// ```
pub fn propagate_dependencies<F: Future>(work: F) -> WithDependencies<F> {
    WithDependencies { work, tracker: Tracker::of_current() }
}

impl<F: Future> Future for WithDependencies<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.tracker {
            Some(tracker) => tracker.enter(|| this.work.poll(cx)),
            None => this.work.poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: Scope = Scope::EVERYTHING;

    fn at(counter: u64) -> Generation {
        Generation::new(1, counter)
    }

    fn since(tracker: &mut Tracker) -> Vec<u64> {
        let reads = tracker.take().unwrap_or_default();
        reads.values.iter().map(|value| value.since.counter()).collect()
    }

    #[test]
    fn reads_in_a_nested_tracker_are_not_recorded_in_the_outer_one() {
        let (mut outer, mut inner) = (Tracker::default(), Tracker::default());
        outer.enter(|| {
            inner.enter(|| record_read(VALUE, at(1)));
            assert!(is_tracked());
        });
        assert!(!is_tracked());
        assert_eq!((since(&mut inner), since(&mut outer)), (vec![1], vec![]));
    }

    #[test]
    fn panic_restores_the_outer_slot() {
        let mut tracker = Tracker::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            tracker.enter(|| std::panic::resume_unwind(Box::new("handler")))
        }));
        assert!(panicked.is_err() && !is_tracked());
    }

    #[test]
    fn last_write_of_a_value_counts_else_its_first_read() {
        let mut tracker = Tracker::default();
        tracker.enter(|| (record_read(VALUE, at(1)), record_read(VALUE, at(2))));
        assert_eq!(since(&mut tracker), [1]);
        tracker.enter(|| {
            (record_read(VALUE, at(1)), record_write(VALUE, Some(at(3))), record_read(VALUE, at(4)))
        });
        assert_eq!(since(&mut tracker), [3]);
        tracker.enter(|| record_write(VALUE, None));
        assert!(tracker.take().is_some_and(|reads| reads.is_untrackable));
    }

    #[test]
    fn more_than_1024_dependencies_are_untrackable() {
        let mut tracker = Tracker::default();
        tracker.enter(|| {
            (0..=1024_u64).for_each(|number| record_read(Scope::value(&number.to_le_bytes()), at(1)))
        });
        assert!(tracker.take().is_some_and(|reads| reads.is_untrackable && reads.values.len() == 1024));
    }
}
