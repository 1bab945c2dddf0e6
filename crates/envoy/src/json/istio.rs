//! Envoy's JSON as Istio reads it in EnvoyFilters: configurations may be wrapped in `TypedStruct`, and durations are written
//! as Go does.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::MAX_DEPTH;
use crate::any;

/// The two spellings of a configuration in JSON with the URL of the type that it stands for.
const TYPED_STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];

/// The same JSON in protobuf's own notation. What cannot be told stays as it is, for the reader to refuse.
pub(super) fn plain(descriptor: &MessageDescriptor, json: &Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return json.clone();
    }
    match (descriptor.full_name(), json) {
        ("google.protobuf.Duration", Value::String(text)) => {
            go_duration(text).map_or_else(|| json.clone(), Value::String)
        }
        ("google.protobuf.Any", Value::Object(object)) => plain_any(object, depth),
        (name, Value::Object(object)) if !name.starts_with("google.protobuf.") => {
            let fields = object.iter().map(|(name, value)| {
                let field = descriptor
                    .get_field_by_name(name)
                    .or_else(|| descriptor.get_field_by_json_name(name));
                let plain = field.map(|field| plain_field(&field, value, depth));
                (name.clone(), plain.unwrap_or_else(|| value.clone()))
            });
            Value::Object(fields.collect())
        }
        _ => json.clone(),
    }
}

fn plain_field(field: &FieldDescriptor, json: &Value, depth: usize) -> Value {
    let Kind::Message(inner) = field.kind() else { return json.clone() };
    match json {
        Value::Object(entries) if field.is_map() => {
            let Kind::Message(value) = inner.map_entry_value_field().kind() else {
                return json.clone();
            };
            let entries = entries.iter();
            Value::Object(entries.map(|(k, v)| (k.clone(), plain(&value, v, depth + 1))).collect())
        }
        Value::Array(items) if field.is_list() => {
            Value::Array(items.iter().map(|item| plain(&inner, item, depth + 1)).collect())
        }
        single => plain(&inner, single, depth + 1),
    }
}

fn plain_any(object: &Map<String, Value>, depth: usize) -> Value {
    let Some(url) = object.get("@type").and_then(Value::as_str) else {
        return Value::Object(object.clone());
    };
    if TYPED_STRUCTS.contains(&any::type_name(url)) {
        let field = |names: [&str; 2]| names.iter().find_map(|name| object.get(*name));
        let (Some(Value::String(inner)), None | Some(Value::Object(_) | Value::Null)) =
            (field(["type_url", "typeUrl"]), object.get("value"))
        else {
            return Value::Object(object.clone());
        };
        let value = object.get("value").and_then(Value::as_object);
        let mut unwrapped = value.cloned().unwrap_or_default();
        unwrapped.insert("@type".to_owned(), inner.as_str().into());
        return plain_any(&unwrapped, depth + 1);
    }
    let Ok(descriptor) = any::describe(url) else { return Value::Object(object.clone()) };
    let mut fields = object.clone();
    let url = fields.remove("@type");
    let Value::Object(mut fields) = plain(&descriptor, &Value::Object(fields), depth + 1) else {
        return Value::Object(object.clone());
    };
    fields.extend(url.map(|url| ("@type".to_owned(), url)));
    Value::Object(fields)
}

/// A duration of Go (`500ms`, `1m30s`) as protobuf writes it; `None` for anything else.
fn go_duration(text: &str) -> Option<String> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut nanos: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction = fraction.get(..fraction.len().min(18))?;
        let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let below = part.checked_mul(scale)? / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        nanos = nanos.checked_add(whole.checked_mul(scale)?.checked_add(below)?)?;
        rest = after;
    }
    let sign = if negative { "-" } else { "" };
    Some(format!("{sign}{}.{:09}s", nanos / 1_000_000_000, nanos % 1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        for (text, wanted) in [
            ("500ms", Some("0.500000000s")),
            ("1m30s", Some("90.000000000s")),
            ("1.5h", Some("5400.000000000s")),
            ("-1s", Some("-1.000000000s")),
            (".5s", Some("0.500000000s")),
            ("7", None),
            ("s", None),
            (".s", None),
            ("1 s", None),
            ("", None),
        ] {
            assert_eq!(go_duration(text).as_deref(), wanted, "{text}");
        }
    }
}
