//! What is read while something is made: it depends on that.
//!
//! Whoever makes something (a page, its body, a computed value) enters a [`Tracker`] around each poll; values
//! that are read meanwhile, on that thread, are noted there. Nothing is allocated where nothing is read.

use crate::entry::{Dependencies, Dependency, Generation, Scope, StoredResponse, StoredValue};
use crate::flight::Chain;
use pin_project_lite::pin_project;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

thread_local! {
    static SLOT: RefCell<TrackingSlot> = const { RefCell::new(TrackingSlot::Nobody) };
}

/// Who wants to know what is read on this thread.
enum TrackingSlot {
    Nobody,
    /// Somebody does, and nothing was read yet.
    Nothing,
    Dependencies(Arc<Mutex<Dependencies>>),
}

/// Notes what is read while something is made.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    pub(super) reads: Option<Arc<Mutex<Dependencies>>>,
    /// The request or the computation whose reads are tracked.
    chain: Option<Arc<Chain>>,
}

impl Tracker {
    /// Returns the one of whoever is making something here, if anybody is.
    pub(crate) fn of_caller() -> Option<Self> {
        current().map(|reads| Self { reads: Some(reads), chain: Chain::current() })
    }

    /// Creates a tracker for the handler of a request, or for a computation.
    pub(crate) fn of(chain: &Arc<Chain>) -> Self {
        Self { reads: None, chain: Some(Arc::clone(chain)) }
    }

    /// Returns what it is made for.
    pub(crate) fn chain(&self) -> Option<Arc<Chain>> {
        self.chain.clone()
    }

    /// Does some of the work.
    pub(crate) fn enter<T>(&mut self, work: impl FnOnce() -> T) -> T {
        struct EnteredTracker<'a>(&'a mut Tracker, TrackingSlot);
        impl Drop for EnteredTracker<'_> {
            fn drop(&mut self) {
                let outer = std::mem::replace(&mut self.1, TrackingSlot::Nobody);
                match replace_slot(outer) {
                    Some(TrackingSlot::Dependencies(reads)) => self.0.reads = Some(reads),
                    Some(TrackingSlot::Nobody | TrackingSlot::Nothing) => self.0.reads = None,
                    // Others may have them, too.
                    None => lock(self.0.reads.get_or_insert_default()).set_unfit(),
                }
            }
        }
        let chain = self.chain.clone();
        let own = self.reads.clone().map_or(TrackingSlot::Nothing, TrackingSlot::Dependencies);
        let outer = replace_slot(own).unwrap_or(TrackingSlot::Nobody);
        let _entered = EnteredTracker(self, outer);
        match chain {
            Some(chain) => chain.enter(work),
            None => work(),
        }
    }

    /// Does all of the work.
    pub(crate) async fn track<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| self.enter(|| work.as_mut().poll(cx))).await
    }

    /// Returns another one for the same work.
    pub(crate) fn share(&mut self) -> Self {
        Self { reads: Some(Arc::clone(self.reads.get_or_insert_default())), chain: self.chain.clone() }
    }

    /// Returns another one that knows what was read so far; `None` if that is nothing.
    pub(crate) fn known(&self) -> Option<Self> {
        self.reads.clone().map(|reads| Self { reads: Some(reads), chain: self.chain.clone() })
    }

    /// Returns what was read so far.
    pub(crate) fn peek(&self) -> Option<Dependencies> {
        self.reads.as_ref().map(|reads| lock(reads).clone())
    }

    /// Returns `true` if what was read so far is all known, and known to this namespace.
    pub(crate) fn is_fit(&self, own: Generation) -> bool {
        self.reads.as_ref().is_none_or(|reads| lock(reads).is_fit(own))
    }

    /// Has whoever is making something here depend on what was read so far.
    pub(crate) fn pass_on(&self) {
        if let Some(reads) = self.peek() {
            merge(&reads);
        }
    }

    /// Takes what was read so far.
    pub(crate) fn take(&mut self) -> Option<Dependencies> {
        self.reads.take().map(|reads| std::mem::take(&mut *lock(&reads)))
    }
}

/// A tracker that passes its dependencies on when it is dropped, to the page or value being made on this thread.
#[derive(Debug)]
pub(crate) struct DependencyGuard(pub(crate) Tracker);

impl Drop for DependencyGuard {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

pub(super) fn lock(reads: &Mutex<Dependencies>) -> std::sync::MutexGuard<'_, Dependencies> {
    // Nothing panics under this lock.
    reads.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replaces the slot of this thread. Returns `None` while the thread ends: its thread-local values are gone, so reads are
/// unknown.
fn replace_slot(new: TrackingSlot) -> Option<TrackingSlot> {
    SLOT.try_with(|slot| slot.replace(new)).ok()
}

/// Returns the notes of whoever wants to know what is read here.
pub(super) fn current() -> Option<Arc<Mutex<Dependencies>>> {
    let current = SLOT.try_with(|slot| match &mut *slot.borrow_mut() {
        TrackingSlot::Nobody => None,
        TrackingSlot::Dependencies(reads) => Some(Arc::clone(reads)),
        slot @ TrackingSlot::Nothing => {
            let reads = Arc::default();
            *slot = TrackingSlot::Dependencies(Arc::clone(&reads));
            Some(reads)
        }
    });
    current.ok().flatten()
}

/// Returns `true` if anybody wants to know what is read here.
#[inline]
pub(crate) fn is_tracked() -> bool {
    SLOT.try_with(|slot| !matches!(*slot.borrow(), TrackingSlot::Nobody)).unwrap_or(false)
}

/// Notes that a value was read, or found missing, as of a generation.
pub(super) fn read(value: Scope, since: Generation) {
    if let Some(reads) = current() {
        lock(&reads).read(Dependency { value, since });
    }
}

/// Notes what a value that was read is named by, and was made from, and when it expires.
pub(super) fn inherit(value: &StoredValue) {
    let Some(reads) = current() else { return };
    let mut reads = lock(&reads);
    let since = value.generation;
    let own = value.scopes.iter().filter_map(|scope| Some(Dependency { value: *scope, since: since? }));
    own.chain(value.dependencies.iter().copied()).for_each(|each| reads.inherit(each));
    reads.live_until(value.fresh_until);
}

/// Notes a stored response that something else is made from.
pub(crate) fn inherit_response(response: &StoredResponse) {
    if let Some(reads) = current() {
        lock(&reads).inherit_head(response.head());
    }
}

/// Notes what something that was read was made from itself.
pub(crate) fn merge(other: &Dependencies) {
    if let Some(reads) = current() {
        lock(&reads).merge(other);
    }
}

/// Notes that something was read of which it is not known what it depends on.
pub(crate) fn mark_untrackable() {
    if let Some(reads) = current() {
        lock(&reads).set_unfit();
    }
}

/// What a page inherits of an answer that it is made from. Each exit of the state machine returns one with its answer,
/// and the response future passes it on.
#[derive(Debug)]
#[must_use]
pub(crate) enum AnswerDependencies {
    Known(Option<Dependencies>),
    /// The page must not be stored.
    Unknown,
}

impl AnswerDependencies {
    /// Nothing beyond what the service has noted where it was called.
    pub(crate) fn noted() -> Self {
        Self::Known(None)
    }

    /// Adds what was noted elsewhere.
    pub(crate) fn and(mut self, reads: Option<Dependencies>) -> Self {
        match (&mut self, reads) {
            (Self::Known(Some(known)), Some(reads)) => known.merge(&reads),
            (Self::Known(known @ None), reads) => *known = reads,
            (Self::Known(Some(_)), None) | (Self::Unknown, _) => {}
        }
        self
    }

    /// Notes all of it for what is made here.
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

/// Notes that a value was written, if it is known to be that one which others read from then on.
pub(super) fn wrote(value: Scope, since: Option<Generation>) {
    match (current(), since) {
        (Some(reads), Some(since)) => lock(&reads).wrote(Dependency { value, since }),
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

/// Makes what is read in another task count for the page, or the value, that is being made in this one.
///
/// Values of the low-level cache that are read while a page is made become dependencies of the page: it goes
/// when they are changed. That is noticed in the task of the request alone. So give `tokio::spawn` this, and wait
/// for the task before the response is complete. So it is with work that several requests share (a shared
/// future, a data loader): it counts for the one that polls it. What was made from more than 1,024 values, tags and
/// cached parts together is not stored.
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
    WithDependencies { work, tracker: Tracker::of_caller() }
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
    fn who_makes_something_within_something_else_notes_its_own_reads() {
        let (mut outer, mut inner) = (Tracker::default(), Tracker::default());
        outer.enter(|| {
            inner.enter(|| read(VALUE, at(1)));
            assert!(is_tracked());
        });
        assert!(!is_tracked());
        assert_eq!((since(&mut inner), since(&mut outer)), (vec![1], vec![]));
    }

    #[test]
    fn a_panic_leaves_nobody_behind_who_wants_to_know() {
        let mut tracker = Tracker::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            tracker.enter(|| std::panic::resume_unwind(Box::new("handler")))
        }));
        assert!(panicked.is_err() && !is_tracked());
    }

    #[test]
    fn the_first_reading_counts_and_then_the_last_writing() {
        let mut tracker = Tracker::default();
        tracker.enter(|| (read(VALUE, at(1)), read(VALUE, at(2))));
        assert_eq!(since(&mut tracker), [1]);
        tracker.enter(|| (read(VALUE, at(1)), wrote(VALUE, Some(at(3))), read(VALUE, at(4))));
        assert_eq!(since(&mut tracker), [3]);
        tracker.enter(|| wrote(VALUE, None));
        assert!(tracker.take().is_some_and(|reads| reads.is_unfit));
    }

    #[test]
    fn what_has_read_too_much_is_unfit() {
        let mut tracker = Tracker::default();
        tracker.enter(|| (0..=1024_u64).for_each(|number| read(Scope::value(&number.to_le_bytes()), at(1))));
        assert!(tracker.take().is_some_and(|reads| reads.is_unfit && reads.values.len() == 1024));
    }
}
