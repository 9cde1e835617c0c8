//! The record of a namespace: its counter, the last invalidations of its scopes, and their
//! encoding.

use super::super::incarnation::{new_incarnation, random};
use super::super::placement::{
    EVERYTHING, FIXED, MAX_NAMED, ROWS, ScopeSlot, Secret, TABLES, VALUES, row_buckets,
};
use super::super::{Generation, Scope, Strength, Validity};
use super::history::{History, MAX_STAMPS};
use super::wire::{RecordReader, number, seal, sealed};
use bytes::Bytes;
use std::collections::BTreeMap;

const VERSION: u8 = 4;
/// Each row of a group has `1 << BITS` buckets. After 800 invalidations, one unrelated scope in 90
/// counts as invalidated. A bucket takes room only after its first invalidation.
const BITS: u32 = 11;

/// The invalidations of a namespace, as decoded from the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Record {
    pub(in crate::store) history: History,
    /// The history of the previous incarnation, as far as it was known at the start of this
    /// incarnation.
    previous: Option<History>,
    /// The stamp of the last hard invalidation of everything or of all values.
    cleared: u32,
    secret: Secret,
    fixed: Box<[RecordMarks; FIXED]>,
    named: [BTreeMap<Scope, RecordMarks>; TABLES],
    /// The buckets, sorted by number. The bits of a number are the group, the row and the position
    /// in the row.
    buckets: Vec<(u16, Bucket)>,
}

/// The counters of the last hard and the last soft invalidation of a scope, or of the scopes that
/// share a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct RecordMarks {
    hard: u64,
    soft: u64,
}

/// The marks of a bucket. `has_dependents` is `true` if a value of the bucket ever had a dependent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    marks: RecordMarks,
    has_dependents: bool,
}

/// The reason why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum UnreadableRecord {
    /// The bytes are damaged, or an older version of this crate has written them.
    Malformed,
    /// A later version of this crate has written the bytes.
    Newer,
}

impl RecordMarks {
    fn bump(&mut self, strength: Strength, to: u64) {
        match strength {
            Strength::Hard => self.hard = to,
            Strength::Soft => self.soft = to,
        }
    }

    fn exceed(self, counter: u64) -> (bool, bool) {
        (self.hard > counter, self.soft > counter)
    }
}

impl Record {
    /// Begins an incarnation that is later than the incarnation `after`. `previous` is the history
    /// of the previous incarnation, if this process knows that history.
    pub(in crate::store) fn new(after: Option<u64>, previous: Option<History>) -> Self {
        Self { previous, ..Self::starting_at(Generation::new(new_incarnation(after), 0)) }
    }

    pub(in crate::store) fn starting_at(first: Generation) -> Self {
        Self::empty(History::new(first), 0, Secret(random(), random()))
    }

    fn empty(history: History, cleared: u32, secret: Secret) -> Self {
        let (previous, fixed, named, buckets) = Default::default();
        Self { history, previous, cleared, secret, fixed, named, buckets }
    }

    pub(in crate::store) fn generation(&self) -> Generation {
        self.history.generation()
    }

    /// Returns `true` if this record has all advances up to a known generation. The history of this
    /// record must [follow](History::follows) the generation.
    pub(in crate::store) fn succeeds(&self, known: Generation) -> bool {
        known.incarnation() >= self.generation().incarnation()
            || self.previous.as_ref().is_some_and(|previous| previous.contains(known))
    }

    /// Returns the generation of the last hard invalidation of everything or of all values.
    pub(in crate::store) fn cleared(&self) -> Generation {
        let incarnation = self.generation().incarnation();
        let counter = self.fixed[EVERYTHING].hard.max(self.fixed[VALUES].hard);
        Generation::new(incarnation, counter).with_stamp(self.cleared)
    }

    pub(in crate::store) fn bump(&mut self, scopes: &[Scope], strength: Strength) {
        let to = self.history.advance();
        self.mark(scopes, strength, to);
    }

    /// Repeats an advance of another process, with the stamp of that advance.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn repeat_bump(&mut self, stamp: u32, scopes: &[Scope], strength: Strength) {
        let to = self.history.advance_with(stamp);
        self.mark(scopes, strength, to);
    }

    /// Sets the marks of scopes to the counter of the last advance.
    fn mark(&mut self, scopes: &[Scope], strength: Strength, to: u64) {
        let clears_values = |scope: &Scope| matches!(*scope, Scope::EVERYTHING | Scope::VALUES);
        if strength == Strength::Hard && scopes.iter().any(clears_values) {
            self.cleared = self.generation().stamp();
        }
        for &scope in scopes {
            let group = match ScopeSlot::of(scope) {
                ScopeSlot::Fixed(at) => {
                    self.fixed[at].bump(strength, to);
                    continue;
                }
                ScopeSlot::Named { table, group } => {
                    let names = &mut self.named[table];
                    if names.len() < MAX_NAMED || names.contains_key(&scope) {
                        names.entry(scope).or_default().bump(strength, to);
                        continue;
                    }
                    group
                }
                ScopeSlot::Rows { group } => group,
            };
            self.bucket_numbers(scope, group)
                .into_iter()
                .for_each(|at| self.bucket(at).marks.bump(strength, to));
        }
    }

    /// Returns the state of an entry with this scope and generation. The entry is invalid unless
    /// the history contains the generation.
    pub(in crate::store) fn validity_since(&self, scope: Scope, since: Generation) -> Validity {
        if !self.history.contains(since) {
            return Validity::Invalid;
        }
        let since = since.counter();
        let group = match ScopeSlot::of(scope) {
            ScopeSlot::Fixed(at) => return Validity::of(self.fixed[at].exceed(since)),
            ScopeSlot::Named { table, group } => match self.named[table].get(&scope) {
                Some(marks) => return Validity::of(marks.exceed(since)),
                None if self.named[table].len() < MAX_NAMED => return Validity::Valid,
                None => group,
            },
            ScopeSlot::Rows { group } => group,
        };
        let numbers = self.bucket_numbers(scope, group).into_iter();
        Validity::of_buckets(numbers.map(|at| self.bucket_or_empty(at).marks.exceed(since)))
    }

    /// Records that a value has a dependent. The first dependent of a value advances the record.
    /// Otherwise, no process would notice that the record went back to a state without the
    /// dependent.
    pub(super) fn depend(&mut self, value: Scope) {
        if !self.has_dependents(value) {
            self.mark_dependent(value);
            self.history.advance();
        }
    }

    /// Applies a [`depend`](Self::depend) of another process to this copy of the record. `stamp` is
    /// the stamp that the other process gave the advance.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn repeat_depend(&mut self, stamp: u32, value: Scope) {
        self.mark_dependent(value);
        self.history.advance_with(stamp);
    }

    fn mark_dependent(&mut self, value: Scope) {
        if let ScopeSlot::Rows { group } = ScopeSlot::of(value) {
            for at in self.bucket_numbers(value, group) {
                self.bucket(at).has_dependents = true;
            }
        }
    }

    pub(in crate::store) fn has_dependents(&self, value: Scope) -> bool {
        match ScopeSlot::of(value) {
            ScopeSlot::Rows { group } => self
                .bucket_numbers(value, group)
                .into_iter()
                .all(|at| self.bucket_or_empty(at).has_dependents),
            ScopeSlot::Fixed(_) | ScopeSlot::Named { .. } => true,
        }
    }

    /// Returns the numbers of a scope's buckets, one in each row.
    fn bucket_numbers(&self, scope: Scope, group: usize) -> [u16; ROWS] {
        let mut row = group * ROWS;
        row_buckets(self.secret.hash(scope), BITS).map(|number| {
            let number = (row << BITS) + number;
            row += 1;
            number as u16
        })
    }

    fn bucket_or_empty(&self, number: u16) -> Bucket {
        let at = self.buckets.binary_search_by_key(&number, |(number, _)| *number);
        at.map(|at| self.buckets[at].1).unwrap_or_default()
    }

    fn bucket(&mut self, number: u16) -> &mut Bucket {
        let at = match self.buckets.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => at,
            Err(at) => {
                self.buckets.insert(at, (number, Bucket::default()));
                at
            }
        };
        &mut self.buckets[at].1
    }

    pub(in crate::store) fn encode(&self) -> Bytes {
        let mut to = Vec::with_capacity(64 + 4 * MAX_STAMPS + 8 * self.buckets.len());
        to.push(VERSION);
        self.history.write(&mut to);
        to.push(u8::from(self.previous.is_some()));
        self.previous.iter().for_each(|previous| previous.write(&mut to));
        to.extend(self.cleared.to_le_bytes());
        to.extend(self.secret.0.to_le_bytes());
        to.extend(self.secret.1.to_le_bytes());
        self.fixed.iter().for_each(|marks| self.write(*marks, &mut to));
        for names in &self.named {
            number(names.len() as u64, &mut to);
            for (scope, marks) in names {
                to.extend(scope.to_bytes());
                self.write(*marks, &mut to);
            }
        }
        let mut next = 0;
        for (at, bucket) in &self.buckets {
            number((u64::from(*at) - next) << 1 | u64::from(bucket.has_dependents), &mut to);
            self.write(bucket.marks, &mut to);
            next = u64::from(*at) + 1;
        }
        seal(&mut to);
        to.into()
    }

    /// Writes marks as ages, which are mostly small numbers.
    fn write(&self, marks: RecordMarks, to: &mut Vec<u8>) {
        let counter = self.generation().counter();
        for mark in [marks.hard, marks.soft] {
            number(if mark == 0 { 0 } else { counter - mark + 1 }, to);
        }
    }

    /// Decodes a record from untrusted bytes.
    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, UnreadableRecord> {
        match bytes.first() {
            Some(&version) if version > VERSION => Err(UnreadableRecord::Newer),
            _ => Self::read(bytes).ok_or(UnreadableRecord::Malformed),
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = RecordReader(sealed(bytes)?);
        if from.bytes()? != [VERSION] {
            return None;
        }
        let history = History::read(&mut from)?;
        let counter = history.generation().counter();
        // Rejects an exhausted counter, and an incarnation that begins in the far future.
        if counter >= 1 << 63 || !history.is_believable() {
            return None;
        }
        let previous = match from.bytes()? {
            [0] => None,
            [1] => Some(History::read(&mut from)?),
            _ => return None,
        };
        let cleared = from.bytes().map(u32::from_le_bytes)?;
        let secret = Secret(from.fixed()?, from.fixed()?);
        let mut record = Self { previous, ..Self::empty(history, cleared, secret) };
        for at in 0..FIXED {
            record.fixed[at] = marks(&mut from, counter)?;
        }
        for table in 0..TABLES {
            for _ in 0..from.number().filter(|len| *len <= MAX_NAMED as u64)? {
                let scope = Scope::from_bytes(from.bytes()?)?;
                let is_new = record.named[table].insert(scope, marks(&mut from, counter)?).is_none();
                match ScopeSlot::of(scope) {
                    ScopeSlot::Named { table: own, .. } if own == table && is_new => {}
                    _ => return None,
                }
            }
        }
        let mut next = 0;
        while !from.0.is_empty() {
            let number = from.number()?;
            let at = u16::try_from((number >> 1).checked_add(next)?).ok()?;
            let bucket = Bucket { marks: marks(&mut from, counter)?, has_dependents: number & 1 == 1 };
            record.buckets.push((at, bucket));
            next = u64::from(at) + 1;
        }
        Some(record)
    }
}

fn marks(from: &mut RecordReader<'_>, counter: u64) -> Option<RecordMarks> {
    Some(RecordMarks { hard: mark(from, counter)?, soft: mark(from, counter)? })
}

fn mark(from: &mut RecordReader<'_>, counter: u64) -> Option<u64> {
    match from.number()? {
        0 => Some(0),
        age if age <= counter => Some(counter - age + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scope() -> impl Strategy<Value = Scope> {
        (0..7_usize, 0..50_u32, any::<bool>()).prop_map(|(kind, name, is_on_host)| {
            let name = format!("/{name}");
            let scope = match kind {
                0 => Scope::EVERYTHING,
                1 => Scope::path(&name),
                2 => Scope::uri("/", None),
                3 => Scope::subtree(&name),
                4 => Scope::tag(&name),
                5 => Scope::VALUES,
                _ => return Scope::value(name.as_bytes()),
            };
            if is_on_host { scope.on_host(&name) } else { scope }
        })
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn record_survives_encoding(
            counter in 0..(1_u64 << 63) - 100,
            raised in prop::collection::vec((prop::collection::vec(scope(), 0..5), any::<bool>()), 0..40),
            has_dependents in prop::collection::vec(scope(), 0..5),
            has_previous in any::<bool>(),
        ) {
            let mut record = Record::starting_at(Generation::new(1, counter));
            record.previous = has_previous.then(|| History::new(Generation::new(0, 7).with_stamp(9)));
            for (scopes, is_soft) in &raised {
                record.bump(scopes, if *is_soft { Strength::Soft } else { Strength::Hard });
            }
            has_dependents.into_iter().for_each(|value| record.depend(value));
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn older_entries_of_a_scope_are_invalid_and_later_ones_valid(
            raised in prop::collection::vec((scope(), any::<bool>()), 1..40),
        ) {
            let mut record = Record::new(None, None);
            let before = record.generation();
            let mut hard = std::collections::BTreeSet::new();
            for (scope, is_hard) in raised {
                record.bump(&[scope], if is_hard { Strength::Hard } else { Strength::Soft });
                hard.extend(is_hard.then_some(scope));
                let expected = if hard.contains(&scope) { Validity::Invalid } else { Validity::Stale };
                prop_assert_eq!(record.validity_since(scope, before), expected);
                prop_assert_eq!(record.validity_since(scope, record.generation()), Validity::Valid);
            }
        }

        #[test]
        fn arbitrary_bytes_decode_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            is_current in any::<bool>(),
        ) {
            if let (true, Some(version)) = (is_current, bytes.first_mut()) {
                *version = VERSION;
                seal(&mut bytes);
            }
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
            }
        }

        #[test]
        fn damaged_record_is_rejected(at in 0..200_usize, byte in any::<u8>()) {
            let mut record = Record::new(None, None);
            record.bump(&[Scope::subtree("/a"), Scope::tag("t"), Scope::EVERYTHING.on_host("h")], Strength::Hard);
            let mut bytes = record.encode().to_vec();
            match bytes.get_mut(at) {
                Some(damaged) if *damaged != byte => *damaged = byte,
                _ => return Ok(()),
            }
            prop_assert!(Record::decode(&bytes).is_err());
        }
    }

    #[test]
    fn truncated_or_extended_record_is_malformed() {
        let mut record = Record::new(None, None);
        (0..20).for_each(|number| record.bump(&[Scope::tag(&number.to_string())], Strength::Hard));
        let bytes = record.encode();
        for cut in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..cut]), Err(UnreadableRecord::Malformed), "{cut}");
        }
        assert_eq!(Record::decode(&[&bytes[..], &[0]].concat()), Err(UnreadableRecord::Malformed));
    }

    #[test]
    fn later_version_is_newer_and_other_bytes_are_malformed() {
        let mut bytes = Record::new(None, None).encode().to_vec();
        for (version, expected) in [
            (VERSION + 1, UnreadableRecord::Newer),
            (0xff, UnreadableRecord::Newer),
            (1, UnreadableRecord::Malformed),
        ] {
            bytes[0] = version;
            assert_eq!(Record::decode(&bytes), Err(expected));
        }
        assert_eq!(Record::decode(b""), Err(UnreadableRecord::Malformed));
    }

    #[test]
    fn every_change_of_a_record_is_a_new_generation() {
        let mut record = Record::new(None, None);
        let value = Scope::value(b"v");
        let changes: [fn(&mut Record, Scope); 2] =
            [|record, value| record.depend(value), |record, value| record.bump(&[value], Strength::Soft)];
        for change in changes {
            let before = record.generation();
            change(&mut record, value);
            assert!(record.generation().counter() > before.counter());
        }
        let before = record.clone();
        record.depend(value);
        assert_eq!(record, before, "the second call changes nothing");
    }

    #[test]
    fn record_with_an_exhausted_generation_is_malformed() {
        for (incarnation, counter) in [
            (7, 1 << 63),
            (7, u64::MAX),
            (u64::MAX, 0),
            (u64::from(u32::MAX) << 32, 0),
            (0xffff_fffe << 32, 0),
        ] {
            let record = Record::starting_at(Generation::new(incarnation, counter));
            assert_eq!(Record::decode(&record.encode()), Err(UnreadableRecord::Malformed));
        }
    }

    #[test]
    fn record_size_is_bounded() {
        let mut record = Record::new(None, None);
        for number in 0..40_000 {
            let name = format!("/{number}");
            let path = Scope::path(&name);
            record.bump(
                &[
                    path,
                    path.on_host("h"),
                    Scope::subtree(&name),
                    Scope::EVERYTHING.on_host(&name),
                    Scope::tag(&name),
                ],
                Strength::Hard,
            );
        }
        let size = record.encode().len();
        assert!(size < 300 << 10, "{size}");
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    /// Scopes beyond the exact tables share buckets, and their invalidations count, too.
    #[test]
    fn no_invalidation_is_lost_when_the_exact_tables_are_full() {
        let mut record = Record::new(None, None);
        let before = record.generation();
        let names = |number: u32| {
            let name = format!("/{number}");
            [Scope::subtree(&name), Scope::EVERYTHING.on_host(&name), Scope::subtree(&name).on_host("h")]
        };
        for number in 0..2 * MAX_NAMED as u32 {
            record.bump(&names(number), Strength::Hard);
            for scope in names(number) {
                assert_eq!(record.validity_since(scope, before), Validity::Invalid, "{number}");
                assert_eq!(record.validity_since(scope, record.generation()), Validity::Valid, "{number}");
            }
        }
        assert_eq!(record.named.each_ref().map(BTreeMap::len), [MAX_NAMED; TABLES]);
    }
}
