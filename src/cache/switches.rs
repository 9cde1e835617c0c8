//! The switches of a cache: whether its layers are enabled, and its policy table.

use crate::policy::PolicyTable;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The switches of a cache, which all its handles share.
#[derive(Debug, Default)]
pub(super) struct Switches {
    /// The flags [`DISABLED`] and [`HAS_TABLE`]. Separate from `table`, so that a hit without a
    /// policy table takes no lock.
    set: AtomicU8,
    table: RwLock<Option<Arc<PolicyTable>>>,
}

/// The cache is turned off.
const DISABLED: u8 = 1;
/// A policy table is in effect.
const HAS_TABLE: u8 = 2;

impl Switches {
    /// Sets or clears a flag. Returns `true` if the flag changed.
    fn change(&self, flag: u8, on: bool) -> bool {
        let before = match on {
            true => self.set.fetch_or(flag, Ordering::Relaxed),
            false => self.set.fetch_and(!flag, Ordering::Relaxed),
        };
        (before & flag != 0) != on
    }

    /// Turns the cache on or off. Returns `true` if the state changed.
    pub(super) fn set_enabled(&self, on: bool) -> bool {
        self.change(DISABLED, !on)
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.set.load(Ordering::Relaxed) & DISABLED == 0
    }

    /// Returns `true` if any switch differs from its default.
    #[inline]
    pub(super) fn is_any_set(&self) -> bool {
        self.set.load(Ordering::Relaxed) != 0
    }

    /// Replaces the policy table. Returns the old table, so that it is dropped outside the lock.
    pub(super) fn set_table(&self, table: Option<Arc<PolicyTable>>) -> Option<Arc<PolicyTable>> {
        let has_table = table.is_some();
        let mut current = self.table.write().unwrap_or_else(PoisonError::into_inner);
        // The flag is changed under the lock, so that it always fits the current table.
        self.change(HAS_TABLE, has_table);
        std::mem::replace(&mut *current, table)
    }

    pub(super) fn table(&self) -> Option<Arc<PolicyTable>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
