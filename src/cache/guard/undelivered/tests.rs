//! Tests of the queue of undelivered invalidations.

use super::*;
use crate::entry::Generation;
use crate::store::{MemoryStore, Store};
use Strength::{Hard, Soft};
use Validity::{Invalid, Stale, Valid};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NAMESPACE: &str = "shop";

/// A queue, with the generations of a memory store for each namespace.
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
        self.undelivered.next().expect("a batch")
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
        assert_eq!(is_empty, self.undelivered.next().is_none());
        is_empty
    }
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
fn addition_during_a_delivery_goes_on_waiting() {
    for all in [false, true] {
        let queue = Queue::new();
        let scope = if all { Scope::EVERYTHING } else { path(1) };
        queue.add(&[scope], Hard);
        queue.add(&[path(2)], Hard);
        let batch = queue.next();
        queue.add(&[path(1)], Soft);
        queue.undelivered.delivered(&batch);
        assert_eq!(queue.undelivered.count(), 1, "the other one is delivered");
        assert_eq!(queue.validity(&[path(1)]), Invalid, "with the strength of both");
        queue.deliver_next();
        assert!(queue.is_empty());
    }
}

#[test]
fn full_queue_becomes_everything_of_each_namespace() {
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
    assert_eq!(queue.undelivered.count(), 2, "this batch was made before");
    queue.deliver_next();
    queue.deliver_next();
    assert!(queue.is_empty());
}

#[test]
fn more_namespaces_than_fit_leave_no_entry_trusted() {
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
    assert_eq!(queue.next().hard, [path(1)], "others are");
}

#[test]
fn namespaces_are_delivered_in_order_and_a_postponed_one_last() {
    let queue = Queue::new();
    ["a", "b", "a", "c"].iter().for_each(|namespace| queue.add_in(namespace, &[path(1)], Hard));
    assert_eq!(queue.next().namespace, "a");
    queue.undelivered.postpone();
    assert_eq!(queue.next().namespace, "b");
    let batch = queue.next();
    queue.add_in("b", &[path(2)], Hard);
    queue.undelivered.delivered(&batch);
    let rest = std::iter::from_fn(|| {
        let batch = queue.undelivered.next()?;
        queue.undelivered.delivered(&batch);
        Some(batch.namespace)
    });
    assert_eq!(rest.collect::<Vec<_>>(), ["c", "a", "b"]);
    queue.undelivered.postpone();
    assert!(queue.is_empty());
}

#[test]
fn other_namespaces_are_not_affected() {
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
fn value_to_remove_survives_another_invalidation_of_its_scope() {
    let queue = Queue::new();
    let greeting = name("greeting");
    queue.remove_value(&greeting);
    queue.add(&[Scope::value(greeting.as_bytes())], Soft);
    assert_eq!(queue.next().values, [greeting]);
}

/// A step of a random sequence.
#[derive(Debug, Clone)]
enum Step {
    Add { namespace: usize, scopes: Vec<usize>, strength: Strength },
    Begin,
    Succeed,
    Fail,
}

const NAMESPACES: [&str; 3] = ["a", "b", "c"];

/// Scopes by number: 0 is everything.
fn numbered(number: usize) -> Scope {
    if number == 0 { Scope::EVERYTHING } else { path(number) }
}

fn step() -> impl Strategy<Value = Step> {
    let strength = prop_oneof![Just(Hard), Just(Soft)];
    let add = (0..3_usize, proptest::collection::vec(0..6_usize, 1..4), strength);
    let add = add.prop_map(|(namespace, scopes, strength)| Step::Add { namespace, scopes, strength });
    prop_oneof![4 => add, 2 => Just(Step::Begin), 2 => Just(Step::Succeed), 1 => Just(Step::Fail)]
}

/// The undelivered calls of `add`, one by one: namespace, number of the call, scope, strength.
type Model = BTreeMap<(usize, usize, usize), bool>;

fn expected(model: &Model, namespace: usize, scope: usize) -> Validity {
    let calls = model.iter().filter(|((of, _, named), _)| *of == namespace && [0, scope].contains(named));
    Validity::worst(calls.map(|(_, is_hard)| if *is_hard { Invalid } else { Stale }))
}

/// Returns `true` if everything in a namespace waits.
fn is_all(queue: &Queue, namespace: usize) -> bool {
    queue.undelivered.validity(NAMESPACES[namespace], &[], &[]) != Valid
}

proptest! {
    /// Each call of `add` counts until a delivery that began after it succeeds.
    #[test]
    fn queue_is_never_weaker_than_a_list_of_all_calls(steps in proptest::collection::vec(step(), 1..60)) {
        let queue = Queue::new();
        let mut model = Model::new();
        let mut running: Option<(Batch, usize)> = None;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Add { namespace, scopes, strength } => {
                    let named: Vec<_> = scopes.iter().map(|scope| numbered(*scope)).collect();
                    queue.add_in(NAMESPACES[namespace], &named, strength);
                    for scope in scopes {
                        model.insert((namespace, number, scope), strength == Hard);
                    }
                }
                Step::Begin if running.is_none() => {
                    running = queue.undelivered.next().map(|batch| (batch, number));
                }
                Step::Succeed => {
                    if let Some((batch, began)) = running.take() {
                        let covered: BTreeSet<_> = batch.hard.iter().chain(&batch.soft).collect();
                        prop_assert!(!covered.is_empty());
                        queue.undelivered.delivered(&batch);
                        model.retain(|(of, at, _), _| NAMESPACES[*of] != batch.namespace || *at > began);
                    }
                }
                Step::Fail if running.take().is_some() => queue.undelivered.postpone(),
                Step::Begin | Step::Fail => {}
            }
            for (namespace, name) in NAMESPACES.iter().enumerate() {
                for scope in 1..7 {
                    let found = queue.undelivered.validity(name, &[numbered(scope)], &[]);
                    let least = expected(&model, namespace, scope);
                    // A scope that was added again during its delivery keeps the strength of both.
                    prop_assert_eq!(Validity::worst([found, least].into_iter()), found);
                    let is_named = model.keys().any(|(of, _, named)| *of == namespace && [0, scope].contains(named));
                    prop_assert!(is_named || found == Valid || is_all(&queue, namespace));
                }
            }
            prop_assert_eq!(queue.is_empty(), model.is_empty());
            prop_assert_eq!(queue.undelivered.is_any(), !model.is_empty());
            prop_assert!(queue.undelivered.count() <= model.len());
        }
    }
}
