//! Encoding a reflected message so that equal messages have equal bytes.
//!
//! `DynamicMessage` keeps maps in a `HashMap` and encodes them in its order, which differs from run to
//! run. Versions are hashes of bytes, so here map entries are written in key order, as the generated
//! types (`BTreeMap`) do. Unknown fields follow the known ones.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

/// The bytes of a message, the same each time.
pub fn encode(message: &DynamicMessage) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, value) in message.fields() {
        encode_field(message, &field, value, &mut out);
    }
    for field in message.unknown_fields() {
        field.encode(&mut out);
    }
    out
}

fn encode_field(
    message: &DynamicMessage,
    field: &FieldDescriptor,
    value: &Value,
    out: &mut Vec<u8>,
) {
    match value {
        Value::Map(entries) => {
            let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            let Kind::Message(entry_type) = field.kind() else {
                return;
            };
            for (key, value) in entries {
                let mut entry = DynamicMessage::new(entry_type.clone());
                entry.set_field(&entry_type.map_entry_key_field(), key.clone().into());
                if !is_empty_message(value) {
                    entry.set_field(&entry_type.map_entry_value_field(), value.clone());
                }
                encode_nested(field.number(), &entry, out);
            }
        }
        Value::Message(inner) if !field.is_group() => encode_nested(field.number(), inner, out),
        Value::List(items) if matches!(field.kind(), Kind::Message(_)) && !field.is_group() => {
            for item in items.iter().filter_map(Value::as_message) {
                encode_nested(field.number(), item, out);
            }
        }
        scalar => {
            let mut single = DynamicMessage::new(message.descriptor());
            single.set_field(field, scalar.clone());
            out.extend(single.encode_to_vec());
        }
    }
}

/// The generated types leave an empty message out of a map's entry.
fn is_empty_message(value: &Value) -> bool {
    value.as_message().is_some_and(|message| message.encoded_len() == 0)
}

fn encode_nested(number: u32, message: &DynamicMessage, out: &mut Vec<u8>) {
    let bytes = encode(message);
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost_types::{Struct, Value, value::Kind};

    use super::*;
    use crate::v3::core::{Metadata, Node};

    #[test]
    fn equal_to_the_generated_types_encoding() {
        let number = |n| Value { kind: Some(Kind::NumberValue(n)) };
        let fields: BTreeMap<_, _> =
            (0..40).map(|n| (format!("key-{n}"), number(f64::from(n)))).collect();
        let node = Node {
            id: "a".into(),
            metadata: Some(Struct { fields: fields.clone() }),
            client_features: vec!["x".into(), "y".into()],
            dynamic_parameters: (0..20)
                .map(|n| (format!("k{n}"), crate::types::xds::core::v3::ContextParams::default()))
                .collect(),
            ..Node::default()
        };
        let bytes = node.encode_to_vec();
        let message = crate::dynamic("envoy.config.core.v3.Node", &bytes).expect("decodes");
        assert!(encode(&message) == bytes);

        let metadata = Metadata {
            filter_metadata: (0..20)
                .map(|n| (format!("f{n}"), Struct { fields: fields.clone() }))
                .collect(),
            ..Metadata::default()
        };
        let bytes = metadata.encode_to_vec();
        let message = crate::dynamic("envoy.config.core.v3.Metadata", &bytes).expect("decodes");
        assert!(encode(&message) == bytes);
    }
}
