//! Invalidations that a store has not confirmed. They count in this process until they are
//! delivered.

use super::breaker::backoff;
use super::hidden_entries::HiddenEntries;
use crate::cache::values::{EntryDigest, Name};
use crate::entry::{Dependency, Entry, Scope};
use crate::store::{Generations, Strength, Validity};
use backon::ExponentialBackoff;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The maximum number of undelivered scopes in all namespaces together. Beyond this limit, the
/// scopes of each namespace are merged into [`Scope::EVERYTHING`].
const MAX_SCOPES: usize = 16_384;

/// The maximum number of namespaces with undelivered invalidations. An invalidation of a further
/// namespace is never delivered, so this process then trusts no entry.
const MAX_NAMESPACES: usize = 16_384;

/// The undelivered invalidations of all namespaces of a cache.
///
/// ```text
///            ┌── failure, time-out ──┐
///            ▼                       │
/// add ──► waiting ──► delivery ──────┼── confirmed ──► removed
///                        ▲           │
///      back-off passed   │           │ answered with another error
///                     refused ◄──────┘
/// ```
#[derive(Debug, Default)]
pub(crate) struct Undelivered {
    /// Whether look-ups must be checked against `table`. With a healthy store, the flag is `false`,
    /// so a look-up needs one load and no lock.
    is_any: AtomicBool,
    /// The number of undelivered scopes.
    count: AtomicUsize,
    /// Whether any namespace waits, apart from the refused ones.
    holds_circuit: AtomicBool,
    /// Notified when an invalidation is added, unless the store has refused its namespace.
    added: Arc<Notify>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    namespaces: HashMap<String, Pending>,
    /// The waiting namespaces, in the order of their next deliveries.
    order: VecDeque<String>,
    /// The refused namespaces, by the time of their next delivery.
    refused: BTreeSet<(Instant, String)>,
    /// Whether the last delivery was of a refused namespace. Waiting and refused namespaces
    /// alternate, so that neither kind delays the other.
    was_refused_last: bool,
    /// The number of scopes in all namespaces.
    total: usize,
    /// Numbers the calls of [`Undelivered::add`].
    last_number: u64,
    /// Whether an invalidation had no room. Such an invalidation is never delivered, so this
    /// process trusts no entry from then on.
    has_overflowed: bool,
}

struct Pending {
    generations: Arc<dyn Generations>,
    scopes: HashMap<Scope, Mark>,
    refusal: Option<Refusal>,
}

/// The back-off of a refused namespace: the store answered its delivery with an error that is not
/// an outage. Such an error may last as long as this process, so the namespace must not delay
/// other namespaces.
struct Refusal {
    /// The time of the next delivery.
    due: Instant,
    backoff: ExponentialBackoff,
}

#[derive(Debug, Clone)]
struct Mark {
    strength: Strength,
    /// The number of the last call of [`Undelivered::add`] that named the scope.
    number: u64,
    /// Present if the scope is a value that the store must remove. The invalidation alone has no
    /// effect on a counter, because a counter has no generation.
    removal: Option<Removal>,
}

/// The removal of a value that the store has not confirmed.
#[derive(Debug, Clone)]
struct Removal {
    name: Name,
    /// The number of the call that queued the removal.
    number: u64,
    /// The entry that a later write of the value stores. The removal leaves it in place.
    spared: Option<EntryDigest>,
}

/// A position in the sequence of queued invalidations, such as the position when a write begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueuePosition(u64);

impl QueuePosition {
    /// The position before all invalidations.
    pub(super) const START: Self = Self(0);
}

/// The undelivered invalidations of one namespace, which one delivery sends together.
pub(super) struct Batch {
    pub(super) namespace: String,
    pub(super) generations: Arc<dyn Generations>,
    pub(super) hard: Vec<Scope>,
    pub(super) soft: Vec<Scope>,
    pub(super) values: Vec<Name>,
    last_number: u64,
}

impl Undelivered {
    /// Returns `true` if any entry may be invalid by an invalidation that the store has not
    /// confirmed.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    /// Returns `true` if any invalidation waits for its delivery.
    pub(super) fn is_waiting(&self) -> bool {
        self.count() > 0
    }

    /// Returns `true` if the circuit must not close: an invalidation waits, and the store has not
    /// answered its delivery.
    pub(super) fn holds_circuit(&self) -> bool {
        self.holds_circuit.load(Ordering::SeqCst)
    }

    /// Returns the notification of added invalidations. Invalidations of refused namespaces do not
    /// notify.
    pub(super) fn added(&self) -> Arc<Notify> {
        Arc::clone(&self.added)
    }

    /// Returns the number of undelivered scopes.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Adds scopes of a namespace, with the value to remove if there is one. A hard invalidation
    /// outranks a soft one.
    pub(super) fn add(
        &self,
        namespace: &str,
        generations: &Arc<dyn Generations>,
        scopes: &[Scope],
        strength: Strength,
        value: Option<&Name>,
    ) {
        let mut table = self.lock();
        table.last_number += 1;
        let number = table.last_number;
        // Every look-up that begins after this call sees the flag.
        self.is_any.store(true, Ordering::Release);
        if !table.namespaces.contains_key(namespace) {
            if table.namespaces.len() >= MAX_NAMESPACES {
                let is_first = !std::mem::replace(&mut table.has_overflowed, true);
                // A subscriber is foreign code, which runs under no lock.
                drop(table);
                if is_first {
                    warning!("too many namespaces wait for the store: this process uses no more entries");
                }
                return;
            }
            let generations = Arc::clone(generations);
            let pending = Pending { generations, scopes: HashMap::new(), refusal: None };
            table.namespaces.insert(namespace.to_owned(), pending);
            table.order.push_back(namespace.to_owned());
        }
        let is_refused = table.is_refused(namespace);
        if let Some(pending) = table.namespaces.get_mut(namespace) {
            let before = pending.scopes.len();
            pending.add(scopes, strength, number, value);
            let after = pending.scopes.len();
            table.total = table.total + after - before;
        }
        if table.total > MAX_SCOPES {
            table.merge(number);
        }
        self.publish(&table);
        drop(table);
        if !is_refused {
            self.added.notify_one();
        }
    }

    /// Returns the validity of an entry with these scopes and dependencies, according to the
    /// undelivered invalidations of its namespace.
    pub(crate) fn validity(
        &self,
        namespace: &str,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> Validity {
        self.lock().validity(namespace, scopes, dependencies)
    }

    /// Returns the entries of a value that a look-up must not return.
    pub(super) fn hidden_entries(&self, namespace: &str, name: &Name) -> HiddenEntries {
        let value = Scope::value(name.as_bytes());
        let table = self.lock();
        if let Some(Removal { spared: Some(spared), .. }) = table.removal(namespace, &value)
            && table.validity(namespace, &[Scope::VALUES], &[]) != Validity::Invalid
        {
            return HiddenEntries::AllBut(*spared);
        }
        // The entry of a counter has no scopes, so a check of the entry would not find the
        // invalidation.
        match table.validity(namespace, &[value, Scope::VALUES], &[]) {
            Validity::Invalid => HiddenEntries::All,
            Validity::Valid | Validity::Stale => HiddenEntries::None,
        }
    }

    /// Returns the position of the invalidation that was queued last. It may be delivered by now.
    pub(super) fn position(&self) -> QueuePosition {
        QueuePosition(self.lock().last_number)
    }

    /// Makes a queued removal of a value leave `entry` in place. The write that began at `begun` is
    /// about to store `entry`.
    ///
    /// A removal that was queued after `begun` still removes the entry. Call this before the write
    /// is sent, since the removal may be delivered before the store confirms the write.
    pub(super) fn spare(&self, namespace: &str, name: &Name, begun: QueuePosition, entry: &Entry) {
        let value = Scope::value(name.as_bytes());
        let is_older = |removal: &Removal| removal.number <= begun.0;
        if !self.lock().removal(namespace, &value).is_some_and(is_older) {
            return;
        }
        let digest = EntryDigest::of(entry);
        let mut table = self.lock();
        let mark = table.namespaces.get_mut(namespace).and_then(|pending| pending.scopes.get_mut(&value));
        let removal = mark.and_then(|mark| mark.removal.as_mut());
        if let Some(removal) = removal.filter(|removal| is_older(removal)) {
            removal.spared = Some(digest);
        }
    }

    /// Returns the next batch: all undelivered invalidations of one namespace. Batches alternate
    /// between the first waiting namespace and a refused namespace whose back-off has passed, if
    /// there are both.
    pub(super) fn next(&self, now: Instant) -> Option<Batch> {
        let table = self.lock();
        let refused = table.refused.first().filter(|(due, _)| *due <= now).map(|(_, namespace)| namespace);
        let waiting = table.order.front();
        let namespace = if table.was_refused_last { waiting.or(refused) } else { refused.or(waiting) }?;
        let pending = table.namespaces.get(namespace)?;
        let named = |strength: Strength| {
            let marks = pending.scopes.iter().filter(|(_, mark)| mark.strength == strength);
            marks.map(|(scope, _)| *scope).collect()
        };
        Some(Batch {
            namespace: namespace.clone(),
            generations: Arc::clone(&pending.generations),
            hard: named(Strength::Hard),
            soft: named(Strength::Soft),
            values: pending.scopes.values().filter_map(Mark::value).cloned().collect(),
            last_number: table.last_number,
        })
    }

    /// Returns the time of the next delivery of a refused namespace.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.lock().refused.first().map(|(due, _)| *due)
    }

    /// Removes a delivered batch. Scopes that were added again during the delivery stay queued.
    pub(super) fn delivered(&self, batch: &Batch) {
        let mut table = self.lock();
        table.dequeue(&batch.namespace);
        let Some(pending) = table.namespaces.get_mut(&batch.namespace) else { return };
        let before = pending.scopes.len();
        pending.scopes.retain(|_, mark| mark.number > batch.last_number);
        pending.refusal = None;
        let after = pending.scopes.len();
        table.total -= before - after;
        match after {
            0 => drop(table.namespaces.remove(&batch.namespace)),
            _ => table.order.push_back(batch.namespace.clone()),
        }
        if table.namespaces.is_empty() && !table.has_overflowed {
            self.is_any.store(false, Ordering::Release);
        }
        self.publish(&table);
    }

    /// Moves the namespace of a failed delivery to the end of the queue, so that it does not delay
    /// other namespaces.
    pub(super) fn postpone(&self, batch: &Batch) {
        let mut table = self.lock();
        table.dequeue(&batch.namespace);
        if let Some(pending) = table.namespaces.get_mut(&batch.namespace) {
            pending.refusal = None;
            table.order.push_back(batch.namespace.clone());
        }
        self.publish(&table);
    }

    /// Removes the namespace of a batch from the queue, because the store refused the batch. The
    /// namespace waits until its back-off ends.
    pub(super) fn refuse(&self, batch: &Batch, now: Instant) {
        let mut table = self.lock();
        table.dequeue(&batch.namespace);
        if let Some(pending) = table.namespaces.get_mut(&batch.namespace) {
            let due = pending.refuse(now);
            table.refused.insert((due, batch.namespace.clone()));
        }
        self.publish(&table);
    }

    fn publish(&self, table: &Table) {
        self.count.store(table.total, Ordering::SeqCst);
        self.holds_circuit.store(!table.order.is_empty(), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn validity(&self, namespace: &str, scopes: &[Scope], dependencies: &[Dependency]) -> Validity {
        if self.has_overflowed {
            return Validity::Invalid;
        }
        let Some(pending) = self.namespaces.get(namespace) else { return Validity::Valid };
        let made_from = dependencies.iter().map(|dependency| dependency.value());
        let all = scopes.iter().copied().chain([Scope::EVERYTHING]).chain(made_from);
        let marks = all.filter_map(|scope| pending.scopes.get(&scope));
        Validity::worst(marks.map(|mark| match mark.strength {
            Strength::Hard => Validity::Invalid,
            Strength::Soft => Validity::Stale,
        }))
    }

    fn removal(&self, namespace: &str, value: &Scope) -> Option<&Removal> {
        self.namespaces.get(namespace)?.scopes.get(value)?.removal.as_ref()
    }

    fn is_refused(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some_and(|pending| pending.refusal.is_some())
    }

    /// Removes a namespace from the queue of deliveries, or from the refused namespaces. Records
    /// which of the two contained it, so that [`Undelivered::next`] alternates.
    fn dequeue(&mut self, namespace: &str) {
        let refusal = self.namespaces.get(namespace).and_then(|pending| pending.refusal.as_ref());
        self.was_refused_last = refusal.is_some();
        if let Some(Refusal { due, .. }) = refusal {
            self.refused.remove(&(*due, namespace.to_owned()));
        } else if self.order.front().is_some_and(|first| first == namespace) {
            self.order.pop_front();
        } else {
            // The namespace was postponed during its delivery.
            self.order.retain(|other| other != namespace);
        }
    }

    /// Merges the scopes of each namespace into [`Scope::EVERYTHING`].
    fn merge(&mut self, number: u64) {
        for pending in self.namespaces.values_mut() {
            pending.add(&[Scope::EVERYTHING], Strength::Hard, number, None);
        }
        self.total = self.namespaces.len();
    }
}

impl Mark {
    fn value(&self) -> Option<&Name> {
        self.removal.as_ref().map(|removal| &removal.name)
    }
}

impl Pending {
    /// Records a refusal by the store, and returns the time of the next delivery. Each refusal
    /// lengthens the back-off.
    fn refuse(&mut self, now: Instant) -> Instant {
        let refusal = self.refusal.get_or_insert_with(|| Refusal { due: now, backoff: backoff() });
        refusal.due = now + refusal.backoff.next().unwrap_or_default();
        refusal.due
    }

    fn add(&mut self, scopes: &[Scope], strength: Strength, number: u64, value: Option<&Name>) {
        let has_all = |marks: &HashMap<Scope, Mark>| {
            marks.get(&Scope::EVERYTHING).is_some_and(|mark| mark.strength == Strength::Hard)
        };
        let names_all = strength == Strength::Hard && scopes.contains(&Scope::EVERYTHING);
        // A hard invalidation of everything includes every other scope. It also includes counters,
        // because it changes their keys.
        if names_all || has_all(&self.scopes) {
            self.scopes.clear();
            self.scopes.insert(Scope::EVERYTHING, Mark { strength: Strength::Hard, number, removal: None });
            return;
        }
        for scope in scopes {
            let mark = self.scopes.entry(*scope).or_insert(Mark { strength, number, removal: None });
            mark.number = number;
            if strength == Strength::Hard {
                mark.strength = strength;
            }
            if let Some(name) = value {
                mark.removal = Some(Removal { name: name.clone(), number, spared: None });
            }
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("scopes", &self.scopes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
