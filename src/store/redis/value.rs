//! The format of stored values: the key in full, a stamp for compare-and-set, and the frame.
//!
//! ```text
//! "r1" | length of the key (4) | key | "e" | stamp (16) | frame            an entry
//! "r1" | length of the key (4) | key | "E" | stamp (16) | frame | MAC (32) an authenticated entry
//! "r1" | length of the key (4) | key | "n" | decimal number                a counter
//! ```
//!
//! The scripts of the server read these fields, too. The stamp is a digest of the plain frame. The
//! frame may be [compressed](super::frame_compression).

use super::frame_compression::{FrameCompression, expand};
use crate::clock::Clock;
use crate::entry::{Entry, EntryKind};
use crate::key::KeyRef;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

const START: &[u8] = b"r1";
const STAMP: usize = 16;
const MAC: usize = 32;

/// A key of the server, and the start of every value under it.
#[derive(Debug, Clone)]
pub(super) struct KeySlot {
    pub(super) name: Vec<u8>,
    pub(super) start: Vec<u8>,
}

impl KeySlot {
    /// Returns the key of the store.
    pub(super) fn key(&self) -> &[u8] {
        &self.start[START.len() + size_of::<u32>()..]
    }

    /// Creates the slot of a key. Its name in the server is a digest of the key, and its values
    /// start with the key in full.
    pub(super) fn new(prefix: &str, key: KeyRef<'_>) -> Self {
        let key = key.as_bytes();
        // Longer keys exceed the size limit of entries, so their length need not be exact.
        let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
        Self { name: name(prefix, "e", key), start: [START, &length.to_le_bytes(), key].concat() }
    }
}

/// Returns the name of a key in the server.
pub(super) fn name(prefix: &str, kind: &str, key: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(key);
    let mut name = Vec::with_capacity(prefix.len() + kind.len() + 2 + 2 * digest.len());
    for part in [prefix, ":", kind, ":"] {
        name.extend_from_slice(part.as_bytes());
    }
    for byte in digest {
        name.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
    }
    name
}

/// The encoding of entries as values.
pub(super) struct ValueFormat {
    pub(super) clock: Clock,
    /// The keys for authentication. The first key signs entries, and all keys verify them.
    pub(super) secrets: Vec<Hmac<Sha256>>,
    pub(super) compression: FrameCompression,
}

impl ValueFormat {
    /// Returns the kind of an entry that is not a counter.
    pub(super) fn kind(&self) -> u8 {
        if self.secrets.is_empty() { b'e' } else { b'E' }
    }

    /// Returns `true` if the server itself can add to counters.
    pub(super) fn has_plain_counters(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Encodes an entry as the value of a key.
    pub(super) fn seal(&self, slot: &KeySlot, entry: &Entry) -> Vec<u8> {
        if let (EntryKind::Counter(number), true) = (&entry.0, self.has_plain_counters()) {
            return [&slot.start, &b"n"[..], number.to_string().as_bytes()].concat();
        }
        let frame = entry.encode(&self.clock);
        let stamp = Sha256::digest(&frame);
        let frame = self.compression.compress(frame);
        let mut value = Vec::with_capacity(slot.start.len() + 1 + STAMP + frame.len() + MAC);
        value.extend_from_slice(&slot.start);
        value.push(self.kind());
        value.extend_from_slice(&stamp[..STAMP]);
        value.extend_from_slice(&frame);
        if let Some(secret) = self.secrets.first() {
            let mac = mac(secret, slot, &value).finalize().into_bytes();
            value.extend_from_slice(&mac);
        }
        value
    }

    /// Returns the bytes by which the server recognizes the value of an entry.
    pub(super) fn stamp(&self, entry: &Entry) -> Vec<u8> {
        match (&entry.0, self.has_plain_counters()) {
            (EntryKind::Counter(number), true) => format!("n{number}").into_bytes(),
            _ => {
                let frame = entry.encode(&self.clock);
                [&[self.kind()], &Sha256::digest(&frame)[..STAMP]].concat()
            }
        }
    }

    /// Decodes the value of a key. Returns `None` if it is not a valid value of this key.
    pub(super) fn open(&self, slot: &KeySlot, mut value: Bytes) -> Option<Entry> {
        if !value.starts_with(&slot.start) {
            return None;
        }
        let kind = *value.get(slot.start.len())?;
        let content = slot.start.len() + 1;
        match kind {
            b'n' if self.has_plain_counters() => {
                let number = std::str::from_utf8(&value[content..]).ok()?;
                // This store writes no other spelling of a number.
                number.parse().ok().filter(|parsed: &i64| parsed.to_string() == number).map(Entry::counter)
            }
            kind if kind == self.kind() => {
                self.verify(slot, &mut value)?;
                let frame = value.len().checked_sub(content + STAMP)?;
                let frame = value.split_off(value.len() - frame);
                Entry::decode_slices(expand(frame)?, &self.clock)
            }
            _ => None,
        }
    }

    /// Verifies the authentication code at the end of a value, and removes it. Without secrets, a
    /// value has no code, and stays unchanged.
    fn verify(&self, slot: &KeySlot, value: &mut Bytes) -> Option<()> {
        if self.secrets.is_empty() {
            return Some(());
        }
        let code = value.split_off(value.len().checked_sub(MAC)?);
        let is_valid = |secret| mac(secret, slot, value).verify_slice(&code).is_ok();
        self.secrets.iter().any(is_valid).then_some(())
    }
}

/// Computes the code over the key's name in the server and the value. The name includes the prefix,
/// so a value that was copied to another prefix is not valid.
fn mac(secret: &Hmac<Sha256>, slot: &KeySlot, value: &[u8]) -> Hmac<Sha256> {
    let length = (slot.name.len() as u64).to_le_bytes();
    secret.clone().chain_update(length).chain_update(&slot.name).chain_update(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Head, StoredResponse, headers_for_storage};
    use crate::store::Generation;
    use http::StatusCode;
    use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

    fn format() -> ValueFormat {
        ValueFormat { clock: Clock::system(), secrets: Vec::new(), compression: FrameCompression::default() }
    }

    fn response(body: &'static [u8]) -> Entry {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        let headers = headers_for_storage(&headers, &[]);
        let head = Head::new(StatusCode::OK, headers, Generation::new(1, 2), Clock::system().now());
        Entry(EntryKind::Response(std::sync::Arc::new(StoredResponse::new(head, Bytes::from_static(body)))))
    }

    #[test]
    fn header_values_and_body_are_slices_of_the_received_buffer() {
        let (format, slot) = (format(), KeySlot::new("p", KeyRef::new(b"key")));
        for body in [&b"x"[..], &[7; 4096]] {
            let entry = response(body);
            let value = format.seal(&slot, &entry);
            let received = value.as_ptr_range();
            let opened = format.open(&slot, value.into()).expect("an entry");
            let Entry(EntryKind::Response(response)) = &opened else { panic!("another kind") };
            assert!(received.contains(&response.body().as_ptr()));
            assert!(received.contains(&response.headers()[CONTENT_TYPE].as_bytes().as_ptr()));
            assert_eq!(opened, entry);
        }
    }

    /// The history of this process may contradict the history from which the entry comes.
    #[test]
    fn opened_response_is_valid_at_no_generation_before_its_first_check() {
        let (format, slot) = (format(), KeySlot::new("p", KeyRef::new(b"key")));
        let value = format.seal(&slot, &response(b"x"));
        let Some(Entry(EntryKind::Response(opened))) = format.open(&slot, value.into()) else {
            panic!("no response")
        };
        let own = opened.head().generation;
        assert!(!opened.was_valid_at(own));
        opened.note_valid_at(own);
        assert!(opened.was_valid_at(own) && !opened.was_valid_at(Generation::new(1, 3)));
    }

    /// The server compares the stamp of the entry that another process has decoded.
    #[test]
    fn stamp_of_an_opened_entry_is_in_its_value() {
        let (format, slot) = (format(), KeySlot::new("p", KeyRef::new(b"key")));
        for entry in [response(b"x"), Entry::raw("v"), Entry::counter(-7)] {
            let value = format.seal(&slot, &entry);
            let opened = format.open(&slot, value.clone().into()).expect("an entry");
            assert!(value[slot.start.len()..].starts_with(&format.stamp(&opened)));
        }
    }

    /// Compressors of other versions write other bytes.
    #[cfg(feature = "redis-zstd")]
    #[test]
    fn compression_changes_neither_the_entry_nor_its_stamp() {
        let (mut format, slot) = (format(), KeySlot::new("p", KeyRef::new(b"key")));
        let entry = response(&[b'x'; 4096]);
        let (plain, stamp) = (format.seal(&slot, &entry), format.stamp(&entry));
        format.compression.above = Some(1000);
        let compressed = format.seal(&slot, &entry);
        assert!(compressed.len() < plain.len() / 4 && format.stamp(&entry) == stamp);
        assert!(compressed[slot.start.len()..].starts_with(&stamp));
        for value in [plain, compressed] {
            assert_eq!(format.open(&slot, value.into()), Some(entry.clone()));
        }
    }

    #[test]
    fn value_of_another_key_is_absent() {
        let format = format();
        let slots = [&b"a"[..], b"b", b"aa", b""].map(|key| KeySlot::new("p", KeyRef::new(key)));
        for slot in &slots {
            for entry in [response(b"x"), Entry::counter(1)] {
                let value = format.seal(slot, &entry);
                let found = slots.iter().filter(|slot| format.open(slot, value.clone().into()).is_some());
                assert_eq!(found.count(), 1);
            }
        }
    }
}
