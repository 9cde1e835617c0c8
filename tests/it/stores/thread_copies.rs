//! A thread keeps a copy of a hot entry. The thread does not use the copy after a write to the entry
//! or after the entry's lifetime.

use crate::support::*;
use proptest::prelude::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tower_response_cache::MemoryStore;
use tower_response_cache::Store;
use tower_response_cache::clock::Clock;
use tower_response_cache::store::{Entry, InitialCounter, KeyRef, PutMode};

const KEY: &[u8] = b"hot";
/// More look-ups than a thread needs before it keeps a copy of an entry.
const LOOKUPS: usize = 40;

fn get_now(store: &MemoryStore) -> Option<Entry> {
    futures::executor::block_on(store.get(KeyRef::new(KEY))).expect("local")
}

/// A thread that reads the entry on request. If the request is `true`, the thread first looks the
/// entry up until it has a copy.
struct Reader {
    ask: Sender<bool>,
    answers: Receiver<Option<Entry>>,
}

impl Reader {
    fn of(store: &MemoryStore) -> Self {
        let (ask, requests) = channel();
        let (answer, answers) = channel();
        let store = store.clone();
        std::thread::spawn(move || {
            for heats in requests {
                let lookups = if heats { LOOKUPS } else { 0 };
                (0..lookups).for_each(|_| drop(get_now(&store)));
                if answer.send(get_now(&store)).is_err() {
                    return;
                }
            }
        });
        Self { ask, answers }
    }

    fn read(&self, heats: bool) -> Option<Entry> {
        self.ask.send(heats).expect("the thread runs");
        self.answers.recv().expect("the thread runs")
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Put(i64, Option<u64>),
    PutIfAbsent(i64, Option<u64>),
    PutTooLarge,
    Remove,
    Increment(i64),
    CompareAndSet(i64, i64, Option<u64>),
    Touch(Option<u64>),
    Advance(u64),
}

fn operations() -> impl Strategy<Value = Vec<(Operation, bool)>> {
    use Operation::*;
    let (value, ttl) = (0..4_i64, proptest::option::of(0..5_u64));
    let one = prop_oneof![
        3 => (value.clone(), ttl.clone()).prop_map(|(value, ttl)| Put(value, ttl)),
        1 => (value.clone(), ttl.clone()).prop_map(|(value, ttl)| PutIfAbsent(value, ttl)),
        1 => Just(PutTooLarge),
        1 => Just(Remove),
        1 => value.clone().prop_map(Increment),
        1 => (value.clone(), value, ttl.clone()).prop_map(|(old, new, ttl)| CompareAndSet(old, new, ttl)),
        2 => ttl.prop_map(Touch),
        3 => (1..4_u64).prop_map(Advance),
    ];
    proptest::collection::vec((one, any::<bool>()), 1..24)
}

/// The entry of a store: its value and its time of expiry, in seconds.
#[derive(Default)]
struct Model {
    now: u64,
    entry: Option<(i64, Option<u64>)>,
}

impl Model {
    fn value(&self) -> Option<i64> {
        let (value, until) = self.entry?;
        until.is_none_or(|until| self.now < until).then_some(value)
    }

    fn set(&mut self, value: i64, ttl: Option<u64>) {
        self.entry = (ttl != Some(0)).then(|| (value, ttl.map(|ttl| self.now + ttl)));
    }

    fn apply(&mut self, operation: &Operation) {
        let value = self.value();
        match *operation {
            Operation::Put(new, ttl) => self.set(new, ttl),
            Operation::PutIfAbsent(new, ttl) if value.is_none() => self.set(new, ttl),
            Operation::CompareAndSet(old, new, ttl) if value == Some(old) => self.set(new, ttl),
            Operation::Increment(by) if value.is_some() => {
                self.entry = self.entry.map(|(value, until)| (value + by, until));
            }
            Operation::Touch(ttl) => value.into_iter().for_each(|value| self.set(value, ttl)),
            Operation::PutTooLarge | Operation::Remove => self.entry = None,
            Operation::Advance(seconds) => self.now += seconds,
            _ => {}
        }
    }
}

async fn write(store: &MemoryStore, operation: &Operation) {
    let key = KeyRef::new(KEY);
    let seconds = |ttl: Option<u64>| ttl.map(Duration::from_secs);
    let counter = Entry::counter;
    match *operation {
        Operation::Put(value, ttl) => {
            drop(store.put(key, counter(value), seconds(ttl), PutMode::Always).await);
        }
        Operation::PutIfAbsent(value, ttl) => {
            drop(store.put(key, counter(value), seconds(ttl), PutMode::IfAbsent).await);
        }
        Operation::PutTooLarge => {
            drop(store.put(key, Entry::raw(vec![0; 1 << 20]), None, PutMode::Always).await);
        }
        Operation::Remove => drop(store.remove(key).await),
        Operation::Increment(by) => drop(store.increment(key, by, None::<InitialCounter>).await),
        Operation::CompareAndSet(old, new, ttl) => {
            drop(store.compare_and_set(key, Some(&counter(old)), counter(new), seconds(ttl)).await);
        }
        Operation::Touch(ttl) => drop(store.touch(key, seconds(ttl)).await),
        Operation::Advance(_) => {}
    }
}

proptest! {
    #![proptest_config(crate::support::cases(64))]

    #[test]
    fn every_thread_reads_the_last_write_until_it_expires(operations in operations()) {
        let (clock, manual) = Clock::manual();
        let store = MemoryStore::builder().max_bytes(1 << 20).clock(clock).build().expect("valid");
        let readers = [Reader::of(&store), Reader::of(&store)];
        let mut model = Model::default();
        for (operation, heats) in operations {
            futures::executor::block_on(write(&store, &operation));
            if let Operation::Advance(seconds) = operation {
                manual.advance(Duration::from_secs(seconds));
            }
            model.apply(&operation);
            for reader in &readers {
                prop_assert_eq!(reader.read(heats), model.value().map(Entry::counter), "{:?}", operation);
            }
        }
    }
}

#[test]
fn copies_of_an_expired_entry_are_not_served() {
    let (clock, manual) = Clock::manual();
    let store = MemoryStore::builder().max_bytes(1 << 20).clock(clock).build().expect("valid");
    let readers = [Reader::of(&store), Reader::of(&store)];
    let put = store.put(KeyRef::new(KEY), Entry::counter(1), Some(MINUTE), PutMode::Always);
    futures::executor::block_on(put).expect("local");
    for reader in &readers {
        assert_eq!(reader.read(true), Some(Entry::counter(1)));
    }
    manual.advance(MINUTE);
    for reader in &readers {
        assert_eq!(reader.read(false), None);
    }
}
