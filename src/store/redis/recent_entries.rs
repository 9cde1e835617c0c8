//! The entries that were decoded last.

use super::value::KeySlot;
use crate::clock::WallOffset;
use crate::entry::{Entry, EntryKind};
use crate::key::{BuildPrehashed, CacheKey, KeyRef};
use bytes::Bytes;
use quick_cache::sync::{Cache as Quick, DefaultLifecycle};
use std::sync::Arc;

/// The entries that were decoded last, by key.
///
/// A decoded entry is used again only if the server returns the same bytes. So it spares the decoding,
/// and never a read.
pub(super) struct RecentEntries(Quick<CacheKey, Arc<RecentEntry>, RecentWeight, BuildPrehashed>);

/// A key in the server, and the entry that was decoded last, if it is kept.
pub(super) struct RecentEntry {
    pub(super) slot: KeySlot,
    /// The hash of the key in this process.
    hash: u64,
    /// Whether the last value was so large that it is read alone.
    pub(super) is_large: bool,
    decoded: Option<DecodedValue>,
}

struct DecodedValue {
    /// The whole value that the server returned. The entry consists of slices of it.
    value: Bytes,
    entry: Entry,
    /// The offset by which the moments of the entry were converted.
    offset: WallOffset,
}

#[derive(Clone)]
struct RecentWeight;

/// The most bytes of all entries.
const CAPACITY: u64 = 8 << 20;
/// The most bytes of a value whose entry is kept.
const LARGEST_VALUE: usize = 32 << 10;
/// The most bytes of a value that is read together with others.
const LARGEST_BATCHED: usize = 64 << 10;
/// The bytes of a decoded entry besides its value and its key.
const DECODED: usize = 2 << 10;

impl quick_cache::Weighter<CacheKey, Arc<RecentEntry>> for RecentWeight {
    fn weight(&self, _: &CacheKey, recent: &Arc<RecentEntry>) -> u64 {
        let value = recent.decoded.as_ref().map_or(0, |decoded| decoded.value.len());
        (value + 2 * recent.slot.start.len() + DECODED) as u64
    }
}

impl RecentEntries {
    pub(super) fn new() -> Self {
        let (items, lifecycle) = (CAPACITY as usize / (2 * DECODED), DefaultLifecycle::default());
        Self(Quick::with(items, CAPACITY, RecentWeight, BuildPrehashed::default(), lifecycle))
    }

    /// Returns the recent entry of a key. `slot` creates its slot if the key is not recent.
    pub(super) fn get(&self, key: KeyRef<'_>, slot: impl FnOnce() -> KeySlot) -> Arc<RecentEntry> {
        self.0.get(&key).unwrap_or_else(|| {
            Arc::new(RecentEntry { slot: slot(), hash: key.process_hash(), is_large: false, decoded: None })
        })
    }

    /// Keeps an entry that was just decoded. Of a long value, keeps only whether it is large.
    pub(super) fn keep(&self, recent: &RecentEntry, value: Bytes, entry: &Entry, offset: WallOffset) {
        let is_large = value.len() > LARGEST_BATCHED;
        // A counter changes often, and is decoded quickly.
        let is_kept = value.len() <= LARGEST_VALUE && !matches!(entry.0, EntryKind::Counter(_));
        if !is_kept && is_large == recent.is_large {
            return;
        }
        let (slot, hash) = (recent.slot.clone(), recent.hash);
        let decoded = is_kept.then(|| DecodedValue { value, entry: entry.clone(), offset });
        let key = KeyRef::new(slot.key()).to_key();
        self.0.insert(key, Arc::new(RecentEntry { slot, hash, is_large, decoded }));
    }
}

impl RecentEntry {
    /// Returns the kept entry if it was decoded from the same bytes.
    pub(super) fn find(&self, value: &Bytes, offset: WallOffset) -> Option<Entry> {
        let decoded = self.decoded.as_ref()?;
        (decoded.value == value && decoded.offset == offset).then(|| decoded.entry.clone())
    }

    pub(super) fn has_key_of(&self, other: &Self) -> bool {
        self.hash == other.hash && self.slot.name == other.slot.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn get(recent: &RecentEntries, key: &[u8]) -> Arc<RecentEntry> {
        recent.get(KeyRef::new(key), || KeySlot::new("p", KeyRef::new(key)))
    }

    #[test]
    fn entry_is_found_for_the_same_bytes_and_clocks_alone() {
        let ((clock, manual), recent) = (Clock::manual(), RecentEntries::new());
        let (value, offset) = (Bytes::from_static(b"value"), clock.wall_offset());
        recent.keep(&get(&recent, b"k"), value.clone(), &Entry::raw("v"), offset);
        let kept = get(&recent, b"k");
        assert_eq!(kept.find(&value, offset), Some(Entry::raw("v")));
        for other in [&b"valuE"[..], b"valu", b"value2", b""] {
            assert_eq!(kept.find(&Bytes::from_static(other), offset), None);
        }
        assert_eq!(get(&recent, b"other").find(&value, offset), None);
        manual.set_wall_back(std::time::Duration::from_secs(60));
        assert_eq!(kept.find(&value, clock.wall_offset()), None);
    }

    #[test]
    fn kept_entries_are_bounded() {
        let (recent, offset) = (RecentEntries::new(), Clock::system().wall_offset());
        let keep = |key: &[u8], length: usize| {
            let value = Bytes::from(vec![0; length]);
            recent.keep(&get(&recent, key), value.clone(), &Entry::raw("v"), offset);
            get(&recent, key).find(&value, offset).is_some()
        };
        assert!(keep(b"a", LARGEST_VALUE) && !keep(b"b", LARGEST_VALUE + 1));
        assert_eq!((0..2000_u32).filter(|number| !keep(&number.to_le_bytes(), LARGEST_VALUE)).count(), 0);
        assert!(recent.0.weight() <= CAPACITY && recent.0.len() <= 256);
    }
}
