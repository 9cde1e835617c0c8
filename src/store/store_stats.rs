//! The statistics that a store knows about itself.

/// The statistics of a store, which [`Store::stats`](super::Store::stats) returns.
///
/// A number that the store does not know is `None`.
///
/// # Example
/// ```
/// use tower_response_cache::store::StoreStats;
///
/// let stats = StoreStats::new().with_entries(3).with_bytes(4096);
/// assert_eq!((stats.entries(), stats.bytes(), stats.evictions()), (Some(3), Some(4096), None));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    entries: Option<u64>,
    bytes: Option<u64>,
    evictions: Option<u64>,
    expirations: Option<u64>,
}

impl StoreStats {
    /// Creates statistics in which every number is unknown.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: None, bytes: None, evictions: None, expirations: None }
    }

    /// Sets the number of entries.
    #[must_use]
    pub const fn with_entries(self, entries: u64) -> Self {
        Self { entries: Some(entries), ..self }
    }

    /// Sets the bytes that all entries take.
    #[must_use]
    pub const fn with_bytes(self, bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..self }
    }

    /// Sets the number of entries that were evicted to make room.
    #[must_use]
    pub const fn with_evictions(self, evictions: u64) -> Self {
        Self { evictions: Some(evictions), ..self }
    }

    /// Sets the number of entries that were removed because they had expired.
    #[must_use]
    pub const fn with_expirations(self, expirations: u64) -> Self {
        Self { expirations: Some(expirations), ..self }
    }

    /// Returns the number of entries, including expired entries that are not yet removed.
    #[must_use]
    pub const fn entries(&self) -> Option<u64> {
        self.entries
    }

    /// Returns the bytes that all entries take.
    #[must_use]
    pub const fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Returns the number of entries that were evicted to make room, since the store was created.
    #[must_use]
    pub const fn evictions(&self) -> Option<u64> {
        self.evictions
    }

    /// Returns the number of entries that were removed because they had expired, since the store
    /// was created. An expired entry may be evicted before a look-up removes it.
    #[must_use]
    pub const fn expirations(&self) -> Option<u64> {
        self.expirations
    }
}
