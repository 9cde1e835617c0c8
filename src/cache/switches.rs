//! The state of the switches of a cache: whether it answers requests.

use std::sync::atomic::{AtomicU8, Ordering};

/// The switches of a cache, which all its handles share.
#[derive(Debug, Default)]
pub(super) struct Switches {
    /// The switches that differ from their defaults: [`DISABLED`]. A hit reads only this field.
    set: AtomicU8,
}

/// The cache is turned off.
const DISABLED: u8 = 1;

impl Switches {
    /// Sets or clears a flag. Returns `true` if the flag changed.
    fn change(&self, flag: u8, on: bool) -> bool {
        let before = match on {
            true => self.set.fetch_or(flag, Ordering::Relaxed),
            false => self.set.fetch_and(!flag, Ordering::Relaxed),
        };
        (before & flag != 0) != on
    }

    /// Turns the cache on or off. Returns `true` if that changed anything.
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
}
