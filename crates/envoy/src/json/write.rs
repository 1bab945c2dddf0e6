//! Messages to JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value as Reflected,
};
use serde_json::{Map, Number, Value};

use super::{FieldNames, MAX_DEPTH, is_special_leaf};
use crate::any;

/// How messages are written.
#[derive(Clone, Copy)]
pub(super) struct Writer {
    pub(super) names: FieldNames,
    /// Whether fields without presence are written when they have their default value.
    pub(super) defaults: bool,
}

impl Writer {
    pub(super) fn message(self, message: &DynamicMessage, depth: usize) -> Value {
        let descriptor = message.descriptor();
        match descriptor.full_name() {
            "google.protobuf.Any" => self.any(message, depth),
            "google.protobuf.Struct" | "google.protobuf.ListValue" | "google.protobuf.Value" => {
                free_form(message)
            }
            // A duration or time out of range has no special form: it is shown as its fields.
            name if is_special_leaf(name) => serde_json::to_value(message)
                .unwrap_or_else(|_| Value::Object(self.fields(message, depth))),
            _ => Value::Object(self.fields(message, depth)),
        }
    }

    fn fields(self, message: &DynamicMessage, depth: usize) -> Map<String, Value> {
        let mut object: Map<_, _> = message
            .fields()
            .map(|(field, value)| {
                (self.name(&field).to_owned(), self.value(value, &field.kind(), depth + 1))
            })
            .collect();
        if self.defaults {
            let descriptor = message.descriptor();
            let absent = descriptor.fields().filter(|field| !field.supports_presence());
            for field in absent.filter(|field| !message.has_field(field)) {
                let value = Reflected::default_value_for_field(&field);
                object
                    .insert(self.name(&field).to_owned(), self.value(&value, &field.kind(), depth));
            }
        }
        object
    }

    fn name(self, field: &FieldDescriptor) -> &str {
        match self.names {
            FieldNames::Proto => field.name(),
            FieldNames::Camel => field.json_name(),
        }
    }

    fn any(self, message: &DynamicMessage, depth: usize) -> Value {
        let type_url = message.get_field_by_number(1);
        let type_url = type_url.as_deref().and_then(Reflected::as_str).unwrap_or_default();
        let bytes = message.get_field_by_number(2);
        let bytes = bytes.as_deref().and_then(Reflected::as_bytes).map_or(&[][..], |b| b);
        if type_url.is_empty() && bytes.is_empty() {
            return Value::Object(Map::new());
        }
        let mut out = Map::from_iter([("@type".to_owned(), type_url.into())]);
        match any::dynamic(type_url, bytes) {
            Ok(inner) if depth < MAX_DEPTH => {
                let name = any::type_name(type_url);
                if is_special_leaf(name) || name == "google.protobuf.Any" {
                    out.insert("value".to_owned(), self.message(&inner, depth + 1));
                } else {
                    out.extend(self.fields(&inner, depth + 1));
                }
            }
            _ => {
                out.insert("value".to_owned(), BASE64_STANDARD.encode(bytes).into());
            }
        }
        Value::Object(out)
    }

    fn value(self, value: &Reflected, kind: &Kind, depth: usize) -> Value {
        match value {
            Reflected::Bool(v) => (*v).into(),
            Reflected::I32(v) => (*v).into(),
            Reflected::U32(v) => (*v).into(),
            Reflected::I64(v) => v.to_string().into(),
            Reflected::U64(v) => v.to_string().into(),
            // Through its text, so that 0.1 is written and not the double nearest to the float.
            Reflected::F32(v) => number(v.to_string().parse().unwrap_or_else(|_| f64::from(*v))),
            Reflected::F64(v) => number(*v),
            Reflected::String(v) => v.as_str().into(),
            Reflected::Bytes(v) => BASE64_STANDARD.encode(v).into(),
            Reflected::EnumNumber(v) => enum_value(*v, kind),
            Reflected::Message(v) => self.message(v, depth),
            Reflected::List(items) => {
                items.iter().map(|item| self.value(item, kind, depth)).collect()
            }
            Reflected::Map(entries) => self.map(entries.iter(), kind, depth),
        }
    }

    fn map<'a>(
        self,
        entries: impl Iterator<Item = (&'a MapKey, &'a Reflected)>,
        kind: &Kind,
        depth: usize,
    ) -> Value {
        let Kind::Message(entry) = kind else { return Value::Null };
        let kind = entry.map_entry_value_field().kind();
        let object = entries.map(|(key, item)| (map_key(key), self.value(item, &kind, depth)));
        Value::Object(object.collect())
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(v) => v.to_string(),
        MapKey::I32(v) => v.to_string(),
        MapKey::I64(v) => v.to_string(),
        MapKey::U32(v) => v.to_string(),
        MapKey::U64(v) => v.to_string(),
        MapKey::String(v) => v.clone(),
    }
}

fn enum_value(number: i32, kind: &Kind) -> Value {
    match kind.as_enum().and_then(|kind| kind.get_value(number)) {
        Some(value) if value.parent_enum().full_name() == "google.protobuf.NullValue" => {
            Value::Null
        }
        Some(value) => value.name().into(),
        None => number.into(),
    }
}

/// JSON has no infinities; protobuf writes them as strings.
fn number(value: f64) -> Value {
    if let Some(number) = Number::from_f64(value) {
        return Value::Number(number);
    }
    let name = match value {
        v if v.is_nan() => "NaN",
        v if v > 0.0 => "Infinity",
        _ => "-Infinity",
    };
    name.into()
}

/// `Struct`, `ListValue` and `Value`. Their numbers are doubles; whole ones are written as integers,
/// as Envoy does.
fn free_form(message: &DynamicMessage) -> Value {
    let Some((field, value)) = message.fields().next() else {
        return match message.descriptor().name() {
            "Struct" => Value::Object(Map::new()),
            "ListValue" => Value::Array(Vec::new()),
            _ => Value::Null,
        };
    };
    match value {
        Reflected::Bool(v) => (*v).into(),
        Reflected::F64(v) => whole_number(*v),
        Reflected::String(v) => v.as_str().into(),
        Reflected::Message(v) => free_form(v),
        Reflected::List(items) => {
            items.iter().filter_map(Reflected::as_message).map(free_form).collect()
        }
        Reflected::Map(entries) => {
            let entries = entries.iter().filter_map(|(k, v)| Some((k, v.as_message()?)));
            Value::Object(entries.map(|(k, v)| (map_key(k), free_form(v))).collect())
        }
        _ => enum_value(0, &field.kind()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only whole numbers that an i64 holds exactly")]
fn whole_number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if value.fract() == 0.0 && value.abs() <= EXACT {
        Value::from(value as i64)
    } else {
        number(value)
    }
}
