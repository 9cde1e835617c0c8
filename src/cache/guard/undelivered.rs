//! Invalidations that a store has not confirmed: kept to be delivered, and honored in this process
//! until they are.

use crate::cache::values::Name;
use crate::entry::{Dependency, Scope};
use crate::store::{Generations, Strength, Validity};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most scopes that wait, over all namespaces. Past it, each namespace waits for the
/// invalidation of everything in it.
const MAX_SCOPES: usize = 16_384;

/// The most namespaces that wait.
const MAX_NAMESPACES: usize = 16_384;

/// The undelivered invalidations of all namespaces of a cache.
#[derive(Debug, Default)]
pub(crate) struct Undelivered {
    /// Whether any look-up must be checked: one load decides for a healthy store.
    is_any: AtomicBool,
    /// The number of scopes that wait.
    count: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    namespaces: HashMap<String, Pending>,
    /// The namespaces in the order in which their first invalidation failed.
    order: VecDeque<String>,
    /// The number of scopes in all namespaces.
    total: usize,
    /// Numbers the calls of [`Undelivered::add`].
    last_number: u64,
    /// Whether an invalidation had no room. It is never delivered, so this process trusts no entry
    /// from then on.
    has_overflowed: bool,
}

struct Pending {
    generations: Arc<dyn Generations>,
    scopes: HashMap<Scope, Mark>,
}

#[derive(Debug, Clone)]
struct Mark {
    strength: Strength,
    /// The number of the last call that named the scope.
    number: u64,
    /// The value to remove: a counter has no generation that the scope could invalidate.
    value: Option<Name>,
}

/// The undelivered invalidations of one namespace, as of a moment.
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

    /// Returns the number of scopes that wait.
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
        // Visible to every look-up that begins after this call.
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
            let pending = Pending { generations: Arc::clone(generations), scopes: HashMap::new() };
            table.namespaces.insert(namespace.to_owned(), pending);
            table.order.push_back(namespace.to_owned());
        }
        if let Some(pending) = table.namespaces.get_mut(namespace) {
            let before = pending.scopes.len();
            pending.add(scopes, strength, number, value);
            let after = pending.scopes.len();
            table.total = table.total + after - before;
        }
        if table.total > MAX_SCOPES {
            table.merge(number);
        }
        self.count.store(table.total, Ordering::SeqCst);
    }

    /// Returns what the undelivered invalidations of a namespace say of an entry with these scopes
    /// and dependencies.
    pub(crate) fn validity(
        &self,
        namespace: &str,
        scopes: &[Scope],
        dependencies: &[Dependency],
    ) -> Validity {
        let table = self.lock();
        if table.has_overflowed {
            return Validity::Invalid;
        }
        let Some(pending) = table.namespaces.get(namespace) else { return Validity::Valid };
        let made_from = dependencies.iter().map(|dependency| dependency.value());
        let all = scopes.iter().copied().chain([Scope::EVERYTHING]).chain(made_from);
        let marks = all.filter_map(|scope| pending.scopes.get(&scope));
        Validity::worst(marks.map(|mark| match mark.strength {
            Strength::Hard => Validity::Invalid,
            Strength::Soft => Validity::Stale,
        }))
    }

    /// Returns what waits for the namespace that has waited longest.
    pub(super) fn next(&self) -> Option<Batch> {
        let table = self.lock();
        let namespace = table.order.front()?;
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
            values: pending.scopes.values().filter_map(|mark| mark.value.clone()).collect(),
            last_number: table.last_number,
        })
    }

    /// Removes a delivered batch. What was added again during the delivery goes on waiting.
    pub(super) fn delivered(&self, batch: &Batch) {
        let mut table = self.lock();
        let Some(pending) = table.namespaces.get_mut(&batch.namespace) else { return };
        let before = pending.scopes.len();
        pending.scopes.retain(|_, mark| mark.number > batch.last_number);
        let after = pending.scopes.len();
        table.total -= before - after;
        if after == 0 {
            table.namespaces.remove(&batch.namespace);
        }
        // First, unless it was postponed meanwhile.
        match table.order.front() == Some(&batch.namespace) {
            true => drop(table.order.pop_front()),
            false => table.order.retain(|namespace| *namespace != batch.namespace),
        }
        if table.namespaces.contains_key(&batch.namespace) {
            table.order.push_back(batch.namespace.clone());
        }
        self.count.store(table.total, Ordering::SeqCst);
        if table.namespaces.is_empty() && !table.has_overflowed {
            self.is_any.store(false, Ordering::Release);
        }
    }

    /// Moves the namespace that has waited longest behind all others, so that one that fails holds
    /// none of them up.
    pub(super) fn postpone(&self) {
        let mut table = self.lock();
        if let Some(namespace) = table.order.pop_front() {
            table.order.push_back(namespace);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Merges the scopes of every namespace into everything.
    fn merge(&mut self, number: u64) {
        for pending in self.namespaces.values_mut() {
            pending.add(&[Scope::EVERYTHING], Strength::Hard, number, None);
        }
        self.total = self.namespaces.len();
    }
}

impl Pending {
    fn add(&mut self, scopes: &[Scope], strength: Strength, number: u64, value: Option<&Name>) {
        let has_all = |marks: &HashMap<Scope, Mark>| {
            marks.get(&Scope::EVERYTHING).is_some_and(|mark| mark.strength == Strength::Hard)
        };
        let names_all = strength == Strength::Hard && scopes.contains(&Scope::EVERYTHING);
        // Everything includes every other scope, and the counters, whose keys it changes.
        if names_all || has_all(&self.scopes) {
            self.scopes.clear();
            self.scopes.insert(Scope::EVERYTHING, Mark { strength: Strength::Hard, number, value: None });
            return;
        }
        for scope in scopes {
            let mark = self.scopes.entry(*scope).or_insert(Mark { strength, number, value: None });
            mark.number = number;
            if strength == Strength::Hard {
                mark.strength = strength;
            }
            if value.is_some() {
                mark.value = value.cloned();
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
