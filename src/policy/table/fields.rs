//! The unchecked fields of an entry, as the configuration file contains them.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The fields of one entry, in their order. A name may occur twice.
#[derive(Debug)]
pub(super) struct EntryFields(pub(super) Vec<(String, FieldValue)>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FieldValue {
    Flag(bool),
    Number(u64),
    Text(String),
    /// A value of another type, such as a list, a fraction or a negative number.
    Other,
}

/// Writes the layer and the path, by which a reader of a message finds the entry.
impl fmt::Display for EntryFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |wanted: &str| {
            self.0.iter().find_map(|(name, value)| match value {
                FieldValue::Text(text) if name == wanted => Some(text.as_str()),
                _ => None,
            })
        };
        write_place(f, text("layer"), text("path"))
    }
}

/// Writes the layer and the path of an entry.
pub(super) fn write_place(
    f: &mut fmt::Formatter<'_>,
    layer: Option<&str>,
    path: Option<&str>,
) -> fmt::Result {
    match (layer, path) {
        (Some(layer), Some(path)) => write!(f, "layer {layer:?}, path {path:?}"),
        (Some(layer), None) => write!(f, "layer {layer:?}"),
        (None, Some(path)) => write!(f, "path {path:?}"),
        (None, None) => f.write_str("all requests"),
    }
}

impl<'de> Deserialize<'de> for EntryFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = EntryFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an entry of a policy table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EntryFields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(EntryFields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = FieldValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<FieldValue, E> {
                Ok(FieldValue::Flag(flag))
            }

            fn visit_u64<E>(self, number: u64) -> Result<FieldValue, E> {
                Ok(FieldValue::Number(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<FieldValue, E> {
                Ok(u64::try_from(number).map_or(FieldValue::Other, FieldValue::Number))
            }

            fn visit_f64<E>(self, _: f64) -> Result<FieldValue, E> {
                Ok(FieldValue::Other)
            }

            fn visit_str<E>(self, text: &str) -> Result<FieldValue, E> {
                Ok(FieldValue::Text(text.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<FieldValue, E> {
                Ok(FieldValue::Other)
            }

            fn visit_none<E>(self) -> Result<FieldValue, E> {
                Ok(FieldValue::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<FieldValue, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FieldValue::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FieldValue, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(FieldValue::Other)
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}
