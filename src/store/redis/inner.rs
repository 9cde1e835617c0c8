//! The state that all handles of a store share.

use super::confirmation::Confirmation;
use super::link::{Link, is_wrong_type, store_error};
use super::namespace::{NamespaceRecord, NamespaceRecords};
use super::read_queue::ReadQueue;
use super::recent_entries::{RecentEntries, RecentEntry};
use super::script::{REMOVE_UNREADABLE, ScriptCall, ServerScript};
use super::value::{KeySlot, ValueFormat, name};
use crate::clock::WallOffset;
use crate::entry::Entry;
use crate::key::KeyRef;
use crate::store::StoreError;
use bytes::Bytes;
use redis::{Cmd, RedisResult, Value};
use std::sync::Arc;
use std::time::Duration;

/// The state of a [`RedisStore`](super::RedisStore).
pub(super) struct RedisInner {
    pub(super) link: Link,
    /// The confirmation of advances by replicas, if the store requires it.
    pub(super) confirmation: Option<Confirmation>,
    pub(super) format: ValueFormat,
    pub(super) prefix: String,
    pub(super) max_ttl: Duration,
    pub(super) largest_entry: u64,
    pub(super) namespaces: NamespaceRecords,
    pub(super) reads: ReadQueue,
    pub(super) recent: RecentEntries,
}

/// The bytes after the key in a value that a script may read: kind, stamp, start of the frame.
const READ_BY_SCRIPTS: usize = 1 + 16 + 4;
/// The bytes of a value that the weight of its entry does not count.
const ENCODING: u64 = 1024;

impl RedisInner {
    pub(super) fn slot(&self, key: KeyRef<'_>) -> KeySlot {
        KeySlot::new(&self.prefix, key)
    }

    /// Returns the place of a key that is read.
    pub(super) fn recent(&self, key: KeyRef<'_>) -> Arc<RecentEntry> {
        self.recent.get(key, || self.slot(key))
    }

    /// Returns the known record of a namespace.
    pub(super) fn namespace(&self, namespace: &str) -> Arc<NamespaceRecord> {
        self.namespaces.get(namespace, || name(&self.prefix, "g", namespace.as_bytes()))
    }

    /// Returns the time to live of a record in milliseconds. It is longer than every TTL of an entry.
    pub(super) fn record_ttl(&self) -> u64 {
        2 * self.millis(None)
    }

    /// Returns the command that renews the time to live of a record.
    pub(super) fn renewal(&self, namespace: &NamespaceRecord) -> Cmd {
        let mut command = redis::cmd("PEXPIRE");
        command.arg(&namespace.key).arg(self.record_ttl());
        command
    }

    /// Returns a time to live in milliseconds, rounded up and limited to the longest TTL. Without a
    /// `ttl`, returns the longest TTL, since every key in the server expires.
    pub(super) fn millis(&self, ttl: Option<Duration>) -> u64 {
        let ttl = ttl.map_or(self.max_ttl, |ttl| ttl.min(self.max_ttl));
        u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// Returns the most bytes of a value. Longer ones are not from this store: an encoded entry is
    /// shorter than twice its weight and [`ENCODING`].
    fn most_bytes(&self, slot: &KeySlot) -> u64 {
        2 * self.largest_entry + slot.start.len() as u64 + ENCODING
    }

    /// Returns the command that reads the value of a key, at most one byte more than a value may
    /// have. A longer reply would delay all other commands of the connection.
    pub(super) fn get(&self, slot: &KeySlot) -> Cmd {
        let mut command = Cmd::with_capacity(4, slot.name.len() + 32);
        command.arg("GETRANGE").arg(&slot.name).arg(0).arg(self.most_bytes(slot));
        command
    }

    /// Decodes the reply to [`get`](Self::get). Values that are too long or cannot be decoded count
    /// as absent.
    pub(super) fn found(
        &self,
        slot: &KeySlot,
        reply: RedisResult<Value>,
    ) -> Result<Option<Entry>, StoreError> {
        match reply {
            Ok(Value::BulkString(value)) => Ok(self.opened(slot, value.into())),
            Ok(_) => Ok(None),
            Err(error) if is_wrong_type(&error) => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    /// Decodes the value of a recent entry. A value whose bytes have not changed is not decoded again.
    pub(super) fn opened_again(
        &self,
        recent: &RecentEntry,
        value: Bytes,
        offset: WallOffset,
    ) -> Option<Entry> {
        if let Some(entry) = recent.find(&value, offset) {
            return Some(entry);
        }
        let entry = self.opened(&recent.slot, value.clone())?;
        // The entry was decoded by the present offset.
        if self.format.clock.wall_offset() == offset {
            self.recent.keep(recent, value, &entry, offset);
        }
        Some(entry)
    }

    fn opened(&self, slot: &KeySlot, value: Bytes) -> Option<Entry> {
        let is_whole = value.len() as u64 <= self.most_bytes(slot);
        if is_whole { self.format.open(slot, value) } else { None }
    }

    /// Returns the call of a script for an entry.
    pub(super) fn call(
        &self,
        script: &'static ServerScript,
        slot: &KeySlot,
        others: impl IntoIterator<Item = Vec<u8>>,
    ) -> ScriptCall {
        let mut arguments = vec![slot.start.clone(), vec![self.format.kind()], Entry::FRAME_START.to_vec()];
        arguments.extend(others);
        ScriptCall { script, key: slot.name.clone(), arguments }
    }

    /// Removes a value that looks like an entry to the scripts of the server, but that cannot be
    /// decoded. Returns `false` if the key has a valid entry.
    pub(super) async fn remove_unreadable(&self, slot: &KeySlot) -> Result<bool, StoreError> {
        let reply = self.link.send(&self.get(slot)).await.map_err(store_error)?;
        let Value::BulkString(value) = reply else {
            // The value has expired or was removed.
            return Ok(true);
        };
        let start = value[..value.len().min(slot.start.len() + READ_BY_SCRIPTS)].to_vec();
        if self.opened(slot, value.into()).is_some() {
            return Ok(false);
        }
        let call = self.call(&REMOVE_UNREADABLE, slot, [start]);
        self.link.call(&call).await.map_err(store_error)?;
        Ok(true)
    }
}
