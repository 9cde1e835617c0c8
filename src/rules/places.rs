//! Look-up by key in lists of any length, which are short almost always.

use foldhash::quality::RandomState;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A list of no more items is searched through.
pub(super) const FEW: usize = 16;

/// The places of items in a list that only grows, by a key that no two items share. Nothing is allocated for a short list.
#[derive(Debug, Clone)]
pub(crate) struct Places<K>(Option<HashMap<K, usize, RandomState>>);

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Eq + Hash> Places<K> {
    /// Returns the place of the item with a key.
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
        if items.len() <= FEW {
            return items.iter().position(|item| key_of(item).borrow() == key);
        }
        let places = self.0.get_or_insert_default();
        for (at, item) in items.iter().enumerate().skip(places.len()) {
            places.insert(key_of(item).borrow().to_owned(), at);
        }
        places.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::Places;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_item_is_found_where_a_search_finds_it(keys in prop::collection::vec(0..60_u32, 0..200)) {
            let (mut items, mut places) = (Vec::new(), Places::<String>::default());
            for key in keys {
                let key = key.to_string();
                let expected = items.iter().position(|item| *item == key);
                prop_assert_eq!(places.find(&items, key.as_str(), String::as_str), expected);
                if expected.is_none() {
                    items.push(key);
                }
            }
        }
    }
}
