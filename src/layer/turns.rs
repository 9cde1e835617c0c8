//! Writes to one resource, one after the other.

use crate::entry::Scope;
use dashmap::DashMap;
use http::request::Parts;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Writes under way, by the scope of their path: two spellings of one path are one, and two paths that
/// share a hash take turns for nothing.
#[derive(Debug, Default)]
pub(super) struct Turns(DashMap<Scope, Arc<Mutex<()>>>);

/// Held from the evaluation of a write's precondition to its response.
pub(super) struct Turn {
    turns: Arc<Turns>,
    resource: Scope,
    guard: Option<OwnedMutexGuard<()>>,
}

/// A mark on a request: it has its turn, and a second one of the same layer has not to wait for it.
#[derive(Clone)]
struct HasTurn(Arc<Turns>);

impl Turns {
    /// Waits for the writes to the same resource that came before; `None` if the request has its turn.
    pub(super) async fn wait(turns: &Arc<Self>, parts: &mut Parts) -> Option<Turn> {
        if parts.extensions.get().is_some_and(|HasTurn(of)| Arc::ptr_eq(of, turns)) {
            return None;
        }
        parts.extensions.insert(HasTurn(Arc::clone(turns)));
        let resource = Scope::path(parts.uri.path());
        let mutex = Arc::clone(&turns.0.entry(resource).or_default());
        // The turn is there before its guard, so that one that is cancelled while it waits cleans up.
        let mut turn = Turn { turns: Arc::clone(turns), resource, guard: None };
        turn.guard = Some(mutex.lock_owned().await);
        Some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard.take();
        // Whoever waits holds a count too; new ones come through the table, which is locked here.
        self.turns.0.remove_if(&self.resource, |_, mutex| Arc::strong_count(mutex) == 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[tokio::test]
    async fn the_table_of_turns_forgets_what_nobody_waits_for_cancelled_waits_included() {
        let turns = Arc::new(Turns::default());
        let (mut a, ()) = Request::new(()).into_parts();
        let (mut b, ()) = Request::new(()).into_parts();
        let first = Turns::wait(&turns, &mut a).await;
        let mut second = Box::pin(Turns::wait(&turns, &mut b));
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        assert_eq!(turns.0.len(), 1);
        drop(first);
        assert_eq!(turns.0.len(), 0);
    }
}
