//! Locks that make the writes to one resource run one after the other.

use crate::body::ResponseBody;
use crate::entry::Scope;
use crate::serve::public_uri;
use crate::waker_relay::relay_waker;
use dashmap::DashMap;
use futures_util::future::{Either, select};
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{Response, StatusCode};
use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

/// The largest number of requests that wait for one resource.
const MAX_WAITERS: usize = 100;

/// The time limits of a lock. `None` is no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How long a write waits for the lock.
    pub(super) wait: Option<Duration>,
    /// How long a write may hold the lock, counted from its acquisition. After this time, the write
    /// ends as soon as another write waits for the lock.
    pub(super) hold: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { wait: Some(Duration::from_secs(10)), hold: Some(Duration::from_secs(30)) }
    }
}

/// The locks of the writes in progress, by the [`Scope`] of their public path: a digest of the
/// normalized path.
///
/// Two spellings of one path are one resource. So are two paths with the same digest.
///
/// ```text
///           free                          done, overdue, dropped
/// write ──────────────> has the lock ─────────────────────────────> ended
///   │                        ^
///   │ taken                  │ free
///   └──────> waits ──────────┘
///              │ timeout, or too many wait
///              └──────> 503
/// ```
#[derive(Debug, Default)]
pub(super) struct WriteLocks(DashMap<Scope, Arc<Resource>>);

#[derive(Debug)]
struct Resource {
    semaphore: Semaphore,
    waiters: AtomicUsize,
    /// Notified when a request begins to wait.
    arrival: Notify,
}

impl Default for Resource {
    fn default() -> Self {
        Self { semaphore: Semaphore::new(1), waiters: AtomicUsize::new(0), arrival: Notify::new() }
    }
}

/// The reason why a write did not get its lock, or lost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteRefusal {
    /// The write waited too long, or too many requests wait. Contains the value of `Retry-After`,
    /// in seconds.
    Busy(u64),
    /// The write took too long while another request waited.
    Overdue,
}

impl WriteRefusal {
    pub(super) fn into_response<B>(self) -> Response<ResponseBody<B>> {
        let mut response = Response::new(ResponseBody::default());
        match self {
            Self::Busy(seconds) => {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            Self::Overdue => *response.status_mut() = StatusCode::REQUEST_TIMEOUT,
        }
        response
    }
}

/// A request extension with the locks that layers hold for the request. A layer does not wait for a
/// lock in this list: an outer clone of the layer holds it, and the wait would never end.
#[derive(Clone, Default)]
struct HeldLocks(Vec<Weak<HeldLock>>);

/// A held lock, with the table of the lock. [`HeldLocks`] refers to held locks only weakly, because
/// a detached copy of the request may outlive them.
struct HeldLock(Arc<WriteLocks>);

impl WriteLocks {
    /// Runs an exchange (a request, up to its response) after the earlier exchanges with the same
    /// resource have ended.
    ///
    /// The future of the exchange is dropped before the next exchange begins.
    pub(super) async fn run<F: Future>(
        locks: &Arc<Self>,
        limits: Limits,
        mut parts: Parts,
        exchange: impl FnOnce(Parts) -> F,
    ) -> Result<F::Output, WriteRefusal> {
        let mut marks = parts.extensions.get::<HeldLocks>().cloned().unwrap_or_default();
        if marks.0.iter().filter_map(Weak::upgrade).any(|held| Arc::ptr_eq(&held.0, locks)) {
            return Ok(exchange(parts).await);
        }
        let lock = ResourceLock::acquire(locks, Scope::path(public_uri((&parts).into()).path()), limits.wait)
            .await?;
        marks.0.retain(|held| held.strong_count() > 0);
        marks.0.push(Arc::downgrade(&lock.held));
        parts.extensions.insert(marks);
        // Both futures are declared after the lock, so they are dropped before the lock.
        let exchange = pin!(exchange(parts));
        let overdue = pin!(lock.overdue(limits.hold));
        match select(exchange, overdue).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(_) => Err(WriteRefusal::Overdue),
        }
    }
}

/// The lock of a resource, or the wait for that lock.
struct ResourceLock {
    held: Arc<HeldLock>,
    scope: Scope,
    /// `None` once the lock is released.
    resource: Option<Arc<Resource>>,
    is_acquired: bool,
    acquired_at: Instant,
}

impl ResourceLock {
    async fn acquire(
        locks: &Arc<WriteLocks>,
        scope: Scope,
        limit: Option<Duration>,
    ) -> Result<Self, WriteRefusal> {
        let resource = Arc::clone(&locks.0.entry(scope).or_default());
        let (held, acquired_at) = (Arc::new(HeldLock(Arc::clone(locks))), Instant::now());
        // Created before the wait. If the request is dropped while it waits, the drop of `lock`
        // removes the table entry, unless another request uses it.
        let mut lock = Self { held, scope, resource: Some(resource), is_acquired: false, acquired_at };
        // `resource` is declared after `lock`, so that it is dropped first: the drop of `lock`
        // counts the references to the resource.
        let Some(resource) = lock.resource.clone() else { return Ok(lock) };
        lock.is_acquired = resource.acquire(limit).await;
        lock.acquired_at = Instant::now();
        if lock.is_acquired { Ok(lock) } else { Err(WriteRefusal::Busy(retry_after(limit))) }
    }

    /// Completes once the lock has been held for `limit` and another request waits. Never completes
    /// without a limit, or outside a tokio runtime.
    async fn overdue(&self, limit: Option<Duration>) {
        let end = limit.and_then(|limit| self.acquired_at.checked_add(limit));
        let (Some(resource), Some(end)) = (&self.resource, end) else { return pending().await };
        loop {
            while resource.waiters.load(Ordering::SeqCst) == 0 {
                relay_waker(resource.arrival.notified()).await;
            }
            if Handle::try_current().is_err() {
                return pending().await;
            }
            sleep_until(end).await;
            if resource.waiters.load(Ordering::SeqCst) > 0 {
                return;
            }
        }
    }
}

impl Drop for ResourceLock {
    fn drop(&mut self) {
        if let Some(resource) = self.resource.take().filter(|_| self.is_acquired) {
            resource.semaphore.add_permits(1);
        }
        // Removes the resource if no holder and no waiter refers to it. `remove_if` locks the
        // table, so no request can add a reference meanwhile.
        self.held.0.0.remove_if(&self.scope, |_, resource| Arc::strong_count(resource) == 1);
    }
}

impl Resource {
    /// Waits until the lock of the resource is free, and acquires it.
    ///
    /// Returns `false` if the lock is not free in time, or if too many requests wait.
    async fn acquire(&self, limit: Option<Duration>) -> bool {
        if let Ok(permit) = self.semaphore.try_acquire() {
            permit.forget();
            return true;
        }
        let Some(_waiter) = Waiter::join(self) else { return false };
        let free = relay_waker(self.semaphore.acquire());
        let permit = match limit.filter(|_| Handle::try_current().is_ok()) {
            Some(limit) => timeout(limit, free).await.ok().and_then(Result::ok),
            None => free.await.ok(),
        };
        permit.map(|permit| permit.forget()).is_some()
    }
}

/// A request that waits for the lock of a resource. It counts toward [`MAX_WAITERS`] until it is
/// dropped.
struct Waiter<'a>(&'a Resource);

impl<'a> Waiter<'a> {
    fn join(resource: &'a Resource) -> Option<Self> {
        let waiter = Self(resource);
        if resource.waiters.fetch_add(1, Ordering::SeqCst) >= MAX_WAITERS {
            return None;
        }
        resource.arrival.notify_one();
        Some(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Returns the seconds after which a client may repeat its request: the time limit of the wait,
/// rounded up, and at least one second.
fn retry_after(limit: Option<Duration>) -> u64 {
    let limit = limit.unwrap_or(Duration::from_secs(1));
    limit.as_secs().saturating_add(u64::from(limit.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn parts() -> Parts {
        Request::new(()).into_parts().0
    }

    #[tokio::test]
    async fn table_forgets_resources_without_holders_and_waiters() {
        let locks = Arc::new(WriteLocks::default());
        let run = || Box::pin(WriteLocks::run(&locks, Limits::default(), parts(), |_| pending::<()>()));
        for holder_ends_first in [false, true] {
            let (mut first, mut second) = (run(), run());
            assert!(futures::poll!(&mut first).is_pending());
            assert!(futures::poll!(&mut second).is_pending());
            let (first, second) = if holder_ends_first { (second, first) } else { (first, second) };
            drop(second);
            assert_eq!(locks.0.len(), 1);
            drop(first);
            assert_eq!(locks.0.len(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_outlives_its_lock_waits_for_a_new_lock() {
        let locks = Arc::new(WriteLocks::default());
        let limits = Limits::default();
        let detached =
            WriteLocks::run(&locks, limits, parts(), |parts| async { parts }).await.expect("a lock");
        let holder = WriteLocks::run(&locks, limits, parts(), |_| pending::<()>());
        let mut holder = Box::pin(holder);
        assert!(futures::poll!(&mut holder).is_pending());
        let refused = WriteLocks::run(&locks, limits, detached, |_| async {}).await;
        assert_eq!(refused, Err(WriteRefusal::Busy(10)));
    }

    #[tokio::test]
    async fn nested_layer_with_the_same_locks_does_not_wait_for_itself() {
        let (locks, others) = (Arc::new(WriteLocks::default()), Arc::new(WriteLocks::default()));
        let limits = Limits::default();
        let nested = WriteLocks::run(&locks, limits, parts(), |parts| async {
            WriteLocks::run(&others, limits, parts, |parts| async {
                WriteLocks::run(&locks, limits, parts, |_| async {}).await
            })
            .await
        });
        assert_eq!(nested.await, Ok(Ok(Ok(()))));
    }

    #[test]
    fn no_limits_apply_outside_a_runtime() {
        let locks = Arc::new(WriteLocks::default());
        let limits = Limits { wait: Some(Duration::ZERO), hold: Some(Duration::ZERO) };
        futures::executor::block_on(async {
            let (end, ended) = futures::channel::oneshot::channel::<()>();
            let holder = WriteLocks::run(&locks, limits, parts(), |_| ended);
            let waiter = WriteLocks::run(&locks, limits, parts(), |_| async {});
            let (mut holder, mut waiter) = (Box::pin(holder), Box::pin(waiter));
            assert!(futures::poll!(&mut holder).is_pending());
            assert!(futures::poll!(&mut waiter).is_pending());
            assert!(futures::poll!(&mut holder).is_pending());
            end.send(()).expect("a holder");
            assert_eq!(holder.await, Ok(Ok(())));
            assert_eq!(waiter.await, Ok(()));
        });
    }
}
