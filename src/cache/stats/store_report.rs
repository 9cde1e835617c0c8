//! The outcome of storing one response, compared with the outcome in its `Cache-Status`.

use super::layer_counters::LayerCounters;
use crate::status::Detail;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Counts the outcome of storing one response. The `Cache-Status` is sent before the outcome is
/// known, so it may differ from the outcome.
#[derive(Debug, Clone)]
pub(crate) struct StoreReport {
    counters: Arc<LayerCounters>,
    /// The flags [`REPORTED`] and [`NOT_STORED`].
    flags: Arc<AtomicU8>,
}

/// The flag for a response that its `Cache-Status` reported as stored.
const REPORTED: u8 = 1;
/// The flag for a response that was not stored.
const NOT_STORED: u8 = 2;

impl StoreReport {
    pub(crate) fn new(counters: &Arc<LayerCounters>) -> Self {
        Self { counters: Arc::clone(counters), flags: Arc::default() }
    }

    /// Notes that the status reports the response as stored.
    pub(crate) fn note_reported(&self) {
        self.set(REPORTED, NOT_STORED);
    }

    /// Counts a response that is stored.
    pub(crate) fn count_stored(&self) {
        self.counters.count_stored();
    }

    /// Counts a response that is not stored. Only the first reason counts. Returns `true` if this is the
    /// first.
    pub(crate) fn count_not_stored(&self, why: Detail) -> bool {
        let is_first = self.set(NOT_STORED, REPORTED);
        if is_first {
            self.counters.count_not_stored(why);
        }
        is_first
    }

    /// Sets a flag. Returns `true` if this call has set it. The call that sets the second of the two
    /// flags counts a failed store.
    fn set(&self, flag: u8, other: u8) -> bool {
        let before = self.flags.fetch_or(flag, Ordering::Relaxed);
        let is_set = before & flag == 0;
        if is_set && before & other != 0 {
            self.counters.count_failed_store();
        }
        is_set
    }
}
