//! The operations on entries, as commands and scripts.

use super::inner::RedisInner;
use super::link::{store_error, unexpected_reply};
use super::namespace::NamespaceRecord;
use super::record_reply;
use super::script::{COMPARE_AND_SET, INCREMENT, ScriptCall};
use super::value::KeySlot;
use crate::entry::{Entry, Generation};
use crate::store::{InitialCounter, StoreError, StoreErrorKind};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};
use std::sync::Arc;
use std::time::Duration;

/// The most attempts to replace a value that cannot be decoded.
const TRIES: usize = 4;
/// The most attempts to add to an authenticated counter.
const INCREMENT_TRIES: usize = 256;

impl RedisInner {
    /// Returns `true` if an entry exceeds the limit.
    pub(super) fn is_too_large(&self, slot: &KeySlot, entry: &Entry) -> bool {
        entry.weight() + slot.start.len() as u64 > self.largest_entry
    }

    /// Returns the command that stores an entry unconditionally. For an entry that is too large or
    /// has a TTL of zero, returns the command that removes the old entry. The reply is `OK` only if
    /// the entry is stored.
    fn set(&self, slot: &KeySlot, entry: &Entry, ttl: Option<Duration>) -> Cmd {
        if ttl == Some(Duration::ZERO) || self.is_too_large(slot, entry) {
            return Self::delete(slot);
        }
        let mut command = redis::cmd("SET");
        command.arg(&slot.name).arg(self.format.seal(slot, entry)).arg("PX").arg(self.millis(ttl));
        command
    }

    fn delete(slot: &KeySlot) -> Cmd {
        let mut command = redis::cmd("DEL");
        command.arg(&slot.name);
        command
    }

    /// Reads entries and then the generation of a namespace, in one round trip. Returns no
    /// generation if it is older than the known one, or of another incarnation.
    pub(super) async fn get_at(
        &self,
        namespace: &Arc<NamespaceRecord>,
        slots: &[KeySlot],
    ) -> Result<(Vec<Option<Entry>>, Option<Generation>), StoreError> {
        let commands = slots.iter().map(|slot| self.get(slot)).collect();
        let reads = self.send_reads(commands, std::slice::from_ref(namespace)).await.map_err(store_error)?;
        let found = slots.iter().zip(reads.values).map(|(slot, value)| self.found(slot, value));
        Ok((found.collect::<Result<_, _>>()?, reads.generations.into_iter().next().flatten()))
    }

    /// Sends reads of entries, and then reads the generations of namespaces, in one round trip.
    pub(super) async fn send_reads(
        &self,
        mut commands: Vec<Cmd>,
        namespaces: &[Arc<NamespaceRecord>],
    ) -> RedisResult<ReadReplies> {
        let count = commands.len();
        // Read before the request. An older generation in the reply shows that the record went
        // back.
        let known: Vec<_> = namespaces.iter().map(|namespace| namespace.known_generation()).collect();
        // A single server runs the commands in order, so the generations are not older than an entry.
        commands.extend(namespaces.iter().map(|namespace| {
            let mut head = redis::cmd("HGET");
            head.arg(&namespace.key).arg("g");
            head
        }));
        // If a renewal fails, the next one comes long before the record expires. So its reply does not
        // count.
        let ttl = Duration::from_millis(self.record_ttl());
        let is_due = |(namespace, known): &(&Arc<NamespaceRecord>, &Option<_>)| {
            known.is_some() && namespace.begin_renewal(ttl)
        };
        let due = namespaces.iter().zip(&known).filter(is_due);
        commands.extend(due.map(|(namespace, _)| self.renewal(namespace)));
        let sent = commands.len();
        let mut values = self.link.send_all(commands).await?;
        if values.len() != sent {
            return Err(RedisError::from((ErrorKind::UnexpectedReturnType, "unexpected number of replies")));
        }
        values.truncate(count + namespaces.len());
        let heads = values.split_off(count);
        let generations = heads.into_iter().zip(known).map(|(head, known)| {
            let Ok(Value::BulkString(head)) = head else { return None };
            record_reply::generation(&head).filter(|read| follows(*read, known))
        });
        Ok(ReadReplies { values, generations: generations.collect() })
    }

    /// Stores several entries. If the server refuses a put, removes the old entry.
    pub(super) async fn put_all(
        &self,
        entries: Vec<(KeySlot, Entry, Option<Duration>)>,
    ) -> Result<Vec<bool>, StoreError> {
        let commands = entries.iter().map(|(slot, entry, ttl)| self.set(slot, entry, *ttl)).collect();
        let replies = self.link.send_all(commands).await.map_err(store_error)?;
        let refused = entries.iter().zip(&replies).filter(|(_, reply)| reply.is_err());
        let removals: Vec<_> = refused.map(|((slot, ..), _)| Self::delete(slot)).collect();
        for removed in self.link.send_all(removals).await.map_err(store_error)? {
            removed.map_err(store_error)?;
        }
        let replies: RedisResult<Vec<_>> = replies.into_iter().collect();
        Ok(replies.map_err(store_error)?.into_iter().map(|reply| reply == Value::Okay).collect())
    }

    /// Calls a script that takes effect unless an entry is present. Removes an entry that cannot be
    /// decoded, and calls the script again.
    pub(super) async fn unless_present(&self, slot: &KeySlot, call: ScriptCall) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            if is_done(self.link.call(&call).await)? {
                return Ok(true);
            }
            if !self.remove_unreadable(slot).await? {
                return Ok(false);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    pub(super) async fn compare_and_set(
        &self,
        slot: &KeySlot,
        expected: Option<&Entry>,
        new: &Entry,
        ttl: Option<Duration>,
    ) -> Result<bool, StoreError> {
        self.replace_entry(slot, expected, new, NewTtl::Set(ttl)).await
    }

    /// Replaces the expected entry. If the new entry is too large, only removes the expected one.
    async fn replace_entry(
        &self,
        slot: &KeySlot,
        expected: Option<&Entry>,
        new: &Entry,
        ttl: NewTtl,
    ) -> Result<bool, StoreError> {
        let is_too_large = self.is_too_large(slot, new);
        let millis = match ttl {
            _ if is_too_large => "0".to_owned(),
            NewTtl::Keep => "keep".to_owned(),
            NewTtl::Set(ttl) => self.millis(ttl).to_string(),
        };
        let value = if millis == "0" { Vec::new() } else { self.format.seal(slot, new) };
        let stamp = expected.map(|expected| self.format.stamp(expected)).unwrap_or_default();
        let call = self.call(&COMPARE_AND_SET, slot, [value, millis.into_bytes(), stamp]);
        let is_replaced = match expected {
            Some(_) => is_done(self.link.call(&call).await)?,
            None => self.unless_present(slot, call).await?,
        };
        Ok(is_replaced && !is_too_large)
    }

    /// Adds to a counter in the server.
    pub(super) async fn increment(
        &self,
        slot: &KeySlot,
        delta: i64,
        initial: Option<InitialCounter>,
    ) -> Result<i64, StoreError> {
        let is_never_stored = |initial: &InitialCounter| initial.ttl() == Some(Duration::ZERO);
        if let Some(initial) = initial.filter(is_never_stored)
            && self.found(slot, self.link.send(&self.get(slot)).await)?.is_none()
        {
            let sum = initial.value().checked_add(delta);
            return sum.ok_or(StoreError::new(StoreErrorKind::Overflow));
        }
        let value = initial.map(|initial| initial.value().to_string()).unwrap_or_default();
        let ttl = self.millis(initial.and_then(InitialCounter::ttl)).max(1);
        let arguments = [delta.to_string(), value, ttl.to_string()].map(String::into_bytes);
        let call = self.call(&INCREMENT, slot, arguments);
        for _ in 0..TRIES {
            let Value::BulkString(reply) = self.link.call(&call).await.map_err(store_error)? else {
                return Err(unexpected_reply());
            };
            let kind = match &*reply {
                b"missing" => StoreErrorKind::Missing,
                b"overflow" => StoreErrorKind::Overflow,
                b"not-a-number" if self.remove_unreadable(slot).await? => continue,
                b"not-a-number" => StoreErrorKind::NotANumber,
                sum => return parsed(sum).ok_or_else(unexpected_reply),
            };
            return Err(StoreError::new(kind));
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }

    /// Adds to an authenticated counter, which the server cannot sign.
    pub(super) async fn increment_signed(
        &self,
        slot: &KeySlot,
        delta: i64,
        initial: Option<InitialCounter>,
    ) -> Result<i64, StoreError> {
        for _ in 0..INCREMENT_TRIES {
            let found = self.found(slot, self.link.send(&self.get(slot)).await)?;
            let (value, ttl) = match (&found, initial) {
                (Some(entry), _) => {
                    let number = entry.as_counter().ok_or(StoreError::new(StoreErrorKind::NotANumber))?;
                    (number, NewTtl::Keep)
                }
                (None, Some(initial)) => (initial.value(), NewTtl::Set(initial.ttl())),
                (None, None) => return Err(StoreError::new(StoreErrorKind::Missing)),
            };
            let sum = value.checked_add(delta).ok_or(StoreError::new(StoreErrorKind::Overflow))?;
            if self.replace_entry(slot, found.as_ref(), &Entry::counter(sum), ttl).await? {
                return Ok(sum);
            }
        }
        Err(StoreError::new(StoreErrorKind::Contended))
    }
}

/// The replies to reads that were sent together.
pub(super) struct ReadReplies {
    /// The values of the entries, in the order of the reads.
    pub(super) values: Vec<RedisResult<Value>>,
    /// The generations of the namespaces. `None` if the server has none, or has one that is behind the
    /// known one.
    pub(super) generations: Vec<Option<Generation>>,
}

/// Returns `true` if a generation is the known one, or a later one of the same incarnation.
fn follows(read: Generation, known: Option<Generation>) -> bool {
    known.is_none_or(|known| {
        let is_later = read.counter() > known.counter();
        read == known || read.incarnation() == known.incarnation() && is_later
    })
}

/// The time to live of an entry that replaces another one.
#[derive(Debug, Clone, Copy)]
enum NewTtl {
    /// The remaining time of the replaced entry.
    Keep,
    Set(Option<Duration>),
}

fn parsed(number: &[u8]) -> Option<i64> {
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Returns `true` if a script returned 1.
pub(super) fn is_done(reply: RedisResult<Value>) -> Result<bool, StoreError> {
    match reply.map_err(store_error)? {
        Value::Int(done) => Ok(done == 1),
        _ => Err(unexpected_reply()),
    }
}
