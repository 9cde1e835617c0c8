//! Random sequences of invalidations and deliveries, compared with a model.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A step of a random sequence.
#[derive(Debug, Clone)]
enum Step {
    Add { namespace: usize, scopes: Vec<usize>, strength: Strength },
    Begin,
    Succeed,
    Fail,
    Refuse,
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
    prop_oneof![4 => add, 2 => Just(Step::Begin), 2 => Just(Step::Succeed), 1 => Just(Step::Fail), 1 => Just(Step::Refuse)]
}

/// The undelivered calls of `add`: namespace, number of the call and scope, with `true` if hard.
type Model = BTreeMap<(usize, usize, usize), bool>;

fn expected(model: &Model, namespace: usize, scope: usize) -> Validity {
    let calls = model.iter().filter(|((of, _, named), _)| *of == namespace && [0, scope].contains(named));
    Validity::worst(calls.map(|(_, is_hard)| if *is_hard { Invalid } else { Stale }))
}

/// Returns `true` if an invalidation of everything in a namespace is undelivered.
fn is_all(queue: &Queue, namespace: usize) -> bool {
    queue.undelivered.validity(NAMESPACES[namespace], &[], &[]) != Valid
}

proptest! {
    /// Each call of `add` counts until the success of a delivery that began after the call.
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
                    running = queue.undelivered.next(later()).map(|batch| (batch, number));
                }
                Step::Succeed => {
                    if let Some((batch, began)) = running.take() {
                        let covered: BTreeSet<_> = batch.hard.iter().chain(&batch.soft).collect();
                        prop_assert!(!covered.is_empty());
                        queue.undelivered.delivered(&batch);
                        model.retain(|(of, at, _), _| NAMESPACES[*of] != batch.namespace || *at > began);
                    }
                }
                Step::Fail => {
                    running.take().iter().for_each(|(batch, _)| queue.undelivered.postpone(batch));
                }
                Step::Refuse => {
                    let now = Instant::now();
                    running.take().iter().for_each(|(batch, _)| queue.undelivered.refuse(batch, now));
                }
                Step::Begin => {}
            }
            for (namespace, name) in NAMESPACES.iter().enumerate() {
                for scope in 1..7 {
                    let found = queue.undelivered.validity(name, &[numbered(scope)], &[]);
                    let least = expected(&model, namespace, scope);
                    // A scope that was added again during its delivery keeps the greater strength.
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
