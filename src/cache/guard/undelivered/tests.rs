//! Tests of the queue of undelivered invalidations.

mod random;

use super::*;
use crate::entry::{EntryKind, Generation};
use crate::store::{MemoryStore, Store};
use Strength::{Hard, Soft};
use Validity::{Invalid, Stale, Valid};
use std::time::Duration;

const NAMESPACE: &str = "shop";

/// A queue. All its namespaces use the same generations, which come from a memory store.
struct Queue {
    undelivered: Undelivered,
    store: MemoryStore,
}

impl Queue {
    fn new() -> Self {
        Self { undelivered: Undelivered::default(), store: MemoryStore::with_max_bytes(1 << 20) }
    }

    fn generations(&self) -> Arc<dyn Generations> {
        self.store.generations(NAMESPACE).expect("a memory store has generations")
    }

    fn add_in(&self, namespace: &str, scopes: &[Scope], strength: Strength) {
        self.undelivered.add(namespace, &self.generations(), scopes, strength, None);
    }

    fn add(&self, scopes: &[Scope], strength: Strength) {
        self.add_in(NAMESPACE, scopes, strength);
    }

    fn remove_value(&self, name: &Name) {
        let scope = Scope::value(name.as_bytes());
        self.undelivered.add(NAMESPACE, &self.generations(), &[scope], Hard, Some(name));
    }

    fn next(&self) -> Batch {
        self.undelivered.next(Instant::now()).expect("a batch")
    }

    fn postpone_next(&self) {
        self.undelivered.postpone(&self.next());
    }

    fn deliver_next(&self) {
        self.undelivered.delivered(&self.next());
    }

    fn validity(&self, scopes: &[Scope]) -> Validity {
        self.undelivered.validity(NAMESPACE, scopes, &[])
    }

    fn is_empty(&self) -> bool {
        let Undelivered { table, .. } = &self.undelivered;
        let is_empty = table.lock().expect("not poisoned").namespaces.is_empty();
        assert_eq!(is_empty, !self.undelivered.is_waiting());
        assert_eq!(is_empty, self.undelivered.next(later()).is_none());
        is_empty
    }
}

/// Returns a time after every back-off.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn path(number: usize) -> Scope {
    Scope::path(&format!("/{number}"))
}

fn name(key: &str) -> Name {
    Name::of_parts(1, b"key", [key.as_bytes()])
}

#[test]
fn empty_queue_invalidates_nothing() {
    let queue = Queue::new();
    assert!(queue.is_empty() && !queue.undelivered.is_any());
    assert_eq!(queue.validity(&[path(1)]), Valid);
}

#[test]
fn same_scope_is_merged_and_hard_outranks_soft() {
    for (strengths, merged) in
        [([Soft, Soft], Stale), ([Soft, Hard], Invalid), ([Hard, Soft], Invalid), ([Hard, Hard], Invalid)]
    {
        let queue = Queue::new();
        strengths.iter().for_each(|strength| queue.add(&[path(1)], *strength));
        assert_eq!(queue.undelivered.count(), 1);
        assert_eq!(queue.validity(&[path(2), path(1)]), merged);
        assert_eq!(queue.validity(&[path(2)]), Valid);
        let batch = queue.next();
        let expected = if merged == Invalid { (1, 0) } else { (0, 1) };
        assert_eq!((batch.hard.len(), batch.soft.len()), expected);
        queue.undelivered.delivered(&batch);
        assert!(queue.is_empty() && !queue.undelivered.is_any());
        assert_eq!(queue.validity(&[path(1)]), Valid);
    }
}

#[test]
fn hard_invalidation_of_everything_includes_all_others() {
    let queue = Queue::new();
    queue.add(&[path(1), path(2)], Soft);
    queue.remove_value(&name("greeting"));
    queue.add(&[Scope::EVERYTHING], Hard);
    queue.add(&[path(3)], Hard);
    assert_eq!(queue.undelivered.count(), 1);
    assert_eq!(queue.validity(&[path(9)]), Invalid);
    let batch = queue.next();
    assert_eq!(batch.hard, [Scope::EVERYTHING]);
    assert!(batch.soft.is_empty() && batch.values.is_empty());
}

#[test]
fn soft_invalidation_of_everything_leaves_hard_ones() {
    let queue = Queue::new();
    queue.add(&[path(1)], Hard);
    queue.add(&[Scope::EVERYTHING], Soft);
    assert_eq!((queue.validity(&[path(1)]), queue.validity(&[path(2)])), (Invalid, Stale));
    let batch = queue.next();
    assert_eq!((batch.hard, batch.soft), (vec![path(1)], vec![Scope::EVERYTHING]));
}

#[test]
fn scope_added_during_its_delivery_stays_queued() {
    for all in [false, true] {
        let queue = Queue::new();
        let scope = if all { Scope::EVERYTHING } else { path(1) };
        queue.add(&[scope], Hard);
        queue.add(&[path(2)], Hard);
        let batch = queue.next();
        queue.add(&[path(1)], Soft);
        queue.undelivered.delivered(&batch);
        assert_eq!(queue.undelivered.count(), 1, "only the added scope waits");
        assert_eq!(queue.validity(&[path(1)]), Invalid, "the scope stays hard");
        queue.deliver_next();
        assert!(queue.is_empty());
    }
}

#[test]
fn full_queue_merges_each_namespace_into_everything() {
    let queue = Queue::new();
    queue.add_in("blog", &[path(0)], Soft);
    let all: Vec<_> = (1..MAX_SCOPES).map(path).collect();
    queue.add(&all, Soft);
    assert_eq!(queue.undelivered.count(), MAX_SCOPES);
    assert_eq!(queue.validity(&[Scope::tag("unnamed")]), Valid);
    let batch = queue.next();
    queue.add(&[path(0)], Soft);
    assert_eq!(queue.undelivered.count(), 2, "one scope for each namespace");
    for namespace in [NAMESPACE, "blog"] {
        assert_eq!(queue.undelivered.validity(namespace, &[Scope::tag("unnamed")], &[]), Invalid);
    }
    queue.undelivered.delivered(&batch);
    assert_eq!(queue.undelivered.count(), 2, "the batch was made before the merge");
    queue.deliver_next();
    queue.deliver_next();
    assert!(queue.is_empty());
}

#[test]
fn too_many_namespaces_make_every_entry_invalid() {
    let queue = Queue::new();
    let generations = queue.generations();
    for number in 0..=MAX_NAMESPACES {
        queue.undelivered.add(&number.to_string(), &generations, &[path(1)], Hard, None);
    }
    assert_eq!(queue.undelivered.count(), MAX_NAMESPACES);
    assert_eq!(queue.validity(&[]), Invalid);
    while queue.undelivered.is_waiting() {
        queue.deliver_next();
    }
    assert!(queue.is_empty() && queue.undelivered.is_any());
    assert_eq!(queue.validity(&[]), Invalid, "one invalidation is never delivered");
    queue.add(&[path(1)], Hard);
    assert_eq!(queue.next().hard, [path(1)], "other invalidations are delivered");
}

#[test]
fn namespaces_are_delivered_in_order_and_a_postponed_one_last() {
    let queue = Queue::new();
    ["a", "b", "a", "c"].iter().for_each(|namespace| queue.add_in(namespace, &[path(1)], Hard));
    assert_eq!(queue.next().namespace, "a");
    queue.postpone_next();
    assert_eq!(queue.next().namespace, "b");
    let batch = queue.next();
    queue.add_in("b", &[path(2)], Hard);
    queue.undelivered.delivered(&batch);
    let rest = std::iter::from_fn(|| {
        let batch = queue.undelivered.next(Instant::now())?;
        queue.undelivered.delivered(&batch);
        Some(batch.namespace)
    });
    assert_eq!(rest.collect::<Vec<_>>(), ["c", "a", "b"]);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn refused_namespace_waits_for_its_backoff() {
    let queue = Queue::new();
    ["a", "b"].iter().for_each(|namespace| queue.add_in(namespace, &[path(1)], Hard));
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let refused = queue.next();
        assert_eq!(refused.namespace, "a", "a refused namespace that is due comes first");
        queue.undelivered.refuse(&refused, Instant::now());
        assert_eq!(queue.next().namespace, "b");
        queue.add_in("a", &[path(2)], Hard);
        assert_eq!(queue.next().namespace, "b", "an addition does not shorten the back-off");
        queue.postpone_next();
        let due = queue.undelivered.next_due().expect("a is refused");
        longest = longest.max(due - Instant::now());
        tokio::time::advance(due - Instant::now()).await;
    }
    assert!((Duration::from_secs(10)..=Duration::from_secs(20)).contains(&longest), "{longest:?}");
    assert_eq!(queue.undelivered.count(), 3);
    queue.deliver_next();
    assert_eq!((queue.undelivered.next_due(), queue.next().namespace.as_str()), (None, "b"));
}

#[tokio::test(start_paused = true)]
async fn refused_namespaces_and_others_take_turns() {
    let queue = Queue::new();
    for number in 0..100 {
        queue.add_in(&format!("refused {number}"), &[path(1)], Hard);
        queue.undelivered.refuse(&queue.next(), Instant::now());
    }
    ["a", "b"].iter().for_each(|namespace| queue.add_in(namespace, &[path(1)], Hard));
    for expected in ["a", "b"].repeat(10) {
        tokio::time::advance(Duration::from_secs(3600)).await;
        let batch = queue.next();
        assert!(batch.namespace.starts_with("refused"));
        queue.undelivered.refuse(&batch, Instant::now());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(queue.next().namespace, expected, "others are due, too");
        queue.postpone_next();
    }
}

#[tokio::test(start_paused = true)]
async fn refused_namespace_does_not_hold_the_circuit() {
    let queue = Queue::new();
    assert!(!queue.undelivered.holds_circuit());
    queue.add_in("a", &[path(1)], Hard);
    assert!(queue.undelivered.holds_circuit());
    queue.undelivered.refuse(&queue.next(), Instant::now());
    assert!(!queue.undelivered.holds_circuit() && queue.undelivered.is_waiting());
    queue.add_in("a", &[path(2)], Hard);
    assert!(!queue.undelivered.holds_circuit());
    queue.add_in("b", &[path(1)], Hard);
    assert!(queue.undelivered.holds_circuit());
    queue.deliver_next();
    assert!(!queue.undelivered.holds_circuit());
    tokio::time::advance(Duration::from_secs(1)).await;
    queue.postpone_next();
    assert!(queue.undelivered.holds_circuit(), "the store does not answer any more");
}

#[test]
fn invalidation_does_not_affect_other_namespaces() {
    let queue = Queue::new();
    queue.add_in("blog", &[Scope::EVERYTHING], Hard);
    assert_eq!(queue.validity(&[path(1)]), Valid);
    assert_eq!(queue.undelivered.validity("blog", &[path(1)], &[]), Invalid);
}

#[test]
fn dependents_of_an_invalidated_value_are_invalid() {
    let queue = Queue::new();
    queue.remove_value(&name("greeting"));
    let made_from = |key: &str| {
        let scope = Scope::value(name(key).as_bytes());
        let dependency = Dependency::new(scope, Generation::new(1, 1));
        queue.undelivered.validity(NAMESPACE, &[path(1)], &[dependency])
    };
    assert_eq!((made_from("greeting"), made_from("farewell")), (Invalid, Valid));
}

#[test]
fn removal_survives_another_invalidation_of_its_scope() {
    let queue = Queue::new();
    let greeting = name("greeting");
    queue.remove_value(&greeting);
    queue.add(&[Scope::value(greeting.as_bytes())], Soft);
    assert_eq!(queue.next().values, [greeting]);
}

#[test]
fn removal_spares_only_an_entry_of_a_later_write() {
    let (queue, greeting) = (Queue::new(), name("greeting"));
    let [old, new] = [1, 2].map(|number| Entry(EntryKind::Counter(number)));
    let hidden = || queue.undelivered.hidden_entries(NAMESPACE, &greeting);
    let spare = |begun| queue.undelivered.spare(NAMESPACE, &greeting, begun, &new);
    assert_eq!(hidden(), HiddenEntries::None);
    let before = queue.undelivered.position();
    queue.remove_value(&greeting);
    spare(before);
    assert_eq!(hidden(), HiddenEntries::All, "the write began before the removal");
    spare(queue.undelivered.position());
    assert!(hidden().contains(&old) && !hidden().contains(&new));
    queue.add(&[Scope::value(greeting.as_bytes())], Hard);
    assert!(!hidden().contains(&new), "this invalidation removes no value");
    queue.add(&[Scope::VALUES], Hard);
    assert!(hidden().contains(&new), "all values are invalid");
    queue.deliver_next();
    queue.remove_value(&greeting);
    assert!(hidden().contains(&new), "a new removal spares no entry");
}
