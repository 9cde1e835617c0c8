//! The places of invalidations: where a store keeps the last invalidation of each scope.
//!
//! Some scopes have an exact place, which no other scope shares. All others share buckets, so that
//! the memory use is limited. The buckets of a group of scopes form four rows. A scope has one
//! bucket in each row. An entry of the scope is invalid only if all four buckets were invalidated
//! after the entry was made. Two scopes rarely share all four.
//!
//! [`LocalGenerations`](super::LocalGenerations) keeps these places in memory.
//! [`RecordGenerations`](super::RecordGenerations) keeps them in the record, an entry of a store.

use super::Scope;
use crate::entry::Kind;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The number of rows of buckets in each group.
pub(super) const ROWS: usize = 4;
/// The number of groups. Two groups share no buckets.
pub(super) const GROUPS: usize = 8;
/// The number of [wide](Scope::is_wide) scopes that cover all hosts.
pub(super) const FIXED: usize = 5;
/// The most scopes in each table of a record. Further scopes share buckets.
pub(super) const MAX_NAMED: usize = 1024;
pub(super) const TABLES: usize = 2;

/// The place where the last invalidation of a scope is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScopeSlot {
    /// The exact place with this index, which is below [`FIXED`]. Every namespace has these places.
    Fixed(usize),
    /// An exact place in the table with this number. If that table is full, the scope has the
    /// buckets of the group instead.
    Named { table: usize, group: usize },
    /// The buckets of a group. [`LocalGenerations`](super::LocalGenerations) has exact places for
    /// the first scopes of each group, too.
    Rows { group: usize },
}

pub(super) const EVERYTHING: usize = 0;
pub(super) const VALUES: usize = 4;
pub(super) const HOST_ROOTS: usize = 0;
pub(super) const SUBTREES: usize = 1;

impl ScopeSlot {
    pub(super) fn of(scope: Scope) -> Self {
        let (kind, is_on_host, is_wide) = (scope.kind(), scope.is_on_host(), scope.is_wide());
        let fixed = match kind {
            Kind::Path => 1,
            Kind::Uri => 2,
            Kind::Subtree => 3,
            Kind::Values => VALUES,
            Kind::Everything | Kind::Tag | Kind::Value => EVERYTHING,
        };
        let group = match (kind, is_on_host) {
            (Kind::Path, false) => 0,
            (Kind::Path, true) => 1,
            (Kind::Uri, false) => 2,
            (Kind::Uri, true) => 3,
            (Kind::Everything | Kind::Subtree, _) => 4,
            (Kind::Tag, false) => 5,
            (Kind::Tag, true) => 6,
            (Kind::Value | Kind::Values, _) => 7,
        };
        match (is_wide, is_on_host, kind) {
            (true, false, _) => Self::Fixed(fixed),
            (true, true, _) => Self::Named { table: HOST_ROOTS, group },
            (false, _, Kind::Subtree) => Self::Named { table: SUBTREES, group },
            (false, ..) => Self::Rows { group },
        }
    }
}

/// Returns the number of exact places and buckets that an invalidation of these scopes writes.
#[cfg(feature = "tracing")]
pub(crate) fn marked_places(scopes: &[Scope]) -> usize {
    let places = |scope: &Scope| match ScopeSlot::of(*scope) {
        ScopeSlot::Fixed(_) | ScopeSlot::Named { .. } => 1,
        ScopeSlot::Rows { .. } => ROWS,
    };
    scopes.iter().map(places).sum()
}

/// The secret key that selects the buckets. Without it, a client could predict which scopes share a
/// bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Secret(pub(super) u64, pub(super) u64);

impl Secret {
    pub(super) fn hash(self, scope: Scope) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        let (high, low) = scope.halves();
        hasher.write_u64(high);
        hasher.write_u64(low);
        hasher.finish()
    }
}

/// Returns the index of a scope's bucket in each row. A row has `1 << bits` buckets; `bits` is at
/// most 16.
#[inline]
pub(super) fn row_buckets(hash: u64, bits: u32) -> [usize; ROWS] {
    let mask = (1 << bits) - 1;
    std::array::from_fn(|row| (hash >> (row as u32 * bits)) as usize & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_separate_groups_and_wide_scopes_have_exact_places() {
        let groups = [
            Scope::path("/a"),
            Scope::path("/a").on_host("h"),
            Scope::uri("/a", None),
            Scope::uri("/a", None).on_host("h"),
            Scope::tag("/a"),
            Scope::tag("/a").on_host("h"),
            Scope::value(b"/a"),
        ]
        .map(|scope| match ScopeSlot::of(scope) {
            ScopeSlot::Rows { group } => group,
            other => panic!("{scope:?} is in {other:?}"),
        });
        assert_eq!(groups, [0, 1, 2, 3, 5, 6, 7]);
        let fixed =
            [Scope::EVERYTHING, Scope::path("/"), Scope::uri("/", None), Scope::subtree("/"), Scope::VALUES];
        for (at, scope) in fixed.into_iter().enumerate() {
            assert_eq!(ScopeSlot::of(scope), ScopeSlot::Fixed(at));
            assert!(matches!(ScopeSlot::of(scope.on_host("h")), ScopeSlot::Named { table: HOST_ROOTS, .. }));
        }
        for scope in [Scope::subtree("/a"), Scope::subtree("/a").on_host("h")] {
            assert_eq!(ScopeSlot::of(scope), ScopeSlot::Named { table: SUBTREES, group: 4 });
        }
    }
}
