//! The reply of the server with a record: the head, and the advances that a process lacks.

use crate::store::record::{Record, UnreadableRecord};
use crate::store::{Generation, Scope, Strength};
use redis::Value;
use std::sync::Arc;

/// The version of the format, the first digit of a head. A later version has a greater digit.
const VERSION: u8 = b'1';
/// The length of a head without its counter.
const FIXED: usize = 1 + 16 + 8;
/// The largest counter: Lua computes exactly with numbers of this size. A record with a larger
/// counter begins a new incarnation.
const MOST: u64 = 1 << 52;

/// Encodes the head of a record: version, incarnation, stamp, and the counter in decimal.
pub(super) fn head(generation: Generation) -> Vec<u8> {
    let (incarnation, stamp) = (generation.incarnation(), generation.stamp());
    format!("1{incarnation:016x}{stamp:08x}{}", generation.counter()).into_bytes()
}

/// Encodes an incarnation as in a head.
pub(super) fn incarnation(generation: Generation) -> Vec<u8> {
    format!("{:016x}", generation.incarnation()).into_bytes()
}

/// Decodes a head. Returns `None` if it is malformed, or if [`head`] encodes its generation differently:
/// the scripts compare heads as text.
pub(super) fn generation(bytes: &[u8]) -> Option<Generation> {
    let text = std::str::from_utf8(bytes).ok().filter(|_| bytes.first() == Some(&VERSION))?;
    let incarnation = u64::from_str_radix(text.get(1..17)?, 16).ok()?;
    let stamp = u32::from_str_radix(text.get(17..FIXED)?, 16).ok()?;
    let counter = text.get(FIXED..)?.parse().ok().filter(|counter| *counter < MOST)?;
    Some(Generation::new(incarnation, counter).with_stamp(stamp)).filter(|read| head(*read) == bytes)
}

/// The kind of an advance in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AdvanceKind {
    Hard = 0,
    Soft = 1,
    /// A value got its first dependent.
    Depend = 2,
    /// The advance that a snapshot contains.
    Snapshot = 3,
}

impl AdvanceKind {
    pub(super) fn of(strength: Strength) -> Self {
        match strength {
            Strength::Hard => Self::Hard,
            Strength::Soft => Self::Soft,
        }
    }

    /// Encodes an advance: its stamp, its kind and its scopes.
    pub(super) fn item(self, stamp: u32, scopes: &[Scope]) -> Vec<u8> {
        let mut item = Vec::with_capacity(5 + 16 * scopes.len());
        item.extend(stamp.to_le_bytes());
        item.push(self as u8);
        scopes.iter().for_each(|scope| item.extend(scope.to_bytes()));
        item
    }
}

/// Applies an advance in the log to a record. Returns `None` if the item is malformed.
fn repeat(record: &mut Record, item: &[u8]) -> Option<()> {
    let (stamp, rest) = item.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let (chunks, []) = rest.as_chunks::<16>() else { return None };
    let scopes: Vec<_> = chunks.iter().map(|bytes| Scope::from_bytes(*bytes)).collect::<Option<_>>()?;
    let stamp = u32::from_le_bytes(*stamp);
    match (kind, &*scopes) {
        (0, scopes) => record.repeat_bump(stamp, scopes, Strength::Hard),
        (1, scopes) => record.repeat_bump(stamp, scopes, Strength::Soft),
        (2, [value]) => record.repeat_depend(stamp, *value),
        _ => return None,
    }
    Some(())
}

/// The reply to a read or an advance.
#[derive(Debug, Default)]
pub(super) struct RecordReply {
    /// The head; empty if there is no record.
    pub(super) head: Vec<u8>,
    /// The snapshot to which `items` apply. `None` if they apply to the record that this process
    /// knows, or if the server has no usable record.
    snapshot: Option<Vec<u8>>,
    /// The advances after the snapshot, or after the record that this process knows. An advance that
    /// the server lacks is `None`.
    items: Vec<Option<Vec<u8>>>,
}

impl RecordReply {
    /// Parses a reply. Returns `None` if it is not an array.
    pub(super) fn new(value: Value) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let bytes = |value| match value {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        };
        let mut parts = parts.into_iter().map(bytes);
        let head = parts.next().flatten().unwrap_or_default();
        Some(Self { head, snapshot: parts.next().flatten(), items: parts.collect() })
    }

    /// Returns the record of this reply, or `None` if it is absent or malformed. `known` is the
    /// record from before the request.
    ///
    /// `inspect` gets the record before its last advance.
    ///
    /// # Errors
    /// Fails if a later version of this crate wrote the record.
    pub(super) fn record(
        &self,
        known: Option<&Arc<Record>>,
        inspect: impl FnOnce(&Record),
    ) -> Result<Option<Arc<Record>>, UnreadableRecord> {
        if self.head.first().is_some_and(|version| *version > VERSION) {
            return Err(UnreadableRecord::Newer);
        }
        let Some(now) = generation(&self.head) else { return Ok(None) };
        let mut record = match (&self.snapshot, known) {
            (Some(snapshot), _) => match Record::decode(snapshot) {
                Ok(record) => Arc::new(record),
                Err(UnreadableRecord::Newer) => return Err(UnreadableRecord::Newer),
                Err(UnreadableRecord::Malformed) => return Ok(None),
            },
            (None, Some(known)) => Arc::clone(known),
            (None, None) => return Ok(None),
        };
        let mut inspect = Some(inspect);
        for (at, item) in self.items.iter().enumerate() {
            if at + 1 == self.items.len()
                && let Some(inspect) = inspect.take()
            {
                inspect(&record);
            }
            let repeated = item.as_ref().and_then(|item| repeat(Arc::make_mut(&mut record), item));
            if repeated.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(record).filter(|record| record.generation() == now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_survives_encoding_and_other_bytes_are_malformed() {
        for all in [Generation::new(7, 0), Generation::new(u64::MAX, MOST - 1).with_stamp(u32::MAX)] {
            assert_eq!(generation(&head(all)), Some(all));
        }
        for malformed in [
            &b""[..],
            b"1",
            b"2000000000000000700000000 1",
            b"1000000000000000700000000",
            b"1zzzzzzzzzzzzzzzz000000001",
            b"1000000000000000700000000-1",
            b"1000000000000000700000000\xff",
            b"10000000000000007000000004503599627370496",
            b"100000000000000070000000001",
            b"1000000000000000700000000+1",
            b"1+00000000000007000000001",
            b"1000000000000000A000000001",
        ] {
            assert_eq!(generation(malformed), None, "{}", malformed.escape_ascii());
        }
    }

    #[test]
    fn log_repeats_the_advances_of_another_process() {
        let known = Arc::new(Record::new(None, None));
        let mut other = Record::clone(&known);
        let scopes = [Scope::tag("t"), Scope::subtree("/a"), Scope::EVERYTHING];
        let mut items = Vec::new();
        for strength in [Strength::Soft, Strength::Hard] {
            other.bump(&scopes, strength);
            let stamp = other.generation().stamp();
            items.push(Some(AdvanceKind::of(strength).item(stamp, &scopes)));
        }
        let reply = RecordReply { head: head(other.generation()), snapshot: None, items };
        let mut before = None;
        let record = reply.record(Some(&known), |record| before = Some(record.generation()));
        assert_eq!(record, Ok(Some(Arc::new(other))));
        assert_eq!(before.map(Generation::counter), Some(1));
        for missing in 0..2 {
            let mut items = reply.items.clone();
            items[missing] = None;
            let reply = RecordReply { head: reply.head.clone(), snapshot: None, items };
            assert_eq!(reply.record(Some(&known), |_| {}), Ok(None));
        }
    }
}
