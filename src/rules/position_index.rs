//! Lookups by key in lists that are usually short.

use foldhash::quality::RandomState;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// The maximum length of a list that is searched linearly.
pub(super) const MAX_LINEAR: usize = 16;

/// The positions of items, by unique keys, in a list that only grows.
///
/// The index allocates nothing for a list of at most [`MAX_LINEAR`] items.
#[derive(Debug, Clone)]
pub(crate) struct PositionIndex<K>(Option<HashMap<K, usize, RandomState>>);

impl<K> Default for PositionIndex<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Eq + Hash> PositionIndex<K> {
    /// Returns the position of the item with this key.
    pub(crate) fn find<'a, T, Q, B>(
        &mut self,
        items: &'a [T],
        key: &Q,
        key_of: impl Fn(&'a T) -> B,
    ) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
        B: Borrow<Q>,
    {
        if items.len() <= MAX_LINEAR {
            return items.iter().position(|item| key_of(item).borrow() == key);
        }
        let positions = self.0.get_or_insert_default();
        for (at, item) in items.iter().enumerate().skip(positions.len()) {
            positions.insert(key_of(item).borrow().to_owned(), at);
        }
        positions.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::PositionIndex;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn find_agrees_with_a_linear_search(keys in prop::collection::vec(0..60_u32, 0..200)) {
            let (mut items, mut positions) = (Vec::new(), PositionIndex::<String>::default());
            for key in keys {
                let key = key.to_string();
                let expected = items.iter().position(|item| *item == key);
                prop_assert_eq!(positions.find(&items, key.as_str(), String::as_str), expected);
                if expected.is_none() {
                    items.push(key);
                }
            }
        }
    }
}
