//! The encoding of values: MessagePack with named fields, which other languages can read.

use crate::cache::Cache;
use crate::entry::{Encoding, Entry, EntryKind, body_for_storage};
use crate::error::ValueError;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The deepest nesting of a value that is decoded. A deeper value could overflow the stack.
const MAX_DEPTH: usize = 128;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<(Bytes, Encoding), ValueError> {
    let bytes = rmp_serde::to_vec_named(value).map_err(|error| ValueError::Unwritable(error.into()))?;
    Ok((body_for_storage(bytes.into()).0, Encoding::MessagePack))
}

/// Decodes an entry as a type. Returns `None` if the entry has another type or is damaged.
///
/// The bytes are not trusted, because other programs may write to the store. Decoding executes
/// nothing in them. Their length bounds the memory use, and the nesting is limited. A counter
/// decodes like a number that was stored as a value.
pub(super) fn decode<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    match entry {
        Entry(EntryKind::Value(value)) if value.encoding() == Encoding::MessagePack => {
            decode_bytes(value.bytes())
        }
        Entry(EntryKind::Counter(number)) => decode_bytes(&rmp_serde::to_vec(number).ok()?),
        _ => None,
    }
}

/// Decodes an entry as a type. On failure, counts the unreadable value, emits an event and
/// returns `None`.
pub(super) fn decode_or_report<T: DeserializeOwned>(cache: &Cache, entry: &Entry) -> Option<T> {
    let value = decode(entry);
    if value.is_none() {
        cache.count_unreadable_value();
        event!("a value can't be read as the requested type");
    }
    value
}

fn decode_bytes<T: DeserializeOwned>(mut bytes: &[u8]) -> Option<T> {
    let mut decoder = rmp_serde::Deserializer::new(&mut bytes);
    decoder.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut decoder).ok()?;
    // Bytes that remain after the value mean that the entry has another type.
    bytes.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::StoredValue;
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn entry(bytes: impl Into<Bytes>) -> Entry {
        let value = StoredValue { encoding: Encoding::MessagePack, ..StoredValue::raw(bytes.into()) };
        Entry(EntryKind::Value(Arc::new(value)))
    }

    #[test]
    fn decode_rejects_another_type_missing_bytes_and_extra_bytes() {
        let (bytes, _) = encode(&("text", 7)).expect("written");
        assert_eq!(decode::<(String, u8)>(&entry(bytes.clone())), Some(("text".to_owned(), 7)));
        assert_eq!(decode::<u8>(&entry(bytes.clone())), None);
        for end in 0..bytes.len() {
            assert_eq!(decode::<(String, u8)>(&entry(bytes.slice(..end))), None, "{end}");
        }
        let longer = [&bytes[..], &[0xc0]].concat();
        assert_eq!(decode::<(String, u8)>(&entry(longer)), None);
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Meters(u32);

    #[test]
    fn counter_decodes_as_any_integer_type() {
        fn read<T: DeserializeOwned>(number: i64) -> Option<T> {
            decode(&Entry(EntryKind::Counter(number)))
        }
        assert_eq!(
            (read::<u8>(7), read::<i8>(-7), read::<u16>(7), read::<i16>(-7)),
            (Some(7), Some(-7), Some(7), Some(-7))
        );
        assert_eq!(
            (read::<u32>(7), read::<i32>(-7), read::<u64>(7), read::<i64>(-7)),
            (Some(7), Some(-7), Some(7), Some(-7))
        );
        assert_eq!((read::<usize>(7), read::<isize>(-7)), (Some(7), Some(-7)));
        assert_eq!((read::<u128>(7), read::<i128>(-7), read::<f64>(7)), (Some(7), Some(-7), Some(7.0)));
        assert_eq!((read::<i64>(i64::MIN), read::<i64>(i64::MAX)), (Some(i64::MIN), Some(i64::MAX)));
        assert_eq!((read::<Option<u16>>(300), read::<Meters>(7)), (Some(Some(300)), Some(Meters(7))));
        assert_eq!(read::<Option<Meters>>(7), Some(Some(Meters(7))));
        assert_eq!(read::<std::num::NonZeroU8>(7).map(u8::from), Some(7));
        assert_eq!(
            (read::<u8>(256), read::<u8>(-1), read::<String>(7), read::<bool>(1)),
            (None, None, None, None)
        );
        assert_eq!(read::<Option<u8>>(300), None, "a number out of range does not decode as `None`");
    }

    #[derive(Debug, Deserialize)]
    struct Nested(#[expect(dead_code, reason = "only its depth counts")] Vec<Self>);

    #[test]
    fn decode_rejects_excessive_nesting_and_lengths() {
        let deep = vec![0x91; 1_000_000];
        assert!(decode::<Nested>(&entry(deep)).is_none());
        // Arrays, maps and strings with a length of four billion.
        for start in [0xdd, 0xdf, 0xdb] {
            let long = vec![start, 0xff, 0xff, 0xff, 0xff];
            assert!(decode::<Vec<u64>>(&entry(long.clone())).is_none());
            assert!(decode::<BTreeMap<u64, u64>>(&entry(long.clone())).is_none());
            assert!(decode::<String>(&entry(long)).is_none());
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn decode_of_arbitrary_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let entry = entry(bytes);
            let _ = decode::<BTreeMap<String, Vec<Option<f64>>>>(&entry);
            let _ = decode::<(u8, String, Vec<u64>)>(&entry);
        }
    }
}
