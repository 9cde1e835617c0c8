//! The earlier entries of a [`FaultyStore`](super::FaultyStore), which look-ups return under
//! [`Fault::Outdated`](super::Fault::Outdated).

use crate::entry::Entry;
use crate::key::{CacheKey, KeyRef};
use std::collections::{HashMap, VecDeque};

/// The maximum number of remembered keys.
const MOST_REMEMBERED: usize = 256;

/// The last two entries that were written under each key. At [`MOST_REMEMBERED`] keys, a new key
/// replaces the key that was added first.
#[derive(Debug, Default)]
pub(super) struct EarlierEntries {
    entries: HashMap<CacheKey, (Option<Entry>, Entry)>,
    order: VecDeque<CacheKey>,
}

impl EarlierEntries {
    pub(super) fn note(&mut self, key: &CacheKey, entry: &Entry) {
        if let Some((earlier, last)) = self.entries.get_mut(key) {
            *earlier = Some(std::mem::replace(last, entry.clone()));
            return;
        }
        if self.order.len() >= MOST_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.entries.insert(key.clone(), (None, entry.clone()));
    }

    pub(super) fn get(&self, key: KeyRef<'_>) -> Option<Entry> {
        self.entries.get(&key.to_key())?.0.clone()
    }
}
