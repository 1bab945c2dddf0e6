//! JSON to messages.
//!
//! prost-reflect can do this too, but fails a whole message for one `Any` of a type it does not
//! know, and its errors do not say where. So the walk is ours, and its deserializers read the leaves.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    Value as Reflected,
};
use serde_json::{Map, Value};

use super::{JsonError, MAX_DEPTH, is_special_leaf};
use crate::any;
use crate::path::Path;

type Result<T> = std::result::Result<T, JsonError>;

pub(super) fn message(
    descriptor: &MessageDescriptor,
    json: &Value,
    path: &Path<'_>,
    depth: usize,
) -> Result<DynamicMessage> {
    if depth > MAX_DEPTH {
        return Err(JsonError::new(path, format!("more than {MAX_DEPTH} messages deep")));
    }
    if is_special_leaf(descriptor.full_name()) {
        return leaf(descriptor, json, path);
    }
    let Value::Object(object) = json else {
        return Err(mismatch(path, &format!("an object ({})", descriptor.full_name()), json));
    };
    if descriptor.full_name() == "google.protobuf.Any" {
        return any_message(descriptor, object, path, depth);
    }
    let mut message = DynamicMessage::new(descriptor.clone());
    fields(&mut message, descriptor, object.iter(), path, depth)?;
    Ok(message)
}

/// Types with a JSON form of their own: wrappers, durations, structs.
fn leaf(descriptor: &MessageDescriptor, json: &Value, path: &Path<'_>) -> Result<DynamicMessage> {
    DynamicMessage::deserialize(descriptor.clone(), json)
        .map_err(|error| JsonError::new(path, error.to_string()))
}

fn fields<'a>(
    message: &mut DynamicMessage,
    descriptor: &MessageDescriptor,
    object: impl Iterator<Item = (&'a String, &'a Value)>,
    path: &Path<'_>,
    depth: usize,
) -> Result<()> {
    for (name, json) in object {
        let path = &path.field(name);
        let field = descriptor
            .get_field_by_name(name)
            .or_else(|| descriptor.get_field_by_json_name(name))
            .ok_or_else(|| JsonError::new(path, unknown_field(descriptor, name)))?;
        let Some(value) = field_value(&field, json, path, depth)? else {
            continue;
        };
        if message.has_field(&field) {
            return Err(JsonError::new(path, "given twice, in two spellings: keep one"));
        }
        if let Some(other) = set_alternative(message, &field) {
            let reason = format!("cannot be given together with `{}`", other.name());
            return Err(JsonError::new(path, reason));
        }
        message.set_field(&field, value);
    }
    Ok(())
}

/// The field of the same oneof that is set already.
fn set_alternative(message: &DynamicMessage, field: &FieldDescriptor) -> Option<FieldDescriptor> {
    field.containing_oneof()?.fields().find(|other| message.has_field(other))
}

fn unknown_field(descriptor: &MessageDescriptor, name: &str) -> String {
    let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
    let near = descriptor.fields().find(|field| plain(field.name()) == plain(name));
    let hint = near.map_or(String::new(), |field| format!(", did you mean `{}`?", field.name()));
    format!("{} has no such field{hint}", descriptor.full_name())
}

/// `None` for a JSON null, which stands for an absent field.
fn field_value(
    field: &FieldDescriptor,
    json: &Value,
    path: &Path<'_>,
    depth: usize,
) -> Result<Option<Reflected>> {
    if json.is_null() && !is_null_a_value(&field.kind()) {
        return Ok(None);
    }
    let value = if field.is_map() {
        map(field, json, path, depth)?
    } else if field.is_list() {
        let Value::Array(items) = json else {
            return Err(mismatch(path, "a list", json));
        };
        let read = |(at, item)| single(&field.kind(), item, &path.index(at), depth);
        Reflected::List(items.iter().enumerate().map(read).collect::<Result<_>>()?)
    } else {
        single(&field.kind(), json, path, depth)?
    };
    Ok(Some(value))
}

fn is_null_a_value(kind: &Kind) -> bool {
    match kind {
        Kind::Message(message) => message.full_name() == "google.protobuf.Value",
        Kind::Enum(kind) => kind.full_name() == "google.protobuf.NullValue",
        _ => false,
    }
}

fn map(field: &FieldDescriptor, json: &Value, path: &Path<'_>, depth: usize) -> Result<Reflected> {
    let (Value::Object(object), Kind::Message(entry)) = (json, field.kind()) else {
        return Err(mismatch(path, "an object", json));
    };
    let (key_kind, value_kind) =
        (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    let mut entries = HashMap::with_capacity(object.len());
    for (key, json) in object {
        let path = &path.key(key);
        entries.insert(map_key(&key_kind, key, path)?, single(&value_kind, json, path, depth)?);
    }
    Ok(Reflected::Map(entries))
}

fn map_key(kind: &Kind, key: &str, path: &Path<'_>) -> Result<MapKey> {
    let parsed = match kind {
        Kind::String => Some(MapKey::String(key.to_owned())),
        Kind::Bool => key.parse().ok().map(MapKey::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => key.parse().ok().map(MapKey::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => key.parse().ok().map(MapKey::I64),
        Kind::Uint32 | Kind::Fixed32 => key.parse().ok().map(MapKey::U32),
        Kind::Uint64 | Kind::Fixed64 => key.parse().ok().map(MapKey::U64),
        _ => None,
    };
    parsed.ok_or_else(|| JsonError::new(path, format!("expected a key of type {kind:?}")))
}

fn single(kind: &Kind, json: &Value, path: &Path<'_>, depth: usize) -> Result<Reflected> {
    let wrapper = match kind {
        Kind::Message(descriptor) => {
            return message(descriptor, json, path, depth + 1).map(Reflected::Message);
        }
        Kind::Enum(descriptor) => return enum_value(descriptor, json, path),
        Kind::String => {
            let text = json.as_str().ok_or_else(|| mismatch(path, "a string", json))?;
            return Ok(Reflected::String(text.to_owned()));
        }
        Kind::Bool => {
            let value = json.as_bool().ok_or_else(|| mismatch(path, "true or false", json))?;
            return Ok(Reflected::Bool(value));
        }
        Kind::Bytes => "BytesValue",
        Kind::Float => "FloatValue",
        Kind::Double => "DoubleValue",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "Int32Value",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "Int64Value",
        Kind::Uint32 | Kind::Fixed32 => "UInt32Value",
        Kind::Uint64 | Kind::Fixed64 => "UInt64Value",
    };
    // A number or bytes field reads what the wrapper of its type reads.
    let wrapper = any::describe(&format!("google.protobuf.{wrapper}"))
        .map_err(|error| JsonError::new(path, error.to_string()))?;
    let read = leaf(&wrapper, json, path)?;
    let value = read.get_field_by_number(1).map(std::borrow::Cow::into_owned);
    value.ok_or_else(|| mismatch(path, "a value", json))
}

fn enum_value(descriptor: &EnumDescriptor, json: &Value, path: &Path<'_>) -> Result<Reflected> {
    let number = match json {
        Value::Null => Some(0), // `google.protobuf.NullValue`; others are absent when null
        Value::String(name) => descriptor.get_value_by_name(name).map(|value| value.number()),
        Value::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
        _ => None,
    };
    number.map(Reflected::EnumNumber).ok_or_else(|| {
        let names: Vec<_> = descriptor.values().map(|v| v.name().to_owned()).collect();
        mismatch(path, &format!("one of {}", names.join(", ")), json)
    })
}

fn any_message(
    descriptor: &MessageDescriptor,
    object: &Map<String, Value>,
    path: &Path<'_>,
    depth: usize,
) -> Result<DynamicMessage> {
    if object.is_empty() {
        return Ok(DynamicMessage::new(descriptor.clone()));
    }
    let Some(type_url) = object.get("@type").and_then(Value::as_str) else {
        return Err(JsonError::new(path, "needs `@type`, the URL of the type it holds"));
    };
    let rest = || object.iter().filter(|(name, _)| *name != "@type");
    let bytes = match any::describe(type_url) {
        Ok(inner) if is_special_leaf(inner.full_name()) || inner == *descriptor => {
            let value = object.get("value").unwrap_or(&Value::Null);
            if let Some((name, _)) = rest().find(|(name, _)| *name != "value") {
                return Err(JsonError::new(&path.field(name), unknown_field(&inner, name)));
            }
            crate::encode(&message(&inner, value, &path.field("value"), depth + 1)?)
        }
        Ok(inner) => {
            let mut message = DynamicMessage::new(inner.clone());
            fields(&mut message, &inner, rest(), path, depth + 1)?;
            crate::encode(&message)
        }
        Err(unknown) => opaque(object)
            .ok_or_else(|| JsonError::new(&path.field("@type"), unknown.to_string()))?,
    };
    let mut message = DynamicMessage::new(descriptor.clone());
    message.set_field_by_number(1, Reflected::String(type_url.to_owned()));
    message.set_field_by_number(2, Reflected::Bytes(bytes.into()));
    Ok(message)
}

/// The bytes of an `Any` of unknown type, as `write` shows it.
fn opaque(object: &Map<String, Value>) -> Option<Vec<u8>> {
    let value = object.get("value").and_then(Value::as_str)?;
    if object.len() != 2 {
        return None;
    }
    BASE64_STANDARD.decode(value).ok()
}

fn mismatch(path: &Path<'_>, expected: &str, found: &Value) -> JsonError {
    let found = match found {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        scalar => scalar.to_string(),
    };
    JsonError::new(path, format!("expected {expected}, found {found}"))
}
