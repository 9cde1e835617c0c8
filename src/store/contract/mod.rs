//! A test kit that verifies the contract of a [`Store`].
//!
//! Use it in a test of your own store, with the feature `testing`. It verifies the rules of
//! [`Store`] and [`Generations`](super::Generations):
//!
//! - Writes, counters and compare-and-set are atomic under concurrency.
//! - Entries expire.
//! - Keys of any bytes are distinct, and values of any bytes are returned unchanged.
//! - Namespaces are invalidated separately.
//! - No invalidation is lost, not even by a restart.
//!
//! # Example
//! ```
//! use tower_response_cache::store::contract::Contract;
//! use tower_response_cache::MemoryStore;
//! use tower_response_cache::clock::Clock;
//!
//! # futures::executor::block_on(async {
//! let (clock, manual) = Clock::manual();
//! let store = MemoryStore::builder().clock(clock).build()?;
//! Contract::new(store).time(move |by| manual.advance(by)).verify().await;
//! # Ok::<_, tower_response_cache::error::ConfigError>(())
//! # }).unwrap();
//! ```

mod counters;
mod entries;
mod expiry;
mod generations;
mod many;
mod reads;
mod rollback;
mod rule;

use super::{Entry, Store};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A verification that one store keeps the rules of [`Store`].
///
/// Use an empty store, and verify it only once: a second verification would find the entries of the
/// first one. No other program or test may use the store during the verification.
#[doc(alias = "conformance")]
#[must_use]
pub struct Contract<S> {
    store: Arc<S>,
    stores_entries: bool,
    time: Option<Box<AdvanceTime>>,
    restart: Option<Restart<S>>,
    snapshot: Option<Snapshot>,
}

/// A function that advances the time of a store.
type AdvanceTime = dyn Fn(Duration) + Send + Sync;
type Restart<S> = Box<dyn Fn() -> S + Send + Sync>;
type Snapshot = Box<dyn Fn() -> Restore + Send + Sync>;
type Restore = Box<dyn FnOnce() + Send>;

const SECOND: Duration = Duration::from_secs(1);

impl<S: Store> Contract<S> {
    /// Creates the verification of a store. [`verify`](Self::verify) runs it.
    pub fn new(store: S) -> Self {
        Self { store: Arc::new(store), stores_entries: true, time: None, restart: None, snapshot: None }
    }

    /// Declares that the store keeps nothing, like [`NullStore`](super::NullStore).
    ///
    /// The store may then find no entry at all, but every entry that it returns must be correct.
    pub fn keeps_nothing(mut self) -> Self {
        self.stores_entries = false;
        self
    }

    /// Sets the function that advances the time of the store.
    ///
    /// Without this function, expiry is not verified.
    pub fn time(mut self, pass: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.time = Some(Box::new(pass));
        self
    }

    /// Sets the function that opens the store again, as after a restart of the backend.
    ///
    /// Without this function, restarts are not verified.
    pub fn restart(mut self, open: impl Fn() -> S + Send + Sync + 'static) -> Self {
        self.restart = Some(Box::new(open));
        self
    }

    /// Sets the function that saves the contents of the store. The result of `save` is a function
    /// that restores these contents.
    ///
    /// A store loses its last invalidations if it is restored from a snapshot, or if a replica that
    /// lags behind takes over. Its counter then goes back. Without this function, the kit verifies
    /// this case only if [`Store::generations`] returns `None`.
    pub fn snapshot<R>(mut self, save: impl Fn() -> R + Send + Sync + 'static) -> Self
    where
        R: FnOnce() + Send + 'static,
    {
        self.snapshot = Some(Box::new(move || Box::new(save())));
        self
    }

    /// Verifies all rules.
    ///
    /// # Panics
    /// Panics if the store breaks the contract. The message has three lines: the method, the broken
    /// rule as the docs state it, and what the kit saw instead.
    ///
    /// # Cancel safety
    /// Dropping the future before it completes leaves some entries in the store.
    pub async fn verify(&self) {
        self.verify_entries().await;
        self.verify_counters().await;
        self.verify_batches().await;
        self.verify_generations().await;
        self.verify_reads().await;
        if self.can_restore() {
            self.verify_rollback().await;
        }
        if let Some(time) = &self.time {
            self.verify_expiry(time.as_ref()).await;
        }
        if let Some(restart) = &self.restart {
            self.restart_revives_no_invalid_entry(restart.as_ref()).await;
        }
    }
}

fn value(text: &'static str) -> Entry {
    Entry::raw(text)
}

/// Awaits all futures concurrently, and returns their outputs in order.
async fn all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(value) = Pin::new(future).poll(cx)
            {
                *output = Some(value);
            }
        }
        if outputs.iter().all(Option::is_some) {
            Poll::Ready(outputs.iter_mut().filter_map(Option::take).collect())
        } else {
            Poll::Pending
        }
    })
    .await
}

impl<S: fmt::Debug> fmt::Debug for Contract<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract")
            .field("store", &self.store)
            .field("stores_entries", &self.stores_entries)
            .finish_non_exhaustive()
    }
}
