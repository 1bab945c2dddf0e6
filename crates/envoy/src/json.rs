//! Envoy's JSON: the protobuf mapping, with every `Any` shown as the message it holds.
//!
//! Written names are protobuf's (`filter_chains`, as Envoy's admin shows them) or camelCase
//! (`filterChains`, as istioctl does); both are read. Default values are written only on request, 64-bit integers
//! are strings. An `Any` whose type nobody here knows is `{"@type": …, "value": BASE64}` and is read
//! back to the same bytes, so a foreign extension cannot break a config dump.
//!
//! Absent: fields that the pool does not know are not shown (their bytes are kept by whoever holds
//! the message), and extensions of proto2, which Envoy's API does not use.

mod istio;
mod read;
mod write;

use prost::Name;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;

use crate::path::Path;
use crate::{AnyError, any, encode};

/// How many messages may nest. Beyond that JSON is refused, and an `Any` is shown undecoded. It
/// bounds the stack, whatever a peer sends.
const MAX_DEPTH: usize = 64;

/// How field names are written. Both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldNames {
    /// As in the .proto file: `filter_chains`. Envoy's admin.
    Proto,
    /// lowerCamelCase: `filterChains`. istioctl.
    Camel,
}

/// Why JSON is not the message it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", at(path))]
pub struct JsonError {
    /// The field, such as `static_resources.listeners[0].name`; empty when the whole is meant.
    pub path: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl JsonError {
    fn new(path: &Path<'_>, reason: impl Into<String>) -> Self {
        Self { path: path.to_string(), reason: reason.into() }
    }
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

/// A message as JSON.
pub fn to_json<T: Name>(message: &T, names: FieldNames) -> Result<Value, AnyError> {
    bytes_to_json(&T::full_name(), &message.encode_to_vec(), names)
}

/// Bytes of a type, by full name or type URL, as JSON.
///
/// # Errors
/// The type is not in the pool, or the bytes are no such message.
pub fn bytes_to_json(type_url: &str, bytes: &[u8], names: FieldNames) -> Result<Value, AnyError> {
    Ok(message_to_json(&any::dynamic(type_url, bytes)?, names))
}

/// A reflected message as JSON.
pub fn message_to_json(message: &DynamicMessage, names: FieldNames) -> Value {
    write::Writer { names, defaults: false }.message(message, 0)
}

/// A reflected message as JSON, with the default values of fields that are not set: numbers, strings,
/// lists and maps, not messages. Envoy shows `/server_info` so.
pub fn message_to_json_with_defaults(message: &DynamicMessage, names: FieldNames) -> Value {
    write::Writer { names, defaults: true }.message(message, 0)
}

/// JSON as a message. A field that the type does not have is an error.
///
/// # Errors
/// The first field that is unknown or has a value of another type, with its path.
pub fn from_json<T: Name + Default>(json: &Value) -> Result<T, JsonError> {
    let root = |error: AnyError| JsonError::new(&Path::Root, error.to_string());
    let descriptor = any::describe(&T::full_name()).map_err(root)?;
    let message = message_from_json(&descriptor, json)?;
    T::decode(encode(&message).as_slice())
        .map_err(|error| JsonError::new(&Path::Root, error.to_string()))
}

/// JSON as a reflected message. A field that the type does not have is an error.
///
/// # Errors
/// The first field that is unknown or has a value of another type, with its path.
pub fn message_from_json(
    descriptor: &MessageDescriptor,
    json: &Value,
) -> Result<DynamicMessage, JsonError> {
    read::message(descriptor, json, &Path::Root, 0)
}

/// JSON as a message of a type, by full name or type URL, in the notation of Istio's EnvoyFilters: as [`message_from_json`],
/// but a configuration wrapped in `TypedStruct` is the message that it stands for, and durations may be Go's (`500ms`).
///
/// # Errors
/// As [`message_from_json`], and a type that is not in the pool.
pub fn message_from_istio(type_url: &str, json: &Value) -> Result<DynamicMessage, JsonError> {
    let descriptor =
        any::describe(type_url).map_err(|error| JsonError::new(&Path::Root, error.to_string()))?;
    message_from_json(&descriptor, &istio::plain(&descriptor, json, 0))
}

/// Whether a type of `google.protobuf` has a JSON form of its own that holds no `Any`.
fn is_special_leaf(full_name: &str) -> bool {
    matches!(
        full_name.strip_prefix("google.protobuf."),
        Some(
            "Timestamp"
                | "Duration"
                | "FieldMask"
                | "Empty"
                | "Struct"
                | "ListValue"
                | "Value"
                | "BoolValue"
                | "StringValue"
                | "BytesValue"
                | "FloatValue"
                | "DoubleValue"
                | "Int32Value"
                | "Int64Value"
                | "UInt32Value"
                | "UInt64Value"
        )
    )
}

#[cfg(test)]
mod tests;
