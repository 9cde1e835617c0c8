//! Values as bytes: MessagePack with named fields, which other languages read as well.

use crate::entry::{Encoding, Entry, StoredValue, body_for_storage};
use crate::error::{Absent, AbsentKind, ValueError};
use bytes::Bytes;
use serde::Serialize;
use serde::de::value::{Error as NumberError, I64Deserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

/// What is nested deeper is not read.
const DEEPEST: usize = 128;

pub(super) fn encoded<T: Serialize + ?Sized>(value: &T) -> Result<(Bytes, Encoding), ValueError> {
    let bytes = rmp_serde::to_vec_named(value).map_err(|error| ValueError::Unwritable(error.into()))?;
    Ok((body_for_storage(bytes.into()).0, Encoding::MessagePack))
}

/// Reads what may come from anywhere: nothing in it is executed, its depth is bounded, and what it takes in memory
/// by its own length.
pub(super) fn decoded<T: DeserializeOwned>(entry: &Entry) -> Result<T, Absent> {
    match entry {
        Entry::Value(value) if value.encoding() == Encoding::MessagePack => of_bytes(value),
        Entry::Counter(number) => {
            let number: I64Deserializer<NumberError> = number.into_deserializer();
            T::deserialize(number).map_err(|error| Absent::because(AbsentKind::Unreadable, error))
        }
        _ => Err(Absent::new(AbsentKind::Unreadable)),
    }
}

fn of_bytes<T: DeserializeOwned>(value: &StoredValue) -> Result<T, Absent> {
    let mut bytes: &[u8] = value.bytes();
    let mut decoder = rmp_serde::Deserializer::new(&mut bytes);
    decoder.set_max_depth(DEEPEST);
    let value =
        T::deserialize(&mut decoder).map_err(|error| Absent::because(AbsentKind::Unreadable, error))?;
    // More than was asked for is something else.
    if bytes.is_empty() { Ok(value) } else { Err(Absent::new(AbsentKind::Unreadable)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn entry(bytes: impl Into<Bytes>) -> Entry {
        let value = StoredValue { encoding: Encoding::MessagePack, ..StoredValue::raw(bytes.into()) };
        Entry::Value(Arc::new(value))
    }

    #[test]
    fn what_is_of_another_type_truncated_or_too_long_is_absent_with_a_reason() {
        let (bytes, _) = encoded(&("text", 7)).expect("written");
        assert_eq!(decoded::<(String, u8)>(&entry(bytes.clone())).expect("read"), ("text".to_owned(), 7));
        let kind = |absent: Absent| absent.kind();
        let wrong = decoded::<u8>(&entry(bytes.clone())).map_err(kind);
        assert_eq!(wrong, Err(AbsentKind::Unreadable));
        for end in 0..bytes.len() {
            let cut = decoded::<(String, u8)>(&entry(bytes.slice(..end))).map_err(kind);
            assert_eq!(cut, Err(AbsentKind::Unreadable), "{end}");
        }
        let longer = [&bytes[..], &[0xc0]].concat();
        assert_eq!(decoded::<(String, u8)>(&entry(longer)).map_err(kind), Err(AbsentKind::Unreadable));
        assert_eq!(decoded::<u8>(&Entry::Counter(7)).map_err(kind), Ok(7));
        assert_eq!(decoded::<u8>(&Entry::Counter(-1)).map_err(kind), Err(AbsentKind::Unreadable));
    }

    #[derive(Debug, Deserialize)]
    struct Nested(#[expect(dead_code, reason = "only its depth counts")] Vec<Self>);

    #[test]
    fn nesting_without_end_and_absurd_lengths_are_refused() {
        let deep = vec![0x91; 1_000_000];
        assert!(decoded::<Nested>(&entry(deep)).is_err());
        // Arrays, maps and strings of four thousand million.
        for start in [0xdd, 0xdf, 0xdb] {
            let long = vec![start, 0xff, 0xff, 0xff, 0xff];
            assert!(decoded::<Vec<u64>>(&entry(long.clone())).is_err());
            assert!(decoded::<BTreeMap<u64, u64>>(&entry(long.clone())).is_err());
            assert!(decoded::<String>(&entry(long)).is_err());
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let entry = entry(bytes);
            let _ = decoded::<BTreeMap<String, Vec<Option<f64>>>>(&entry);
            let _ = decoded::<(u8, String, Vec<u64>)>(&entry);
        }
    }
}
