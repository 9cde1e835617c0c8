//! The look-up of a value, its key in the store, and its state.

use super::name::{Name, value_key};
use crate::cache::guard::{HiddenEntries, QueuePosition};
use crate::cache::{Cache, PendingRead, tracking};
use crate::clock::Moment;
use crate::entry::{Entry, EntryKind, Generation, Scope, StoredValue};
use crate::error::StoreError;
use crate::key::CacheKey;
use crate::store::Validity;
use std::time::Duration;

/// The result of a look-up: the key in the store, the entry there, and its state.
pub(super) struct ValueSnapshot {
    pub(super) key: CacheKey,
    pub(super) entry: Option<Entry>,
    pub(super) state: ValueState,
}

/// The state of a value's entry, which decides whether the entry may be used.
///
/// ```text
/// Missing            ── write ─────────────────────────────────────────► Live
/// Live               ── TTL ends, or soft invalidation ────────────────► Stale
/// Live, Stale        ── hard invalidation of a scope or a dependency ──► Invalidated
/// Stale, Invalidated ── write ─────────────────────────────────────────► Live
/// any state          ── the store drops the entry ─────────────────────► Missing
/// ```
///
/// A counter is `Live` as long as its entry exists, because only the store knows when the counter
/// expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueState {
    Live,
    /// Within the stale window, a follower may use the entry instead of waiting for the leader.
    Stale,
    Invalidated,
    Missing,
}

impl ValueSnapshot {
    /// Returns the entry if its state is `Live`.
    pub(super) fn live(&self) -> Option<&Entry> {
        self.entry.as_ref().filter(|_| self.state == ValueState::Live)
    }
}

impl Cache {
    /// Returns the key of a value in the store.
    pub(super) async fn value_key(&self, name: &Name) -> Result<CacheKey, StoreError> {
        Ok(self.value_key_since(name, self.cleared().await?))
    }

    pub(super) fn value_key_since(&self, name: &Name, cleared: Generation) -> CacheKey {
        value_key(&self.0.namespace, name, cleared)
    }

    /// Looks up a value, without a dependency on it.
    pub(super) async fn load(&self, name: &Name) -> Result<ValueSnapshot, StoreError> {
        // The hidden entries are read before and after the look-up, because a removal may leave or
        // enter the queue meanwhile.
        let were_hidden = self.hidden_entries(name);
        let assumed = self.assumed_clear().await?;
        let mut key = self.value_key_since(name, assumed.generation);
        let (mut entry, mut read) = self.find(key.as_ref()).await?;
        if let Some(cleared) = self.corrected_clear(assumed, read).await? {
            key = self.value_key_since(name, cleared);
            (entry, read) = self.find(key.as_ref()).await?;
        }
        let entry = self.without_hidden(name, were_hidden, entry);
        let state = self.state_at(read, entry.as_ref()).await?;
        Ok(ValueSnapshot { key, entry, state })
    }

    /// Returns the entries of a value that undelivered invalidations hide. The store may still have
    /// these entries.
    pub(super) fn hidden_entries(&self, name: &Name) -> HiddenEntries {
        self.0.guard.hidden_entries(&self.0.namespace, name)
    }

    /// Returns the entry that a look-up found, or `None` if an undelivered invalidation hides the
    /// entry now, or hid it before the look-up. `were_hidden` are the entries that were hidden then.
    pub(super) fn without_hidden(
        &self,
        name: &Name,
        were_hidden: HiddenEntries,
        found: Option<Entry>,
    ) -> Option<Entry> {
        found.filter(|found| !were_hidden.contains(found) && !self.hidden_entries(name).contains(found))
    }

    /// Returns `true` if an undelivered invalidation hides entries of a value.
    pub(super) fn has_undelivered_removal(&self, name: &Name) -> bool {
        self.hidden_entries(name) != HiddenEntries::None
    }

    /// Returns the position of the last queued invalidation, for a write that begins now.
    pub(super) fn queue_position(&self) -> QueuePosition {
        self.0.guard.queue_position()
    }

    /// Exempts `entry` from the undelivered removal of the value, if there is one. Call this before
    /// the entry is put.
    ///
    /// A removal that was queued after `begun`, the start of the write, still removes the entry.
    pub(super) fn spare(&self, name: &Name, begun: QueuePosition, entry: &Entry) {
        self.0.guard.spare(&self.0.namespace, name, begun, entry);
    }

    /// Returns the state of an entry. `read` is the generation that was read together with the
    /// entry.
    pub(super) async fn state_at(
        &self,
        read: Option<Generation>,
        entry: Option<&Entry>,
    ) -> Result<ValueState, StoreError> {
        match entry {
            Some(Entry(EntryKind::Value(value))) => self.state_of_value(read, value).await,
            Some(Entry(EntryKind::Counter(_))) => Ok(ValueState::Live),
            // A cache stores only values and counters under these keys. Other entries count as
            // absent.
            Some(_) | None => Ok(ValueState::Missing),
        }
    }

    async fn state_of_value(
        &self,
        read: Option<Generation>,
        value: &StoredValue,
    ) -> Result<ValueState, StoreError> {
        let (scopes, dependencies) = (&value.scopes, &value.dependencies);
        let validity = match (value.generation, read) {
            (Some(since), Some(read)) => self.validity_at(read, since, scopes, dependencies).await?,
            (Some(since), None) => self.validity(since, scopes, dependencies).await?,
            (None, _) => Validity::Valid,
        };
        Ok(match validity {
            Validity::Invalid => ValueState::Invalidated,
            Validity::Valid if self.clock().now() < value.fresh_until => ValueState::Live,
            Validity::Valid | Validity::Stale => ValueState::Stale,
        })
    }

    /// Looks up a value. If reads are tracked on this thread, records a dependency on the value.
    pub(super) async fn read(&self, name: &Name) -> Result<ValueSnapshot, StoreError> {
        let scope = Scope::value(name.as_bytes());
        let _pending = PendingRead::begin();
        let since = match tracking::is_tracked() {
            // `depend` runs before the look-up, so that no change between the two calls is missed.
            true => Some(self.depend(scope).await?),
            false => None,
        };
        let seen = self.load(name).await.inspect_err(|_| tracking::mark_untrackable())?;
        // A counter is never a dependency.
        if let Some(since) = since
            && !matches!(seen.entry, Some(Entry(EntryKind::Counter(_))))
        {
            tracking::record_read(scope, since);
            if let (ValueState::Live, Some(Entry(EntryKind::Value(value)))) = (seen.state, &seen.entry) {
                tracking::inherit(value);
            }
        }
        Ok(seen)
    }

    /// Registers that a page or value is about to be made from the value of a scope. A later write
    /// of that value then invalidates the dependent. Returns the current generation.
    pub(super) async fn depend(&self, scope: Scope) -> Result<Generation, StoreError> {
        let since = self.await_write(self.0.generations.depend(scope)).await;
        since.inspect_err(|_| tracking::mark_untrackable())
    }

    pub(super) fn fresh_until(&self, lifetime: Option<Duration>) -> Moment {
        lifetime.map_or(Moment::NEVER, |lifetime| self.clock().now().after(lifetime))
    }
}
